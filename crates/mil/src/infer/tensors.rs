//! Tensors made from parameters and shapes, selections, and what else deals with indices.

use super::{tensor, unranked};
use crate::shape::MAX_RANK;
use crate::{DataType, Dim, OpError, Params, Shape, TensorType, element_count};

pub(super) fn one_hot(p: &Params) -> Result<TensorType, OpError> {
    let indices = p.ty("indices")?;
    let on = p.ty_opt("on_value")?;
    let dtype = match on.or(p.ty_opt("off_value")?) {
        Some(ty) => ty.dtype,
        None => DataType::Int32,
    };
    for name in ["on_value", "off_value"] {
        if p.has(name) {
            p.float(name)?;
        }
    }
    let size = match p.is_known("one_hot_vector_size") {
        true => Dim::Fixed(size(p, "one_hot_vector_size")?),
        false => Dim::Unknown,
    };
    let Some(dims) = indices.dims() else { return Ok(unranked(dtype)) };
    let mut dims = dims.to_vec();
    dims.insert(p.axis("axis", dims.len() + 1)?, size);
    Ok(tensor(dtype, dims))
}

/// A parameter that is a number of elements.
fn size(p: &Params, name: &str) -> Result<usize, OpError> {
    let size = p.int(name)?;
    usize::try_from(size)
        .map_err(|_| p.error(format!("`{name}` is {size}; it must not be negative")))
}

pub(super) fn topk(p: &Params) -> Result<Vec<TensorType>, OpError> {
    let x = p.ty("x")?;
    p.bool("ascending")?;
    p.bool("sort")?;
    let indices = match p.string("output_indices_dtype")?.as_str() {
        "int32" => DataType::Int32,
        "uint16" => DataType::Uint16,
        other => {
            return Err(
                p.error(format!("`output_indices_dtype` is \"{other}\"; it is int32 or uint16"))
            );
        }
    };
    let k = p.int("k")?;
    let mut shape = x.shape.clone();
    if let Shape::Ranked(dims) = &mut shape {
        let axis = p.axis("axis", dims.len())?;
        let dim = &mut dims[axis];
        match usize::try_from(k) {
            _ if k == -1 => {}
            Ok(k) if dim.fixed().is_none_or(|n| k <= n) => *dim = Dim::Fixed(k),
            _ => {
                return Err(p.error(format!("`k` is {k}, axis {axis} of x has {dim} elements")));
            }
        }
    }
    let values = TensorType { dtype: x.dtype, shape: shape.clone() };
    if !p.bool("return_indices")? {
        return Ok(vec![values]);
    }
    Ok(vec![values, TensorType { dtype: indices, shape }])
}

pub(super) fn argsort(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    p.bool("ascending")?;
    if let Some(rank) = x.rank() {
        p.axis("axis", rank)?;
    }
    Ok(TensorType { dtype: DataType::Int32, shape: x.shape })
}

pub(super) fn non_zero(p: &Params) -> Result<TensorType, OpError> {
    let rank = p.ty("x")?.rank().map_or(Dim::Unknown, Dim::Fixed);
    Ok(tensor(DataType::Int32, vec![Dim::Unknown, rank]))
}

