//! Pools.

use crate::Array;
use crate::evaluate::Context;
use crate::index::{indices, position};
use mil::shape::pool_geometry;
use mil::{Op, OpError};

/// The largest element, the mean, or √Σx² of each window. Padding is −∞ to the first and 0 to the
/// others; the mean of nothing is 0.
pub(super) fn pool(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let geometry = pool_geometry(&c.params, x.dims())?;
    let dims = c.result_dims()?.remove(0);
    let op = c.operation.op;
    let exclude = op == Op::AvgPool && c.params.bool("exclude_padding_from_average")?;
    let values = x.to_f64s();
    let mut out = vec![];
    for index in indices(&dims) {
        let windows: Vec<_> =
            index[2..].iter().enumerate().map(|(axis, &at)| geometry.window(axis, at)).collect();
        let sizes: Vec<usize> = windows.iter().map(ExactSizeIterator::len).collect();
        let mut elements = vec![];
        for offset in indices(&sizes) {
            let mut at = index[..2].to_vec();
            at.extend(windows.iter().zip(&offset).map(|(window, i)| window.start + i));
            elements.push(values[position(x.dims(), &at)]);
        }
        out.push(match op {
            Op::MaxPool => {
                // NaN wins.
                let larger = |a: f64, b: f64| if b > a || b.is_nan() { b } else { a };
                elements.into_iter().fold(f64::NEG_INFINITY, larger)
            }
            Op::AvgPool => {
                let padded = |(axis, &at): (usize, &usize)| geometry.padded(axis, at) as f64;
                let count = match exclude {
                    true => elements.len() as f64,
                    false => index[2..].iter().enumerate().map(padded).product(),
                };
                elements.iter().sum::<f64>() / count.max(1.0)
            }
            _ => elements.iter().map(|v| v * v).sum::<f64>().sqrt(),
        });
    }
    Ok(Array::floats(x.dtype(), &dims, out))
}
