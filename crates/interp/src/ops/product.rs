//! Sums of products.

use crate::evaluate::Context;
use crate::index::{broadcast_position, indices, position};
use crate::{Array, Data};
use mil::shape::{ConvGeometry, conv_geometry, conv_transpose_geometry};
use mil::{DataType, OpError};

/// y[…, o] = Σᵢ x[…, i]·weight[o, i] + bias[o].
pub(super) fn linear(c: &Context) -> Result<Array, OpError> {
    let (x, weight, bias) = (c.need("x")?, c.need("weight")?, c.get("bias")?);
    let dims = c.result_dims()?.remove(0);
    let (outputs, inputs) = (weight.dims()[0], weight.dims()[1]);
    let term = |t: &[usize], i: usize| {
        let (row, o) = (&t[..t.len() - 1], t[t.len() - 1]);
        let mut at = row.to_vec();
        at.push(i);
        (position(x.dims(), &at), o * inputs + i)
    };
    let sums = sum_of_products(c, &x, &weight, &dims, inputs, term);
    let Some(bias) = bias else { return Ok(sums) };
    let b = bias.to_f64s();
    let add = |(at, v): (usize, f64)| v + b[if b.len() == 1 { 0 } else { at % outputs }];
    let values = sums.to_f64s().into_iter().enumerate().map(add).collect();
    Ok(Array::floats(DataType::Fp64, &dims, values).cast(x.dtype()))
}

/// z[…, i, j] = Σₖ x[…, i, k]·y[…, k, j].
pub(super) fn matmul(c: &Context) -> Result<Array, OpError> {
    let (x, y) = (c.need("x")?, c.need("y")?);
    let (flip_x, flip_y) = (c.params.bool("transpose_x")?, c.params.bool("transpose_y")?);
    let dims = c.result_dims()?.remove(0);
    let inner = x.dims()[x.dims().len() - if flip_x { 2 } else { 1 }];
    let (batch_x, matrix_x) = x.dims().split_at(x.dims().len() - 2);
    let (batch_y, matrix_y) = y.dims().split_at(y.dims().len() - 2);
    let term = |t: &[usize], k: usize| {
        let (batch, rest) = t.split_at(t.len() - 2);
        let (i, j) = (rest[0], rest[1]);
        let at = |dims: &[usize], matrix: &[usize], row: usize, column: usize| {
            (broadcast_position(dims, batch) * matrix[0] + row) * matrix[1] + column
        };
        let a = if flip_x { at(batch_x, matrix_x, k, i) } else { at(batch_x, matrix_x, i, k) };
        let b = if flip_y { at(batch_y, matrix_y, j, k) } else { at(batch_y, matrix_y, k, j) };
        (a, b)
    };
    Ok(sum_of_products(c, &x, &y, &dims, inner, term))
}

/// For every index of the result the sum over `inner` terms; `term` gives the positions of the
/// two factors. Integers are summed as integers.
fn sum_of_products(
    c: &Context,
    x: &Array,
    y: &Array,
    dims: &[usize],
    inner: usize,
    term: impl Fn(&[usize], usize) -> (usize, usize),
) -> Array {
    if let (Data::Int(a), Data::Int(b)) = (x.data(), y.data()) {
        let sum = |index: Vec<usize>| {
            (0..inner).fold(0i64, |sum, k| {
                let (i, j) = term(&index, k);
                sum.wrapping_add(a[i].wrapping_mul(b[j]))
            })
        };
        return Array::ints(x.dtype(), dims, indices(dims).map(sum).collect());
    }
    let (a, b) = (x.to_f64s(), y.to_f64s());
    let sum = |index: Vec<usize>| {
        let positions = (0..inner).map(|k| term(&index, k));
        positions.fold(0.0, |sum, (i, j)| c.add_product(sum, a[i], b[j]))
    };
    let sums = Array::floats(DataType::Fp64, dims, indices(dims).map(sum).collect());
    sums.cast(x.dtype())
}

/// y[n, o, p] = Σ x[n, g·C + c, p·stride + k·dilation − pad]·weight[o, c, k] + bias[o].
pub(super) fn conv(c: &Context) -> Result<Array, OpError> {
    let (x, weight) = (c.need("x")?, c.need("weight")?);
    let geometry = conv_geometry(&c.params, x.dims(), weight.dims())?;
    let outputs_per_group = weight.dims()[0] / geometry.groups;
    let dims = c.result_dims()?.remove(0);
    let bias = c.get("bias")?.map(|b| b.to_f64s());
    let (a, w) = (x.to_f64s(), weight.to_f64s());
    let mut out = vec![];
    for index in indices(&dims) {
        let (n, o) = (index[0], index[1]);
        let first = o / outputs_per_group * weight.dims()[1];
        let mut sum = 0.0;
        for tap in indices(&weight.dims()[1..]) {
            let Some(pixel) = source(&geometry, &index[2..], &tap[1..], &x.dims()[2..]) else {
                continue;
            };
            let mut at = vec![n, first + tap[0]];
            at.extend(pixel);
            let mut from = vec![o];
            from.extend(&tap);
            let (pixel, factor) = (position(x.dims(), &at), position(weight.dims(), &from));
            sum = c.add_product(sum, a[pixel], w[factor]);
        }
        out.push(sum + bias.as_ref().map_or(0.0, |b| b[o]));
    }
    Ok(Array::floats(x.dtype(), &dims, out))
}

