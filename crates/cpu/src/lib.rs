//! The CPU device: compiles MIL functions into plans of few, fused passes over planned memory.
//!
//! Start from [`CpuDevice`]. `plan` turns a function into steps; `gemm` multiplies matrices,
//! `rows` runs fused chains of element-wise operations and reductions, `team` is the threads.
//! `ints` is the arithmetic of integers, `lines` what needs a whole line: orders, running sums.
//!
//! This crate knows no training. Its unsafe code reads and writes the memory that a plan has
//! laid out; every block says what it relies on.

// First, because the files below use its macro.
#[macro_use]
mod dispatch;

#[cfg(test)]
mod bf16_tests;
mod device;
mod element;
#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod emulation;
pub mod format;
pub mod gemm;
mod ints;
pub mod isa;
mod lines;
pub mod measure;
mod plan;
mod pool;
pub mod profile;
pub mod rows;
pub mod team;
mod vecmath;
mod window;

pub use device::{CpuDevice, DeviceError};
