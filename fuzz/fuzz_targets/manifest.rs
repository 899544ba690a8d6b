//! No bytes make the reader of a package's manifest panic, and no path that it gives leads out of
//! the package. Run with `cargo +nightly fuzz run manifest`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::{Component, Path};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(path) = coreml::root_model(bytes) {
        assert!(Path::new(&path).components().all(|part| matches!(part, Component::Normal(_))));
    }
});
