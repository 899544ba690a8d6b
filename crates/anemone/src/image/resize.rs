//! Pictures in another size: a triangle filter, along rows and then along columns.

use super::picture::{Picture, check_size};
use crate::Error;

/// What a new pixel is the mean of: the first old one, and the weights from there on, which sum to 1.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

pub(super) fn resized(picture: &Picture, width: usize, height: usize) -> Result<Picture, Error> {
    // Between the two steps a picture has the new width and the old height.
    for (width, height) in [(width, height), (width, picture.height)] {
        check_size(width, height).map_err(|message| Error::Picture {
            file: picture.file.display().to_string(),
            message: format!("it cannot be resized: {message}"),
        })?;
    }
    let channels = picture.channels;
    let mut wide = Vec::with_capacity(width * picture.height * channels);
    let columns = taps(picture.width, width);
    for row in picture.pixels.chunks_exact(picture.width * channels) {
        for taps in &columns {
            for channel in 0..channels {
                let old = row.iter().skip(taps.first * channels + channel).step_by(channels);
                wide.push(mean(taps, old));
            }
        }
    }
    let mut pixels = Vec::with_capacity(width * height * channels);
    let row = width * channels;
    for taps in taps(picture.height, height) {
        for place in 0..row {
            let old = wide.iter().skip(taps.first * row + place).step_by(row);
            pixels.push(mean(&taps, old));
        }
    }
    Ok(Picture { file: picture.file.clone(), width, height, channels, pixels })
}

fn mean<'a>(taps: &Taps, old: impl Iterator<Item = &'a u8>) -> u8 {
    let sum: f32 = taps.weights.iter().zip(old).map(|(w, &old)| w * f32::from(old)).sum();
    // Weights sum to 1, so that this is between 0 and 255 but for rounding.
    sum.round() as u8
}

/// For every one of `to` pixels along an axis of `from`.
fn taps(from: usize, to: usize) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    // Half of the triangle's base.
    let reach = scale.max(1.0);
    let tap = |at: usize| {
        let center = (at as f64 + 0.5) * scale;
        let first = (center - reach).floor().max(0.0) as usize;
        let end = ((center + reach).ceil() as usize).min(from);
        let height = |old: usize| (1.0 - ((old as f64 + 0.5 - center) / reach).abs()).max(0.0);
        let sum: f64 = (first..end).map(height).sum();
        Taps { first, weights: (first..end).map(|old| (height(old) / sum) as f32).collect() }
    };
    (0..to).map(tap).collect()
}
