//! Reductions and the ops that work along axes.

use super::{tensor, unranked};
use crate::{DataType, Dim, Op, OpError, Params, TensorType};

/// x's own type, once its axis is known to exist.
pub(super) fn along(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    if p.operation.op == Op::Cumsum {
        p.bool("exclusive")?;
        p.bool("reverse")?;
    }
    if let Some(rank) = x.rank() {
        p.axis("axis", rank)?;
    }
    Ok(x)
}

pub(super) fn reduce(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    let keep = p.bool("keep_dims")?;
    let Some(dims) = x.dims() else { return Ok(unranked(x.dtype)) };
    let axes = p.axes("axes", dims.len())?.unwrap_or_else(|| (0..dims.len()).collect());
    let mut out = vec![];
    for (axis, &dim) in dims.iter().enumerate() {
        match (axes.contains(&axis), keep) {
            (true, true) => out.push(Dim::Fixed(1)),
            (true, false) => {}
            (false, _) => out.push(dim),
        }
    }
    Ok(tensor(x.dtype, out))
}

/// The index of one element along an axis.
pub(super) fn arg(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    let keep = p.bool("keep_dims")?;
    let dtype = p.dtype("output_dtype")?;
    if !matches!(dtype, DataType::Int32 | DataType::Uint16) {
        return Err(p.error(format!("`output_dtype` is {dtype}, not int32 or uint16")));
    }
    let Some(dims) = x.dims() else { return Ok(unranked(dtype)) };
    let axis = p.axis("axis", dims.len())?;
    let mut out = dims.to_vec();
    let size = out.remove(axis);
    if size == Dim::Fixed(0) && !out.contains(&Dim::Fixed(0)) {
        return Err(p.error(format!("axis {axis} of x has no elements")));
    }
    if dtype == DataType::Uint16 && size.fixed().is_some_and(|n| n > 1 << 16) {
        return Err(p.error(format!("uint16 does not hold an index below {size}")));
    }
    if keep {
        out.insert(axis, Dim::Fixed(1));
    }
    Ok(tensor(dtype, out))
}

pub(super) fn layer_norm(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    p.float("epsilon")?;
    let Some(dims) = x.dims() else { return Ok(x) };
    let axes = p.axes("axes", dims.len())?.unwrap_or_else(|| (0..dims.len()).collect());
    let normalized: Vec<Dim> = axes.iter().map(|&a| dims[a]).collect();
    for name in ["gamma", "beta"] {
        let Some(ty) = p.ty_opt(name)? else { continue };
        let fits = ty.dims().is_none_or(|d| {
            d.len() == normalized.len() && d.iter().zip(&normalized).all(|(a, b)| a.compatible(*b))
        });
        if !fits {
            let expected = tensor(x.dtype, normalized);
            return Err(p.error(format!("`{name}` is {ty}, the normalized axes are {expected}")));
        }
    }
    Ok(x)
}
