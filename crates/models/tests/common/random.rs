//! Small models and values that look random.

use super::{Array, Named};
use models::{Config, RopeStyle};

/// Values in [−1, 1) that look random; the same for a seed.
pub fn noise(dims: &[usize], seed: u64) -> Array {
    let mut state = seed;
    let mut next = || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    Array::new(dims, (0..dims.iter().product()).map(|_| next()).collect())
}

/// A model in which no two sizes are the same.
pub fn small() -> Config {
    Config {
        dim: 12,
        layers: 2,
        heads: 6,
        kv_heads: 2,
        head_dim: 4,
        hidden: 20,
        vocab: 11,
        max_seq: 32,
        rope_theta: 10_000.0,
        rope: RopeStyle::Halves,
        norm_eps: 1e-5,
        tied: true,
        qk_norm: false,
        rope_scaling: None,
    }
}

/// Parameters that look random.
pub fn random_parameters(config: &Config) -> Named {
    let all = models::parameters(config).expect("the configuration is valid");
    let all = all.iter().enumerate();
    all.map(|(i, p)| (p.name.clone(), noise(&p.dims, i as u64))).collect()
}
