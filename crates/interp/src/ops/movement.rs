//! Ops that only move elements.

use crate::Array;
use crate::evaluate::Context;
use crate::index::{indices, position};
use mil::OpError;
use mil::shape::{SliceAxis, resolve_slice};

/// The same elements in the same order.
pub(super) fn reshape(c: &Context) -> Result<Array, OpError> {
    let dims = c.result_dims()?.remove(0);
    Ok(c.need("x")?.with_dims(&dims))
}

pub(super) fn transpose(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let rank = x.dims().len();
    let perm = c.params.need_ints("perm")?;
    let perm: Vec<usize> =
        perm.iter().map(|&p| (if p < 0 { p + rank as i64 } else { p }) as usize).collect();
    let dims: Vec<usize> = perm.iter().map(|&p| x.dims()[p]).collect();
    let from = |index: Vec<usize>| {
        let mut source = vec![0; rank];
        for (i, &axis) in index.iter().zip(&perm) {
            source[axis] = *i;
        }
        position(x.dims(), &source)
    };
    Ok(x.pick(&dims, indices(&dims).map(from)))
}

pub(super) fn slice(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let axes = resolve_slice(&c.params, x.dims())?;
    let sizes: Vec<usize> = axes.iter().map(|a| a.size).collect();
    let dims: Vec<usize> = axes.iter().filter(|a| !a.dropped).map(|a| a.size).collect();
    Ok(x.pick(&dims, indices(&sizes).map(|index| position(x.dims(), &sliced(&axes, &index)))))
}

/// The index in the whole of an index in the slice.
fn sliced(axes: &[SliceAxis], index: &[usize]) -> Vec<usize> {
    let at = |(a, &i): (&SliceAxis, &usize)| (a.begin as i64 + a.stride * i as i64) as usize;
    axes.iter().zip(index).map(at).collect()
}

pub(super) fn slice_update(c: &Context) -> Result<Array, OpError> {
    let (x, update) = (c.need("x")?, c.need("update")?);
    let axes = resolve_slice(&c.params, x.dims())?;
    let sizes: Vec<usize> = axes.iter().map(|a| a.size).collect();
    // Positions in x followed by the update; the update's replace those of x.
    let mut from: Vec<usize> = (0..x.count()).collect();
    for (i, index) in indices(&sizes).enumerate() {
        from[position(x.dims(), &sliced(&axes, &index))] = x.count() + i;
    }
    let both = joined(&[x.clone(), update]);
    Ok(both.pick(x.dims(), from.into_iter()))
}

/// The elements of all arrays, one after the other.
pub(super) fn joined(arrays: &[Array]) -> Array {
    let count = arrays.iter().map(Array::count).sum();
    match arrays.first().is_some_and(|a| a.dtype().is_float()) {
        true => {
            let values = arrays.iter().flat_map(Array::to_f64s).collect();
            Array::floats(arrays[0].dtype(), &[count], values)
        }
        false => {
            let dtype = arrays.first().map_or(mil::DataType::Int32, Array::dtype);
            Array::ints(dtype, &[count], arrays.iter().flat_map(Array::to_i64s).collect())
        }
    }
}

/// The elements of an array, and a zero after them.
pub(super) fn with_zero(x: &Array) -> Array {
    let zero = match x.dtype().is_float() {
        true => Array::floats(x.dtype(), &[1], vec![0.0]),
        false => Array::ints(x.dtype(), &[1], vec![0]),
    };
    joined(&[x.clone(), zero])
}

pub(super) fn concat(c: &Context) -> Result<Array, OpError> {
    let dims = c.result_dims()?.remove(0);
    let axis = c.params.axis("axis", dims.len())?;
    let interleave = c.params.bool("interleave")?;
    let mut values = c.tuple("values")?;
    for value in &mut values {
        if value.dims().is_empty() {
            *value = value.clone().with_dims(&[1]);
        }
    }
    let sizes: Vec<usize> = values.iter().map(|v| v.dims()[axis]).collect();
    if interleave && sizes.iter().any(|&s| s != sizes[0]) {
        return Err(c.params.error("interleaved values must have one size"));
    }
    let starts: Vec<usize> =
        values.iter().scan(0, |at, v| Some(std::mem::replace(at, *at + v.count()))).collect();
    let from = |mut index: Vec<usize>| {
        let mut along = index[axis];
        let mut part = 0;
        if interleave {
            (part, along) = (along % values.len(), along / values.len());
        } else {
            while along >= sizes[part] {
                along -= sizes[part];
                part += 1;
            }
        }
        index[axis] = along;
        starts[part] + position(values[part].dims(), &index)
    };
    Ok(joined(&values).pick(&dims, indices(&dims).map(from)))
}

pub(super) fn split(c: &Context) -> Result<Vec<Array>, OpError> {
    let x = c.need("x")?;
    let axis = c.params.axis("axis", x.dims().len())?;
    let mut begin = 0;
    let mut parts = vec![];
    for dims in c.result_dims()? {
        let from = |mut index: Vec<usize>| {
            index[axis] += begin;
            position(x.dims(), &index)
        };
        parts.push(x.pick(&dims, indices(&dims).map(from)));
        begin += dims[axis];
    }
    Ok(parts)
}

pub(super) fn tile(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let dims = c.result_dims()?.remove(0);
    let from = |index: Vec<usize>| {
        let source: Vec<usize> = index.iter().zip(x.dims()).map(|(i, d)| i % d).collect();
        position(x.dims(), &source)
    };
    Ok(x.pick(&dims, indices(&dims).map(from)))
}

pub(super) fn reverse(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let rank = x.dims().len();
    let axes = c.params.axes("axes", rank)?.unwrap_or_else(|| (0..rank).collect());
    let from = |mut index: Vec<usize>| {
        for &axis in &axes {
            index[axis] = x.dims()[axis] - 1 - index[axis];
        }
        position(x.dims(), &index)
    };
    Ok(x.pick(x.dims(), indices(x.dims()).map(from)))
}

pub(super) fn pad(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let dims = c.result_dims()?.remove(0);
    let pad = c.params.need_ints("pad")?;
    let mode = c.params.string("mode")?;
    let first = dims.len() - pad.len() / 2;
    let before = |axis: usize| if axis < first { 0 } else { pad[2 * (axis - first)] };
    let fill = c.params.float("constant_val")?;
    let constant = match x.dtype().is_float() {
        true => Array::floats(x.dtype(), &[1], vec![fill]),
        false => Array::ints(x.dtype(), &[1], vec![fill as i64]),
    };
    // The filling stands after the last element.
    let filled = x.count();
    let from = |index: Vec<usize>| {
        let mut source = vec![];
        for (axis, &i) in index.iter().enumerate() {
            let size = x.dims()[axis] as i64;
            let mut at = i as i64 - before(axis);
            match mode.as_str() {
                "reflect" if at < 0 => at = -at,
                "reflect" if at >= size => at = 2 * (size - 1) - at,
                "replicate" => at = at.clamp(0, size - 1),
                _ => {}
            }
            if !(0..size).contains(&at) {
                return filled;
            }
            source.push(at as usize);
        }
        position(x.dims(), &source)
    };
    Ok(joined(&[x.clone(), constant]).pick(&dims, indices(&dims).map(from)))
}
