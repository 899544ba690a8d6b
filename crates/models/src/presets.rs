//! Models that are known by name.

use crate::{Activation, Architecture, AttentionBias, Config, RopeScaling, RopeStyle};

/// The presets: adding a model of a family is adding a row.
///
/// `tiny` is sized to learn to write stories within minutes on two cores. The `stories` models
/// are those trained with llama2.c on TinyStories; the others are the published checkpoints of these
/// names, `mistral-7b` in its first version.
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
    (
        "smollm2-135m",
        Config {
            dim: 576,
            layers: 30,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            hidden: 1536,
            vocab: 49_152,
            max_seq: 8192,
            rope_theta: 1e5,
            tied: true,
            ..Config::LLAMA
        },
    ),
    (
        "llama3.2-1b",
        Config {
            dim: 2048,
            layers: 16,
            heads: 32,
            kv_heads: 8,
            head_dim: 64,
            hidden: 8192,
            vocab: 128_256,
            max_seq: 131_072,
            rope_theta: 5e5,
            rope_scaling: Some(RopeScaling::Llama3 {
                factor: 32.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_seq: 8192,
            }),
            tied: true,
            ..Config::LLAMA
        },
    ),
    (
        "qwen2.5-0.5b",
        Config {
            dim: 896,
            layers: 24,
            heads: 14,
            kv_heads: 2,
            head_dim: 64,
            hidden: 4864,
            vocab: 151_936,
            max_seq: 32_768,
            rope_theta: 1e6,
            norm_eps: 1e-6,
            tied: true,
            attention_bias: AttentionBias::Inputs,
            ..Config::LLAMA
        },
    ),
    (
        "mistral-7b",
        Config {
            dim: 4096,
            layers: 32,
            heads: 32,
            kv_heads: 8,
            head_dim: 128,
            hidden: 14_336,
            vocab: 32_000,
            max_seq: 32_768,
            sliding_window: Some(4096),
            ..Config::LLAMA
        },
    ),
    (
        "gemma-2b",
        Config {
            dim: 2048,
            layers: 18,
            heads: 8,
            kv_heads: 1,
            head_dim: 256,
            hidden: 16_384,
            vocab: 256_000,
            max_seq: 8192,
            norm_eps: 1e-6,
            tied: true,
            norm_plus_one: true,
            embedding_scale: true,
            activation: Activation::GeluTanh,
            ..Config::LLAMA
        },
    ),
    (
        "gpt2",
        Config {
            dim: 768,
            layers: 12,
            heads: 12,
            kv_heads: 12,
            head_dim: 64,
            hidden: 3072,
            vocab: 50_257,
            max_seq: 1024,
            tied: true,
            activation: Activation::GeluTanh,
            architecture: Architecture::Gpt2,
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
            ("smollm2-135m", 134_515_008),
            ("llama3.2-1b", 1_235_814_400),
            ("qwen2.5-0.5b", 494_032_768),
            ("mistral-7b", 7_241_732_096),
            ("gemma-2b", 2_506_172_416),
            ("gpt2", 124_439_808),
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
