//! `anemone train`.

mod data;
mod loss_scale;
mod progress;
mod restart;
mod settings;

use crate::device::{self, Kind};
use crate::model;
use ane::device::AneDevice;
use anyhow::{Context, bail};
use clap::Args;
use data::Data;
use mil::DataType;
use progress::Progress;
pub use progress::grouped;
use runtime::Products;
use serde_json::json;
pub use settings::Again;
use settings::{Flags, Settings};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use train::checkpoint::{self, Checkpoint};
use train::data::{Batches, Feed};
use train::metrics::{self, Writer};
use train::{About, Network, Trainer, TrainerOptions};

/// Train a language model.
///
/// With no arguments, trains a small model on stories that are made up on the spot, and ends by
/// writing a story. The run goes to a folder: checkpoints (safetensors with Hugging Face names),
/// metrics as JSON lines, and a picture of the loss curve. Ctrl-C saves before it stops, and
/// `--resume` goes on from there.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true, args_override_self = true)]
pub struct Train {
    #[command(flatten)]
    flags: Flags,
    /// Folder of the run
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// Go on with the run in --out; flags that are not given are as they were
    #[arg(long)]
    resume: bool,
    /// Metrics as JSON lines [default: metrics.jsonl in --out]
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Print the metrics as JSON lines instead of showing progress
    #[arg(long)]
    json: bool,
    /// Do not write a story at the end
    #[arg(long)]
    no_sample: bool,
    /// Threads [default: as many as the machine runs at once]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl Train {
    /// Runs the training.
    pub fn run(self) -> anyhow::Result<()> {
        let mut previous = self.previous()?;
        let stored = previous.as_ref().map(|c| &c.state().settings);
        let settings = Settings::resolve(&self.flags, stored)?;
        let start = match &settings.init {
            Some(folder) if previous.is_none() => Some(
                Checkpoint::open(folder)
                    .with_context(|| format!("cannot begin from `{}`", folder.display()))?,
            ),
            _ => None,
        };
        let config = model::config(&settings.model, start.as_ref().or(previous.as_ref()))?;
        let progress = Progress::new(self.json);
        let known = previous.as_ref().or(start.as_ref()).and_then(Checkpoint::tokenizer);
        let data = Data::open(&settings, &config, known, &progress)?;
        let config = data.config;

        let threads = self.threads.map(usize::from);
        let device = device::open(&settings.device, threads, settings.weights.into())?;
        let kind = Kind::parse(&settings.device)?;
        let shape = models::Shape { batch: settings.batch, seq: settings.seq };
        let mut network_options = kind.network(shape, settings.dtype.into())?;
        if !kind.is_engine() {
            network_options.recompute = settings.recompute.into();
            if settings.forward_int8 {
                network_options.forward_products = Products::Int8;
            }
        }
        network_options.micro_batches = settings.accum;
        let vocabulary = match settings.compact_vocab {
            true => Some(Arc::new(data.vocabulary(&progress)?)),
            false => None,
        };
        let network = match &vocabulary {
            Some(used) => {
                let used = Arc::clone(used);
                Network::with_vocabulary(&*device.device, &config, &network_options, used)?
            }
            None => Network::new(&*device.device, &config, &network_options)?,
        };
        let memory = network.surface_bytes() + network.scratch_bytes();
        let options = TrainerOptions {
            accumulate: settings.accum,
            optimizer: settings.optimizer(),
            schedule: settings.schedule(),
            clip: settings.clip,
            loss_scale: settings.loss_scale.of(&config, settings.dtype),
            threads: device.threads,
        };
        let position = match &previous {
            Some(checkpoint) => checkpoint.state().data,
            None => settings.position(),
        };
        let batches = |range, position| {
            Batches::new(Arc::clone(&data.tokens), range, settings.batch, settings.seq, position)
        };
        let training = batches(data.training.clone(), position)?;
        let mut validation = data.validation(&settings)?;
        let mut trainer = match (&mut previous, start) {
            (Some(checkpoint), _) => Trainer::resume(network, options, training, checkpoint)?,
            (None, Some(mut checkpoint)) => {
                Trainer::from_checkpoint(network, options, training, &mut checkpoint)?
            }
            (None, None) => Trainer::new(network, options, training, settings.seed)?,
        };

        let mut description = json!({
            "model": settings.model,
            "parameters": config.parameter_count()?,
            "device": device.device.name(),
            "kernels": device.device.describe(),
            "dtype": settings.dtype.name(),
            "threads": device.threads,
            "seed": settings.seed,
            "settings": settings.to_json(),
        });
        progress.begin(&settings, &config, &device, memory, &data.description)?;
        if let Some(vocabulary) = &vocabulary {
            let (rows, size) = (vocabulary.rows(), vocabulary.size());
            description["vocabulary"] = json!({ "rows_used": rows, "rows": size });
            progress.vocabulary(vocabulary)?;
        }
        std::fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot make `{}`", self.out.display()))?;
        let log = self.log.clone().unwrap_or_else(|| self.out.join("metrics.jsonl"));
        let mut writer = if self.resume {
            Writer::append(&log, &description)
        } else {
            Writer::create(&log, &description)
        }
        .with_context(|| format!("cannot write `{}`", log.display()))?;

        let run = Run {
            out: &self.out,
            settings: &settings,
            config_json: config.to_hugging_face(),
            settings_json: settings.to_json(),
            tokenizer_json: data.tokenizer.as_ref().map(|t| t.to_json()).transpose()?,
            engine: device.engine.as_deref(),
        };
        let ended = run.train(&mut trainer, validation.as_mut(), &mut writer, &progress)?;
        if ended == Ended::NeedsNewProcess {
            run.save(&trainer)?;
            progress
                .note("the engine's budget of compilations is spent: going on in a new process")?;
            drop(writer);
            return restart::resume();
        }
        let stopped = ended == Ended::Stopped;
        let saved = run.save(&trainer)?;
        let title = format!("{}, {}", settings.model, data.description);
        let picture = run.plot(&log, &title)?;
        progress.end(&trainer, &saved, &picture, stopped)?;
        if let Some(tokenizer) = data.tokenizer.as_ref().filter(|_| !self.no_sample && !stopped) {
            let weights = model::weights(&trainer)?;
            // An engine's kernels are made for whole sequences; the story is written token by token.
            let sample = model::Sample {
                device: &*device.host,
                config: &config,
                compute: if kind.is_engine() { DataType::Fp32 } else { settings.dtype.into() },
                tokenizer,
                trained: trainer.trained(),
                seed: settings.seed,
            };
            progress.story(&sample.story(&weights)?)?;
        }
        Ok(())
    }

