//! Text from a model: prefill and decode over a cache of keys and values, and sampling.
//!
//! A [`Generator`] is a model compiled for generation on one device. The prompt goes in by
//! chunks, then one token at a time; both are the function `cached_layer` at different lengths.
//! The cache is in surfaces, one pair a layer. A [`Batch`] goes on with several texts at once. This crate knows no particular device.
#![forbid(unsafe_code)]

mod adapter;
mod batch;
mod generator;
mod sampling;
mod stage;

pub use adapter::Adapter;
pub use batch::Batch;
pub use generator::{Generator, GeneratorOptions, Weights};
pub use sampling::{Sampler, Sampling, StopStrings};

/// Why nothing can be generated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model's functions cannot be built.
    #[error(transparent)]
    Model(#[from] models::Error),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] runtime::Error),
    /// Memory failed.
    #[error(transparent)]
    Surface(#[from] surface::Error),
    /// A parameter is missing or has another size.
    #[error("parameter `{name}` needs {expected} bytes, found {found}")]
    Parameter {
        /// Its name in checkpoints.
        name: String,
        /// Bytes by the configuration.
        expected: usize,
        /// Bytes given; 0 if it is missing.
        found: usize,
    },
    /// An adapter of a higher rank than the generator was compiled for.
    #[error("the adapter has rank {found}, the generator was compiled for ranks up to {room}")]
    AdapterRank {
        /// Its rank.
        found: usize,
        /// The largest rank.
        room: usize,
    },
    /// An adapter of a module for which the generator was not compiled.
    #[error("the adapter has `{0}`, for which the generator was not compiled")]
    AdapterTarget(String),
    /// More tokens than the cache holds.
    #[error("the context is full: it holds {capacity} tokens")]
    ContextFull {
        /// Tokens that the cache holds.
        capacity: usize,
    },
    /// Nothing to read.
    #[error("there are no tokens to read")]
    NoTokens,
    /// A token that the model does not have.
    #[error("token {token} is not in the vocabulary of {vocab}")]
    Token {
        /// The token.
        token: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// A sampling option is out of range.
    #[error("{0}")]
    Sampling(String),
}
