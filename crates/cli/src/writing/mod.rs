//! Writing with a model: what `generate` and `chat` have in common.

mod batch;
mod flags;
mod session;
mod text;

pub use batch::{Answering, answer_all, sampling_of};
pub use flags::{ChoiceFlags, ModelFlags};
pub use session::{Answer, Limits, Session};
use text::Text;
