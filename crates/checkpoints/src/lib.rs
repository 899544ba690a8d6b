//! Checkpoints in and out.
//!
//! [`formats`] knows files and nothing of models: each reader turns a file into [`Tensors`], a
//! table of where every tensor lies and how its numbers are encoded. Data are read by position,
//! by any number of threads at once, and become f32 block by block on the way, so that nothing
//! is in memory but what was asked for. No file is mapped: one that shrinks while it is mapped
//! would end the process.
//!
//! Whatever a file claims is checked against its size before memory is taken for it.
#![forbid(unsafe_code)]

mod encoding;
mod error;
pub mod formats;
mod input;
mod output;
mod tensors;

pub use encoding::Encoding;
pub use error::Error;
pub use input::Input;
pub use output::{AtomicFile, Planned, Visit};
pub use tensors::{TensorInfo, Tensors};
