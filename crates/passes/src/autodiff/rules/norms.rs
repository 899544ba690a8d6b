//! Rules of norms of images, whose channels are axis 1.

use super::activation::{give_per_channel, per_channel};
use super::reduce;
use crate::autodiff::step::{Done, Fault, Step};
use mil::{Op, Tensor, ValueId};

/// z = n·γ + β, n = (x − m)·r, r = 1/√(v + ε); with g = dz·γ: dx = g·r, dm = −Σg·r,
/// dv = −½·Σg·n·r², dγ = Σdz·n, dβ = Σdz over all but the channels.
pub(super) fn batch_norm(s: &mut Step) -> Done {
    let x = s.value("x")?;
    let dz = s.dz_full()?;
    if s.wants("beta") {
        give_per_channel(s, "beta", dz)?;
    }
    let variance = per_channel(s, "variance", x)?;
    let r = root(s, variance)?;
    let mut g = dz;
    if s.has("gamma") {
        let gamma = per_channel(s, "gamma", x)?;
        g = s.mul(g, gamma)?;
    }
    let gr = s.mul(g, r)?;
    if s.wants("x") {
        s.give("x", gr)?;
    }
    if s.wants("mean") {
        let negative = s.scale(gr, -1.0)?;
        give_per_channel(s, "mean", negative)?;
    }
    if !s.wants("gamma") && !s.wants("variance") {
        return Ok(());
    }
    let mean = per_channel(s, "mean", x)?;
    let centered = s.sub(x, mean)?;
    let n = s.mul(centered, r)?;
    if s.wants("gamma") {
        let product = s.mul(dz, n)?;
        give_per_channel(s, "gamma", product)?;
    }
    if s.wants("variance") {
        let product = s.mul(gr, n)?;
        let product = s.mul(product, r)?;
        let product = s.scale(product, -0.5)?;
        give_per_channel(s, "variance", product)?;
    }
    Ok(())
}

/// 1/√(v + ε) with the operation's own ε.
fn root(s: &mut Step, v: ValueId) -> Result<ValueId, Fault> {
    let epsilon = s.params().float("epsilon")?;
    let epsilon = s.number(v, epsilon);
    Ok(s.op(Op::Rsqrt, "rsqrt", [("x", v.into()), ("epsilon", epsilon.into())])?)
}

/// z = n·γ + β, n = (x − mean x)·r, r = 1/√(variance + ε) over the pixels; with g = dz·γ:
/// dx = r·(g − mean g − n·mean(g·n)), dγ = Σdz·n, dβ = Σdz over all but the channels.
pub(super) fn instance_norm(s: &mut Step) -> Done {
    let x = s.value("x")?;
    let dz = s.dz_full()?;
    if s.wants("beta") {
        give_per_channel(s, "beta", dz)?;
    }
    let over: Vec<i64> = (2..s.dims(x).len() as i64).collect();
    let mean = s.reduce(Op::ReduceMean, x, &over, true)?;
    let centered = s.sub(x, mean)?;
    let square = s.mul(centered, centered)?;
    let variance = s.reduce(Op::ReduceMean, square, &over, true)?;
    let r = root(s, variance)?;
    let n = s.mul(centered, r)?;
    if s.wants("gamma") {
        let product = s.mul(dz, n)?;
        give_per_channel(s, "gamma", product)?;
    }
    if s.wants("x") {
        let mut g = dz;
        if s.has("gamma") {
            let gamma = per_channel(s, "gamma", x)?;
            g = s.mul(g, gamma)?;
        }
        let dx = reduce::through_norm(s, g, n, r, &over)?;
        s.give("x", dx)?;
    }
    Ok(())
}

/// z = x·r, r = 1/√(Σx² + ε) over the last three axes: dx = r·(dz − z·Σdz·z).
pub(super) fn l2_norm(s: &mut Step) -> Done {
    let (x, dz) = (s.value("x")?, s.dz());
    let over = [-3, -2, -1];
    let square = s.mul(x, x)?;
    let sum = s.reduce(Op::ReduceSum, square, &over, true)?;
    let r = root(s, sum)?;
    let z = s.mul(x, r)?;
    let product = s.mul(dz, z)?;
    let projection = s.reduce(Op::ReduceSum, product, &over, true)?;
    let along = s.mul(z, projection)?;
    let dx = s.sub(dz, along)?;
    let dx = s.mul(dx, r)?;
    s.give("x", dx)
}

/// z = x·d^(−β), d = k + a·B·x², a = α/size, B the matrix of ones near the diagonal that sums
/// neighboring channels: dx = dz·d^(−β) − 2aβ·x·Bᵀ(dz·x·d^(−β−1)).
pub(super) fn local_response_norm(s: &mut Step) -> Done {
    let (x, dz) = (s.value("x")?, s.dz_full()?);
    let p = s.params();
    let (alpha, beta, k) = (p.float("alpha")?, p.float("beta")?, p.float("k")?);
    let size = p.int("size")? as f64;
    let dims = s.dims(x);
    let (channels, space) = (dims[1], dims[2..].iter().product::<usize>());
    let near = |(row, column): (usize, usize)| {
        let distance = column as f64 - row as f64;
        (-(size / 2.0).floor()..=((size - 1.0) / 2.0).floor()).contains(&distance)
    };
    let cells = (0..channels).flat_map(|row| (0..channels).map(move |column| (row, column)));
    let ones: Vec<f64> = cells.map(|cell| f64::from(u8::from(near(cell)))).collect();
    let band = Tensor::from_f64s(s.dtype(x), &[channels, channels], &ones);
    let band = s.constant("band", band.expect("as many elements as the square of the channels"));
    let flat = [dims[0], channels, space];
    let (x, dz) = (s.reshape(x, &flat)?, s.reshape(dz, &flat)?);

    let square = s.mul(x, x)?;
    let sum = s.matmul(band, square, (false, false))?;
    let sum = s.scale(sum, alpha / size)?;
    let k = s.number(x, k);
    let d = s.add(sum, k)?;
    let exponent = s.number(x, -beta);
    let power = s.binary(Op::Pow, d, exponent)?;
    let direct = s.mul(dz, power)?;
    let inner = s.binary(Op::RealDiv, direct, d)?;
    let inner = s.mul(inner, x)?;
    let inner = s.matmul(band, inner, (true, false))?;
    let inner = s.mul(inner, x)?;
    let inner = s.scale(inner, 2.0 * alpha / size * beta)?;
    let dx = s.sub(direct, inner)?;
    let dx = s.reshape(dx, &dims)?;
    s.give("x", dx)
}
