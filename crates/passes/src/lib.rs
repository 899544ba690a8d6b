//! Program to program: each pass reads a MIL function and gives another one.
//!
//! Start from [`autodiff::differentiate`]; [`simplify::run`] cleans a function up,
//! [`adapt::adapt`] adds low-rank updates, [`store::store`] takes parameters in a narrower type,
//! [`states::lift`] makes states inputs and outputs, [`trainable`] makes constants inputs that can
//! be trained.
//!
//! This crate evaluates nothing and knows no device.
#![forbid(unsafe_code)]

pub mod adapt;
pub mod autodiff;
pub mod bind;
pub mod pack;
pub mod partition;
pub mod simplify;
pub mod states;
pub mod store;
pub mod trainable;

mod edit;
