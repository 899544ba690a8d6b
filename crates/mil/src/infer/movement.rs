//! Ops that only move elements.

use super::{tensor, unranked};
use crate::shape::{MAX_RANK, slice_dims};
use crate::{Dim, OpError, Params, Shape, TensorType};

pub(super) fn reshape(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    if !p.is_known("shape") {
        let rank = p.ty("shape")?.fixed_dims().and_then(|d| d.first().copied());
        return Ok(match rank.filter(|&r| r <= MAX_RANK) {
            Some(rank) => tensor(x.dtype, vec![Dim::Unknown; rank]),
            None => unranked(x.dtype),
        });
    }
    let wanted = p.need_ints("shape")?;
    let mut dims = vec![];
    for (axis, &size) in wanted.iter().enumerate() {
        dims.push(match size {
            -1 => Dim::Unknown,
            0 if x.rank() == Some(wanted.len()) => x.dims().map_or(Dim::Unknown, |d| d[axis]),
            // A copy of a dimension, or a 0 if the rank turns out to be another.
            0 if x.rank().is_none() => Dim::Unknown,
            size => Dim::Fixed(
                usize::try_from(size).map_err(|_| p.error(format!("`shape` holds {size}")))?,
            ),
        });
    }
    let holes = wanted.iter().filter(|&&s| s == -1).count();
    if holes > 1 {
        return Err(p.error("`shape` holds −1 more than once"));
    }
    let Some(from) = x.fixed_dims() else { return Ok(tensor(x.dtype, dims)) };
    let huge = || p.error("the shape has too many elements");
    let total = crate::element_count(&from).ok_or_else(huge)?;
    let known: Vec<usize> = dims.iter().filter_map(|d| d.fixed()).collect();
    let given = crate::element_count(&known).ok_or_else(huge)?;
    if holes == 1 {
        if given == 0 || !total.is_multiple_of(given) {
            return Err(p.error(format!("{x} does not reshape to {wanted:?}")));
        }
        for (dim, &size) in dims.iter_mut().zip(&wanted) {
            if size == -1 {
                *dim = Dim::Fixed(total / given);
            }
        }
    } else if given != total {
        return Err(p.error(format!("{x} does not reshape to {wanted:?}")));
    }
    Ok(tensor(x.dtype, dims))
}

pub(super) fn transpose(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    let perm = p.need_ints("perm")?;
    let Some(dims) = x.dims() else { return Ok(x) };
    let axes = p.axes("perm", dims.len())?.unwrap_or_default();
    if axes.len() != dims.len() {
        return Err(p.error(format!(
            "`perm` has {} elements, x has rank {}",
            perm.len(),
            dims.len()
        )));
    }
    let rank = dims.len() as i64;
    let at = |axis: i64| dims[(if axis < 0 { axis + rank } else { axis }) as usize];
    Ok(tensor(x.dtype, perm.into_iter().map(at).collect()))
}

pub(super) fn expand_dims(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    let count = p.need_ints("axes")?.len();
    let Some(dims) = x.dims() else { return Ok(x) };
    if count > MAX_RANK {
        return Err(p.error(format!("`axes` has {count} elements; the rank is {MAX_RANK} at most")));
    }
    let axes = p.axes("axes", dims.len() + count)?.unwrap_or_default();
    let mut out = dims.to_vec();
    for axis in axes {
        out.insert(axis, Dim::Fixed(1));
    }
    Ok(tensor(x.dtype, out))
}

pub(super) fn squeeze(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    let Some(dims) = x.dims() else { return Ok(x) };
    let Some(axes) = p.axes("axes", dims.len())? else {
        if dims.contains(&Dim::Unknown) {
            return Ok(unranked(x.dtype));
        }
        let kept = dims.iter().copied().filter(|&d| d != Dim::Fixed(1)).collect();
        return Ok(tensor(x.dtype, kept));
    };
    let mut out = vec![];
    for (axis, &dim) in dims.iter().enumerate() {
        if !axes.contains(&axis) {
            out.push(dim);
        } else if !dim.compatible(Dim::Fixed(1)) {
            return Err(p.error(format!("axis {axis} of x has size {dim}, not 1")));
        }
    }
    Ok(tensor(x.dtype, out))
}

