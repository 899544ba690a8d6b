//! Weight files: MIL blob storage, version 2.

use crate::{BlobRef, Tensor};
use std::path::PathBuf;

/// Where a program's weight files are.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    directory: Option<PathBuf>,
}

/// Why a weight cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// No folder was given for `@model_path`.
    #[error("`{0}` is in a weight file, but no weights folder was given")]
    NoDirectory(String),
}

impl Weights {
    /// The folder that `@model_path` stands for.
    pub fn in_dir(path: impl Into<PathBuf>) -> Weights {
        Weights { directory: Some(path.into()) }
    }

    /// The tensor that a reference names.
    pub fn load(&self, blob: &BlobRef) -> Result<Tensor, BlobError> {
        Err(BlobError::NoDirectory(blob.path.clone()))
    }
}
