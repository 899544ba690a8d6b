//! The C library: MIL programs compiled and evaluated from C and C++.
//!
//! Two interfaces: [`modern`] is `include/anemone.h`, written for this library; [`bridge`] is
//! `include/ane_bridge.h`, whose functions have the names and signatures of an older library for
//! the Neural Engine, so that programs written for that one link unchanged. The headers are the
//! documentation; what is here says how it is done.
//!
//! Every function checks what it can of its arguments, lets no panic out, and leaves a message
//! with the calling thread when it fails. Data is shared with C in one way only: a mapped surface
//! is a guard of [`surface::Surface`] that is kept until C unmaps it.

pub mod bridge;
pub mod modern;

mod blob;
mod device;
mod error;
mod pointer;
mod request;
