//! GGUF files as models: names of tensors, their layouts, and the configuration in the metadata.

use super::{Format, Found, Sidecar, Tokenizer};
use crate::formats::gguf as file;
use crate::formats::gguf::{Gguf, Metadata};
use crate::layout::Layout;
use crate::{Error, Input};
use models::{Config, Parameter, RopeScaling};
use serde_json::{Map, Value, json};

/// Opens a file.
pub(super) fn open(input: Input) -> Result<Found, Error> {
    let path = input.path().to_owned();
    let gguf = file::read(input)?;
    let json = config(&gguf).map_err(|error| match error {
        Problem::File(error) => error,
        Problem::Reason(reason) => Error::format(&path, reason),
    })?;
    let tokenizer = crate::tokenizer::from_gguf(&gguf.metadata)?;
    let tokenizer = tokenizer.map(|made| made.map_or_else(Tokenizer::Refused, Tokenizer::Text));
    let sidecars = tokenizer_config(&gguf.metadata)?;
    let sidecars = sidecars.map(|json| {
        let text = format!("{json:#}\n");
        ("tokenizer_config.json".to_owned(), Sidecar::Content(text.into_bytes()))
    });
    let sidecars = sidecars.into_iter().collect();
    let (format, tensors) = (Format::Gguf, gguf.tensors);
    Ok(Found { format, json, config: None, tensors, tokenizer, sidecars })
}

/// What a `tokenizer_config.json` would say.
fn tokenizer_config(metadata: &Metadata) -> Result<Option<Value>, Error> {
    let Some(tokens) = metadata.texts("tokenizer.ggml.tokens")? else { return Ok(None) };
    let mut json = Map::new();
    json.insert("tokenizer_class".to_owned(), "PreTrainedTokenizerFast".into());
    for (key, name) in [("bos_token", "bos"), ("eos_token", "eos"), ("pad_token", "padding")] {
        let id = metadata.size(&format!("tokenizer.ggml.{name}_token_id"))?;
        if let Some(token) = id.and_then(|id| tokens.get(usize::try_from(id).ok()?)) {
            json.insert(key.to_owned(), token.as_str().into());
        }
    }
    if let Some(template) = metadata.text("tokenizer.chat_template")? {
        json.insert("chat_template".to_owned(), template.into());
    }
    Ok(Some(Value::Object(json)))
}

/// The architectures, by the name in GGUF and the model type of Hugging Face.
const ARCHITECTURES: [(&str, &str, &str); 5] = [
    ("llama", "llama", "LlamaForCausalLM"),
    ("qwen2", "qwen2", "Qwen2ForCausalLM"),
    ("qwen3", "qwen3", "Qwen3ForCausalLM"),
    ("gemma", "gemma", "GemmaForCausalLM"),
    ("gpt2", "gpt2", "GPT2LMHeadModel"),
];

enum Problem {
    File(Error),
    Reason(String),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        Problem::File(error)
    }
}

impl From<String> for Problem {
    fn from(reason: String) -> Problem {
        Problem::Reason(reason)
    }
}

/// The keys of one architecture.
struct Keys<'a> {
    metadata: &'a Metadata,
    prefix: &'a str,
}

impl Keys<'_> {
    fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        self.metadata.size(&format!("{}.{key}", self.prefix))
    }

    fn number(&self, key: &str) -> Result<Option<f64>, Problem> {
        let key = format!("{}.{key}", self.prefix);
        match self.metadata.number(&key)? {
            // As JSON it would be null, which stands for what is usual.
            Some(number) if !number.is_finite() => {
                Err(Problem::Reason(format!("`{key}` is {number}; expected a finite number")))
            }
            number => Ok(number),
        }
    }

    fn need<T>(&self, key: &str, found: Option<T>) -> Result<T, Problem> {
        let missing = || Problem::Reason(format!("its metadata lack `{}.{key}`", self.prefix));
        found.ok_or_else(missing)
    }

    fn needed(&self, key: &str) -> Result<u64, Problem> {
        self.need(key, self.size(key)?)
    }
}

