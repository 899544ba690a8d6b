//! Documents of a file with a JSON value on every line.

use super::pieces::{End, Pieces};
use super::{Counts, Next, Reading, Split};
use crate::Error;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A JSON-lines file, read line by line.
pub(super) struct Lines {
    path: PathBuf,
    pieces: Pieces,
    field: String,
    limit: usize,
    skip_bad: bool,
    lossy: bool,
    line: u64,
}

impl Lines {
    pub fn new(path: &Path, stream: Box<dyn Read + Send>, reading: &Reading) -> Self {
        Self {
            path: path.to_owned(),
            pieces: Pieces::new(stream, Split::Lines, reading.max_document),
            field: reading.field.clone(),
            limit: reading.max_document,
            skip_bad: reading.skip_bad,
            lossy: reading.lossy,
            line: 0,
        }
    }

    /// The text of the next line that is not empty.
    pub fn next(&mut self, counts: &mut Counts) -> Next {
        loop {
            self.line += 1;
            match self.text(counts) {
                Ok(None) => return None,
                Ok(Some(Ok(Some(text)))) => return Some(Ok(text)),
                Ok(Some(Ok(None))) => {}
                Ok(Some(Err(_))) if self.skip_bad => counts.bad += 1,
                Ok(Some(Err(reason))) => {
                    let (path, line) = (self.path.clone(), self.line);
                    return Some(Err(Error::Line { path, line, reason }));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The text of the next line or why it has none; nothing for an empty line.
    #[allow(clippy::type_complexity)] // The file ends; the line is empty; the line is bad.
    fn text(
        &mut self,
        counts: &mut Counts,
    ) -> Result<Option<Result<Option<String>, String>>, Error> {
        let piece = self.pieces.next().map_err(Error::file(&self.path))?;
        let Some(piece) = piece else { return Ok(None) };
        if piece.end == End::Limit {
            while let Some(more) = self.pieces.next().map_err(Error::file(&self.path))?
                && more.end == End::Limit
            {}
            return Ok(Some(Err(format!("the line is longer than {} bytes", self.limit))));
        }
        let bytes = piece.bytes.trim_ascii();
        if bytes.is_empty() {
            return Ok(Some(Ok(None)));
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(_) => text_of(bytes, &self.field),
            Err(_) if self.lossy => {
                let repaired = String::from_utf8_lossy(bytes);
                let text = text_of(repaired.as_bytes(), &self.field);
                counts.repaired += u64::from(text.is_ok());
                text
            }
            Err(error) => {
                let start = piece.bytes.len() - piece.bytes.trim_ascii_start().len();
                let position = piece.position + (start + error.valid_up_to()) as u64;
                Err(format!("not UTF-8 text: byte {position} of the file is wrong"))
            }
        };
        Ok(Some(text.map(Some)))
    }
}

/// The text of a line: a string, or a field of an object.
fn text_of(line: &[u8], field: &str) -> Result<String, String> {
    if line[0] == b'[' {
        return Err("a list: every line must be an object or a string of its own".to_owned());
    }
    let mut json = serde_json::Deserializer::from_slice(line);
    let text = Text { field }.deserialize(&mut json);
    let text = text.and_then(|text| json.end().map(|()| text));
    text.map_err(|error| {
        // The place that the library adds counts lines within this one.
        let (column, reason) = (error.column(), error.to_string());
        let reason =
            reason.rsplit_once(" at line 1 column ").map_or(&*reason, |(reason, _)| reason);
        format!("{reason} (column {column})")
    })
}

/// Takes one field out of an object and holds nothing else.
struct Text<'a> {
    field: &'a str,
}

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<String, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text<'_> {
    type Value = String;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "a string or an object with a field `{}` that is one", self.field)
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<String, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if name != self.field {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value_seed(OnlyText { field: self.field })?;
            if found.replace(value).is_some() {
                return Err(A::Error::custom(format!("field `{}` stands there twice", self.field)));
            }
        }
        found.ok_or_else(|| A::Error::custom(format!("no field `{}`", self.field)))
    }
}

/// A string and nothing else; a null counts as one without text.
struct OnlyText<'a> {
    field: &'a str,
}

impl<'de> DeserializeSeed<'de> for OnlyText<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<String, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OnlyText<'_> {
    type Value = String;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "a string in field `{}`", self.field)
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_string<E>(self, text: String) -> Result<String, E> {
        Ok(text)
    }

    fn visit_unit<E>(self) -> Result<String, E> {
        Ok(String::new())
    }
}
