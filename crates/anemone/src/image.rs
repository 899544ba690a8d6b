//! Images as programs see them: `[1, channels, height, width]`, values from 0 to 255.
//!
//! [`Picture`] reads them from files, [`tensor`] makes them of pixels.

mod jpeg;
mod picture;
mod png;
mod resize;

pub use picture::{MAX_PIXELS, Picture};

use crate::Error;
use coreml::{ColorSpace, ImageType};
use mil::{DataType, Tensor};

/// Pixels as the value of an image: fp32 of shape `[1, channels, height, width]`.
///
/// `bytes` are rows of pixels from above, of one byte for gray and three, red first, for colors,
/// in whatever order the model wants them.
///
/// # Errors
/// If there are not as many bytes as the size says.
///
/// ```
/// use anemone::coreml::{ColorSpace, ImageFlexibility, ImageType};
/// let ty = ImageType {
///     width: 2, height: 1, color: ColorSpace::Bgr, flexibility: ImageFlexibility::Fixed,
/// };
/// let tensor = anemone::image::tensor(&ty, 2, 1, &[255, 0, 0, 1, 2, 3])?;
/// assert_eq!(tensor.dims(), [1, 3, 1, 2]);
/// assert_eq!(tensor.to_f64s(), [0., 3., 0., 2., 255., 1.]);
/// # Ok::<(), anemone::Error>(())
/// ```
pub fn tensor(ty: &ImageType, width: usize, height: usize, bytes: &[u8]) -> Result<Tensor, Error> {
    let channels = ty.channels();
    let expected = mil::element_count(&[height, width, channels]).unwrap_or(usize::MAX);
    if bytes.len() != expected {
        return Err(Error::Pixels { width, height, expected, found: bytes.len() });
    }
    let mut data = Vec::with_capacity(4 * bytes.len());
    for channel in 0..channels {
        let channel = if ty.color == ColorSpace::Bgr { 2 - channel } else { channel };
        for &byte in bytes.iter().skip(channel).step_by(channels) {
            data.extend(f32::from(byte).to_le_bytes());
        }
    }
    let tensor = Tensor::from_bytes(DataType::Fp32, &[1, channels, height, width], data);
    Ok(tensor.expect("there are four bytes for each of the bytes that were counted"))
}
