//! Configurations as Hugging Face checkpoints keep them, in `config.json`.
//!
//! Whatever would make the model compute something else than this crate builds is refused by
//! name, never ignored.

mod gpt2;
pub(crate) mod keys;
mod llama;
mod rope;

use crate::{Architecture, Config, Error};
use keys::{kind, text};
use serde_json::Value;

impl Config {
    /// The configuration in a `config.json` of model type `llama`, `mistral`, `qwen2`, `qwen3`,
    /// `gemma` or `gpt2`.
    pub fn from_hugging_face(json: &Value) -> Result<Config, Error> {
        let Some(keys) = json.as_object() else {
            return Err(Error::config("config.json", kind(json), "it must be an object"));
        };
        let model_type = text(keys, "model_type")?.ok_or(Error::Missing("model_type"))?;
        let config = match model_type {
            "gpt2" => gpt2::read(keys)?,
            _ => llama::read(model_type, keys)?.ok_or_else(|| {
                let expected = "only llama, mistral, qwen2, qwen3, gemma and gpt2 are offered";
                Error::config("model_type", model_type, expected)
            })?,
        };
        config.validate()?;
        Ok(config)
    }

    /// The `config.json` of a checkpoint; [`Config::from_hugging_face`] gives the same
    /// configuration back.
    ///
    /// Other readers know only [`RopeStyle::Halves`](crate::RopeStyle::Halves): for them, reorder
    /// an interleaved model first, by
    /// [`halves_from_interleaved`](crate::halves_from_interleaved).
    pub fn to_hugging_face(&self) -> Value {
        match self.architecture {
            Architecture::Llama => llama::written(self),
            Architecture::Gpt2 => gpt2::written(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, AttentionBias, PRESETS, RopeStyle};
    use serde_json::json;

    #[test]
    fn every_preset_survives_the_way_there_and_back() {
        for (name, config) in PRESETS {
            let back = Config::from_hugging_face(&config.to_hugging_face());
            assert_eq!(back.expect(name), *config);
        }
    }

    #[test]
    fn defaults_are_those_of_the_model_type() {
        let mut json = json!({
            "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "intermediate_size": 100, "vocab_size": 50,
            "rope_scaling": null,
        });
        let llama = Config::from_hugging_face(&json).expect("all that is needed is there");
        assert_eq!((llama.kv_heads, llama.head_dim, llama.max_seq), (4, 16, 2048));
        assert_eq!((llama.rope_theta, llama.norm_eps), (10_000.0, 1e-6));
        assert_eq!((llama.rope, llama.tied, llama.qk_norm), (RopeStyle::Halves, false, false));
        json["model_type"] = "qwen3".into();
        json["num_key_value_heads"] = 4.into();
        json["rope_parameters"] = json!({ "rope_type": "default", "rope_theta": 1e6 });
        let qwen3 = Config::from_hugging_face(&json).expect("all that is needed is there");
        assert_eq!((qwen3.head_dim, qwen3.max_seq, qwen3.qk_norm), (128, 32_768, true));
        assert_eq!(qwen3.rope_theta, 1e6);
    }

    #[test]
    fn every_family_survives_the_way_there_and_back() {
        let tiny = Config::preset("tiny").expect("the preset is there");
        let (inputs, all) = (AttentionBias::Inputs, AttentionBias::All);
        let gemma = Config {
            norm_plus_one: true,
            embedding_scale: true,
            activation: Activation::GeluTanh,
            ..tiny
        };
        let configs = [
            Config { attention_bias: all, mlp_bias: true, ..tiny },
            Config { activation: Activation::GeluTanh, tied: false, ..tiny },
            Config { attention_bias: inputs, ..tiny },
            Config { attention_bias: all, qk_norm: true, ..tiny },
            Config { sliding_window: Some(7), tied: false, ..tiny },
            gemma,
            Config { attention_bias: all, tied: false, activation: Activation::Silu, ..gemma },
        ];
        for config in configs {
            let json = config.to_hugging_face();
            assert_eq!(json["model_type"], config.model_type());
            assert_eq!(Config::from_hugging_face(&json).expect("it is read"), config);
            let own = serde_json::to_value(config).expect("it is written");
            assert_eq!(serde_json::from_value::<Config>(own).expect("it is read"), config);
        }
    }

    /// A file with the least that it must say.
    fn least(model_type: &str) -> Value {
        json!({
            "model_type": model_type, "hidden_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 32, "intermediate_size": 100, "vocab_size": 50,
        })
    }

    #[test]
    fn what_a_file_leaves_out_is_as_the_family_has_it() {
        let read = |json: &Value| Config::from_hugging_face(json).expect("it is read");
        let sizes = |c: &Config| (c.kv_heads, c.head_dim, c.max_seq);
        let mut json = least("mistral");
        let mistral = read(&json);
        assert_eq!((sizes(&mistral), mistral.tied), ((8, 2, 131_072), false));
        assert_eq!(mistral.sliding_window, Some(4096));
        json["sliding_window"] = Value::Null;
        json["num_key_value_heads"] = Value::Null;
        let mistral = read(&json);
        assert_eq!((mistral.sliding_window, mistral.kv_heads), (None, 32));
        assert_eq!(mistral.model_type(), "llama");

        let mut json = least("qwen2");
        // Files of Qwen2 have a window and say that it is not used.
        json["sliding_window"] = json!(4096);
        json["use_sliding_window"] = json!(false);
        let qwen2 = read(&json);
        assert_eq!((sizes(&qwen2), qwen2.tied), ((32, 2, 32_768), false));
        assert_eq!((qwen2.sliding_window, qwen2.attention_bias), (None, AttentionBias::Inputs));

        let mut json = least("gemma");
        for (key, value) in
            [("hidden_act", json!("gelu")), ("hidden_activation", json!("gelu_pytorch_tanh"))]
        {
            let gemma = read(&json);
            assert_eq!((sizes(&gemma), gemma.tied), ((16, 256, 8192), true));
            assert_eq!(gemma.activation, Activation::GeluTanh);
            assert!(gemma.norm_plus_one && gemma.embedding_scale);
            json[key] = value;
        }
        assert_eq!(read(&json).activation, Activation::GeluTanh);
    }

    #[test]
    fn what_only_other_families_have_is_refused() {
        for (model_type, key) in [
            ("mistral", "attention_bias"),
            ("qwen2", "attention_bias"),
            ("qwen3", "mlp_bias"),
            ("gemma", "use_bidirectional_attention"),
        ] {
            let mut json = least(model_type);
            json[key] = json!(true);
            let error = Config::from_hugging_face(&json).expect_err(key).to_string();
            assert_eq!(error, format!("`{key}` is true; only false is offered"));
        }
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        let tiny = Config::preset("tiny").expect("the preset is there").to_hugging_face();
        let cases = [
            (
                "model_type",
                json!("gemma2"),
                "`model_type` is gemma2; only llama, mistral, qwen2, qwen3, gemma and gpt2 are \
                 offered",
            ),
            ("model_type", Value::Null, "`model_type` is missing"),
            ("hidden_size", json!(-3), "`hidden_size` is -3; expected a count"),
            ("hidden_size", json!([1]), "`hidden_size` is an array; expected a count"),
            ("vocab_size", Value::Null, "`vocab_size` is missing"),
            (
                "use_sliding_window",
                json!(true),
                "`use_sliding_window` is true; only false is offered",
            ),
            (
                "hidden_act",
                json!("relu"),
                "`hidden_act` is relu; only silu and gelu_pytorch_tanh are offered",
            ),
            (
                "final_logit_softcapping",
                json!(30),
                "`final_logit_softcapping` is 30; only null is offered",
            ),
            (
                "layer_types",
                json!(["full_attention", "sliding_attention"]),
                "`layer_types` is \"sliding_attention\"; only full_attention in every layer is \
                 offered",
            ),
            (
                "rope_scaling",
                json!({"rope_type": "yarn", "factor": 8.0}),
                "`rope_scaling` is yarn; only default, linear and llama3 are offered",
            ),
            (
                "rope_style",
                json!("thirds"),
                "`rope_style` is thirds; it must be halves or interleaved",
            ),
            (
                "num_key_value_heads",
                json!(5),
                "`kv_heads` is 5; it must divide `heads`, which is 6",
            ),
        ];
        for (key, value, expected) in cases {
            let mut json = tiny.clone();
            json[key] = value;
            let error = Config::from_hugging_face(&json).expect_err(key);
            assert_eq!(error.to_string(), expected);
        }
        let error = Config::from_hugging_face(&json!(3)).expect_err("no object");
        assert_eq!(error.to_string(), "`config.json` is 3; it must be an object");
    }
}
