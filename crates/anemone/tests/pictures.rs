//! Pictures from files, beside what Pillow makes of them (`scripts/fixtures/make_pictures.py`).

use anemone::Error;
use anemone::coreml::{ColorSpace, ImageFlexibility, ImageType};
use anemone::image::Picture;
use std::fs;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Rows of pixels as planes.
fn planes(name: &str, channels: usize) -> Vec<u8> {
    let pixels = fs::read(fixture(name)).unwrap();
    let plane = |channel| pixels.iter().skip(channel).step_by(channels).copied();
    (0..channels).flat_map(plane).collect()
}

#[track_caller]
fn near(found: &[u8], expected: &[u8], tolerance: u8) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(found.abs_diff(*expected) <= tolerance, "{i}: {found} {expected}");
    }
}

#[test]
fn every_kind_of_file_has_the_pixels_that_pillow_finds() {
    // Decoders of JPEG may round colors and coefficients otherwise, and spread subsampled colors
    // otherwise.
    for (name, channels, tolerance) in [
        ("colors.png", 3, 0),
        ("alpha.png", 3, 0),
        ("palette.png", 3, 0),
        ("photo.png", 3, 0),
        ("gray.png", 1, 0),
        ("gray.jpg", 1, 2),
        ("progressive.jpg", 3, 3),
        ("photo.jpg", 3, 10),
    ] {
        let picture = Picture::read(fixture(name)).unwrap();
        let color = if channels == 3 { ColorSpace::Rgb } else { ColorSpace::Grayscale };
        near(&picture.planes(color), &planes(&format!("{name}.raw"), channels), tolerance);
    }
    // 16 bits: the upper 8 count.
    let gray = Picture::read(fixture("gray16.png")).unwrap();
    let expected: Vec<u8> = (0..6).map(|i| (i * 9999 / 256) as u8).collect();
    assert_eq!(gray.planes(ColorSpace::Grayscale), expected);
}

#[test]
fn colors_are_those_that_the_model_wants() {
    let picture = Picture::read(fixture("photo.png")).unwrap();
    let (count, rgb) = (24 * 17, planes("photo.png.raw", 3));
    let bgr = picture.planes(ColorSpace::Bgr);
    assert_eq!(bgr[..count], rgb[2 * count..]);
    assert_eq!(bgr[2 * count..], rgb[..count]);
    near(&picture.planes(ColorSpace::Grayscale), &planes("photo.gray.raw", 1), 0);
    let gray = Picture::read(fixture("gray.png")).unwrap();
    let one = gray.planes(ColorSpace::Grayscale);
    assert_eq!(gray.planes(ColorSpace::Rgb), one.repeat(3));
    let (width, height, color) = (24, 17, ColorSpace::Bgr);
    let ty = ImageType { width, height, color, flexibility: ImageFlexibility::Fixed };
    let tensor = picture.tensor(&ty);
    assert_eq!(tensor.dims(), [1, 3, 17, 24]);
    assert!(tensor.to_f64s().iter().zip(&bgr).all(|(a, b)| *a == f64::from(*b)));
}

#[test]
fn resized_pictures_are_those_of_pillow() {
    let picture = Picture::read(fixture("photo.png")).unwrap();
    for (width, height) in [(13, 5), (40, 30)] {
        let resized = picture.resized(width, height).unwrap();
        assert_eq!((resized.width(), resized.height()), (width, height));
        // Pillow computes in integers.
        let expected = planes(&format!("photo.{width}x{height}.raw"), 3);
        near(&resized.planes(ColorSpace::Rgb), &expected, 1);
    }
    assert_eq!(picture.resized(24, 17).unwrap(), picture);
    for (width, height) in [(0, 1), (1, 0), (70_000, 1), (60_000, 60_000)] {
        let message = picture.resized(width, height).unwrap_err().to_string();
        assert!(message.contains("it cannot be resized"), "{message}");
    }
}

#[test]
fn what_is_no_picture_is_refused() {
    let refused = |bytes: &[u8]| match Picture::decode(bytes, "some.png") {
        Err(Error::Picture { file, message }) => {
            assert_eq!(file, "some.png");
            message
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(b"GIF89a"), "this is neither PNG nor JPEG");
    assert_eq!(refused(b""), "this is neither PNG nor JPEG");
    for name in ["photo.png", "palette.png", "photo.jpg", "progressive.jpg", "gray.jpg"] {
        let bytes = fs::read(fixture(name)).unwrap();
        // What is missing at the very end is no pixel.
        for end in 3..bytes.len() * 9 / 10 {
            Picture::decode(&bytes[..end], name).expect_err("it is cut off");
        }
    }
    // The header says 2³¹ − 1 columns: nothing of that size is taken.
    let mut huge = fs::read(fixture("photo.png")).unwrap();
    huge[16..20].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
    refused(&huge);
    let none = Picture::read(fixture("none.png")).unwrap_err().to_string();
    assert!(none.contains("none.png"), "{none}");
}

/// Bytes are changed at random: a picture or an error, in no more memory than the limits say.
#[test]
fn no_change_of_a_file_makes_a_decoder_panic() {
    let mut state = 7u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    for name in ["photo.png", "alpha.png", "palette.png", "photo.jpg", "progressive.jpg"] {
        let bytes = fs::read(fixture(name)).unwrap();
        for _ in 0..400 {
            let mut bytes = bytes.clone();
            for _ in 0..1 + random(4) {
                let place = 3 + random(bytes.len() - 3);
                bytes[place] = random(256) as u8;
            }
            if let Ok(picture) = Picture::decode(&bytes, name) {
                assert!(picture.width() * picture.height() <= anemone::image::MAX_PIXELS);
            }
        }
    }
}
