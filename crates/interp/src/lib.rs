//! The plain meaning of every MIL op: the oracle that devices are compared with.
//!
//! Start from [`evaluate`]. Floats are f64 and integers i64; each op computes from its definition,
//! in loops over indices, and rounds once to the type of its result. Nothing here is fast, and
//! nothing here is clever.
#![forbid(unsafe_code)]

mod arithmetic;
mod array;
mod control;
mod evaluate;
mod index;
mod lists;
mod ops;
mod value;

pub use arithmetic::{Arithmetic, Step};
pub use array::{Array, Data};
pub use evaluate::{Error, Options, Outputs, Rounding, apply, evaluate};
pub use value::{Dictionary, classify};
