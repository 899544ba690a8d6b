//! How a model's maker would use it.

use super::Sidecars;
use serde_json::Value;
use std::collections::BTreeSet;
use text::Tokenizer;
use text::chat::{ChatTemplate, GenerationConfig};

/// How to use a model, from the files beside it.
#[derive(Debug)]
pub struct Ways {
    /// The chat template, if there is one.
    pub template: Option<ChatTemplate>,
    /// What is recommended for choosing tokens.
    pub generation: GenerationConfig,
    /// The tokens that end a text or an answer.
    pub ends: BTreeSet<u32>,
    /// The text that ends an answer, where it is no token.
    pub end_of_answer: Option<String>,
}

impl Ways {
    /// From the files beside a model, its `config.json` and its tokenizer.
    pub fn new(
        files: &Sidecars,
        config: &Value,
        tokenizer: Option<&Tokenizer>,
    ) -> anyhow::Result<Ways> {
        let generation = GenerationConfig::of_model(files)?;
        let mut ends: BTreeSet<u32> = generation.ends.iter().copied().collect();
        let of_config = match &config["eos_token_id"] {
            Value::Array(ids) => ids.clone(),
            one => vec![one.clone()],
        };
        ends.extend(of_config.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()));
        ends.extend(tokenizer.and_then(Tokenizer::end_of_text));
        let mut ways = Ways { template: None, generation, ends, end_of_answer: None };
        if let Some(template) = ChatTemplate::of_model(files)? {
            ways.set_template(template, tokenizer);
        }
        Ok(ways)
    }

    /// Takes a chat template, and ends answers where it does.
    pub fn set_template(&mut self, template: ChatTemplate, tokenizer: Option<&Tokenizer>) {
        // A template that refuses so short a conversation may still do for others.
        let end = template.end_of_answer().unwrap_or_default();
        self.end_of_answer = None;
        match tokenizer.and_then(|tokenizer| tokenizer.token_id(&end)) {
            Some(token) => drop(self.ends.insert(token)),
            None if !end.is_empty() => self.end_of_answer = Some(end),
            None => {}
        }
        self.template = Some(template);
    }
}
