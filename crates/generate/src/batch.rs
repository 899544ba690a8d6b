//! Several texts that go on side by side.
//!
//! Every token needs all parameters of the model, and reading those from memory is what one token
//! waits for. A batch reads them once for a token of every text.

use crate::generator::check;
use crate::stage::{Caches, Ports, Stage, caches};
use crate::{Adapter, Error, Generator, GeneratorOptions, Weights};
use models::{Config, Shape};
use runtime::{Accumulation, Device, Request};
use surface::Surface;

/// A model with room for some texts. Each begins by itself; then all go on together, a token each.
pub struct Batch {
    /// Reads beginnings.
    generator: Generator,
    /// One token of each text.
    stage: Stage,
    /// Tokens of each text that have been read.
    positions: Vec<usize>,
    caches: Caches,
    classify: Box<dyn Request>,
    /// `[B, V]`.
    logits: Surface,
}

impl Batch {
    /// Compiles the model for `rows` texts at once and takes its parameters; they must not change
    /// afterwards. Each text has a cache of the capacity that `options` say.
    pub fn new(
        device: &dyn Device,
        config: &Config,
        weights: &Weights,
        options: &GeneratorOptions,
        rows: usize,
    ) -> Result<Batch, Error> {
        let rows = rows.max(1);
        let ports = Ports::new(config, weights, options.stored)?;
        Generator::with(device, config, &ports, options, |build, generator| {
            let caches = caches(config, rows, generator.capacity)?;
            let stage = build.stage(Shape { batch: rows, seq: 1 }, false, &caches)?;
            let logits = Surface::new(rows * config.vocab * 4)?;
            let classify = build.classifier(rows, &stage.result, &logits)?;
            Ok(Batch { generator, stage, positions: vec![0; rows], caches, classify, logits })
        })
    }

    /// Texts that there is room for.
    pub fn rows(&self) -> usize {
        self.positions.len()
    }

    /// Tokens that can still be read in a row.
    pub fn room(&self, row: usize) -> usize {
        self.generator.capacity - self.positions[row]
    }

    /// As [`Generator::set_adapter`], for all texts.
    pub fn set_adapter(&mut self, adapter: Option<&Adapter>) -> Result<(), Error> {
        self.generator.set_adapter(adapter)
    }

    /// Begins a text in a row, in place of the one that was there, and gives the scores of the token
    /// after the last, `[V]`, through `use_scores`.
    ///
    /// # Errors
    /// Those of [`Generator::read`].
    pub fn begin<R>(
        &mut self,
        row: usize,
        tokens: &[u32],
        use_scores: impl FnOnce(&[f32]) -> R,
    ) -> Result<R, Error> {
        self.generator.clear();
        let result = self.generator.read(tokens, use_scores)?;
        let size = self.generator.config.kv_heads
            * self.generator.capacity
            * self.generator.config.head_dim;
        for (own, one) in self.caches.iter().zip(&self.generator.caches) {
            for (own, one) in [(&own.0, &one.0), (&own.1, &one.1)] {
                let (mut own, one) = (own.write()?, one.read()?);
                let own = &mut own.as_mut_slice::<f32>()[row * size..][..size];
                own.copy_from_slice(one.as_slice());
            }
        }
        self.positions[row] = tokens.len();
        Ok(result)
    }

    /// Goes on: reads one more token in every row that has one, and gives each such row's scores
    /// of the token after it, `[V]`.
    ///
    /// # Errors
    /// If a token is not in the vocabulary, or its text is as long as the cache; nothing is read
    /// then.
    pub fn step(
        &mut self,
        tokens: &[Option<u32>],
        mut use_scores: impl FnMut(usize, &[f32]),
    ) -> Result<(), Error> {
        assert_eq!(tokens.len(), self.rows(), "a token, or none, for every row");
        let Generator { config, capacity, .. } = &self.generator;
        let given: Vec<u32> = tokens.iter().flatten().copied().collect();
        check(&given, config)?;
        if (0..self.rows()).any(|row| tokens[row].is_some() && self.room(row) == 0) {
            return Err(Error::ContextFull { capacity: *capacity });
        }
        // Rows without a token compute something that nobody reads; their caches' last slot is
        // written, which is masked as long as it is not read as a token's.
        let read: Vec<u32> = tokens.iter().map(|token| token.unwrap_or(0)).collect();
        let places: Vec<usize> =
            self.positions.iter().map(|&position| position.min(capacity - 1)).collect();
        self.stage.read(&read, &places, config, *capacity, &self.caches)?;
        self.classify.evaluate(Accumulation::Replace)?;
        let logits = self.logits.read()?;
        let rows = logits.as_slice::<f32>().chunks_exact(config.vocab).enumerate();
        for ((row, scores), token) in rows.zip(tokens) {
            if token.is_some() {
                self.positions[row] += 1;
                use_scores(row, scores);
            }
        }
        Ok(())
    }
}
