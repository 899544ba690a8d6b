//! What files beside a model say about how to talk with it.

use super::Error;
use serde_json::{Map, Value};

/// Files by name.
type Files = [(String, Vec<u8>)];

fn object(files: &Files, name: &str) -> Result<Option<Map<String, Value>>, Error> {
    let Some((_, content)) = files.iter().find(|(known, _)| known == name) else {
        return Ok(None);
    };
    let format = |reason: String| Error::Format { name: name.to_owned(), reason };
    match serde_json::from_slice(content) {
        Ok(Value::Object(keys)) => Ok(Some(keys)),
        Ok(_) => Err(format("it must be an object".to_owned())),
        Err(error) => Err(format(error.to_string())),
    }
}

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// The tokens that begin and end a text, empty where there is none: strings, or objects with a
/// `content`.
pub(super) fn special_tokens(files: &Files) -> Result<(String, String), Error> {
    let keys = object(files, TOKENIZER_CONFIG)?.unwrap_or_default();
    let token = |key: &str| {
        let value = keys.get(key).map(|value| value.get("content").unwrap_or(value));
        value.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    Ok((token("bos_token"), token("eos_token")))
}

/// The text of the chat template, if there is one: of several, the one named `default`.
pub(super) fn template(files: &Files) -> Result<Option<String>, Error> {
    const FILE: &str = "chat_template.jinja";
    if let Some((_, content)) = files.iter().find(|(name, _)| name == FILE) {
        let text = String::from_utf8(content.clone());
        let refuse = |_| Error::Format { name: FILE.to_owned(), reason: "not UTF-8".to_owned() };
        return text.map(Some).map_err(refuse);
    }
    let keys = object(files, TOKENIZER_CONFIG)?.unwrap_or_default();
    match keys.get("chat_template") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Array(named)) => {
            let default = named.iter().find(|entry| entry["name"] == "default");
            let text = default.or(named.first()).and_then(|entry| entry["template"].as_str());
            Ok(text.map(str::to_owned))
        }
        Some(_) => Err(Error::Format {
            name: TOKENIZER_CONFIG.to_owned(),
            reason: "`chat_template` must be a string or a list".to_owned(),
        }),
    }
}

/// What a model's maker recommends for generating with it: `generation_config.json`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationConfig {
    /// The tokens that end a text.
    pub ends: Vec<u32>,
    /// Whether tokens are drawn, and the most probable one not always taken.
    pub sample: Option<bool>,
    /// What scores are divided by.
    pub temperature: Option<f32>,
    /// The share of probability that is drawn from.
    pub top_p: Option<f32>,
    /// The number of tokens that are drawn from.
    pub top_k: Option<usize>,
    /// How much less probable a token becomes that is there already.
    pub repetition_penalty: Option<f32>,
}

impl GenerationConfig {
    /// Reads it from the files beside a model; nothing is recommended where there is none.
    ///
    /// # Errors
    /// If it is not JSON, or a value has another type.
    pub fn of_model(files: &Files) -> Result<GenerationConfig, Error> {
        const FILE: &str = "generation_config.json";
        let keys = object(files, FILE)?.unwrap_or_default();
        let refuse = |key: &str, expected: &str| Error::Format {
            name: FILE.to_owned(),
            reason: format!("`{key}` must be {expected}"),
        };
        let get = |key: &str| keys.get(key).filter(|value| !value.is_null());
        let number = |key: &str| match get(key) {
            None => Ok(None),
            Some(value) => match value.as_f64().map(|number| number as f32) {
                Some(number) if number.is_finite() && number >= 0.0 => Ok(Some(number)),
                Some(_) => Err(refuse(key, "a number, not negative and not too large")),
                None => Err(refuse(key, "a number")),
            },
        };
        let top_k = get("top_k").map(|value| {
            let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
            count.ok_or_else(|| refuse("top_k", "a count"))
        });
        let sample = get("do_sample")
            .map(|value| value.as_bool().ok_or_else(|| refuse("do_sample", "true or false")));
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ends = match get("eos_token_id") {
            None => Some(vec![]),
            Some(Value::Array(ids)) => ids.iter().map(id).collect(),
            Some(one) => id(one).map(|id| vec![id]),
        };
        Ok(GenerationConfig {
            ends: ends.ok_or_else(|| refuse("eos_token_id", "a token, or a list of them"))?,
            sample: sample.transpose()?,
            temperature: number("temperature")?,
            top_p: number("top_p")?,
            top_k: top_k.transpose()?,
            repetition_penalty: number("repetition_penalty")?,
        })
    }
}

/// The seconds since 1970 as a date, by the few letters that templates use.
pub(super) fn date(format: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    date_of(format, now.map_or(0, |now| now.as_secs()))
}

