//! The learning rate at every optimizer step.

use serde::{Deserialize, Serialize};

/// What the learning rate does after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Half a cosine, from the peak to the minimum at the last step.
    #[default]
    Cosine,
    /// Stays at the peak.
    Constant,
}

impl std::str::FromStr for Decay {
    type Err = UnknownDecay;

    fn from_str(text: &str) -> Result<Self, UnknownDecay> {
        match text {
            "cosine" => Ok(Self::Cosine),
            "constant" => Ok(Self::Constant),
            _ => Err(UnknownDecay(text.to_owned())),
        }
    }
}

/// The name of a schedule that there is not.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown schedule `{0}`: expected `cosine` or `constant`")]
pub struct UnknownDecay(String);

/// A learning rate as a function of the step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The largest rate, reached at the end of the warm-up.
    pub peak: f64,
    /// The smallest rate of the cosine as a part of the peak, 0 to 1.
    pub min_ratio: f64,
    /// How many steps the rate rises in a straight line before it reaches the peak.
    pub warmup: u64,
    /// How many optimizer steps the whole run has.
    pub steps: u64,
    /// What happens after the warm-up.
    pub decay: Decay,
}

impl Schedule {
    /// The rate of optimizer step `step`, counted from 0.
    ///
    /// The first step has a rate above 0 (`peak / (warmup + 1)`), step `warmup` has the peak, and
    /// the last step of the run and all after it have the minimum.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / (self.warmup as f64 + 1.0);
        }
        match self.decay {
            Decay::Constant => self.peak,
            Decay::Cosine => {
                let last = self.steps.saturating_sub(1);
                if last <= self.warmup {
                    return self.peak;
                }
                let part = (step - self.warmup) as f64 / (last - self.warmup) as f64;
                let height = 0.5 * (1.0 + (std::f64::consts::PI * part.min(1.0)).cos());
                self.peak * (self.min_ratio + (1.0 - self.min_ratio) * height)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSINE: Schedule =
        Schedule { peak: 1e-3, min_ratio: 0.1, warmup: 4, steps: 25, decay: Decay::Cosine };

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "found {found}, expected {expected}");
    }

    #[test]
    fn warms_up_in_a_straight_line() {
        for (step, expected) in [2e-4, 4e-4, 6e-4, 8e-4, 1e-3].into_iter().enumerate() {
            close(COSINE.rate(step as u64), expected);
        }
    }

    #[test]
    fn cosine_ends_at_the_minimum() {
        close(COSINE.rate(14), 1e-3 * (0.1 + 0.9 * 0.5));
        close(COSINE.rate(24), 1e-4);
        close(COSINE.rate(1_000), 1e-4);
        for step in 4..24 {
            assert!(COSINE.rate(step) > COSINE.rate(step + 1));
        }
    }

    #[test]
    fn constant_stays() {
        let constant = Schedule { decay: Decay::Constant, ..COSINE };
        close(constant.rate(4), 1e-3);
        close(constant.rate(1_000), 1e-3);
    }

    #[test]
    fn short_runs_have_finite_rates() {
        for (warmup, steps) in [(0, 0), (0, 1), (5, 3), (1, 2), (1, 1), (u64::MAX, 2)] {
            let schedule = Schedule { warmup, steps, ..COSINE };
            for step in 0..8 {
                let rate = schedule.rate(step);
                assert!(rate > 0.0 && rate <= 1e-3, "warmup {warmup} steps {steps}: {rate}");
            }
        }
    }

    #[test]
    fn names_are_read() {
        assert_eq!("cosine".parse(), Ok(Decay::Cosine));
        assert_eq!("constant".parse(), Ok(Decay::Constant));
        let error = "linear".parse::<Decay>().unwrap_err();
        assert_eq!(error.to_string(), "unknown schedule `linear`: expected `cosine` or `constant`");
    }
}
