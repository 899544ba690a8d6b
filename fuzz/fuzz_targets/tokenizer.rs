//! No text makes the reader of `tokenizer.json` panic, nor what it has read.
//! Run with `cargo +nightly fuzz run tokenizer`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(tokenizer) = text::Tokenizer::from_json(text) else { return };
    tokenizer.vocabulary();
    if let Ok(tokens) = tokenizer.encode("a cat, 12 caf\u{e9}s\n") {
        tokenizer.decode(&tokens).ok();
    }
    tokenizer.decode(&[0, 1, 2, u32::MAX]).ok();
});
