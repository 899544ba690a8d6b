//! The plan of a function, made once when it is compiled.
//!
//! `lower` turns operations into a graph of few kinds of node in which views are free; `fuse`
//! groups nodes into units, each one pass over memory; `place` gives tensors their memory;
//! `build` makes the steps; `step` runs them.

mod build;
mod emit_rows;
mod fuse;
mod graph;
mod lower;
mod memory;
mod place;
mod rewrite;
mod step;
mod view;

pub(crate) use build::{Pack, PackSource, Plan, compile};
pub(crate) use step::Context;
