//! Pools, resampling, and rearrangement of pixels.

use super::{tensor, unranked};
use crate::shape::{blocks, boxes, crop_amounts, places, pool_geometry, resized_dims as sizes};
use crate::{Dim, Op, OpError, Params, TensorType};

pub(super) fn pool(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    if p.operation.op == Op::AvgPool {
        p.bool("exclude_padding_from_average")?;
    }
    let Some(from) = x.dims() else { return Ok(unranked(x.dtype)) };
    // The arguments are checked even where x is not wholly known: an unknown dim stands for a
    // large one, and gives an unknown one.
    let assumed: Vec<usize> = from.iter().map(|d| d.fixed().unwrap_or(1 << 24)).collect();
    let geometry = pool_geometry(p, &assumed)?;
    let mut dims = from[..2].to_vec();
    for (&dim, &out) in from[2..].iter().zip(&geometry.out) {
        dims.push(if dim == Dim::Unknown { Dim::Unknown } else { Dim::Fixed(out) });
    }
    Ok(tensor(x.dtype, dims))
}

pub(super) fn resize(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    let Some(from) = x.dims() else { return Ok(unranked(x.dtype)) };
    let out = sizes(p, from)?;
    for (axis, (&from, &out)) in from.iter().zip(&out).enumerate() {
        if from == Dim::Fixed(0) && out.fixed().is_some_and(|n| n > 0) {
            return Err(p.error(format!("axis {axis} of x has no elements to resize")));
        }
    }
    Ok(tensor(x.dtype, out))
}

pub(super) fn resample(p: &Params) -> Result<TensorType, OpError> {
    let (x, at) = (p.ty("x")?, p.ty("coordinates")?);
    places(p)?;
    let (Some(from), Some(grid)) = (x.dims(), at.dims()) else { return Ok(unranked(x.dtype)) };
    let (&[batch, channels, height, width], &[count, rows, columns, two]) = (from, grid) else {
        return Err(p.error(format!("x is {x} and `coordinates` {at}; both must have rank 4")));
    };
    if !batch.compatible(count) || !two.compatible(Dim::Fixed(2)) {
        return Err(p.error(format!("`coordinates` is {at}; for x {x} it must be [B, H, W, 2]")));
    }
    let batch = if batch == Dim::Unknown { count } else { batch };
    image(p, &[height, width], &[rows, columns])?;
    Ok(tensor(x.dtype, vec![batch, channels, rows, columns]))
}

pub(super) fn affine(p: &Params) -> Result<TensorType, OpError> {
    let (x, matrix) = (p.ty("x")?, p.ty("transform_matrix")?);
    places(p)?;
    let size = |name: &str| {
        let size = p.int(name)?;
        usize::try_from(size).map(Dim::Fixed).map_err(|_| p.error(format!("`{name}` is {size}")))
    };
    let (rows, columns) = (size("output_height")?, size("output_width")?);
    let (Some(from), Some(m)) = (x.dims(), matrix.dims()) else { return Ok(unranked(x.dtype)) };
    let &[batch, channels, height, width] = from else {
        return Err(p.error(format!("x is {x}; it must have rank 4")));
    };
    let fits = match *m {
        [count, six] => {
            six.compatible(Dim::Fixed(6)) && (count == Dim::Fixed(1) || count.compatible(batch))
        }
        _ => false,
    };
    if !fits {
        let message = format!("`transform_matrix` is {matrix}; for x {x} it must be [B, 6]");
        return Err(p.error(message + " or [1, 6]"));
    }
    image(p, &[height, width], &[rows, columns])?;
    Ok(tensor(x.dtype, vec![batch, channels, rows, columns]))
}

/// An image without elements has no places.
fn image(p: &Params, from: &[Dim], to: &[Dim]) -> Result<(), OpError> {
    let empty = |dims: &[Dim]| dims.contains(&Dim::Fixed(0));
    match empty(from) && !empty(to) {
        true => Err(p.error("the image has no elements")),
        false => Ok(()),
    }
}

pub(super) fn crop(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    let amounts = crop_amounts(p)?;
    let Some(dims) = x.dims() else { return Ok(x) };
    let rank = dims.len();
    if rank < 3 {
        return Err(p.error(format!("x has rank {rank}; it must be 3 or more")));
    }
    let mut out = dims.to_vec();
    for (dim, (before, after)) in out[rank - 2..].iter_mut().zip(amounts) {
        let Dim::Fixed(n) = *dim else { continue };
        let rest = before.checked_add(after).and_then(|cut| n.checked_sub(cut));
        let error = || p.error(format!("{before} and {after} leave an axis of size {n}"));
        *dim = Dim::Fixed(rest.ok_or_else(error)?);
    }
    Ok(tensor(x.dtype, out))
}

