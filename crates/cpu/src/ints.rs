//! Element-wise arithmetic of integers, exact: row programs compute in f32, which does not hold them
//! all.
//!
//! Operands are read into blocks of `i64`, and results keep the low bits that their type has room
//! for, as Core ML's definitions and the interpreter do.

use mil::DataType;

/// What is computed of up to three operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntOp {
    /// The operand in another type. A float loses its fraction; as a truth value it is whether it
    /// is not 0.
    Convert,
    Add,
    Sub,
    Mul,
    /// Towards zero; 0 if the divisor is.
    Div,
    /// Downwards; 0 if the divisor is.
    FloorDiv,
    /// What is left by that: it has the sign of the divisor.
    Mod,
    Max,
    Min,
    /// Wrapping; a fraction is cut off.
    Pow,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// The second operand where the first is not 0, else the third.
    Select,
    Abs,
    Sign,
    Square,
}

/// Elements that are computed at once.
pub(crate) const BLOCK: usize = 256;

/// A block of elements.
pub(crate) type Block = [i64; BLOCK];

/// Whether elements of this type can be operands.
pub(crate) fn is_readable(dtype: DataType) -> bool {
    is_integer(dtype) || matches!(dtype, DataType::Fp32 | DataType::Fp16 | DataType::Bf16)
}

/// Whether these are integers that are computed here. Truth values count as such.
pub(crate) fn is_integer(dtype: DataType) -> bool {
    use DataType::*;
    matches!(dtype, Bool | Int8 | Uint8 | Int16 | Uint16 | Int32 | Uint32 | Int64)
}

/// Reads elements at distances of `stride` elements. Floats are cut towards zero, or, if `truth` is
/// wanted, become whether they are not 0.
///
/// # Safety
/// There must be as many as `out` has at `from`, of a type that is readable, and aligned.
pub(crate) unsafe fn read(
    dtype: DataType,
    from: *const u8,
    stride: isize,
    truth: bool,
    out: &mut [i64],
) {
    /// # Safety
    /// As for [`read`].
    unsafe fn each<T: Copy>(from: *const u8, stride: isize, out: &mut [i64], f: impl Fn(T) -> i64) {
        let from = from.cast::<T>();
        if stride == 0 && !out.is_empty() {
            // SAFETY: as for the caller.
            return out.fill(f(unsafe { *from }));
        }
        for (i, out) in out.iter_mut().enumerate() {
            // SAFETY: as for the caller.
            *out = f(unsafe { *from.offset(i as isize * stride) });
        }
    }
    let float = |v: f32| if truth { i64::from(v != 0.0) } else { v as i64 };
    use DataType::*;
    // SAFETY: as for the caller; the types are those of the elements.
    unsafe {
        match dtype {
            Bool => each(from, stride, out, |v: u8| i64::from(v != 0)),
            Uint8 => each(from, stride, out, |v: u8| i64::from(v)),
            Int8 => each(from, stride, out, |v: i8| i64::from(v)),
            Int16 => each(from, stride, out, |v: i16| i64::from(v)),
            Uint16 => each(from, stride, out, |v: u16| i64::from(v)),
            Int32 => each(from, stride, out, |v: i32| i64::from(v)),
            Uint32 => each(from, stride, out, |v: u32| i64::from(v)),
            Int64 => each(from, stride, out, |v: i64| v),
            Fp32 => each(from, stride, out, float),
            Fp16 => each(from, stride, out, |v: half::f16| float(v.to_f32())),
            Bf16 => each(from, stride, out, |v: half::bf16| float(v.to_f32())),
            _ => unreachable!("the type is readable"),
        }
    }
}

