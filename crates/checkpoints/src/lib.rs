//! Checkpoints in and out.
//!
//! [`formats`] knows files and nothing of models: each reader turns a file into [`Tensors`], a
//! table of where every tensor lies and how its numbers are encoded. Data are read by position,
//! by any number of threads at once, and become f32 block by block on the way, so that nothing
//! is in memory but what was asked for. No file is mapped: one that shrinks while it is mapped
//! would end the process.
//!
//! [`Source`] opens any of them as a model, with the names and layouts that the crate `models`
//! has.
//!
//! [`save()`] writes a model in any of them, and [`convert`] does so with what a source holds.
//!
//! Whatever a file claims is checked against its size before memory is taken for it.
#![forbid(unsafe_code)]

mod encoding;
mod error;
pub mod formats;
mod input;
mod layout;
mod output;
mod save;
mod source;
mod tensors;
mod tokenizer;

pub use encoding::Encoding;
pub use error::Error;
pub use input::Input;
pub use output::{AtomicFile, Planned, Visit};
pub use save::{Model, SHARD, Saved, Target, Values, convert, save};
pub use source::{Format, Place, Source};
pub use tensors::{TensorInfo, Tensors};
pub use tokenizer::from_llama2c;
