//! What the machine can do, and what the kernels make of it: for benchmarks only.
//!
//! [`Arithmetic`] counts operations of loops that never leave the registers, [`Memory`] the bytes
//! that go past the caches, and [`Trial`] runs one matrix product on operands of its own. Nothing
//! here takes a median or prints: how often something is timed, and beside what, is for the
//! caller to say.

mod memory;
mod peak;
mod trial;

pub use memory::{Memory, Traffic};
pub use peak::Arithmetic;
pub use trial::{SHAPES, Shape, Trial};
