//! Gathers and scatters. An index counts from the end if it is negative; one outside is moved to
//! the nearest end. `validate_indices` makes both an error, as it does where the op set that has it
//! defines indices as counted from the front.

use crate::evaluate::Context;
use crate::index::{indices, position};
use crate::{Array, Data};
use mil::{Op, OpError};

/// The indices as positions along an axis of this size.
fn resolved(c: &Context, at: &Array, size: usize) -> Result<Vec<usize>, OpError> {
    let validate = c.params.bool("validate_indices")?;
    at.to_i64s().into_iter().map(|i| resolve(c, i, size, validate)).collect()
}

fn resolve(c: &Context, i: i64, size: usize, validate: bool) -> Result<usize, OpError> {
    let from_front = if i < 0 { i.saturating_add(size as i64) } else { i };
    match usize::try_from(from_front) {
        Ok(at) if at < size && (i >= 0 || !validate) => Ok(at),
        _ if validate || size == 0 => {
            Err(c.params.error(format!("index {i} is outside an axis of size {size}")))
        }
        _ => Ok(from_front.clamp(0, size as i64 - 1) as usize),
    }
}

/// y[a…, i…, b…] = x[a…, indices[i…], b…], the first `batch_dims` axes shared.
pub(super) fn gather(c: &Context) -> Result<Array, OpError> {
    let (x, at) = (c.need("x")?, c.need("indices")?);
    let axis = c.params.axis("axis", x.dims().len())?;
    let batch = c.params.int("batch_dims")? as usize;
    let dims = c.result_dims()?.remove(0);
    if dims.contains(&0) {
        return Ok(x.pick(&dims, std::iter::empty()));
    }
    let rows = resolved(c, &at, x.dims()[axis])?;
    let inner = at.dims().len() - batch;
    let from = |index: Vec<usize>| {
        let (front, rest) = index.split_at(axis);
        let (which, back) = rest.split_at(inner);
        let which: Vec<usize> = front[..batch].iter().chain(which).copied().collect();
        let mut source = front.to_vec();
        source.push(rows[position(at.dims(), &which)]);
        source.extend(back);
        position(x.dims(), &source)
    };
    Ok(x.pick(&dims, indices(&dims).map(from)))
}

/// y[…, i, …] = x[…, indices[…, i, …], …].
pub(super) fn gather_along_axis(c: &Context) -> Result<Array, OpError> {
    let (x, at) = (c.need("x")?, c.need("indices")?);
    let axis = c.params.axis("axis", x.dims().len())?;
    if at.count() == 0 {
        return Ok(x.pick(at.dims(), std::iter::empty()));
    }
    let rows = resolved(c, &at, x.dims()[axis])?;
    let from = |(i, mut index): (usize, Vec<usize>)| {
        index[axis] = rows[i];
        position(x.dims(), &index)
    };
    Ok(x.pick(at.dims(), indices(at.dims()).enumerate().map(from)))
}

/// data[a…, indices[i…], b…] combined with updates[a…, i…, b…].
pub(super) fn scatter(c: &Context) -> Result<Array, OpError> {
    let (data, at, updates) = (c.need("data")?, c.need("indices")?, c.need("updates")?);
    let axis = c.params.axis("axis", data.dims().len())?;
    let targets = if updates.count() == 0 {
        vec![]
    } else {
        let rows = resolved(c, &at, data.dims()[axis])?;
        let target = |index: Vec<usize>| {
            let (front, rest) = index.split_at(axis);
            let (which, back) = rest.split_at(at.dims().len());
            let mut to = front.to_vec();
            to.push(rows[position(at.dims(), which)]);
            to.extend(back);
            position(data.dims(), &to)
        };
        indices(updates.dims()).map(target).collect()
    };
    combine(c, &data, &updates, &targets)
}

