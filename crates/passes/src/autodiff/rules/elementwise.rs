//! Rules of element-wise operations. Operands are broadcast, so their cotangents are summed over
//! what was repeated.

use crate::autodiff::step::{Done, Fault, Step};
use mil::{Env, Op, ValueId};
use std::f64::consts::PI;

type Value = Result<ValueId, Fault>;

/// z = x: dx = dz.
pub(super) fn identity(s: &mut Step) -> Done {
    let dz = s.dz();
    s.give("x", dz)
}

/// z = x in another element type: dx = dz in x's element type. Integers end the way.
pub(super) fn cast(s: &mut Step) -> Done {
    let dz = s.dz();
    s.give("x", dz)
}

/// z = x + y: dx = dz, dy = dz.
pub(super) fn add(s: &mut Step) -> Done {
    let dz = s.dz();
    for operand in ["x", "y"] {
        if s.wants(operand) {
            s.give_broadcast(operand, dz)?;
        }
    }
    Ok(())
}

/// z = x − y: dx = dz, dy = −dz.
pub(super) fn sub(s: &mut Step) -> Done {
    let dz = s.dz();
    if s.wants("x") {
        s.give_broadcast("x", dz)?;
    }
    if s.wants("y") {
        s.give_scaled("y", dz, -1.0)?;
    }
    Ok(())
}

/// z = x·y: dx = dz·y, dy = dz·x.
pub(super) fn mul(s: &mut Step) -> Done {
    let dz = s.dz();
    if s.operation.value("x").is_some() && s.operation.value("x") == s.operation.value("y") {
        return square(s);
    }
    for (operand, other) in [("x", "y"), ("y", "x")] {
        if s.wants(operand) {
            let other = s.value(other)?;
            let dx = s.mul(dz, other)?;
            s.give_broadcast(operand, dx)?;
        }
    }
    Ok(())
}

/// z = x/y: dx = dz/y, dy = −(dz/y)·z.
pub(super) fn real_div(s: &mut Step) -> Done {
    let dz = s.dz();
    let y = s.value("y")?;
    let dx = s.binary(Op::RealDiv, dz, y)?;
    if s.wants("x") {
        s.give_broadcast("x", dx)?;
    }
    if s.wants("y") {
        let z = s.z()?;
        let dy = s.mul(dx, z)?;
        s.give_scaled("y", dy, -1.0)?;
    }
    Ok(())
}

/// z = x − y·⌊x/y⌋: dx = dz, dy = −dz·⌊x/y⌋, between the jumps.
pub(super) fn modulo(s: &mut Step) -> Done {
    let dz = s.dz();
    if s.wants("x") {
        s.give_broadcast("x", dz)?;
    }
    if s.wants("y") {
        let (x, y) = (s.value("x")?, s.value("y")?);
        let quotient = s.binary(Op::FloorDiv, x, y)?;
        let dy = s.mul(dz, quotient)?;
        s.give_scaled("y", dy, -1.0)?;
    }
    Ok(())
}

/// z = max(x, y): dx = dz where x > y, dz/2 where x = y, else 0; dy likewise.
pub(super) fn maximum(s: &mut Step) -> Done {
    extremum(s, Op::Greater)
}

/// z = min(x, y): dx = dz where x < y, dz/2 where x = y, else 0; dy likewise.
pub(super) fn minimum(s: &mut Step) -> Done {
    extremum(s, Op::Less)
}

fn extremum(s: &mut Step, wins: Op) -> Done {
    let dz = s.dz();
    let (x, y) = (s.value("x")?, s.value("y")?);
    let tie = s.binary(Op::Equal, x, y)?;
    let half = s.scale(dz, 0.5)?;
    let zero = s.number(dz, 0.0);
    let lost = select(s, tie, half, zero)?;
    for (operand, a, b) in [("x", x, y), ("y", y, x)] {
        if s.wants(operand) {
            let won = s.binary(wins, a, b)?;
            let dx = select(s, won, dz, lost)?;
            s.give_broadcast(operand, dx)?;
        }
    }
    Ok(())
}

