//! Files of tokenizers that nobody can be sure of.
//!
//! The library that reads them takes for granted that they are well-formed: it panics at some that
//! are not, and does whatever they say. What could end the program or take memory without bound is
//! found here.

use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How many times longer a file's rules may make a text.
const MOST_GROWTH: f64 = 4096.0;

/// Reads the text of a `tokenizer.json`, or says what is wrong with it.
pub(super) fn read(bytes: &[u8]) -> Result<tokenizers::Tokenizer, String> {
    let json: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    for part in ["normalizer", "decoder"] {
        let growth = growth(&json[part]);
        if growth > MOST_GROWTH {
            return Err(format!(
                "`{part}` may make a text {growth:.0} times longer; {MOST_GROWTH} times are read"
            ));
        }
    }
    let mut tokenizer = guarded(|| tokenizers::Tokenizer::from_bytes(bytes))?;
    // A text has the tokens that it has: filling up and cutting off are for whoever makes batches,
    // and a file could ask for any number of tokens.
    tokenizer.with_padding(None);
    guarded(|| tokenizer.with_truncation(None).map(|_| ()))?;
    Ok(tokenizer)
}

/// Calls the library; a panic there is an error.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T, tokenizers::Error>) -> Result<T, String> {
    // What it leaves behind in the middle of a change is not used: a tokenizer that is being read
    // is dropped, and one that is used does not change but for a cache, which has its own lock.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text =
                text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason");
            Err(format!("the library for tokenizers gave up on it: {text}"))
        }
    }
}

/// How many times longer the steps of a normalizer or a decoder may make a text, at most: each one
/// that puts a text in the place of another multiplies.
fn growth(step: &Value) -> f64 {
    let list = step["normalizers"].as_array().or_else(|| step["decoders"].as_array());
    let parts = list.map_or(1.0, |steps| steps.iter().map(growth).product());
    let length = |value: &Value| value.as_str().map_or(0, str::len) as f64;
    let own = match step["type"].as_str() {
        Some("Replace") => {
            // A pattern may match next to nothing, and one that is empty between any two letters.
            let shortest = length(&step["pattern"]["String"]).max(1.0);
            let added = if length(&step["pattern"]["String"]) == 0.0 { 1.0 } else { 0.0 };
            (length(&step["content"]) / shortest + added).max(1.0)
        }
        _ => 1.0,
    };
    parts * own
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn small() -> Value {
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
            "model": { "type": "BPE", "vocab": { "a": 0, "b": 1, "ab": 2 }, "merges": ["a b"] },
        })
    }

    fn refusal(json: &Value) -> String {
        read(json.to_string().as_bytes()).expect_err("it is refused")
    }

    #[test]
    fn a_file_at_which_the_library_panics_is_an_error() {
        let whole = small().to_string();
        read(whole.as_bytes()).expect("it is good");
        for length in 0..whole.len() {
            read(&whole.as_bytes()[..length]).expect_err("it is cut off");
        }
        let panics = guarded::<()>(|| panic!("as it does with {}", "some files"));
        let expected = "the library for tokenizers gave up on it: as it does with some files";
        assert_eq!(panics.expect_err("it panics"), expected);
        // Precompiled tables are taken for good by the library.
        let mut json = small();
        json["normalizer"] = json!({ "type": "Precompiled", "precompiled_charsmap": "AAAA" });
        refusal(&json);
    }

    #[test]
    fn a_file_cannot_make_texts_without_bound() {
        let double =
            |kind: &str| json!({ "type": kind, "pattern": { "String": "a" }, "content": "aa" });
        let many = vec![double("Replace"); 40];
        for (part, list) in [("normalizer", "normalizers"), ("decoder", "decoders")] {
            let mut json = small();
            json[part] = json!({ "type": "Sequence", list: many });
            let error = refusal(&json);
            assert!(
                error.starts_with(&format!("`{part}` may make a text 1099511627776")),
                "{error}"
            );
            json[part][list] = json!([double("Replace"), double("Replace")]);
            read(json.to_string().as_bytes()).expect("real files have some of these");
        }
        let mut json = small();
        json["padding"] = json!({
            "strategy": { "Fixed": 1_000_000_000 }, "direction": "Right",
            "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "a",
        });
        json["truncation"] = json!({
            "direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0,
        });
        let tokenizer = read(json.to_string().as_bytes()).expect("it is good");
        let encoded = tokenizer.encode("abab", true).expect("it is encoded");
        assert_eq!(encoded.get_ids(), [2, 2]);
    }
}