pub(super) fn crop_resize(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    let known = boxes(p)?;
    let (name, ty) = match (p.ty_opt("roi")?, p.ty_opt("boxes")?) {
        (Some(ty), None) => ("roi", ty),
        (None, Some(ty)) => ("boxes", ty),
        _ => return Err(p.error("it takes either `roi` or `boxes`")),
    };
    if name == "roi" && p.has("box_indices") {
        return Err(p.error("`box_indices` goes with `boxes`, not with `roi`"));
    }
    if known.normalized && !ty.dtype.is_float() {
        return Err(p.error(format!("`{name}` is {ty}; normalized coordinates are floats")));
    }
    let (Some(from), Some(at)) = (x.dims(), ty.dims()) else { return Ok(unranked(x.dtype)) };
    let &[batch, channels, height, width] = from else {
        return Err(p.error(format!("x is {x}; it must have rank 4")));
    };
    let [rows, columns] = known.size.map(Dim::Fixed);
    image(p, &[height, width], &[rows, columns])?;
    let one = Dim::Fixed(1);
    let wrong = |shape: &str| Err(p.error(format!("`{name}` is {ty}; it must be {shape}")));
    if name == "roi" {
        return match *at {
            [count, a, values, b, c] if [a, b, c].iter().all(|d| d.compatible(one)) => {
                let images = match values {
                    Dim::Fixed(4) => batch,
                    Dim::Fixed(5) => one,
                    Dim::Unknown => Dim::Unknown,
                    Dim::Fixed(_) => return wrong("[N, 1, 4, 1, 1] or [N, 1, 5, 1, 1]"),
                };
                Ok(tensor(x.dtype, vec![count, images, channels, rows, columns]))
            }
            _ => wrong("[N, 1, 4, 1, 1] or [N, 1, 5, 1, 1]"),
        };
    }
    let &[count, four] = at else { return wrong("[N, 4]") };
    if !four.compatible(Dim::Fixed(4)) {
        return wrong("[N, 4]");
    }
    match p.ty_opt("box_indices")? {
        Some(indices) => {
            if indices.dims().is_some_and(|d| !matches!(d, [n] if n.compatible(count))) {
                let message = format!("`box_indices` is {indices}, there are {count} boxes");
                return Err(p.error(message));
            }
        }
        None => {
            if let (Some(boxes), Some(images)) = (count.fixed(), batch.fixed())
                && boxes > images
            {
                return Err(p.error(format!("{boxes} boxes of {images} images need `box_indices`")));
            }
        }
    }
    Ok(tensor(x.dtype, vec![count, channels, rows, columns]))
}

/// Blocks of pixels that go to the channels or the batch, or come from there.
pub(super) fn rearrange(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    let layout = blocks(p)?;
    let Some(dims) = x.dims() else { return Ok(unranked(x.dtype)) };
    let &[batch, channels, height, width] = dims else {
        return Err(p.error(format!("x is {x}; it must have rank 4")));
    };
    let too_large = || p.error(format!("blocks of {:?} are too large for {x}", layout.size));
    let pixels = layout.size[0].checked_mul(layout.size[1]).ok_or_else(too_large)?;
    let apart = |dim: Dim, by: usize| match dim {
        Dim::Fixed(n) if !n.is_multiple_of(by) => {
            Err(p.error(format!("{n} is not a multiple of {by}, as blocks of x {x} need it")))
        }
        Dim::Fixed(n) => Ok(Dim::Fixed(n / by)),
        Dim::Unknown => Ok(Dim::Unknown),
    };
    let times = |dim: Dim, by: usize| match dim {
        Dim::Fixed(n) => n.checked_mul(by).map(Dim::Fixed).ok_or_else(too_large),
        Dim::Unknown => Ok(Dim::Unknown),
    };
    let mut space = [height, width];
    let together = matches!(p.operation.op, Op::DepthToSpace | Op::PixelShuffle | Op::BatchToSpace);
    for (axis, dim) in space.iter_mut().enumerate() {
        let (size, (before, after)) = (layout.size[axis], layout.margins[axis]);
        let margin = before.checked_add(after).ok_or_else(too_large)?;
        *dim = if together {
            match times(*dim, size)? {
                Dim::Fixed(n) => {
                    let rest = n.checked_sub(margin);
                    let error = || p.error(format!("`crops` take {margin} of {n} elements"));
                    Dim::Fixed(rest.ok_or_else(error)?)
                }
                Dim::Unknown => Dim::Unknown,
            }
        } else {
            let padded = match *dim {
                Dim::Fixed(n) => Dim::Fixed(n.checked_add(margin).ok_or_else(too_large)?),
                Dim::Unknown => Dim::Unknown,
            };
            apart(padded, size)?
        };
    }
    let (batch, channels) = match p.operation.op {
        Op::BatchToSpace => (apart(batch, pixels)?, channels),
        Op::SpaceToBatch => (times(batch, pixels)?, channels),
        _ if together => (batch, apart(channels, pixels)?),
        _ => (batch, times(channels, pixels)?),
    };
    Ok(tensor(x.dtype, vec![batch, channels, space[0], space[1]]))
}

pub(super) fn sliding_windows(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    let positive = |name: &str| {
        let value = p.int(name)?;
        let error = || p.error(format!("`{name}` is {value}, it must be 1 or more"));
        usize::try_from(value).ok().filter(|&v| v > 0).ok_or_else(error)
    };
    let (size, stride) = (positive("size")?, positive("stride")?);
    p.int("axis")?;
    let Some(dims) = x.dims() else { return Ok(unranked(x.dtype)) };
    let axis = p.axis("axis", dims.len())?;
    let mut out = dims.to_vec();
    if let Dim::Fixed(n) = out[axis] {
        let room = n.checked_sub(size);
        let error = || p.error(format!("windows of {size} elements do not fit into {n}"));
        out[axis] = Dim::Fixed(room.ok_or_else(error)? / stride + 1);
    }
    out.insert(axis + 1, Dim::Fixed(size));
    Ok(tensor(x.dtype, out))
}
