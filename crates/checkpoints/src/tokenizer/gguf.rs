//! The vocabulary in the metadata of a GGUF file, as a `tokenizer.json`.

use super::pieces::{Kind, Pieces, added, template, vocabulary};
use crate::Error;
use crate::formats::gguf::Metadata;
use serde_json::{Map, Value, json};

/// The vocabulary as a `tokenizer.json`, or why there is none; `None` if the file has none.
pub(crate) fn from_gguf(metadata: &Metadata) -> Result<Option<Result<String, String>>, Error> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let Some(model) = metadata.text(&key("model"))? else { return Ok(None) };
    if ["none", "no_vocab"].contains(&model) {
        return Ok(None);
    }
    let Some(tokens) = metadata.texts(&key("tokens"))? else { return Ok(None) };
    let kinds = match metadata.integers(&key("token_type"))? {
        None => vec![Kind::Normal; tokens.len()],
        Some(numbers) => {
            // 0 is a kind that nobody has told.
            let kind =
                |&number: &i64| if number == 0 { Some(Kind::Normal) } else { Kind::of(number) };
            let kinds: Vec<_> = numbers.iter().map_while(kind).collect();
            if let Some(unknown) = numbers.get(kinds.len()) {
                let reason = format!("token {} is of the unknown kind {unknown}", kinds.len());
                return Ok(Some(Err(reason)));
            }
            kinds
        }
    };
    let scores = metadata.floats(&key("scores"))?;
    let merges = metadata.texts(&key("merges"))?;
    let mut outside = None;
    let mut id = |name: &str| -> Result<Option<usize>, Error> {
        let Some(id) = metadata.size(&key(&format!("{name}_token_id")))? else { return Ok(None) };
        let place = usize::try_from(id).ok().filter(|&id| id < tokens.len());
        if place.is_none() {
            let count = tokens.len();
            outside = Some(format!("the {name} token is {id}, but there are {count} tokens"));
        }
        Ok(place)
    };
    let flag = |name: &str| metadata.flag(&key(name));
    let spm = model == "llama";
    let before = if flag("add_bos_token")?.unwrap_or(spm) { id("bos")? } else { None };
    let after = if flag("add_eos_token")?.unwrap_or(false) { id("eos")? } else { None };
    let unknown = if spm { id("unknown")? } else { None };
    if let Some(reason) = outside {
        return Ok(Some(Err(reason)));
    }
    if kinds.len() != tokens.len() {
        let reason = format!("{} tokens, but the kinds of {}", tokens.len(), kinds.len());
        return Ok(Some(Err(reason)));
    }
    let json = if spm {
        let Some(scores) = scores.filter(|scores| scores.len() == tokens.len()) else {
            return Ok(Some(Err(format!(
                "it does not have the scores of {} tokens",
                tokens.len()
            ))));
        };
        let pieces = Pieces {
            tokens: tokens.to_vec(),
            scores: scores.to_vec(),
            kinds,
            space_before: flag("add_space_prefix")?.unwrap_or(true),
            unknown,
            before,
            after,
        };
        pieces.json()
    } else if model == "gpt2" {
        let pre = metadata.text(&key("pre"))?.unwrap_or("default");
        byte_level(tokens, &kinds, merges.unwrap_or_default(), pre, (before, after))
    } else {
        Err(format!("a vocabulary of the kind `{model}`; only gpt2 and llama are read"))
    };
    Ok(Some(json.map(|json| json.to_string())))
}

/// How text is cut into words before pairs of bytes are joined.
pub(super) struct Cut {
    /// The names that GGUF has for it; the first is the one that is written.
    pub names: &'static [&'static str],
    /// The pattern of words, if it is not that of GPT-2.
    pub pattern: Option<&'static str>,
    /// Whether digits are cut from each other before that.
    pub digits: bool,
    /// Whether words that are tokens stay whole, whatever the pairs.
    pub whole_words: bool,
}

/// The ways that are known.
pub(super) const CUTS: [Cut; 4] = [
    Cut {
        names: &["gpt-2", "default", "phi-2", "mpt", "olmo", "jais", "roberta-bpe"],
        pattern: None,
        digits: false,
        whole_words: false,
    },
    Cut {
        names: &["llama-bpe", "llama3", "llama-v3", "smaug-bpe"],
        pattern: Some(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        digits: false,
        whole_words: true,
    },
    Cut {
        names: &["qwen2", "stablelm2", "deepseek-r1-qwen"],
        pattern: Some(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        digits: false,
        whole_words: false,
    },
    Cut {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell"],
        pattern: None,
        digits: true,
        whole_words: false,
    },
];

fn byte_level(
    tokens: &[String],
    kinds: &[Kind],
    merges: &[String],
    pre: &str,
    (before, after): (Option<usize>, Option<usize>),
) -> Result<Value, String> {
    let cut = CUTS.iter().find(|cut| cut.names.contains(&pre));
    let cut = cut.ok_or_else(|| format!("it cuts text in the way `{pre}`, which is not known"))?;
    let vocab = vocabulary(tokens)?;
    let pairs = merges.iter().enumerate().map(|(index, merge)| {
        // Neither side has a space: bytes are written as letters.
        let pair = merge.split_once(' ').filter(|(left, right)| {
            vocab.contains_key(left)
                && vocab.contains_key(right)
                && vocab.contains_key(format!("{left}{right}").as_str())
        });
        pair.map(|(left, right)| [left, right])
            .ok_or_else(|| format!("merge {index}, {merge:?}, is no two tokens that make a third"))
    });
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    // Added tokens as well: those that are not in it would get ids of their own.
    let object: Map<String, Value> =
        vocab.iter().map(|(token, id)| ((*token).to_owned(), (*id).into())).collect();
    let bytes = |regex: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
            "use_regex": regex,
        })
    };
    let mut cuts = vec![];
    if cut.digits {
        cuts.push(json!({ "type": "Digits", "individual_digits": true }));
    }
    if let Some(pattern) = cut.pattern {
        cuts.push(json!({
            "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated",
            "invert": false,
        }));
    }
    cuts.push(bytes(cut.pattern.is_none()));
    let normalizer = if pre == "qwen2" { json!({ "type": "NFC" }) } else { Value::Null };
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added(tokens, kinds),
        "normalizer": normalizer,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": cuts },
        "post_processor": template(tokens, before, after),
        "decoder": bytes(true),
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": cut.whole_words,
            "vocab": object,
            "merges": pairs,
        },
    }))
}