/// The Gregorian calendar in UTC; the count of days is Hinnant's `civil_from_days`.
fn date_of(format: &str, seconds: u64) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const DAYS: [&str; 7] =
        ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March, so that a leap day is the last one.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (month_name, day_name) = (MONTHS[month as usize - 1], DAYS[(days % 7) as usize]);
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('d') => out.push_str(&format!("{day:02}")),
            Some('m') => out.push_str(&format!("{month:02}")),
            Some('Y') => out.push_str(&year.to_string()),
            Some('y') => out.push_str(&format!("{:02}", year % 100)),
            Some('b') => out.push_str(&month_name[..3]),
            Some('B') => out.push_str(month_name),
            Some('a') => out.push_str(&day_name[..3]),
            Some('A') => out.push_str(day_name),
            Some('H') => out.push_str(&format!("{:02}", second / 3600)),
            Some('M') => out.push_str(&format!("{:02}", second / 60 % 60)),
            Some('S') => out.push_str(&format!("{:02}", second % 60)),
            Some(other) => out.extend(['%', other]),
            None => out.push('%'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(name: &str, text: &str) -> Vec<(String, Vec<u8>)> {
        vec![(name.to_owned(), text.as_bytes().to_vec())]
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date_of("%d %b %Y", 0), "01 Jan 1970");
        // `date -u -d @1709210096` of GNU.
        assert_eq!(
            date_of("%A, %Y-%m-%d %H:%M:%S", 1_709_210_096),
            "Thursday, 2024-02-29 12:34:56"
        );
        assert_eq!(date_of("%B %y 100% %q", 4_102_444_799), "December 99 100% %q");
    }

    #[test]
    fn special_tokens_are_strings_or_objects() {
        let text = r#"{"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>"}"#;
        let tokens = special_tokens(&files(TOKENIZER_CONFIG, text)).unwrap();
        assert_eq!(tokens, ("<s>".to_owned(), "</s>".to_owned()));
        let none = special_tokens(&files(TOKENIZER_CONFIG, r#"{"bos_token": null}"#)).unwrap();
        assert_eq!(none, (String::new(), String::new()));
    }

    #[test]
    fn templates_are_found_where_they_may_be() {
        let of = |text: &str| template(&files(TOKENIZER_CONFIG, text)).unwrap();
        assert_eq!(of(r#"{"chat_template": "a"}"#).as_deref(), Some("a"));
        let named = r#"{"chat_template": [{"name": "tools", "template": "t"},
            {"name": "default", "template": "d"}]}"#;
        assert_eq!(of(named).as_deref(), Some("d"));
        assert_eq!(of("{}"), None);
        let mut both = files(TOKENIZER_CONFIG, r#"{"chat_template": "a"}"#);
        both.extend(files("chat_template.jinja", "b"));
        assert_eq!(template(&both).unwrap().as_deref(), Some("b"));
        let error = template(&files(TOKENIZER_CONFIG, "[]")).unwrap_err();
        assert_eq!(error.to_string(), "tokenizer_config.json: it must be an object");
    }

    #[test]
    fn recommendations_are_read_and_checked() {
        let of = |text: &str| GenerationConfig::of_model(&files("generation_config.json", text));
        let found = of(r#"{"eos_token_id": [1, 2], "top_k": 20, "temperature": 0.6}"#).unwrap();
        assert_eq!(found.ends, [1, 2]);
        assert_eq!((found.top_k, found.temperature, found.top_p), (Some(20), Some(0.6), None));
        assert_eq!(of(r#"{"eos_token_id": 7}"#).unwrap().ends, [7]);
        assert_eq!(GenerationConfig::of_model(&[]).unwrap(), GenerationConfig::default());
        let error = of(r#"{"top_p": "x"}"#).unwrap_err().to_string();
        assert_eq!(error, "generation_config.json: `top_p` must be a number");
        for (text, expected) in [
            (r#"{"eos_token_id": -1}"#, "`eos_token_id` must be a token, or a list of them"),
            (r#"{"eos_token_id": [1, 4294967296]}"#, "`eos_token_id` must be a token"),
            (r#"{"top_k": -1}"#, "`top_k` must be a count"),
            (r#"{"do_sample": 1}"#, "`do_sample` must be true or false"),
            (r#"{"temperature": -0.5}"#, "`temperature` must be a number, not negative"),
            (r#"{"temperature": 1e300}"#, "`temperature` must be a number, not negative"),
            (r#"{"top_p": 1e999}"#, "number out of range"),
            ("[]", "it must be an object"),
            ("{\"top_p\"", "EOF while parsing"),
        ] {
            let error = of(text).unwrap_err().to_string();
            assert!(error.starts_with("generation_config.json: "), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }
}
