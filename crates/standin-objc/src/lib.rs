//! A stand-in for the Objective-C runtime, and tests' control over it.
//!
//! The runtime is in `runtime/`; the build script compiles it as `libobjc.so`, which `objc2`
//! links. It needs nothing installed and no assembly, because `objc2` looks methods up there
//! instead of sending messages. Only tests use it: what is shipped never links it.
//!
//! [`Session`] is where a test begins.

mod control;
mod raw;

pub use control::{Fault, Session, library};
pub use raw::{Class, Id, Implementation, class, method, new, payload, session};
