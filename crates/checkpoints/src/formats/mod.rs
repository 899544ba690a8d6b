//! File formats, without any knowledge of models.

pub mod gguf;
pub mod safetensors;
