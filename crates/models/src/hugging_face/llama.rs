//! Files of the families that are built like Llama.

use super::keys::{flag, get, kind, number, size, text, typed};
use super::rope;
use crate::{Activation, Architecture, AttentionBias, Config, Error, RopeStyle};
use serde_json::{Map, Value, json};

/// Our own key: other readers expect the halves, so its absence means them.
const ROPE_STYLE: &str = "rope_style";
/// The activation with a tanh in the normal distribution's place.
const GELU_TANH: &str = "gelu_pytorch_tanh";

/// What keys mean that are not there, and which are read.
struct Family {
    /// `None`: as many as query heads.
    kv_heads: Option<usize>,
    /// `None`: what divides the width evenly among the query heads.
    head_dim: Option<usize>,
    max_seq: usize,
    tied: bool,
    /// Whether `attention_bias` is read.
    attention_bias: bool,
}

fn family(model_type: &str) -> Option<Family> {
    let llama =
        Family { kv_heads: None, head_dim: None, max_seq: 2048, tied: false, attention_bias: true };
    let qwen2 = Family { kv_heads: Some(32), max_seq: 32_768, attention_bias: false, ..llama };
    Some(match model_type {
        "llama" => llama,
        "mistral" => Family { kv_heads: Some(8), max_seq: 131_072, attention_bias: false, ..llama },
        "qwen2" => qwen2,
        "qwen3" => Family { head_dim: Some(128), attention_bias: true, ..qwen2 },
        "gemma" => {
            Family { kv_heads: Some(16), head_dim: Some(256), max_seq: 8192, tied: true, ..llama }
        }
        _ => return None,
    })
}

/// The configuration of a file of this type, or `None` if the type is none of these.
pub(super) fn read(model_type: &str, keys: &Map<String, Value>) -> Result<Option<Config>, Error> {
    let Some(family) = family(model_type) else { return Ok(None) };
    refuse_what_is_not_built(keys, model_type, &family)?;
    let need = |key| size(keys, key)?.ok_or(Error::Missing(key));
    let dim = need("hidden_size")?;
    let heads = need("num_attention_heads")?;
    let head_dim = match size(keys, "head_dim")?.or(family.head_dim) {
        Some(width) => width,
        None if heads > 0 && dim % heads == 0 => dim / heads,
        None => {
            let expected = format!("it must divide `hidden_size`, which is {dim}");
            return Err(Error::config("num_attention_heads", heads, expected));
        }
    };
    // Here null is not the same as nothing.
    let kv_heads = match keys.get("num_key_value_heads") {
        None => family.kv_heads.unwrap_or(heads),
        Some(_) => size(keys, "num_key_value_heads")?.unwrap_or(heads),
    };
    let sliding_window = match model_type {
        "mistral" if keys.contains_key("sliding_window") => size(keys, "sliding_window")?,
        "mistral" => Some(4096),
        _ => None,
    };
    let biased = family.attention_bias && flag(keys, "attention_bias")? == Some(true);
    Ok(Some(Config {
        dim,
        layers: need("num_hidden_layers")?,
        heads,
        kv_heads,
        head_dim,
        hidden: need("intermediate_size")?,
        vocab: need("vocab_size")?,
        max_seq: size(keys, "max_position_embeddings")?.unwrap_or(family.max_seq),
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
        tied: flag(keys, "tie_word_embeddings")?.unwrap_or(family.tied),
        qk_norm: model_type == "qwen3",
        rope_scaling: rope::scaling(keys)?,
        attention_bias: match (model_type, biased) {
            ("qwen2", _) => AttentionBias::Inputs,
            (_, true) => AttentionBias::All,
            (_, false) => AttentionBias::None,
        },
        mlp_bias: model_type == "llama" && flag(keys, "mlp_bias")? == Some(true),
        sliding_window,
        norm_plus_one: model_type == "gemma",
        embedding_scale: model_type == "gemma",
        activation: activation(keys, model_type)?,
        architecture: Architecture::Llama,
    }))
}

/// What stands between the matrices of the feed-forward part.
fn activation(keys: &Map<String, Value>, model_type: &str) -> Result<Activation, Error> {
    let gemma = model_type == "gemma";
    // For a time Gemma had a key of its own, which goes before the other.
    let key = match gemma && get(keys, "hidden_activation").is_some() {
        true => "hidden_activation",
        false => "hidden_act",
    };
    match text(keys, key)? {
        None if gemma => Ok(Activation::GeluTanh),
        // The first files of Gemma say this and mean the approximation.
        Some("gelu") if gemma => Ok(Activation::GeluTanh),
        None | Some("silu") => Ok(Activation::Silu),
        Some(GELU_TANH) => Ok(Activation::GeluTanh),
        Some(other) => {
            let expected = format!("only silu and {GELU_TANH} are offered");
            Err(Error::config(key, other, expected))
        }
    }
}

/// The file of a configuration that is not GPT-2's.
pub(super) fn written(config: &Config) -> Value {
    let model_type = config.model_type();
    let architecture = match model_type {
        "mistral" => "MistralForCausalLM",
        "qwen2" => "Qwen2ForCausalLM",
        "qwen3" => "Qwen3ForCausalLM",
        "gemma" => "GemmaForCausalLM",
        _ => "LlamaForCausalLM",
    };
    let activation = match config.activation {
        Activation::Silu => "silu",
        Activation::GeluTanh => GELU_TANH,
    };
    let mut json = json!({
        "architectures": [architecture],
        "attention_bias": config.attention_bias == AttentionBias::All,
        "attention_dropout": 0.0,
        "head_dim": config.head_dim,
        "hidden_act": activation,
        "hidden_size": config.dim,
        "intermediate_size": config.hidden,
        "max_position_embeddings": config.max_seq,
        "model_type": model_type,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "num_key_value_heads": config.kv_heads,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tied,
        "torch_dtype": "float32",
        "vocab_size": config.vocab,
    });
    if config.mlp_bias {
        json["mlp_bias"] = true.into();
    }
    if let Some(window) = config.sliding_window {
        json["sliding_window"] = window.into();
    }
    if model_type == "gemma" {
        json["hidden_activation"] = activation.into();
    }
    if let Some(scaling) = &config.rope_scaling {
        json["rope_scaling"] = rope::written(scaling);
    }
    if config.rope == RopeStyle::Interleaved {
        json[ROPE_STYLE] = "interleaved".into();
    }
    json
}

fn refuse_what_is_not_built(
    keys: &Map<String, Value>,
    model_type: &str,
    family: &Family,
) -> Result<(), Error> {
    let flags = [
        ("attention_bias", !family.attention_bias),
        ("mlp_bias", model_type != "llama"),
        ("use_sliding_window", true),
        ("use_bidirectional_attention", true),
    ];
    for (key, _) in flags.into_iter().filter(|(_, refused)| *refused) {
        if flag(keys, key)? == Some(true) {
            return Err(Error::config(key, true, "only false is offered"));
        }
    }
    for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
        if let Some(cap) = number(keys, key)? {
            return Err(Error::config(key, cap, "only null is offered"));
        }
    }
    let layers = typed(keys, "layer_types", "a list", Value::as_array)?;
    if let Some(other) = layers.into_iter().flatten().find(|layer| *layer != "full_attention") {
        let expected = "only full_attention in every layer is offered";
        return Err(Error::config("layer_types", kind(other), expected));
    }
    if let Some(share) = number(keys, "partial_rotary_factor")?
        && share != 1.0
    {
        return Err(Error::config("partial_rotary_factor", share, "only 1 is offered"));
    }
    Ok(())
}
