//! No text makes the readers of `config.json` and `generation_config.json` panic, and what they
//! take is valid and survives being written. Run with `cargo +nightly fuzz run config`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use models::Config;

fuzz_target!(|text: &[u8]| {
    let files = [("generation_config.json".to_owned(), text.to_vec())];
    text::chat::GenerationConfig::of_model(&files).ok();
    let Ok(json) = serde_json::from_slice(text) else { return };
    let Ok(config) = Config::from_hugging_face(&json) else { return };
    config.parameter_count().expect("it is valid");
    let again = Config::from_hugging_face(&config.to_hugging_face());
    assert_eq!(again.expect("what is written is read"), config);
});
