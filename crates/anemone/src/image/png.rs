//! PNG.

use super::picture::{Decoded, check_size};
use png::{ColorType, Decoder, Limits, Transformations};
use std::io::Cursor;

/// What a decoder may take beside the picture itself: chunks, and a row.
const MAX_EXTRA: usize = 1 << 26;

pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    let limits = Limits { bytes: MAX_EXTRA };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::normalize_to_color8());
    let info = decoder.read_header_info().map_err(|error| error.to_string())?;
    let (width, height) = (info.width as usize, info.height as usize);
    check_size(width, height)?;
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let (color, _) = reader.output_color_type();
    // Colors, and behind them transparency.
    let (channels, stored) = match color {
        ColorType::Grayscale => (1, 1),
        ColorType::GrayscaleAlpha => (1, 2),
        ColorType::Rgb => (3, 3),
        ColorType::Rgba => (3, 4),
        ColorType::Indexed => return Err("its palette cannot be applied".to_owned()),
    };
    let mut pixels = vec![0; width * height * stored];
    let frame = reader.next_frame(&mut pixels).map_err(|error| error.to_string())?;
    if frame.buffer_size() != pixels.len() {
        return Err("its first frame is not the whole picture".to_owned());
    }
    if stored != channels {
        let colors = pixels.chunks_exact(stored).flat_map(|pixel| &pixel[..channels]);
        pixels = colors.copied().collect();
    }
    Ok(Decoded { width, height, channels, pixels })
}
