//! Element-wise ops.

use super::math::erf;
use crate::evaluate::Context;
use crate::index::{broadcast_position, indices};
use crate::{Array, Data};
use mil::{DataType, Op, OpError};

/// x ∘ y in floats or in integers.
pub(super) fn arithmetic(c: &Context) -> Result<Array, OpError> {
    let (x, y) = (c.need("x")?, c.need("y")?);
    let dims = c.result_dims()?.remove(0);
    let dtype = x.dtype();
    if dtype.is_float() {
        let (a, b) = (x.to_f64s(), y.to_f64s());
        let f = match c.operation.op {
            Op::Add => |x: f64, y: f64| x + y,
            Op::Sub => |x, y| x - y,
            Op::Mul => |x, y| x * y,
            Op::RealDiv => |x, y| x / y,
            Op::FloorDiv => |x: f64, y: f64| (x / y).floor(),
            Op::Mod => float_mod,
            // NaN wins, unlike `f64::max`.
            Op::Maximum => |x: f64, y: f64| if x > y || x.is_nan() { x } else { y },
            Op::Minimum => |x: f64, y: f64| if x < y || x.is_nan() { x } else { y },
            _ => f64::powf,
        };
        let at = pairs(&x, &y, &dims);
        return Ok(Array::floats(dtype, &dims, at.map(|(i, j)| f(a[i], b[j])).collect()));
    }
    let (a, b) = (x.to_i64s(), y.to_i64s());
    let f = match c.operation.op {
        Op::Add => i64::wrapping_add,
        Op::Sub => i64::wrapping_sub,
        Op::Mul => i64::wrapping_mul,
        // Division of integers gives an integer; by zero there is no answer, and 0 is ours.
        Op::RealDiv => |x: i64, y: i64| x.checked_div(y).unwrap_or(0),
        Op::FloorDiv => floor_div,
        Op::Mod => |x: i64, y: i64| x.wrapping_sub(y.wrapping_mul(floor_div(x, y))),
        Op::Maximum => |x: i64, y: i64| x.max(y),
        Op::Minimum => |x: i64, y: i64| x.min(y),
        _ => int_pow,
    };
    let at = pairs(&x, &y, &dims);
    Ok(Array::ints(dtype, &dims, at.map(|(i, j)| f(a[i], b[j])).collect()))
}

fn floor_div(x: i64, y: i64) -> i64 {
    match x.checked_div(y) {
        None => 0,
        Some(quotient) => quotient - i64::from(x % y != 0 && (x < 0) != (y < 0)),
    }
}

/// The remainder, which is exact, with the sign of the divisor.
fn float_mod(x: f64, y: f64) -> f64 {
    let remainder = x % y;
    if remainder != 0.0 && (remainder < 0.0) != (y < 0.0) { remainder + y } else { remainder }
}

/// x to the power y, wrapping; a fraction is cut off.
fn int_pow(x: i64, y: i64) -> i64 {
    match (x, u32::try_from(y)) {
        (_, Ok(y)) => x.wrapping_pow(y),
        (1, _) => 1,
        (-1, _) => 1 - 2 * (y & 1),
        // A negative power of any other integer is less than 1, and a power beyond 2³² of an even
        // one has no low bits left.
        _ if y < 0 || x & 1 == 0 => 0,
        _ => {
            let half = int_pow(x, y / 2);
            half.wrapping_mul(half).wrapping_mul(if y & 1 == 1 { x } else { 1 })
        }
    }
}

pub(super) fn comparison(c: &Context) -> Result<Array, OpError> {
    let (x, y) = (c.need("x")?, c.need("y")?);
    let dims = c.result_dims()?.remove(0);
    let op = c.operation.op;
    let truths = if x.dtype().is_float() {
        let (a, b) = (x.to_f64s(), y.to_f64s());
        pairs(&x, &y, &dims).map(|(i, j)| compare(op, &a[i], &b[j])).collect()
    } else {
        let (a, b) = (x.to_i64s(), y.to_i64s());
        pairs(&x, &y, &dims).map(|(i, j)| compare(op, &a[i], &b[j])).collect()
    };
    Ok(Array::ints(DataType::Bool, &dims, truths))
}

fn compare<T: PartialOrd>(op: Op, x: &T, y: &T) -> i64 {
    i64::from(match op {
        Op::Equal => x == y,
        Op::NotEqual => x != y,
        Op::Less => x < y,
        Op::LessEqual => x <= y,
        Op::Greater => x > y,
        _ => x >= y,
    })
}

