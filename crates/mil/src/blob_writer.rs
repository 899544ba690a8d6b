//! Writing weight files.

use crate::weights::{BlobError, CODES, SENTINEL};
use crate::{BlobRef, DataType, Tensor, Weights, element_count};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Cursor, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Records and their data begin at multiples of this, and the header and metadata take as much.
const ALIGNMENT: u64 = 64;

/// Writes a weight file record by record.
///
/// A file appears under its name when it is complete: until [`BlobWriter::commit`] it has a
/// temporary name beside it, and without it there is no file.
#[derive(Debug)]
pub struct BlobWriter<W: Write + Seek> {
    out: W,
    /// For messages.
    path: PathBuf,
    /// Where the next byte goes.
    at: u64,
    count: u32,
}

/// A file that takes its name when it is complete.
#[derive(Debug)]
pub struct AtomicFile {
    file: BufWriter<File>,
    temporary: PathBuf,
    target: PathBuf,
    renamed: bool,
}

impl BlobWriter<Cursor<Vec<u8>>> {
    /// A weight file in memory.
    pub fn in_memory() -> Self {
        let mut out = Cursor::new(vec![]);
        out.set_position(ALIGNMENT);
        BlobWriter { out, path: PathBuf::from("memory"), at: ALIGNMENT, count: 0 }
    }

    /// The complete file.
    ///
    /// # Errors
    /// None that can occur in memory.
    pub fn into_bytes(mut self) -> Result<Vec<u8>, BlobError> {
        self.header()?;
        Ok(self.out.into_inner())
    }
}

impl BlobWriter<AtomicFile> {
    /// A weight file that will be at `path`, in place of one that may be there.
    ///
    /// # Errors
    /// If no file can be made in that folder.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, BlobError> {
        let path = path.as_ref().to_owned();
        let make = || {
            let mut out = AtomicFile::create(&path)?;
            out.seek(SeekFrom::Start(ALIGNMENT))?;
            Ok(out)
        };
        match make() {
            Ok(out) => Ok(BlobWriter { out, path, at: ALIGNMENT, count: 0 }),
            Err(source) => Err(BlobError::Io { path, source }),
        }
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// If the file cannot be written; one that had the name before is then untouched.
    pub fn commit(mut self) -> Result<(), BlobError> {
        self.header()?;
        let path = self.path;
        self.out.commit().map_err(|source| BlobError::Io { path, source })
    }
}

impl<W: Write + Seek> BlobWriter<W> {
    /// Appends a tensor and gives the offset by which a program refers to it.
    ///
    /// # Errors
    /// If the format has no code for the element type, or the file cannot be written.
    pub fn push(&mut self, tensor: &Tensor) -> Result<u64, BlobError> {
        let offset = self.metadata(tensor.dtype(), tensor.count(), tensor.bytes().len())?;
        self.write(tensor.bytes())?;
        self.pad()?;
        Ok(offset)
    }

    /// Appends a tensor of another weight file, which never is in memory as a whole.
    ///
    /// # Errors
    /// As [`BlobWriter::push`] and [`Weights::load`]; the file is then of no use any more.
    pub fn copy(&mut self, weights: &Weights, blob: &BlobRef) -> Result<u64, BlobError> {
        let count = element_count(&blob.dims);
        let bytes = count.and_then(|n| blob.dtype.packed_bytes(n));
        let (Some(count), Some(bytes)) = (count, bytes) else {
            // Loading says what is wrong.
            return weights.load(blob).and_then(|tensor| self.push(&tensor));
        };
        let offset = self.metadata(blob.dtype, count, bytes)?;
        weights.stream(blob, &mut |part| self.write(part))?;
        self.pad()?;
        Ok(offset)
    }

    /// Begins a record.
    fn metadata(&mut self, dtype: DataType, count: usize, size: usize) -> Result<u64, BlobError> {
        let code = match CODES.iter().find(|(d, _)| *d == dtype) {
            Some((_, code)) => *code,
            // The format has no bools; a byte each is what readers expect.
            None if dtype == DataType::Bool => 3,
            None => return Err(BlobError::Kind(dtype)),
        };
        let offset = self.at;
        let mut metadata = vec![];
        metadata.extend(SENTINEL.to_le_bytes());
        metadata.extend(code.to_le_bytes());
        metadata.extend((size as u64).to_le_bytes());
        metadata.extend((offset + ALIGNMENT).to_le_bytes());
        let unused = size as u64 * 8 - count as u64 * dtype.bits() as u64;
        metadata.extend(unused.to_le_bytes());
        metadata.resize(ALIGNMENT as usize, 0);
        self.write(&metadata)?;
        self.count += 1;
        Ok(offset)
    }

    /// Goes on to where the next record begins.
    fn pad(&mut self) -> Result<(), BlobError> {
        let gap = self.at.next_multiple_of(ALIGNMENT) - self.at;
        self.write(&[0; ALIGNMENT as usize][..gap as usize])
    }

    /// Records so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|source| self.error(source))
    }

    fn header(&mut self) -> Result<(), BlobError> {
        let mut header = vec![];
        header.extend(self.count.to_le_bytes());
        header.extend(2u32.to_le_bytes());
        header.resize(ALIGNMENT as usize, 0);
        self.out.seek(SeekFrom::Start(0)).map_err(|source| self.error(source))?;
        self.write(&header)
    }

    fn error(&self, source: io::Error) -> BlobError {
        BlobError::Io { path: self.path.clone(), source }
    }
}

impl AtomicFile {
    /// A new file, empty and under a temporary name beside `target`.
    ///
    /// # Errors
    /// If no file can be made in that folder.
    pub fn create(target: &Path) -> io::Result<AtomicFile> {
        let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        // Several writers of one file each need a temporary name of their own.
        for attempt in 0..1000 {
            let mut temporary = std::ffi::OsString::from(".");
            temporary.push(name);
            temporary.push(format!(".{}-{attempt}.partial", std::process::id()));
            let temporary = target.with_file_name(temporary);
            match OpenOptions::new().write(true).create_new(true).open(&temporary) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
                Ok(file) => {
                    let file = BufWriter::new(file);
                    let target = target.to_owned();
                    return Ok(AtomicFile { file, temporary, target, renamed: false });
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Gives the file its name, in place of one that may be there.
    ///
    /// # Errors
    /// If it cannot be written; one that had the name before is then untouched.
    pub fn commit(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.temporary, &self.target)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.renamed {
            // Nobody is left to hear about a failure; the name says that the file is partial.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}
