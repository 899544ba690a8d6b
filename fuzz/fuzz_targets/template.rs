//! No chat template panics or writes without end.
//! Run with `cargo +nightly fuzz run template`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use text::chat::{ChatTemplate, Message};

fuzz_target!(|input: (&str, &str, bool)| {
    let (source, said, answer) = input;
    let Ok(template) = ChatTemplate::new(source, &[]) else { return };
    let messages = [Message::new("user", said), Message::new("assistant", "x")];
    template.render(&messages, answer).ok();
});
