//! Routes to the Neural Engine through Apple's private frameworks.
//!
//! [`open`] gives an [`ane::Engine`] that sends the messages which the frameworks' own callers
//! send. Everything is found while running (libraries by path, classes and methods by name), and
//! [`capabilities`] says what was found and what was not, before anything is sent. Nothing is
//! linked but the Objective-C runtime.
//!
//! Three routes, in order of preference:
//!
//! - [`Route::Client`]: `_ANEClient` and `_ANEModel`. The program's text and weights are written
//!   into a directory of this process's own. It leaks nothing, so there is no limit to how many
//!   programs are compiled.
//! - [`Route::InMemory`]: `_ANEInMemoryModel`, which does the same inside and leaks: after about
//!   119 programs the process must be started anew.
//! - [`Route::E5rt`]: Espresso's C interface; only when asked for.
//!
//! **None of this was ever run on Apple silicon by this project.** The same source is compiled
//! for macOS and run on Linux against stand-ins for the runtime and the frameworks
//! (`standin-objc`, `standin-ane`), whose evaluator is the emulator. That shows that the messages
//! are sent with the types that we believe in, in the right order, that errors are carried and
//! nothing leaks; it does not show that Apple's classes are what we believe. `anemone doctor`
//! finds out.
//!
//! A compile that fails can restart the compiler's service, and compilations within the next 15
//! seconds or so may then fail for no reason of theirs (`NSCocoaErrorDomain` 4097). This crate
//! does not wait: who probes what compiles should, before believing a refusal.
//!
//! Unsafe code is in the modules that say so here; everything else is safe.
#![deny(unsafe_code)]

#[allow(unsafe_code)] // A C interface.
mod e5rt;
mod engine;
mod folder;
pub mod interface;
#[allow(unsafe_code)] // A C interface, and memory that it owns.
mod iosurface;
#[allow(unsafe_code)] // The dynamic loader.
mod library;
#[allow(unsafe_code)] // Messages to Foundation.
mod objc;
mod open;
#[allow(unsafe_code)] // Messages to the private classes.
mod private;
mod report;

pub use ane::target::Route;
pub use open::{Options, Paths, Trace, open, open_any, open_with};
pub use report::{Capabilities, Found, Item, capabilities};
