//! Language models as MIL programs.
//!
//! A model is a [`Config`]: sizes, and the few choices in which the families differ (how positions
//! rotate, what is normalized and how, which products have biases, how far back a position sees).
//! Adding a model is adding a configuration. [`parameters()`] lists what the model
//! learns; [`embed`], [`layer`], [`masked_layer`], [`head`], [`logits`] and [`cached_layer`] build the functions that
//! compute it, one layer at a time, for one shape and [`Layout`]; [`stateful`] builds it whole; [`rope_tables`] gives the rotations they read.
//!
//! This crate knows no device and holds no values: it writes programs and says what they need.
#![forbid(unsafe_code)]

mod config;
mod error;
mod hugging_face;
mod llama;
mod lora;
mod mask;
mod parameters;
mod presets;
mod rope;

pub use config::{Activation, Architecture, AttentionBias, Config, RopeStyle};
pub use error::Error;
pub use llama::{
    CacheShape, Layout, Shape, cached_layer, embed, head, layer, logits, masked_layer, repeated,
    stateful, stateful_input, taps,
};
pub use lora::{ALL_LINEAR, Lora, Matrix};
pub use mask::{HIDDEN, fill_cache_mask, fill_mask, fill_positions};
pub use parameters::{Init, Parameter, Role, parameters};
pub use presets::PRESETS;
pub use rope::{RopeScaling, RopeTables, halves_from_interleaved, rope_tables};
