//! What was done with an engine, as lines of JSON: written on a machine that has one, replayed
//! anywhere.
//!
//! [`Recorder`] is an engine around another one that writes every call with its arguments and
//! results down; [`Replay`] is an engine that answers from such a recording. A recording made on
//! a Mac is thereby a test on Linux of what the engine did.
//!
//! Each line is `{"check":"…","entry":{…}}`: an entry, and a sum over its bytes by which damage is
//! seen. The first entry describes the engine, the last counts the calls. Surfaces are hexadecimal
//! without the zero bytes at their end.

mod entry;
mod record;
mod replay;

pub use record::{Notes, Recorder};
pub use replay::{Replay, ReplayError};
