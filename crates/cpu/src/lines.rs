//! What needs all elements of a line and is not done by row programs: positions of extremes, orders,
//! running sums, and reductions of integers.

use half::{bf16, f16};
use mil::DataType;
use std::cmp::Ordering;

/// What is made of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineOp {
    /// The index of the first of the largest elements, or of the smallest; NaN beats numbers.
    Arg { largest: bool },
    /// The indices of the first elements in order, as many as the result has. Equal ones keep their
    /// order; NaN comes last.
    Order { ascending: bool },
    /// Sums of all elements up to each one.
    Running { exclusive: bool, reverse: bool },
    /// One number.
    Reduce(Reduction),
}

/// How a line becomes one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reduction {
    Sum,
    /// Integers towards zero.
    Mean,
    Max,
    Min,
    Product,
    /// The sum of magnitudes.
    Magnitudes,
    /// The sum of squares.
    Squares,
}

/// Whether lines of this type can be read, and running sums and reductions written.
pub(crate) fn is_element(dtype: DataType) -> bool {
    use DataType::*;
    matches!(dtype, Fp32 | Fp16 | Bf16 | Int32 | Int64 | Int8 | Uint8 | Int16 | Uint16)
}

/// Where a line is and what it becomes.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    /// `n` elements, `stride` elements apart.
    pub from: *const u8,
    pub stride: isize,
    pub n: usize,
    /// Room for `k` results: of the elements' own type, or int32 where they are indices.
    pub to: *mut u8,
    pub k: usize,
    /// [`LineOp::scratch_bytes`] of working memory.
    pub scratch: *mut i32,
}

impl LineOp {
    /// Bytes of working memory for lines of `n` elements.
    pub fn scratch_bytes(self, n: usize) -> usize {
        if matches!(self, LineOp::Order { .. }) { n * size_of::<i32>() } else { 0 }
    }

    /// Computes one line.
    ///
    /// # Safety
    /// The line must be as it says, of a type for which [`is_element`] holds.
    pub unsafe fn line(self, dtype: DataType, line: Line) {
        use DataType::*;
        // SAFETY: as for the caller; the types are those of the elements.
        unsafe {
            match dtype {
                Fp32 => self.of::<f32, f64>(line, f64::from, |v| v as f32),
                Fp16 => self.of::<f16, f64>(line, f16::to_f64, f16::from_f64),
                Bf16 => self.of::<bf16, f64>(line, bf16::to_f64, bf16::from_f64),
                Int32 => self.of::<i32, i64>(line, i64::from, |v| v as i32),
                Int64 => self.of::<i64, i64>(line, |v| v, |v| v),
                Int16 => self.of::<i16, i64>(line, i64::from, |v| v as i16),
                Uint16 => self.of::<u16, i64>(line, i64::from, |v| v as u16),
                Int8 => self.of::<i8, i64>(line, i64::from, |v| v as i8),
                Uint8 => self.of::<u8, i64>(line, i64::from, |v| v as u8),
                _ => unreachable!("lines are of these types"),
            }
        }
    }

    /// The same for elements of a type that is computed with as another.
    ///
    /// # Safety
    /// As [`LineOp::line`].
    unsafe fn of<T: Copy, N: Number>(
        self,
        line: Line,
        wide: impl Fn(T) -> N,
        narrow: impl Fn(N) -> T,
    ) {
        let Line { from, stride, n, to, k, scratch } = line;
        // SAFETY: as for the caller.
        let at = |i: usize| wide(unsafe { *from.cast::<T>().offset(i as isize * stride) });
        match self {
            LineOp::Arg { largest } => {
                let (mut best, mut index) = (at(0), 0);
                for i in 1..n {
                    let next = at(i);
                    let beats = if largest { next > best } else { next < best };
                    if beats || (next.is_nan() && !best.is_nan()) {
                        (best, index) = (next, i);
                    }
                }
                // SAFETY: as for the caller.
                unsafe { *to.cast::<i32>() = index as i32 };
            }
            LineOp::Order { ascending } => {
                // SAFETY: as for the caller: there is working memory for all, and room for k.
                let (order, out) = unsafe {
                    let scratch = std::slice::from_raw_parts_mut(scratch, n);
                    (scratch, std::slice::from_raw_parts_mut(to.cast::<i32>(), k))
                };
                order.iter_mut().enumerate().for_each(|(i, index)| *index = i as i32);
                let compare = |a: &i32, b: &i32| {
                    let (x, y) = (at(*a as usize), at(*b as usize));
                    let by_value = match (x.is_nan(), y.is_nan()) {
                        (false, false) => x.partial_cmp(&y).unwrap_or(Ordering::Equal),
                        (x, y) => return x.cmp(&y).then(a.cmp(b)),
                    };
                    let by_value = if ascending { by_value } else { by_value.reverse() };
                    by_value.then(a.cmp(b))
                };
                if k > 0 && k < n {
                    order.select_nth_unstable_by(k - 1, compare);
                }
                order[..k].sort_unstable_by(compare);
                out.copy_from_slice(&order[..k]);
            }
            LineOp::Running { exclusive, reverse } => {
                let mut sum = N::ZERO;
                for step in 0..n {
                    let i = if reverse { n - 1 - step } else { step };
                    let before = sum;
                    sum = sum.add(at(i));
                    let value = narrow(if exclusive { before } else { sum });
                    // SAFETY: as for the caller.
                    unsafe { *to.cast::<T>().add(i) = value };
                }
            }
            LineOp::Reduce(reduction) => {
                let first = if reduction == Reduction::Product { N::ONE } else { N::ZERO };
                let mut total = if n > 0 { reduction.term(at(0)) } else { first };
                for i in 1..n {
                    let term = reduction.term(at(i));
                    total = match reduction {
                        Reduction::Product => total.mul(term),
                        Reduction::Max if term > total || term.is_nan() => term,
                        Reduction::Min if term < total || term.is_nan() => term,
                        Reduction::Max | Reduction::Min => total,
                        _ => total.add(term),
                    };
                }
                if reduction == Reduction::Mean {
                    total = total.over(n);
                }
                // SAFETY: as for the caller.
                unsafe { *to.cast::<T>() = narrow(total) };
            }
        }
    }
}

impl Reduction {
    fn term<N: Number>(self, value: N) -> N {
        match self {
            Reduction::Magnitudes => value.abs(),
            Reduction::Squares => value.mul(value),
            _ => value,
        }
    }
}

/// What lines are computed in; integers wrap.
trait Number: Copy + PartialOrd {
    const ZERO: Self;
    const ONE: Self;
    fn is_nan(self) -> bool;
    fn add(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn abs(self) -> Self;
    /// Divided by a count, which is not 0.
    fn over(self, count: usize) -> Self;
}

impl Number for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;

    fn is_nan(self) -> bool {
        self.is_nan()
    }

    fn add(self, other: f64) -> f64 {
        self + other
    }

    fn mul(self, other: f64) -> f64 {
        self * other
    }

    fn abs(self) -> f64 {
        self.abs()
    }

    fn over(self, count: usize) -> f64 {
        self / count as f64
    }
}

impl Number for i64 {
    const ZERO: i64 = 0;
    const ONE: i64 = 1;

    fn is_nan(self) -> bool {
        false
    }

    fn add(self, other: i64) -> i64 {
        self.wrapping_add(other)
    }

    fn mul(self, other: i64) -> i64 {
        self.wrapping_mul(other)
    }

    fn abs(self) -> i64 {
        self.wrapping_abs()
    }

    fn over(self, count: usize) -> i64 {
        self / count as i64
    }
}
