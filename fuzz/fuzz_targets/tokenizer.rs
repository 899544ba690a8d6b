//! No text makes the reader of `tokenizer.json` panic, nor what it has read.
//! Run with `cargo +nightly fuzz run tokenizer`.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The library behind it may panic, which is caught; whatever panics here is still found.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| ())), |text: &str| {
    let Ok(tokenizer) = text::Tokenizer::from_json(text) else { return };
    tokenizer.vocabulary();
    if let Ok(tokens) = tokenizer.encode("a cat, 12 caf\u{e9}s\n") {
        tokenizer.decode(&tokens).ok();
    }
    tokenizer.decode(&[0, 1, 2, u32::MAX]).ok();
});
