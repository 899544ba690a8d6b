//! Choosing the next token from its scores.

use crate::Error;

/// How to choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Scores are divided by this; 0 always takes the best.
    pub temperature: f32,
    /// Only the most probable tokens that together reach this probability are considered.
    pub top_p: f32,
    /// Seed of the choices.
    pub seed: u64,
}

/// Chooses tokens one after the other.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    state: u64,
    /// Candidates with their probabilities, kept for their memory.
    candidates: Vec<(f32, u32)>,
}

impl Sampler {
    /// A sampler.
    ///
    /// # Errors
    /// If the temperature is negative or not a number, or `top_p` is not in (0, 1].
    pub fn new(sampling: Sampling) -> Result<Sampler, Error> {
        let Sampling { temperature, top_p, seed } = sampling;
        if !(temperature >= 0.0 && temperature.is_finite()) {
            let message = format!("the temperature is {temperature}; it must be 0 or more");
            return Err(Error::Sampling(message));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            let message = format!("top-p is {top_p}; it must be above 0 and at most 1");
            return Err(Error::Sampling(message));
        }
        Ok(Sampler { sampling, state: seed, candidates: vec![] })
    }

    /// The next token. Scores that are not numbers count as impossible.
    pub fn choose(&mut self, logits: &[f32]) -> u32 {
        let best = best_of(logits);
        if self.sampling.temperature == 0.0 {
            return best;
        }
        let top = logits[best as usize];
        self.candidates.clear();
        for (token, &logit) in logits.iter().enumerate() {
            let weight = ((logit - top) / self.sampling.temperature).exp();
            if weight > 0.0 {
                self.candidates.push((weight, token as u32));
            }
        }
        let total: f32 = self.candidates.iter().map(|c| c.0).sum();
        if !(total > 0.0 && total.is_finite()) {
            return best;
        }
        let mut kept = total;
        if self.sampling.top_p < 1.0 {
            // Ties go to the lower token, so that the order does not depend on the sort.
            self.candidates.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            kept = 0.0;
            let mut count = 0;
            for candidate in &self.candidates {
                kept += candidate.0;
                count += 1;
                if kept >= self.sampling.top_p * total {
                    break;
                }
            }
            self.candidates.truncate(count);
        }
        let mut point = self.uniform() * kept;
        for &(weight, token) in &self.candidates {
            point -= weight;
            if point < 0.0 {
                return token;
            }
        }
        self.candidates.last().map_or(best, |c| c.1)
    }

    /// A number in [0, 1): the top 24 bits of SplitMix64 (Steele, Lea, Flood 2014).
    fn uniform(&mut self) -> f32 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 24) as f32
    }
}

/// The index of the largest score; the first of equal ones.
fn best_of(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (token, &logit) in logits.iter().enumerate() {
        if logit > logits[best] || logits[best].is_nan() {
            best = token;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(temperature: f32, top_p: f32) -> Sampler {
        Sampler::new(Sampling { temperature, top_p, seed: 7 }).unwrap()
    }

    #[test]
    fn zero_temperature_takes_the_first_best() {
        assert_eq!(sampler(0.0, 1.0).choose(&[1.0, f32::NAN, 3.0, 3.0]), 2);
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let logits = [0.0, 2f32.ln(), f32::NEG_INFINITY, 5f32.ln()];
        let mut sampler = sampler(1.0, 1.0);
        let mut counts = [0; 4];
        for _ in 0..8000 {
            counts[sampler.choose(&logits) as usize] += 1;
        }
        // Expected 1000, 2000, 0, 5000; three standard deviations are below 140.
        assert!((counts[0] - 1000i32).abs() < 140 && (counts[1] - 2000i32).abs() < 140);
        assert_eq!(counts[2], 0);
    }

    #[test]
    fn top_p_leaves_out_the_tail() {
        let logits = [0.0, 2f32.ln(), 0.0, 5f32.ln()];
        let mut sampler = sampler(1.0, 0.7);
        assert!((0..500).all(|_| matches!(sampler.choose(&logits), 1 | 3)));
    }

    #[test]
    fn options_out_of_range_are_refused() {
        for (temperature, top_p) in [(-1.0, 1.0), (f32::NAN, 1.0), (1.0, 0.0), (1.0, 1.5)] {
            assert!(Sampler::new(Sampling { temperature, top_p, seed: 0 }).is_err());
        }
    }
}
