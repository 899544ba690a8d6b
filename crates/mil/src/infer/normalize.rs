//! Norms and activations with a number for each channel.

use crate::{Dim, Op, OpError, Params, TensorType};

/// x's own type, once what is given for each channel (axis 1) is a vector of as many elements.
pub(super) fn per_channel(p: &Params, names: &[&str]) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    if let Some(rank) = x.rank().filter(|&rank| rank < 2) {
        return Err(p.error(format!("x has rank {rank}, and so no channels")));
    }
    let channels = x.dims().map_or(Dim::Unknown, |d| d[1]);
    for name in names {
        let Some(ty) = p.ty_opt(name)? else { continue };
        if ty.dims().is_some_and(|d| !matches!(d, [n] if n.compatible(channels))) {
            return Err(p.error(format!("`{name}` is {ty}, x has {channels} channels")));
        }
    }
    Ok(x)
}

pub(super) fn norm(p: &Params) -> Result<TensorType, OpError> {
    use Op::*;
    let op = p.operation.op;
    if matches!(op, BatchNorm | InstanceNorm | L2Norm) {
        p.float("epsilon")?;
    }
    match op {
        BatchNorm => per_channel(p, &["mean", "variance", "gamma", "beta"]),
        InstanceNorm => {
            let x = per_channel(p, &["gamma", "beta"])?;
            match x.rank() {
                Some(2) => Err(p.error(format!("x is {x}, an image without pixels"))),
                _ => Ok(x),
            }
        }
        L2Norm => {
            let x = p.ty("x")?;
            match x.rank() {
                Some(rank @ 0..3) => {
                    Err(p.error(format!("x has rank {rank}; it must be 3 or more")))
                }
                _ => Ok(x),
            }
        }
        _ => {
            let size = p.int("size")?;
            if size < 1 {
                return Err(p.error(format!("`size` is {size}, it must be 1 or more")));
            }
            for name in ["alpha", "beta", "k"] {
                p.float(name)?;
            }
            per_channel(p, &[])
        }
    }
}