/// Boxes, scores, indices, and with a `score_threshold` how many.
pub(super) fn non_maximum_suppression(p: &Params) -> Result<Vec<TensorType>, OpError> {
    let (boxes, scores) = (p.ty("boxes")?, p.ty("scores")?);
    p.float("iou_threshold")?;
    p.bool("per_class_suppression")?;
    let counted = p.has("score_threshold");
    if counted {
        p.float("score_threshold")?;
    }
    let kept = Dim::Fixed(size(p, "max_boxes")?);
    let (Some(b), Some(s)) = (boxes.dims(), scores.dims()) else {
        return Err(p.error("the ranks of `boxes` and `scores` must be known"));
    };
    let expected = if counted { "[n, B, 4] and [n, B, K]" } else { "[n, 4, B] and [n, K, B]" };
    let wrong = || p.error(format!("boxes are {boxes} and scores {scores}, expected {expected}"));
    let (&[n, b1, b2], &[m, s1, s2]) = (b, s) else { return Err(wrong()) };
    let (boxes_b, four, boxes_s, classes) =
        if counted { (b1, b2, s1, s2) } else { (b2, b1, s2, s1) };
    if !four.compatible(Dim::Fixed(4)) || !boxes_b.compatible(boxes_s) || !n.compatible(m) {
        return Err(wrong());
    }
    let n = if n == Dim::Unknown { m } else { n };
    let four = Dim::Fixed(4);
    let of = |dims: [Dim; 3]| tensor(boxes.dtype, dims.to_vec());
    let indices = tensor(DataType::Int32, vec![n, kept]);
    Ok(match counted {
        true => {
            let count = tensor(DataType::Int32, vec![n]);
            vec![of([n, kept, four]), of([n, kept, classes]), indices, count]
        }
        false => vec![of([n, four, kept]), of([n, classes, kept]), indices],
    })
}

/// How many numbers there are from `start` in steps of `step` before `end`.
pub(super) fn range_1d(p: &Params) -> Result<TensorType, OpError> {
    let dtype = p.ty("end")?.dtype;
    for name in ["end", "start", "step"] {
        single(p, name, &p.ty(name)?)?;
    }
    if !["end", "start", "step"].iter().all(|name| p.is_known(name)) {
        return Ok(tensor(dtype, vec![Dim::Unknown]));
    }
    let count = if dtype.is_int() {
        let (end, start, step) = (p.int("end")?, p.int("start")?, p.int("step")?);
        let (span, step) = (i128::from(end) - i128::from(start), i128::from(step));
        if step == 0 {
            return Err(p.error("`step` is 0"));
        }
        let (span, step) = if step < 0 { (-span, -step) } else { (span, step) };
        usize::try_from((span.max(0) + step - 1) / step).ok()
    } else {
        let (end, start, step) = (p.float("end")?, p.float("start")?, p.float("step")?);
        if step == 0.0 {
            return Err(p.error("`step` is 0"));
        }
        let count = ((end - start) / step).ceil().max(0.0);
        let finite = [end, start, step].iter().all(|v| v.is_finite()) && count < 9e15;
        finite.then_some(count as usize)
    };
    match count {
        Some(count) => Ok(tensor(dtype, vec![Dim::Fixed(count)])),
        None => Err(p.error("the range has no end that can be reached")),
    }
}

/// An error unless the tensor has one element.
pub(super) fn single(p: &Params, name: &str, ty: &TensorType) -> Result<(), OpError> {
    let dims = ty.fixed_dims();
    match dims.is_none_or(|d| element_count(&d) == Some(1)) {
        true => Ok(()),
        false => Err(p.error(format!("`{name}` is {ty}; it must be one number"))),
    }
}

/// The shape that a parameter gives, as far as it is known.
pub(super) fn made(p: &Params, name: &str, dtype: DataType) -> Result<TensorType, OpError> {
    let ty = p.ty(name)?;
    if ty.rank().is_some_and(|rank| rank > 1) {
        return Err(p.error(format!("`{name}` is {ty}; it must be a vector")));
    }
    if !p.is_known(name) {
        let rank = match ty.dims() {
            Some([]) => Some(1),
            Some([Dim::Fixed(n)]) => Some(*n),
            _ => None,
        };
        return Ok(match rank.filter(|&rank| rank <= MAX_RANK) {
            Some(rank) => tensor(dtype, vec![Dim::Unknown; rank]),
            None => unranked(dtype),
        });
    }
    let sizes = p.need_ints(name)?;
    let dim = |&size: &i64| match usize::try_from(size) {
        Ok(size) => Ok(Dim::Fixed(size)),
        Err(_) => Err(p.error(format!("`{name}` holds {size}; sizes must not be negative"))),
    };
    Ok(tensor(dtype, sizes.iter().map(dim).collect::<Result<_, _>>()?))
}

