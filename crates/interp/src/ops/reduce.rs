//! Ops along axes.

use crate::evaluate::Context;
use crate::index::{indices, position};
use crate::{Array, Data};
use mil::{DataType, Op, OpError};

/// The dims with those of `axes` set to 1.
pub(super) fn collapsed(dims: &[usize], axes: &[usize]) -> Vec<usize> {
    let size = |(axis, &dim): (usize, &usize)| if axes.contains(&axis) { 1 } else { dim };
    dims.iter().enumerate().map(size).collect()
}

/// For every element of a tensor of `dims`, in order, the group it belongs to when `axes` are
/// reduced, and the number of groups.
pub(super) fn groups(dims: &[usize], axes: &[usize]) -> (Vec<usize>, usize) {
    let kept = collapsed(dims, axes);
    let group = |mut index: Vec<usize>| {
        for &axis in axes {
            index[axis] = 0;
        }
        position(&kept, &index)
    };
    (indices(dims).map(group).collect(), kept.iter().product())
}

/// The largest element of each group, −∞ for an empty one; NaN wins.
fn maxima(x: &[f64], group: &[usize], count: usize) -> Vec<f64> {
    let mut max = vec![f64::NEG_INFINITY; count];
    for (&v, &g) in x.iter().zip(group) {
        if v > max[g] || v.is_nan() {
            max[g] = v;
        }
    }
    max
}

pub(super) fn sums(x: &[f64], group: &[usize], count: usize) -> Vec<f64> {
    sums_by(|sum, v| sum + v, x, group, count)
}

fn sums_by(add: impl Fn(f64, f64) -> f64, x: &[f64], group: &[usize], count: usize) -> Vec<f64> {
    let mut sum = vec![0.0; count];
    for (&v, &g) in x.iter().zip(group) {
        sum[g] = add(sum[g], v);
    }
    sum
}

/// What is subtracted before exponentials are taken; an infinite maximum would give ∞ − ∞.
fn shift(max: f64) -> f64 {
    if max.is_infinite() { 0.0 } else { max }
}

pub(super) fn softmax(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let axis = c.params.axis("axis", x.dims().len())?;
    let values = x.to_f64s();
    let (group, count) = groups(x.dims(), &[axis]);
    let max = maxima(&values, &group, count);
    let exp: Vec<f64> = values.iter().zip(&group).map(|(v, &g)| (v - max[g]).exp()).collect();
    let sum = sums(&exp, &group, count);
    let out = exp.iter().zip(&group).map(|(e, &g)| e / sum[g]).collect();
    Ok(Array::floats(x.dtype(), x.dims(), out))
}

pub(super) fn reduce(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let rank = x.dims().len();
    let axes = c.params.axes("axes", rank)?.unwrap_or_else(|| (0..rank).collect());
    let dims = c.result_dims()?.remove(0);
    let (group, count) = groups(x.dims(), &axes);
    // Roots and logarithms of integers are cut to integers when they are done.
    let is_function =
        matches!(c.operation.op, Op::ReduceL2Norm | Op::ReduceLogSum | Op::ReduceLogSumExp);
    if let (Data::Int(values), false) = (x.data(), is_function) {
        return integers(c, &x, values, &group, &dims);
    }
    let values = x.to_f64s();
    let size: usize = axes.iter().map(|&a| x.dims()[a]).product();
    let total = || sums_by(|sum, v| c.add_term(sum, v), &values, &group, count);
    let squares = || sums_by(|sum, v| sum + v * v, &values, &group, count);
    let out: Vec<f64> = match c.operation.op {
        Op::ReduceL1Norm => sums_by(|sum, v| sum + v.abs(), &values, &group, count),
        Op::ReduceL2Norm => squares().into_iter().map(f64::sqrt).collect(),
        Op::ReduceSumSquare => squares(),
        Op::ReduceLogSum => sums(&values, &group, count).into_iter().map(f64::ln).collect(),
        Op::ReduceProd => {
            let mut product = vec![1.0; count];
            for (&v, &g) in values.iter().zip(&group) {
                product[g] *= v;
            }
            product
        }
        Op::ReduceSum => total(),
        Op::ReduceMean => total().into_iter().map(|s| s / size as f64).collect(),
        Op::ReduceMax => maxima(&values, &group, count),
        Op::ReduceMin => {
            let negated: Vec<f64> = values.iter().map(|v| -v).collect();
            maxima(&negated, &group, count).into_iter().map(|v| -v).collect()
        }
        _ => {
            let max = maxima(&values, &group, count);
            let exp: Vec<f64> =
                values.iter().zip(&group).map(|(v, &g)| (v - shift(max[g])).exp()).collect();
            let sum = sums(&exp, &group, count);
            sum.iter().zip(&max).map(|(s, &m)| s.ln() + shift(m)).collect()
        }
    };
    Ok(Array::floats(DataType::Fp64, &dims, out).cast(x.dtype()))
}

