//! Sums of products: linear layers, `matmul`, convolutions, attention.

use super::{broadcast, tensor, unranked};
use crate::shape::{conv_geometry, conv_transpose_geometry};
use crate::{DataType, Dim, Op, OpError, Params, TensorType};

pub(super) fn linear(p: &Params) -> Result<TensorType, OpError> {
    let (x, weight) = (p.ty("x")?, p.ty("weight")?);
    let (Some(from), Some(w)) = (x.dims(), weight.dims()) else { return Ok(unranked(x.dtype)) };
    let [out, into] = w else {
        return Err(p.error(format!("`weight` is {weight}; it must have rank 2")));
    };
    let Some((last, rest)) = from.split_last() else {
        return Err(p.error("`x` must not be a scalar"));
    };
    if !last.compatible(*into) {
        return Err(p.error(format!("x is {x} and weight {weight}: {last} inputs against {into}")));
    }
    if let Some(bias) = p.ty_opt("bias")? {
        let fits = bias.dims().is_none_or(|d| match d {
            [n] => n.compatible(*out) || *n == Dim::Fixed(1),
            _ => false,
        });
        if !fits {
            return Err(p.error(format!("`bias` is {bias}, the weight gives {out} outputs")));
        }
    }
    let mut dims = rest.to_vec();
    dims.push(*out);
    Ok(tensor(x.dtype, dims))
}

pub(super) fn matmul(p: &Params) -> Result<TensorType, OpError> {
    let (x, y) = (p.ty("x")?, p.ty("y")?);
    let (flip_x, flip_y) = (p.bool("transpose_x")?, p.bool("transpose_y")?);
    let (Some(a), Some(b)) = (x.dims(), y.dims()) else { return Ok(unranked(x.dtype)) };
    let (Some((batch_a, m, k)), Some((batch_b, l, n))) = (matrix(a, flip_x), matrix(b, flip_y))
    else {
        return Err(p.error(format!("x is {x} and y {y}; both must have rank 2 or more")));
    };
    if !k.compatible(l) {
        return Err(p.error(format!("x is {x} and y {y}: {k} columns against {l} rows")));
    }
    let batch = |dims: &[Dim]| tensor(DataType::Fp32, dims.to_vec());
    let shape = broadcast(p, &batch(batch_a), &batch(batch_b))?;
    let mut dims = TensorType { dtype: x.dtype, shape }.dims().unwrap_or_default().to_vec();
    dims.extend([m, n]);
    Ok(tensor(x.dtype, dims))
}

/// Batch dims, rows and columns.
fn matrix(dims: &[Dim], flip: bool) -> Option<(&[Dim], Dim, Dim)> {
    let (batch, last) = dims.split_at_checked(dims.len().checked_sub(2)?)?;
    Some(if flip { (batch, last[1], last[0]) } else { (batch, last[0], last[1]) })
}

pub(super) fn conv(p: &Params) -> Result<TensorType, OpError> {
    let (x, weight) = (p.ty("x")?, p.ty("weight")?);
    let transposed = p.operation.op == Op::ConvTranspose;
    let Some(from) = x.dims() else { return Ok(unranked(x.dtype)) };
    let Some(w) = weight.fixed_dims().filter(|w| w.len() == from.len() && w.len() > 2) else {
        if weight.fixed_dims().is_some() || from.len() < 3 {
            return Err(p.error(format!("x is {x} and weight {weight}: the ranks do not fit")));
        }
        let mut dims = vec![Dim::Unknown; from.len()];
        dims[0] = from[0];
        return Ok(tensor(x.dtype, dims));
    };
    // The arguments are checked even where x is not wholly known: an unknown dim stands for one
    // that fits, and gives an unknown one.
    let groups = usize::try_from(p.int("groups")?).unwrap_or(0);
    let channels = if transposed { Some(w[0]) } else { w[1].checked_mul(groups) };
    let channels = channels.ok_or_else(|| p.error("too many channels"))?;
    let stand_in = |axis: usize| match axis {
        0 => 1,
        1 => channels,
        _ => 1 << 24,
    };
    let assumed: Vec<usize> =
        from.iter().enumerate().map(|(a, d)| d.fixed().unwrap_or(stand_in(a))).collect();
    let (geometry, channels) = if transposed {
        let geometry = conv_transpose_geometry(p, &assumed, &w)?;
        let channels = w[1].checked_mul(geometry.groups);
        (geometry, channels.ok_or_else(|| p.error("too many channels"))?)
    } else {
        (conv_geometry(p, &assumed, &w)?, w[0])
    };
    if let Some(bias) = p.ty_opt("bias")?
        && !bias.compatible(&TensorType::fixed(bias.dtype, &[channels]))
    {
        return Err(p.error(format!("`bias` is {bias}, the weight gives {channels} channels")));
    }
    let given = transposed && p.has("output_shape");
    let mut dims = vec![from[0], Dim::Fixed(channels)];
    for (&dim, &out) in from[2..].iter().zip(&geometry.out) {
        dims.push(if dim == Dim::Unknown && !given { Dim::Unknown } else { Dim::Fixed(out) });
    }
    Ok(tensor(x.dtype, dims))
}

pub(super) fn attention(p: &Params) -> Result<TensorType, OpError> {
    let (query, key, value) = (p.ty("query")?, p.ty("key")?, p.ty("value")?);
    let (Some(q), Some(k), Some(v)) = (query.dims(), key.dims(), value.dims()) else {
        return Ok(unranked(query.dtype));
    };
    let parts = (matrix(q, false), matrix(k, false), matrix(v, false));
    let (Some((batch_q, l, e)), Some((batch_k, s, f)), Some((batch_v, t, w))) = parts else {
        return Err(p.error("query, key and value must have rank 3 or more"));
    };
    if q.len() < 3 || !e.compatible(f) || !s.compatible(t) {
        return Err(p.error(format!("query {query}, key {key} and value {value} do not fit")));
    }
    let batch = |dims: &[Dim]| tensor(DataType::Fp32, dims.to_vec());
    let shape = broadcast(p, &batch(batch_q), &batch(batch_k))?;
    let both = TensorType { dtype: DataType::Fp32, shape };
    let shape = broadcast(p, &both, &batch(batch_v))?;
    let mut dims = TensorType { dtype: DataType::Fp32, shape }.dims().unwrap_or_default().to_vec();
    if let Some(mask) = p.ty_opt("attn_mask")? {
        let mut scores = dims.clone();
        scores.extend([l, s]);
        let scores = tensor(mask.dtype, scores);
        let spread = broadcast(p, &mask, &scores)?;
        if !(TensorType { dtype: mask.dtype, shape: spread }).compatible(&scores) {
            return Err(p.error(format!("`attn_mask` is {mask}, the scores are {scores}")));
        }
    }
    dims.extend([l, w]);
    Ok(tensor(query.dtype, dims))
}
