//! The families of models that have names, by their options.

use super::{AttentionBias, Config};
use crate::Error;

impl Config {
    /// The family that has these options, as `model_type` in `config.json` calls it: `llama`,
    /// `mistral`, `qwen2`, `qwen3` or `gemma`.
    ///
    /// A Mistral without a window computes what a Llama does, and is called one.
    pub fn model_type(&self) -> &'static str {
        match self {
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
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> Config {
        Config::preset("tiny").expect("the preset is there")
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