/// z = xʸ: dx = dz·y·xʸ⁻¹ (0 where y = 0), dy = dz·z·ln x (0 where x = 0).
pub(super) fn pow(s: &mut Step) -> Done {
    let dz = s.dz();
    if s.wants("x") {
        let (x, y) = (s.value("x")?, s.value("y")?);
        let dtype = s.dtype(x);
        let exponent = s.constant_exponent(y);
        let slope = if let Some(c) = exponent {
            let power = match c {
                0.0 | 1.0 => None,
                2.0 => Some(x),
                _ => {
                    let less = s.float(dtype, c - 1.0);
                    Some(s.binary(Op::Pow, x, less)?)
                }
            };
            match power {
                Some(power) => s.scale(power, c)?,
                None => s.float(dtype, c),
            }
        } else {
            // 0 · 0⁻¹ is no number, but a constant's slope is 0.
            let (zero, one) = (s.float(dtype, 0.0), s.float(dtype, 1.0));
            let less = s.sub(y, one)?;
            let power = s.binary(Op::Pow, x, less)?;
            let slope = s.mul(y, power)?;
            let flat = s.binary(Op::Equal, y, zero)?;
            select(s, flat, zero, slope)?
        };
        let dx = s.mul(dz, slope)?;
        s.give_broadcast("x", dx)?;
    }
    if s.wants("y") {
        let (x, z) = (s.value("x")?, s.z()?);
        let dtype = s.dtype(x);
        let (zero, one) = (s.float(dtype, 0.0), s.float(dtype, 1.0));
        let is_zero = s.binary(Op::Equal, x, zero)?;
        let safe = select(s, is_zero, one, x)?;
        let log = s.unary(Op::Log, safe)?;
        let slope = s.mul(z, log)?;
        let dy = s.mul(dz, slope)?;
        s.give_broadcast("y", dy)?;
    }
    Ok(())
}

/// z = a where c, else b: da = dz where c, else 0; db = dz where not c, else 0.
pub(super) fn select_rule(s: &mut Step) -> Done {
    let dz = s.dz();
    let condition = s.value("cond")?;
    let zero = s.number(dz, 0.0);
    if s.wants("a") {
        let da = select(s, condition, dz, zero)?;
        s.give_broadcast("a", da)?;
    }
    if s.wants("b") {
        let db = select(s, condition, zero, dz)?;
        s.give_broadcast("b", db)?;
    }
    Ok(())
}

/// z = |x|: dx = dz·sign(x).
pub(super) fn abs(s: &mut Step) -> Done {
    from_x(s, |s, x| Ok(s.unary(Op::Sign, x)?))
}

/// z = eˣ: dx = dz·z.
pub(super) fn exp(s: &mut Step) -> Done {
    from_z(s, |_, z| Ok(z))
}

/// z = ln(x + ε): dx = dz/(x + ε).
pub(super) fn log(s: &mut Step) -> Done {
    let (dz, mut x) = (s.dz(), s.value("x")?);
    let epsilon = s.params().float("epsilon")?;
    // The default, 10⁻⁴⁵, only keeps the logarithm of 0 finite.
    if epsilon > 1e-40 {
        let epsilon = s.number(x, epsilon);
        x = s.add(x, epsilon)?;
    }
    let dx = s.binary(Op::RealDiv, dz, x)?;
    s.give("x", dx)
}

/// z = √x: dx = dz/(2z).
pub(super) fn sqrt(s: &mut Step) -> Done {
    let (dz, z) = (s.dz(), s.z()?);
    let half = s.scale(dz, 0.5)?;
    let dx = s.binary(Op::RealDiv, half, z)?;
    s.give("x", dx)
}

/// z = 1/√(x + ε): dx = −dz·z³/2.
pub(super) fn rsqrt(s: &mut Step) -> Done {
    from_z(s, |s, z| {
        let square = s.mul(z, z)?;
        let cube = s.mul(square, z)?;
        Ok(s.scale(cube, -0.5)?)
    })
}

