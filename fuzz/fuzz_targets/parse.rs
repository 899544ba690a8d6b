//! No text makes the reader panic, and what it reads prints to a text of the same program.
//! Run with `cargo +nightly fuzz run parse`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(program) = mil::parse(text) {
        let printed = mil::print(&program);
        let again = mil::parse(&printed).expect("what was read can be printed and read");
        assert!(again == program);
        assert_eq!(mil::print(&again), printed);
    }
});
