//! Files of GPT-2.

use super::keys::{flag, number, size, text};
use crate::{Activation, Architecture, Config, Error};
use serde_json::{Map, Value, json};

/// The activation under the name that GPT-2 has for it.
const GELU_NEW: &str = "gelu_new";

pub(super) fn read(keys: &Map<String, Value>) -> Result<Config, Error> {
    for (key, offered) in [
        ("scale_attn_weights", true),
        ("scale_attn_by_inverse_layer_idx", false),
        ("reorder_and_upcast_attn", false),
        ("add_cross_attention", false),
    ] {
        if flag(keys, key)? == Some(!offered) {
            return Err(Error::config(key, !offered, format!("only {offered} is offered")));
        }
    }
    let need = |key| size(keys, key)?.ok_or(Error::Missing(key));
    let (dim, heads) = (need("n_embd")?, need("n_head")?);
    if heads == 0 || dim % heads != 0 {
        let expected = format!("it must divide `n_embd`, which is {dim}");
        return Err(Error::config("n_head", heads, expected));
    }
    let hidden = match size(keys, "n_inner")? {
        Some(hidden) => hidden,
        None => dim
            .checked_mul(4)
            .ok_or_else(|| Error::config("n_embd", dim, "4 times it must be a size"))?,
    };
    Ok(Config {
        dim,
        layers: need("n_layer")?,
        heads,
        kv_heads: heads,
        head_dim: dim / heads,
        hidden,
        vocab: need("vocab_size")?,
        max_seq: size(keys, "n_positions")?.unwrap_or(1024),
        norm_eps: number(keys, "layer_norm_epsilon")?.unwrap_or(1e-5),
        tied: flag(keys, "tie_word_embeddings")?.unwrap_or(true),
        activation: match text(keys, "activation_function")? {
            // One formula under two names.
            None | Some(GELU_NEW | "gelu_pytorch_tanh") => Activation::GeluTanh,
            Some("silu") => Activation::Silu,
            Some(other) => {
                let expected = "only gelu_new, gelu_pytorch_tanh and silu are offered";
                return Err(Error::config("activation_function", other, expected));
            }
        },
        architecture: Architecture::Gpt2,
        ..Config::LLAMA
    })
}

pub(super) fn written(config: &Config) -> Value {
    json!({
        "activation_function": match config.activation {
            Activation::Silu => "silu",
            Activation::GeluTanh => GELU_NEW,
        },
        "architectures": ["GPT2LMHeadModel"],
        "layer_norm_epsilon": config.norm_eps,
        "model_type": "gpt2",
        "n_embd": config.dim,
        "n_head": config.heads,
        "n_inner": config.hidden,
        "n_layer": config.layers,
        "n_positions": config.max_seq,
        "tie_word_embeddings": config.tied,
        "torch_dtype": "float32",
        "vocab_size": config.vocab,
    })
}

#[cfg(test)]
mod tests {
    use crate::{Activation, Config};
    use serde_json::{Value, json};

    fn least() -> Value {
        json!({
            "model_type": "gpt2", "n_embd": 24, "n_head": 3, "n_layer": 2, "vocab_size": 50,
        })
    }

    #[test]
    fn a_file_is_read_and_survives_the_way_there_and_back() {
        let gpt2 = Config::from_hugging_face(&least()).expect("all that is needed is there");
        assert_eq!((gpt2.kv_heads, gpt2.head_dim, gpt2.hidden, gpt2.max_seq), (3, 8, 96, 1024));
        assert_eq!((gpt2.tied, gpt2.norm_eps), (true, 1e-5));
        assert_eq!((gpt2.model_type(), gpt2.activation), ("gpt2", Activation::GeluTanh));
        let other =
            Config { tied: false, hidden: 40, activation: Activation::Silu, max_seq: 64, ..gpt2 };
        for config in [gpt2, other] {
            let back = Config::from_hugging_face(&config.to_hugging_face());
            assert_eq!(back.expect("what is written is read"), config);
            let own = serde_json::to_value(config).expect("it is written");
            assert_eq!(serde_json::from_value::<Config>(own).expect("it is read"), config);
        }
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        let cases = [
            ("scale_attn_weights", json!(false), "is false; only true is offered"),
            ("scale_attn_by_inverse_layer_idx", json!(true), "is true; only false is offered"),
            ("reorder_and_upcast_attn", json!(true), "is true; only false is offered"),
            ("add_cross_attention", json!(true), "is true; only false is offered"),
            (
                "activation_function",
                json!("relu"),
                "is relu; only gelu_new, gelu_pytorch_tanh and silu are offered",
            ),
            ("n_head", json!(5), "is 5; it must divide `n_embd`, which is 24"),
            ("n_head", json!(0), "is 0; it must divide `n_embd`, which is 24"),
            ("n_layer", Value::Null, "is missing"),
            ("n_embd", json!(u64::MAX), "is 18446744073709551615; 4 times it must be a size"),
        ];
        for (key, value, expected) in cases {
            let mut json = least();
            json[key] = value;
            let error = Config::from_hugging_face(&json).expect_err(key).to_string();
            assert_eq!(error, format!("`{key}` {expected}"));
        }
    }
}