/// z = 1/(x + ε): dx = −dz·z².
pub(super) fn inverse(s: &mut Step) -> Done {
    from_z(s, |s, z| {
        let square = s.mul(z, z)?;
        Ok(s.scale(square, -1.0)?)
    })
}

/// z = x²: dx = 2·dz·x.
pub(super) fn square(s: &mut Step) -> Done {
    // dz may be lazy, and then the factor costs nothing on it.
    let (dz, x) = (s.dz(), s.value("x")?);
    let twice = s.scale(dz, 2.0)?;
    let dx = s.mul(twice, x)?;
    s.give("x", dx)
}

/// z = sin x: dx = dz·cos x.
pub(super) fn sin(s: &mut Step) -> Done {
    from_x(s, |s, x| Ok(s.unary(Op::Cos, x)?))
}

/// z = cos x: dx = −dz·sin x.
pub(super) fn cos(s: &mut Step) -> Done {
    from_x(s, |s, x| {
        let sin = s.unary(Op::Sin, x)?;
        Ok(s.scale(sin, -1.0)?)
    })
}

/// z = erf x: dx = dz·2/√π·e^(−x²).
pub(super) fn erf(s: &mut Step) -> Done {
    from_x(s, |s, x| {
        let bell = bell(s, x, -1.0)?;
        Ok(s.scale(bell, 2.0 / PI.sqrt())?)
    })
}

/// z = 1/(1 + e⁻ˣ): dx = dz·z·(1 − z).
pub(super) fn sigmoid(s: &mut Step) -> Done {
    from_z(s, |s, z| {
        let rest = one_minus(s, z)?;
        Ok(s.mul(z, rest)?)
    })
}

/// z = x·σ, σ = sigmoid(x): dx = dz·σ·(1 + x·(1 − σ)).
pub(super) fn silu(s: &mut Step) -> Done {
    from_x(s, |s, x| {
        let sigmoid = s.unary(Op::Sigmoid, x)?;
        let rest = one_minus(s, sigmoid)?;
        let inner = s.mul(x, rest)?;
        let inner = plus_one(s, inner)?;
        Ok(s.mul(sigmoid, inner)?)
    })
}

/// z = tanh x: dx = dz·(1 − z²).
pub(super) fn tanh(s: &mut Step) -> Done {
    from_z(s, |s, z| {
        let square = s.mul(z, z)?;
        one_minus(s, square)
    })
}

/// z = max(x, 0): dx = dz where z > 0, else 0.
pub(super) fn relu(s: &mut Step) -> Done {
    let (dz, z) = (s.dz(), s.z()?);
    let zero = s.number(z, 0.0);
    let passes = s.binary(Op::Greater, z, zero)?;
    let dx = select(s, passes, dz, zero)?;
    s.give("x", dx)
}

