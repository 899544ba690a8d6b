//! No bytes make the reader of model files panic, and what it takes is written and read back as the
//! same program. Run with `cargo +nightly fuzz run model`; the model files in
//! `crates/coreml/tests/fixtures` are a good beginning.
#![no_main]

use coreml::Model;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let file = Path::new("x.mlmodel");
    let Ok(model) = Model::from_bytes(bytes, file) else { return };
    let _ = mil::verify(&model.program);
    for interface in &model.interface.functions {
        let _ = coreml::specialize(&model.program, interface, &Default::default());
    }
    let Ok(written) = model.to_bytes() else { return };
    let again = Model::from_bytes(&written, file).expect("what was written is read");
    assert!(again.program == model.program);
    assert_eq!(again.interface, model.interface);
});
