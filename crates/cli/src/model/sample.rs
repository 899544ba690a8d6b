//! Text by a model in training.

use super::{Chooser, weights};
use generate::{Adapter, Generator, GeneratorOptions, Sampler, Sampling};
use mil::DataType;
use models::{Config, Lora};
use runtime::{Device, Products};
use text::Tokenizer;
use train::Trainer;

/// Text by a model in training.
pub struct Sample<'a> {
    pub device: &'a dyn Device,
    pub config: &'a Config,
    pub compute: DataType,
    pub tokenizer: &'a Tokenizer,
    /// The adapter that is trained, if it is one.
    pub lora: Option<Lora>,
    /// What the text goes on from; without, from the end of another one.
    pub prompt: Option<&'a str>,
    pub seed: u64,
}

/// Tokens of a text, at most.
const TEXT: usize = 240;

impl Sample<'_> {
    /// Writes a text with the parameters as they are now, which are not copied; gives it with the
    /// prompt before it.
    pub fn of(&self, trainer: &Trainer) -> anyhow::Result<String> {
        let weights = weights(trainer)?;
        let end = self.tokenizer.end_of_text();
        let mut prompt: Vec<u32> = match self.prompt {
            Some(prompt) => self.tokenizer.encode(prompt)?,
            None => end.into_iter().collect(),
        };
        if prompt.is_empty() {
            prompt.push(0);
        }
        let options = GeneratorOptions {
            capacity: prompt.len() + TEXT,
            compute: self.compute,
            stored: DataType::Fp32,
            products: Products::Native,
            lora: self.lora.clone(),
        };
        let mut generator = Generator::new(self.device, self.config, &weights, options)?;
        if let Some(lora) = self.lora.clone() {
            generator.set_adapter(Some(&Adapter { lora, weights: weights.clone() }))?;
        }
        let sampling =
            Sampling { temperature: 0.7, top_p: 0.95, seed: self.seed, ..Sampling::default() };
        let mut chooser = Chooser::new(Sampler::new(sampling)?, trainer.trained());
        let mut text = vec![];
        let mut next = generator.read(&prompt, |scores| chooser.choose(scores))?;
        while Some(next) != end {
            text.push(next);
            if generator.room() == 0 || text.len() == TEXT {
                break;
            }
            next = generator.read(&[next], |scores| chooser.choose(scores))?;
        }
        let before = self.prompt.unwrap_or_default();
        Ok(format!("{before}{}", self.tokenizer.decode(&text)?))
    }
}