pub(super) fn logical(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let a = x.to_i64s();
    if c.operation.op == Op::LogicalNot {
        let values = a.iter().map(|&v| i64::from(v == 0)).collect();
        return Ok(Array::ints(DataType::Bool, x.dims(), values));
    }
    let y = c.need("y")?;
    let b = y.to_i64s();
    let dims = c.result_dims()?.remove(0);
    let truth = |(i, j): (usize, usize)| match c.operation.op {
        Op::LogicalAnd => a[i] & b[j],
        Op::LogicalXor => a[i] ^ b[j],
        _ => a[i] | b[j],
    };
    Ok(Array::ints(DataType::Bool, &dims, pairs(&x, &y, &dims).map(truth).collect()))
}

/// a where cond, else b.
pub(super) fn select(c: &Context) -> Result<Array, OpError> {
    let (cond, a, b) = (c.need("cond")?, c.need("a")?, c.need("b")?);
    let dims = c.result_dims()?.remove(0);
    let truths = cond.to_i64s();
    let holds = |index: &[usize]| truths[broadcast_position(cond.dims(), index)] != 0;
    let spread =
        |x: &Array| x.pick(&dims, indices(&dims).map(|index| broadcast_position(x.dims(), &index)));
    let (a, b) = (spread(&a), spread(&b));
    Ok(match (a.data(), b.data()) {
        (Data::Float(x), Data::Float(y)) => {
            let chosen = indices(&dims).enumerate();
            let chosen = chosen.map(|(i, index)| if holds(&index) { x[i] } else { y[i] });
            Array::floats(a.dtype(), &dims, chosen.collect())
        }
        _ => {
            let (x, y) = (a.to_i64s(), b.to_i64s());
            let chosen = indices(&dims).enumerate();
            let chosen = chosen.map(|(i, index)| if holds(&index) { x[i] } else { y[i] });
            Array::ints(a.dtype(), &dims, chosen.collect())
        }
    })
}

/// Functions of floats and integers alike.
pub(super) fn signed(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let op = c.operation.op;
    Ok(match x.data() {
        Data::Float(values) => {
            let f = |&v: &f64| match op {
                Op::Abs => v.abs(),
                Op::Square => v * v,
                // `signum` of zero is one.
                _ => {
                    if v == 0.0 || v.is_nan() {
                        v
                    } else {
                        v.signum()
                    }
                }
            };
            Array::floats(x.dtype(), x.dims(), values.iter().map(f).collect())
        }
        _ => {
            let f = |v: i64| match op {
                Op::Abs => v.wrapping_abs(),
                Op::Square => v.wrapping_mul(v),
                _ => v.signum(),
            };
            Array::ints(x.dtype(), x.dims(), x.to_i64s().into_iter().map(f).collect())
        }
    })
}

/// Functions of one float.
pub(super) fn function(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let p = &c.params;
    let epsilon = match c.operation.op {
        Op::Log | Op::Rsqrt | Op::Inverse => c.params.float("epsilon")?,
        _ => 0.0,
    };
    let mode = if c.operation.op == Op::Gelu { p.string("mode")? } else { String::new() };
    let (low, high) = match c.operation.op {
        Op::Clip => (p.float("alpha")?, p.float("beta")?),
        _ => (0.0, 0.0),
    };
    let f = |v: f64| match c.operation.op {
        Op::Floor => v.floor(),
        Op::Exp => v.exp(),
        Op::Log => (v + epsilon).ln(),
        Op::Sqrt => v.sqrt(),
        Op::Rsqrt => 1.0 / (v + epsilon).sqrt(),
        Op::Inverse => 1.0 / (v + epsilon),
        Op::Sin => v.sin(),
        Op::Cos => v.cos(),
        Op::Erf => erf(v),
        Op::Sigmoid => sigmoid(v),
        Op::Silu => v * sigmoid(v),
        Op::Tanh => v.tanh(),
        Op::Relu => {
            if v < 0.0 {
                0.0
            } else {
                v
            }
        }
        Op::Clip => {
            if v < low {
                low
            } else if v > high {
                high
            } else {
                v
            }
        }
        _ => gelu(&mode, v),
    };
    Ok(Array::floats(x.dtype(), x.dims(), x.to_f64s().into_iter().map(f).collect()))
}

fn sigmoid(v: f64) -> f64 {
    1.0 / (1.0 + (-v).exp())
}

fn gelu(mode: &str, v: f64) -> f64 {
    match mode {
        "TANH_APPROXIMATION" => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v * v * v);
            0.5 * v * (1.0 + inner.tanh())
        }
        "SIGMOID_APPROXIMATION" => v * sigmoid(1.702 * v),
        _ => 0.5 * v * (1.0 + erf(v / std::f64::consts::SQRT_2)),
    }
}

/// For every index of the result the positions of the two operands' elements.
fn pairs<'a>(
    x: &'a Array,
    y: &'a Array,
    dims: &'a [usize],
) -> impl Iterator<Item = (usize, usize)> + 'a {
    let at = |a: &Array, index: &[usize]| broadcast_position(a.dims(), index);
    indices(dims).map(move |index| (at(x, &index), at(y, &index)))
}
