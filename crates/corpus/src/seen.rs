//! Which documents have been seen, in memory that does not grow with the corpus.
//!
//! Hashes of 128 bits go into a table in memory. When it is full they are sorted and written to a
//! file, and the table begins anew; files of about the same size are merged into one, so that
//! there are few. A hash is as likely as any other to stand anywhere in the order, and one number
//! for every block of a file, kept in memory, tells the only block that may hold it: looking a
//! document up takes one read of 16 KiB for each file.
//!
//! **Memory.** The table has at most 7.3 million entries, 142 MiB, and half of that again while
//! it grows or is sorted: about 260 MiB at most. Files take 16 bytes a document on disk and 8 bytes
//! for every 1024 documents in memory: 100 million documents are 1.6 GB and 0.8 MB.
//!
//! **False duplicates.** Two of `n` different documents have the same hash with a probability of
//! about n² / 2¹²⁹: 10⁻²³ for 100 million.

use crate::Error;
use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Entries of the table before it is written out: what 2²³ places hold.
const FULL: usize = (1 << 23) / 8 * 7;

/// Hashes in a block of a file.
const BLOCK: usize = 1024;

/// Bytes of a hash.
const SIZE: usize = 16;

/// Hashes that have been seen.
pub(crate) struct Seen {
    table: HashSet<u128, BuildHasherDefault<Itself>>,
    full: usize,
    folder: PathBuf,
    runs: Vec<Run>,
    /// Files made so far, which names them.
    made: usize,
}

/// A file of sorted hashes.
struct Run {
    path: PathBuf,
    file: File,
    length: u64,
    /// The upper half of the first hash of every block.
    firsts: Vec<u64>,
}

impl Seen {
    /// Nothing has been seen. Files are made in a folder, and removed when this is dropped.
    pub fn new(folder: &Path) -> Self {
        Self::with_capacity(folder, FULL)
    }

    fn with_capacity(folder: &Path, full: usize) -> Self {
        let folder = folder.to_owned();
        Self { table: HashSet::default(), full, folder, runs: Vec::new(), made: 0 }
    }

    /// Remembers a hash; whether it is new.
    pub fn insert(&mut self, hash: u128) -> Result<bool, Error> {
        if self.table.contains(&hash) {
            return Ok(false);
        }
        for run in &self.runs {
            if run.contains(hash)? {
                return Ok(false);
            }
        }
        if self.table.len() >= self.full {
            self.write_out()?;
        }
        Ok(self.table.insert(hash))
    }

    fn write_out(&mut self) -> Result<(), Error> {
        let mut hashes: Vec<u128> = self.table.drain().collect();
        hashes.sort_unstable();
        let mut writer = self.writer()?;
        for hash in hashes {
            writer.push(hash)?;
        }
        let mut newest = writer.finish()?;
        // Each file is at least twice as long as the next, so that there are only as many as
        // the number of documents has digits.
        while let Some(last) = self.runs.pop_if(|last| last.length < 2 * newest.length) {
            newest = self.merge(last, newest)?;
        }
        self.runs.push(newest);
        Ok(())
    }

    fn merge(&mut self, left: Run, right: Run) -> Result<Run, Error> {
        let mut writer = self.writer()?;
        let (mut a, mut b) = (left.hashes()?, right.hashes()?);
        let (mut next_a, mut next_b) = (a.next()?, b.next()?);
        loop {
            match (next_a, next_b) {
                (Some(hash), other) if other.is_none_or(|other| hash <= other) => {
                    writer.push(hash)?;
                    next_a = a.next()?;
                }
                (_, Some(hash)) => {
                    writer.push(hash)?;
                    next_b = b.next()?;
                }
                (_, None) => break,
            }
        }
        for run in [&left, &right] {
            std::fs::remove_file(&run.path).map_err(Error::file(&run.path))?;
        }
        writer.finish()
    }

    fn writer(&mut self) -> Result<RunWriter, Error> {
        let path = self.folder.join(format!("seen-{:05}", self.made));
        self.made += 1;
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(true).open(&path);
        let file = BufWriter::with_capacity(1 << 18, file.map_err(Error::file(&path))?);
        Ok(RunWriter { path, file, length: 0, firsts: Vec::new() })
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        for run in &self.runs {
            // What cannot be removed lies in a folder that is removed or written again.
            std::fs::remove_file(&run.path).ok();
        }
    }
}

