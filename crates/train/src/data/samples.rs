//! Samples of a task: a prompt and what should follow it, one text each.

use crate::rng::Rng;

/// Samples as tokens, each with the tokens whose prediction counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    tokens: Vec<u32>,
    counted: Vec<bool>,
    /// Where each sample ends.
    ends: Vec<usize>,
}

/// One sample; slices of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    /// Its tokens.
    pub tokens: &'a [u32],
    /// Whether the loss counts how well each was predicted from those before it.
    pub counted: &'a [bool],
}

impl Samples {
    /// Adds a sample, cut to `most` tokens. Without any token to predict that counts it is left
    /// out, and the answer is no.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn push(&mut self, tokens: &[u32], counted: &[bool], most: usize) -> bool {
        assert_eq!(tokens.len(), counted.len(), "a mark for every token");
        let length = tokens.len().min(most);
        // The first token is not predicted.
        if !counted[..length].iter().skip(1).any(|&counted| counted) {
            return false;
        }
        self.tokens.extend_from_slice(&tokens[..length]);
        self.counted.extend_from_slice(&counted[..length]);
        self.ends.push(self.tokens.len());
        true
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All tokens of all samples.
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// The tokens whose prediction counts.
    pub fn counted(&self) -> usize {
        self.iter().flat_map(|sample| sample.counted.iter().skip(1)).filter(|&&c| c).count()
    }

    /// The largest token id.
    pub fn largest_id(&self) -> Option<u32> {
        self.tokens.iter().copied().max()
    }

    /// A sample.
    ///
    /// # Panics
    /// If there is none of this number.
    pub fn get(&self, index: usize) -> Sample<'_> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        let range = start..self.ends[index];
        Sample { tokens: &self.tokens[range.clone()], counted: &self.counted[range] }
    }

    /// All samples in order.
    pub fn iter(&self) -> impl Iterator<Item = Sample<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Sets a share aside for validation, at least one sample if there are two: those of training,
    /// and those of validation, if any.
    pub fn split(self, share: f64, seed: u64) -> (Samples, Option<Samples>) {
        let count = (self.len() as f64 * share.clamp(0.0, 1.0)) as usize;
        let count = count.max(1).min(self.len().saturating_sub(1));
        if share <= 0.0 || count == 0 {
            return (self, None);
        }
        // The samples with the least of random numbers of their own.
        let random = Rng::new(seed).fork("validation");
        let mut order: Vec<(u64, usize)> = (0..self.len())
            .map(|index| (Rng::at(random.seed(), index as u64).next_u64(), index))
            .collect();
        order.sort_unstable();
        let mut aside = vec![false; self.len()];
        order[..count].iter().for_each(|&(_, index)| aside[index] = true);
        let mut parts = [Samples::default(), Samples::default()];
        for (sample, &aside) in self.iter().zip(&aside) {
            parts[usize::from(aside)].push(sample.tokens, sample.counted, usize::MAX);
        }
        let [training, validation] = parts;
        (training, Some(validation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(count: u32) -> Samples {
        let mut samples = Samples::default();
        for n in 0..count {
            assert!(samples.push(&[n, n + 1, n + 2], &[false, true, true], 10));
        }
        samples
    }

    #[test]
    fn samples_are_cut_and_those_without_anything_to_learn_are_left_out() {
        let mut samples = Samples::default();
        assert!(samples.push(&[1, 2, 3, 4], &[false, false, true, true], 3));
        assert!(!samples.push(&[1, 2, 3, 4], &[false, false, false, true], 3));
        assert!(!samples.push(&[1], &[true], 3));
        assert!(!samples.push(&[], &[], 3));
        assert_eq!((samples.len(), samples.tokens(), samples.counted()), (1, 3, 1));
        assert_eq!(samples.get(0), Sample { tokens: &[1, 2, 3], counted: &[false, false, true] });
        assert_eq!(samples.largest_id(), Some(3));
    }

    #[test]
    fn a_split_shares_no_sample_and_loses_none() {
        let (training, validation) = numbered(100).split(0.1, 3);
        let validation = validation.expect("ten samples");
        assert_eq!((training.len(), validation.len()), (90, 10));
        let mut firsts: Vec<u32> =
            training.iter().chain(validation.iter()).map(|s| s.tokens[0]).collect();
        firsts.sort_unstable();
        assert_eq!(firsts, (0..100).collect::<Vec<_>>());
        assert_eq!(numbered(100).split(0.1, 3).1.as_ref(), Some(&validation));
        assert_ne!(numbered(100).split(0.1, 4).1.as_ref(), Some(&validation));
    }

    #[test]
    fn the_smallest_splits_leave_something_to_train_on() {
        assert_eq!(numbered(1).split(0.5, 0), (numbered(1), None));
        assert_eq!(numbered(9).split(0.0, 0), (numbered(9), None));
        let (training, validation) = numbered(2).split(0.01, 0);
        assert_eq!((training.len(), validation.map(|v| v.len())), (1, Some(1)));
        let (training, _) = numbered(5).split(1.0, 0);
        assert_eq!(training.len(), 1);
    }
}
