//! Rules of further functions of one number, most of them activations. Where a function has a kink
//! the slope is that of the side on which the function's own comparison puts it.

use super::elementwise::{from_x, from_z, one_minus, plus_one, select};
use crate::autodiff::step::{Done, Fault, Step};
use mil::{Op, ValueId};
use std::f64::consts::LN_2;

type Value = Result<ValueId, Fault>;

/// z = arccos x: dx = −dz/√(1 − x²).
pub(super) fn acos(s: &mut Step) -> Done {
    over_root(s, -1.0)
}

/// z = arcsin x: dx = dz/√(1 − x²).
pub(super) fn asin(s: &mut Step) -> Done {
    over_root(s, 1.0)
}

fn over_root(s: &mut Step, sign: f64) -> Done {
    let (dz, x) = (s.dz(), s.value("x")?);
    let square = s.mul(x, x)?;
    let rest = one_minus(s, square)?;
    let root = s.unary(Op::Sqrt, rest)?;
    let dx = s.binary(Op::RealDiv, dz, root)?;
    let dx = if sign == 1.0 { dx } else { s.scale(dx, sign)? };
    s.give("x", dx)
}

/// z = arctan x: dx = dz/(1 + x²).
pub(super) fn atan(s: &mut Step) -> Done {
    over_square(s, plus_one)
}

/// z = artanh x: dx = dz/(1 − x²).
pub(super) fn atanh(s: &mut Step) -> Done {
    over_square(s, one_minus)
}

fn over_square(s: &mut Step, of_square: fn(&mut Step, ValueId) -> Value) -> Done {
    let (dz, x) = (s.dz(), s.value("x")?);
    let square = s.mul(x, x)?;
    let divisor = of_square(s, square)?;
    let dx = s.binary(Op::RealDiv, dz, divisor)?;
    s.give("x", dx)
}

/// z = tan x: dx = dz·(1 + z²).
pub(super) fn tan(s: &mut Step) -> Done {
    from_z(s, |s, z| {
        let square = s.mul(z, z)?;
        plus_one(s, square)
    })
}

/// z = sinh x: dx = dz·cosh x.
pub(super) fn sinh(s: &mut Step) -> Done {
    from_x(s, |s, x| Ok(s.unary(Op::Cosh, x)?))
}

/// z = cosh x: dx = dz·sinh x.
pub(super) fn cosh(s: &mut Step) -> Done {
    from_x(s, |s, x| Ok(s.unary(Op::Sinh, x)?))
}

/// z = 2ˣ: dx = dz·z·ln 2.
pub(super) fn exp2(s: &mut Step) -> Done {
    from_z(s, |s, z| Ok(s.scale(z, LN_2)?))
}

/// z = x where x ≥ 0, else α·(eˣ − 1): dx = dz where x ≥ 0, else dz·α·eˣ.
pub(super) fn elu(s: &mut Step) -> Done {
    let alpha = s.params().float("alpha")?;
    below(s, |s, x| {
        let zero = s.number(x, 0.0);
        // What is not taken must not be infinite either.
        let x = s.binary(Op::Minimum, x, zero)?;
        let exp = s.unary(Op::Exp, x)?;
        Ok(s.scale(exp, alpha)?)
    })
}

/// z = x where x ≥ 0, else α·x: dx = dz where x ≥ 0, else dz·α.
pub(super) fn leaky_relu(s: &mut Step) -> Done {
    let alpha = s.params().float("alpha")?;
    below(s, |s, x| Ok(s.number(x, alpha)))
}

/// dx = dz where x ≥ 0, else dz·slope(x).
fn below(s: &mut Step, slope: impl FnOnce(&mut Step, ValueId) -> Value) -> Done {
    let (dz, x) = (s.dz(), s.value("x")?);
    let slope = slope(s, x)?;
    let lower = s.mul(dz, slope)?;
    let zero = s.number(x, 0.0);
    let above = s.binary(Op::GreaterEqual, x, zero)?;
    let dx = select(s, above, dz, lower)?;
    s.give("x", dx)
}

