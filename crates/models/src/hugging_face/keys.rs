//! Keys of a JSON object, each with the type that it must have.

use crate::Error;
use serde_json::{Map, Value};

/// A key's value; `null` counts as absent.
pub(crate) fn get<'a>(keys: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    keys.get(key).filter(|value| !value.is_null())
}

pub(crate) fn typed<'a, T>(
    keys: &'a Map<String, Value>,
    key: &'static str,
    expected: &str,
    read: impl Fn(&'a Value) -> Option<T>,
) -> Result<Option<T>, Error> {
    let read = |value| {
        read(value).ok_or_else(|| Error::config(key, kind(value), format!("expected {expected}")))
    };
    get(keys, key).map(read).transpose()
}

pub(crate) fn size(keys: &Map<String, Value>, key: &'static str) -> Result<Option<usize>, Error> {
    typed(keys, key, "a count", |v| v.as_u64().and_then(|n| usize::try_from(n).ok()))
}

pub(crate) fn number(keys: &Map<String, Value>, key: &'static str) -> Result<Option<f64>, Error> {
    typed(keys, key, "a number", Value::as_f64)
}

pub(crate) fn flag(keys: &Map<String, Value>, key: &'static str) -> Result<Option<bool>, Error> {
    typed(keys, key, "true or false", Value::as_bool)
}

pub(crate) fn text<'a>(
    keys: &'a Map<String, Value>,
    key: &'static str,
) -> Result<Option<&'a str>, Error> {
    typed(keys, key, "a string", Value::as_str)
}

pub(crate) fn object<'a>(
    keys: &'a Map<String, Value>,
    key: &'static str,
) -> Result<Option<&'a Map<String, Value>>, Error> {
    typed(keys, key, "an object", Value::as_object)
}

/// What stands in a file, short enough for a message.
pub(crate) fn kind(value: &Value) -> String {
    match value {
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
        Value::String(s) => format!("{:?}", s.chars().take(40).collect::<String>()),
        other => other.to_string(),
    }
}