/// `fill` and `fill_like`.
pub(super) fn fill(p: &Params) -> Result<TensorType, OpError> {
    let dtype = p.ty_opt("value")?.map_or(DataType::Fp32, |ty| ty.dtype);
    p.float("value")?;
    match p.has("ref_tensor") {
        true => Ok(TensorType { dtype, shape: p.ty("ref_tensor")?.shape }),
        false => made(p, "shape", dtype),
    }
}

pub(super) fn shape(p: &Params) -> Result<TensorType, OpError> {
    let rank = p.ty("x")?.rank().map_or(Dim::Unknown, Dim::Fixed);
    Ok(tensor(DataType::Int32, vec![rank]))
}

pub(super) fn stack(p: &Params) -> Result<TensorType, OpError> {
    let values = p.tuple_tys("values")?;
    let Some(first) = values.first() else { return Err(p.error("`values` is empty")) };
    let mut whole: Option<Vec<Dim>> = None;
    for value in &values {
        let fits = whole.as_ref().is_none_or(|w| tensor(first.dtype, w.clone()).compatible(value));
        if !fits || value.dtype != first.dtype {
            return Err(p.error(format!("`values` holds {first} and {value}")));
        }
        // A size that only one of them tells is that of all.
        let Some(dims) = value.dims() else { continue };
        let known = whole.unwrap_or_else(|| dims.to_vec());
        let known = known.iter().zip(dims).map(|(a, b)| if *a == Dim::Unknown { *b } else { *a });
        whole = Some(known.collect());
    }
    let Some(mut dims) = whole else { return Ok(unranked(first.dtype)) };
    dims.insert(p.axis("axis", dims.len() + 1)?, Dim::Fixed(values.len()));
    Ok(tensor(first.dtype, dims))
}

pub(super) fn band_part(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    p.int("lower")?;
    p.int("upper")?;
    match x.rank() {
        Some(0 | 1) => Err(p.error(format!("x is {x}; it must have rank 2 or more"))),
        _ => Ok(x),
    }
}

pub(super) fn reshape_like(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    let references = p.tuple_tys("ref_tensors")?;
    let ints = |name: &str, wanted: fn(DataType) -> bool| -> Result<Vec<i64>, OpError> {
        let values = p.tuple(name)?;
        if values.len() != references.len()
            || values.iter().any(|v| v.count() != 1 || !wanted(v.dtype()))
        {
            let n = references.len();
            return Err(p.error(format!("`{name}` must hold one number for each of {n} tensors")));
        }
        Ok(values.iter().map(|v| v.to_i64s()[0]).collect())
    };
    let (begins, ends) = (ints("begins", DataType::is_int)?, ints("ends", DataType::is_int)?);
    let masks = ints("end_masks", |dtype| dtype == DataType::Bool)?;
    let mut dims = vec![];
    for (i, reference) in references.iter().enumerate() {
        let Some(of) = reference.dims() else { return Ok(unranked(x.dtype)) };
        let rank = of.len() as i64;
        let bound =
            |v: i64| (if v < 0 { v.saturating_add(rank) } else { v }).clamp(0, rank) as usize;
        let end = if masks[i] != 0 { of.len() } else { bound(ends[i]) };
        dims.extend(of.get(bound(begins[i])..end).unwrap_or_default());
    }
    let out = tensor(x.dtype, dims);
    let count = |ty: &TensorType| ty.fixed_dims().and_then(|d| element_count(&d));
    match (x.fixed_dims(), out.fixed_dims()) {
        (Some(_), Some(_)) if count(&x) != count(&out) => {
            Err(p.error(format!("{x} does not reshape to {out}")))
        }
        _ => Ok(out),
    }
}

