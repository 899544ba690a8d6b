//! The messages of Core ML's `Model.proto`, `FeatureTypes.proto` and `MIL.proto` that ML Programs
//! need, field for field as far as this crate reads or writes them; others are skipped.
//!
//! Two things differ from what a compiler of `.proto` files would make. Maps are lists of entries,
//! which is what they are on the wire: that keeps their order. And functions, blocks and
//! operations are `bytes`, which is how messages are written too: each is decoded by itself when
//! it is its turn, so that a program is never in memory a second time, and how deep blocks nest is
//! this crate's to check.

mod description;
mod program;

pub(crate) use description::*;
pub(crate) use program::*;