/// The input pixel that a kernel element sees from an output pixel, if it is not padding.
fn source(g: &ConvGeometry, out: &[usize], tap: &[usize], dims: &[usize]) -> Option<Vec<usize>> {
    (0..dims.len())
        .map(|a| {
            let at = out[a] * g.strides[a] + tap[a] * g.dilations[a];
            at.checked_sub(g.pads[a].0).filter(|&p| p < dims[a])
        })
        .collect()
}

/// Every input pixel adds its value times the kernel to the output:
/// y[n, o, p·stride + k·dilation − pad] += x[n, c, p]·weight[c, o, k].
pub(super) fn conv_transpose(c: &Context) -> Result<Array, OpError> {
    let (x, weight) = (c.need("x")?, c.need("weight")?);
    let geometry = conv_transpose_geometry(&c.params, x.dims(), weight.dims())?;
    let dims = c.result_dims()?.remove(0);
    let inputs_per_group = x.dims()[1] / geometry.groups;
    let (a, w) = (x.to_f64s(), weight.to_f64s());
    let mut out = vec![0.0; dims.iter().product()];
    if let Some(bias) = c.get("bias")? {
        let bias = bias.to_f64s();
        for (at, index) in indices(&dims).enumerate() {
            out[at] = bias[index[1]];
        }
    }
    for (at, index) in indices(x.dims()).enumerate() {
        let (n, channel) = (index[0], index[1]);
        let first = channel / inputs_per_group * weight.dims()[1];
        for tap in indices(&weight.dims()[1..]) {
            let pixel: Option<Vec<usize>> = (0..dims.len() - 2)
                .map(|axis| {
                    let stride = geometry.strides[axis];
                    let to = index[2 + axis] * stride + tap[1 + axis] * geometry.dilations[axis];
                    to.checked_sub(geometry.pads[axis].0).filter(|&p| p < dims[2 + axis])
                })
                .collect();
            let Some(pixel) = pixel else { continue };
            let mut to = vec![n, first + tap[0]];
            to.extend(pixel);
            let mut from = vec![channel];
            from.extend(&tap);
            out[position(&dims, &to)] += a[at] * w[position(weight.dims(), &from)];
        }
    }
    Ok(Array::floats(x.dtype(), &dims, out))
}

/// softmax(query·keyᵀ/√E + mask)·value.
pub(super) fn attention(c: &Context) -> Result<Array, OpError> {
    let (query, key, value) = (c.need("query")?, c.need("key")?, c.need("value")?);
    let mask = c.get("attn_mask")?;
    let dims = c.result_dims()?.remove(0);
    let rank = dims.len();
    let (keys, width) = (key.dims()[key.dims().len() - 2], query.dims()[query.dims().len() - 1]);
    let (q, k, v) = (query.to_f64s(), key.to_f64s(), value.to_f64s());
    let is_bool = mask.as_ref().is_some_and(|m| m.dtype() == DataType::Bool);
    let bias = mask.as_ref().map(|m| m.to_f64s());
    let row = |x: &Array, batch: &[usize], row: usize| {
        let (outer, matrix) = x.dims().split_at(x.dims().len() - 2);
        (broadcast_position(outer, batch) * matrix[0] + row) * matrix[1]
    };
    let mut out = vec![];
    for index in indices(&dims[..rank - 1]) {
        let (batch, i) = (&index[..rank - 2], index[rank - 2]);
        let mut scores = vec![];
        for j in 0..keys {
            let (from, to) = (row(&query, batch, i), row(&key, batch, j));
            let dot = (0..width).fold(0.0, |dot, e| c.add_product(dot, q[from + e], k[to + e]));
            let mut score = dot / (width as f64).sqrt();
            if let (Some(mask), Some(bias)) = (&mask, &bias) {
                let mut at = index.clone();
                at.push(j);
                // A mask may have fewer axes than the scores.
                let b = bias[broadcast_position(mask.dims(), &at)];
                score = match is_bool {
                    true => {
                        if b != 0.0 {
                            score
                        } else {
                            f64::NEG_INFINITY
                        }
                    }
                    false => score + b,
                };
            }
            scores.push(score);
        }
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exp: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
        let sum: f64 = exp.iter().sum();
        for e in 0..dims[rank - 1] {
            let weighted = |total: f64, j: usize| {
                c.add_product(total, exp[j] / sum, v[row(&value, batch, j) + e])
            };
            out.push((0..keys).fold(0.0, weighted));
        }
    }
    Ok(Array::floats(query.dtype(), &dims, out))
}
