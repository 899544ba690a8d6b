//! Layers of real models through an engine: cut, packed, bound and evaluated.
#![allow(missing_docs)]

mod common;
mod kernels;
mod layers;
