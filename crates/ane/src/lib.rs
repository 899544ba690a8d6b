//! The Neural Engine of Apple's chips: what it accepts, what it costs, an emulator that fails as
//! it does, and a device that trains on it.
//!
//! - [`target`]: chips, systems and routes with their rules as data, and [`target::check`];
//! - [`Engine`]: what every route to the engine offers, real or emulated;
//! - [`emulator`]: the engine in software, under the same rules;
//! - [`cost`]: what programs are predicted to cost, compared with what was published;
//! - [`device::AneDevice`]: a device for training, made of an engine and a host;
//! - [`recording`]: what was done with an engine, written down and replayed;
//! - [`selftest`]: small programs whose results are compared with the emulator's.
//!
//! The routes through Apple's private frameworks are in the crate `apple`, which implements
//! [`Engine`] too. This crate knows nothing of training.
#![forbid(unsafe_code)]

pub mod cost;
pub mod device;
pub mod emulator;
mod engine;
pub mod ports;
pub mod recording;
pub mod selftest;
pub mod target;

pub use emulator::{Emulator, EmulatorOptions, Numerics, Quirk};
pub use engine::{Engine, EngineError, Evaluation, Model, Source, Stage, Usage};
