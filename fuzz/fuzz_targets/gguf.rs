//! No bytes make the reader of GGUF panic, neither its tensors nor its vocabulary, or take memory
//! that the file does not account for. Run with `cargo +nightly fuzz run gguf`.
#![no_main]

use anemone_fuzz::{read_everything, read_model};
use checkpoints::Input;
use checkpoints::formats::gguf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = gguf::read(Input::memory("file", bytes.to_vec())) {
        read_everything(&file.tensors, bytes.len());
        read_model(bytes);
    }
});
