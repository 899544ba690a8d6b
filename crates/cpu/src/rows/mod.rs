//! Row programs: fused chains of element-wise operations and reductions over the last axis.
//!
//! A row program sees its operands as an index space `outer` of rows, each of `inner` elements. It
//! loads rows, computes in `f32`, reduces rows to one number each or all rows to one row, and
//! stores rows, in one pass over memory. Soft-max, norms and their gradients, gates, masks, casts
//! and transposing copies are all row programs.
//!
//! [`RowBuilder`] records the operations; [`RowBuilder::finish`] merges axes, splits the operations
//! into passes at the reductions and assigns buffers; [`RowProgram::run`] evaluates without
//! allocating. It interprets the operations on blocks of several rows or on tiles of one long row,
//! a few hundred elements to each operation, so that values stay in the nearest cache and the
//! interpreter's cost vanishes.
//!
//! **Numbers.** Everything is computed in `f32`: a load converts to it and a store rounds from it,
//! floats to nearest even, integers towards zero and saturating. Integers beyond 2²⁴ in magnitude
//! lose their low bits, except where a loaded `I32` is only stored as `I32` again. Truth values are 0
//! and 1; anything but 0, NaN included, is true. `max` and `min` propagate NaN, as `numpy.maximum`
//! does, in the reductions as well. Sums run in 64 lanes within a tile, so that their error grows
//! with a small part of the length.
//!
//! **Order of loads and stores.** A store may go to the very elements that a load reads (in place),
//! and every load sees memory as it was before the program. Other overlaps are not allowed.

mod axes;
mod builder;
mod copy;
mod execute;
mod kernels;
mod memory;
mod program;
mod reduce;
mod registers;
mod schedule;
#[cfg(test)]
mod tests;

pub use builder::RowBuilder;
pub use program::{RowProgram, Scratch};

use crate::format::Format;

/// The most outer axes of a row program.
pub const MAX_RANK: usize = 6;

/// An array as a row program walks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operand {
    /// Index into the table of pointers given at run time.
    pub slot: usize,
    /// Where the element with all indices zero is, in bytes behind that pointer.
    pub byte_offset: usize,
    /// How elements are stored.
    pub format: Format,
    /// Distance in elements from one index of an outer axis to the next; 0 repeats.
    pub outer_strides: Vec<isize>,
    /// Distance in elements within a row: 1 is contiguous, 0 one element for the whole row.
    pub inner_stride: isize,
}

/// A value in a row program: a row of numbers, or one number for each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) u32);

impl Value {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// An operation on each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// `-x`
    Neg,
    /// `|x|`
    Abs,
    /// -1, 0 or 1 (NaN stays)
    Sign,
    /// Largest integer not above.
    Floor,
    /// `eˣ`
    Exp,
    /// Natural logarithm.
    Log,
    /// `√x`
    Sqrt,
    /// `1 / √x`
    Rsqrt,
    /// `1 / x`
    Recip,
    /// `x²`
    Square,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// The error function.
    Erf,
    /// `1 / (1 + e⁻ˣ)`
    Sigmoid,
    /// `x · sigmoid(x)`
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// `max(x, 0)`
    Relu,
    /// `x · (1 + erf(x / √2)) / 2`
    GeluExact,
    /// `x · (1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2`
    GeluTanh,
    /// `x · sigmoid(1.702 x)`
    GeluSigmoid,
    /// 1 where `x` is 0, otherwise 0.
    Not,
}

/// An operation on two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a · b`
    Mul,
    /// `a / b`
    Div,
    /// The larger; NaN if either is.
    Max,
    /// The smaller; NaN if either is.
    Min,
    /// `aᵇ`
    Pow,
    /// `⌊a / b⌋`
    FloorDiv,
    /// The remainder of the floored quotient: it has the sign of `b`.
    Mod,
    /// 1 where `a = b`, otherwise 0.
    Eq,
    /// 1 where `a ≠ b`.
    Ne,
    /// 1 where `a < b`.
    Lt,
    /// 1 where `a ≤ b`.
    Le,
    /// 1 where `a > b`.
    Gt,
    /// 1 where `a ≥ b`.
    Ge,
    /// 1 where both are true.
    And,
    /// 1 where either is true.
    Or,
}

/// How elements are reduced to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// The largest; NaN if any is.
    Max,
    /// The smallest; NaN if any is.
    Min,
}

/// What a value is rounded to, staying `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// The nearest `bf16`, ties to even.
    Bf16,
    /// The nearest IEEE half, ties to even.
    F16,
    /// The integer towards zero.
    Integer,
    /// 0 stays, everything else becomes 1.
    Bool,
}

/// One recorded operation. Those that make a value define the [`Value`] of their own position.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)] // The fields are the operands of the operation that the variant names.
pub enum Instr {
    /// The elements of an operand; one number for each row if its inner stride is 0.
    Load { operand: usize },
    /// The same number everywhere.
    Const(f32),
    /// A function of one value.
    Unary { op: Unary, a: Value },
    /// A function of two values.
    Binary { op: Binary, a: Value, b: Value },
    /// `a` where `c` is true, `b` elsewhere.
    Select { c: Value, a: Value, b: Value },
    /// `min(max(a, low), high)`; NaN stays.
    Clamp { a: Value, low: f32, high: f32 },
    /// Rounds to the numbers of a narrower type.
    Round { to: Rounding, a: Value },
    /// One number for each row.
    Reduce { op: Reduction, a: Value },
    /// Repeats one number for each row along the row.
    Expand { a: Value },
    /// Writes to an operand, or adds to its `F32` elements.
    Store { operand: usize, a: Value, accumulate: bool },
    /// Writes one number for each row; the operand's inner stride is not used.
    StoreScalar { operand: usize, a: Value, accumulate: bool },
    /// Reduces all rows to one, and writes or adds it; the operand's outer strides are not used.
    ColumnReduce { op: Reduction, a: Value, operand: usize, accumulate: bool },
}

impl Instr {
    /// The values it reads.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = Value> + use<> {
        let inputs = match *self {
            Instr::Load { .. } | Instr::Const(_) => [None; 3],
            Instr::Unary { a, .. }
            | Instr::Clamp { a, .. }
            | Instr::Round { a, .. }
            | Instr::Reduce { a, .. }
            | Instr::Expand { a }
            | Instr::Store { a, .. }
            | Instr::StoreScalar { a, .. }
            | Instr::ColumnReduce { a, .. } => [Some(a), None, None],
            Instr::Binary { a, b, .. } => [Some(a), Some(b), None],
            Instr::Select { c, a, b } => [Some(c), Some(a), Some(b)],
        };
        inputs.into_iter().flatten()
    }

    /// Whether it writes memory rather than make a value.
    pub(crate) fn is_store(&self) -> bool {
        matches!(self, Instr::Store { .. } | Instr::StoreScalar { .. } | Instr::ColumnReduce { .. })
    }
}