    /// The checkpoint to go on from, and a refusal to write over a run.
    fn previous(&self) -> anyhow::Result<Option<Checkpoint>> {
        if self.resume {
            let checkpoint = Checkpoint::open(&self.out)
                .with_context(|| format!("cannot resume from `{}`", self.out.display()))?;
            return Ok(Some(checkpoint));
        }
        if checkpoint::resolve(&self.out).is_ok() {
            bail!(
                "`{}` holds a run already: --resume goes on with it, --out DIR starts another",
                self.out.display()
            );
        }
        Ok(None)
    }
}

/// Checkpoints of a run that are kept.
const KEEP: usize = 2;

/// What stays the same during a run.
struct Run<'a> {
    out: &'a Path,
    settings: &'a Settings,
    config_json: serde_json::Value,
    settings_json: serde_json::Value,
    tokenizer_json: Option<String>,
    engine: Option<&'a AneDevice>,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// All steps are done.
    Done,
    /// Ctrl-C.
    Stopped,
    /// The engine cannot take new parameters in this process any more.
    NeedsNewProcess,
}

impl Run<'_> {
    /// Steps until the last one, until Ctrl-C, or until the engine needs a new process.
    fn train(
        &self,
        trainer: &mut Trainer,
        mut validation: Option<&mut Feed>,
        writer: &mut Writer,
        progress: &Progress,
    ) -> anyhow::Result<Ended> {
        let stop = stop_flag()?;
        let settings = self.settings;
        progress.start(trainer.steps_done(), settings.steps);
        if trainer.steps_done() == 0
            && let Some(validation) = validation.as_deref_mut()
        {
            let loss = trainer.validate(validation, settings.eval_batches)?;
            progress.validated(0, loss)?;
        }
        let first = trainer.steps_done();
        while trainer.steps_done() < settings.steps {
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
            let is_last = done == settings.steps;
            let due = |every: u64| every > 0 && done.is_multiple_of(every);
            if let Some(validation) = validation.as_deref_mut()
                && (due(settings.eval_every) || is_last)
            {
                let loss = trainer.validate(validation, settings.eval_batches)?;
                record.val_loss = Some(loss);
                progress.validated(done, loss)?;
            }
            writer.record(&record).context("cannot write the metrics")?;
            progress.step(&record)?;
            if due(settings.save_every) && !is_last {
                self.save(trainer)?;
            }
        }
        Ok(Ended::Done)
    }

    fn save(&self, trainer: &Trainer) -> anyhow::Result<PathBuf> {
        let about = About {
            config: &self.config_json,
            tokenizer: self.tokenizer_json.as_deref(),
            settings: &self.settings_json,
        };
        Ok(trainer.save(self.out, &about, KEEP)?)
    }

    /// Draws the loss curve of the whole log.
    fn plot(&self, log: &Path, title: &str) -> anyhow::Result<PathBuf> {
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
