//! The plan of a function, made once when it is compiled.
//!
//! `lower` turns operations into a graph of few kinds of node in which views are free; `fuse`
//! groups nodes into units, each one pass over memory; `loops` joins units that repeat themselves
//! over the same axes, such as those of attention over heads; `place` gives tensors their memory;
//! `build` makes the steps, `products` those of matrix products and `body` those of a loop; `step` runs
//! them and `cost` says what each does.
//!
//! Elements that only move are moved as bytes (`transfer`), also from and to parts whose place is
//! computed (`part`), and an input that only has parts replaced may stay where it is (`in_place`).
//! What a recurrent layer carries from step to step is a `scan`, with a body that is planned alike.

mod body;
mod build;
mod constant;
mod cost;
mod emit_rows;
mod fuse;
mod graph;
mod in_place;
mod int_step;
mod integer;
mod line_step;
mod loop_step;
mod loops;
mod lower;
mod memory;
mod mix_step;
mod part;
mod place;
mod products;
mod rewrite;
mod scan;
mod step;
mod tables;
mod transfer;
mod view;
mod walk;

pub(crate) use build::{Plan, compile};
pub(crate) use cost::Cost;
pub(crate) use integer::{IntegerPack, IntegerSource};
pub(crate) use loop_step::Own;
pub(crate) use products::{Pack, PackSource};
pub(crate) use step::{Context, Step};
