//! Which ids data use.

use super::Vocabulary;
use crate::data::{Error, Progress, Samples, Tokens};
use std::ops::Range;

/// A set of ids of a vocabulary, that data are looked through for: one bit for each id.
#[derive(Clone, Debug)]
pub struct UsedIds {
    /// Bit `id % 64` of word `id / 64`.
    words: Vec<u64>,
    size: usize,
}

impl UsedIds {
    /// No id yet, of a vocabulary of `size` tokens.
    pub fn new(size: usize) -> UsedIds {
        UsedIds { words: vec![0; size.div_ceil(64)], size }
    }

    /// Tokens of the vocabulary.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Adds an id.
    ///
    /// # Panics
    /// If the vocabulary has no such token.
    pub fn insert(&mut self, id: u32) {
        assert!((id as usize) < self.size, "token {id} of {}", self.size);
        self.words[id as usize / 64] |= 1 << (id % 64);
    }

    /// Adds every id of a range of tokens, which are read once, block by block.
    ///
    /// # Errors
    /// If they cannot be read, or the vocabulary does not have one.
    ///
    /// # Panics
    /// If there are not as many tokens.
    pub fn add(
        &mut self,
        tokens: &Tokens,
        range: Range<u64>,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let (start, total) = (range.start, range.end.saturating_sub(range.start));
        tokens.blocks(range, |first, ids| {
            for (position, &id) in (first..).zip(ids) {
                if id as usize >= self.size {
                    let vocabulary = self.size;
                    return Err(Error::UnknownToken { position, id, vocabulary });
                }
                self.words[id as usize / 64] |= 1 << (id % 64);
            }
            progress(first + ids.len() as u64 - start, total);
            Ok(())
        })
    }

    /// Adds every id of samples.
    ///
    /// # Errors
    /// If the vocabulary does not have one.
    pub fn add_samples(&mut self, samples: &Samples) -> Result<(), Error> {
        let ids = samples.iter().flat_map(|sample| sample.tokens);
        for (position, &id) in (0..).zip(ids) {
            if id as usize >= self.size {
                return Err(Error::UnknownToken { position, id, vocabulary: self.size });
            }
            self.insert(id);
        }
        // What stands where a sequence has no sample.
        self.insert(0);
        Ok(())
    }

    /// The ids, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let bits = self.words.iter().flat_map(|word| (0..64).map(move |bit| word >> bit & 1 == 1));
        (0..).zip(bits).filter_map(|(id, used)| used.then_some(id))
    }

    /// The tokens found so far, with a row for each.
    pub fn vocabulary(&self) -> Vocabulary {
        Vocabulary::new(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Width;
    use crate::scratch::Folder;

    fn ids(used: &UsedIds) -> Vec<u32> {
        used.iter().collect()
    }

    #[test]
    fn ranges_of_several_rows_of_tokens_add_up() {
        let mut used = UsedIds::new(130);
        let tokens = Tokens::from_ids(vec![129, 7, 64, 63, 7, 0]);
        used.add(&tokens, 1..4, &mut |_, _| ()).unwrap();
        assert_eq!(ids(&used), [7, 63, 64]);
        used.add(&tokens, 0..1, &mut |_, _| ()).unwrap();
        used.add(&tokens, 3..3, &mut |_, _| ()).unwrap();
        used.insert(1);
        assert_eq!(ids(&used), [1, 7, 63, 64, 129]);
        let error = UsedIds::new(129).add(&tokens, 0..6, &mut |_, _| ()).unwrap_err();
        assert_eq!(error.to_string(), "token 129 at position 0 is outside the vocabulary of 129");
    }

    #[test]
    fn a_file_of_many_blocks_is_read_to_its_end() {
        let folder = Folder::new("used");
        let path = folder.path().join("x.bin");
        let length = 600_000_u64;
        let mut bytes = vec![0; 2 * length as usize];
        for (position, id) in [(1_u64, 5_u16), (300_000, 6), (length - 2, 999), (length - 1, 70)] {
            let at = 2 * position as usize;
            bytes[at..at + 2].copy_from_slice(&id.to_le_bytes());
        }
        std::fs::write(&path, bytes).unwrap();
        let tokens = Tokens::open_raw(&path, Width::Two, 1000, &mut |_, _| ()).unwrap();
        let mut used = UsedIds::new(1000);
        let mut reports = vec![];
        let range = 1..length - 1;
        used.add(&tokens, range, &mut |done, all| reports.push((done, all))).unwrap();
        assert_eq!(ids(&used), [0, 5, 6, 999]);
        assert!(reports.len() > 1, "it was read in one block");
        assert_eq!(reports.last(), Some(&(length - 2, length - 2)));
        // A file that has changed since it was checked.
        std::fs::write(&path, vec![255; 2 * length as usize]).unwrap();
        let error = used.add(&tokens, 10..20, &mut |_, _| ()).unwrap_err().to_string();
        assert!(error.starts_with("token 65535 at position 10 "), "{error}");
        std::fs::write(&path, [0; 8]).unwrap();
        assert!(matches!(used.add(&tokens, 0..20, &mut |_, _| ()), Err(Error::File { .. })));
    }
}
