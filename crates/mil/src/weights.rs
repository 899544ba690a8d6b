//! Weight files: MIL blob storage, version 2.
//!
//! A file is a 64-byte header and, every 64 bytes at the earliest, records: 64 bytes of metadata
//! (sentinel, element type, size, position of the data) and the data.

use crate::{BlobRef, DataType, Tensor, element_count};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// What a record's metadata begins with.
pub(crate) const SENTINEL: u32 = 0xDEAD_BEEF;

/// The part of the metadata that every writer fills: sentinel, element type, size, data offset.
const METADATA: u64 = 24;

/// Where a program's weight files are. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    source: Source,
}

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    None,
    Directory(Arc<Path>),
    Memory(Arc<BTreeMap<String, Arc<[u8]>>>),
}

/// Why a weight cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// No folder was given for `@model_path`.
    #[error("`{0}` is in a weight file, but no weights folder was given")]
    NoDirectory(String),
    /// The path in the program is not one that may be read.
    #[error("weight file `{path}`: {reason}")]
    Path {
        /// Path as the program writes it.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The operating system refused.
    #[error("weight file `{}`: {source}", path.display())]
    Io {
        /// File.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The record is not what the program says or not whole.
    #[error("weight file `{path}`, record at byte {offset}: {reason}")]
    Record {
        /// Path as the program writes it.
        path: String,
        /// Position of the record's metadata.
        offset: u64,
        /// What was expected and found.
        reason: String,
    },
    /// The tensor cannot be stored.
    #[error("tensors of {0} cannot be stored in weight files")]
    Kind(DataType),
}

impl Weights {
    /// The folder that `@model_path` stands for.
    pub fn in_dir(path: impl Into<PathBuf>) -> Weights {
        let path: PathBuf = path.into();
        Weights { source: Source::Directory(path.into()) }
    }

    /// Weight files by path, with or without `@model_path/` before it.
    pub fn in_memory<P: AsRef<str>, B: Into<Arc<[u8]>>>(
        files: impl IntoIterator<Item = (P, B)>,
    ) -> Weights {
        let key = |path: &str| path.strip_prefix("@model_path/").unwrap_or(path).to_owned();
        let files = files.into_iter().map(|(path, bytes)| (key(path.as_ref()), bytes.into()));
        Weights { source: Source::Memory(Arc::new(files.collect())) }
    }

    /// A whole file, by the path that a program gives.
    ///
    /// # Errors
    /// If the path is not one that may be read, or there is no such file.
    pub fn file(&self, path: &str) -> Result<Arc<[u8]>, BlobError> {
        let below = weight_path(path)?;
        match &self.source {
            Source::None => Err(BlobError::NoDirectory(path.to_owned())),
            Source::Directory(directory) => {
                let (mut file, full) = open(directory, below, path)?;
                let mut bytes = vec![];
                match file.read_to_end(&mut bytes) {
                    Ok(_) => Ok(bytes.into()),
                    Err(source) => Err(BlobError::Io { path: full, source }),
                }
            }
            Source::Memory(files) => files.get(below).cloned().ok_or_else(|| absent(path)),
        }
    }

    /// The tensor that a reference names. Of the file, only the record's metadata and the
    /// tensor's bytes are read.
    pub fn load(&self, blob: &BlobRef) -> Result<Tensor, BlobError> {
        self.record(blob, |record| record.load())
    }

    /// Gives the bytes of the tensor that a reference names part by part, so that no tensor has to
    /// be in memory. The parts together are what [`Weights::load`] gives.
    ///
    /// # Errors
    /// As [`Weights::load`], and what `take` gives.
    pub fn stream(
        &self,
        blob: &BlobRef,
        take: &mut dyn FnMut(&[u8]) -> Result<(), BlobError>,
    ) -> Result<(), BlobError> {
        self.record(blob, |record| record.stream(take))
    }

    fn record<T>(
        &self,
        blob: &BlobRef,
        read: impl FnOnce(&mut Record<'_>) -> Result<T, BlobError>,
    ) -> Result<T, BlobError> {
        if let Source::None = self.source {
            return Err(BlobError::NoDirectory(blob.path.clone()));
        }
        let path = weight_path(&blob.path)?;
        match &self.source {
            Source::None => Err(BlobError::NoDirectory(blob.path.clone())),
            Source::Directory(directory) => {
                let (mut file, path) = open(directory, path, &blob.path)?;
                let io_error = |source| BlobError::Io { path: path.clone(), source };
                let length = file.metadata().map_err(io_error)?.len();
                read(&mut Record { blob, file: &mut file, length, io_error: &io_error })
            }
            Source::Memory(files) => {
                let bytes = files.get(path).ok_or_else(|| absent(&blob.path))?;
                let io_error = |source| BlobError::Io { path: PathBuf::from(&blob.path), source };
                let length = bytes.len() as u64;
                let mut file = io::Cursor::new(&bytes[..]);
                read(&mut Record { blob, file: &mut file, length, io_error: &io_error })
            }
        }
    }
}

fn absent(path: &str) -> BlobError {
    BlobError::Path { path: path.to_owned(), reason: "there is no such file" }
}

/// The path below the weights folder that a program means by `@model_path/…`; the prefix may be
/// missing.
///
/// # Errors
/// If it could lead out of the folder: absolute paths, `..`, anything that is not a path.
pub fn weight_path(written: &str) -> Result<&str, BlobError> {
    let error = |reason| Err(BlobError::Path { path: written.to_owned(), reason });
    let path = written.strip_prefix("@model_path/").unwrap_or(written);
    if path.starts_with('@') {
        return error("only `@model_path/` can stand before a path");
    }
    if path.is_empty() || path.contains(['\0', '\\']) {
        return error("this is not a path");
    }
    match Path::new(path).components().all(|c| matches!(c, Component::Normal(_))) {
        true => Ok(path),
        false => error("the path must stay in the weights folder"),
    }
}

/// Opens a file of the folder; links must not lead out of it.
fn open(directory: &Path, path: &str, written: &str) -> Result<(File, PathBuf), BlobError> {
    let canonical = |path: &Path| {
        path.canonicalize().map_err(|source| BlobError::Io { path: path.to_owned(), source })
    };
    let full = canonical(&directory.join(path))?;
    let reason = match full.strip_prefix(canonical(directory)?) {
        Err(_) => "the path leads out of the weights folder",
        Ok(_) if !full.is_file() => "this is not a file",
        Ok(_) => {
            return match File::open(&full) {
                Ok(file) => Ok((file, full)),
                Err(source) => Err(BlobError::Io { path: full, source }),
            };
        }
    };
    Err(BlobError::Path { path: written.to_owned(), reason })
}

/// A file or bytes in memory.
trait Input: Read + Seek {}

impl<T: Read + Seek> Input for T {}

/// A record of an open file.
struct Record<'a> {
    blob: &'a BlobRef,
    file: &'a mut dyn Input,
    length: u64,
    io_error: &'a dyn Fn(io::Error) -> BlobError,
}

/// Bytes of a part that is streamed.
const PART: u64 = 1 << 20;

impl Record<'_> {
    fn load(&mut self) -> Result<Tensor, BlobError> {
        let (at, needed) = self.locate()?;
        let mut bytes = self.read(at, needed, "its data")?;
        self.clean(&mut bytes, true);
        let BlobRef { dtype, ref dims, .. } = *self.blob;
        Tensor::from_bytes(dtype, dims, bytes).map_err(|e| self.error(e.to_string()))
    }

    fn stream(
        &mut self,
        take: &mut dyn FnMut(&[u8]) -> Result<(), BlobError>,
    ) -> Result<(), BlobError> {
        let (at, needed) = self.locate()?;
        self.check(at, needed, "its data")?;
        let mut done = 0;
        while done < needed {
            let size = PART.min(needed - done);
            let mut bytes = self.read(at + done, size, "its data")?;
            done += size;
            self.clean(&mut bytes, done == needed);
            take(&bytes)?;
        }
        Ok(())
    }

    /// Where the tensor's bytes are: position and number.
    fn locate(&mut self) -> Result<(u64, u64), BlobError> {
        let BlobRef { dtype, ref dims, offset, .. } = *self.blob;
        let count = element_count(dims).filter(|_| dtype != DataType::String);
        let needed = count.and_then(|n| dtype.packed_bytes(n));
        let needed = needed.ok_or_else(|| {
            self.error(format!("a tensor of {dtype} of shape {dims:?} cannot be in a file"))
        })?;
        let metadata = self.read(offset, METADATA, "its metadata")?;
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| metadata[at + i]));
        if word(0) != SENTINEL {
            let found = word(0);
            return Err(self.error(format!("expected the mark {SENTINEL:#x}, found {found:#x}")));
        }
        self.check_type(word(4))?;
        // Some writers fill only 32 bits of a number and leave the others to chance.
        let long = |at: usize, limit: u64| {
            let whole = u64::from(word(at)) | u64::from(word(at + 4)) << 32;
            if whole <= limit { whole } else { u64::from(word(at)) }
        };
        let (size, data) = (long(8, self.length), long(16, self.length));
        if needed as u64 > size {
            let message = format!("{dtype} of shape {dims:?} takes {needed} bytes, it has {size}");
            return Err(self.error(message));
        }
        Ok((data, needed as u64))
    }

    /// Takes out of a part what means nothing but would make equal tensors differ.
    fn clean(&self, bytes: &mut [u8], is_last: bool) {
        let dtype = self.blob.dtype;
        if dtype == DataType::Bool {
            bytes.iter_mut().for_each(|b| *b = u8::from(*b != 0));
        }
        let count = element_count(&self.blob.dims);
        let used = count.map_or(0, |n| n % 8 * dtype.bits() % 8);
        if let Some(last) = bytes.last_mut()
            && used != 0
            && is_last
        {
            // The unused high bits.
            *last &= (1 << used) - 1;
        }
    }

    /// The program says what the type is; the file's own idea is only checked where writers agree
    /// on the codes. Hand-written tools use 0, 1 and 8 for anything.
    fn check_type(&self, code: u32) -> Result<(), BlobError> {
        let expected = self.blob.dtype;
        match CODES.iter().find(|(_, c)| *c == code) {
            Some((found, _)) if !matches!(code, 1 | 8) && found.bits() != expected.bits() => {
                Err(self.error(format!("expected {expected}, it holds {found}")))
            }
            _ => Ok(()),
        }
    }

    /// Reads a part of the file after making sure that it is there.
    fn read(&mut self, at: u64, length: u64, what: &str) -> Result<Vec<u8>, BlobError> {
        self.check(at, length, what)?;
        let length = usize::try_from(length)
            .map_err(|_| self.error(format!("{what} is more than memory can address")))?;
        let mut bytes = vec![0; length];
        self.file.seek(SeekFrom::Start(at)).map_err(self.io_error)?;
        self.file.read_exact(&mut bytes).map_err(self.io_error)?;
        Ok(bytes)
    }

    fn check(&self, at: u64, length: u64, what: &str) -> Result<(), BlobError> {
        if at.checked_add(length).is_some_and(|end| end <= self.length) {
            return Ok(());
        }
        let size = self.length;
        let message =
            format!("{what} ({length} bytes from byte {at}) is not in the file of {size} bytes");
        Err(self.error(message))
    }

    fn error(&self, reason: String) -> BlobError {
        BlobError::Record { path: self.blob.path.clone(), offset: self.blob.offset, reason }
    }
}

/// The codes of element types in records.
pub(crate) const CODES: [(DataType, u32); 17] = [
    (DataType::Fp16, 1),
    (DataType::Fp32, 2),
    (DataType::Uint8, 3),
    (DataType::Int8, 4),
    (DataType::Bf16, 5),
    (DataType::Int16, 6),
    (DataType::Uint16, 7),
    (DataType::Int4, 8),
    (DataType::Uint1, 9),
    (DataType::Uint2, 10),
    (DataType::Uint4, 11),
    (DataType::Uint3, 12),
    (DataType::Uint6, 13),
    (DataType::Int32, 14),
    (DataType::Uint32, 15),
    (DataType::Fp8E4M3Fn, 16),
    (DataType::Fp8E5M2, 17),
];
