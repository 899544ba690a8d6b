//! Models by name, and text from them.

use anyhow::{Context, bail};
use generate::{Adapter, Generator, GeneratorOptions, Sampler, Sampling, Weights};
use mil::DataType;
use models::{Config, Lora};
use runtime::{Device, Products};
use std::path::Path;
use surface::Surface;
use text::Tokenizer;
use train::Trainer;
use train::checkpoint::Checkpoint;
use train::vocabulary::IdSet;

/// The configuration of a preset or of a folder with a `config.json`; that of the checkpoint
/// that training begins with goes before.
pub fn config(name: &str, checkpoint: Option<&Checkpoint>) -> anyhow::Result<Config> {
    if let Some(checkpoint) = checkpoint {
        let config = Config::from_hugging_face(checkpoint.config())
            .with_context(|| format!("`{}`", checkpoint.folder().join("config.json").display()))?;
        return Ok(config);
    }
    let folder = Path::new(name);
    if folder.is_dir() {
        return from_folder(folder);
    }
    if let Ok(config) = Config::preset(name) {
        return Ok(config);
    }
    let known: Vec<&str> = models::PRESETS.iter().map(|p| p.0).collect();
    bail!("`{name}` is neither a preset ({}) nor a folder", known.join(", "))
}

fn from_folder(folder: &Path) -> anyhow::Result<Config> {
    if let Ok(resolved) = train::checkpoint::resolve(folder) {
        return config("", Some(&Checkpoint::open(&resolved)?));
    }
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    let json =
        serde_json::from_str(&text).with_context(|| format!("`{}` is not JSON", path.display()))?;
    Config::from_hugging_face(&json).with_context(|| format!("`{}`", path.display()))
}

/// The parameters of a model in training: shared, and copied only where not all rows are trained.
pub fn weights(trainer: &Trainer) -> anyhow::Result<Weights> {
    let parameters = trainer.whole_parameters()?;
    Ok(parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The parameters of a checkpoint.
pub fn load(config: &Config, checkpoint: &mut Checkpoint) -> anyhow::Result<Weights> {
    let mut weights = Weights::new();
    for parameter in models::parameters(config)? {
        let surface = Surface::new(parameter.dims.iter().product::<usize>() * 4)?;
        let mut writing = surface.write()?;
        let out = writing.as_mut_slice::<f32>();
        checkpoint.read_parameter(&parameter.name, &parameter.dims, out)?;
        drop(writing);
        weights.insert(parameter.name, surface);
    }
    Ok(weights)
}

/// Chooses tokens among those that the model has been trained on.
pub struct Chooser<'a> {
    sampler: Sampler,
    /// The tokens whose rows have been trained, if not all have been.
    trained: Option<&'a IdSet>,
    scores: Vec<f32>,
}

impl<'a> Chooser<'a> {
    /// A chooser; without a set, all tokens have been trained on.
    pub fn new(sampler: Sampler, trained: Option<&'a IdSet>) -> Chooser<'a> {
        Chooser { sampler, trained, scores: vec![] }
    }

    /// The next token.
    pub fn choose(&mut self, scores: &[f32]) -> u32 {
        let Some(trained) = self.trained else { return self.sampler.choose(scores) };
        // The scores of the others were never trained to be low.
        self.scores.clear();
        let allowed = |(id, &score)| if trained.contains(id) { score } else { f32::NEG_INFINITY };
        self.scores.extend((0..).zip(scores).map(allowed));
        self.sampler.choose(&self.scores)
    }
}

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
            products: Products::Native,
            lora: self.lora.clone(),
        };
        let mut generator = Generator::new(self.device, self.config, &weights, options)?;
        if let Some(lora) = self.lora.clone() {
            generator.set_adapter(Some(&Adapter { lora, weights: weights.clone() }))?;
        }
        let sampling = Sampling { temperature: 0.7, top_p: 0.95, seed: self.seed };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_were_not_trained_are_never_chosen() {
        let trained = IdSet::from_ascending([1, 3]);
        let scores = [9.0, 0.0, 8.0, 0.5, 7.0];
        for temperature in [0.0, 1.0] {
            let sampler = Sampler::new(Sampling { temperature, top_p: 1.0, seed: 3 }).unwrap();
            let mut all = Chooser::new(sampler.clone(), None);
            let mut some = Chooser::new(sampler, Some(&trained));
            let mut chosen: Vec<u32> = (0..200).map(|_| some.choose(&scores)).collect();
            chosen.sort_unstable();
            chosen.dedup();
            assert_eq!(chosen, if temperature == 0.0 { vec![3] } else { vec![1, 3] });
            assert!((0..200).any(|_| all.choose(&scores) == 0));
        }
    }
}
