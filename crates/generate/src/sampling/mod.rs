//! Choosing the next token from its scores.

mod distribution;
mod stop;

pub use stop::StopStrings;

use crate::Error;
use distribution::Distribution;
use std::collections::BTreeSet;

/// How to choose. What is asked for is done in this order, which is that of `transformers`:
/// repetition penalty, temperature, top-k, top-p, min-p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Scores of tokens that are there already are divided by this if they are above 0, and
    /// multiplied by it otherwise; 1 changes nothing ([Keskar et al., 2019]).
    ///
    /// [Keskar et al., 2019]: https://arxiv.org/abs/1909.05858
    pub repetition_penalty: f32,
    /// Scores are divided by this; 0 always takes the best.
    pub temperature: f32,
    /// Only so many of the most probable tokens are considered, and those that are as probable as
    /// the last of them; 0 considers all.
    pub top_k: usize,
    /// Only the most probable tokens that together reach this probability are considered.
    pub top_p: f32,
    /// Only tokens are considered that are at least this many times as probable as the most
    /// probable one ([Nguyen et al., 2024]).
    ///
    /// [Nguyen et al., 2024]: https://arxiv.org/abs/2407.01082
    pub min_p: f32,
    /// Seed of the choices.
    pub seed: u64,
}

impl Default for Sampling {
    /// By the model's own probabilities.
    fn default() -> Sampling {
        Sampling {
            repetition_penalty: 1.0,
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 0,
        }
    }
}

impl Sampling {
    /// Checks the ranges.
    ///
    /// # Errors
    /// If a number is out of its range, or is none.
    pub fn check(&self) -> Result<(), Error> {
        let Sampling { repetition_penalty, temperature, top_p, min_p, .. } = *self;
        let ranges = [
            (temperature >= 0.0, "temperature", temperature, "0 or more"),
            (top_p > 0.0 && top_p <= 1.0, "top-p", top_p, "above 0 and at most 1"),
            ((0.0..=1.0).contains(&min_p), "min-p", min_p, "from 0 to 1"),
            (repetition_penalty > 0.0, "repetition penalty", repetition_penalty, "above 0"),
        ];
        match ranges.iter().find(|(fits, _, value, _)| !(*fits && value.is_finite())) {
            Some((_, name, value, range)) => {
                Err(Error::Sampling(format!("the {name} is {value}; it must be {range}")))
            }
            None => Ok(()),
        }
    }
}

/// Chooses tokens one after the other.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    state: u64,
    /// Tokens of the text so far.
    seen: BTreeSet<u32>,
    /// Scores with the penalty, kept for their memory.
    scores: Vec<f32>,
    distribution: Distribution,
}

impl Sampler {
    /// A sampler.
    ///
    /// # Errors
    /// Those of [`Sampling::check`].
    pub fn new(sampling: Sampling) -> Result<Sampler, Error> {
        sampling.check()?;
        Ok(Sampler {
            sampling,
            state: sampling.seed,
            seen: BTreeSet::new(),
            scores: vec![],
            distribution: Distribution::default(),
        })
    }

    /// Takes note of tokens that the text has, for the repetition penalty. What is chosen is noted
    /// by itself.
    pub fn see(&mut self, tokens: &[u32]) {
        self.seen.extend(tokens);
    }

    /// Begins a new text: nothing has been seen.
    pub fn clear(&mut self) {
        self.seen.clear();
    }

    /// The next token. Scores that are not numbers count as impossible.
    pub fn choose(&mut self, logits: &[f32]) -> u32 {
        let point = match self.sampling.temperature {
            0.0 => 0.0,
            _ => self.uniform(),
        };
        let token = self.distribution(logits).at(point);
        self.seen.insert(token);
        token
    }

    /// The tokens that can come next, with their probabilities, in no particular order.
    pub fn probabilities(&mut self, logits: &[f32]) -> Vec<(u32, f64)> {
        self.distribution(logits).probabilities()
    }

    fn distribution(&mut self, logits: &[f32]) -> &Distribution {
        let Sampling { repetition_penalty: penalty, .. } = self.sampling;
        let mut scores = logits;
        if penalty != 1.0 {
            self.scores.clear();
            self.scores.extend_from_slice(logits);
            for &token in &self.seen {
                let Some(score) = self.scores.get_mut(token as usize) else { continue };
                *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
            }
            scores = &self.scores;
        }
        self.distribution.fill(scores, &self.sampling);
        &self.distribution
    }

    /// A number in [0, 1): the top 24 bits of SplitMix64 (Steele, Lea, Flood 2014).
    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f64 / (1u32 << 24) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(sampling: Sampling) -> Sampler {
        Sampler::new(Sampling { seed: 7, ..sampling }).unwrap()
    }

    #[test]
    fn zero_temperature_takes_the_first_best() {
        let mut sampler = sampler(Sampling { temperature: 0.0, ..Sampling::default() });
        assert_eq!(sampler.choose(&[1.0, f32::NAN, 3.0, 3.0]), 2);
        assert_eq!(sampler.choose(&[f32::NAN, f32::NEG_INFINITY]), 1);
        assert_eq!(sampler.choose(&[f32::NAN; 2]), 0, "there is always one");
        assert_eq!(sampler.choose(&[0.0, f32::INFINITY, f32::INFINITY]), 1);
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let logits = [0.0, 2f32.ln(), f32::NEG_INFINITY, 5f32.ln()];
        let mut sampler = sampler(Sampling::default());
        let mut counts = [0; 4];
        for _ in 0..8000 {
            counts[sampler.choose(&logits) as usize] += 1;
        }
        // Expected 1000, 2000, 0, 5000; three standard deviations are below 140.
        assert!((counts[0] - 1000i32).abs() < 140 && (counts[1] - 2000i32).abs() < 140);
        assert_eq!(counts[2], 0);
    }

    #[test]
    fn what_was_said_becomes_less_probable() {
        let sampling =
            Sampling { temperature: 0.0, repetition_penalty: 2.0, ..Sampling::default() };
        let mut sampler = sampler(sampling);
        sampler.see(&[9]);
        let logits = [3.0, 2.0, 1.4, -1.0];
        let chosen: Vec<u32> = (0..4).map(|_| sampler.choose(&logits)).collect();
        // 3, then 2 > 1.5, then 1.5 > 1.4 > 1.
        assert_eq!(chosen, [0, 1, 0, 0]);
        sampler.clear();
        sampler.see(&[0, 1, 2]);
        assert_eq!(sampler.choose(&[-1.0, -1.0, -1.0, -1.5]), 3, "-2 for those that were seen");
    }

    #[test]
    fn options_out_of_range_are_refused() {
        let good = Sampling::default();
        let bad = [
            Sampling { temperature: -1.0, ..good },
            Sampling { temperature: f32::NAN, ..good },
            Sampling { temperature: f32::INFINITY, ..good },
            Sampling { top_p: 0.0, ..good },
            Sampling { top_p: 1.5, ..good },
            Sampling { min_p: -0.1, ..good },
            Sampling { min_p: 1.1, ..good },
            Sampling { repetition_penalty: 0.0, ..good },
            Sampling { repetition_penalty: f32::NAN, ..good },
        ];
        for sampling in bad {
            assert!(Sampler::new(sampling).is_err(), "{sampling:?}");
        }
        assert!(Sampler::new(good).is_ok());
    }
}
