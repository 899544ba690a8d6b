//! What several targets do.

use checkpoints::{Source, Tensors};

/// Reads all numbers of a file of so many bytes.
pub fn read_everything(tensors: &Tensors, size: usize) {
    let mut all = 0;
    for info in tensors.iter() {
        all += info.elements();
        let mut out = vec![0.0; info.elements()];
        tensors.read(info, 0, &mut out).ok();
    }
    // Nothing takes less than half a byte, but for what cannot be read.
    assert!(all <= 8 * size, "{all} numbers of {size} bytes");
}

/// Opens a model and reads all that it has.
pub fn read_model(bytes: &[u8]) {
    let Ok(source) = Source::of_memory("file", bytes.to_vec()) else { return };
    let parameters = models::parameters(source.config()).expect("its configuration is valid");
    for parameter in parameters {
        source.visit(&parameter, &mut |_| Ok(())).ok();
    }
    if let Ok(Some(json)) = source.tokenizer() {
        text::Tokenizer::from_json(&json).expect("what is made of a vocabulary is a tokenizer");
    }
}
