//! Training a program that came from elsewhere.

mod folder;
mod prepare;
mod store;

use super::progress::{Progress, grouped};
use super::run::stop_flag;
use super::settings::{Flags, ProgramSettings};
use crate::device;
use crate::{arrays, program};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use coreml::Model;
use passes::trainable::loss::Loss;
use prepare::Prepared;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use store::Store;
use train::checkpoint;
use train::fit::{self, Examples, Fit, FitOptions};
use train::metrics::{self, Writer};

/// The flags that train a program instead of a language model.
#[derive(Debug, Args)]
#[command(next_help_heading = "Programs that came from elsewhere")]
pub struct ProgramFlags {
    /// Train constants of this model of Core ML (.mlpackage, .mlmodelc, .mlmodel) or program (.mil)
    ///
    /// The run's folder gets packages with the model's own interface: `last.mlpackage`, and
    /// `best.mlpackage`, which had the least loss in validation. All is computed in fp32, and
    /// rounded to the types that the constants had where it is written. --data is a .npz or
    /// .safetensors file with an array for every input of the model, whose first axis counts the
    /// examples, and `target`: indices of classes, or numbers; or, for a model that takes one image,
    /// a folder with a folder of .png and .jpg files for every class. Unless flags say it, --batch
    /// is 16, --lr 1e-3, --weight-decay 0 and --epochs 3.
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = LANGUAGE)]
    pub program: Option<PathBuf>,
    /// What is made small [default: cross-entropy for classifiers]
    #[arg(long, value_enum, value_name = "LOSS", requires = "program")]
    pub loss: Option<LossName>,
    /// Train the constants whose names have a match of this regular expression [default: all of
    /// floats that have a gradient and more than one element, but no means and variances of batch
    /// norms]
    #[arg(long, value_name = "REGEX", requires = "program")]
    pub trainable: Option<String>,
    /// The output that the loss is of [default: the classifier's, or the only one of floats]
    #[arg(long, value_name = "NAME", requires = "program")]
    pub target_output: Option<String>,
    /// Scale pictures to the size that the model takes, whatever becomes of their sides' ratio
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", requires = "program")]
    pub resize: Option<bool>,
    /// The function to train [default: the model's default, `main`, or the only one]
    #[arg(long, value_name = "NAME", requires = "program")]
    pub function: Option<String>,
}

/// Flags that only language models have.
const LANGUAGE: [&str; 24] = [
    "model",
    "init",
    "token_width",
    "tokenizer",
    "seq",
    "accum",
    "order",
    "weights",
    "dtype",
    "loss_scale",
    "recompute",
    "forward_int8",
    "compact_vocab",
    "eval_batches",
    "lora",
    "lora_alpha",
    "lora_dropout",
    "lora_targets",
    "val_data",
    "chat_template",
    "packing",
    "best",
    "sample_every",
    "sample_prompt",
];

/// The name of a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossName {
    /// Of classes, over the logits before a softmax at the end
    CrossEntropy,
    /// Mean of squared differences
    Mse,
}

impl From<LossName> for Loss {
    fn from(name: LossName) -> Loss {
        match name {
            LossName::CrossEntropy => Loss::CrossEntropy,
            LossName::Mse => Loss::MeanSquares,
        }
    }
}

/// What every command line of a run has.
pub struct Run<'a> {
    pub flags: &'a Flags,
    pub program: &'a ProgramFlags,
    pub out: &'a Path,
    pub resume: bool,
    pub log: Option<&'a Path>,
    pub json: bool,
    pub threads: Option<usize>,
}

/// Whether the folder holds a run that trains a program.
pub fn is_run(folder: &Path) -> bool {
    Store::new(folder).exists()
}

