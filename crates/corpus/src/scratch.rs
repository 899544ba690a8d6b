//! Folders for tests.

use std::path::{Path, PathBuf};

/// A fresh folder, removed with everything in it when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A folder for the test of this name; names must differ within the crate.
    pub(crate) fn new(test: &str) -> Self {
        let name = format!("anemone-corpus-{}-{test}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("tests may write to the temporary directory");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
