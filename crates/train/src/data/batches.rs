//! Windows of tokens, in an order that can be resumed.

use super::{Error, Tokens};
use crate::rng::Rng;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// How windows follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Windows start anywhere, drawn from the seed.
    #[default]
    Random,
    /// Window k is tokens `k·sequence ..= k·sequence + sequence`; after the last comes the first.
    Sequential,
}

/// Where in the data a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The order of windows.
    pub order: Order,
    /// The seed of the random order.
    pub seed: u64,
    /// How many windows have been taken.
    pub windows: u64,
}

/// Batches of windows from a range of tokens.
#[derive(Clone, Debug)]
pub struct Batches {
    tokens: Arc<Tokens>,
    range: Range<u64>,
    batch: usize,
    sequence: usize,
    position: Position,
}

/// Sets the last part of `length` tokens aside for validation: ranges for training and
/// validation, which share no token.
///
/// Both have room for at least one window of `sequence` tokens and the next; the second is `None`
/// if `fraction` is 0 or there are too few tokens for both.
///
/// # Errors
/// If there are too few tokens for one window.
pub fn split(
    length: u64,
    fraction: f64,
    sequence: usize,
) -> Result<(Range<u64>, Option<Range<u64>>), Error> {
    let window = sequence as u64 + 1;
    if length < window {
        return Err(Error::TooShort { found: length, sequence });
    }
    let wanted = (length as f64 * fraction.clamp(0.0, 1.0)) as u64;
    if fraction <= 0.0 || length < 2 * window {
        return Ok((0..length, None));
    }
    let at = length - wanted.clamp(window, length - window);
    Ok((0..at, Some(at..length)))
}

impl Batches {
    /// Batches of `batch` windows of `sequence` tokens from a range of the tokens, beginning at
    /// a position (`windows: 0` for the start).
    ///
    /// # Errors
    /// If the range has too few tokens for one window.
    pub fn new(
        tokens: Arc<Tokens>,
        range: Range<u64>,
        batch: usize,
        sequence: usize,
        position: Position,
    ) -> Result<Self, Error> {
        let range = range.start.min(tokens.len())..range.end.min(tokens.len());
        let found = range.end.saturating_sub(range.start);
        if found < sequence as u64 + 1 {
            return Err(Error::TooShort { found, sequence });
        }
        Ok(Self { tokens, range, batch, sequence: sequence.max(1), position })
    }

    /// Takes the next batch: `[batch, sequence]` inputs and the tokens that follow each.
    ///
    /// # Errors
    /// If the file cannot be read; the position is then unchanged.
    ///
    /// # Panics
    /// If the slices do not hold `batch · sequence` tokens.
    pub fn next(&mut self, inputs: &mut [i32], targets: &mut [i32]) -> Result<(), Error> {
        let expected = self.batch * self.sequence;
        assert_eq!((inputs.len(), targets.len()), (expected, expected), "one batch of tokens");
        let rows = inputs.chunks_mut(self.sequence).zip(targets.chunks_mut(self.sequence));
        let mut window = vec![0; self.sequence + 1];
        for (row, (inputs, targets)) in (0_u64..).zip(rows) {
            self.tokens.read(self.start(self.position.windows.wrapping_add(row)), &mut window)?;
            inputs.copy_from_slice(&window[..self.sequence]);
            targets.copy_from_slice(&window[1..]);
        }
        self.position.windows = self.position.windows.wrapping_add(self.batch as u64);
        Ok(())
    }

    /// Where the next batch begins; give it to [`Batches::new`] to resume.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Moves to another place in the same order, such as the start for another evaluation.
    pub fn seek(&mut self, windows: u64) {
        self.position.windows = windows;
    }

    /// How many windows there are that do not overlap: one pass in sequential order.
    pub fn windows(&self) -> u64 {
        (self.range.end - self.range.start - 1) / self.sequence as u64
    }