/// z = x where x ≥ 0, else α·x: dx = dz where x ≥ 0, else dz·α; dα = Σdz·x where x < 0 over all but
/// the channels.
pub(super) fn prelu(s: &mut Step) -> Done {
    let (dz, x) = (s.dz(), s.value("x")?);
    let zero = s.number(x, 0.0);
    if s.wants("x") {
        let alpha = per_channel(s, "alpha", x)?;
        let lower = s.mul(dz, alpha)?;
        let above = s.binary(Op::GreaterEqual, x, zero)?;
        let dx = select(s, above, dz, lower)?;
        s.give("x", dx)?;
    }
    if s.wants("alpha") {
        let negative = s.binary(Op::Minimum, x, zero)?;
        let product = s.mul(dz, negative)?;
        give_per_channel(s, "alpha", product)?;
    }
    Ok(())
}

/// A vector for each channel (axis 1), in x's element type and with an axis for each of x's.
pub(super) fn per_channel(s: &mut Step, parameter: &str, x: ValueId) -> Value {
    let (dims, dtype) = (s.dims(x), s.dtype(x));
    let vector = s.value(parameter)?;
    let vector = s.cast(vector, dtype)?;
    let mut shape = vec![1; dims.len()];
    shape[1] = dims[1];
    Ok(s.reshape(vector, &shape)?)
}

/// Sums `g`, of x's shape, over all but the channels and gives it to a vector for each channel.
pub(super) fn give_per_channel(s: &mut Step, parameter: &str, g: ValueId) -> Done {
    let axes: Vec<i64> = (0..s.dims(g).len() as i64).filter(|&axis| axis != 1).collect();
    let sum = s.reduce(Op::ReduceSum, g, &axes, false)?;
    s.give(parameter, sum)
}

/// z = min(max(x, 0), 6): dx = dz where 0 ≤ x ≤ 6, else 0.
pub(super) fn relu6(s: &mut Step) -> Done {
    let x = s.value("x")?;
    between(s, x, Some(0.0), Some(6.0), 1.0)
}

/// z = max(x, α): dx = dz where x ≥ α, else 0.
pub(super) fn threshold(s: &mut Step) -> Done {
    let (x, alpha) = (s.value("x")?, s.params().float("alpha")?);
    between(s, x, Some(alpha), None, 1.0)
}

/// z = x where x ≥ α, else 0: dx = dz where x ≥ α, else 0.
pub(super) fn thresholded_relu(s: &mut Step) -> Done {
    threshold(s)
}

/// z = min(max(α·x + β, 0), 1): dx = dz·α where 0 ≤ α·x + β ≤ 1, else 0.
pub(super) fn sigmoid_hard(s: &mut Step) -> Done {
    let (alpha, beta) = (s.params().float("alpha")?, s.params().float("beta")?);
    let x = s.value("x")?;
    let scaled = s.scale(x, alpha)?;
    let beta = s.number(x, beta);
    let inner = s.add(scaled, beta)?;
    between(s, inner, Some(0.0), Some(1.0), alpha)
}

/// dx = dz·slope where `inner` is within the bounds, else 0.
fn between(s: &mut Step, inner: ValueId, low: Option<f64>, high: Option<f64>, slope: f64) -> Done {
    let dz = s.dz();
    let mut inside = None;
    for (bound, compare) in [(low, Op::GreaterEqual), (high, Op::LessEqual)] {
        let Some(bound) = bound else { continue };
        let bound = s.number(inner, bound);
        let holds = s.binary(compare, inner, bound)?;
        inside = Some(match inside {
            None => holds,
            Some(other) => s.binary(Op::LogicalAnd, other, holds)?,
        });
    }
    let dz = if slope == 1.0 { dz } else { s.scale(dz, slope)? };
    let zero = s.number(dz, 0.0);
    let dx = match inside {
        Some(inside) => select(s, inside, dz, zero)?,
        None => dz,
    };
    s.give("x", dx)
}

