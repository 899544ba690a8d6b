//! Blocks of pixels that go to channels or the batch, and cuts at the sides of an image.

use crate::{Op, OpError, Params};

/// How an op rearranges blocks of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Height and width of a block.
    pub size: [usize; 2],
    /// What is put before and after height and width, before the blocks are taken; or, where
    /// blocks are put together, what is cut there afterwards.
    pub margins: [(usize, usize); 2],
}

/// The blocks of `depth_to_space`, `pixel_shuffle`, `space_to_batch` and their opposites.
///
/// # Errors
/// If a block has no elements or a margin is negative.
pub fn blocks(params: &Params) -> Result<Blocks, OpError> {
    let single = |name: &str| {
        let size = params.int(name)?;
        let error = || params.error(format!("`{name}` is {size}, it must be 1 or more"));
        let size = usize::try_from(size).ok().filter(|&s| s > 0).ok_or_else(error)?;
        Ok(Blocks { size: [size; 2], margins: [(0, 0); 2] })
    };
    let margins = match params.operation.op {
        Op::PixelShuffle => return single("upscale_factor"),
        Op::PixelUnshuffle => return single("downscale_factor"),
        Op::SpaceToBatch => "paddings",
        Op::BatchToSpace => "crops",
        _ => return single("block_size"),
    };
    let shape = params.need_ints("block_shape")?;
    let size = match shape[..] {
        [h, w] if h > 0 && w > 0 => usize::try_from(h).ok().zip(usize::try_from(w).ok()),
        _ => None,
    };
    let Some((height, width)) = size else {
        return Err(params.error(format!("`block_shape` is {shape:?}; it must be two sizes")));
    };
    let given = params.tensor(margins)?;
    let values = given.filter(|t| t.dims() == [2, 2] && t.dtype().is_int()).map(|t| t.to_i64s());
    let values: Option<Vec<usize>> =
        values.and_then(|v| v.into_iter().map(|m| usize::try_from(m).ok()).collect());
    match values.as_deref() {
        Some(&[top, bottom, left, right]) => {
            Ok(Blocks { size: [height, width], margins: [(top, bottom), (left, right)] })
        }
        _ => Err(params.error(format!("`{margins}` must be [2, 2] and not negative"))),
    }
}

/// What `crop` cuts before and after height and width.
///
/// # Errors
/// If an amount is negative or they are not two.
pub fn crop_amounts(params: &Params) -> Result<[(usize, usize); 2], OpError> {
    let pair = |name: &str| {
        let amounts = params.need_ints(name)?;
        let pair = match amounts[..] {
            [a, b] => usize::try_from(a).ok().zip(usize::try_from(b).ok()),
            _ => None,
        };
        pair.ok_or_else(|| params.error(format!("`{name}` is {amounts:?}; it must be two amounts")))
    };
    Ok([pair("crop_height")?, pair("crop_width")?])
}
