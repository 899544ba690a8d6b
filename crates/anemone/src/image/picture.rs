//! Pictures in files.

use super::{jpeg, png, resize};
use crate::Error;
use coreml::{ColorSpace, ImageType};
use mil::{DataType, Tensor};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The most pixels of a picture: what a file or a model says cannot take more memory than these.
pub const MAX_PIXELS: usize = 1 << 26;

/// The longest side: what JPEG can say.
pub(super) const MAX_SIDE: usize = 65535;

/// The most bytes of a file.
const MAX_BYTES: u64 = 1 << 29;

/// A picture in memory: rows of pixels from above, of 8 bits a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The file that it is from, for messages.
    pub(super) file: PathBuf,
    pub(super) width: usize,
    pub(super) height: usize,
    /// 1 for gray, 3 for red, green and blue.
    pub(super) channels: usize,
    /// `[height, width, channels]`.
    pub(super) pixels: Vec<u8>,
}

impl Picture {
    /// Reads a PNG or JPEG file, told apart by what is in it. The first picture of several, without
    /// what its transparency, color profile and orientation would make of it; 16 bits a channel
    /// become 8.
    ///
    /// # Errors
    /// If the file cannot be read, is of neither format, is damaged or cut off, or has more than
    /// [`MAX_PIXELS`] pixels, or more than 65535 on a side.
    pub fn read(path: impl AsRef<Path>) -> Result<Picture, Error> {
        let path = path.as_ref();
        let error = |message| Error::Picture { file: path.display().to_string(), message };
        let mut bytes = vec![];
        let file = File::open(path).map_err(|e| error(e.to_string()))?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| error(e.to_string()))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(error(format!("the file has more than {MAX_BYTES} bytes")));
        }
        Picture::decode(&bytes, path)
    }

    /// A picture of the content of a file. `file` is its name for messages.
    ///
    /// # Errors
    /// As [`Picture::read`].
    pub fn decode(bytes: &[u8], file: impl AsRef<Path>) -> Result<Picture, Error> {
        let file = file.as_ref().to_owned();
        let decoded = match bytes {
            [0x89, b'P', b'N', b'G', ..] => png::decode(bytes),
            [0xff, 0xd8, 0xff, ..] => jpeg::decode(bytes),
            _ => Err("this is neither PNG nor JPEG".to_owned()),
        };
        match decoded {
            Ok(Decoded { width, height, channels, pixels }) => {
                Ok(Picture { file, width, height, channels, pixels })
            }
            Err(message) => Err(Error::Picture { file: file.display().to_string(), message }),
        }
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The picture in another size, whatever becomes of the ratio of its sides: every new pixel is
    /// a mean of the old ones under a triangle, which is as wide as two of the larger pixels. So
    /// does the filter `BILINEAR` of Pillow.
    ///
    /// # Errors
    /// If a size is zero, or there would be more than [`MAX_PIXELS`] pixels, or more than 65535 on a
    /// side.
    pub fn resized(&self, width: usize, height: usize) -> Result<Picture, Error> {
        resize::resized(self, width, height)
    }

    /// The picture as a model sees it, one channel after the other: `[channels, height, width]`.
    /// Colors become gray by their luminance (ITU-R 601), gray the same in every channel.
    pub fn planes(&self, color: ColorSpace) -> Vec<u8> {
        let place = |place: usize| self.pixels.iter().skip(place).step_by(self.channels).copied();
        match (color, self.channels) {
            (ColorSpace::Grayscale | ColorSpace::GrayscaleFp16, 3) => {
                self.pixels.as_chunks().0.iter().map(luminance).collect()
            }
            (ColorSpace::Grayscale | ColorSpace::GrayscaleFp16, _) => self.pixels.clone(),
            (ColorSpace::Rgb, 3) => (0..3).flat_map(place).collect(),
            (ColorSpace::Bgr, 3) => (0..3).rev().flat_map(place).collect(),
            (ColorSpace::Rgb | ColorSpace::Bgr, _) => self.pixels.repeat(3),
        }
    }

    /// The picture as the value of an image: fp32 of shape `[1, channels, height, width]`.
    ///
    /// ```
    /// use anemone::coreml::{ColorSpace, ImageFlexibility, ImageType};
    /// use anemone::image::Picture;
    ///
    /// let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/colors.png");
    /// let ty = ImageType {
    ///     width: 2, height: 2, color: ColorSpace::Rgb, flexibility: ImageFlexibility::Fixed,
    /// };
    /// let picture = Picture::read(file)?;
    /// assert_eq!((picture.width(), picture.height()), (2, 2));
    /// // Red, green; blue, white.
    /// assert_eq!(picture.tensor(&ty).to_f64s(), [
    ///     255., 0., 0., 255., //
    ///     0., 255., 0., 255., //
    ///     0., 0., 255., 255., //
    /// ]);
    /// assert_eq!(picture.resized(224, 224)?.tensor(&ty).dims(), [1, 3, 224, 224]);
    /// # Ok::<(), anemone::Error>(())
    /// ```
    pub fn tensor(&self, ty: &ImageType) -> Tensor {
        let planes = self.planes(ty.color).into_iter();
        let data: Vec<u8> = planes.flat_map(|byte| f32::from(byte).to_le_bytes()).collect();
        let dims = ty.shape(self.width, self.height);
        Tensor::from_bytes(DataType::Fp32, &dims, data).expect("there is a float for each pixel")
    }
}

/// What a file says.
pub(super) struct Decoded {
    pub width: usize,
    pub height: usize,
    pub channels: usize,
    pub pixels: Vec<u8>,
}

/// An error if a picture of this size is none, or is too large.
pub(super) fn check_size(width: usize, height: usize) -> Result<(), String> {
    if width == 0 || height == 0 {
        return Err(format!("{width} × {height} pixels are no picture"));
    }
    if width.max(height) > MAX_SIDE || width * height > MAX_PIXELS {
        return Err(format!(
            "{width} × {height} pixels are too many: at most {MAX_PIXELS}, and {MAX_SIDE} on a side"
        ));
    }
    Ok(())
}

/// 0.299·R + 0.587·G + 0.114·B, rounded.
fn luminance(&[red, green, blue]: &[u8; 3]) -> u8 {
    let [red, green, blue] = [red, green, blue].map(u32::from);
    ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16) as u8
}