/// data[…, indices[…, i, …], …] combined with updates[…, i, …].
pub(super) fn scatter_along_axis(c: &Context) -> Result<Array, OpError> {
    let (data, at, updates) = (c.need("data")?, c.need("indices")?, c.need("updates")?);
    let axis = c.params.axis("axis", data.dims().len())?;
    let targets = if updates.count() == 0 {
        vec![]
    } else {
        let rows = resolved(c, &at, data.dims()[axis])?;
        let target = |(i, mut index): (usize, Vec<usize>)| {
            index[axis] = rows[i];
            position(data.dims(), &index)
        };
        indices(updates.dims()).enumerate().map(target).collect()
    };
    combine(c, &data, &updates, &targets)
}

/// Where the slices begin that the last axis of `indices` spells, after `batch` axes that the
/// indices share with a tensor of these dims; in row-major order of the other axes of `indices`.
/// A slice is the axes that are not spelled.
fn spelled(
    c: &Context,
    dims: &[usize],
    at: &Array,
    batch: usize,
) -> Result<(Vec<usize>, usize), OpError> {
    let validate = c.params.bool("validate_indices")?;
    let (&depth, lead) = at.dims().split_last().expect("the indices are no scalar");
    let slice: usize = dims[batch + depth..].iter().product();
    let values = at.to_i64s();
    let mut starts = vec![];
    for (row, index) in indices(lead).enumerate() {
        let mut path = index[..batch].to_vec();
        for (axis, &i) in values[row * depth..][..depth].iter().enumerate() {
            path.push(resolve(c, i, dims[batch + axis], validate)?);
        }
        starts.push(position(&dims[..batch + depth], &path) * slice);
    }
    Ok((starts, slice))
}

/// y[b…, i…, s…] = x[b…, indices[b…, i…, :]…, s…].
pub(super) fn gather_nd(c: &Context) -> Result<Array, OpError> {
    let (x, at) = (c.need("x")?, c.need("indices")?);
    let batch = c.params.int("batch_dims")? as usize;
    let dims = c.result_dims()?.remove(0);
    let (starts, slice) = spelled(c, x.dims(), &at, batch)?;
    let from = starts.into_iter().flat_map(|start| start..start + slice);
    Ok(x.pick(&dims, from))
}

/// data[indices[i…, :]…, s…] combined with updates[i…, s…].
pub(super) fn scatter_nd(c: &Context) -> Result<Array, OpError> {
    let (data, at, updates) = (c.need("data")?, c.need("indices")?, c.need("updates")?);
    let (starts, slice) = spelled(c, data.dims(), &at, 0)?;
    let targets: Vec<usize> = starts.into_iter().flat_map(|start| start..start + slice).collect();
    combine(c, &data, &updates, &targets)
}

/// Combines every update with the element at its target, in order.
fn combine(
    c: &Context,
    data: &Array,
    updates: &Array,
    targets: &[usize],
) -> Result<Array, OpError> {
    debug_assert!(matches!(c.operation.op, Op::Scatter | Op::ScatterAlongAxis | Op::ScatterNd));
    let mode = c.params.string("mode")?;
    if let (Data::Float(old), Data::Float(new)) = (data.data(), updates.data()) {
        let mut out = old.clone();
        for (&to, &v) in targets.iter().zip(new) {
            out[to] = match mode.as_str() {
                "update" => v,
                "add" => out[to] + v,
                "sub" => out[to] - v,
                "mul" => out[to] * v,
                "div" => out[to] / v,
                // NaN wins, unlike `f64::max`.
                "max" if v > out[to] || v.is_nan() => v,
                "min" if v < out[to] || v.is_nan() => v,
                _ => out[to],
            };
        }
        return Ok(Array::floats(data.dtype(), data.dims(), out));
    }
    let mut out = data.to_i64s();
    for (&to, v) in targets.iter().zip(updates.to_i64s()) {
        out[to] = match mode.as_str() {
            "update" => v,
            "add" => out[to].wrapping_add(v),
            "sub" => out[to].wrapping_sub(v),
            "mul" => out[to].wrapping_mul(v),
            "div" => out[to].checked_div(v).unwrap_or(0),
            "max" => out[to].max(v),
            _ => out[to].min(v),
        };
    }
    Ok(Array::ints(data.dtype(), data.dims(), out))
}
