//! The loop of a run: steps, validations, checkpoints, texts.

use super::progress::Progress;
use super::settings::Settings;
use crate::model::Sample;
use ane::device::AneDevice;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use train::checkpoint;
use train::data::Feed;
use train::metrics::{self, Writer};
use train::{About, Trainer};

/// Checkpoints of a run that are kept, besides the best.
const KEEP: usize = 2;

/// What stays the same during a run.
pub struct Run<'a> {
    pub out: &'a Path,
    pub settings: &'a Settings,
    pub config_json: serde_json::Value,
    pub settings_json: serde_json::Value,
    pub tokenizer_json: Option<String>,
    /// `adapter_config.json`, if an adapter is trained.
    pub adapter_json: Option<serde_json::Value>,
    pub sidecars: Vec<(String, Vec<u8>)>,
    pub engine: Option<&'a AneDevice>,
    /// Writes texts on the way.
    pub story: Option<Sample<'a>>,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All steps are done.
    Done,
    /// Validation has found nothing better for long.
    Early,
    /// Ctrl-C.
    Stopped,
    /// The engine cannot take new parameters in this process any more.
    NeedsNewProcess,
}

impl Run<'_> {
    /// Steps until the last one, until Ctrl-C, or until the engine needs a new process.
    pub fn train(
        &self,
        trainer: &mut Trainer,
        mut validation: Option<&mut Feed>,
        writer: &mut Writer,
        progress: &Progress,
    ) -> anyhow::Result<Ended> {
        let stop = stop_flag()?;
        let settings = self.settings;
        progress.start(trainer.steps_done(), settings.descent.steps);
        if trainer.steps_done() == 0
            && let Some(validation) = validation.as_deref_mut()
        {
            let loss = trainer.validate(validation, settings.eval_batches)?;
            progress.validated(0, loss)?;
        }
        let first = trainer.steps_done();
        while trainer.steps_done() < settings.descent.steps {
            if stop.load(Ordering::Relaxed) {
                return Ok(Ended::Stopped);
            }
            if self.engine.and_then(AneDevice::stagings_left) == Some(0) {
                if trainer.steps_done() == first {
                    bail!(
                        "the engine's budget of compilations does not last for one step of this \
                         model with --weights baked; --weights packed compiles once"
                    );
                }
                return Ok(Ended::NeedsNewProcess);
            }
            let mut record = trainer.step()?;
            let done = record.step;
            let is_last = done == settings.descent.steps;
            let due = |every: u64| every > 0 && done.is_multiple_of(every);
            let mut is_best = false;
            if let Some(validation) = validation.as_deref_mut()
                && (due(settings.descent.eval_every) || is_last)
            {
                let loss = trainer.validate(validation, settings.eval_batches)?;
                record.val_loss = Some(loss);
                progress.validated(done, loss)?;
                is_best = trainer.best().is_some_and(|(step, _)| step == done);
            }
            writer.record(&record).context("cannot write the metrics")?;
            progress.step(&record)?;
            // The last one is saved when the loop has ended.
            if !is_last && (due(settings.descent.save_every) || is_best && settings.keeps_best()) {
                self.save(trainer)?;
            }
            if let Some(story) = self.story.as_ref().filter(|_| due(settings.tuning.sample_every)) {
                progress.sample(done, &story.of(trainer)?)?;
            }
            if self.is_stale(trainer) {
                return Ok(Ended::Early);
            }
        }
        Ok(Ended::Done)
    }

    /// Whether the last validations, as many as asked for, have found nothing better.
    fn is_stale(&self, trainer: &Trainer) -> bool {
        let (every, patience) = (self.settings.descent.eval_every, self.settings.tuning.early_stop);
        let Some((best, _)) = trainer.best() else { return false };
        let since = trainer.steps_done() - best;
        every > 0 && patience > 0 && since.is_multiple_of(every) && since / every >= patience
    }

    /// Saves a checkpoint, and marks it if it is the best.
    pub fn save(&self, trainer: &Trainer) -> anyhow::Result<PathBuf> {
        let about = About {
            config: &self.config_json,
            tokenizer: self.tokenizer_json.as_deref(),
            adapter: self.adapter_json.as_ref(),
            sidecars: &self.sidecars,
            settings: &self.settings_json,
        };
        let saved = trainer.save(self.out, &about, KEEP)?;
        let is_best = trainer.best().is_some_and(|(step, _)| step == trainer.steps_done());
        if is_best && self.settings.keeps_best() {
            checkpoint::mark_best(self.out, &saved)?;
        }
        Ok(saved)
    }

    /// Draws the loss curve of the whole log.
    pub fn plot(&self, log: &Path, title: &str) -> anyhow::Result<PathBuf> {
        let path = self.out.join("loss.svg");
        let log = metrics::read(log).context("cannot read the metrics")?;
        std::fs::write(&path, train::plot::loss_curve(&log, title))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(path)
    }
}

/// A flag that Ctrl-C sets; a second Ctrl-C ends the program at once.
pub fn stop_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            std::process::exit(1);
        }
    })
    .context("cannot catch Ctrl-C")?;
    Ok(flag)
}
