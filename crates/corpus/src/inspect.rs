//! Reads a folder of tokens, or a file of them, from beginning to end, checks and counts.

use crate::index::{Crc, Index, Part, Width};
use crate::{Error, Lengths};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What is in a folder.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// What the folder says it is.
    pub index: Index,
    /// What was found in the files to train on.
    pub train: Recount,
    /// What was found in the files that were set aside.
    pub validation: Recount,
}

/// What was found in files.
#[derive(Clone, Debug)]
pub struct Recount {
    /// Tokens.
    pub tokens: u64,
    /// Ends of text, if it is known which token that is.
    pub ends: u64,
    /// Tokens between ends of text.
    pub lengths: Lengths,
    /// How often each token was found.
    pub counts: Vec<u64>,
}

/// Bytes read at a time; whole tokens of any width.
const BLOCK: usize = 1 << 20;

/// Reads all files of a folder and compares them with its index: sizes, checksums, the range of
/// tokens, and how many documents there are. `progress` is given the bytes read of those in all.
///
/// # Errors
/// If a file cannot be read, or does not agree with the index.
pub fn inspect(folder: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Inspected, Error> {
    let index = Index::open(folder)?;
    if let Some(tokenizer) = &index.tokenizer {
        let path = folder.join(&tokenizer.file);
        let bytes = crate::index::read_small(&path, 1 << 28)?;
        differs(&path, tokenizer.crc32, Crc(crc32fast::hash(&bytes)))?;
    }
    let width = index.token_bytes;
    let all = index.train.tokens.saturating_add(index.validation.tokens);
    let all = all.saturating_mul(width.bytes() as u64);
    let mut done = 0;
    let mut part = |part: &Part| {
        let mut recount = Counting::new(index.vocabulary as usize);
        for shard in &part.shards {
            let path = folder.join(&shard.file);
            let mut each = |bytes| {
                done += bytes;
                progress(done, all);
            };
            let before = recount.ends;
            let crc = recount.read(&path, width, Some(index.end_of_text), true, &mut each)?;
            differs(&path, shard.crc32, crc)?;
            let ends = recount.ends - before;
            if ends < shard.documents || recount.open > 0 {
                let (documents, open) = (shard.documents, recount.open);
                let reason = format!(
                    "{ends} ends of text and {open} tokens after the last, but the index says \
                     {documents} documents"
                );
                return Err(Error::index(&path, reason));
            }
        }
        if recount.ends != part.documents.saturating_add(part.ends_inside) {
            let (found, documents, inside) = (recount.ends, part.documents, part.ends_inside);
            let reason = format!(
                "its shards hold {found} ends of text, and it says {documents} documents with \
                 {inside} within them"
            );
            return Err(Error::index(&folder.join(crate::index::FILE), reason));
        }
        Ok(recount)
    };
    let (train, validation) = (part(&index.train)?, part(&index.validation)?);
    Ok(Inspected { train: train.counted(), validation: validation.counted(), index })
}

/// Reads a file of raw tokens and counts. Tokens are not checked against a vocabulary.
///
/// # Errors
/// If the file cannot be read, or is not a whole number of tokens.
pub fn inspect_file(
    path: &Path,
    width: Width,
    end_of_text: Option<u32>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Recount, Error> {
    let size = std::fs::metadata(path).map_err(Error::file(path))?.len();
    let mut recount = Counting::new(0);
    let mut done = 0;
    recount.read(path, width, end_of_text, false, &mut |bytes| {
        done += bytes;
        progress(done, size);
    })?;
    Ok(recount.counted())
}

/// A recount that goes on.
struct Counting {
    recount: Recount,
    /// Tokens since the last end of text.
    open: u64,
}

impl std::ops::Deref for Counting {
    type Target = Recount;

    fn deref(&self) -> &Recount {
        &self.recount
    }
}

/// Tokens with higher numbers are not counted one by one: a damaged file would make a table of 32
/// GiB.
const MOST: usize = 1 << 24;

impl Recount {
    /// The tokens that are found most often, with how often.
    pub fn most_frequent(&self, number: usize) -> Vec<(u32, u64)> {
        let counts = self.counts.iter().enumerate().filter(|&(_, &count)| count > 0);
        let mut counts: Vec<(u32, u64)> = counts.map(|(id, &count)| (id as u32, count)).collect();
        counts.sort_by_key(|&(id, count)| (std::cmp::Reverse(count), id));
        counts.truncate(number);
        counts
    }

    /// How many different tokens there are.
    pub fn used(&self) -> usize {
        self.counts.iter().filter(|&&count| count > 0).count()
    }
}

impl Counting {
    fn new(vocabulary: usize) -> Self {
        let counts = vec![0; vocabulary.min(MOST)];
        let recount = Recount { tokens: 0, ends: 0, lengths: Lengths::default(), counts };
        Self { recount, open: 0 }
    }

    fn counted(self) -> Recount {
        self.recount
    }

    fn read(
        &mut self,
        path: &Path,
        width: Width,
        end_of_text: Option<u32>,
        bounded: bool,
        each: &mut dyn FnMut(u64),
    ) -> Result<Crc, Error> {
        let mut file = File::open(path).map_err(Error::file(path))?;
        let (mut block, mut tokens) = (Vec::with_capacity(BLOCK), Vec::new());
        let (mut crc, mut position) = (crc32fast::Hasher::new(), 0_u64);
        loop {
            block.clear();
            let read = file.by_ref().take(BLOCK as u64).read_to_end(&mut block);
            let read = read.map_err(Error::file(path))?;
            if read == 0 {
                return Ok(Crc(crc.finalize()));
            }
            if !read.is_multiple_of(width.bytes()) {
                let reason = format!("ends within a token of {} bytes", width.bytes());
                return Err(Error::index(path, reason));
            }
            crc.update(&block);
            width.decode(&block, &mut tokens);
            for &id in &tokens {
                self.count(id, end_of_text == Some(id), bounded).map_err(|vocabulary| {
                    let reason = format!(
                        "token {id} at position {position} is outside the vocabulary of {vocabulary}"
                    );
                    Error::index(path, reason)
                })?;
                position += 1;
            }
            each(read as u64);
        }
    }

    fn count(&mut self, id: u32, end: bool, bounded: bool) -> Result<(), usize> {
        let counts = &mut self.recount.counts;
        let place = id as usize;
        if place >= counts.len() {
            if bounded && counts.len() < MOST {
                return Err(counts.len());
            }
            if place < MOST {
                counts.resize(place + 1, 0);
            }
        }
        if let Some(count) = counts.get_mut(place) {
            *count += 1;
        }
        self.recount.tokens += 1;
        if end {
            self.recount.ends += 1;
            self.recount.lengths.add(self.open);
            self.open = 0;
        } else {
            self.open += 1;
        }
        Ok(())
    }
}

fn differs(path: &Path, expected: Crc, found: Crc) -> Result<(), Error> {
    if expected == found {
        return Ok(());
    }
    let reason = format!("damaged: its checksum is {found}, and the index says {expected}");
    Err(Error::index(path, reason))
}
