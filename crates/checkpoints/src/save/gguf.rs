//! GGUF files, as llama.cpp reads them.

use super::{Model, Saved, Values, bytes};
use crate::formats::gguf::{self as file, Value};
use crate::output::{AtomicFile, Planned};
use crate::source::{gguf_layout, gguf_name, llama3_divisors};
use crate::tokenizer::{Hints, to_gguf};
use crate::{Encoding, Error};
use models::RopeScaling;
use serde_json::Value as Json;
use std::path::Path;

pub(super) fn save(
    path: &Path,
    encoding: Encoding,
    replace: bool,
    model: &Model<'_>,
    values: &mut Values<'_>,
) -> Result<Saved, Error> {
    let refuse = |reason: String| Error::format(path, reason);
    // The configuration's own words: those of a file may leave out what is usual.
    let json = model.config.to_hugging_face();
    let mut metadata = metadata(&json, model, encoding).map_err(refuse)?;
    match model.tokenizer {
        None => metadata.push(("tokenizer.ggml.model".to_owned(), "none".into())),
        Some(text) => {
            let template = model.sidecars.iter().find(|(name, _)| name == "chat_template.jinja");
            let template =
                template.map(|(_, content)| String::from_utf8_lossy(content).into_owned());
            let hints = Hints {
                config: model.config_json(),
                tokenizer_config: model.sidecar_json("tokenizer_config.json"),
                generation_config: model.sidecar_json("generation_config.json"),
                chat_template: template,
            };
            let made = to_gguf(text, model.config.vocab, &hints);
            metadata.extend(made.map_err(|reason| refuse(format!("tokenizer: {reason}")))?);
        }
    }

    let mut tensors = vec![];
    let mut parts = vec![];
    for parameter in model.parameters(path)? {
        let layout = gguf_layout(&json["model_type"], model.config, &parameter);
        let Some(name) = gguf_name(&parameter.name) else {
            let reason = "GGUF has no name for it".to_owned();
            return Err(Error::tensor(path, &parameter.name, reason));
        };
        let dims = layout.inverse().dims(&parameter.dims);
        let row = dims.last().copied().unwrap_or(1);
        let encoding = match encoding {
            // Readers expect vectors, and the embedding of positions, in full.
            _ if dims.len() < 2 || name.starts_with("position_embd") => Encoding::F32,
            Encoding::Q8_0 if !row.is_multiple_of(32) => Encoding::F16,
            other => other,
        };
        tensors.push(Planned { name, dims, encoding });
        parts.push(Some((parameter, layout)));
    }
    let mut divisors = vec![];
    if let Some(scaling @ RopeScaling::Llama3 { .. }) = &model.config.rope_scaling {
        if json["model_type"] != "llama" {
            let reason = "GGUF has the scaling of Llama 3 for models of type llama only";
            return Err(refuse(reason.to_owned()));
        }
        let pairs = model.config.head_dim / 2;
        divisors = llama3_divisors(scaling, model.config.rope_theta, pairs).expect("it is that");
        let name = "rope_freqs.weight".to_owned();
        tensors.push(Planned { name, dims: vec![pairs], encoding: Encoding::F32 });
        parts.push(None);
    }

    let mut out = AtomicFile::create(path)?;
    let mut next = parts.iter();
    file::write(path, &mut out, &metadata, &tensors, &mut |_, see| match next
        .next()
        .expect("a part for each tensor")
    {
        Some((parameter, layout)) => model.visit(parameter, *layout, values, see),
        None => see(&divisors),
    })?;
    out.finish(replace)?;
    Ok(Saved { bytes: bytes(&tensors), left_out: vec![] })
}

/// What the file says of the model.
fn metadata(
    json: &Json,
    model: &Model<'_>,
    encoding: Encoding,
) -> Result<Vec<(String, Value)>, String> {
    let config = model.config;
    let model_type = json["model_type"].as_str().unwrap_or_default();
    let architecture = match model_type {
        "mistral" => "llama",
        known @ ("llama" | "qwen2" | "qwen3" | "gemma" | "gpt2") => known,
        other => return Err(format!("GGUF files of models of type {other} are not written")),
    };
    check(json, architecture)?;
    let mut all = vec![];
    let mut set = |key: &str, value: Value| all.push((key.to_owned(), value));
    set("general.architecture", architecture.into());
    set("general.type", "model".into());
    set("general.quantization_version", Value::U32(2));
    let file_type = match encoding {
        Encoding::F32 => 0,
        Encoding::F16 => 1,
        Encoding::Q8_0 => 7,
        _ => 32,
    };
    set("general.file_type", Value::U32(file_type));

    let mut set = |key: &str, value: Value| all.push((format!("{architecture}.{key}"), value));
    let size = |size: usize| Value::U32(size as u32);
    // Within its window, a model with one sees all, and readers of this architecture know none.
    let window = config.sliding_window.unwrap_or(config.max_seq);
    let context = config.max_seq.min(window);
    set("vocab_size", size(config.vocab));
    set("context_length", size(context));
    set("embedding_length", size(config.dim));
    set("block_count", size(config.layers));
    set("feed_forward_length", size(config.hidden));
    set("attention.head_count", size(config.heads));
    set("attention.head_count_kv", size(config.kv_heads));
    if architecture == "gpt2" {
        set("attention.layer_norm_epsilon", Value::F32(config.norm_eps as f32));
        return Ok(all);
    }
    set("attention.key_length", size(config.head_dim));
    set("attention.value_length", size(config.head_dim));
    set("rope.dimension_count", size(config.head_dim));
    set("attention.layer_norm_rms_epsilon", Value::F32(config.norm_eps as f32));
    set("rope.freq_base", Value::F32(config.rope_theta as f32));
    match config.rope_scaling {
        None | Some(RopeScaling::Llama3 { .. }) => {}
        Some(RopeScaling::Linear { factor }) => {
            set("rope.scaling.type", "linear".into());
            set("rope.scaling.factor", Value::F32(factor as f32));
        }
    }
    if let Some(RopeScaling::Llama3 { low_freq_factor, high_freq_factor, .. }) = config.rope_scaling
        && (low_freq_factor, high_freq_factor) != (1.0, 4.0)
    {
        return Err(format!(
            "its scaling has the factors {low_freq_factor} and {high_freq_factor}; only 1 and 4 \
             could be read back from a GGUF file"
        ));
    }
    Ok(all)
}

/// Refuses options that readers of an architecture do not know, or take for granted otherwise.
fn check(json: &Json, architecture: &str) -> Result<(), String> {
    let activation = match architecture {
        "gpt2" => return Ok(()),
        "gemma" => "gelu_pytorch_tanh",
        _ => "silu",
    };
    let found = json["hidden_activation"].as_str().or(json["hidden_act"].as_str());
    if found.is_some_and(|found| found != activation) {
        let found = found.unwrap_or_default();
        return Err(format!(
            "GGUF files of {architecture} have no place for the activation {found}: their readers \
             take {activation}"
        ));
    }
    let takes_bias = ["llama", "qwen2"].contains(&architecture);
    if json["attention_bias"] == true && !takes_bias {
        return Err(format!("GGUF files of {architecture} have no place for biases of attention"));
    }
    if architecture == "gemma" && json["tie_word_embeddings"] == false {
        return Err("GGUF files of gemma have no classifier beside the embedding".to_owned());
    }
    Ok(())
}
