//! What a product computes.

use crate::format::Format;

/// One product, or a batch of them: `C (+)= clamp(round(A · B + bias))` for every index of the batch.
///
/// Strides are in elements of the operand's own format and may be 0 for A and B, which repeats
/// them. No two elements of C, over the whole batch, may be the same memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A and rows of B; with 0 the product is zero.
    pub k: usize,
    /// Axes over which whole products are repeated, outermost first; none for a single product.
    pub batch: Vec<BatchAxis>,
    /// The left operand, `[m, k]`.
    pub a: Operand,
    /// The right operand, `[k, n]`.
    pub b: Right,
    /// The result, `[m, n]`.
    pub c: Output,
    /// Numbers that are added.
    pub bias: Option<Bias>,
    /// The least and the most that elements are kept between; NaN stays.
    pub clamp: Option<[f32; 2]>,
}

/// A vector of contiguous numbers that is added to the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bias {
    /// Memory format: F32, Bf16 or F16.
    pub format: Format,
    /// What each number is added to.
    pub to: BiasTo,
}

/// What each number of a bias is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BiasTo {
    /// The elements of a column: there are `n`.
    Columns,
    /// The elements of a row: there are `m`.
    Rows,
}

/// One axis of a batch: its length, and how far apart the operands of neighbors lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchAxis {
    /// Length.
    pub count: usize,
    /// Stride of A.
    pub a: usize,
    /// Stride of B.
    pub b: usize,
    /// Stride of C.
    pub c: usize,
}

/// A matrix that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// Memory format: F32, Bf16 or F16.
    pub format: Format,
    /// Distance between rows.
    pub row_stride: usize,
    /// Distance between columns.
    pub col_stride: usize,
    /// Rounds every element to this format when it is read: a cast that needs no pass of its own.
    pub round: Option<Format>,
}

/// How the right operand comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// As a matrix in memory.
    Strided(Operand),
    /// As a [`PackedB`](super::PackedB) with this storage; its batch strides must be 0.
    Packed(Format),
}

/// The matrix that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// Memory format: F32, Bf16 or F16.
    pub format: Format,
    /// Distance between rows.
    pub row_stride: usize,
    /// Distance between columns.
    pub col_stride: usize,
    /// Rounds the result to this format before it is stored, or added, in the memory format.
    pub round: Option<Format>,
    /// Adds to what is there instead of replacing it.
    pub accumulate: bool,
}

/// Why a product cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a floating-point format.
    #[error("the {what} of a product is {format:?}, expected F32, Bf16 or F16")]
    Format {
        /// Which operand.
        what: &'static str,
        /// Its format.
        format: Format,
    },
    /// A packed operand is a single matrix.
    #[error("a packed right operand cannot have a batch stride other than 0")]
    PackedBatch,
}

impl Operand {
    /// A matrix in `format` with rows of contiguous elements.
    pub fn rows(format: Format, row_stride: usize) -> Operand {
        Operand { format, row_stride, col_stride: 1, round: None }
    }

    /// A matrix in `format` with columns of contiguous elements: the transposed view of one with
    /// contiguous rows.
    pub fn columns(format: Format, col_stride: usize) -> Operand {
        Operand { format, row_stride: 1, col_stride, round: None }
    }

    /// The format of the numbers that are multiplied: what they are rounded to, or stored in.
    pub fn numbers(&self) -> Format {
        self.round.unwrap_or(self.format)
    }
}

impl Bias {
    /// The same for the transposed result.
    pub(super) fn transposed(self) -> Bias {
        let to = match self.to {
            BiasTo::Columns => BiasTo::Rows,
            BiasTo::Rows => BiasTo::Columns,
        };
        Bias { to, ..self }
    }

    /// Where the number of the element at a row and a column is, in bytes.
    pub(super) fn at(self, row: usize, col: usize) -> usize {
        self.format.bytes()
            * match self.to {
                BiasTo::Columns => col,
                BiasTo::Rows => row,
            }
    }
}

impl Output {
    /// A matrix in `format` with rows of contiguous elements, replaced by the result.
    pub fn rows(format: Format, row_stride: usize) -> Output {
        Output { format, row_stride, col_stride: 1, round: None, accumulate: false }
    }
}

impl Description {
    /// The formats of the numbers of both operands, which decide the kernel.
    pub(super) fn factors(&self) -> [Format; 2] {
        let right = match self.b {
            Right::Strided(operand) => operand.numbers(),
            Right::Packed(storage) => storage,
        };
        [self.a.numbers(), right]
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let (b_format, b_round) = match self.b {
            Right::Strided(operand) => (operand.format, operand.round),
            Right::Packed(storage) => (storage, None),
        };
        if matches!(self.b, Right::Packed(_)) && self.batch.iter().any(|axis| axis.b != 0) {
            return Err(Error::PackedBatch);
        }
        let formats = [
            ("left operand", Some(self.a.format)),
            ("rounding of the left operand", self.a.round),
            ("right operand", Some(b_format)),
            ("rounding of the right operand", b_round),
            ("result", Some(self.c.format)),
            ("rounding of the result", self.c.round),
            ("bias", self.bias.map(|bias| bias.format)),
        ];
        for (what, format) in formats {
            if let Some(format) = format.filter(|f| !f.is_float()) {
                return Err(Error::Format { what, format });
            }
        }
        Ok(())
    }

    /// Drops axes of length 1 and makes rows of the axes that only continue the rows of A and C.
    pub(super) fn simplified(&self) -> Description {
        let mut d = self.clone();
        d.batch.retain(|axis| axis.count != 1);
        let by_rows = d.bias.is_some_and(|bias| bias.to == BiasTo::Rows);
        while let Some(&axis) = d.batch.last().filter(|_| !by_rows) {
            let continues = axis.a == d.m * d.a.row_stride && axis.c == d.m * d.c.row_stride;
            if axis.b != 0 || !continues || axis.count == 0 {
                break;
            }
            d.m *= axis.count;
            d.batch.pop();
        }
        d
    }
}