fn integers(
    c: &Context,
    x: &Array,
    values: &[i64],
    group: &[usize],
    dims: &[usize],
) -> Result<Array, OpError> {
    let count = dims.iter().product();
    let op = c.operation.op;
    let mut out: Vec<Option<i64>> = vec![None; count];
    for (&v, &g) in values.iter().zip(group) {
        let v = match op {
            Op::ReduceL1Norm => v.wrapping_abs(),
            Op::ReduceSumSquare => v.wrapping_mul(v),
            _ => v,
        };
        out[g] = Some(match (out[g], op) {
            (None, _) => v,
            (Some(old), Op::ReduceMax) => old.max(v),
            (Some(old), Op::ReduceMin) => old.min(v),
            (Some(old), Op::ReduceProd) => old.wrapping_mul(v),
            (Some(old), _) => old.wrapping_add(v),
        });
    }
    let size = values.len().checked_div(count).unwrap_or(0).max(1) as i64;
    let divisor = if op == Op::ReduceMean { size } else { 1 };
    let of_nothing = i64::from(op == Op::ReduceProd);
    let finish = |v: Option<i64>| v.unwrap_or(of_nothing) / divisor;
    Ok(Array::ints(x.dtype(), dims, out.into_iter().map(finish).collect()))
}

/// The index along an axis of the largest or smallest element, the first of equals; NaN wins.
pub(super) fn arg(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let axis = c.params.axis("axis", x.dims().len())?;
    let dims = c.result_dims()?.remove(0);
    let (group, count) = groups(x.dims(), &[axis]);
    let largest = c.operation.op == Op::ReduceArgmax;
    let mut best: Vec<Option<(usize, usize)>> = vec![None; count];
    let (floats, ints) = (x.to_f64s(), x.to_i64s());
    let beats = |i: usize, j: usize| match x.dtype().is_float() {
        true if floats[j].is_nan() => false,
        true if floats[i].is_nan() => true,
        true if largest => floats[i] > floats[j],
        true => floats[i] < floats[j],
        false if largest => ints[i] > ints[j],
        false => ints[i] < ints[j],
    };
    for ((i, index), &g) in indices(x.dims()).enumerate().zip(&group) {
        if best[g].is_none_or(|(_, j)| beats(i, j)) {
            best[g] = Some((index[axis], i));
        }
    }
    let at = best.into_iter().map(|found| found.map_or(0, |(along, _)| along as i64)).collect();
    Ok(Array::ints(c.params.dtype("output_dtype")?, &dims, at))
}

/// The running sum; `exclusive` leaves out the element itself, `reverse` runs from the end.
pub(super) fn cumsum(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let axis = c.params.axis("axis", x.dims().len())?;
    let (exclusive, reverse) = (c.params.bool("exclusive")?, c.params.bool("reverse")?);
    let floats = x.to_f64s();
    let ints = x.to_i64s();
    let (mut float_out, mut int_out) = (vec![0.0; floats.len()], vec![0i64; ints.len()]);
    let dims = x.dims().to_vec();
    let stride: usize = dims[axis + 1..].iter().product();
    for first in indices(&collapsed(&dims, &[axis])) {
        let base = position(&dims, &first);
        let (mut float_sum, mut int_sum) = (0.0, 0i64);
        for step in 0..dims[axis] {
            let along = if reverse { dims[axis] - 1 - step } else { step };
            let at = base + along * stride;
            if exclusive {
                (float_out[at], int_out[at]) = (float_sum, int_sum);
            }
            float_sum += floats[at];
            int_sum = int_sum.wrapping_add(ints[at]);
            if !exclusive {
                (float_out[at], int_out[at]) = (float_sum, int_sum);
            }
        }
    }
    Ok(match x.dtype().is_float() {
        true => Array::floats(x.dtype(), &dims, float_out),
        false => Array::ints(x.dtype(), &dims, int_out),
    })
}

pub(super) fn layer_norm(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let rank = x.dims().len();
    let axes = c.params.axes("axes", rank)?.unwrap_or_else(|| (0..rank).collect());
    let epsilon = c.params.float("epsilon")?;
    let gamma = c.get("gamma")?.map(|a| a.to_f64s());
    let beta = c.get("beta")?.map(|a| a.to_f64s());
    let values = x.to_f64s();
    let (group, count) = groups(x.dims(), &axes);
    let normal = standardized(&values, &group, count, epsilon);
    let inner: Vec<usize> = axes.iter().map(|&a| x.dims()[a]).collect();
    let mut out = vec![];
    for (i, index) in indices(x.dims()).enumerate() {
        let within: Vec<usize> = axes.iter().map(|&a| index[a]).collect();
        let at = position(&inner, &within);
        let gain = gamma.as_ref().map_or(1.0, |g| g[at]);
        let shift = beta.as_ref().map_or(0.0, |b| b[at]);
        out.push(normal[i] * gain + shift);
    }
    Ok(Array::floats(x.dtype(), x.dims(), out))
}

/// (x − mean)/√(variance + ε) with the mean and variance of each group.
pub(super) fn standardized(x: &[f64], group: &[usize], count: usize, epsilon: f64) -> Vec<f64> {
    let n = x.len().checked_div(count).unwrap_or(0) as f64;
    let mean: Vec<f64> = sums(x, group, count).into_iter().map(|s| s / n).collect();
    let centered: Vec<f64> = x.iter().zip(group).map(|(v, &g)| v - mean[g]).collect();
    let squares: Vec<f64> = centered.iter().map(|v| v * v).collect();
    let variance: Vec<f64> = sums(&squares, group, count).into_iter().map(|s| s / n).collect();
    centered.iter().zip(group).map(|(v, &g)| v / (variance[g] + epsilon).sqrt()).collect()
}
