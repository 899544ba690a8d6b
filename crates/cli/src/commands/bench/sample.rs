//! Repeated measurements.

use serde::Serialize;
use std::time::Instant;

/// What repetitions gave.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// The middle one.
    #[serde(rename = "value")]
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many there were.
    pub repetitions: usize,
}

impl Spread {
    /// Of some measurements; of none, all are zero.
    pub fn of(values: &[f64]) -> Spread {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        Spread {
            median: at(values.len() / 2),
            min: at(0),
            max: at(values.len().saturating_sub(1)),
            repetitions: values.len(),
        }
    }

    /// The same measurements in another unit: `f` applied to each, rising or falling.
    pub fn map(self, f: impl Fn(f64) -> f64) -> Spread {
        let (a, b) = (f(self.min), f(self.max));
        Spread { median: f(self.median), min: a.min(b), max: a.max(b), ..self }
    }
}

/// Seconds that one call of `f` takes, of `repeats` in a row.
pub fn seconds(repeats: usize, mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..repeats).for_each(|_| f());
    start.elapsed().as_secs_f64().max(1e-9) / repeats.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ends_are_found_and_turn_with_the_unit() {
        let spread = Spread::of(&[4.0, 1.0, 2.0]);
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.0, 4.0));
        let rate = spread.map(|seconds| 8.0 / seconds);
        assert_eq!((rate.min, rate.median, rate.max), (2.0, 4.0, 8.0));
        assert_eq!(Spread::of(&[]).repetitions, 0);
    }
}
