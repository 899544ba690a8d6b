//! The rotations that tell positions apart.

use crate::Config;

/// Cosines and sines for S positions, each `[S, E/2]`, row-major: inputs `rope_cos` and
/// `rope_sin` of the layer functions.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeTables {
    /// cos(position · θ^(−2i/E)).
    pub cos: Vec<f32>,
    /// sin(position · θ^(−2i/E)).
    pub sin: Vec<f32>,
}

/// The tables of positions `start..start + seq`.
///
/// Angles are taken in f64: at the far end of a long context an f32 angle is wrong in the third
/// digit.
pub fn rope_tables(config: &Config, start: usize, seq: usize) -> RopeTables {
    let pairs = config.head_dim / 2;
    let frequency = |i: usize| config.rope_theta.powf(-2.0 * i as f64 / config.head_dim as f64);
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
