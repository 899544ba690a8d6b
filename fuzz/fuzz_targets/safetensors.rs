//! No bytes make the reader of safetensors panic or take memory that the file does not account for.
//! Run with `cargo +nightly fuzz run safetensors`.
#![no_main]

use anemone_fuzz::read_everything;
use checkpoints::Input;
use checkpoints::formats::safetensors;
use libfuzzer_sys::fuzz_target;

// The header's length is put before it, and so many bytes of data behind it: only such files get
// further. With the largest number of bytes the file is as it is given.
fuzz_target!(|input: (u16, &[u8])| {
    let (data, header) = input;
    let mut bytes = header.to_vec();
    if data != u16::MAX {
        bytes.splice(..0, (header.len() as u64).to_le_bytes());
        bytes.resize(bytes.len() + usize::from(data), 0x3c);
    }
    let size = bytes.len();
    if let Ok(tensors) = safetensors::read(Input::memory("file", bytes)) {
        read_everything(&tensors, size);
    }
});
