//! Loss scaling: fp16 has no numbers between 0 and 6·10⁻⁸, where most of a gradient is.
//!
//! The loss is multiplied by a factor before it is differentiated, so that gradients on their way
//! through fp16 are larger by it; the optimizer divides them again, in fp32. Too large a factor
//! shows as a gradient that is not finite: the step is left out, and a dynamic factor is halved.
//! It is doubled again after many good steps, so that it stays near the largest that serves.

use serde::{Deserialize, Serialize};

/// How the loss is scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LossScale {
    /// Not at all.
    #[default]
    None,
    /// By this factor. A power of two changes no digit of what is computed in fp32.
    Static(f32),
    /// By a factor that finds its size.
    Dynamic {
        /// The first factor.
        initial: f32,
        /// Good steps before it is doubled.
        growth_interval: u64,
    },
}

impl LossScale {
    /// What serves a model of this depth in fp16 to begin with: 256 for every layer, for gradients
    /// get smaller with every layer that they go through.
    pub fn usual(layers: usize) -> f32 {
        (256.0 * layers as f32).min(LARGEST)
    }
}

/// Bounds of every factor. Below 1 scaling would do harm; at the upper bound even 2⁻²⁴, the least
/// of fp16, has become 1, so that nothing more is to be won.
pub const SMALLEST: f32 = 1.0;
/// See [`SMALLEST`].
pub const LARGEST: f32 = (1 << 24) as f32;

/// Good steps before a dynamic factor is doubled, if nothing else is asked for: at most one step
/// in so many is lost to trying a factor that is too large.
pub const GROWTH_INTERVAL: u64 = 500;

/// Where a dynamic factor is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleState {
    /// The factor.
    pub scale: f32,
    /// Good steps since it last changed.
    pub good_steps: u64,
}

/// A factor that is not between the bounds.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("the loss scale is {0}; it must be a number from {SMALLEST} to {LARGEST}")]
pub struct OutOfBounds(pub f32);

/// The factor of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scaler {
    how: LossScale,
    state: ScaleState,
}

impl Scaler {
    /// The factor at the start of a run, or where `state` says that a dynamic one was.
    pub fn new(how: LossScale, state: Option<ScaleState>) -> Result<Scaler, OutOfBounds> {
        let from = |scale| ScaleState { scale, good_steps: 0 };
        let state = match (how, state) {
            (LossScale::None, _) => from(1.0),
            (LossScale::Static(scale), _) => from(scale),
            (LossScale::Dynamic { .. }, Some(state)) => state,
            (LossScale::Dynamic { initial, .. }, None) => from(initial),
        };
        // The comparison is false for NaN.
        match (SMALLEST..=LARGEST).contains(&state.scale) {
            true => Ok(Scaler { how, state }),
            false => Err(OutOfBounds(state.scale)),
        }
    }

    /// What the loss is multiplied by now.
    pub fn scale(&self) -> f32 {
        self.state.scale
    }

    /// The factor, if the loss is scaled.
    pub fn reported(&self) -> Option<f64> {
        (self.how != LossScale::None).then_some(f64::from(self.state.scale))
    }

    /// What a checkpoint must know.
    pub fn state(&self) -> Option<ScaleState> {
        matches!(self.how, LossScale::Dynamic { .. }).then_some(self.state)
    }

    /// To be called after every step: was its gradient finite?
    pub fn after(&mut self, finite: bool) {
        let LossScale::Dynamic { growth_interval, .. } = self.how else { return };
        let ScaleState { scale, good_steps } = self.state;
        self.state = if !finite {
            ScaleState { scale: (scale / 2.0).max(SMALLEST), good_steps: 0 }
        } else if good_steps + 1 >= growth_interval {
            ScaleState { scale: (scale * 2.0).min(LARGEST), good_steps: 0 }
        } else {
            ScaleState { scale, good_steps: good_steps + 1 }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scales(how: LossScale, finite: &[bool]) -> Vec<f32> {
        let mut scaler = Scaler::new(how, None).expect("the factor is in bounds");
        let after = |&finite: &bool| {
            scaler.after(finite);
            scaler.scale()
        };
        finite.iter().map(after).collect()
    }

    #[test]
    fn a_dynamic_factor_is_halved_at_once_and_doubled_after_enough_good_steps() {
        let how = LossScale::Dynamic { initial: 8.0, growth_interval: 3 };
        let (good, bad) = (true, false);
        let steps = [good, good, good, good, bad, good, good, bad, bad, good, good, good];
        let expected = [8.0, 8.0, 16.0, 16.0, 8.0, 8.0, 8.0, 4.0, 2.0, 2.0, 2.0, 4.0];
        assert_eq!(scales(how, &steps), expected);
    }

    #[test]
    fn a_factor_stays_within_its_bounds() {
        let how = LossScale::Dynamic { initial: 3.0, growth_interval: 1 };
        assert_eq!(scales(how, &[false; 3]), [1.5, 1.0, 1.0]);
        assert_eq!(scales(how, &[true; 40])[39], LARGEST);
        // An interval of 0 is one of 1.
        let how = LossScale::Dynamic { initial: 3.0, growth_interval: 0 };
        assert_eq!(scales(how, &[true]), [6.0]);
    }

    #[test]
    fn a_static_factor_never_changes() {
        assert_eq!(scales(LossScale::Static(5.0), &[true, false]), [5.0, 5.0]);
        assert_eq!(scales(LossScale::None, &[true, false]), [1.0, 1.0]);
    }

    #[test]
    fn factors_that_no_one_can_mean_are_refused() {
        for scale in [0.0, -8.0, 0.5, f32::NAN, f32::INFINITY, 1e8] {
            assert!(Scaler::new(LossScale::Static(scale), None).is_err(), "{scale}");
            let how = LossScale::Dynamic { initial: scale, growth_interval: 9 };
            assert!(Scaler::new(how, None).is_err(), "{scale}");
            let how = LossScale::Dynamic { initial: 8.0, growth_interval: 9 };
            let state = ScaleState { scale, good_steps: 0 };
            assert!(Scaler::new(how, Some(state)).is_err(), "{scale}");
        }
        let error = Scaler::new(LossScale::Static(0.5), None).expect_err("it is too small");
        assert_eq!(
            error.to_string(),
            "the loss scale is 0.5; it must be a number from 1 to 16777216"
        );
    }
}
