//! Typed values of the metadata.

use crate::Error;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A value. Numbers keep the type that they have in the file, because readers ask for it; lists
/// of integers are kept as the widest.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Floats(Vec<f32>),
    Integers(Vec<i64>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl Value {
    /// A count, of any integer type.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::U8(n) => Some(n.into()),
            Value::U16(n) => Some(n.into()),
            Value::U32(n) => Some(n.into()),
            Value::U64(n) => Some(n),
            Value::I8(n) => n.try_into().ok(),
            Value::I16(n) => n.try_into().ok(),
            Value::I32(n) => n.try_into().ok(),
            Value::I64(n) => n.try_into().ok(),
            _ => None,
        }
    }

    /// A number, of any type. One of single precision is the shortest decimal number that it
    /// stands for, so that 1e-5 is not 0.00000999999974.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::F32(n) => n.to_string().parse().ok(),
            Value::F64(n) => Some(n),
            _ => self.as_u64().map(|n| n as f64),
        }
    }

    fn kind(&self) -> String {
        match self {
            Value::Text(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
            Value::Texts(list) => format!("a list of {} texts", list.len()),
            Value::Floats(list) => format!("a list of {} numbers", list.len()),
            Value::Integers(list) => format!("a list of {} integers", list.len()),
            Value::Bool(flag) => flag.to_string(),
            Value::I8(n) => n.to_string(),
            Value::I16(n) => n.to_string(),
            Value::I32(n) => n.to_string(),
            Value::I64(n) => n.to_string(),
            number => number.as_f64().map_or_else(|| "a number".to_owned(), |n| n.to_string()),
        }
    }
}

/// The metadata of a file.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    pub(super) path: PathBuf,
    pub(super) values: BTreeMap<String, Value>,
}

impl Metadata {
    /// A key's value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// Every key and its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| {
            let reason = format!("`{key}` is {}; expected {expected}", value.kind());
            Error::format(&self.path, reason)
        })
    }

    /// A count.
    ///
    /// # Errors
    /// If it is something else.
    pub fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        self.typed(key, "a count", Value::as_u64)
    }

    /// A number.
    ///
    /// # Errors
    /// If it is something else.
    pub fn number(&self, key: &str) -> Result<Option<f64>, Error> {
        self.typed(key, "a number", Value::as_f64)
    }

    /// True or false.
    ///
    /// # Errors
    /// If it is something else.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        self.typed(key, "true or false", |value| match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    /// A text.
    ///
    /// # Errors
    /// If it is something else.
    pub fn text(&self, key: &str) -> Result<Option<&str>, Error> {
        self.typed(key, "a text", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// A list of texts.
    ///
    /// # Errors
    /// If it is something else.
    pub fn texts(&self, key: &str) -> Result<Option<&[String]>, Error> {
        self.typed(key, "a list of texts", |value| match value {
            Value::Texts(list) => Some(list.as_slice()),
            _ => None,
        })
    }

    /// A list of numbers.
    ///
    /// # Errors
    /// If it is something else.
    pub fn floats(&self, key: &str) -> Result<Option<&[f32]>, Error> {
        self.typed(key, "a list of numbers", |value| match value {
            Value::Floats(list) => Some(list.as_slice()),
            _ => None,
        })
    }

    /// A list of integers.
    ///
    /// # Errors
    /// If it is something else.
    pub fn integers(&self, key: &str) -> Result<Option<&[i64]>, Error> {
        self.typed(key, "a list of integers", |value| match value {
            Value::Integers(list) => Some(list.as_slice()),
            _ => None,
        })
    }
}
