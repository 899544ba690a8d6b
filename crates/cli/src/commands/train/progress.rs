//! What a person sees of a run: a bar on a terminal, plain lines elsewhere, JSON if asked for.

use super::run::Ended;
use super::settings::Settings;
use crate::device::Opened;
use indicatif::{ProgressBar, ProgressStyle};
use models::{Config, Lora};
use std::cell::{Cell, RefCell};
use std::io::{IsTerminal, Write};
use std::path::Path;
use train::Trainer;
use train::metrics::Record;
use train::vocabulary::Vocabulary;

/// Where progress goes.
pub struct Progress {
    json: bool,
    bar: Option<ProgressBar>,
    /// Steps between two plain lines.
    every: Cell<u64>,
    /// What is counted.
    unit: Cell<&'static str>,
    last_loss: RefCell<Option<f64>>,
}

impl Progress {
    /// Chooses by what standard error is.
    pub fn new(json: bool) -> Progress {
        let bar = (!json && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template(
                "{bar:32} {pos}/{len} steps  {msg}  {elapsed} of about {duration}",
            );
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let (every, unit) = (Cell::new(1), Cell::new("tokens"));
        Progress { json, bar, every, unit, last_loss: RefCell::new(None) }
    }

    /// Says what is trained on, if it is not tokens.
    pub fn counts(&self, unit: &'static str) {
        self.unit.set(unit);
    }

    /// A line that stays.
    pub fn note(&self, text: &str) -> std::io::Result<()> {
        if self.json {
            return Ok(());
        }
        match &self.bar {
            Some(bar) => bar.println(text),
            None => writeln!(std::io::stdout(), "{text}")?,
        }
        Ok(())
    }

    /// How much of a file has been read.
    pub fn reading(&self, done: u64, all: u64) {
        self.part("reading", done, all);
    }

    /// How many tokens have been looked through for those that are used.
    pub fn counting(&self, done: u64, all: u64) {
        self.part("looking for the tokens in use", done, all);
    }

    fn part(&self, what: &'static str, done: u64, all: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(all);
            bar.set_position(done);
            bar.set_message(what);
        }
    }

    /// Says how much of the vocabulary is trained.
    pub fn vocabulary(&self, vocabulary: &Vocabulary) -> std::io::Result<()> {
        let (rows, size) = (vocabulary.rows(), vocabulary.size());
        let share = 100.0 * rows as f64 / size as f64;
        let (rows, size) = (grouped(rows), grouped(size));
        self.note(&format!("vocabulary: {rows} of {size} rows used ({share:.1} %)"))
    }

    /// Says what is about to be trained, on what, with what.
    pub fn begin(
        &self,
        settings: &Settings,
        config: &Config,
        device: &Opened,
        memory: usize,
        data: &str,
    ) -> anyhow::Result<()> {
        let million = config.parameter_count()? as f64 / 1e6;
        let (batch, seq) = (settings.descent.batch, settings.seq);
        let accum = match settings.accum {
            1 => String::new(),
            n => format!(" × {n} accumulated"),
        };
        self.note(&format!("model    {}, {million:.2} M parameters", settings.model))?;
        self.note(&format!("data     {data}"))?;
        self.note(&format!(
            "device   {}, {}, products in {}, {:.0} MB in tensors",
            device.device.name(),
            device.device.describe(),
            settings.dtype.name(),
            memory as f64 / 1e6
        ))?;
        self.note(&format!(
            "steps    {} of {batch} × {seq} tokens{accum}",
            settings.descent.steps
        ))?;
        Ok(())
    }

    /// Says what of the model is trained.
    pub fn adapter(&self, lora: &Lora, trained: usize) -> std::io::Result<()> {
        let (rank, alpha, targets) = (lora.rank, lora.alpha, lora.targets.join(", "));
        let trained = grouped(trained);
        self.note(&format!(
            "adapter  rank {rank}, alpha {alpha}, of {targets}: {trained} parameters are trained"
        ))
    }

