//! Configurations as Hugging Face checkpoints keep them, in `config.json`.
//!
//! Whatever would make the model compute something else than this crate builds is refused by
//! name, never ignored.

mod keys;
mod rope;

use crate::{Config, Error, RopeStyle};
use keys::{flag, kind, number, size, text};
use serde_json::{Map, Value, json};

/// Our own key: other readers expect the halves, so its absence means them.
const ROPE_STYLE: &str = "rope_style";

impl Config {
    /// The configuration in a `config.json` of model type `llama` or `qwen3`.
    pub fn from_hugging_face(json: &Value) -> Result<Config, Error> {
        let Some(keys) = json.as_object() else {
            return Err(Error::config("config.json", kind(json), "it must be an object"));
        };
        let qwen3 = match text(keys, "model_type")?.ok_or(Error::Missing("model_type"))? {
            "llama" => false,
            "qwen3" => true,
            other => {
                return Err(Error::config("model_type", other, "only llama and qwen3 are offered"));
            }
        };
        refuse_what_is_not_built(keys)?;

        let dim = size(keys, "hidden_size")?.ok_or(Error::Missing("hidden_size"))?;
        let heads =
            size(keys, "num_attention_heads")?.ok_or(Error::Missing("num_attention_heads"))?;
        let head_dim = match size(keys, "head_dim")? {
            Some(width) => width,
            None if qwen3 => 128,
            None if heads > 0 && dim % heads == 0 => dim / heads,
            None => {
                let expected = format!("it must divide `hidden_size`, which is {dim}");
                return Err(Error::config("num_attention_heads", heads, expected));
            }
        };
        let config = Config {
            dim,
            layers: size(keys, "num_hidden_layers")?.ok_or(Error::Missing("num_hidden_layers"))?,
            heads,
            kv_heads: size(keys, "num_key_value_heads")?.unwrap_or(heads),
            head_dim,
            hidden: size(keys, "intermediate_size")?.ok_or(Error::Missing("intermediate_size"))?,
            vocab: size(keys, "vocab_size")?.ok_or(Error::Missing("vocab_size"))?,
            max_seq: size(keys, "max_position_embeddings")?.unwrap_or(if qwen3 {
                32_768
            } else {
                2048
            }),
            rope_theta: rope::theta(keys)?,
            rope: match text(keys, ROPE_STYLE)? {
                None | Some("halves") => RopeStyle::Halves,
                Some("interleaved") => RopeStyle::Interleaved,
                Some(other) => {
                    let expected = "it must be halves or interleaved";
                    return Err(Error::config(ROPE_STYLE, other, expected));
                }
            },
            norm_eps: number(keys, "rms_norm_eps")?.unwrap_or(1e-6),
            tied: flag(keys, "tie_word_embeddings")?.unwrap_or(false),
            qk_norm: qwen3,
            rope_scaling: rope::scaling(keys)?,
        };
        config.validate()?;
        Ok(config)
    }

    /// The `config.json` of a checkpoint; [`Config::from_hugging_face`] gives the same
    /// configuration back.
    ///
    /// Other readers know only [`RopeStyle::Halves`]: for them, reorder an interleaved model
    /// first, by [`halves_from_interleaved`](crate::halves_from_interleaved).
    pub fn to_hugging_face(&self) -> Value {
        let (model_type, architecture) = match self.qk_norm {
            true => ("qwen3", "Qwen3ForCausalLM"),
            false => ("llama", "LlamaForCausalLM"),
        };
        let mut json = json!({
            "architectures": [architecture],
            "attention_bias": false,
            "attention_dropout": 0.0,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.dim,
            "intermediate_size": self.hidden,
            "max_position_embeddings": self.max_seq,
            "model_type": model_type,
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "rms_norm_eps": self.norm_eps,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tied,
            "torch_dtype": "float32",
            "vocab_size": self.vocab,
        });
        if let Some(scaling) = &self.rope_scaling {
            json["rope_scaling"] = rope::written(scaling);
        }
        if self.rope == RopeStyle::Interleaved {
            json[ROPE_STYLE] = "interleaved".into();
        }
        json
    }
}

fn refuse_what_is_not_built(keys: &Map<String, Value>) -> Result<(), Error> {
    for key in ["attention_bias", "mlp_bias", "use_sliding_window"] {
        if flag(keys, key)? == Some(true) {
            return Err(Error::config(key, true, "only false is offered"));
        }
    }
    if let Some(activation) = text(keys, "hidden_act")?
        && activation != "silu"
    {
        return Err(Error::config("hidden_act", activation, "only silu is offered"));
    }
    if let Some(share) = number(keys, "partial_rotary_factor")?
        && share != 1.0
    {
        return Err(Error::config("partial_rotary_factor", share, "only 1 is offered"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PRESETS;

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
        json["rope_parameters"] = json!({ "rope_type": "default", "rope_theta": 1e6 });
        let qwen3 = Config::from_hugging_face(&json).expect("all that is needed is there");
        assert_eq!((qwen3.head_dim, qwen3.max_seq, qwen3.qk_norm), (128, 32_768, true));
        assert_eq!(qwen3.rope_theta, 1e6);
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        let tiny = Config::preset("tiny").expect("the preset is there").to_hugging_face();
        let cases = [
            ("model_type", json!("gpt2"), "`model_type` is gpt2; only llama and qwen3 are offered"),
            ("model_type", Value::Null, "`model_type` is missing"),
            ("hidden_size", json!(-3), "`hidden_size` is -3; expected a count"),
            ("hidden_size", json!([1]), "`hidden_size` is an array; expected a count"),
            ("vocab_size", Value::Null, "`vocab_size` is missing"),
            ("attention_bias", json!(true), "`attention_bias` is true; only false is offered"),
            ("hidden_act", json!("gelu"), "`hidden_act` is gelu; only silu is offered"),
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
