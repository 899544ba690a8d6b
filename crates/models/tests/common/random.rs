//! Small models and values that look random.

use super::{Array, Named};
use models::{Activation, Architecture, AttentionBias, Config, RopeStyle};

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
        tied: true,
        ..Config::LLAMA
    }
}

/// One model of every family, and of every option that a family may have.
pub fn families() -> Vec<Config> {
    let plain = small();
    let gemma = Config { norm_plus_one: true, embedding_scale: true, ..plain };
    vec![
        Config { rope: RopeStyle::Interleaved, ..plain },
        Config { attention_bias: AttentionBias::All, mlp_bias: true, ..plain },
        Config { sliding_window: Some(3), ..plain },
        Config { attention_bias: AttentionBias::Inputs, ..plain },
        Config { qk_norm: true, ..plain },
        Config { activation: Activation::GeluTanh, ..gemma },
        Config {
            kv_heads: 6,
            head_dim: 2,
            activation: Activation::GeluTanh,
            architecture: Architecture::Gpt2,
            ..plain
        },
    ]
}

/// Parameters that look random.
pub fn random_parameters(config: &Config) -> Named {
    let all = models::parameters(config).expect("the configuration is valid");
    let all = all.iter().enumerate();
    all.map(|(i, p)| (p.name.clone(), noise(&p.dims, i as u64))).collect()
}
