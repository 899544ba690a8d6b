//! From files to batches of tokens.
//!
//! [`Tokens`] is a long row of token ids, in memory or in files. [`split`] sets its end aside for
//! validation. [`Batches`] cuts windows out of a part of it, and its whole state is one
//! [`Position`], so that a run resumes with exactly the windows that it would have seen.
//!
//! [`Samples`] are texts apart, of which only a part may count: answers to prompts. [`Packs`] puts
//! several into one sequence. A [`Feed`] is either.

mod batches;
mod feed;
mod packs;
mod samples;
mod shards;
mod tokens;

pub use batches::{Batches, Order, Position, split};
pub use feed::{Feed, MicroBatch};
pub use packs::Packs;
pub use samples::{Sample, Samples};
pub use tokens::{Progress, Tokens, Width};

use std::path::PathBuf;

/// What can go wrong with data.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no token in it.
    #[error("{}: no tokens in it", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A file of raw tokens ends within a token.
    #[error("{}: {size} bytes is not a whole number of {width}-byte tokens", path.display())]
    OddSize {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// Bytes of one token.
        width: usize,
    },
    /// A token that the model does not have.
    #[error(
        "{}: token {id} at position {position} is outside the vocabulary of {vocabulary}",
        path.display()
    )]
    OutOfVocabulary {
        /// The file.
        path: PathBuf,
        /// Which token, counted from 0.
        position: u64,
        /// The token's id.
        id: u32,
        /// The size of the vocabulary.
        vocabulary: usize,
    },
    /// A token that the model does not have, found after the data were checked.
    #[error("token {id} at position {position} is outside the vocabulary of {vocabulary}")]
    UnknownToken {
        /// Which token, counted from 0.
        position: u64,
        /// The token's id.
        id: u32,
        /// The size of the vocabulary.
        vocabulary: usize,
    },
    /// A token that was not among those used when the data were looked through.
    #[error("token {id} is not one that the data used when the run began: have they changed?")]
    NewToken {
        /// The token's id.
        id: i32,
    },
    /// A text file is not UTF-8.
    #[error("{}: not UTF-8 text: byte {position} is wrong", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The first wrong byte, counted from 0.
        position: u64,
    },
    /// A line of a JSON-lines file has no text.
    #[error("{}: line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// There are not enough tokens for one window.
    #[error(
        "{found} tokens are too few for a sequence of {sequence}: at least {} are needed",
        sequence + 1
    )]
    TooShort {
        /// How many tokens there are.
        found: u64,
        /// The length of a sequence.
        sequence: usize,
    },
    /// Nothing to train on.
    #[error("there are no samples")]
    NoSamples,
    /// A sample was not cut to the length of a sequence.
    #[error("a sample of {found} tokens does not fit a sequence of {sequence}: at most {} do", sequence + 1)]
    LongSample {
        /// Its tokens.
        found: usize,
        /// The length of a sequence.
        sequence: usize,
    },
    /// Text cannot become tokens without a tokenizer.
    #[error("{}: a tokenizer is needed to read text", path.display())]
    NoTokenizer {
        /// The file.
        path: PathBuf,
    },
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] text::tokenizer::Error),
}
