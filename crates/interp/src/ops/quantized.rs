//! Between floats and small integers. Scale and zero point are scalars, or vectors along `axis`, or
//! those of blocks.

use crate::Array;
use crate::evaluate::Context;
use crate::index::indices;
use mil::{Op, OpError};

/// scale·(x − zero_point).
pub(super) fn dequantize(c: &Context) -> Result<Array, OpError> {
    let name = if c.operation.op == Op::Dequantize { "input" } else { "quantized_data" };
    let x = c.need(name)?;
    let out = with_parameters(c, &x, |v, scale, zero| (v - zero) * scale)?;
    Ok(Array::floats(c.need("scale")?.dtype(), x.dims(), out))
}

/// x/scale + zero_point, rounded to the nearest integer (ties to even) and clipped.
pub(super) fn quantize(c: &Context) -> Result<Array, OpError> {
    let x = c.need("input")?;
    let dtype = c.params.dtype("output_dtype")?;
    let (low, high) = dtype.int_range().unwrap_or((0, 0));
    let (low, high) = (low as f64, high as f64);
    let out = with_parameters(c, &x, |v, scale, zero| {
        ((v / scale).round_ties_even() + zero).clamp(low, high)
    })?;
    Ok(Array::ints(dtype, x.dims(), out.into_iter().map(|v| v as i64).collect()))
}

/// scale·(x − offset), both those of the block in which the element is.
pub(super) fn blockwise(c: &Context) -> Result<Array, OpError> {
    in_blocks(c, &c.need("data")?, &c.need("scale")?)
}

/// The elements of x scaled, each by the scale and offset of its block.
pub(super) fn in_blocks(c: &Context, x: &Array, scale: &Array) -> Result<Array, OpError> {
    let (dims, blocks) = (x.dims(), scale.dims());
    // `infer` has seen to it that there is a last axis, and that blocks are equal.
    let (Some((&width, outer)), Some((&across, _))) = (dims.split_last(), blocks.split_last())
    else {
        return Err(c.params.error("`data` and `scale` need an axis"));
    };
    let (values, scales) = (x.to_f64s(), scale.to_f64s());
    let offsets = c.get("offset")?.map(|offset| offset.to_f64s());
    let mut out = Vec::with_capacity(values.len());
    for index in indices(outer) {
        let row = index.iter().zip(outer).zip(blocks);
        let row = row.fold(0, |row, ((&i, &dim), &count)| row * count + i * count / dim);
        for i in 0..width {
            let block = row * across + i * across / width;
            let offset = offsets.as_ref().map_or(0.0, |offsets| offsets[block]);
            out.push((values[out.len()] - offset) * scales[block]);
        }
    }
    Ok(Array::floats(scale.dtype(), dims, out))
}

fn with_parameters(
    c: &Context,
    x: &Array,
    f: impl Fn(f64, f64, f64) -> f64,
) -> Result<Vec<f64>, OpError> {
    let scale = c.need("scale")?.to_f64s();
    let zero = c.get("zero_point")?.map_or(vec![0.0], |z| z.to_f64s());
    let axis = match scale.len().max(zero.len()) {
        1 => 0,
        _ => c.params.axis("axis", x.dims().len())?,
    };
    let at = |parameter: &[f64], index: &[usize]| match parameter {
        [one] => *one,
        many => many[index[axis]],
    };
    let values = x.to_f64s();
    let out = indices(x.dims()).zip(values);
    Ok(out.map(|(index, v)| f(v, at(&scale, &index), at(&zero, &index))).collect())
}
