//! Lines of a recording.

use crate::{EngineError, Stage};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the format.
pub(super) const VERSION: u32 = 1;

/// One line. Surfaces, models and requests are numbered from 0 as they are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Entry {
    Open {
        version: u32,
        target: String,
        route: String,
        description: String,
    },
    Surface {
        bytes: usize,
        error: Option<Failure>,
    },
    Compile {
        name: String,
        text: String,
        weights: BTreeMap<String, String>,
        error: Option<Failure>,
    },
    Bind {
        model: usize,
        inputs: Vec<usize>,
        outputs: Vec<usize>,
        error: Option<Failure>,
    },
    Evaluate {
        request: usize,
        inputs: Vec<String>,
        outputs: Vec<String>,
        error: Option<Failure>,
    },
    Note {
        line: String,
    },
    End {
        calls: usize,
    },
}

/// An [`EngineError`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failure {
    kernel: String,
    stage: String,
    code: Option<u32>,
    message: String,
    needs_new_process: bool,
}

const STAGES: [(Stage, &str); 6] = [
    (Stage::Open, "open"),
    (Stage::Surface, "surface"),
    (Stage::Compile, "compile"),
    (Stage::Load, "load"),
    (Stage::Bind, "bind"),
    (Stage::Evaluate, "evaluate"),
];

impl Failure {
    pub(super) fn of(error: &EngineError) -> Failure {
        let stage = STAGES.iter().find(|(stage, _)| *stage == error.stage);
        Failure {
            kernel: error.kernel.clone(),
            stage: stage.map_or("", |(_, name)| name).to_owned(),
            code: error.code,
            message: error.message.clone(),
            needs_new_process: error.needs_new_process,
        }
    }

    /// The error, unless its stage is unknown.
    pub(super) fn error(&self) -> Option<EngineError> {
        let (stage, _) = STAGES.iter().find(|(_, name)| *name == self.stage)?;
        Some(EngineError {
            kernel: self.kernel.clone(),
            stage: *stage,
            code: self.code,
            message: self.message.clone(),
            needs_new_process: self.needs_new_process,
        })
    }
}

const BEFORE: &str = "{\"check\":\"";
const BETWEEN: &str = "\",\"entry\":";

/// The line of an entry, without its end.
pub(super) fn line(entry: &Entry) -> String {
    let entry = serde_json::to_string(entry).expect("an entry has no map without text keys");
    format!("{BEFORE}{:016x}{BETWEEN}{entry}}}", sum(entry.as_bytes()))
}

/// The entry of a line.
///
/// # Errors
/// If the line is none, or is damaged.
pub(super) fn parse(line: &str) -> Result<Entry, String> {
    let rest = line.strip_prefix(BEFORE).ok_or("it does not begin as a line of a recording")?;
    let (check, rest) = rest.split_once(BETWEEN).ok_or("it has no entry")?;
    let entry = rest.strip_suffix('}').ok_or("it is cut off")?;
    if u64::from_str_radix(check, 16) != Ok(sum(entry.as_bytes())) {
        return Err("it is damaged: its sum differs".to_owned());
    }
    serde_json::from_str(entry).map_err(|error| error.to_string())
}

/// FNV-1a of 64 bits: sees damage, and is no protection against intent.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Bytes in hexadecimal, without the zeros at their end.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes[..used].iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// What [`hexadecimal`] wrote, with zeros up to `length`; `None` if it is longer or not
/// hexadecimal.
pub(super) fn bytes(text: &str, length: usize) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || text.len() / 2 > length {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let pairs = text.as_bytes().chunks_exact(2);
    let mut bytes = pairs
        .map(|pair| Some(value(pair[0])? << 4 | value(pair[1])?))
        .collect::<Option<Vec<_>>>()?;
    bytes.resize(length, 0);
    Some(bytes)
}
