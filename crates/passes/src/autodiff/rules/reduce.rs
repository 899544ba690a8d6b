//! Rules of operations that combine elements along axes: reductions, softmax, norms, sums.

use super::elementwise::select;
use crate::autodiff::step::{Done, Fault, Step};
use mil::{Op, ValueId};

/// z = eˣ/Σeˣ: dx = z·(dz − Σdz·z).
pub(super) fn softmax(s: &mut Step) -> Done {
    let (dz, z) = (s.dz(), s.z()?);
    let axis = s.params().int("axis")?;
    let dx = softmax_backward(s, z, dz, axis)?;
    s.give("x", dx)
}

/// z·(dz − Σdz·z) along `axis`.
pub(super) fn softmax_backward(
    s: &mut Step,
    z: ValueId,
    dz: ValueId,
    axis: i64,
) -> Result<ValueId, Fault> {
    let product = s.mul(dz, z)?;
    let sum = s.reduce(Op::ReduceSum, product, &[axis], true)?;
    let difference = s.sub(dz, sum)?;
    Ok(s.mul(z, difference)?)
}

/// z = Σx: dx = dz, repeated.
pub(super) fn sum(s: &mut Step) -> Done {
    let dz = s.dz();
    let dx = kept(s, dz)?;
    s.give("x", dx)
}

/// z = Σx/n: dx = dz/n, repeated.
pub(super) fn mean(s: &mut Step) -> Done {
    let dz = s.dz();
    let dx = kept(s, dz)?;
    let (dims, axes) = (s.dims_of("x")?, axes(s)?);
    let count: usize = axes.iter().map(|&axis| dims[axis]).product();
    let dx = s.scale(dx, 1.0 / count as f64)?;
    s.give("x", dx)
}

/// z = max x or min x: dx = dz/k where x = z, else 0; k is how many elements tie.
pub(super) fn extremum(s: &mut Step) -> Done {
    let (x, z, dz) = (s.value("x")?, s.z()?, s.dz());
    let axes: Vec<i64> = axes(s)?.iter().map(|&axis| axis as i64).collect();
    let (z, dz) = (kept(s, z)?, kept(s, dz)?);
    let dtype = s.dtype(x);
    let ties = s.binary(Op::Equal, x, z)?;
    let ones = s.cast(ties, dtype)?;
    let count = s.reduce(Op::ReduceSum, ones, &axes, true)?;
    let share = s.binary(Op::RealDiv, dz, count)?;
    let zero = s.float(dtype, 0.0);
    let dx = select(s, ties, share, zero)?;
    s.give("x", dx)
}

/// z = ln Σeˣ: dx = dz·e^(x − z).
pub(super) fn log_sum_exp(s: &mut Step) -> Done {
    let (x, z, dz) = (s.value("x")?, s.z()?, s.dz());
    let (z, dz) = (kept(s, z)?, kept(s, dz)?);
    let difference = s.sub(x, z)?;
    let softmax = s.unary(Op::Exp, difference)?;
    let dx = s.mul(dz, softmax)?;
    s.give("x", dx)
}

/// z = Σ|x|: dx = dz·sign(x).
pub(super) fn l1_norm(s: &mut Step) -> Done {
    let (x, dz) = (s.value("x")?, s.dz());
    let dz = kept(s, dz)?;
    let sign = s.unary(Op::Sign, x)?;
    let dx = s.mul(dz, sign)?;
    s.give("x", dx)
}

/// z = √Σx²: dx = dz·x/z, 0 where z = 0.
pub(super) fn l2_norm(s: &mut Step) -> Done {
    let (x, z, dz) = (s.value("x")?, s.z()?, s.dz());
    let (z, dz) = (kept(s, z)?, kept(s, dz)?);
    let (zero, one) = (s.number(z, 0.0), s.number(z, 1.0));
    let flat = s.binary(Op::Equal, z, zero)?;
    let divisor = select(s, flat, one, z)?;
    let share = s.binary(Op::RealDiv, dz, divisor)?;
    let dx = s.mul(share, x)?;
    s.give("x", dx)
}

/// z = Σx²: dx = 2·dz·x.
pub(super) fn sum_square(s: &mut Step) -> Done {
    let (x, dz) = (s.value("x")?, s.dz());
    let dz = kept(s, dz)?;
    let twice = s.scale(dz, 2.0)?;
    let dx = s.mul(twice, x)?;
    s.give("x", dx)
}

/// z = ln Σx: dx = dz/Σx.
pub(super) fn log_sum(s: &mut Step) -> Done {
    let (x, dz) = (s.value("x")?, s.dz());
    let dz = kept(s, dz)?;
    let axes: Vec<i64> = axes(s)?.iter().map(|&axis| axis as i64).collect();
    let sum = s.reduce(Op::ReduceSum, x, &axes, true)?;
    let dx = s.binary(Op::RealDiv, dz, sum)?;
    s.give("x", dx)
}

/// z = Πx: dx = dz·Πx of the others. With p the product of those that are not 0, that is p/x if none
/// is 0, p for the only one that is, and else 0.
pub(super) fn product(s: &mut Step) -> Done {
    let (x, dz) = (s.value("x")?, s.dz());
    let dz = kept(s, dz)?;
    let axes: Vec<i64> = axes(s)?.iter().map(|&axis| axis as i64).collect();
    let (zero, one) = (s.number(x, 0.0), s.number(x, 1.0));
    let is_zero = s.binary(Op::Equal, x, zero)?;
    let safe = select(s, is_zero, one, x)?;
    let p = s.reduce(Op::ReduceProd, safe, &axes, true)?;
    let dtype = s.dtype(x);
    let zeros = s.cast(is_zero, dtype)?;
    let count = s.reduce(Op::ReduceSum, zeros, &axes, true)?;
    // The zeros among the others.
    let others = s.sub(count, zeros)?;
    let none = s.binary(Op::Equal, others, zero)?;
    let rest = s.binary(Op::RealDiv, p, safe)?;
    let slope = select(s, none, rest, zero)?;
    let dx = s.mul(dz, slope)?;
    s.give("x", dx)
}

