//! From files of text to shards of tokens.
//!
//! [`find`] lists the files of a corpus, [`Documents`] reads them document by document,
//! [`prepare`] leaves duplicates out, encodes the rest on several threads and writes it as
//! shards of raw tokens with an [`Index`], and [`inspect`] reads such a folder again, checks
//! every byte and counts. Nothing here holds more than a few documents, however large the corpus
//! is.
//!
//! The crate knows no tokenizer: whoever calls gives a function from text to tokens.
#![forbid(unsafe_code)]

mod error;
mod hash;
mod index;
mod inspect;
mod lengths;
mod prepare;
mod read;
mod sample;
#[cfg(test)]
mod scratch;
mod seen;
mod shards;
mod sources;
mod workplace;

pub use error::Error;
pub use index::{Crc, Index, Part, Shard, Tally, TokenizerFile, Width};
pub use inspect::{Inspected, Recount, inspect, inspect_file};
pub use lengths::Lengths;
pub use prepare::{Encode, Job, Outcome, Progress, Settings, prepare};
pub use read::{Counts, Document, Documents, Reading, Split};
pub use sample::sample;
pub use sources::{Format, Found, Selection, Source, find};
pub use workplace::Workplace;
