//! Batches of samples, several to a sequence.

use super::{Error, MicroBatch, Order, Position, Samples};
use crate::rng::Rng;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// Batches whose sequences are packed with whole samples.
#[derive(Clone, Debug)]
pub struct Packs {
    samples: Arc<Samples>,
    /// The samples of every sequence.
    packs: Vec<Vec<usize>>,
    batch: usize,
    sequence: usize,
    position: Position,
    /// The order of the packs in one pass over all, and which pass that is.
    order: Option<(u64, Vec<usize>)>,
}

impl Packs {
    /// Batches of `batch` sequences of `sequence` tokens, beginning at a position, whose `windows`
    /// count sequences. Without `packing` every sample has a sequence of its own.
    ///
    /// # Errors
    /// If there are no samples, or one has more than `sequence` + 1 tokens.
    pub fn new(
        samples: Arc<Samples>,
        packing: bool,
        batch: usize,
        sequence: usize,
        position: Position,
    ) -> Result<Packs, Error> {
        if samples.is_empty() {
            return Err(Error::NoSamples);
        }
        // The last token is only a target.
        let lengths: Vec<usize> = samples.iter().map(|s| s.tokens.len() - 1).collect();
        if let Some(&longest) = lengths.iter().max().filter(|&&longest| longest > sequence) {
            return Err(Error::LongSample { found: longest + 1, sequence });
        }
        let packs = match packing {
            true => pack(&lengths, sequence),
            false => (0..lengths.len()).map(|sample| vec![sample]).collect(),
        };
        Ok(Packs { samples, packs, batch, sequence, position, order: None })
    }

    /// Sequences in one pass over all samples.
    pub fn sequences(&self) -> u64 {
        self.packs.len() as u64
    }

    /// Where the next batch begins.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Moves to another sequence of the same order.
    pub fn seek(&mut self, sequences: u64) {
        self.position.windows = sequences;
    }

    /// Takes the next batch.
    ///
    /// # Panics
    /// If it has not `batch · sequence` tokens.
    pub fn next(&mut self, out: &mut MicroBatch) {
        assert_eq!(out.tokens.len(), self.batch * self.sequence, "one batch of tokens");
        for row in 0..self.batch {
            let pack = self.at(self.position.windows.wrapping_add(row as u64));
            let mut at = row * self.sequence;
            let end = at + self.sequence;
            for (segment, &sample) in (0..).zip(&self.packs[pack]) {
                let sample = self.samples.get(sample);
                let pairs = sample.tokens.windows(2).zip(&sample.counted[1..]);
                for (pair, &counted) in pairs {
                    out.tokens[at] = pair[0] as i32;
                    out.targets[at] = pair[1] as i32;
                    out.weights[at] = if counted { 1.0 } else { 0.0 };
                    out.segments[at] = segment;
                    at += 1;
                }
            }
            // Padding: a sample of its own that does not count.
            out.tokens[at..end].fill(0);
            out.targets[at..end].fill(0);
            out.weights[at..end].fill(0.0);
            out.segments[at..end].fill(u32::MAX);
        }
        self.position.windows = self.position.windows.wrapping_add(self.batch as u64);
    }

    /// The pack that is sequence number `window`.
    fn at(&mut self, window: u64) -> usize {
        let count = self.packs.len() as u64;
        let (pass, within) = (window / count, (window % count) as usize);
        if self.position.order == Order::Sequential {
            return within;
        }
        if self.order.as_ref().is_none_or(|(known, _)| *known != pass) {
            let mut order: Vec<usize> = (0..self.packs.len()).collect();
            let mut random = Rng::new(self.position.seed).fork(&format!("pass {pass}"));
            // Fisher and Yates.
            for last in (1..order.len()).rev() {
                order.swap(last, random.below(last as u64 + 1) as usize);
            }
            self.order = Some((pass, order));
        }
        self.order.as_ref().map_or(within, |(_, order)| order[within])
    }
}

