//! Models that are known by name.

use crate::{Config, RopeStyle};

/// The presets: adding a model of the family is adding a row.
///
/// `tiny` is sized to learn to write stories within minutes on two cores. The `stories` models
/// are those trained with llama2.c on TinyStories; `qwen3-0.6b` is the checkpoint of that name.
pub const PRESETS: &[(&str, Config)] = &[
    (
        "tiny",
        Config {
            dim: 192,
            layers: 4,
            heads: 6,
            kv_heads: 2,
            head_dim: 32,
            hidden: 512,
            vocab: 1024,
            max_seq: 256,
            tied: true,
            ..Config::LLAMA
        },
    ),
    ("stories15m", stories(288, 6, 6, 768, 256)),
    ("stories42m", stories(512, 8, 8, 1376, 1024)),
    ("stories110m", stories(768, 12, 12, 2048, 1024)),
    (
        "qwen3-0.6b",
        Config {
            dim: 1024,
            layers: 28,
            heads: 16,
            kv_heads: 8,
            head_dim: 128,
            hidden: 3072,
            vocab: 151_936,
            max_seq: 40_960,
            rope_theta: 1e6,
            norm_eps: 1e-6,
            tied: true,
            qk_norm: true,
            ..Config::LLAMA
        },
    ),
];

const fn stories(dim: usize, layers: usize, heads: usize, hidden: usize, max_seq: usize) -> Config {
    Config {
        dim,
        layers,
        heads,
        kv_heads: heads,
        head_dim: dim / heads,
        hidden,
        vocab: 32_000,
        max_seq,
        rope: RopeStyle::Interleaved,
        tied: true,
        ..Config::LLAMA
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters;

    #[test]
    fn presets_are_valid_and_have_the_published_sizes() {
        let expected = [
            ("tiny", 1_771_200),
            ("stories15m", 15_191_712),
            ("stories42m", 41_689_600),
            ("stories110m", 109_529_856),
            ("qwen3-0.6b", 596_049_920),
        ];
        for ((name, config), expected) in PRESETS.iter().zip(expected) {
            let count = config.parameter_count().expect("presets are valid");
            assert_eq!((*name, count), expected);
            let listed = parameters(config).expect("presets are valid");
            let listed: usize = listed.iter().map(|p| p.dims.iter().product::<usize>()).sum();
            assert_eq!(listed, count, "{name}");
        }
        assert_eq!(PRESETS.len(), expected.len());
    }
}