/// z = running sum of x: dx = running sum of dz in the opposite direction.
pub(super) fn cumsum(s: &mut Step) -> Done {
    let dz = s.dz_full()?;
    let p = s.params();
    let (axis, exclusive, reverse) = (p.int("axis")?, p.bool("exclusive")?, p.bool("reverse")?);
    let (axis, exclusive, reverse) = (s.int(axis), s.bool(exclusive), s.bool(!reverse));
    let inputs = [
        ("x", dz.into()),
        ("axis", axis.into()),
        ("exclusive", exclusive.into()),
        ("reverse", reverse.into()),
    ];
    let dx = s.op(Op::Cumsum, "cumsum", inputs)?;
    s.give("x", dx)
}

/// z = n·γ + β, n = (x − mean x)·r, r = 1/√(variance + ε); with g = dz·γ:
/// dx = r·(g − mean g − n·mean(g·n)), dγ = Σdz·n, dβ = Σdz over the other axes.
pub(super) fn layer_norm(s: &mut Step) -> Done {
    let dims = s.dims_of("x")?;
    let axes = axes(s)?;
    let over: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
    let others = (0..dims.len()).filter(|axis| !axes.contains(axis));
    let others: Vec<i64> = others.map(|axis| axis as i64).collect();
    // γ and β stand for tensors of x's rank with 1 on the other axes.
    let whole = |axis| if axes.contains(&axis) { dims[axis] } else { 1 };
    let scale_dims: Vec<usize> = (0..dims.len()).map(whole).collect();

    if s.wants("beta") {
        let dz = s.dz_full()?;
        give_scale(s, "beta", dz, &others)?;
    }
    if !s.wants("gamma") && !s.wants("x") {
        return Ok(());
    }
    let x = s.value("x")?;
    let mean = s.reduce(Op::ReduceMean, x, &over, true)?;
    let centered = s.sub(x, mean)?;
    let square = s.mul(centered, centered)?;
    let variance = s.reduce(Op::ReduceMean, square, &over, true)?;
    let epsilon = s.params().float("epsilon")?;
    let epsilon = s.number(x, epsilon);
    let inputs = [("x", variance.into()), ("epsilon", epsilon.into())];
    let r = s.op(Op::Rsqrt, "rsqrt", inputs)?;
    let n = s.mul(centered, r)?;
    if s.wants("gamma") {
        let dz = s.dz_full()?;
        let product = s.mul(dz, n)?;
        give_scale(s, "gamma", product, &others)?;
    }
    if s.wants("x") {
        let mut g = s.dz();
        if let Some(gamma) = s.value_opt("gamma")? {
            let dtype = s.dtype(x);
            let gamma = s.cast(gamma, dtype)?;
            let gamma =
                if s.dims(gamma) == scale_dims { gamma } else { s.reshape(gamma, &scale_dims)? };
            g = s.mul(g, gamma)?;
        }
        let dx = through_norm(s, g, n, r, &over)?;
        s.give("x", dx)?;
    }
    Ok(())
}

/// What n = (x − mean(x))·r, r one by the deviation, sends back to x for the cotangent g of n:
/// r·(g − mean(g) − n·mean(g·n)), means over `over`.
pub(super) fn through_norm(
    s: &mut Step,
    g: ValueId,
    n: ValueId,
    r: ValueId,
    over: &[i64],
) -> Result<ValueId, Fault> {
    let mean = s.reduce(Op::ReduceMean, g, over, true)?;
    let product = s.mul(g, n)?;
    let projection = s.reduce(Op::ReduceMean, product, over, true)?;
    let along = s.mul(n, projection)?;
    let dx = s.sub(g, mean)?;
    let dx = s.sub(dx, along)?;
    Ok(s.mul(dx, r)?)
}

/// Sums `g` over all but the normalized axes and gives it to γ or β.
fn give_scale(s: &mut Step, parameter: &str, g: ValueId, others: &[i64]) -> Done {
    let sum = if others.is_empty() { g } else { s.reduce(Op::ReduceSum, g, others, false)? };
    s.give(parameter, sum)
}

/// The axes that the operation combines, counted from the front.
fn axes(s: &Step) -> Result<Vec<usize>, Fault> {
    let rank = s.dims_of("x")?.len();
    Ok(s.params().axes("axes", rank)?.unwrap_or_else(|| (0..rank).collect()))
}

/// A value of the result's shape with the reduced axes back, of size 1.
fn kept(s: &mut Step, value: ValueId) -> Result<ValueId, Fault> {
    let rank = s.dims_of("x")?.len();
    let now = s.dims(value);
    if now.len() == rank {
        return Ok(value);
    }
    let axes = axes(s)?;
    let mut rest = now.into_iter();
    let one_or_next = |axis| if axes.contains(&axis) { 1 } else { rest.next().unwrap_or(1) };
    let dims: Vec<usize> = (0..rank).map(one_or_next).collect();
    Ok(s.reshape(value, &dims)?)
}