/// The metadata as a `config.json`.
fn config(gguf: &Gguf) -> Result<Value, Problem> {
    let Gguf { metadata, tensors } = gguf;
    let name = metadata.text("general.architecture")?;
    let name = name.ok_or("its metadata lack `general.architecture`".to_owned())?;
    let known = ARCHITECTURES.iter().find(|(known, ..)| *known == name);
    let Some((prefix, model_type, architecture)) = known else {
        let known: Vec<&str> = ARCHITECTURES.iter().map(|(name, ..)| *name).collect();
        let reason =
            format!("a model of architecture `{name}`; only {} are read", known.join(", "));
        return Err(Problem::Reason(reason));
    };
    let keys = Keys { metadata, prefix };
    if keys.size("expert_count")?.unwrap_or(0) > 0 {
        return Err(Problem::Reason("a mixture of experts, which is not offered".to_owned()));
    }
    let embedding = tensors.get("token_embd.weight");
    let embedding = embedding.ok_or("it has no tensor `token_embd.weight`".to_owned())?;
    let vocab = embedding.dims.first().copied().unwrap_or(0);
    let has = |name: &str| tensors.get(name).is_some();
    let mut json = Map::new();
    let mut set = |key: &str, value: Value| json.insert(key.to_owned(), value);
    set("model_type", (*model_type).into());
    set("architectures", json!([architecture]));
    set("vocab_size", vocab.into());
    let (dim, heads) = (keys.needed("embedding_length")?, keys.needed("attention.head_count")?);
    let hidden = keys.needed("feed_forward_length")?;
    if *prefix == "gpt2" {
        let context = keys.needed("context_length")?;
        set("n_embd", dim.into());
        set("n_layer", keys.needed("block_count")?.into());
        set("n_head", heads.into());
        set("n_inner", hidden.into());
        set("n_positions", context.into());
        set("n_ctx", context.into());
        let eps = "attention.layer_norm_epsilon";
        set("layer_norm_epsilon", keys.need(eps, keys.number(eps)?)?.into());
        set("activation_function", "gelu_new".into());
        set("tie_word_embeddings", true.into());
    } else {
        let head_dim = match keys.size("attention.key_length")? {
            Some(width) => width,
            None if heads > 0 => dim / heads,
            None => 0,
        };
        for key in ["attention.value_length", "rope.dimension_count"] {
            if let Some(other) = keys.size(key)?
                && other != head_dim
            {
                let reason = format!("`{prefix}.{key}` is {other}; only {head_dim} is offered");
                return Err(Problem::Reason(reason));
            }
        }
        set("hidden_size", dim.into());
        set("num_hidden_layers", keys.needed("block_count")?.into());
        set("num_attention_heads", heads.into());
        let kv_heads = keys.size("attention.head_count_kv")?.unwrap_or(heads);
        set("num_key_value_heads", kv_heads.into());
        set("head_dim", head_dim.into());
        set("intermediate_size", hidden.into());
        set("max_position_embeddings", keys.needed("context_length")?.into());
        let eps = "attention.layer_norm_rms_epsilon";
        set("rms_norm_eps", keys.need(eps, keys.number(eps)?)?.into());
        set("rope_theta", keys.number("rope.freq_base")?.unwrap_or(10_000.0).into());
        set("tie_word_embeddings", (!has("output.weight")).into());
        if *prefix == "gemma" {
            set("hidden_act", "gelu_pytorch_tanh".into());
            set("hidden_activation", "gelu_pytorch_tanh".into());
        } else {
            set("hidden_act", "silu".into());
        }
        if *prefix == "llama" {
            set("attention_bias", has("blk.0.attn_q.bias").into());
            set("mlp_bias", has("blk.0.ffn_up.bias").into());
        }
        if let Some(scaling) = rope_scaling(&keys, gguf, head_dim)? {
            set("rope_scaling", scaling);
        }
    }
    for (key, name) in [("bos_token_id", "bos"), ("eos_token_id", "eos")] {
        if let Some(id) = metadata.size(&format!("tokenizer.ggml.{name}_token_id"))? {
            set(key, id.into());
        }
    }
    Ok(Value::Object(json))
}

/// The scaling of rotations: named in the metadata, or as a tensor of divisors.
fn rope_scaling(keys: &Keys<'_>, gguf: &Gguf, head_dim: u64) -> Result<Option<Value>, Problem> {
    let key = format!("{}.rope.scaling.type", keys.prefix);
    let kind = keys.metadata.text(&key)?;
    let linear = match kind {
        Some("linear") => keys.number("rope.scaling.factor")?,
        None | Some("none") => keys.number("rope.scale_linear")?,
        Some(other) => {
            let reason = format!("`{key}` is {other}; only none and linear are read");
            return Err(Problem::Reason(reason));
        }
    };
    if let Some(factor) = linear.filter(|&factor| factor != 1.0) {
        return Ok(Some(json!({ "rope_type": "linear", "factor": factor })));
    }
    let Some(info) = gguf.tensors.get("rope_freqs.weight") else { return Ok(None) };
    let refuse = |reason: &str| Error::tensor(gguf.tensors.path(info), &info.name, reason);
    if info.elements() as u64 != head_dim / 2 {
        return Err(refuse("it should have an element for every two of a head").into());
    }
    let mut divisors = vec![0.0; info.elements()];
    gguf.tensors.read(info, 0, &mut divisors)?;
    let theta = keys.number("rope.freq_base")?.unwrap_or(10_000.0);
    let original = keys.size("rope.scaling.original_context_length")?;
    let found = llama3_of(&divisors, theta, original)
        .ok_or_else(|| refuse("these divisors are not those of the scaling of Llama 3"))?;
    let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_seq } = found
    else {
        return Ok(None);
    };
    Ok(Some(json!({
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": low_freq_factor,
        "high_freq_factor": high_freq_factor,
        "original_max_position_embeddings": original_max_seq,
    })))
}