/// Exact, z = x·Φ(x): dx = dz·(Φ(x) + x·φ(x)).
/// Tanh, z = x/2·(1 + t), t = tanh u, u = √(2/π)·(x + c·x³), c = 0.044715:
/// dx = dz·½·(1 + t + x·(1 − t²)·√(2/π)·(1 + 3c·x²)).
/// Sigmoid, z = x·σ, σ = sigmoid(1.702·x): dx = dz·σ·(1 + 1.702·x·(1 − σ)).
pub(super) fn gelu(s: &mut Step) -> Done {
    match s.params().string("mode")?.as_str() {
        "EXACT" => from_x(s, |s, x| {
            let inner = s.scale(x, 0.5f64.sqrt())?;
            let erf = s.unary(Op::Erf, inner)?;
            let cumulative = plus_one(s, erf)?;
            let cumulative = s.scale(cumulative, 0.5)?;
            let bell = bell(s, x, -0.5)?;
            let density = s.scale(bell, 1.0 / (2.0 * PI).sqrt())?;
            let rest = s.mul(x, density)?;
            Ok(s.add(cumulative, rest)?)
        }),
        "TANH_APPROXIMATION" => from_x(s, |s, x| {
            let (c, root) = (0.044715, (2.0 / PI).sqrt());
            let square = s.mul(x, x)?;
            let inner = s.scale(square, c)?;
            let inner = plus_one(s, inner)?;
            let inner = s.mul(inner, x)?;
            let inner = s.scale(inner, root)?;
            let t = s.unary(Op::Tanh, inner)?;
            let t_square = s.mul(t, t)?;
            let t_slope = one_minus(s, t_square)?;
            let slope = s.scale(square, 3.0 * c)?;
            let slope = plus_one(s, slope)?;
            let slope = s.scale(slope, root)?;
            let slope = s.mul(slope, t_slope)?;
            let slope = s.mul(slope, x)?;
            let sum = s.add(t, slope)?;
            let sum = plus_one(s, sum)?;
            Ok(s.scale(sum, 0.5)?)
        }),
        "SIGMOID_APPROXIMATION" => from_x(s, |s, x| {
            let inner = s.scale(x, 1.702)?;
            let sigmoid = s.unary(Op::Sigmoid, inner)?;
            let rest = one_minus(s, sigmoid)?;
            let rest = s.mul(inner, rest)?;
            let rest = plus_one(s, rest)?;
            Ok(s.mul(sigmoid, rest)?)
        }),
        mode => Err(s.unsupported(format!("with mode \"{mode}\""))),
    }
}

/// z = min(max(x, α), β): dx = dz where α ≤ x ≤ β, else 0.
pub(super) fn clip(s: &mut Step) -> Done {
    let (dz, x) = (s.dz(), s.value("x")?);
    let (alpha, beta) = (s.value("alpha")?, s.value("beta")?);
    let above = s.binary(Op::GreaterEqual, x, alpha)?;
    let below = s.binary(Op::LessEqual, x, beta)?;
    let inside = s.binary(Op::LogicalAnd, above, below)?;
    let zero = s.number(dz, 0.0);
    let dx = select(s, inside, dz, zero)?;
    s.give("x", dx)
}

/// dx = dz·slope(x).
pub(super) fn from_x(s: &mut Step, slope: impl FnOnce(&mut Step, ValueId) -> Value) -> Done {
    let (dz, x) = (s.dz(), s.value("x")?);
    let slope = slope(s, x)?;
    let dx = s.mul(dz, slope)?;
    s.give("x", dx)
}

/// dx = dz·slope(z).
pub(super) fn from_z(s: &mut Step, slope: impl FnOnce(&mut Step, ValueId) -> Value) -> Done {
    let (dz, z) = (s.dz(), s.z()?);
    let slope = slope(s, z)?;
    let dx = s.mul(dz, slope)?;
    s.give("x", dx)
}

pub(super) fn select(s: &mut Step, condition: ValueId, a: ValueId, b: ValueId) -> Value {
    let inputs = [("cond", condition.into()), ("a", a.into()), ("b", b.into())];
    Ok(s.op(Op::Select, "select", inputs)?)
}

pub(super) fn one_minus(s: &mut Step, x: ValueId) -> Value {
    let one = s.number(x, 1.0);
    Ok(s.sub(one, x)?)
}

pub(super) fn plus_one(s: &mut Step, x: ValueId) -> Value {
    let one = s.number(x, 1.0);
    Ok(s.add(x, one)?)
}

/// e^(factor·x²).
fn bell(s: &mut Step, x: ValueId, factor: f64) -> Value {
    let square = s.mul(x, x)?;
    let scaled = s.scale(square, factor)?;
    Ok(s.unary(Op::Exp, scaled)?)
}

impl Step<'_, '_> {
    /// The exponent, if it is one number that is known.
    fn constant_exponent(&self, y: ValueId) -> Option<f64> {
        let tensor = Env::constant(&**self, y)?;
        if tensor.count() == 1 { tensor.to_f64s().first().copied() } else { None }
    }
}
