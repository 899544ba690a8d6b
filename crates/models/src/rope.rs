//! The rotations that tell positions apart.

use crate::config::{LARGEST, positive};
use crate::{Config, Error};
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// How the frequencies of a model that was trained on short sequences are lowered for longer ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum RopeScaling {
    /// Every frequency is divided, as if positions lay closer ([Chen et al., 2023]).
    ///
    /// [Chen et al., 2023]: https://arxiv.org/abs/2306.15595
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Slow frequencies are divided, fast ones stay, and those between are blended: Llama 3.1 and
    /// later.
    ///
    /// With r the rotations that a frequency makes over the original context, it is divided by
    /// `factor` if r < `low_freq_factor`, kept if r > `high_freq_factor`, and between the two goes
    /// linearly in r from the one to the other.
    Llama3 {
        /// The divisor of slow frequencies.
        factor: f64,
        /// Rotations over the original context below which a frequency is slow.
        low_freq_factor: f64,
        /// Rotations over the original context above which a frequency is fast.
        high_freq_factor: f64,
        /// The original context, in tokens.
        original_max_seq: usize,
    },
}

impl RopeScaling {
    /// Checks that the numbers make sense.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        match *self {
            RopeScaling::Linear { factor } => positive("rope_scaling.factor", factor),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_seq } => {
                positive("rope_scaling.factor", factor)?;
                positive("rope_scaling.low_freq_factor", low_freq_factor)?;
                positive("rope_scaling.high_freq_factor", high_freq_factor)?;
                if low_freq_factor >= high_freq_factor {
                    let expected = format!(
                        "it must be less than `high_freq_factor`, which is {high_freq_factor}"
                    );
                    let field = "rope_scaling.low_freq_factor";
                    return Err(Error::config(field, low_freq_factor, expected));
                }
                if original_max_seq == 0 || original_max_seq > LARGEST {
                    let field = "rope_scaling.original_max_seq";
                    let expected = format!("it must be from 1 to {LARGEST}");
                    return Err(Error::config(field, original_max_seq, expected));
                }
                Ok(())
            }
        }
    }

    /// What becomes of a frequency, in radians per position.
    fn apply(&self, frequency: f64) -> f64 {
        match *self {
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_seq } => {
                let rotations = original_max_seq as f64 * frequency / TAU;
                let kept = (rotations - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let kept = kept.clamp(0.0, 1.0);
                frequency * (kept + (1.0 - kept) / factor)
            }
        }
    }
}

/// Cosines and sines for S positions, each `[S, E/2]`, row-major: inputs `rope_cos` and
/// `rope_sin` of the layer functions.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeTables {
    /// cos(position · θ^(−2i/E)), the frequency scaled as the model says.
    pub cos: Vec<f32>,
    /// sin(position · θ^(−2i/E)), likewise.
    pub sin: Vec<f32>,
}

/// The tables of positions `start..start + seq`.
///
/// Angles are taken in f64: at the far end of a long context an f32 angle is wrong in the third
/// digit.
pub fn rope_tables(config: &Config, start: usize, seq: usize) -> RopeTables {
    let pairs = config.head_dim / 2;
    let frequency = |i: usize| {
        let frequency = config.rope_theta.powf(-2.0 * i as f64 / config.head_dim as f64);
        config.rope_scaling.map_or(frequency, |scaling| scaling.apply(frequency))
    };
    let frequencies: Vec<f64> = (0..pairs).map(frequency).collect();
    let (cos, sin) = (start..start + seq)
        .flat_map(|position| frequencies.iter().map(move |f| position as f64 * f))
        .map(|angle| (angle.cos() as f32, angle.sin() as f32))
        .unzip();
    RopeTables { cos, sin }
}

/// How to reorder a head so that a model of [`RopeStyle::Interleaved`](crate::RopeStyle) computes
/// the same with [`RopeStyle::Halves`](crate::RopeStyle): element i of the new head is element
/// `order[i]` of the old one.
///
/// It applies to the rows of every head in `wq` and `wk`, and to `q_norm` and `k_norm`. Readers of
/// Hugging Face checkpoints know the halves only.
pub fn halves_from_interleaved(head_dim: usize) -> Vec<usize> {
    (0..head_dim).step_by(2).chain((1..head_dim).step_by(2)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_begin_at_any_position() {
        let config = Config::preset("tiny").expect("the preset is there");
        let pairs = config.head_dim / 2;
        let whole = rope_tables(&config, 0, 9);
        assert_eq!(whole.cos.len(), 9 * pairs);
        assert!(whole.cos[..pairs].iter().all(|&c| c == 1.0));
        assert!(whole.sin[..pairs].iter().all(|&s| s == 0.0));
        // The first pair turns by one radian per position, the next by θ^(−2/E).
        assert_eq!(whole.sin[3 * pairs], 3f64.sin() as f32);
        let slower = 3.0 * 10_000f64.powf(-2.0 / 32.0);
        assert_eq!(whole.cos[3 * pairs + 1], slower.cos() as f32);
        let part = rope_tables(&config, 5, 4);
        assert_eq!(part.cos, whole.cos[5 * pairs..]);
        assert_eq!(part.sin, whole.sin[5 * pairs..]);
    }
}
