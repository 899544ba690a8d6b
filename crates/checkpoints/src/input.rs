//! Bytes that are read by position.

use crate::Error;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A file, or bytes that stand for one. Any number of threads may read it at once.
#[derive(Debug)]
pub struct Input {
    path: PathBuf,
    data: Data,
    size: u64,
}

#[derive(Debug)]
enum Data {
    File(File),
    Memory(Vec<u8>),
}

impl Input {
    /// Opens a file.
    ///
    /// # Errors
    /// If it cannot be opened or is no regular file.
    pub fn open(path: &Path) -> Result<Input, Error> {
        // Before it is opened: opening a pipe would wait for a writer.
        let metadata = std::fs::metadata(path).map_err(Error::file(path))?;
        if !metadata.is_file() {
            return Err(Error::format(path, "this is not a file"));
        }
        let file = File::open(path).map_err(Error::file(path))?;
        let size = file.metadata().map_err(Error::file(path))?.len();
        Ok(Input { path: path.to_owned(), data: Data::File(file), size })
    }

    /// Bytes in memory, under the name that errors give them.
    pub fn memory(name: &str, bytes: Vec<u8>) -> Input {
        let size = bytes.len() as u64;
        Input { path: name.into(), data: Data::Memory(bytes), size }
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads the bytes from `offset` on.
    ///
    /// # Errors
    /// If there are fewer, or the file cannot be read.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        match &self.data {
            Data::File(file) => file.read_exact_at(out, offset).map_err(Error::file(&self.path)),
            Data::Memory(bytes) => {
                let start = usize::try_from(offset).ok();
                let end = start.and_then(|start| start.checked_add(out.len()));
                let found = start.zip(end).and_then(|(start, end)| bytes.get(start..end));
                let found = found.ok_or_else(|| Error::format(&self.path, "cut off"))?;
                out.copy_from_slice(found);
                Ok(())
            }
        }
    }

    /// Reads the whole of a small file.
    ///
    /// # Errors
    /// If it has more than `most` bytes or cannot be read.
    pub(crate) fn read_all(&self, most: u64) -> Result<Vec<u8>, Error> {
        if self.size > most {
            let reason = format!("{} bytes, where at most {most} are expected", self.size);
            return Err(Error::format(&self.path, reason));
        }
        let mut bytes = vec![0; self.size as usize];
        self.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads from the beginning, one value after the other.
    pub(crate) fn cursor(&self) -> Cursor<'_> {
        Cursor { input: self, block: vec![], used: 0, next: 0 }
    }
}

/// Reads an [`Input`] in order. A length that the file gives is checked against what is left of
/// the file before memory is taken for it.
pub(crate) struct Cursor<'a> {
    input: &'a Input,
    block: Vec<u8>,
    /// How much of the block has been given out.
    used: usize,
    /// Where in the file the next block begins.
    next: u64,
}

/// Bytes read at a time.
const BLOCK: u64 = 1 << 16;

impl Cursor<'_> {
    /// Where the next value begins.
    pub fn position(&self) -> u64 {
        self.next - (self.block.len() - self.used) as u64
    }

    /// Bytes from here to the end.
    pub fn left(&self) -> u64 {
        self.input.size - self.position()
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// The next `length` bytes, of which there must be as many.
    pub fn bytes(&mut self, length: u64) -> Result<Vec<u8>, Error> {
        if length > self.left() {
            return Err(self.cut_off(length));
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn cut_off(&self, wanted: u64) -> Error {
        let (position, left) = (self.position(), self.left());
        let reason = format!("{wanted} bytes are to follow byte {position}, but only {left} do");
        Error::format(&self.input.path, reason)
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        if out.len() as u64 > self.left() {
            return Err(self.cut_off(out.len() as u64));
        }
        self.read_exact(out).map_err(Error::file(&self.input.path))
    }
}

impl Read for Cursor<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.used == self.block.len() {
            let length = BLOCK.min(self.input.size - self.next);
            self.block.resize(length as usize, 0);
            self.used = 0;
            if let Err(error) = self.input.read_at(self.next, &mut self.block) {
                self.block.clear();
                return Err(std::io::Error::other(error));
            }
            self.next += length;
        }
        let length = out.len().min(self.block.len() - self.used);
        out[..length].copy_from_slice(&self.block[self.used..self.used + length]);
        self.used += length;
        Ok(length)
    }
}
