//! Element-wise ops.

use super::broadcast;
use crate::{DataType, Op, OpError, Params, TensorType};

/// x and y broadcast; comparisons give bools.
pub(super) fn binary(p: &Params) -> Result<TensorType, OpError> {
    use Op::*;
    let (x, y) = (p.ty("x")?, p.ty("y")?);
    let shape = broadcast(p, &x, &y)?;
    let compares =
        matches!(p.operation.op, Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual);
    let dtype = if compares { DataType::Bool } else { x.dtype };
    Ok(TensorType { dtype, shape })
}

pub(super) fn select(p: &Params) -> Result<TensorType, OpError> {
    let (a, b) = (p.ty("a")?, p.ty("b")?);
    let both = TensorType { dtype: a.dtype, shape: broadcast(p, &a, &b)? };
    let shape = broadcast(p, &p.ty("cond")?, &both)?;
    Ok(TensorType { dtype: a.dtype, shape })
}

pub(super) fn cast(p: &Params) -> Result<TensorType, OpError> {
    let dtype = p.dtype("dtype")?;
    if dtype == DataType::String {
        return Err(p.error("nothing can be cast to string"));
    }
    Ok(TensorType { dtype, shape: p.ty("x")?.shape })
}

pub(super) fn gelu(p: &Params) -> Result<TensorType, OpError> {
    match p.string("mode")?.as_str() {
        "EXACT" | "TANH_APPROXIMATION" | "SIGMOID_APPROXIMATION" => p.ty("x"),
        other => Err(p.error(format!(
            "`mode` is \"{other}\"; it is EXACT, TANH_APPROXIMATION or SIGMOID_APPROXIMATION"
        ))),
    }
}

/// x's own type, once the numbers that shape the activation are known to be numbers.
pub(super) fn shaped(p: &Params) -> Result<TensorType, OpError> {
    for name in ["alpha", "beta"] {
        if p.operation.op.spec().param(name).is_some() {
            p.float(name)?;
        }
    }
    p.ty("x")
}

/// The three ops between floats and 8-bit integers.
pub(super) fn quantized(p: &Params) -> Result<TensorType, OpError> {
    let (input, dtype) = match p.operation.op {
        Op::Quantize => {
            let dtype = p.dtype("output_dtype")?;
            if !matches!(dtype, DataType::Int8 | DataType::Uint8) {
                return Err(p.error(format!("`output_dtype` is {dtype}, not int8 or uint8")));
            }
            if let Some(zero) = p.ty_opt("zero_point")?
                && zero.dtype != dtype
            {
                let found = zero.dtype;
                return Err(p.error(format!("`zero_point` is {found}, the result {dtype}")));
            }
            ("input", dtype)
        }
        Op::Dequantize => ("input", p.ty("scale")?.dtype),
        _ => ("quantized_data", p.ty("scale")?.dtype),
    };
    let x = p.ty(input)?;
    for name in ["scale", "zero_point"] {
        let Some(dims) = p.ty_opt(name)?.and_then(|t| t.fixed_dims()) else { continue };
        match dims[..] {
            [] => {}
            [n] => {
                let Some(rank) = x.rank() else { continue };
                if !p.has("axis") {
                    // A vector of one element scales everything.
                    if n == 1 {
                        continue;
                    }
                    return Err(p.error(format!("`{name}` is a vector, so `axis` is needed")));
                }
                let axis = p.axis("axis", rank)?;
                let size = x.dims().and_then(|d| d[axis].fixed());
                if size.is_some_and(|size| size != n) && n != 1 {
                    let size = size.unwrap_or(0);
                    return Err(p.error(format!(
                        "`{name}` has {n} elements, axis {axis} of the data has {size}"
                    )));
                }
            }
            _ => return Err(p.error(format!("`{name}` must be a scalar or a vector"))),
        }
    }
    Ok(TensorType { dtype, shape: x.shape })
}

/// Blocks of which each has a scale: along every axis there is a whole number of them.
pub(super) fn blockwise(p: &Params) -> Result<TensorType, OpError> {
    blocks(p, "data", &p.ty("data")?)
}

/// The type of what `name`, of this type, is scaled to.
pub(super) fn blocks(p: &Params, name: &str, data: &TensorType) -> Result<TensorType, OpError> {
    let scale = p.ty("scale")?;
    if let Some(offset) = p.ty_opt("offset")? {
        if !offset.dtype.is_float() && offset.dtype != data.dtype {
            let (found, data) = (offset.dtype, data.dtype);
            let message = format!("`offset` is {found}, it must be a float or {data} like `data`");
            return Err(p.error(message));
        }
        if let (Some(found), Some(expected)) = (offset.fixed_dims(), scale.fixed_dims())
            && found != expected
        {
            return Err(p.error(format!("`offset` has shape {found:?}, `scale` {expected:?}")));
        }
    }
    if let (Some(dims), Some(blocks)) = (data.dims(), scale.dims()) {
        let (rank, found) = (dims.len(), blocks.len());
        if rank == 0 {
            return Err(p.error(format!("`{name}` is a scalar, which has no blocks")));
        }
        if rank != found {
            return Err(p.error(format!("`scale` has rank {found}, `{name}` has {rank}")));
        }
        for (axis, (dim, count)) in dims.iter().zip(blocks).enumerate() {
            let (Some(dim), Some(count)) = (dim.fixed(), count.fixed()) else { continue };
            if dim == 0 || count == 0 || dim % count != 0 {
                return Err(p.error(format!(
                    "axis {axis} of `{name}` has {dim} elements, which are not {count} equal blocks"
                )));
            }
        }
    }
    Ok(TensorType { dtype: scale.dtype, shape: data.shape.clone() })
}
