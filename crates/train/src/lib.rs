//! Training on the host's side: what a loop needs besides a device.
//!
//! Text becomes tokens ([`tokenizer`], [`stories`]), tokens become batches ([`data`]), gradients
//! become new parameters ([`adamw`], [`schedule`]), and all of it survives a crash
//! ([`checkpoint`]) and can be looked at ([`metrics`], [`plot`]). Everything is deterministic for
//! a seed ([`rng`]) and independent of the number of threads.
//!
//! None of these modules knows which device runs the model.
#![forbid(unsafe_code)]

pub mod adamw;
pub mod checkpoint;
pub mod data;
pub mod metrics;
pub mod plot;
pub mod rng;
pub mod schedule;
#[cfg(test)]
mod scratch;
pub mod stories;
pub mod tokenizer;
