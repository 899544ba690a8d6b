//! How long documents are, in bounded memory.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A histogram of lengths. Up to 127 every length has a bar of its own; beyond that a bar is
/// less than 1.6 % wide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lengths {
    /// The lower end of each bar that is not empty, and how many lengths it has.
    bars: BTreeMap<u64, u64>,
    count: u64,
    sum: u64,
    longest: u64,
}

/// Bars between a power of two and the next.
const BARS: u32 = 6;

impl Lengths {
    /// Counts a length.
    pub fn add(&mut self, length: u64) {
        let digits = u64::BITS - length.leading_zeros();
        let fine = digits.saturating_sub(BARS + 1);
        *self.bars.entry(length >> fine << fine).or_default() += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(length);
        self.longest = self.longest.max(length);
    }

    /// How many lengths there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The longest.
    pub fn longest(&self) -> u64 {
        self.longest
    }

    /// Their mean; 0 if there is none.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }

    /// The length that `part` of all (0 to 1) do not exceed, at most 1.6 % too small; 0 if there
    /// is none.
    pub fn percentile(&self, part: f64) -> u64 {
        let rank = ((part.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (&length, &count) in &self.bars {
            seen = u64::saturating_add(seen, count);
            if seen >= rank {
                return length;
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_lengths_to_the_width_of_a_bar() {
        let mut sorted: Vec<u64> = (0..5000).map(|n: u64| n * n % 7919 + n / 100).collect();
        let mut lengths = Lengths::default();
        sorted.iter().for_each(|&length| lengths.add(length));
        sorted.sort_unstable();
        for part in [0.001, 0.05, 0.5, 0.9, 0.99, 1.0] {
            let exact = sorted[((part * 5000.0) as usize).max(1) - 1];
            let found = lengths.percentile(part);
            assert!(found <= exact && exact - found <= exact / 64, "{part}: {found}, not {exact}");
        }
        assert_eq!((lengths.count(), lengths.longest()), (5000, sorted[4999]));
        assert_eq!(lengths.sum(), sorted.iter().sum::<u64>());
        assert!(lengths.bars.len() < 600);
    }

    #[test]
    fn short_lengths_are_exact_and_the_ends_of_the_range_work() {
        let mut lengths = Lengths::default();
        assert_eq!((lengths.percentile(0.5), lengths.mean()), (0, 0.0));
        for length in [0, 1, 127, u64::MAX] {
            lengths.add(length);
        }
        assert_eq!([0.25, 0.5, 0.75].map(|part| lengths.percentile(part)), [0, 1, 127]);
        assert!(lengths.percentile(1.0) > u64::MAX / 64 * 63);
    }
}
