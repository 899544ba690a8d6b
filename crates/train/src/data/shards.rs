//! Files of raw tokens, one after the other.

use super::tokens::file_error;
use super::{Error, Width};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Files that stay open. The others are opened for every reading: a system may allow a process
/// only 256.
const OPEN: usize = 64;

/// Files of raw tokens that are read as one row.
#[derive(Debug)]
pub(super) struct Shards {
    shards: Vec<Shard>,
    width: Width,
    length: u64,
    /// Every token is below, if that was not made sure of before.
    vocabulary: Option<u32>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    file: Option<File>,
    /// The place of its first token in the row.
    start: u64,
}

impl Shards {
    /// A single file of `length` tokens, which have been checked.
    pub fn of_file(path: &Path, file: File, width: Width, length: u64) -> Self {
        let shard = Shard { path: path.to_owned(), file: Some(file), start: 0 };
        Self { shards: vec![shard], width, length, vocabulary: None }
    }

    /// The files of a part of a folder. Their sizes were compared with the index when that was
    /// opened; whether every byte is as it should be only `anemone data info` tells.
    pub fn open(folder: &Path, index: &corpus::Index, part: &corpus::Part) -> Result<Self, Error> {
        let (mut shards, mut start) = (Vec::new(), 0_u64);
        for shard in part.shards.iter().filter(|shard| shard.tokens > 0) {
            let path = folder.join(&shard.file);
            let file = match shards.len() < OPEN {
                true => Some(File::open(&path).map_err(|source| file_error(&path, source))?),
                false => None,
            };
            shards.push(Shard { path, file, start });
            start += shard.tokens;
        }
        let width = match index.token_bytes {
            corpus::Width::Two => Width::Two,
            corpus::Width::Four => Width::Four,
        };
        Ok(Self { shards, width, length: start, vocabulary: Some(index.vocabulary) })
    }

    /// How many tokens there are.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Copies the tokens from `start` on, of which there must be as many.
    pub fn read(&self, start: u64, out: &mut [u32]) -> Result<(), Error> {
        let mut bytes = vec![0; out.len() * self.width.bytes()];
        // The last shard that begins at `start` or before.
        let mut shard = self.shards.partition_point(|shard| shard.start <= start);
        let (mut place, mut rest) = (start, &mut bytes[..]);
        while !rest.is_empty() {
            let end = self.shards.get(shard).map_or(self.length, |next| next.start);
            let here = self.width.bytes() as u64 * (end - place);
            let length = usize::try_from(here).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at_mut(length);
            self.shards[shard - 1].read(place, self.width, now)?;
            (place, rest, shard) = (end, later, shard + 1);
        }
        self.width.decode(&bytes, out);
        if let Some(vocabulary) = self.vocabulary
            && let Some(index) = out.iter().position(|&id| id >= vocabulary)
        {
            let (position, id) = (start + index as u64, out[index]);
            return Err(Error::UnknownToken { position, id, vocabulary: vocabulary as usize });
        }
        Ok(())
    }
}

impl Shard {
    fn read(&self, place: u64, width: Width, bytes: &mut [u8]) -> Result<(), Error> {
        let offset = (place - self.start) * width.bytes() as u64;
        let read = match &self.file {
            Some(file) => file.read_exact_at(bytes, offset),
            None => File::open(&self.path).and_then(|file| file.read_exact_at(bytes, offset)),
        };
        read.map_err(|source| file_error(&self.path, source))
    }
}

impl Width {
    fn decode(self, bytes: &[u8], out: &mut [u32]) {
        match self {
            Width::Two => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = u32::from(u16::from_le_bytes(*bytes));
                }
            }
            Width::Four => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = u32::from_le_bytes(*bytes);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tokens;
    use super::*;
    use crate::scratch::Folder;
    use corpus::{Index, Job, Outcome, Reading, Settings, Split};

    /// A folder of 200 documents, each its number in unary, in shards of at least `shard_tokens`.
    fn prepared(folder: &Folder, shard_tokens: u64, vocabulary: u32) -> (PathBuf, Index) {
        let text: String = (0..200_usize).map(|n| "a".repeat(n + 1) + "\n").collect();
        let input = folder.path().join("in.txt");
        std::fs::write(&input, text).unwrap();
        let found = corpus::find(&[input], &corpus::Selection::default()).unwrap();
        let out = folder.path().join("out");
        let outcome = corpus::prepare(
            &Job {
                found: &found,
                reading: &Reading { split: Split::Lines, ..Reading::default() },
                settings: &Settings {
                    validation: 0.1,
                    seed: 1,
                    dedup: true,
                    shard_tokens,
                    vocabulary,
                    end_of_text: 0,
                    tokenizer: None,
                },
                encode: &|text| Ok((1..=text.len() as u32).collect()),
                threads: 1,
                stop: &false.into(),
            },
            corpus::Workplace::new(&out, &[], false).unwrap(),
            &mut |_| (),
        );
        match outcome.unwrap() {
            Outcome::Done(index) => (out, index),
            Outcome::Stopped(_) => unreachable!("nothing stops it"),
        }
    }

    #[test]
    fn windows_go_across_shards() {
        for (vocabulary, shard_tokens) in [(201, 1), (201, 500), (70_000, 3000)] {
            let folder = Folder::new(&format!("shards-{vocabulary}-{shard_tokens}"));
            let (out, index) = prepared(&folder, shard_tokens, vocabulary);
            let tokens = Tokens::from_shards(&out, &index, &index.train).unwrap();
            assert_eq!(tokens.len(), index.train.tokens);
            let mut all = vec![0; tokens.len() as usize];
            tokens.read(0, &mut all).unwrap();
            let mut wanted = vec![];
            for shard in &index.train.shards {
                let bytes = std::fs::read(out.join(&shard.file)).unwrap();
                let width = bytes.len() / shard.tokens as usize;
                wanted.extend(bytes.chunks(width).map(|b| i32::from(b[0]) + 256 * i32::from(b[1])));
            }
            assert_eq!(all, wanted);
            // More shards than stay open, of the first setting.
            assert!(shard_tokens > 1 || index.train.shards.len() > OPEN + 50);
            let mut window = [0; 300];
            for start in (0..tokens.len() - 300).step_by(97) {
                tokens.read(start, &mut window).unwrap();
                assert_eq!(window, all[start as usize..][..300]);
            }
            let aside = Tokens::from_shards(&out, &index, &index.validation).unwrap();
            assert!(!aside.is_empty() && aside.len() < tokens.len() / 4);
        }
    }

    #[test]
    fn tokens_outside_the_vocabulary_are_found_when_they_are_read() {
        let folder = Folder::new("shards-damaged");
        let (out, index) = prepared(&folder, 500, 201);
        let path = out.join(&index.train.shards[1].file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[7] = 1;
        std::fs::write(&path, bytes).unwrap();
        let index = Index::open(&out).unwrap();
        let tokens = Tokens::from_shards(&out, &index, &index.train).unwrap();
        let place = index.train.shards[0].tokens + 3;
        tokens.read(place - 10, &mut [0; 10]).unwrap();
        let error = tokens.read(place - 10, &mut [0; 11]).unwrap_err().to_string();
        assert!(error.contains(&format!("at position {place} is outside the vocabulary of 201")));
        std::fs::write(&path, "").unwrap();
        let error = tokens.read(place, &mut [0; 5]).unwrap_err().to_string();
        assert!(error.contains("train-00001.bin"), "{error}");
        assert!(matches!(Index::open(&out), Err(corpus::Error::Index { .. })));
    }
}
