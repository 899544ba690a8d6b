//! The families of models that have names, by their options.

use super::{Architecture, AttentionBias, Config, RopeStyle};
use crate::Error;

impl Config {
    /// The family that has these options, as `model_type` in `config.json` calls it: `llama`,
    /// `mistral`, `qwen2`, `qwen3`, `gemma` or `gpt2`.
    ///
    /// A Mistral without a window computes what a Llama does, and is called one.
    pub fn model_type(&self) -> &'static str {
        match self {
            Config { architecture: Architecture::Gpt2, .. } => "gpt2",
            Config { norm_plus_one: true, .. } | Config { embedding_scale: true, .. } => "gemma",
            Config { qk_norm: true, .. } => "qwen3",
            Config { attention_bias: AttentionBias::Inputs, .. } => "qwen2",
            Config { sliding_window: Some(_), .. } => "mistral",
            _ => "llama",
        }
    }

    /// Refuses options that no family has together: no checkpoint could say them.
    pub(super) fn check_family(&self) -> Result<(), Error> {
        let family = self.model_type();
        let only = |families: &[&str]| families.contains(&family);
        let bias = match self.attention_bias {
            AttentionBias::None => !only(&["qwen2"]),
            AttentionBias::Inputs => only(&["qwen2"]),
            AttentionBias::All => only(&["llama", "qwen3", "gemma"]),
        };
        let no = "not offered".to_owned();
        let window = self.sliding_window.map_or(no.clone(), |window| window.to_string());
        let flag = |flag: bool| flag.to_string();
        let fits = [
            ("attention_bias", format!("{:?}", self.attention_bias), bias),
            ("mlp_bias", flag(self.mlp_bias), !self.mlp_bias || only(&["llama"])),
            ("sliding_window", window, self.sliding_window.is_none() || only(&["mistral"])),
            ("qk_norm", flag(self.qk_norm), !self.qk_norm || only(&["qwen3"])),
            ("norm_plus_one", flag(self.norm_plus_one), self.norm_plus_one == only(&["gemma"])),
            (
                "embedding_scale",
                flag(self.embedding_scale),
                self.embedding_scale == only(&["gemma"]),
            ),
        ];
        if let Some((field, found, _)) = fits.into_iter().find(|(_, _, fits)| !fits) {
            let expected =
                format!("the other options are those of {family}, which has it otherwise");
            return Err(Error::config(field, found, expected));
        }
        match self.architecture {
            Architecture::Llama => Ok(()),
            Architecture::Gpt2 => self.check_gpt2(),
        }
    }

    /// Refuses what the files of GPT-2 cannot say.
    fn check_gpt2(&self) -> Result<(), Error> {
        let refuse = |field, found: String, expected: String| {
            Err(Error::config(field, found, format!("in gpt2 it must be {expected}")))
        };
        let Config { dim, heads, kv_heads, head_dim, .. } = *self;
        if kv_heads != heads {
            return refuse("kv_heads", kv_heads.to_string(), format!("`heads`, which is {heads}"));
        }
        if heads.checked_mul(head_dim) != Some(dim) {
            let expected = format!("`dim` by `heads`, which are {dim} and {heads}");
            return refuse("head_dim", head_dim.to_string(), expected);
        }
        if dim.checked_mul(3).is_none_or(|fused| fused > super::LARGEST) {
            return refuse("dim", dim.to_string(), "below 2^31 by 3".to_owned());
        }
        let plain = Config::LLAMA;
        if self.rope != RopeStyle::Halves || self.rope_theta != plain.rope_theta {
            let found = format!("{} in {:?}", self.rope_theta, self.rope);
            return refuse(
                "rope_theta",
                found,
                format!("{} in Halves: nothing turns", plain.rope_theta),
            );
        }
        if self.rope_scaling.is_some() {
            return refuse(
                "rope_scaling",
                "given".to_owned(),
                "left out: nothing turns".to_owned(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RopeScaling;
    use crate::config::Activation;

    fn tiny() -> Config {
        Config::preset("tiny").expect("the preset is there")
    }

    fn gpt2() -> Config {
        let tiny = Config { kv_heads: 6, activation: Activation::GeluTanh, ..tiny() };
        Config { architecture: Architecture::Gpt2, ..tiny }
    }

    #[test]
    fn options_tell_the_family() {
        let inputs = AttentionBias::Inputs;
        let gemma = Config { norm_plus_one: true, embedding_scale: true, ..tiny() };
        let all = [
            (tiny(), "llama"),
            (Config { attention_bias: AttentionBias::All, mlp_bias: true, ..tiny() }, "llama"),
            (Config { attention_bias: inputs, ..tiny() }, "qwen2"),
            (Config { qk_norm: true, ..tiny() }, "qwen3"),
            (Config { sliding_window: Some(8), ..tiny() }, "mistral"),
            (gemma, "gemma"),
            (gpt2(), "gpt2"),
        ];
        for (config, family) in all {
            config.validate().expect(family);
            assert_eq!(config.model_type(), family);
        }
    }

    #[test]
    fn options_that_no_family_has_together_are_refused() {
        let (inputs, all) = (AttentionBias::Inputs, AttentionBias::All);
        let window = Some(8);
        let linear = Some(RopeScaling::Linear { factor: 2.0 });
        let of = |family: &str| {
            format!("the other options are those of {family}, which has it otherwise")
        };
        let cases = [
            (
                Config { qk_norm: true, attention_bias: inputs, ..tiny() },
                format!("`attention_bias` is Inputs; {}", of("qwen3")),
            ),
            (
                Config { sliding_window: window, attention_bias: all, ..tiny() },
                format!("`attention_bias` is All; {}", of("mistral")),
            ),
            (
                Config { qk_norm: true, mlp_bias: true, ..tiny() },
                format!("`mlp_bias` is true; {}", of("qwen3")),
            ),
            (
                Config { qk_norm: true, sliding_window: window, ..tiny() },
                format!("`sliding_window` is 8; {}", of("qwen3")),
            ),
            (
                Config { norm_plus_one: true, ..tiny() },
                format!("`embedding_scale` is false; {}", of("gemma")),
            ),
            (Config { qk_norm: true, ..gpt2() }, format!("`qk_norm` is true; {}", of("gpt2"))),
            (
                Config { kv_heads: 2, ..gpt2() },
                "`kv_heads` is 2; in gpt2 it must be `heads`, which is 6".to_owned(),
            ),
            (
                Config { head_dim: 16, ..gpt2() },
                "`head_dim` is 16; in gpt2 it must be `dim` by `heads`, which are 192 and 6"
                    .to_owned(),
            ),
            (
                Config { rope: RopeStyle::Interleaved, ..gpt2() },
                "`rope_theta` is 10000 in Interleaved; in gpt2 it must be 10000 in Halves: \
                 nothing turns"
                    .to_owned(),
            ),
            (
                Config { rope_scaling: linear, ..gpt2() },
                "`rope_scaling` is given; in gpt2 it must be left out: nothing turns".to_owned(),
            ),
            (
                Config { sliding_window: Some(0), ..tiny() },
                "`sliding_window` is 0; it must be from 1 to 2147483647".to_owned(),
            ),
        ];
        for (config, expected) in cases {
            assert_eq!(config.validate().expect_err(&expected).to_string(), expected);
        }
    }
}
