//! No text makes the reader of `adapter_config.json` panic, and what it takes is an adapter.
//! Run with `cargo +nightly fuzz run adapter`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use models::{Config, Lora};

fuzz_target!(|text: &[u8]| {
    let Ok(json) = serde_json::from_slice(text) else { return };
    let Ok(lora) = Lora::from_peft(&json) else { return };
    assert!(lora.scale().is_finite());
    let tiny = Config::preset("tiny").expect("the preset is there");
    let tiny = Config { layers: 1, ..tiny };
    if let Ok(parameters) = lora.parameters(&tiny) {
        assert!(parameters.iter().all(|p| p.dims.contains(&lora.rank)));
        let json = lora.to_peft(&tiny, "base").expect("it fits");
        let again = Lora::from_peft(&json).expect("what is written is read");
        assert_eq!((again.rank, again.alpha), (lora.rank, lora.alpha));
    }
});
