//! Documents to train a tokenizer on.

use crate::{Documents, Error, Found, Reading, hash};
use std::collections::HashSet;

/// About `bytes` bytes of documents, picked by `seed` from all files alike, and none twice.
///
/// All files are read for it: a part of them, such as their beginnings, may be of another kind
/// than the rest. A corpus smaller than `bytes` is taken whole; never more than twice as much is.
/// `progress` is given the bytes read, and may end it by returning false; what was picked until
/// then is returned.
///
/// # Errors
/// If a file cannot be read or has something wrong in it.
pub fn sample(
    found: &Found,
    reading: &Reading,
    bytes: u64,
    seed: u64,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Vec<String>, Error> {
    let mut documents = Documents::new(&found.files, reading);
    let mut total = found.bytes();
    if found.files.iter().any(|file| file.gzip) {
        // Text shrinks to about a quarter; how large it is only reading would tell.
        total = total.saturating_mul(4);
    }
    let part = bytes as f64 / total.max(1) as f64;
    // Not the documents that are set aside for validation with the same seed.
    let seed = seed ^ 0x7361_6d70_6c65;
    let (mut texts, mut taken, mut seen) = (Vec::new(), 0_u64, HashSet::new());
    while let Some(document) = documents.next() {
        let document = document?;
        if hash::picked(document.hash, seed, part) && seen.insert(document.hash) {
            taken += document.text.len() as u64;
            if taken > bytes.saturating_mul(2) && !texts.is_empty() {
                break;
            }
            texts.push(document.text);
        }
        if !progress(documents.bytes()) {
            break;
        }
    }
    Ok(texts)
}
