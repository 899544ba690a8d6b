//! Norms of images: x is `[N, C, …]`.

use super::reduce::{groups, standardized, sums};
use crate::Array;
use crate::evaluate::Context;
use crate::index::{indices, position};
use mil::OpError;

/// A vector with a number for each channel, if it is bound.
fn channels(c: &Context, name: &str) -> Result<Option<Vec<f64>>, OpError> {
    Ok(c.get(name)?.map(|array| array.to_f64s()))
}

/// γ·n + β for what has been normalized.
fn scaled(c: &Context, x: &Array, normal: Vec<f64>) -> Result<Array, OpError> {
    let (gamma, beta) = (channels(c, "gamma")?, channels(c, "beta")?);
    let out = normal.into_iter().zip(indices(x.dims())).map(|(v, index)| {
        let gain = gamma.as_ref().map_or(1.0, |g| g[index[1]]);
        let shift = beta.as_ref().map_or(0.0, |b| b[index[1]]);
        v * gain + shift
    });
    Ok(Array::floats(x.dtype(), x.dims(), out.collect()))
}

pub(super) fn batch_norm(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let (mean, variance) = (c.need("mean")?.to_f64s(), c.need("variance")?.to_f64s());
    let epsilon = c.params.float("epsilon")?;
    let normal = x.to_f64s().into_iter().zip(indices(x.dims())).map(|(v, index)| {
        let channel = index[1];
        (v - mean[channel]) / (variance[channel] + epsilon).sqrt()
    });
    scaled(c, &x, normal.collect())
}

pub(super) fn instance_norm(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let space: Vec<usize> = (2..x.dims().len()).collect();
    let (group, count) = groups(x.dims(), &space);
    let normal = standardized(&x.to_f64s(), &group, count, c.params.float("epsilon")?);
    scaled(c, &x, normal)
}

pub(super) fn l2_norm(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let rank = x.dims().len();
    let epsilon = c.params.float("epsilon")?;
    let (group, count) = groups(x.dims(), &[rank - 3, rank - 2, rank - 1]);
    let values = x.to_f64s();
    let squares: Vec<f64> = values.iter().map(|v| v * v).collect();
    let sum = sums(&squares, &group, count);
    let out = values.iter().zip(&group).map(|(v, &g)| v / (sum[g] + epsilon).sqrt()).collect();
    Ok(Array::floats(x.dtype(), x.dims(), out))
}

/// The sum over the window of channels: of `size`, half of it (rounded down) before each.
pub(super) fn local_response_norm(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let size = usize::try_from(c.params.int("size")?).unwrap_or(usize::MAX);
    let p = &c.params;
    let (alpha, beta, k) = (p.float("alpha")?, p.float("beta")?, p.float("k")?);
    let values = x.to_f64s();
    let mut out = vec![];
    for (&v, mut index) in values.iter().zip(indices(x.dims())) {
        let (channel, all) = (index[1], x.dims()[1]);
        let window =
            channel.saturating_sub(size / 2)..=channel.saturating_add((size - 1) / 2).min(all - 1);
        let mut sum = 0.0;
        for neighbor in window {
            index[1] = neighbor;
            sum += values[position(x.dims(), &index)].powi(2);
        }
        out.push(v / (k + alpha / size as f64 * sum).powf(beta));
    }
    Ok(Array::floats(x.dtype(), x.dims(), out))
}
