//! Vocabularies with scores, as sentencepiece has them, as a `tokenizer.json`.
//!
//! Sentencepiece joins the two neighbours whose union has the highest score; a `tokenizer.json`
//! lists pairs in the order in which they are to be joined. So every way to cut a token into two
//! others is a pair, and pairs are sorted by the scores of their unions.

use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// What stands for a space in a vocabulary.
pub(super) const SPACE: &str = "\u{2581}";

/// What kind of token it is, numbered as in GGUF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

impl Kind {
    pub fn of(number: i64) -> Option<Kind> {
        use Kind::*;
        [Normal, Unknown, Control, UserDefined, Unused, Byte]
            .into_iter()
            .find(|&kind| kind as i64 == number)
    }

    /// Whether text of this form becomes this token before anything else happens to it.
    pub fn is_added(self) -> bool {
        matches!(self, Kind::Unknown | Kind::Control | Kind::UserDefined)
    }
}

/// A vocabulary.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pub tokens: Vec<String>,
    pub scores: Vec<f32>,
    pub kinds: Vec<Kind>,
    /// Whether a text begins as if a space were before it.
    pub space_before: bool,
    pub unknown: Option<usize>,
    /// Tokens that are put before and after a text.
    pub before: Option<usize>,
    pub after: Option<usize>,
}

/// Pairs of all tokens together may be so many, and this many for each: real vocabularies have two
/// or three, and a hostile one as many as all its tokens have bytes.
const MOST_PAIRS: usize = 1 << 16;
const MOST_PAIRS_PER_TOKEN: usize = 16;

/// Tokens of more bytes are not looked at for pairs: cutting takes time by their square.
const MAX_TOKEN: usize = 256;

impl Pieces {
    pub fn json(&self) -> Result<Value, String> {
        let vocab = vocabulary(&self.tokens)?;
        if let Some(id) = self.scores.iter().position(|score| score.is_nan()) {
            return Err(format!("the score of token {id} is not a number"));
        }
        let merges = self.merges(&vocab)?;
        let prepend = json!({ "type": "Prepend", "prepend": SPACE });
        let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": SPACE });
        let mut decoders = vec![
            json!({ "type": "Replace", "pattern": { "String": SPACE }, "content": " " }),
            json!({ "type": "ByteFallback" }),
            json!({ "type": "Fuse" }),
        ];
        let mut normalizers = vec![replace];
        if self.space_before {
            normalizers.insert(0, prepend);
            decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        }
        let object: Map<String, Value> =
            vocab.iter().map(|(token, id)| ((*token).to_owned(), (*id).into())).collect();
        Ok(json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added(&self.tokens, &self.kinds),
            "normalizer": { "type": "Sequence", "normalizers": normalizers },
            "pre_tokenizer": null,
            "post_processor": template(&self.tokens, self.before, self.after),
            "decoder": { "type": "Sequence", "decoders": decoders },
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": self.unknown.map(|id| &self.tokens[id]),
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": true,
                "byte_fallback": self.kinds.contains(&Kind::Byte),
                "ignore_merges": false,
                "vocab": object,
                "merges": merges,
            },
        }))
    }

    fn merges<'a>(&'a self, vocab: &HashMap<&'a str, usize>) -> Result<Vec<[&'a str; 2]>, String> {
        let most = MOST_PAIRS + MOST_PAIRS_PER_TOKEN * self.tokens.len();
        let mut merges = vec![];
        for (id, token) in self.tokens.iter().enumerate() {
            let joined = matches!(self.kinds[id], Kind::Normal | Kind::UserDefined | Kind::Unused);
            if !joined || token.len() > MAX_TOKEN {
                continue;
            }
            for (at, _) in token.char_indices().skip(1) {
                let (left, right) = token.split_at(at);
                if let (Some(&l), Some(&r)) = (vocab.get(left), vocab.get(right)) {
                    merges.push((self.scores[id], id, l, r, [left, right]));
                }
            }
            if merges.len() > most {
                return Err(format!(
                    "its {} tokens are made of more than {most} pairs of others",
                    self.tokens.len()
                ));
            }
        }
        merges.sort_by(|a, b| {
            b.0.total_cmp(&a.0).then_with(|| (a.1, a.2, a.3).cmp(&(b.1, b.2, b.3)))
        });
        Ok(merges.into_iter().map(|(.., pair)| pair).collect())
    }
}

/// The ids of tokens, of which no two may be the same.
pub(super) fn vocabulary(tokens: &[String]) -> Result<HashMap<&str, usize>, String> {
    let mut vocab = HashMap::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        if let Some(other) = vocab.insert(token.as_str(), id) {
            return Err(format!("tokens {other} and {id} are both {token:?}"));
        }
    }
    Ok(vocab)
}

/// The list of tokens that are found in text before anything else.
pub(super) fn added(tokens: &[String], kinds: &[Kind]) -> Vec<Value> {
    let all = tokens.iter().zip(kinds).enumerate().filter(|(_, (_, kind))| kind.is_added());
    all.map(|(id, (token, kind))| {
        json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": *kind != Kind::UserDefined,
        })
    })
    .collect()
}

/// What puts tokens before and after a text.
pub(super) fn template(tokens: &[String], before: Option<usize>, after: Option<usize>) -> Value {
    if before.is_none() && after.is_none() {
        return Value::Null;
    }
    let special = |id: usize| json!({ "SpecialToken": { "id": tokens[id], "type_id": 0 } });
    let text = |id: &str| json!({ "Sequence": { "id": id, "type_id": 0 } });
    let around = |id| -> Vec<Value> {
        before.map(special).into_iter().chain([text(id)]).chain(after.map(special)).collect()
    };
    let names: Map<String, Value> = before
        .into_iter()
        .chain(after)
        .map(|id| {
            let token = &tokens[id];
            (token.clone(), json!({ "id": token, "ids": [id], "tokens": [token] }))
        })
        .collect();
    let pair = [around("A"), around("B")].concat();
    json!({
        "type": "TemplateProcessing",
        "single": around("A"),
        "pair": pair,
        "special_tokens": names,
    })
}