impl Run {
    fn contains(&self, hash: u128) -> Result<bool, Error> {
        let upper = (hash >> 64) as u64;
        // Blocks before the first one that begins above the hash; several may begin with the
        // same upper half.
        let end = self.firsts.partition_point(|&first| first <= upper);
        let begin = self.firsts[..end].partition_point(|&first| first < upper).saturating_sub(1);
        for block in begin..end {
            let start = (block * BLOCK) as u64;
            let count = (self.length - start).min(BLOCK as u64) as usize;
            let mut bytes = [0; BLOCK * SIZE];
            let bytes = &mut bytes[..count * SIZE];
            self.file.read_exact_at(bytes, start * SIZE as u64).map_err(Error::file(&self.path))?;
            let (hashes, _) = bytes.as_chunks::<SIZE>();
            if hashes.binary_search_by_key(&hash, |bytes| u128::from_le_bytes(*bytes)).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn hashes(&self) -> Result<Hashes<'_>, Error> {
        let file = File::open(&self.path).map_err(Error::file(&self.path))?;
        Ok(Hashes {
            path: &self.path,
            file: BufReader::with_capacity(1 << 18, file),
            left: self.length,
        })
    }
}

/// The hashes of a file, in order.
struct Hashes<'a> {
    path: &'a Path,
    file: BufReader<File>,
    left: u64,
}

impl Hashes<'_> {
    fn next(&mut self) -> Result<Option<u128>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let mut bytes = [0; SIZE];
        self.file.read_exact(&mut bytes).map_err(Error::file(self.path))?;
        Ok(Some(u128::from_le_bytes(bytes)))
    }
}

struct RunWriter {
    path: PathBuf,
    file: BufWriter<File>,
    length: u64,
    firsts: Vec<u64>,
}

impl RunWriter {
    fn push(&mut self, hash: u128) -> Result<(), Error> {
        if self.length.is_multiple_of(BLOCK as u64) {
            self.firsts.push((hash >> 64) as u64);
        }
        self.length += 1;
        self.file.write_all(&hash.to_le_bytes()).map_err(Error::file(&self.path))
    }

    fn finish(self) -> Result<Run, Error> {
        let Self { path, file, length, firsts } = self;
        match file.into_inner() {
            Ok(file) => Ok(Run { path, file, length, firsts }),
            Err(error) => Err(Error::File { path, source: error.into_error() }),
        }
    }
}

/// A hash is its own hash.
#[derive(Default)]
struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::hash;
    use crate::scratch::Folder;

    #[test]
    fn what_went_to_files_is_still_known_and_nothing_else() {
        let folder = Folder::new("seen");
        let mut seen = Seen::with_capacity(folder.path(), 100);
        let of = |n: u32| hash(&n.to_string());
        for n in 0..10_000 {
            assert!(seen.insert(of(n)).unwrap(), "{n} is new");
            // One that is in memory, one that is in a file by now.
            assert!(!seen.insert(of(n)).unwrap());
            assert!(!seen.insert(of(n / 2)).unwrap());
        }
        let lengths: Vec<u64> = seen.runs.iter().map(|run| run.length).collect();
        assert!(lengths.windows(2).all(|pair| pair[0] >= 2 * pair[1]), "{lengths:?}");
        assert!(lengths[0] > BLOCK as u64 && lengths.len() > 1, "{lengths:?}");
        let files = || std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files(), lengths.len());
        drop(seen);
        assert_eq!(files(), 0);
    }

    #[test]
    fn hashes_that_share_their_upper_half_are_told_apart() {
        let folder = Folder::new("seen-alike");
        let mut seen = Seen::with_capacity(folder.path(), 5000);
        let of = |n: u32| (7_u128 << 64) + u128::from(n) * 3;
        for n in 0..5001 {
            assert!(seen.insert(of(n)).unwrap());
        }
        assert!(!seen.runs.is_empty());
        for n in 0..5001 {
            assert!(!seen.insert(of(n)).unwrap());
            assert!(seen.insert(of(n) + 1).unwrap());
        }
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let folder = Folder::new("seen-damaged");
        let mut seen = Seen::with_capacity(folder.path(), 10);
        for n in 0..11_u32 {
            seen.insert(hash(&n.to_string())).unwrap();
        }
        let path = seen.runs[0].path.clone();
        File::options().write(true).open(&path).unwrap().set_len(20).unwrap();
        let error = (100..200_u32).find_map(|n| seen.insert(hash(&n.to_string())).err());
        assert!(error.unwrap().to_string().starts_with(&path.display().to_string()));
    }
}