pub(super) fn flatten2d(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    let axis = p.int("axis")?;
    let Some(dims) = x.dims() else { return Ok(tensor(x.dtype, vec![Dim::Unknown; 2])) };
    let rank = dims.len() as i64;
    let from_front = if axis < 0 { axis.saturating_add(rank) } else { axis };
    let Some(at) = usize::try_from(from_front).ok().filter(|&at| at <= dims.len()) else {
        return Err(p.error(format!("`axis` = {axis} is out of range for rank {rank}")));
    };
    let product = |dims: &[Dim]| -> Result<Dim, OpError> {
        let Some(dims) = dims.iter().map(|d| d.fixed()).collect::<Option<Vec<usize>>>() else {
            return Ok(Dim::Unknown);
        };
        let huge = || p.error("x has too many elements");
        Ok(Dim::Fixed(element_count(&dims).ok_or_else(huge)?))
    };
    Ok(tensor(x.dtype, vec![product(&dims[..at])?, product(&dims[at..])?]))
}

pub(super) fn reverse_sequence(p: &Params) -> Result<TensorType, OpError> {
    let (x, lengths) = (p.ty("x")?, p.ty("lengths")?);
    let Some(dims) = x.dims() else { return Ok(x) };
    let (seq, batch) = (p.axis("seq_axis", dims.len())?, p.axis("batch_axis", dims.len())?);
    if seq == batch {
        return Err(p.error(format!("`seq_axis` and `batch_axis` are both {seq}")));
    }
    let fits = lengths.dims().is_none_or(|d| matches!(d, [n] if n.compatible(dims[batch])));
    if !fits {
        let n = dims[batch];
        return Err(p.error(format!("`lengths` is {lengths}, axis {batch} of x has {n} elements")));
    }
    Ok(x)
}

pub(super) fn einsum(p: &Params) -> Result<TensorType, OpError> {
    let values = p.tuple_tys("values")?;
    let [x, y] = &values[..] else {
        return Err(p.error(format!("`values` holds {} tensors, not two", values.len())));
    };
    if x.dtype != y.dtype || !(x.dtype.is_float() || x.dtype.is_int()) {
        return Err(
            p.error(format!("`values` holds {x} and {y}; they must be numbers of one type"))
        );
    }
    let rank = p.einsum_rank()?;
    let (Some(a), Some(b)) = (x.dims(), y.dims()) else {
        return Ok(tensor(x.dtype, vec![Dim::Unknown; rank]));
    };
    if a.len() != rank || b.len() != rank {
        return Err(p.error(format!("{x} and {y} must have rank {rank}")));
    }
    let error = || p.error(format!("{x} and {y} do not fit the equation"));
    let [row, height, column] = [rank - 3, rank - 2, rank - 1];
    if !a[column].compatible(b[row]) {
        return Err(error());
    }
    let both = |axis: usize| {
        let shape = |dim: Dim| tensor(x.dtype, vec![dim]);
        let shape = super::broadcast(p, &shape(a[axis]), &shape(b[axis])).map_err(|_| error())?;
        Ok(match shape {
            Shape::Ranked(dims) => dims[0],
            Shape::Unranked => Dim::Unknown,
        })
    };
    let mut dims = vec![a[row], both(height)?, b[column]];
    if rank == 4 {
        dims.insert(0, both(0)?);
    }
    Ok(tensor(x.dtype, dims))
}

/// The element type of a distribution's parameters.
pub(super) fn random(p: &Params, names: &[&str]) -> Result<TensorType, OpError> {
    let mut dtype = DataType::Fp32;
    for name in names {
        if let Some(ty) = p.ty_opt(name)? {
            dtype = ty.dtype;
        }
        p.float(name)?;
    }
    p.int("seed")?;
    made(p, "shape", dtype)
}

pub(super) fn random_categorical(p: &Params) -> Result<TensorType, OpError> {
    let x = p.ty("x")?;
    p.int("seed")?;
    let size = size(p, "size")?;
    let mode = p.string("mode")?;
    if !matches!(mode.as_str(), "logits" | "probs") {
        return Err(p.error(format!("`mode` is \"{mode}\"; it is logits or probs")));
    }
    let Some(dims) = x.dims() else { return Ok(x) };
    let Some((_, rest)) = dims.split_last() else {
        return Err(p.error("x must not be a scalar"));
    };
    let mut dims = rest.to_vec();
    dims.push(Dim::Fixed(size));
    Ok(tensor(x.dtype, dims))
}