    fn start(&self, window: u64) -> u64 {
        let sequence = self.sequence as u64;
        self.range.start
            + match self.position.order {
                Order::Sequential => window % self.windows() * sequence,
                Order::Random => {
                    let starts = self.range.end - self.range.start - sequence;
                    Rng::at(self.position.seed, window).below(starts)
                }
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(length: u32) -> Arc<Tokens> {
        Arc::new(Tokens::from_ids((0..length).collect()))
    }

    fn at(order: Order, windows: u64) -> Position {
        Position { order, seed: 5, windows }
    }

    fn take(batches: &mut Batches) -> (Vec<i32>, Vec<i32>) {
        let size = batches.batch * batches.sequence;
        let (mut inputs, mut targets) = (vec![0; size], vec![0; size]);
        batches.next(&mut inputs, &mut targets).unwrap();
        (inputs, targets)
    }

    #[test]
    fn sequential_windows_follow_each_other_and_wrap() {
        // 11 tokens hold windows 0..=3, 3..=6, 6..=9.
        let mut batches =
            Batches::new(counting(11), 0..11, 2, 3, at(Order::Sequential, 0)).unwrap();
        assert_eq!(batches.windows(), 3);
        assert_eq!(take(&mut batches), (vec![0, 1, 2, 3, 4, 5], vec![1, 2, 3, 4, 5, 6]));
        assert_eq!(take(&mut batches), (vec![6, 7, 8, 0, 1, 2], vec![7, 8, 9, 1, 2, 3]));
        assert_eq!(batches.position().windows, 4);
    }

    #[test]
    fn ranges_start_anywhere() {
        let mut batches =
            Batches::new(counting(20), 10..20, 1, 4, at(Order::Sequential, 0)).unwrap();
        assert_eq!(take(&mut batches), (vec![10, 11, 12, 13], vec![11, 12, 13, 14]));
        assert_eq!(take(&mut batches).0, [14, 15, 16, 17]);
        assert_eq!(take(&mut batches).0, [10, 11, 12, 13]);
    }

    #[test]
    fn random_windows_stay_in_range_and_reach_both_ends() {
        let mut batches = Batches::new(counting(30), 10..20, 4, 3, at(Order::Random, 0)).unwrap();
        let mut starts = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let (inputs, targets) = take(&mut batches);
            for (inputs, targets) in inputs.chunks(3).zip(targets.chunks(3)) {
                starts.insert(inputs[0]);
                assert_eq!([inputs[1], inputs[2], targets[2]], [1, 2, 3].map(|n| inputs[0] + n));
            }
        }
        assert_eq!(starts.into_iter().collect::<Vec<_>>(), (10..=16).collect::<Vec<_>>());
    }

    #[test]
    fn resuming_continues_with_the_same_windows() {
        for order in [Order::Random, Order::Sequential] {
            let mut whole = Batches::new(counting(100), 0..90, 3, 7, at(order, 0)).unwrap();
            for _ in 0..5 {
                take(&mut whole);
            }
            let text = serde_json::to_string(&whole.position()).unwrap();
            let position = serde_json::from_str(&text).unwrap();
            let mut resumed = Batches::new(counting(100), 0..90, 3, 7, position).unwrap();
            for _ in 0..20 {
                assert_eq!(take(&mut whole), take(&mut resumed));
            }
        }
    }

    #[test]
    fn one_window_is_enough() {
        for order in [Order::Random, Order::Sequential] {
            let mut batches = Batches::new(counting(5), 0..5, 2, 4, at(order, 0)).unwrap();
            assert_eq!(take(&mut batches).1, [1, 2, 3, 4, 1, 2, 3, 4]);
            let error = Batches::new(counting(5), 1..5, 2, 4, at(order, 0)).unwrap_err();
            assert_eq!(
                error.to_string(),
                "4 tokens are too few for a sequence of 4: at least 5 are needed"
            );
        }
    }

    #[test]
    fn the_parts_of_a_split_share_no_token() {
        assert_eq!(split(1000, 0.1, 8).unwrap(), (0..900, Some(900..1000)));
        // At least one window each.
        assert_eq!(split(1000, 0.001, 8).unwrap(), (0..991, Some(991..1000)));
        assert_eq!(split(1000, 1.0, 8).unwrap(), (0..9, Some(9..1000)));
        assert_eq!(split(18, 0.1, 8).unwrap(), (0..9, Some(9..18)));
        assert_eq!(split(17, 0.1, 8).unwrap(), (0..17, None));
        assert_eq!(split(1000, 0.0, 8).unwrap(), (0..1000, None));
        assert!(matches!(split(8, 0.1, 8), Err(Error::TooShort { found: 8, sequence: 8 })));
    }
}
