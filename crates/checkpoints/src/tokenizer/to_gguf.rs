//! A `tokenizer.json` as metadata of a GGUF file.

use super::parsed::Parsed;
use crate::formats::gguf::Value;
use serde_json::Value as Json;

/// What tells which tokens begin and end a text, and how a conversation is written.
#[derive(Default)]
pub(crate) struct Hints {
    /// The model's `config.json`.
    pub config: Json,
    /// `tokenizer_config.json`, or null.
    pub tokenizer_config: Json,
    /// `generation_config.json`, or null.
    pub generation_config: Json,
    /// A template in a file of its own.
    pub chat_template: Option<String>,
}

/// What this project's tokenizers call the end of a text, and other families of models.
const ENDS: [&str; 5] = ["<|endoftext|>", "<|end_of_text|>", "</s>", "<|eot_id|>", "<|im_end|>"];

/// The keys and values of a model with `vocab` rows in its embedding.
pub(crate) fn to_gguf(
    text: &str,
    vocab: usize,
    hints: &Hints,
) -> Result<Vec<(String, Value)>, String> {
    let mut parsed = Parsed::of(text)?;
    if parsed.tokens.len() > vocab {
        let count = parsed.tokens.len();
        return Err(format!("it has {count} tokens, but the model's embedding has {vocab} rows"));
    }
    // A tokenizer may have fewer: the rest has names of its own.
    for id in parsed.tokens.len()..vocab {
        parsed.tokens.push(format!("[PAD{id}]"));
        parsed.kinds.push(super::pieces::Kind::Unused);
    }
    let Hints { config, tokenizer_config, generation_config, chat_template } = hints;
    let by_name = |key: &str| {
        let token = &tokenizer_config[key];
        let token = token.as_str().or_else(|| token["content"].as_str())?;
        parsed.tokens.iter().position(|other| other == token)
    };
    let by_id = |key: &str| {
        let of = |json: &Json| {
            let id = &json[key];
            let id = id.as_u64().or_else(|| id[0].as_u64())?;
            usize::try_from(id).ok().filter(|&id| id < parsed.tokens.len())
        };
        of(generation_config).or_else(|| of(config))
    };
    let end = || ENDS.iter().find_map(|end| parsed.tokens.iter().position(|token| token == end));
    let before = by_name("bos_token").or_else(|| by_id("bos_token_id")).or(parsed.before);
    let after = by_name("eos_token").or_else(|| by_id("eos_token_id")).or_else(end);
    let padding = by_name("pad_token");
    let adds = |key: &str, template: Option<usize>| {
        tokenizer_config[key].as_bool().unwrap_or(template.is_some())
    };
    let (add_before, add_after) =
        (adds("add_bos_token", parsed.before), adds("add_eos_token", parsed.after));
    let template = chat_template.clone().or_else(|| chat_template_of(tokenizer_config));

    let mut all = vec![];
    let mut set = |name: &str, value: Value| all.push((format!("tokenizer.ggml.{name}"), value));
    let ids = [("bos", before), ("eos", after), ("unknown", parsed.unknown), ("padding", padding)];
    for (name, id) in ids {
        if let Some(id) = id {
            set(&format!("{name}_token_id"), Value::U32(id as u32));
        }
    }
    set("add_bos_token", Value::Bool(add_before));
    set("add_eos_token", Value::Bool(add_after));
    let kinds = parsed.kinds.iter().map(|&kind| kind as i64).collect();
    set("token_type", Value::Integers(kinds));
    if let Some(cut) = parsed.cut {
        set("model", "gpt2".into());
        set("pre", cut.names[0].into());
        set("tokens", Value::Texts(parsed.tokens));
        let merges = parsed.merges.iter().map(|(left, right)| format!("{left} {right}"));
        set("merges", Value::Texts(merges.collect()));
    } else {
        let pieces = parsed.pieces()?;
        set("model", "llama".into());
        set("pre", "default".into());
        set("add_space_prefix", Value::Bool(pieces.space_before));
        set("tokens", Value::Texts(pieces.tokens));
        set("scores", Value::Floats(pieces.scores));
    }
    if let Some(template) = template {
        all.push(("tokenizer.chat_template".to_owned(), Value::Text(template)));
    }
    Ok(all)
}

/// The template for conversations; of several, the one for every use.
fn chat_template_of(config: &Json) -> Option<String> {
    let template = &config["chat_template"];
    let named = || {
        let all = template.as_array()?;
        all.iter().find(|named| named["name"] == "default")?["template"].as_str()
    };
    template.as_str().or_else(named).map(str::to_owned)
}