impl Run<'_> {
    /// Trains.
    pub fn run(&self) -> anyhow::Result<()> {
        let store = Store::new(self.out);
        let taken = store.exists() || checkpoint::resolve(self.out).is_ok();
        let stored = match (self.resume, taken) {
            (true, _) => Some(store.settings()?),
            (false, true) => bail!(
                "`{}` holds a run already: --resume goes on with it, --out DIR starts another",
                self.out.display()
            ),
            (false, false) => None,
        };
        let mut settings = ProgramSettings::resolve(self.flags, self.program, stored)?;
        let source = program::read(&settings.program)?;
        // As the file says it, for the package that is written.
        let model = Model::read(&settings.program)?;
        let context = || format!("cannot train `{}`", source.name);
        let (data, classes) = match settings.data.is_dir() {
            false => (arrays::read(&settings.data)?, None),
            true => {
                let function = source.function(settings.function.as_deref())?;
                let interface = source.model.features(Some(&function.name))?;
                let (root, resize) = (&settings.data, settings.resize);
                let read = folder::read(root, function, interface, resize);
                let folder::Folder { data, note } = read.with_context(context)?;
                (data, Some(note))
            }
        };
        let prepared = Prepared::new(&model, &source, &settings, data).with_context(context)?;
        let Prepared { task, examples, function, loss, .. } = &prepared;
        let (training, validation) =
            fit::split(examples.count, settings.val_part, settings.descent.seed);
        if training.is_empty() {
            bail!("`{}` leaves no examples to train on", settings.data.display());
        }
        settings.measure(training.len(), self.flags, self.resume);
        let settings = settings;

        let device = device::open("cpu", self.threads, Default::default())?;
        let options = FitOptions {
            batch: settings.descent.batch,
            optimizer: settings.descent.optimizer(),
            schedule: settings.descent.schedule(),
            clip: settings.descent.clip,
            seed: settings.descent.seed,
            threads: device.threads,
        };
        let mut fit = Fit::new(&*device.device, task.clone(), options)
            .with_context(|| format!("cannot train `{}`", source.name))?;
        if self.resume {
            store.restore(&mut fit)?;
        }

        let progress = Progress::new(self.json);
        progress.counts("examples");
        let trained: usize = task.parameters.iter().map(|(_, tensor)| tensor.count()).sum();
        let sides = format!("{} to train on, {} aside", training.len(), validation.len());
        progress.note(&format!("program  {}, function `{function}`", source.name))?;
        progress.note(&format!(
            "trained  {} constants of {} elements, in fp32",
            task.parameters.len(),
            grouped(trained)
        ))?;
        match prepared.compressed {
            0 => {}
            1 => progress.note("frozen   1 compressed constant")?,
            n => progress.note(&format!("frozen   {n} compressed constants"))?,
        }
        progress.note(&format!("loss     {}", prepared.describe()))?;
        progress.note(&format!("data     {}: {sides}", settings.data.display()))?;
        if let Some(classes) = classes {
            progress.note(&format!("classes  {classes}"))?;
        }
        let memory = fit.memory() as f64 / 1e6;
        let device_name = device.device.describe();
        progress.note(&format!("device   cpu, {device_name}, {memory:.1} MB in tensors"))?;
        progress.note(&format!(
            "steps    {} of {} examples, {} in an evaluation",
            settings.descent.steps, settings.descent.batch, task.examples
        ))?;

        std::fs::create_dir_all(self.out)
            .with_context(|| format!("cannot make `{}`", self.out.display()))?;
        store.begin(&settings)?;
        let log = self.log.map(Path::to_owned).unwrap_or_else(|| self.out.join("metrics.jsonl"));
        let unit = match loss {
            Loss::CrossEntropy => "nats",
            Loss::MeanSquares => "mean of squares",
        };
        let names: Vec<&String> = task.parameters.iter().map(|(name, _)| name).collect();
        let description = json!({
            "program": source.name,
            "function": function,
            "trained": names,
            "parameters": trained,
            "loss_unit": unit,
            "device": device.device.name(),
            "kernels": device_name,
            "threads": device.threads,
            "settings": serde_json::to_value(&settings)?,
        });
        let writer = match self.resume {
            true => Writer::append(&log, &description),
            false => Writer::create(&log, &description),
        };
        let mut writer = writer.with_context(|| format!("cannot write `{}`", log.display()))?;

        let keep = |fit: &Fit, best: bool| store.save(&model, function, fit, best);
        let ended = self.steps(
            &mut fit,
            &settings,
            (examples, &training, &validation),
            &mut writer,
            &progress,
            &keep,
        )?;
        keep(&fit, false)?;
        let picture = self.out.join("loss.svg");
        let curve = metrics::read(&log).context("cannot read the metrics")?;
        let curve = train::plot::loss_curve(&curve, &source.name);
        std::fs::write(&picture, curve)
            .with_context(|| format!("cannot write `{}`", picture.display()))?;
        progress.finish();
        progress.note(&format!("saved    {}", store.last().display()))?;
        match fit.progress().best {
            None => {}
            Some((0, loss)) => progress.note(&format!(
                "best     the model as it was: loss {loss:.4}; there is no best.mlpackage"
            ))?,
            Some((step, loss)) => {
                let best = store.best();
                progress.note(&format!(
                    "best     {}: loss {loss:.4}, at step {step}",
                    best.display()
                ))?;
            }
        }
        progress.note(&format!("curve    {}", picture.display()))?;
        let done = fit.progress().step;
        match ended {
            Ended::Done => {}
            Ended::Early => progress
                .note(&format!("stopped early, after step {done}: validation found no better"))?,
            Ended::Stopped => {
                progress.note(&format!("stopped after step {done}; go on with --resume"))?;
            }
        }
        Ok(())
    }

    /// Steps until the last one, until Ctrl-C, or until nothing better is found.
    fn steps(
        &self,
        fit: &mut Fit,
        settings: &ProgramSettings,
        (examples, training, validation): (&Examples, &[usize], &[usize]),
        writer: &mut Writer,
        progress: &Progress,
        keep: &dyn Fn(&Fit, bool) -> anyhow::Result<()>,
    ) -> anyhow::Result<Ended> {
        let stop = stop_flag()?;
        progress.start(fit.progress().step, settings.descent.steps);
        let say = |step: u64, found: fit::Validation| {
            let accuracy = found.accuracy.map(|a| format!(", {:.1} % right", 100.0 * a));
            let accuracy = accuracy.unwrap_or_default();
            progress.note(&format!("step {step:>6}  validation loss {:.4}{accuracy}", found.loss))
        };
        if fit.progress().step == 0 && !validation.is_empty() {
            say(0, fit.validate(examples, validation)?)?;
        }
        while fit.progress().step < settings.descent.steps {
            if stop.load(Ordering::Relaxed) {
                return Ok(Ended::Stopped);
            }
            let mut record = fit.step(examples, training)?;
            let done = record.step;
            let is_last = done == settings.descent.steps;
            let due = |every: u64| every > 0 && done.is_multiple_of(every);
            if !validation.is_empty() && (due(settings.descent.eval_every) || is_last) {
                let found = fit.validate(examples, validation)?;
                record.val_loss = Some(found.loss);
                record.val_accuracy = found.accuracy;
                say(done, found)?;
            }
            writer.record(&record).context("cannot write the metrics")?;
            progress.step(&record)?;
            let best = fit.progress().best.filter(|_| record.val_loss.is_some());
            if best.is_some_and(|(step, _)| step == done) {
                keep(fit, true)?;
            }
            if due(settings.descent.save_every) && !is_last {
                keep(fit, false)?;
            }
            let since = best.map_or(0, |(step, _)| done - step);
            let patience = settings.early_stop.saturating_mul(settings.descent.eval_every);
            if patience > 0 && since >= patience {
                return Ok(Ended::Early);
            }
        }
        Ok(Ended::Done)
    }
}

/// Why a run ended.
enum Ended {
    Done,
    Early,
    Stopped,
}
