//! Writing with a model: what `generate` and `chat` have in common.

mod flags;
mod session;

pub use flags::{ChoiceFlags, ModelFlags};
pub use session::{Answer, Limits, Session};
