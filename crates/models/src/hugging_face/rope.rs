//! The settings of the rotation: `rope_theta` and `rope_scaling`, or `rope_parameters`, where newer
//! files keep both.

use super::keys::{get, number, object, size, text};
use crate::{Error, RopeScaling};
use serde_json::{Map, Value, json};

/// The objects that may hold settings; the first is the newer name.
const OBJECTS: [&str; 2] = ["rope_parameters", "rope_scaling"];

/// What may stand in them. Of anything else we do not know whether it changes the rotation.
const KNOWN: [&str; 8] = [
    "rope_type",
    "type",
    "rope_theta",
    "partial_rotary_factor",
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
];

/// The base of the frequencies; newer files keep it among the other settings of the rotation.
pub(super) fn theta(keys: &Map<String, Value>) -> Result<f64, Error> {
    for key in OBJECTS {
        if let Some(rope) = object(keys, key)?
            && let Some(theta) = number(rope, "rope_theta")?
        {
            return Ok(theta);
        }
    }
    Ok(number(keys, "rope_theta")?.unwrap_or(10_000.0))
}

/// How the frequencies are scaled, if they are.
pub(super) fn scaling(keys: &Map<String, Value>) -> Result<Option<RopeScaling>, Error> {
    let mut found = None;
    for key in OBJECTS {
        let Some(rope) = object(keys, key)? else { continue };
        if let Some(other) = rope.keys().find(|k| !KNOWN.contains(&k.as_str()))
            && get(rope, other).is_some()
        {
            let expected = format!("only {} are offered", KNOWN.join(", "));
            return Err(Error::config(key, format!("an object with {other:?}"), expected));
        }
        let scaling = scaling_of(key, rope)?;
        match (&found, scaling) {
            (Some(first), Some(second)) if *first != second => {
                let expected = "it must say what `rope_parameters` says";
                return Err(Error::config(key, "another scaling", expected));
            }
            (_, Some(scaling)) => found = Some(scaling),
            (_, None) => {}
        }
    }
    Ok(found)
}

/// The scaling that one object asks for.
fn scaling_of(key: &'static str, rope: &Map<String, Value>) -> Result<Option<RopeScaling>, Error> {
    if let Some(share) = number(rope, "partial_rotary_factor")?
        && share != 1.0
    {
        return Err(Error::config("partial_rotary_factor", share, "only 1 is offered"));
    }
    let kind = match text(rope, "rope_type")? {
        Some(kind) => Some(kind),
        None => text(rope, "type")?,
    };
    let need = |key| number(rope, key)?.ok_or(Error::Missing(key));
    Ok(match kind {
        None | Some("default") => None,
        Some("linear") => Some(RopeScaling::Linear { factor: need("factor")? }),
        Some("llama3") => {
            let original = "original_max_position_embeddings";
            Some(RopeScaling::Llama3 {
                factor: need("factor")?,
                low_freq_factor: need("low_freq_factor")?,
                high_freq_factor: need("high_freq_factor")?,
                original_max_seq: size(rope, original)?.ok_or(Error::Missing(original))?,
            })
        }
        Some(other) => {
            let expected = "only default, linear and llama3 are offered";
            return Err(Error::config(key, other, expected));
        }
    })
}

/// The object `rope_scaling` that says this.
pub(super) fn written(scaling: &RopeScaling) -> Value {
    match *scaling {
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_seq } => {
            json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": original_max_seq,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Config, RopeScaling};
    use serde_json::{Value, json};

    fn tiny(key: &str, value: Value) -> Value {
        let mut json = Config::preset("tiny").expect("the preset is there").to_hugging_face();
        json[key] = value;
        json
    }

    fn llama3() -> Value {
        json!({
            "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        })
    }

    #[test]
    fn a_scaling_is_read_under_both_names_and_survives_the_way_there_and_back() {
        let linear = RopeScaling::Linear { factor: 4.0 };
        let scaled = RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_seq: 8192,
        };
        for key in ["rope_scaling", "rope_parameters"] {
            for (value, expected) in [
                (json!({ "rope_type": "linear", "factor": 4 }), linear),
                (json!({ "type": "linear", "factor": 4.0 }), linear),
                (llama3(), scaled),
            ] {
                let read = Config::from_hugging_face(&tiny(key, value)).expect("it is offered");
                assert_eq!(read.rope_scaling, Some(expected));
                assert_eq!(read.rope_theta, 10_000.0);
                let back = Config::from_hugging_face(&read.to_hugging_face());
                assert_eq!(back.expect("what is written is read"), read);
            }
        }
    }

    #[test]
    fn a_scaling_that_is_not_understood_is_refused_by_name() {
        let with = |key: &str, value: Value| {
            let mut scaling = llama3();
            scaling[key] = value;
            scaling
        };
        let cases = [
            (with("factor", Value::Null), "`factor` is missing"),
            (with("factor", json!("8")), "`factor` is \"8\"; expected a number"),
            (
                with("factor", json!(0)),
                "`rope_scaling.factor` is 0; it must be positive and finite",
            ),
            (
                with("low_freq_factor", json!(4)),
                "`rope_scaling.low_freq_factor` is 4; it must be less than `high_freq_factor`, \
                 which is 4",
            ),
            (
                with("original_max_position_embeddings", json!(0)),
                "`rope_scaling.original_max_seq` is 0; it must be from 1 to 2147483647",
            ),
            (
                with("partial_rotary_factor", json!(0.5)),
                "`partial_rotary_factor` is 0.5; only 1 is offered",
            ),
            (
                with("full_attention", json!({})),
                "`rope_scaling` is an object with \"full_attention\"; only rope_type, type, \
                 rope_theta, partial_rotary_factor, factor, low_freq_factor, high_freq_factor, \
                 original_max_position_embeddings are offered",
            ),
        ];
        for (scaling, expected) in cases {
            let error = Config::from_hugging_face(&tiny("rope_scaling", scaling));
            assert_eq!(error.expect_err(expected).to_string(), expected);
        }
        let mut both = tiny("rope_scaling", llama3());
        both["rope_parameters"] = with("factor", json!(8));
        let error = Config::from_hugging_face(&both).expect_err("they differ").to_string();
        let expected = "it must say what `rope_parameters` says";
        assert_eq!(error, format!("`rope_scaling` is another scaling; {expected}"));
    }
}
