//! No bytes make the reader of safetensors panic or take memory that the file does not account for.
//! Run with `cargo +nightly fuzz run safetensors`.
#![no_main]

use anemone_fuzz::read_everything;
use checkpoints::Input;
use checkpoints::formats::safetensors;
use libfuzzer_sys::fuzz_target;

// The header's length is put before it: only files that have the right one get further.
fuzz_target!(|input: (Option<u64>, &[u8], u16)| {
    let (length, header, data) = input;
    let mut bytes = length.unwrap_or(header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.resize(bytes.len() + usize::from(data), 0x3c);
    let size = bytes.len();
    if let Ok(tensors) = safetensors::read(Input::memory("file", bytes)) {
        read_everything(&tensors, size);
    }
});
