//! Vocabularies of other formats as the `tokenizer.json` of Hugging Face, and back.

mod gguf;
mod llama2c;
mod parsed;
mod pieces;
mod to_gguf;

pub(crate) use gguf::from_gguf;
pub use llama2c::from_llama2c;
pub(crate) use llama2c::to_llama2c;
pub(crate) use to_gguf::{Hints, to_gguf};
