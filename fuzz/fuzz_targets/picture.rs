//! No bytes make the readers of PNG and JPEG panic or take more memory than a picture may have. Run
//! with `cargo +nightly fuzz run picture`; the pictures in `crates/anemone/tests/fixtures` are a good
//! beginning.
#![no_main]

use anemone::coreml::ColorSpace;
use anemone::image::{MAX_PIXELS, Picture};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(picture) = Picture::decode(bytes, "x") else { return };
    let count = picture.width() * picture.height();
    assert!((1..=MAX_PIXELS).contains(&count));
    assert_eq!(picture.planes(ColorSpace::Bgr).len(), 3 * count);
    assert_eq!(picture.resized(7, 5).expect("it is small").planes(ColorSpace::Grayscale).len(), 35);
});
