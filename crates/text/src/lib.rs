//! Text on its way to a model and back: tokenizers, and the form of conversations.
#![forbid(unsafe_code)]

pub mod chat;
pub mod tokenizer;

pub use tokenizer::Tokenizer;
