//! Gathers and scatters.

use super::{tensor, unranked};
use crate::{Dim, OpError, Params, TensorType};

pub(super) fn gather(p: &Params) -> Result<TensorType, OpError> {
    let (x, indices) = (p.ty("x")?, p.ty("indices")?);
    p.bool("validate_indices")?;
    let (Some(from), Some(at)) = (x.dims(), indices.dims()) else { return Ok(unranked(x.dtype)) };
    let axis = p.axis("axis", from.len())?;
    let batch = p.int("batch_dims")?;
    let batch = usize::try_from(batch).ok().filter(|&b| b <= axis && b <= at.len());
    let Some(batch) = batch else {
        return Err(p.error(format!(
            "`batch_dims` must be from 0 to `axis` = {axis} and the rank of `indices` {indices}"
        )));
    };
    for (a, b) in from[..batch].iter().zip(&at[..batch]) {
        if !a.compatible(*b) {
            return Err(p.error(format!("batch dims of x {x} and indices {indices} differ")));
        }
    }
    let mut dims = from[..axis].to_vec();
    dims.extend(&at[batch..]);
    dims.extend(&from[axis + 1..]);
    Ok(tensor(x.dtype, dims))
}

pub(super) fn gather_along_axis(p: &Params) -> Result<TensorType, OpError> {
    let (x, indices) = (p.ty("x")?, p.ty("indices")?);
    p.bool("validate_indices")?;
    along(p, &x, &indices)?;
    Ok(TensorType { dtype: x.dtype, shape: indices.shape })
}

pub(super) fn scatter(p: &Params) -> Result<TensorType, OpError> {
    let (data, indices, updates) = (p.ty("data")?, p.ty("indices")?, p.ty("updates")?);
    mode(p)?;
    if let (Some(d), Some(i), Some(u)) = (data.dims(), indices.dims(), updates.dims()) {
        let axis = p.axis("axis", d.len())?;
        let expected: Vec<Dim> = d[..axis].iter().chain(i).chain(&d[axis + 1..]).copied().collect();
        let expected = tensor(data.dtype, expected);
        if !expected.compatible(&tensor(data.dtype, u.to_vec())) {
            return Err(p.error(format!("`updates` is {updates}, expected {expected}")));
        }
    }
    Ok(data)
}

pub(super) fn scatter_along_axis(p: &Params) -> Result<TensorType, OpError> {
    let (data, indices, updates) = (p.ty("data")?, p.ty("indices")?, p.ty("updates")?);
    mode(p)?;
    along(p, &data, &indices)?;
    let expected = TensorType { dtype: data.dtype, shape: indices.shape };
    if !expected.compatible(&updates) {
        return Err(p.error(format!("`updates` is {updates}, expected {expected}")));
    }
    Ok(data)
}

/// Indices have x's shape but for the axis.
fn along(p: &Params, x: &TensorType, indices: &TensorType) -> Result<(), OpError> {
    let (Some(a), Some(b)) = (x.dims(), indices.dims()) else { return Ok(()) };
    let axis = p.axis("axis", a.len())?;
    let fits = a.len() == b.len() && (0..a.len()).all(|i| i == axis || a[i].compatible(b[i]));
    match fits {
        true => Ok(()),
        false => {
            Err(p.error(format!("indices are {indices}; but for axis {axis} they must be as {x}")))
        }
    }
}

fn mode(p: &Params) -> Result<(), OpError> {
    p.bool("validate_indices")?;
    match p.string("mode")?.as_str() {
        "update" | "add" | "sub" | "mul" | "div" | "max" | "min" => Ok(()),
        other => Err(
            p.error(format!("`mode` is \"{other}\"; it is update, add, sub, mul, div, max or min"))
        ),
    }
}

/// Splits of what the last axis of `indices` spells: the index's axes, and how many it names.
fn spelled(p: &Params, name: &str, x: &TensorType, batch: usize) -> Result<Spelled, OpError> {
    let indices = p.ty("indices")?;
    let (Some(from), Some(at)) = (x.dims(), indices.dims()) else { return Ok(None) };
    let Some((depth, at)) = at.split_last() else {
        return Err(p.error("`indices` must not be a scalar"));
    };
    if batch > at.len() || batch > from.len() {
        return Err(
            p.error(format!("`batch_dims` is {batch}; `{name}` is {x} and `indices` {indices}"))
        );
    }
    if let Some((a, b)) = from[..batch].iter().zip(at).find(|(a, b)| !a.compatible(**b)) {
        return Err(p.error(format!("batch dims of `{name}` and `indices` differ: {a} and {b}")));
    }
    let Some(depth) = depth.fixed() else { return Ok(None) };
    match batch.checked_add(depth).filter(|&first| first <= from.len()) {
        Some(first) => Ok(Some([at, &from[first..]].concat())),
        None => Err(p.error(format!("`indices` is {indices}: it names {depth} axes of {x}"))),
    }
}

/// The dims of what is read or written, if they are known.
type Spelled = Option<Vec<Dim>>;

pub(super) fn gather_nd(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    p.bool("validate_indices")?;
    let batch = p.int("batch_dims")?;
    let negative = || p.error(format!("`batch_dims` is {batch}"));
    let batch = usize::try_from(batch).map_err(|_| negative())?;
    Ok(match spelled(p, "x", &x, batch)? {
        Some(dims) => tensor(x.dtype, dims),
        None => unranked(x.dtype),
    })
}

pub(super) fn scatter_nd(p: &Params) -> Result<TensorType, OpError> {
    let (data, updates) = (p.ty("data")?, p.ty("updates")?);
    mode(p)?;
    if let Some(dims) = spelled(p, "data", &data, 0)? {
        let expected = tensor(data.dtype, dims);
        if !expected.compatible(&updates) {
            return Err(p.error(format!("`updates` is {updates}, expected {expected}")));
        }
    }
    Ok(data)
}
