//! Blocks of pixels to channels or the batch and back, windows, and cuts at the sides of images.

use super::movement::joined;
use crate::Array;
use crate::evaluate::Context;
use crate::index::{indices, position};
use mil::shape::{blocks as layout, crop_amounts};
use mil::{Op, OpError};

/// A pixel of the larger image is a pixel of the smaller one and a place in its block.
pub(super) fn blocks(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let layout = layout(&c.params)?;
    let dims = c.result_dims()?.remove(0);
    let [height, width] = layout.size;
    let [(top, _), (left, _)] = layout.margins;
    let from = x.dims();
    match c.operation.op {
        Op::DepthToSpace | Op::PixelShuffle | Op::BatchToSpace => {
            let source = |index: Vec<usize>| {
                let (n, channel, row, column) =
                    (index[0], index[1], index[2] + top, index[3] + left);
                let block = row % height * width + column % width;
                let (n, channel) = match c.operation.op {
                    Op::DepthToSpace => (n, block * dims[1] + channel),
                    Op::PixelShuffle => (n, channel * height * width + block),
                    _ => (block * dims[0] + n, channel),
                };
                position(from, &[n, channel, row / height, column / width])
            };
            Ok(x.pick(&dims, indices(&dims).map(source)))
        }
        op => {
            // A zero stands after the last element.
            let zero = match x.dtype().is_float() {
                true => Array::floats(x.dtype(), &[1], vec![0.0]),
                false => Array::ints(x.dtype(), &[1], vec![0]),
            };
            let source = |index: Vec<usize>| {
                let (n, channel, block) = match op {
                    Op::SpaceToDepth => (index[0], index[1] % from[1], index[1] / from[1]),
                    Op::PixelUnshuffle => {
                        let pixels = height * width;
                        (index[0], index[1] / pixels, index[1] % pixels)
                    }
                    _ => (index[0] % from[0], index[1], index[0] / from[0]),
                };
                let row = (index[2] * height + block / width).checked_sub(top);
                let column = (index[3] * width + block % width).checked_sub(left);
                match (row, column) {
                    (Some(row), Some(column)) if row < from[2] && column < from[3] => {
                        position(from, &[n, channel, row, column])
                    }
                    _ => x.count(),
                }
            };
            Ok(joined(&[x.clone(), zero]).pick(&dims, indices(&dims).map(source)))
        }
    }
}

pub(super) fn crop(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let [(top, _), (left, _)] = crop_amounts(&c.params)?;
    let dims = c.result_dims()?.remove(0);
    let rank = dims.len();
    let from = |mut index: Vec<usize>| {
        index[rank - 2] += top;
        index[rank - 1] += left;
        position(x.dims(), &index)
    };
    Ok(x.pick(&dims, indices(&dims).map(from)))
}

/// Element i of window w is element w·stride + i.
pub(super) fn sliding_windows(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let axis = c.params.axis("axis", x.dims().len())?;
    let stride = usize::try_from(c.params.int("stride")?).unwrap_or(usize::MAX);
    let dims = c.result_dims()?.remove(0);
    let from = |mut index: Vec<usize>| {
        let within = index.remove(axis + 1);
        index[axis] = index[axis] * stride + within;
        position(x.dims(), &index)
    };
    Ok(x.pick(&dims, indices(&dims).map(from)))
}
