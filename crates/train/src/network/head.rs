//! The classifier and the loss, over some tokens at a time.
//!
//! Logits are the largest array of a model with a large vocabulary: of 8 x 256 tokens and 32,000
//! words they take 262 MB, and their gradient as much. No row of them needs another, so a head
//! compiled for a part of the tokens runs for one part after the other and adds up losses and
//! gradients of parameters.

use super::build::{Build, Names};
use super::{Batch, NetworkOptions};
use crate::Error;
use models::{Config, Layout, Shape};
use passes::autodiff;
use runtime::{Accumulation, Request};
use std::ops::Range;
use surface::Surface;

/// Bytes of the logits that exist at once.
const LOGIT_BYTES: usize = 64 << 20;
/// Rows below which a device spends more on reading the classifier than on computing with it.
const FEWEST_ROWS: usize = 256;

/// The head of a network.
pub(super) struct Head {
    /// The heads compiled: one, and another if the last part is shorter.
    sizes: Vec<Size>,
    /// The tokens of every part, and the head that takes so many.
    parts: Vec<(Range<usize>, usize)>,
    /// What the parts are cut from, unless one takes all.
    whole: Option<Whole>,
}

/// The head for one number of tokens, N.
struct Size {
    loss: Box<dyn Request>,
    loss_and_gradient: Box<dyn Request>,
    /// The sum of the losses.
    sum: Surface,
    /// `[N]` int32.
    targets: Surface,
    /// `[N]` fp32.
    weights: Surface,
    /// The activations of these tokens, and their gradient.
    x: Surface,
    d_x: Surface,
}

/// Where activations come from and their gradient goes to.
pub(super) struct Ends<'a> {
    pub x: &'a Surface,
    pub d_x: &'a Surface,
}

/// The activations of all tokens, T, and their gradient: rows of T tokens with `width` neighboring
/// numbers each.
struct Whole {
    x: Surface,
    d_x: Surface,
    width: usize,
    tokens: usize,
}

impl Head {
    /// Compiles the head; `names` has the parameters and their gradients.
    pub fn new(
        build: &mut Build<'_>,
        config: &Config,
        options: &NetworkOptions,
        names: &Names,
        ends: Ends<'_>,
    ) -> Result<Head, Error> {
        let tokens = options.shape.tokens();
        let parts = parts(tokens, options.head_rows.unwrap_or_else(|| rows(config.vocab)));
        if parts.len() == 1 {
            let (x, d_x) = (ends.x.clone(), ends.d_x.clone());
            let size = Size::new(build, config, options, options.shape, names, [x, d_x])?;
            return Ok(Head { sizes: vec![size], parts: vec![(parts[0].clone(), 0)], whole: None });
        }
        let mut head = Head { sizes: vec![], parts: vec![], whole: None };
        let mut last = 0;
        for part in parts {
            if part.len() != last {
                last = part.len();
                let bytes = last * config.dim * size_of::<f32>();
                let surfaces = [build.surface(bytes)?, build.surface(bytes)?];
                // Without a sequence: tokens do not meet in the head.
                let shape = Shape { batch: last, seq: 1 };
                head.sizes.push(Size::new(build, config, options, shape, names, surfaces)?);
            }
            head.parts.push((part, head.sizes.len() - 1));
        }
        let width = match options.layout {
            Layout::TokenMajor => config.dim,
            Layout::ChannelFirst => 1,
        };
        let (x, d_x) = (ends.x.clone(), ends.d_x.clone());
        head.whole = Some(Whole { x, d_x, width, tokens });
        Ok(head)
    }

    /// The sum of the weighted losses; the last layer has given `x`.
    pub fn loss(&mut self, batch: &Batch<'_>) -> Result<f32, Error> {
        let mut sum = 0.0;
        for (part, size) in &self.parts {
            let size = &mut self.sizes[*size];
            size.take(batch, part, self.whole.as_ref())?;
            size.loss.evaluate(Accumulation::Replace)?;
            sum += f64::from(size.sum.read()?.as_slice::<f32>()[0]);
        }
        Ok(sum as f32)
    }

    /// The same, and the gradients of `x` and of the parameters.
    pub fn loss_and_gradient(
        &mut self,
        batch: &Batch<'_>,
        accumulation: Accumulation,
    ) -> Result<f32, Error> {
        let mut sum = 0.0;
        for (part, size) in &self.parts {
            let size = &mut self.sizes[*size];
            let accumulation = if part.start == 0 { accumulation } else { Accumulation::Add };
            size.take(batch, part, self.whole.as_ref())?;
            size.loss_and_gradient.evaluate(accumulation)?;
            sum += f64::from(size.sum.read()?.as_slice::<f32>()[0]);
            if let Some(whole) = &self.whole {
                whole.put(part, &size.d_x)?;
                // The next part writes over what this one has read.
                size.loss_and_gradient.finish()?;
            }
        }
        Ok(sum as f32)
    }

    /// Waits until every gradient is there.
    pub fn finish(&mut self) -> Result<(), runtime::Error> {
        let all: Vec<_> = self.sizes.iter_mut().map(|s| s.loss_and_gradient.finish()).collect();
        all.into_iter().collect()
    }

    /// Tells the device that parameters have changed.
    pub fn stage(&mut self) -> Result<(), Error> {
        for size in &mut self.sizes {
            size.loss.stage()?;
            size.loss_and_gradient.stage()?;
        }
        Ok(())
    }
}

