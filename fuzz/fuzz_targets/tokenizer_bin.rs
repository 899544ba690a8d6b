//! No bytes make the reader of `tokenizer.bin` panic, and what it gives is a tokenizer.
//! Run with `cargo +nightly fuzz run tokenizer_bin`.
#![no_main]

use checkpoints::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (count, bytes) = input;
    let read = checkpoints::from_llama2c(&Input::memory("file", bytes.to_vec()), count.into());
    if let Ok(json) = read {
        text::Tokenizer::from_json(&json).expect("what is made is a tokenizer");
    }
});
