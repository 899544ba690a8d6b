//! Answers to many prompts, some of them at a time.

use super::{Answer, Limits, Text};
use crate::model::{Chooser, Loaded};
use generate::{Batch, GeneratorOptions, Sampler, Sampling};
use runtime::Device;
use std::collections::BTreeMap;
use std::time::Instant;

/// A text that is being written.
struct Row<'a> {
    /// Which prompt it answers.
    prompt: usize,
    chooser: Chooser<'a>,
    text: Text<'a>,
    /// The token that comes next, not read yet.
    next: u32,
    prefill: f64,
    start: Instant,
}

/// How one chooses for the prompt of this number, whatever the other prompts are: the first as
/// asked, each of the others with a seed of its own.
pub fn sampling_of(sampling: Sampling, prompt: usize) -> Sampling {
    // An odd factor, so that no two numbers give one seed.
    let seed = sampling.seed ^ (prompt as u64).wrapping_mul(0xd1b5_4a32_d192_ed03);
    Sampling { seed, ..sampling }
}

/// How to answer them.
pub struct Answering<'a> {
    pub device: &'a dyn Device,
    pub loaded: &'a Loaded,
    pub options: &'a GeneratorOptions,
    pub sampling: Sampling,
    pub limits: &'a Limits,
    /// At a time.
    pub rows: usize,
}

/// Answers prompts and gives every answer to `done` with the number of its prompt, in their order.
pub fn answer_all(
    answering: &Answering,
    prompts: &[&[u32]],
    done: &mut dyn FnMut(usize, Answer) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Answering { device, loaded, options, sampling, limits, rows } = *answering;
    let mut batch = Batch::new(device, &loaded.config, &loaded.weights, options, rows)?;
    if loaded.adapter.is_some() {
        batch.set_adapter(loaded.adapter.as_ref())?;
    }
    let mut writing: Vec<Option<Row>> = (0..batch.rows()).map(|_| None).collect();
    let mut waiting = prompts.iter().enumerate();
    let mut answers = BTreeMap::new();
    let mut given = 0;
    loop {
        for (index, row) in writing.iter_mut().enumerate() {
            // A text may end with its first token.
            while row.is_none() {
                let Some((prompt, tokens)) = waiting.next() else { break };
                let sampler = Sampler::new(sampling_of(sampling, prompt))?;
                let mut chooser = Chooser::new(sampler, loaded.trained.as_ref());
                chooser.begin(tokens);
                let start = Instant::now();
                let next = batch.begin(index, tokens, |scores| chooser.choose(scores))?;
                let prefill = start.elapsed().as_secs_f64();
                let text = Text::new(loaded, limits, tokens.len());
                let begun = Row { prompt, chooser, text, next, prefill, start: Instant::now() };
                *row = go_on(begun, prompts, &mut answers)?;
            }
        }
        while let Some(answer) = answers.remove(&given) {
            done(given, answer)?;
            given += 1;
        }
        let tokens: Vec<Option<u32>> =
            writing.iter().map(|row| row.as_ref().map(|row| row.next)).collect();
        if tokens.iter().all(Option::is_none) {
            return Ok(());
        }
        batch.step(&tokens, |index, scores| {
            if let Some(row) = &mut writing[index] {
                row.next = row.chooser.choose(scores);
            }
        })?;
        for (row, read) in writing.iter_mut().zip(&tokens) {
            if read.is_some()
                && let Some(begun) = row.take()
            {
                *row = go_on(begun, prompts, &mut answers)?;
            }
        }
    }
}

/// Takes the row's next token; a row whose text ends there becomes an answer.
fn go_on<'a>(
    mut row: Row<'a>,
    prompts: &[&[u32]],
    answers: &mut BTreeMap<usize, Answer>,
) -> anyhow::Result<Option<Row<'a>>> {
    let (_, end) = row.text.push(row.next)?;
    let Some(finish_reason) = end else { return Ok(Some(row)) };
    row.text.finish()?;
    let Row { prompt, text: Text { tokens, text, .. }, prefill, start, .. } = row;
    let (read, decode) = (prompts[prompt].len(), start.elapsed().as_secs_f64());
    answers.insert(prompt, Answer { tokens, text, finish_reason, read, prefill, decode });
    Ok(None)
}
