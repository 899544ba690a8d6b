//! What a `tokenizer.json` says, as far as other formats have a place for it.

use super::gguf::{CUTS, Cut};
use super::llama2c::is_byte;
use super::pieces::{Kind, Pieces};
use serde_json::Value;
use std::collections::HashMap;

/// Ids beyond this are taken for a mistake: the list of tokens is as long as the largest id.
const MAX_ID: u64 = 1 << 22;

/// A BPE tokenizer.
pub(super) struct Parsed {
    pub tokens: Vec<String>,
    pub kinds: Vec<Kind>,
    pub merges: Vec<(String, String)>,
    /// How text is cut, of a tokenizer of bytes; others have spaces as a letter.
    pub cut: Option<&'static Cut>,
    pub space_before: bool,
    pub before: Option<usize>,
    pub after: Option<usize>,
    pub unknown: Option<usize>,
}

impl Parsed {
    pub fn of(text: &str) -> Result<Parsed, String> {
        let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let model = &json["model"];
        if model["type"].as_str().is_some_and(|kind| kind != "BPE") {
            return Err(format!("it is of the kind {}; only BPE is written", model["type"]));
        }
        let vocab = model["vocab"].as_object().ok_or("it has no vocabulary of BPE")?;
        let mut found: HashMap<u64, (&str, Option<bool>)> = HashMap::new();
        for (token, id) in vocab {
            let id = id.as_u64().ok_or_else(|| format!("the id of {token:?} is {id}"))?;
            found.insert(id, (token, None));
        }
        for added in json["added_tokens"].as_array().into_iter().flatten() {
            let id = added["id"].as_u64().ok_or("an added token has no id")?;
            let content = added["content"].as_str().ok_or("an added token has no content")?;
            found.insert(id, (content, Some(added["special"] == true)));
        }
        let largest = found.keys().max().copied().ok_or("it has no tokens")?;
        if largest > MAX_ID {
            return Err(format!("its largest id is {largest}"));
        }
        let unknown_token = model["unk_token"].as_str();
        let byte_fallback = model["byte_fallback"] == true;
        let (mut tokens, mut kinds, mut unknown) = (vec![], vec![], None);
        for id in 0..=largest {
            let (token, kind) = match found.get(&id) {
                None => (format!("[PAD{id}]"), Kind::Unused),
                Some((token, _)) if Some(*token) == unknown_token => {
                    unknown = Some(id as usize);
                    ((*token).to_owned(), Kind::Unknown)
                }
                Some((token, Some(true))) => ((*token).to_owned(), Kind::Control),
                Some((token, Some(false))) => ((*token).to_owned(), Kind::UserDefined),
                Some((token, None)) if byte_fallback && is_byte(token) => {
                    ((*token).to_owned(), Kind::Byte)
                }
                Some((token, None)) => ((*token).to_owned(), Kind::Normal),
            };
            tokens.push(token);
            kinds.push(kind);
        }
        let merges = model["merges"].as_array().ok_or("it has no merges")?;
        let merges = merges.iter().map(|merge| {
            let pair = match merge {
                Value::String(text) => text.split_once(' '),
                _ => merge[0].as_str().zip(merge[1].as_str()),
            };
            let pair = pair.map(|(left, right)| (left.to_owned(), right.to_owned()));
            pair.ok_or_else(|| format!("{merge} is no merge"))
        });
        let merges = merges.collect::<Result<_, _>>()?;
        let (before, after) = around(&json["post_processor"]);
        let steps = flat(&json["pre_tokenizer"], "pretokenizers");
        let bytes = steps.iter().any(|step| step["type"] == "ByteLevel");
        Ok(Parsed {
            tokens,
            kinds,
            merges,
            cut: if bytes { Some(cut(&steps)?) } else { None },
            space_before: space_before(&json, &steps),
            before,
            after,
            unknown,
        })
    }

    /// The vocabulary with scores that make the same pairs join first, if spaces are letters.
    pub fn pieces(self) -> Result<Pieces, String> {
        if self.cut.is_some() {
            return Err("its tokens are bytes, and not pieces of text with scores".to_owned());
        }
        let mut ranks: HashMap<String, usize> = HashMap::new();
        for (rank, (left, right)) in self.merges.iter().enumerate() {
            ranks.entry(format!("{left}{right}")).or_insert(rank);
        }
        let last = self.merges.len();
        let score = |token: &String| -(ranks.get(token).copied().unwrap_or(last) as f32);
        let scores = self.tokens.iter().zip(&self.kinds).map(|(token, kind)| match kind {
            Kind::Normal | Kind::UserDefined => score(token),
            _ => 0.0,
        });
        Ok(Pieces {
            scores: scores.collect(),
            tokens: self.tokens,
            kinds: self.kinds,
            space_before: self.space_before,
            unknown: self.unknown,
            before: self.before,
            after: self.after,
        })
    }
}

/// The steps of a sequence, or the one there is.
fn flat<'a>(step: &'a Value, list: &str) -> Vec<&'a Value> {
    match step["type"].as_str() {
        Some("Sequence") => step[list].as_array().into_iter().flatten().collect(),
        Some(_) => vec![step],
        None => vec![],
    }
}

/// How a tokenizer of bytes cuts text.
fn cut(steps: &[&Value]) -> Result<&'static Cut, String> {
    let digits =
        steps.iter().any(|step| step["type"] == "Digits" && step["individual_digits"] == true);
    let pattern = steps.iter().find(|step| step["type"] == "Split");
    let pattern = pattern.map(|step| step["pattern"]["Regex"].as_str().unwrap_or("a text"));
    let known = CUTS.iter().find(|cut| cut.pattern == pattern && cut.digits == digits);
    known.ok_or_else(|| "it cuts text in a way for which GGUF has no name".to_owned())
}

fn space_before(json: &Value, steps: &[&Value]) -> bool {
    let prepends = flat(&json["normalizer"], "normalizers");
    prepends.iter().any(|step| step["type"] == "Prepend")
        || steps.iter().any(|step| {
            step["type"] == "Metaspace"
                && (step["add_prefix_space"] == true
                    || ["first", "always"].iter().any(|scheme| step["prepend_scheme"] == *scheme))
        })
}

/// The tokens that are put before and after a text.
fn around(processor: &Value) -> (Option<usize>, Option<usize>) {
    let steps = flat(processor, "processors");
    let template = steps.iter().find(|step| step["type"] == "TemplateProcessing");
    let Some(template) = template else { return (None, None) };
    let parts: Vec<&Value> = template["single"].as_array().into_iter().flatten().collect();
    let id = |part: Option<&&Value>| {
        let name = part?["SpecialToken"]["id"].as_str()?;
        let id = template["special_tokens"][name]["ids"][0].as_u64()?;
        usize::try_from(id).ok()
    };
    (id(parts.first()), id(parts.last()))
}
