//! Random numbers by counting.
//!
//! Number `n` of a seed is a fixed mix of the seed and `n` (SplitMix64's finalizer), so that the
//! whole state is two integers: a generator can be stored, restored and moved to any position at
//! no cost, and resuming a run draws exactly the numbers that the run would have drawn.

use serde::{Deserialize, Serialize};

/// The odd constant nearest to 2^64 divided by the golden ratio: consecutive multiples are as
/// evenly spread as they can be.
const WEYL: u64 = 0x9e37_79b9_7f4a_7c15;

/// A generator: a seed and how many numbers have been drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rng {
    seed: u64,
    position: u64,
}

impl Rng {
    /// The generator of a seed, at its start.
    pub fn new(seed: u64) -> Self {
        Self { seed, position: 0 }
    }

    /// The generator of a seed after `position` numbers.
    pub fn at(seed: u64, position: u64) -> Self {
        Self { seed, position }
    }

    /// An independent generator for one purpose, such as one parameter's initial values.
    ///
    /// It depends on the seed and the label only, not on how many numbers were drawn.
    pub fn fork(&self, label: &str) -> Self {
        // FNV-1a: labels are short and few, and the mix afterwards spreads the result.
        let hash = label.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self::new(mix(self.seed ^ mix(hash)))
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many numbers have been drawn.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.position = self.position.wrapping_add(1);
        // The seed is mixed first: the sequences of neighboring seeds share no stretch.
        mix(mix(self.seed ^ WEYL).wrapping_add(self.position.wrapping_mul(WEYL)))
    }

    /// A number in `0..bound`; 0 where `bound` is 0. Always takes one draw.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias of multiply-and-shift is below bound / 2^64: far less than can be measured.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// One of the items.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// A number in `[0, 1)`, a multiple of 2^-24.
    pub fn uniform(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 * (1.0 / 16_777_216.0)
    }

    /// A number of the standard normal distribution (Box and Muller). Takes two draws.
    pub fn normal(&mut self) -> f32 {
        // In (0, 1], so that the logarithm is finite.
        let radius = ((self.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        let angle = (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        ((-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()) as f32
    }

    /// Fills a slice with normal numbers of mean 0.
    pub fn fill_normal(&mut self, values: &mut [f32], deviation: f32) {
        values.fill_with(|| self.normal() * deviation);
    }

    /// Fills a slice with numbers of `[low, high)`.
    pub fn fill_uniform(&mut self, values: &mut [f32], low: f32, high: f32) {
        values.fill_with(|| low + (high - low) * self.uniform());
    }
}

/// SplitMix64's finalizer: a bijection in which every input bit reaches every output bit.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_is_the_whole_state() {
        let mut rng = Rng::new(7);
        for _ in 0..10 {
            rng.next_u64();
        }
        let text = serde_json::to_string(&rng).unwrap();
        let mut restored: Rng = serde_json::from_str(&text).unwrap();
        let mut moved = Rng::at(7, 10);
        for _ in 0..10 {
            let expected = rng.next_u64();
            assert_eq!(restored.next_u64(), expected);
            assert_eq!(moved.next_u64(), expected);
        }
    }

    #[test]
    fn large_seeds_survive_json() {
        let rng = Rng::at(u64::MAX, u64::MAX - 1);
        let text = serde_json::to_string(&rng).unwrap();
        assert_eq!(serde_json::from_str::<Rng>(&text).unwrap(), rng);
    }

    #[test]
    fn seeds_and_labels_give_different_numbers() {
        let root = Rng::new(1);
        let mut firsts: Vec<u64> = (0..100).map(|seed| Rng::new(seed).next_u64()).collect();
        firsts.extend(["a", "b", "ab", ""].map(|label| root.fork(label).next_u64()));
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 104);
    }

    #[test]
    fn below_is_even_and_bounded() {
        let mut rng = Rng::new(3);
        let mut counts = [0_u32; 7];
        for _ in 0..70_000 {
            counts[rng.below(7) as usize] += 1;
        }
        // Standard deviation of each count is about 93.
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 500), "{counts:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
    }

    #[test]
    fn uniform_and_normal_have_their_moments() {
        let mut rng = Rng::new(11);
        let mut values = vec![0.0_f32; 100_000];
        rng.fill_uniform(&mut values, -1.0, 3.0);
        assert!(values.iter().all(|&value| (-1.0..3.0).contains(&value)));
        assert!((mean(&values) - 1.0).abs() < 0.02);
        rng.fill_normal(&mut values, 0.5);
        assert!(mean(&values).abs() < 0.01);
        let squares: Vec<f32> = values.iter().map(|value| value * value).collect();
        assert!((mean(&squares) - 0.25).abs() < 0.01);
        assert!(values.iter().all(|value| value.is_finite()));
    }

    fn mean(values: &[f32]) -> f64 {
        values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64
    }
}