    /// Begins to count steps.
    pub fn start(&self, done: u64, steps: u64) {
        self.every.set((steps / 40).max(1));
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.set_length(steps);
            bar.set_position(done);
        }
    }

    /// A step is done.
    pub fn step(&self, record: &Record) -> anyhow::Result<()> {
        if self.json {
            writeln!(std::io::stdout(), "{}", serde_json::to_string(record)?)?;
            return Ok(());
        }
        let Record { step, loss, lr, tokens_per_s, .. } = record;
        let unit = self.unit.get();
        *self.last_loss.borrow_mut() = Some(*loss);
        if let Some(bar) = &self.bar {
            bar.set_position(*step);
            bar.set_message(format!("loss {loss:.3}  {tokens_per_s:.0} {unit}/s"));
        } else if step.is_multiple_of(self.every.get()) {
            let ms = record.ms;
            self.note(&format!(
                "step {step:>6}  loss {loss:.4}  lr {lr:.2e}  {ms:.0} ms  {tokens_per_s:.0} {unit}/s"
            ))?;
        }
        Ok(())
    }

    /// The loss on data that is not trained on.
    pub fn validated(&self, step: u64, loss: f64) -> std::io::Result<()> {
        let perplexity = loss.exp();
        self.note(&format!(
            "step {step:>6}  validation loss {loss:.4} nats per token (perplexity {perplexity:.2})"
        ))
    }

    /// A text that the model wrote on the way.
    pub fn sample(&self, step: u64, text: &str) -> std::io::Result<()> {
        self.note(&format!("step {step:>6}  the model writes:\n\n{}", wrapped(text, 80)))
    }

    /// Shows how much of a model has been read.
    pub fn loading(&self, done: u64, all: u64) {
        self.part("reading the model", done, all);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// The run is over.
    pub fn end(
        &self,
        trainer: &Trainer,
        saved: &Path,
        picture: &Path,
        ended: Ended,
    ) -> anyhow::Result<()> {
        self.finish();
        if trainer.skipped() > 0 {
            let skipped = trainer.skipped();
            self.note(&format!("{skipped} steps were left out: their gradient was not finite"))?;
        }
        self.note(&format!("saved    {}", saved.display()))?;
        self.note(&format!("curve    {}", picture.display()))?;
        let done = trainer.steps_done();
        if let Some((step, loss)) = trainer.best() {
            self.note(&format!("best     validation loss {loss:.4}, at step {step}"))?;
        }
        match ended {
            Ended::Stopped => {
                self.note(&format!("stopped after step {done}; go on with --resume"))?;
            }
            Ended::Early => {
                self.note(&format!(
                    "stopped early, after step {done}: validation found no better"
                ))?;
            }
            Ended::Done | Ended::NeedsNewProcess => {}
        }
        Ok(())
    }

    /// A story that the model wrote.
    pub fn story(&self, story: &str) -> std::io::Result<()> {
        self.note(&format!("\nA story by the model:\n\n{}", wrapped(story, 80)))
    }
}

/// A number with its digits in groups of three.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = (digits.as_bytes().rchunks(3).rev())
        .map(|group| std::str::from_utf8(group).expect("digits are ASCII"))
        .collect();
    groups.join(" ")
}

/// The text with lines of at most `width` characters, where words allow it.
fn wrapped(text: &str, width: usize) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut column = 0;
        for word in line.split_whitespace() {
            let len = word.chars().count();
            if column > 0 && column + 1 + len > width {
                out.push('\n');
                column = 0;
            } else if column > 0 {
                out.push(' ');
                column += 1;
            }
            out.push_str(word);
            column += len;
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_stand_in_groups_of_three() {
        let numbers = [0, 12, 999, 1000, 9214, 32_000, 1_234_567];
        let expected = ["0", "12", "999", "1 000", "9 214", "32 000", "1 234 567"];
        assert_eq!(numbers.map(grouped), expected);
    }
}