impl Size {
    fn new(
        build: &mut Build<'_>,
        config: &Config,
        options: &NetworkOptions,
        shape: Shape,
        names: &Names,
        [x, d_x]: [Surface; 2],
    ) -> Result<Size, Error> {
        let function = models::head(config, shape, options.layout, options.head_compute)?;
        let parameters = ["final_norm", "final_norm_bias", "classifier"].into_iter();
        let parameters = parameters.filter(|name| function.input(name).is_some());
        let parameters: Vec<String> = parameters.map(str::to_owned).collect();
        // Beside an adapter, the head stays as it is.
        let trained = if options.lora.is_some() { &[][..] } else { &parameters };
        let wrt: Vec<String> = ["x".to_owned()].iter().chain(trained).cloned().collect();
        let gradient = autodiff::value_and_gradient(&function, &wrt)?;
        let loss = build.compile(function, &parameters)?;
        let loss_and_gradient = build.compile_for(gradient, &parameters, trained)?;

        let bytes = shape.tokens() * 4;
        let (targets, weights) = (build.surface(bytes)?, build.surface(bytes)?);
        let sum = build.surface(4)?;
        let mut names = names.clone();
        names.add("loss", &sum);
        names.add("targets", &targets);
        names.add("weights", &weights);
        names.add("x", &x);
        names.add("d_x", &d_x);
        let (loss, loss_and_gradient) = (names.bind(&loss)?, names.bind(&loss_and_gradient)?);
        Ok(Size { loss, loss_and_gradient, sum, targets, weights, x, d_x })
    }

    /// Takes in the tokens of `part`.
    fn take(
        &self,
        batch: &Batch<'_>,
        part: &Range<usize>,
        whole: Option<&Whole>,
    ) -> Result<(), Error> {
        let (targets, weights) = (&batch.targets[part.clone()], &batch.weights[part.clone()]);
        self.targets.write()?.as_mut_slice::<i32>().copy_from_slice(targets);
        self.weights.write()?.as_mut_slice::<f32>().copy_from_slice(weights);
        whole.map_or(Ok(()), |whole| whole.get(part, &self.x))
    }
}

impl Whole {
    /// Copies the activations of `part` to `x`.
    fn get(&self, part: &Range<usize>, x: &Surface) -> Result<(), Error> {
        let (from, mut to) = (self.x.read()?, x.write()?);
        let to = to.as_mut_slice::<f32>().chunks_exact_mut(part.len() * self.width);
        let from = from.as_slice::<f32>().chunks_exact(self.tokens * self.width);
        for (from, to) in from.zip(to) {
            to.copy_from_slice(&from[self.within(part)]);
        }
        Ok(())
    }

    /// Copies the gradient `d_x` of `part` to its place.
    fn put(&self, part: &Range<usize>, d_x: &Surface) -> Result<(), Error> {
        let (from, mut to) = (d_x.read()?, self.d_x.write()?);
        let to = to.as_mut_slice::<f32>().chunks_exact_mut(self.tokens * self.width);
        let from = from.as_slice::<f32>().chunks_exact(part.len() * self.width);
        for (from, to) in from.zip(to) {
            to[self.within(part)].copy_from_slice(from);
        }
        Ok(())
    }

    fn within(&self, part: &Range<usize>) -> Range<usize> {
        part.start * self.width..part.end * self.width
    }
}

/// The most rows of logits at once.
fn rows(vocabulary: usize) -> usize {
    (LOGIT_BYTES / (vocabulary.max(1) * size_of::<f32>())).max(FEWEST_ROWS)
}

/// Cuts tokens into parts of up to `most`: equal ones if a size above half of that divides,
/// otherwise with a shorter last one.
fn parts(tokens: usize, most: usize) -> Vec<Range<usize>> {
    let most = most.clamp(1, tokens.max(1));
    let equal = (most / 2 + 1..=most).rev().find(|size| tokens.is_multiple_of(*size));
    let size = equal.unwrap_or_else(|| tokens.div_ceil(tokens.div_ceil(most)));
    (0..tokens).step_by(size).map(|start| start..(start + size).min(tokens)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_few_and_equal_if_they_can_be() {
        let sizes = |tokens, most| parts(tokens, most).iter().map(Range::len).collect::<Vec<_>>();
        assert_eq!(sizes(256, 524), [256]);
        assert_eq!(sizes(2048, 524), [512; 4]);
        assert_eq!(sizes(600, 256), [200; 3]);
        assert_eq!(sizes(13, 4), [4, 4, 4, 1]);
        assert_eq!(sizes(7, 1), [1; 7]);
        for tokens in 1..60 {
            for most in 1..60 {
                let parts = parts(tokens, most);
                assert!(parts.iter().all(|part| !part.is_empty() && part.len() <= most));
                assert_eq!(parts.iter().map(Range::len).sum::<usize>(), tokens);
                let different: std::collections::BTreeSet<_> =
                    parts.iter().map(Range::len).collect();
                assert!(different.len() <= 2, "{tokens} in parts of up to {most}: {parts:?}");
            }
        }
    }

    #[test]
    fn the_vocabulary_decides_how_many_rows() {
        assert_eq!(rows(32_000), 524);
        assert_eq!(rows(151_936), 256);
        assert_eq!(rows(4096), 4096);
        assert_eq!(rows(0), LOGIT_BYTES / 4);
    }
}
