//! JPEG.

use super::picture::{Decoded, MAX_SIDE, check_size};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    let options = DecoderOptions::default()
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE)
        // A picture that is cut off is an error, not gray from there.
        .set_strict_mode(true)
        .set_use_unsafe(false);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|error| error.to_string())?;
    let info = decoder.info().ok_or("it has no header")?;
    let (width, height) = (usize::from(info.width), usize::from(info.height));
    check_size(width, height)?;
    let gray = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let (channels, color) = if gray { (1, ColorSpace::Luma) } else { (3, ColorSpace::RGB) };
    decoder.set_options(options.jpeg_set_out_colorspace(color));
    let pixels = decoder.decode().map_err(|error| error.to_string())?;
    if pixels.len() != width * height * channels {
        return Err(format!("{width} × {height} pixels have {} bytes", pixels.len()));
    }
    Ok(Decoded { width, height, channels, pixels })
}
