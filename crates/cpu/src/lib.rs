//! The CPU device.

pub mod format;
pub mod gemm;
pub mod isa;
pub mod team;
