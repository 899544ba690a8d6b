//! Training: a model on a device, and all that a loop needs besides.
//!
//! Start from [`Trainer`]; [`Network`] is the model compiled for a device.
//!
//! Text ([`stories`], or files) becomes tokens and batches ([`data`]), gradients
//! become new parameters ([`adamw`], [`schedule`], [`loss_scale`]), and all of it survives a crash
//! ([`checkpoint`]) and can be looked at ([`metrics`], [`plot`]). Everything is deterministic for
//! a seed ([`rng`]) and independent of the number of threads.
//!
//! [`fit`] trains any other program on arrays of examples.
//!
//! Nothing here knows which device runs the model.
#![forbid(unsafe_code)]

pub mod adamw;
pub mod checkpoint;
pub mod data;
pub mod fit;
pub mod loss_scale;
pub mod metrics;
pub mod parity;
pub mod plot;
pub mod rng;
pub mod schedule;
#[cfg(test)]
mod scratch;
pub mod stories;
pub mod vocabulary;

mod error;
mod network;
mod trainer;

pub use error::Error;
pub use network::{BaseParameter, Batch, Network, NetworkOptions, ParameterState};
pub use trainer::{About, ReadParameter, Trainer, TrainerOptions, initialize};