/// The divisors of the frequencies that a scaling of Llama 3 makes.
pub(crate) fn llama3_divisors(scaling: &RopeScaling, theta: f64, pairs: usize) -> Option<Vec<f32>> {
    let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_seq } =
        *scaling
    else {
        return None;
    };
    let divisor = |i: usize| {
        let frequency = theta.powf(-(i as f64) / pairs as f64);
        let rotations = original_max_seq as f64 * frequency / std::f64::consts::TAU;
        let kept = (rotations - low_freq_factor) / (high_freq_factor - low_freq_factor);
        let kept = kept.clamp(0.0, 1.0);
        (1.0 / (kept + (1.0 - kept) / factor)) as f32
    };
    Some((0..pairs).map(divisor).collect())
}

/// The scaling that makes these divisors. A file has the divisors only; models of the family
/// differ in the largest one and, rarely, in the original context.
fn llama3_of(divisors: &[f32], theta: f64, original: Option<u64>) -> Option<RopeScaling> {
    let factor = f64::from(*divisors.last()?);
    let contexts = original.into_iter().chain([8192, 4096, 2048, 16_384, 32_768]);
    let mut candidates = contexts.map(|original| RopeScaling::Llama3 {
        factor,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_seq: original as usize,
    });
    candidates.find(|scaling| {
        let expected = llama3_divisors(scaling, theta, divisors.len());
        expected.is_some_and(|expected| {
            // Files are written from single precision.
            expected.iter().zip(divisors).all(|(a, b)| (a - b).abs() <= 1e-3 * a.abs())
        })
    })
}

/// What stands for a layer's part, in GGUF and in Hugging Face checkpoints of the Llama family.
const LLAMA: [(&str, &str); 11] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The same of GPT-2.
const GPT2: [(&str, &str); 6] = [
    ("attn_norm", "ln_1"),
    ("attn_qkv", "attn.c_attn"),
    ("attn_output", "attn.c_proj"),
    ("ffn_norm", "ln_2"),
    ("ffn_up", "mlp.c_fc"),
    ("ffn_down", "mlp.c_proj"),
];

/// The name of a parameter in GGUF files.
pub(crate) fn file_name(name: &str) -> Option<String> {
    let (stem, kind) = name.rsplit_once('.')?;
    let whole = match stem {
        "model.embed_tokens" | "transformer.wte" => Some("token_embd"),
        "transformer.wpe" => Some("position_embd"),
        "model.norm" | "transformer.ln_f" => Some("output_norm"),
        "lm_head" => Some("output"),
        _ => None,
    };
    if let Some(whole) = whole {
        return Some(format!("{whole}.{kind}"));
    }
    let (rest, parts) = match stem.strip_prefix("model.layers.") {
        Some(rest) => (rest, &LLAMA[..]),
        None => (stem.strip_prefix("transformer.h.")?, &GPT2[..]),
    };
    let (index, part) = rest.split_once('.')?;
    let (ours, _) = parts.iter().find(|(_, theirs)| *theirs == part)?;
    Some(format!("blk.{index}.{ours}.{kind}"))
}

/// What makes a GGUF file's numbers those of a Hugging Face checkpoint of this model type.
pub(crate) fn layout(model_type: &Value, config: &Config, parameter: &Parameter) -> Layout {
    let name = parameter.name.as_str();
    match model_type.as_str() {
        // Mistral is written as a Llama.
        Some("llama" | "mistral") if name.contains(".q_proj.") || name.contains(".k_proj.") => {
            Layout::ToHalves(config.head_dim)
        }
        // Gemma's norms multiply by one more than their weight; the file has the sum.
        Some("gemma") if name.ends_with("norm.weight") => Layout::Add(-1.0),
        Some("gpt2") if name.contains(".c_") && name.ends_with(".weight") => Layout::Transpose,
        _ => Layout::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_divisors_are_those_of_the_converter() {
        let name = |name| file_name(name).expect("it has one");
        assert_eq!(name("model.layers.12.mlp.down_proj.weight"), "blk.12.ffn_down.weight");
        assert_eq!(name("model.layers.0.self_attn.q_proj.bias"), "blk.0.attn_q.bias");
        assert_eq!(name("transformer.h.3.attn.c_attn.bias"), "blk.3.attn_qkv.bias");
        assert_eq!(name("lm_head.weight"), "output.weight");
        assert_eq!(file_name("model.layers.0.mystery.weight"), None);

        let scaling = RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_seq: 8192,
        };
        let divisors = llama3_divisors(&scaling, 5e5, 32).expect("it is that of Llama 3");
        assert_eq!((divisors[0], divisors[31]), (1.0, 32.0));
        assert_eq!(llama3_of(&divisors, 5e5, None), Some(scaling));
        assert_eq!(llama3_of(&[1.0, 3.0, 2.0], 5e5, None), None);
    }
}
