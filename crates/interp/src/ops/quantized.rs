//! Between floats and 8-bit integers. Scale and zero point are scalars, or vectors along `axis`.

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