pub(super) fn slice(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    let Some(dims) = x.dims() else { return Ok(x) };
    Ok(tensor(x.dtype, slice_dims(p, dims)?))
}

pub(super) fn slice_update(p: &Params) -> Result<TensorType, OpError> {
    let (x, update) = (p.ty("x")?, p.ty("update")?);
    let region = slice(p)?;
    match update.compatible(&region) {
        true => Ok(x),
        false => Err(p.error(format!("`update` is {update}, the slice {region}"))),
    }
}

pub(super) fn concat(p: &Params) -> Result<TensorType, OpError> {
    let values = p.tuple_tys("values")?;
    let Some(first) = values.first() else { return Err(p.error("`values` is empty")) };
    if let Some(other) = values.iter().find(|v| v.dtype != first.dtype) {
        return Err(p.error(format!("`values` holds {first} and {other}")));
    }
    let interleave = p.bool("interleave")?;
    let mut out: Option<Vec<Dim>> = None;
    for value in &values {
        let Shape::Ranked(dims) = &value.shape else { return Ok(unranked(first.dtype)) };
        // A scalar counts as a vector of one.
        let dims = if dims.is_empty() { vec![Dim::Fixed(1)] } else { dims.clone() };
        let axis = p.axis("axis", dims.len())?;
        let Some(joined) = &mut out else {
            out = Some(dims);
            continue;
        };
        let error = || p.error(format!("{first} and {value} do not join along axis {axis}"));
        if joined.len() != dims.len() {
            return Err(error());
        }
        if interleave
            && let Some(part) = values[0].dims().and_then(|d| d.get(axis))
            && !part.compatible(dims[axis])
        {
            return Err(p.error(format!(
                "`interleave` needs parts of one size, found {first} and {value}"
            )));
        }
        for (a, (joined, dim)) in joined.iter_mut().zip(dims).enumerate() {
            *joined = match (*joined, dim) {
                (Dim::Fixed(m), Dim::Fixed(n)) if a == axis => {
                    Dim::Fixed(m.checked_add(n).ok_or_else(error)?)
                }
                _ if a == axis => Dim::Unknown,
                (m, n) if m.compatible(n) => {
                    if m == Dim::Unknown {
                        n
                    } else {
                        m
                    }
                }
                _ => return Err(error()),
            };
        }
    }
    Ok(tensor(first.dtype, out.unwrap_or_default()))
}

pub(super) fn split(p: &Params) -> Result<Vec<TensorType>, OpError> {
    let x = p.ty("x")?;
    let sizes = p.ints("split_sizes")?;
    let count = if p.has("num_splits") { Some(p.int("num_splits")?) } else { None };
    if let (Some(sizes), Some(count)) = (&sizes, count)
        && sizes.len() as i64 != count
    {
        return Err(p.error(format!("`num_splits` is {count}, `split_sizes` has {}", sizes.len())));
    }
    let parts = count.unwrap_or_else(|| sizes.as_ref().map_or(0, Vec::len) as i64);
    if !(1..=65536).contains(&parts) {
        return Err(p.error(format!("x cannot be split into {parts} parts")));
    }
    let Some(dims) = x.dims() else { return Ok(vec![unranked(x.dtype); parts as usize]) };
    let axis = p.axis("axis", dims.len())?;
    let whole = dims[axis].fixed();
    let sizes: Vec<Dim> = match sizes {
        Some(sizes) => {
            let fixed: Option<Vec<usize>> =
                sizes.iter().map(|&s| usize::try_from(s).ok()).collect();
            let total =
                fixed.as_ref().and_then(|f| f.iter().try_fold(0usize, |a, &b| a.checked_add(b)));
            let Some((fixed, total)) = fixed.zip(total) else {
                return Err(p.error(format!("`split_sizes` is {sizes:?}")));
            };
            if whole.is_some_and(|w| w != total) {
                let found = dims[axis];
                return Err(
                    p.error(format!("`split_sizes` sum to {total}, axis {axis} has {found}"))
                );
            }
            fixed.into_iter().map(Dim::Fixed).collect()
        }
        None => match whole {
            Some(whole) if !whole.is_multiple_of(parts as usize) => {
                return Err(
                    p.error(format!("{whole} elements do not split into {parts} equal parts"))
                );
            }
            Some(whole) => vec![Dim::Fixed(whole / parts as usize); parts as usize],
            None => vec![Dim::Unknown; parts as usize],
        },
    };
    let part = |size: &Dim| {
        let mut dims = dims.to_vec();
        dims[axis] = *size;
        tensor(x.dtype, dims)
    };
    Ok(sizes.iter().map(part).collect())
}