/// y = x where x ≥ 0, else α·x, and z = min(y, β): dx = dz·(1 or α) where y ≤ β, else 0.
pub(super) fn clamped_relu(s: &mut Step) -> Done {
    let (alpha, beta) = (s.params().float("alpha")?, s.params().float("beta")?);
    let (dz, x) = (s.dz(), s.value("x")?);
    let zero = s.number(x, 0.0);
    let above = s.binary(Op::GreaterEqual, x, zero)?;
    let (one, alpha) = (s.number(x, 1.0), s.number(x, alpha));
    let slope = select(s, above, one, alpha)?;
    let y = s.mul(x, slope)?;
    let beta = s.number(x, beta);
    let passes = s.binary(Op::LessEqual, y, beta)?;
    let slope = select(s, passes, slope, zero)?;
    let dx = s.mul(dz, slope)?;
    s.give("x", dx)
}

/// z = α·x + β: dx = dz·α.
pub(super) fn linear_activation(s: &mut Step) -> Done {
    let (dz, alpha) = (s.dz(), s.params().float("alpha")?);
    let dx = s.scale(dz, alpha)?;
    s.give("x", dx)
}

/// z = α·tanh(β·x): dx = dz·α·β·(1 − tanh²(β·x)).
pub(super) fn scaled_tanh(s: &mut Step) -> Done {
    let (alpha, beta) = (s.params().float("alpha")?, s.params().float("beta")?);
    from_x(s, |s, x| {
        let inner = s.scale(x, beta)?;
        let tanh = s.unary(Op::Tanh, inner)?;
        let square = s.mul(tanh, tanh)?;
        let slope = one_minus(s, square)?;
        Ok(s.scale(slope, alpha * beta)?)
    })
}

/// z = ln(1 + eˣ): dx = dz·sigmoid(x).
pub(super) fn softplus(s: &mut Step) -> Done {
    from_x(s, |s, x| Ok(s.unary(Op::Sigmoid, x)?))
}

/// z = α·ln(1 + e^(β·x)), σ = sigmoid(β·x): dx = dz·α·β·σ, dα = Σdz·ln(1 + e^(β·x)),
/// dβ = Σdz·α·σ·x over all but the channels.
pub(super) fn softplus_parametric(s: &mut Step) -> Done {
    let (dz, x) = (s.dz(), s.value("x")?);
    let (alpha, beta) = (per_channel(s, "alpha", x)?, per_channel(s, "beta", x)?);
    let inner = s.mul(x, beta)?;
    if s.wants("alpha") {
        let softplus = s.unary(Op::Softplus, inner)?;
        let product = s.mul(dz, softplus)?;
        give_per_channel(s, "alpha", product)?;
    }
    if !s.wants("x") && !s.wants("beta") {
        return Ok(());
    }
    let sigmoid = s.unary(Op::Sigmoid, inner)?;
    let slope = s.mul(sigmoid, alpha)?;
    let outer = s.mul(dz, slope)?;
    if s.wants("x") {
        let dx = s.mul(outer, beta)?;
        s.give("x", dx)?;
    }
    if s.wants("beta") {
        let product = s.mul(outer, x)?;
        give_per_channel(s, "beta", product)?;
    }
    Ok(())
}

/// z = x/(1 + |x|): dx = dz/(1 + |x|)².
pub(super) fn softsign(s: &mut Step) -> Done {
    let (dz, x) = (s.dz(), s.value("x")?);
    let size = s.unary(Op::Abs, x)?;
    let divisor = plus_one(s, size)?;
    let square = s.mul(divisor, divisor)?;
    let dx = s.binary(Op::RealDiv, dz, square)?;
    s.give("x", dx)
}