/// Samples of these lengths in sequences of `sequence` positions: the longest first, each where it
/// leaves the least room ("best fit decreasing", which needs at most 11/9 of the fewest sequences
/// and one more; Johnson 1973).
fn pack(lengths: &[usize], sequence: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&sample| std::cmp::Reverse(lengths[sample]));
    let mut packs: Vec<Vec<usize>> = vec![];
    // Packs by the room that they have left.
    let mut room: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for sample in order {
        let length = lengths[sample];
        let found = room.range((Bound::Included(length), Bound::Unbounded)).next();
        let left = match found.map(|(&left, _)| left) {
            Some(left) => left,
            None => {
                packs.push(vec![]);
                room.entry(sequence).or_default().push(packs.len() - 1);
                sequence
            }
        };
        let with_room = room.get_mut(&left).expect("it was found or made");
        let pack = with_room.pop().expect("none is left empty");
        if with_room.is_empty() {
            room.remove(&left);
        }
        packs[pack].push(sample);
        room.entry(left - length).or_default().push(pack);
    }
    packs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples of these lengths; sample n counts up from 100·n, and its second half counts.
    fn samples(lengths: &[usize]) -> Arc<Samples> {
        let mut samples = Samples::default();
        for (n, &length) in lengths.iter().enumerate() {
            let tokens: Vec<u32> = (0..length as u32).map(|i| 100 * n as u32 + i).collect();
            let counted: Vec<bool> = (0..length).map(|i| 2 * i >= length).collect();
            assert!(samples.push(&tokens, &counted, usize::MAX));
        }
        Arc::new(samples)
    }

    fn packs(lengths: &[usize], order: Order, windows: u64) -> Packs {
        let position = Position { order, seed: 4, windows };
        Packs::new(samples(lengths), true, 2, 8, position).expect("they fit")
    }

    fn take(packs: &mut Packs) -> MicroBatch {
        let mut batch = MicroBatch::new(16);
        packs.next(&mut batch);
        batch
    }

    #[test]
    fn samples_are_whole_apart_and_padded() {
        // 4 and 4 positions; 3 and 2, and padding.
        let batch = take(&mut packs(&[5, 5, 4, 3], Order::Sequential, 0));
        assert_eq!(batch.tokens[..8], [0, 1, 2, 3, 100, 101, 102, 103]);
        assert_eq!(batch.targets[..8], [1, 2, 3, 4, 101, 102, 103, 104]);
        assert_eq!(batch.segments[..8], [0, 0, 0, 0, 1, 1, 1, 1]);
        // Of five tokens the last two count: those predicted at the third and fourth position.
        assert_eq!(batch.weights[..8], [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(batch.tokens[8..], [200, 201, 202, 300, 301, 0, 0, 0]);
        assert_eq!(batch.segments[8..], [0, 0, 0, 1, 1, u32::MAX, u32::MAX, u32::MAX]);
        assert_eq!(batch.weights[8..], [0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn every_pass_has_every_sample_once_in_another_order() {
        let lengths = [9, 8, 7, 6, 5, 4, 3, 2, 9, 3, 2];
        let mut packs = packs(&lengths, Order::Random, 0);
        let count = packs.sequences() as usize;
        let mut passes = vec![];
        for _ in 0..4 {
            passes.push((0..count).map(|_| packs.at(packs.position.windows)).collect::<Vec<_>>());
            packs.position.windows += count as u64;
        }
        packs.seek(0);
        let mut orders = vec![];
        for pass in 0..4 {
            let order: Vec<usize> =
                (0..count).map(|i| packs.at((pass * count + i) as u64)).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..count).collect::<Vec<_>>());
            orders.push(order);
        }
        orders.dedup();
        assert!(orders.len() > 1, "{orders:?}");
    }

    #[test]
    fn resuming_goes_on_with_the_same_sequences() {
        let lengths: Vec<usize> = (2..10).cycle().take(40).collect();
        let mut whole = packs(&lengths, Order::Random, 0);
        for _ in 0..7 {
            take(&mut whole);
        }
        let mut resumed = packs(&lengths, Order::Random, whole.position().windows);
        for _ in 0..20 {
            assert_eq!(take(&mut whole), take(&mut resumed));
        }
    }

    #[test]
    fn packing_fills_sequences_and_never_overflows() {
        let lengths: Vec<usize> = (0..500).map(|i| 1 + i * i % 61).collect();
        let packed = pack(&lengths, 64);
        let mut seen = vec![0; lengths.len()];
        for pack in &packed {
            assert!(pack.iter().map(|&sample| lengths[sample]).sum::<usize>() <= 64);
            pack.iter().for_each(|&sample| seen[sample] += 1);
        }
        assert!(seen.iter().all(|&times| times == 1));
        let fewest = lengths.iter().sum::<usize>().div_ceil(64);
        assert!(packed.len() <= fewest * 11 / 9 + 1, "{} of {fewest}", packed.len());
    }

    #[test]
    fn too_long_a_sample_and_no_sample_are_errors() {
        let position = Position { order: Order::Random, seed: 0, windows: 0 };
        let refused = |samples| Packs::new(samples, true, 1, 8, position).unwrap_err().to_string();
        let long = "a sample of 10 tokens does not fit a sequence of 8: at most 9 do";
        assert_eq!(refused(samples(&[3, 10])), long);
        assert_eq!(refused(Arc::default()), "there are no samples");
    }
}
