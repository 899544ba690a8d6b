//! The CPU device.

pub mod format;
pub mod gemm;
pub mod isa;
pub mod rows;
pub mod team;
mod vecmath;
