//! GGUF, versions 2 and 3: typed metadata, a list of tensors, and their bytes.
//!
//! A tensor's dimensions are written with the one whose elements lie side by side first; here, as
//! everywhere else, it is last.

mod read;
mod value;
mod write;

pub use read::read;
pub use value::{Metadata, Value};
pub use write::write;

use crate::{Error, Input, Tensors};
use std::path::Path;

/// What every file begins with.
const MAGIC: &[u8; 4] = b"GGUF";

/// Where data begin is a multiple of this, if the metadata do not say otherwise.
const ALIGNMENT: u64 = 32;

/// A file: its metadata and where its tensors are.
#[derive(Debug)]
pub struct Gguf {
    /// The metadata.
    pub metadata: Metadata,
    /// The tensors.
    pub tensors: Tensors,
}

/// Opens a file.
///
/// # Errors
/// If it cannot be read or is malformed.
pub fn open(path: &Path) -> Result<Gguf, Error> {
    read(Input::open(path)?)
}