pub(super) fn tile(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    let Some(dims) = x.dims() else { return Ok(x) };
    if !p.is_known("reps") {
        return Ok(tensor(x.dtype, vec![Dim::Unknown; dims.len()]));
    }
    let reps = p.need_ints("reps")?;
    if reps.len() != dims.len() {
        return Err(p.error(format!(
            "`reps` has {} elements, x has rank {}",
            reps.len(),
            dims.len()
        )));
    }
    let mut out = vec![];
    for (&dim, &rep) in dims.iter().zip(&reps) {
        let error = || p.error(format!("`reps` holds {rep}"));
        let rep = usize::try_from(rep).map_err(|_| error())?;
        out.push(match dim {
            Dim::Fixed(n) => Dim::Fixed(n.checked_mul(rep).ok_or_else(error)?),
            Dim::Unknown => Dim::Unknown,
        });
    }
    Ok(tensor(x.dtype, out))
}

pub(super) fn pad(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    let mode = p.string("mode")?;
    if !matches!(mode.as_str(), "constant" | "reflect" | "replicate") {
        return Err(p.error(format!("`mode` is \"{mode}\"; it is constant, reflect or replicate")));
    }
    p.float("constant_val")?;
    let Some(dims) = x.dims() else { return Ok(x) };
    // The length is known from the type even where the amounts are not.
    let count = match p.ty("pad")?.fixed_dims().as_deref() {
        Some([count]) => Some(*count),
        _ => p.is_known("pad").then_some(1),
    };
    if let Some(count) = count
        && (count % 2 == 1 || count / 2 > dims.len())
    {
        let rank = dims.len();
        return Err(p.error(format!("`pad` has {count} elements, x has rank {rank}")));
    }
    let mut out = dims.to_vec();
    let first = dims.len() - count.map_or(dims.len(), |count| count / 2);
    if !p.is_known("pad") {
        out[first..].fill(Dim::Unknown);
        return Ok(tensor(x.dtype, out));
    }
    let pad = p.need_ints("pad")?;
    for (dim, amounts) in out[first..].iter_mut().zip(pad.chunks_exact(2)) {
        let error = || p.error(format!("`pad` holds {amounts:?} for an axis of size {dim}"));
        let before = usize::try_from(amounts[0]).map_err(|_| error())?;
        let after = usize::try_from(amounts[1]).map_err(|_| error())?;
        if let Dim::Fixed(n) = *dim {
            let longest = before.max(after);
            let fits = match mode.as_str() {
                "reflect" => longest == 0 || longest < n,
                "replicate" => longest == 0 || n > 0,
                _ => true,
            };
            let total = n.checked_add(before).and_then(|n| n.checked_add(after));
            *dim = Dim::Fixed(total.filter(|_| fits).ok_or_else(error)?);
        }
    }
    Ok(tensor(x.dtype, out))
}

pub(super) fn reverse(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    if let Some(rank) = x.rank() {
        p.axes("axes", rank)?;
    }
    Ok(x)
}
