//! A model that writes, and what it has read.

use super::Text;
use crate::model::{Chooser, Loaded};
use generate::{Adapter, Generator, GeneratorOptions, Sampler, Sampling};
use runtime::Device;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What ends an answer, besides the model itself.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Tokens, at most.
    pub tokens: usize,
    /// Whether to go on after a token that ends a text.
    pub ignore_ends: bool,
    /// Texts before which it ends.
    pub stop: Vec<String>,
}

/// What a model has written.
pub struct Answer {
    /// Its tokens, without the one that ended it.
    pub tokens: Vec<u32>,
    /// Its text; token ids without a tokenizer.
    pub text: String,
    /// `stop`: it ended by itself or before a stop string; `length`: the limit was reached;
    /// `interrupted`: somebody did not want to wait.
    pub finish_reason: &'static str,
    /// Tokens that were read before.
    pub read: usize,
    /// Seconds for reading them.
    pub prefill: f64,
    /// Seconds for the rest.
    pub decode: f64,
}

impl Answer {
    /// Tokens a second while reading.
    pub fn prefill_rate(&self) -> f64 {
        self.read as f64 / self.prefill.max(f64::MIN_POSITIVE)
    }

    /// Tokens a second while writing; the first token comes with the prefill.
    pub fn decode_rate(&self) -> f64 {
        self.tokens.len().saturating_sub(1) as f64 / self.decode.max(f64::MIN_POSITIVE)
    }
}

/// A model that writes one text after the other.
pub struct Session<'a> {
    device: &'a dyn Device,
    loaded: &'a Loaded,
    options: GeneratorOptions,
    generator: Generator,
    chooser: Chooser<'a>,
    adapter: Option<Adapter>,
    /// The tokens that the generator has read.
    known: Vec<u32>,
}

impl<'a> Session<'a> {
    /// Compiles the model; the context of `options` grows when it is full.
    pub fn new(
        device: &'a dyn Device,
        loaded: &'a Loaded,
        options: GeneratorOptions,
        sampling: Sampling,
    ) -> anyhow::Result<Session<'a>> {
        let chooser = Chooser::new(Sampler::new(sampling)?, loaded.trained.as_ref());
        let adapter = loaded.adapter.clone();
        let generator = compile(device, loaded, &options, adapter.as_ref())?;
        Ok(Session { device, loaded, options, generator, chooser, adapter, known: vec![] })
    }

    /// Goes on with another adapter, or none; nothing is compiled. What was read is forgotten.
    pub fn set_adapter(&mut self, adapter: Option<Adapter>) -> anyhow::Result<()> {
        self.generator.set_adapter(adapter.as_ref())?;
        self.adapter = adapter;
        self.forget();
        Ok(())
    }

    /// Forgets everything read.
    pub fn forget(&mut self) {
        self.generator.clear();
        self.known.clear();
    }

    /// Chooses anew, as a session does that begins.
    pub fn set_sampling(&mut self, sampling: Sampling) -> anyhow::Result<()> {
        self.chooser = Chooser::new(Sampler::new(sampling)?, self.loaded.trained.as_ref());
        Ok(())
    }

    /// Goes on from a prompt. Of what was read before, the part that the prompt begins with is not
    /// read again; it must fit the model's context. `show` is given the text as it comes; an answer
    /// ends when `interrupted` is set.
    pub fn answer(
        &mut self,
        prompt: &[u32],
        limits: &Limits,
        interrupted: &AtomicBool,
        show: &mut dyn FnMut(&str) -> std::io::Result<()>,
    ) -> anyhow::Result<Answer> {
        self.chooser.begin(prompt);
        let start = Instant::now();
        let mut common = self.known.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        // The last one is read in any case: the scores come from it.
        common = common.min(prompt.len().saturating_sub(1));
        self.generator.rewind(common);
        self.known.truncate(common);
        let mut next = self.read(&prompt[common..])?;
        let prefill = start.elapsed().as_secs_f64();

        let start = Instant::now();
        let mut text = Text::new(self.loaded, limits, prompt.len());
        let finish_reason = loop {
            let (piece, end) = text.push(next)?;
            show(&piece)?;
            if let Some(reason) = end {
                break reason;
            }
            if interrupted.load(Ordering::Relaxed) {
                break "interrupted";
            }
            next = self.read(&[next])?;
        };
        let decode = start.elapsed().as_secs_f64();
        show(&text.finish()?)?;
        let read = prompt.len() - common;
        let Text { tokens, text, .. } = text;
        Ok(Answer { tokens, text, finish_reason, read, prefill, decode })
    }

    fn read(&mut self, tokens: &[u32]) -> anyhow::Result<u32> {
        if tokens.len() > self.generator.room() {
            self.grow(self.known.len() + tokens.len())?;
        }
        let chooser = &mut self.chooser;
        let next = self.generator.read(tokens, |scores| chooser.choose(scores))?;
        self.known.extend_from_slice(tokens);
        Ok(next)
    }

    /// Compiles the model for a context of at least so many tokens, and reads again.
    fn grow(&mut self, needed: usize) -> anyhow::Result<()> {
        // Twice as much, so that it happens seldom.
        let capacity = needed.max(2 * self.options.capacity).min(self.loaded.config.max_seq);
        self.options.capacity = capacity.max(needed);
        self.generator = compile(self.device, self.loaded, &self.options, self.adapter.as_ref())?;
        if !self.known.is_empty() {
            self.generator.read(&self.known, |_| ())?;
        }
        Ok(())
    }
}

fn compile(
    device: &dyn Device,
    loaded: &Loaded,
    options: &GeneratorOptions,
    adapter: Option<&Adapter>,
) -> anyhow::Result<Generator> {
    let mut generator = Generator::new(device, &loaded.config, &loaded.weights, options.clone())?;
    if adapter.is_some() {
        generator.set_adapter(adapter)?;
    }
    Ok(generator)
}
