//! Conversations as a model was trained to see them.
//!
//! A [`ChatTemplate`] turns messages into text, as `transformers` does with the same template;
//! [`encode_chat`] and [`encode_pair`] make samples for training of which only the answers count;
//! [`records`] reads conversations and instructions from JSON lines.

mod config;
mod json;
mod records;
mod samples;
mod template;

pub use config::GenerationConfig;
pub use records::{Record, has_records, records};
pub use samples::{Sample, encode_chat, encode_pair};
pub use template::{CHATML, ChatTemplate};

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What somebody has said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what else a template knows.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: &str, content: &str) -> Message {
        Message { role: role.to_owned(), content: content.to_owned() }
    }
}

/// What can be wrong with a conversation or the way to write it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that describes a tokenizer or a model is not as it must be.
    #[error("{name}: {reason}")]
    Format {
        /// The file.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A line of a file is no record.
    #[error("{}: line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The template does not work, or refuses the messages.
    #[error("chat template: {0}")]
    Template(String),
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] crate::tokenizer::Error),
}
