//! Shared by the tests: folders, a tokenizer, and the shortest way through `prepare`.
#![allow(dead_code)] // Each test uses a part of it.

use corpus::{Error, Job, Outcome, Reading, Selection, Settings, Workplace};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// A fresh folder, removed with everything in it when dropped.
pub struct Folder(PathBuf);

impl Folder {
    /// A folder for the test of this name; names must differ within the crate.
    pub fn new(test: &str) -> Self {
        let name = format!("anemone-corpus-test-{}-{test}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("tests may write to the temporary directory");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The text of an error, without the folder's own name.
    pub fn message(&self, error: &Error) -> String {
        error.to_string().replace(&self.0.display().to_string(), "DIR")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// The token after every document.
pub const END: u32 = 0;

/// A token for every byte.
pub fn bytes(text: &str) -> Result<Vec<u32>, String> {
    Ok(text.bytes().map(|byte| u32::from(byte) + 1).collect())
}

/// The text of tokens of `bytes`.
pub fn text(tokens: &[u32]) -> String {
    String::from_utf8(tokens.iter().map(|&id| (id - 1) as u8).collect()).unwrap()
}

pub fn settings() -> Settings {
    Settings {
        validation: 0.0,
        seed: 1,
        dedup: true,
        shard_tokens: 1000,
        vocabulary: 257,
        end_of_text: END,
        tokenizer: None,
    }
}

/// Prepares inputs into a folder.
pub fn prepare(
    inputs: &[PathBuf],
    out: &Path,
    reading: &Reading,
    settings: &Settings,
    resume: bool,
) -> Result<corpus::Index, Error> {
    let found = corpus::find(inputs, &Selection::default())?;
    let workplace = Workplace::new(out, inputs, resume)?;
    let stop = AtomicBool::new(false);
    let job = Job { found: &found, reading, settings, encode: &bytes, threads: 2, stop: &stop };
    let outcome = corpus::prepare(&job, workplace, &mut |_| ())?;
    match outcome {
        Outcome::Done(index) => Ok(index),
        Outcome::Stopped(_) => panic!("nothing stops it"),
    }
}

/// All tokens of the shards of a part, cut into documents.
pub fn documents(folder: &Path, part: &corpus::Part) -> Vec<String> {
    let mut all = Vec::new();
    for shard in &part.shards {
        let bytes = std::fs::read(folder.join(&shard.file)).unwrap();
        let tokens: Vec<u32> =
            bytes.chunks(2).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]]))).collect();
        assert_eq!(tokens.last(), Some(&END), "a shard ends with the end of a document");
        assert_eq!(tokens.len() as u64, shard.tokens);
        all.extend(tokens);
    }
    let mut documents: Vec<String> = all.split(|&id| id == END).map(text).collect();
    documents.pop();
    documents
}
