//! `anemone train`.

mod data;
mod loss_scale;
mod program;
mod progress;
mod restart;
mod run;
mod samples;
mod settings;
mod tuning;

use crate::device::{self, Kind};
use crate::hub;
use crate::model;
use anyhow::{Context, bail};
use clap::Args;
use data::Data;
use mil::DataType;
use progress::Progress;
pub use progress::grouped;
pub use run::stop_flag;
use run::{Ended, Run};
use runtime::Products;
use serde_json::json;
pub use settings::Again;
use settings::{Flags, Settings};
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use text::Tokenizer;
use train::checkpoint::{self, Checkpoint};
use train::metrics::Writer;
use train::{Network, NetworkOptions, Trainer, TrainerOptions};

/// Train a language model, or fine-tune a model of Core ML (--program).
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
    #[command(flatten)]
    program: program::ProgramFlags,
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
        if self.program.program.is_some() || (self.resume && program::is_run(&self.out)) {
            return program::Run {
                flags: &self.flags,
                program: &self.program,
                out: &self.out,
                resume: self.resume,
                log: self.log.as_deref(),
                json: self.json,
                threads: self.threads.map(usize::from),
            }
            .run();
        }
        let mut previous = self.previous()?;
        let stored = previous.as_ref().map(|c| &c.state().settings);
        let mut settings = Settings::resolve(&self.flags, stored)?;
        let progress = Progress::new(self.json);
        let threads = self.threads.map(usize::from);
        let device = device::open(&settings.device, threads, settings.weights.into())?;
        let kind = Kind::parse(&settings.device)?;
        let lora = settings.tuning.adapter();

        // Of a resumed run the origin is needed for what its checkpoints do not hold.
        let mut origin = match &settings.init {
            Some(path) if previous.is_none() || lora.is_some() => {
                Some(model::Origin::open(&hub::resolve(path)?, device.threads)?)
            }
            _ => None,
        };
        let config = match (&origin, &previous) {
            (Some(origin), _) => origin.config()?,
            (None, previous) => model::config(&settings.model, previous.as_ref())?,
        };
        settings.fit(&config, &self.flags);
        let known = match (&previous, &origin) {
            (Some(checkpoint), _) => checkpoint.tokenizer().map(Tokenizer::load).transpose()?,
            (None, Some(origin)) => origin.tokenizer()?,
            (None, None) => None,
        };
        let mut sidecars = match (&previous, &origin) {
            (Some(checkpoint), _) => model::sidecars_of(checkpoint)?,
            (None, Some(origin)) => origin.sidecars()?,
            (None, None) => vec![],
        };
        if let Some(given) = &settings.tuning.chat_template {
            match model::chat_template(given) {
                Ok(source) => model::put_template(&mut sidecars, source),
                Err(error) if previous.is_none() => return Err(error),
                // The run's checkpoints have kept it.
                Err(_) => {}
            }
        }
        let data = Data::open(&settings, &config, known, &sidecars, &progress)?;
        let config = data.config;
        if previous.is_none() {
            settings.measure(data.sequences(&settings)?, data.is_samples(), &self.flags);
        }
        let settings = settings;

        let network_options = self.network_options(&settings, kind, &data)?;
        let vocabulary = match settings.compact_vocab {
            true => Some(Arc::new(data.vocabulary(&progress)?)),
            false => None,
        };
        let mut network = match &vocabulary {
            Some(used) => {
                let used = Arc::clone(used);
                Network::with_vocabulary(&*device.device, &config, &network_options, used)?
            }
            None => Network::new(&*device.device, &config, &network_options)?,
        };
        let memory = network.surface_bytes() + network.scratch_bytes();
        let options = TrainerOptions {
            accumulate: settings.accum,
            optimizer: settings.descent.optimizer(),
            schedule: settings.descent.schedule(),
            clip: settings.descent.clip,
            loss_scale: settings.loss_scale.of(&config, settings.dtype),
            threads: device.threads,
        };
        let position = match &previous {
            Some(checkpoint) => checkpoint.state().data,
            None => settings.position(),
        };
        let training = data.training(&settings, position)?;
        let mut validation = data.validation(&settings)?;

        progress.begin(&settings, &config, &device, memory, &data.description)?;
        if let Some(lora) = &lora {
            let trained = network.parameters.iter().map(|p| p.spec.dims.iter().product::<usize>());
            progress.adapter(lora, trained.sum())?;
        }
        let elements = config.parameter_count()? as u64;
        let read = Cell::new(0);
        let loading = |more: usize| {
            read.set(read.get() + more as u64);
            progress.loading(read.get(), elements);
        };
        if let Some(origin) = &mut origin
            && lora.is_some()
        {
            network.read_base(&mut origin.reader(&loading))?;
        }
        let mut trainer = match (&mut previous, &mut origin) {
            (Some(checkpoint), _) => Trainer::resume(network, options, training, checkpoint)?,
            (None, Some(origin)) if lora.is_none() => {
                let trained = origin.trained();
                let mut read = origin.reader(&loading);
                let trained = trained.as_ref();
                Trainer::from_parameters(network, options, training, &mut read, trained)?
            }
            (None, _) => Trainer::new(network, options, training, settings.descent.seed)?,
        };

        let mut description = json!({
            "model": settings.model,
            "parameters": config.parameter_count()?,
            "device": device.device.name(),
            "kernels": device.device.describe(),
            "dtype": settings.dtype.name(),
            "threads": device.threads,
            "seed": settings.descent.seed,
            "settings": settings.to_json(),
        });
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

        // An engine's kernels are made for whole sequences; texts are written token by token.
        let story = data.tokenizer.as_ref().map(|tokenizer| model::Sample {
            device: &*device.host,
            config: &config,
            compute: if kind.is_engine() { DataType::Fp32 } else { settings.dtype.into() },
            tokenizer,
            lora: lora.clone(),
            prompt: settings.tuning.sample_prompt.as_deref(),
            seed: settings.descent.seed,
        });
        let run = Run {
            out: &self.out,
            settings: &settings,
            config_json: match (&origin, &previous) {
                (Some(origin), _) => origin.json(),
                (None, Some(checkpoint)) => checkpoint.config().clone(),
                (None, None) => new_config(&config, data.tokenizer.as_ref()),
            },
            settings_json: settings.to_json(),
            tokenizer_json: data.tokenizer.as_ref().map(|t| t.to_json()).transpose()?,
            adapter_json: match (&lora, &settings.init) {
                (Some(lora), Some(base)) => {
                    // The very checkpoint, found from wherever the adapter is loaded.
                    let base = checkpoint::resolve(base).unwrap_or_else(|_| base.clone());
                    let base = std::fs::canonicalize(&base).unwrap_or(base);
                    Some(lora.to_peft(&config, &base.to_string_lossy())?)
                }
                _ => None,
            },
            sidecars,
            engine: device.engine.as_deref(),
            story: story.filter(|_| !self.no_sample),
        };
        let ended = run.train(&mut trainer, validation.as_mut(), &mut writer, &progress)?;
        let saved = run.save(&trainer)?;
        if ended == Ended::NeedsNewProcess {
            progress
                .note("the engine's budget of compilations is spent: going on in a new process")?;
            drop(writer);
            return restart::resume();
        }
        let title = format!("{}, {}", settings.model, data.description);
        let picture = run.plot(&log, &title)?;
        progress.end(&trainer, &saved, &picture, ended)?;
        if let Some(story) = run.story.as_ref().filter(|_| ended != Ended::Stopped) {
            progress.story(&story.of(&trainer)?)?;
        }
        Ok(())
    }

    /// How the model is built.
    fn network_options(
        &self,
        settings: &Settings,
        kind: Kind,
        data: &Data,
    ) -> anyhow::Result<NetworkOptions> {
        let shape = models::Shape { batch: settings.descent.batch, seq: settings.seq };
        let mut options = kind.network(shape, settings.dtype.into())?;
        if !kind.is_engine() {
            options.recompute = settings.recompute.into();
            if settings.forward_int8 {
                options.forward_products = Products::Int8;
            }
        }
        options.micro_batches = settings.accum;
        options.lora = settings.tuning.adapter();
        options.packed = data.is_samples();
        Ok(options)
    }

    /// The checkpoint to go on from, and a refusal to write over a run.
    fn previous(&self) -> anyhow::Result<Option<Checkpoint>> {
        if self.resume {
            let checkpoint = Checkpoint::open(&self.out)
                .with_context(|| format!("cannot resume from `{}`", self.out.display()))?;
            return Ok(Some(checkpoint));
        }
        if checkpoint::resolve(&self.out).is_ok() || program::is_run(&self.out) {
            bail!(
                "`{}` holds a run already: --resume goes on with it, --out DIR starts another",
                self.out.display()
            );
        }
        Ok(None)
    }
}

/// The `config.json` of a model that begins here.
fn new_config(config: &models::Config, tokenizer: Option<&Tokenizer>) -> serde_json::Value {
    let mut json = config.to_hugging_face();
    if let Some(end) = tokenizer.and_then(Tokenizer::end_of_text) {
        json["eos_token_id"] = end.into();
    }
    json
}
