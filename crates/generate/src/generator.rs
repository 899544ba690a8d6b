//! A model compiled for generation.
//!
//! Letters: D width, K key-value heads, E head dim, C cache capacity, S new tokens, V vocabulary.

use crate::adapter::Slots;
use crate::stage::{Build, Caches, Ports, Stage, caches};
use crate::{Adapter, Error};
use mil::DataType;
use models::{Config, Lora, Shape};
use runtime::{Accumulation, Device, Products, Request};
use std::collections::BTreeMap;
use surface::Surface;

/// Parameters by their name in checkpoints: row-major, those with two dimensions of the type
/// [`GeneratorOptions::stored`], others fp32.
pub type Weights = BTreeMap<String, Surface>;

/// How to compile a [`Generator`].
#[derive(Clone, Debug)]
pub struct GeneratorOptions {
    /// Tokens that the cache holds, C: prompt and answer together.
    pub capacity: usize,
    /// Element type of matrix products.
    pub compute: DataType,
    /// Element type in which matrices are given: fp32, bf16 or fp16.
    pub stored: DataType,
    /// How products with parameters are computed.
    pub products: Products,
    /// The largest adapter that can be loaded, if any: its rank and targets.
    pub lora: Option<Lora>,
}

/// Ways to read some tokens at once, for fewer and fewer: the first that fits is used. The flag says
/// whether they are the first ones, which spares them the whole cache.
const CHUNKS: [(usize, bool); 4] = [(256, true), (256, false), (32, false), (1, false)];

/// Whether a cache of `capacity` has room for a chunk, and for tokens before it if without them
/// another one is used.
fn fits((tokens, first): (usize, bool), capacity: usize) -> bool {
    let before = usize::from(!first && tokens == CHUNKS[0].0);
    before + tokens <= capacity
}

/// A model that generates, with the keys and values of what it has read.
pub struct Generator {
    pub(crate) config: Config,
    pub(crate) capacity: usize,
    slots: Option<Slots>,
    /// Tokens read so far.
    pub(crate) position: usize,
    /// For fewer and fewer tokens, down to one.
    stages: Vec<Stage>,
    pub(crate) caches: Caches,
    /// The vector of the token that was read last, `[1, 1, D]`.
    last: Surface,
    classify: Box<dyn Request>,
    /// `[1, V]`.
    logits: Surface,
}

impl Generator {
    /// Compiles the model and takes its parameters; they must not change afterwards.
    pub fn new(
        device: &dyn Device,
        config: &Config,
        weights: &Weights,
        options: GeneratorOptions,
    ) -> Result<Generator, Error> {
        let ports = Ports::new(config, weights, options.stored)?;
        Generator::with(device, config, &ports, &options, |_, generator| Ok(generator))
    }

    /// Compiles the model, and what `more` makes of the same parts.
    pub(crate) fn with<R>(
        device: &dyn Device,
        config: &Config,
        ports: &Ports,
        options: &GeneratorOptions,
        more: impl FnOnce(&Build, Generator) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let capacity = options.capacity.min(config.max_seq).max(1);
        let slots = options.lora.as_ref().map(|lora| Slots::new(config, lora)).transpose()?;
        let caches = caches(config, 1, capacity)?;
        let slots_of = slots.clone();
        let build = Build { device, config, ports, slots: slots_of.as_ref(), options, capacity };
        let chunks = CHUNKS.into_iter().filter(|&chunk| fits(chunk, capacity));
        let stages = chunks
            .map(|(seq, first)| build.stage(Shape { batch: 1, seq }, first, &caches))
            .collect::<Result<_, _>>()?;
        let (last, logits) = (Surface::new(config.dim * 4)?, Surface::new(config.vocab * 4)?);
        let classify = build.classifier(1, &last, &logits)?;
        let generator = Generator {
            config: *config,
            capacity,
            slots,
            position: 0,
            stages,
            caches,
            last,
            classify,
            logits,
        };
        more(&build, generator)
    }

    /// Goes on with an adapter, or without; nothing is compiled. What has been read stays as the
    /// one before has read it: [`Generator::clear`] forgets it.
    ///
    /// # Errors
    /// If the generator was not compiled for such an adapter, or a matrix has another size; the
    /// adapter before then stays.
    pub fn set_adapter(&mut self, adapter: Option<&Adapter>) -> Result<(), Error> {
        match (&self.slots, adapter) {
            (Some(slots), Some(adapter)) => slots.load(&self.config, adapter),
            (Some(slots), None) => slots.clear(),
            (None, Some(adapter)) => Err(Error::AdapterRank { found: adapter.lora.rank, room: 0 }),
            (None, None) => Ok(()),
        }
    }

    /// Tokens that can still be read.
    pub fn room(&self) -> usize {
        self.capacity - self.position
    }

    /// Forgets everything read.
    pub fn clear(&mut self) {
        self.rewind(0);
    }

    /// Forgets all but the first `tokens` of what has been read.
    pub fn rewind(&mut self, tokens: usize) {
        // Keys and values behind the position are masked until they are written again.
        self.position = self.position.min(tokens);
    }

    /// Reads tokens and gives the scores of the one after the last, `[V]`, through `use_scores`.
    ///
    /// # Errors
    /// If there are none, one is not in the vocabulary, or they do not fit the context; nothing
    /// is read then.
    pub fn read<R>(
        &mut self,
        tokens: &[u32],
        use_scores: impl FnOnce(&[f32]) -> R,
    ) -> Result<R, Error> {
        check(tokens, &self.config)?;
        if tokens.is_empty() {
            return Err(Error::NoTokens);
        }
        if tokens.len() > self.room() {
            return Err(Error::ContextFull { capacity: self.capacity });
        }
        let mut rest = tokens;
        while !rest.is_empty() {
            let position = self.position;
            let fits = |s: &&mut Stage| s.shape.seq <= rest.len() && (!s.first || position == 0);
            let stage = self.stages.iter_mut().find(fits);
            let stage = stage.expect("the last stage reads one token");
            let seq = stage.shape.seq;
            let (now, later) = rest.split_at(seq);
            stage.read(now, &[position], &self.config, self.capacity, &self.caches)?;
            let result = stage.result.read()?;
            let last = &result.as_slice::<f32>()[(seq - 1) * self.config.dim..];
            self.last.write()?.as_mut_slice::<f32>().copy_from_slice(last);
            self.position += seq;
            rest = later;
        }
        self.classify.evaluate(Accumulation::Replace)?;
        Ok(use_scores(self.logits.read()?.as_slice::<f32>()))
    }
}

/// Checks that the model has all tokens.
pub(crate) fn check(tokens: &[u32], config: &Config) -> Result<(), Error> {
    let vocab = config.vocab;
    match tokens.iter().find(|&&token| token as usize >= vocab) {
        Some(&token) => Err(Error::Token { token, vocab }),
        None => Ok(()),
    }
}
