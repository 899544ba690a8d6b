//! No text makes the reader of a list of shards panic, and what it takes names only files beside
//! the list. Run with `cargo +nightly fuzz run shards`.
#![no_main]

use checkpoints::Input;
use checkpoints::formats::safetensors;
use libfuzzer_sys::fuzz_target;
use std::path::{Component, Path};

fuzz_target!(|text: &[u8]| {
    if let Ok(shards) = safetensors::shards(&Input::memory("file", text.to_vec())) {
        for shard in shards.values() {
            let parts: Vec<_> = Path::new(shard).components().collect();
            assert!(matches!(parts[..], [Component::Normal(_)]), "{shard:?}");
        }
    }
});
