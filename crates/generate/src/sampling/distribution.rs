//! From scores to the tokens that are drawn from.

use super::Sampling;

/// Tokens with weights, which are their probabilities up to a factor.
#[derive(Clone, Debug, Default)]
pub struct Distribution {
    candidates: Vec<(f32, u32)>,
    total: f64,
}

impl Distribution {
    /// The softmax of the scores over the temperature, cut as is asked for. It always has a token.
    pub fn fill(&mut self, scores: &[f32], sampling: &Sampling) {
        let Sampling { temperature, top_k, top_p, min_p, .. } = *sampling;
        let best = best_of(scores);
        let top = scores.get(best as usize).copied().unwrap_or_default();
        self.candidates.clear();
        if temperature > 0.0 && top.is_finite() {
            // The best has the weight 1.
            let weights = scores.iter().map(|&score| ((score - top) / temperature).exp());
            self.candidates.extend(weights.zip(0..).filter(|&(weight, _)| weight > 0.0));
        }
        if self.candidates.is_empty() {
            self.candidates.push((1.0, best));
        }
        if (1..self.candidates.len()).contains(&top_k) {
            let (_, last, _) =
                self.candidates.select_nth_unstable_by(top_k - 1, |a, b| b.0.total_cmp(&a.0));
            let least = last.0;
            self.candidates.retain(|&(weight, _)| weight >= least);
        }
        if top_p < 1.0 {
            self.keep_share(f64::from(top_p));
        }
        if min_p > 0.0 {
            self.candidates.retain(|&(weight, _)| weight >= min_p);
        }
        // What is drawn must not depend on how the cuts went about it.
        if top_k > 0 {
            self.candidates.sort_unstable_by_key(|&(_, token)| token);
        }
        self.total = self.sum();
    }

    /// Keeps the most probable ones that together reach a share of the whole.
    fn keep_share(&mut self, share: f64) {
        let total = self.sum();
        // Even all together, those below this do not reach what is cut off; there are many.
        let floor = (1.0 - share) * total / self.candidates.len() as f64;
        self.candidates.retain(|&(weight, _)| f64::from(weight) > floor);
        // Ties go to the lower token.
        self.candidates.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut before = 0.0;
        let enough = self.candidates.iter().position(|&(weight, _)| {
            let reached = before >= share * total;
            before += f64::from(weight);
            reached
        });
        self.candidates.truncate(enough.unwrap_or(self.candidates.len()));
    }

    fn sum(&self) -> f64 {
        self.candidates.iter().map(|&(weight, _)| f64::from(weight)).sum()
    }

    /// The token at a point in [0, 1) of the cumulative distribution.
    pub fn at(&self, point: f64) -> u32 {
        let mut rest = point * self.total;
        for &(weight, token) in &self.candidates {
            rest -= f64::from(weight);
            if rest < 0.0 {
                return token;
            }
        }
        self.candidates.last().expect("there is always one").1
    }

    /// The tokens with their probabilities.
    pub fn probabilities(&self) -> Vec<(u32, f64)> {
        let probability = |&(weight, token): &(f32, u32)| (token, f64::from(weight) / self.total);
        self.candidates.iter().map(probability).collect()
    }
}

/// The index of the largest score; the first of equal ones, and of those that are no numbers.
fn best_of(scores: &[f32]) -> u32 {
    let mut best = 0;
    for (token, &score) in scores.iter().enumerate() {
        if score > scores[best] || scores[best].is_nan() && !score.is_nan() {
            best = token;
        }
    }
    best as u32
}