/// Writes elements, one behind the other.
///
/// # Safety
/// There must be room for as many as `values` has at `to`, of a type that is readable, and aligned.
pub(crate) unsafe fn write(dtype: DataType, to: *mut u8, values: &[i64]) {
    /// # Safety
    /// As for [`write`].
    unsafe fn each<T>(to: *mut u8, values: &[i64], f: impl Fn(i64) -> T) {
        for (i, &value) in values.iter().enumerate() {
            // SAFETY: as for the caller.
            unsafe { *to.cast::<T>().add(i) = f(value) };
        }
    }
    use DataType::*;
    // SAFETY: as for the caller; the types are those of the elements.
    unsafe {
        match dtype {
            Bool => each(to, values, |v| u8::from(v != 0)),
            Uint8 => each(to, values, |v| v as u8),
            Int8 => each(to, values, |v| v as i8),
            Int16 => each(to, values, |v| v as i16),
            Uint16 => each(to, values, |v| v as u16),
            Int32 => each(to, values, |v| v as i32),
            Uint32 => each(to, values, |v| v as u32),
            Int64 => each(to, values, |v| v),
            Fp32 => each(to, values, |v| v as f32),
            Fp16 => each(to, values, |v| half::f16::from_f64(v as f64)),
            Bf16 => each(to, values, |v| half::bf16::from_f64(v as f64)),
            _ => unreachable!("the type is readable"),
        }
    }
}

impl IntOp {
    /// Computes `count` elements of the operands into the first.
    pub fn compute(self, [a, b, c]: &mut [Block; 3], count: usize) {
        let (a, b, c) = (&mut a[..count], &b[..count], &c[..count]);
        fn unary(a: &mut [i64], f: impl Fn(i64) -> i64) {
            a.iter_mut().for_each(|a| *a = f(*a));
        }
        fn binary(a: &mut [i64], b: &[i64], f: impl Fn(i64, i64) -> i64) {
            a.iter_mut().zip(b).for_each(|(a, b)| *a = f(*a, *b));
        }
        match self {
            IntOp::Convert => {}
            IntOp::Add => binary(a, b, i64::wrapping_add),
            IntOp::Sub => binary(a, b, i64::wrapping_sub),
            IntOp::Mul => binary(a, b, i64::wrapping_mul),
            IntOp::Div => binary(a, b, |a, b| a.checked_div(b).unwrap_or(0)),
            IntOp::FloorDiv => binary(a, b, floor_div),
            IntOp::Mod => binary(a, b, |a, b| a.wrapping_sub(b.wrapping_mul(floor_div(a, b)))),
            IntOp::Max => binary(a, b, i64::max),
            IntOp::Min => binary(a, b, i64::min),
            IntOp::Pow => binary(a, b, power),
            IntOp::Eq => binary(a, b, |a, b| i64::from(a == b)),
            IntOp::Ne => binary(a, b, |a, b| i64::from(a != b)),
            IntOp::Lt => binary(a, b, |a, b| i64::from(a < b)),
            IntOp::Le => binary(a, b, |a, b| i64::from(a <= b)),
            IntOp::Gt => binary(a, b, |a, b| i64::from(a > b)),
            IntOp::Ge => binary(a, b, |a, b| i64::from(a >= b)),
            IntOp::Select => {
                for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
                    *a = if *a != 0 { *b } else { *c };
                }
            }
            IntOp::Abs => unary(a, i64::wrapping_abs),
            IntOp::Sign => unary(a, i64::signum),
            IntOp::Square => unary(a, |a| a.wrapping_mul(a)),
        }
    }
}

fn floor_div(a: i64, b: i64) -> i64 {
    match a.checked_div(b) {
        None => 0,
        Some(quotient) => quotient - i64::from(a % b != 0 && (a < 0) != (b < 0)),
    }
}

/// By squaring, for exponents of any size: only the low bits count.
fn power(base: i64, exponent: i64) -> i64 {
    if exponent < 0 {
        return match base {
            1 => 1,
            -1 if exponent % 2 == 0 => 1,
            -1 => -1,
            _ => 0,
        };
    }
    let (mut result, mut square, mut left) = (1i64, base, exponent);
    while left > 0 {
        if left & 1 == 1 {
            result = result.wrapping_mul(square);
        }
        square = square.wrapping_mul(square);
        left >>= 1;
    }
    result
}
