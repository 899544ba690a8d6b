//! No bytes make the readers of llama2.c's files and of BLZT panic or take memory that the file
//! does not account for. Run with `cargo +nightly fuzz run bin`.
#![no_main]

use anemone_fuzz::read_model;
use libfuzzer_sys::fuzz_target;

// Behind the header that is given come as many zeros as are asked for.
fuzz_target!(|input: (u16, &[u8])| {
    let (zeros, header) = input;
    let mut bytes = header.to_vec();
    bytes.resize(bytes.len() + usize::from(zeros), 0);
    read_model(&bytes);
});
