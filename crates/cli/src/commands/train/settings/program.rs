//! The settings of a run that trains a program, which share their flags with those of a language
//! model.

use super::{Course, Flags, set};
use crate::commands::train::program::{LossName, ProgramFlags};
use crate::device::Kind;
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use train::adamw::AdamW;
use train::schedule::{Decay, Schedule};

/// All settings of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // Named after the flags.
pub struct ProgramSettings {
    pub program: PathBuf,
    pub function: Option<String>,
    pub target_output: Option<String>,
    pub loss: Option<LossName>,
    pub trainable: Option<String>,
    pub data: PathBuf,
    /// Passes over the data, where no number of steps is asked for.
    pub epochs: Option<f64>,
    pub steps: u64,
    pub batch: usize,
    pub lr: f64,
    pub min_lr_ratio: f64,
    pub warmup: u64,
    pub schedule: Course,
    pub weight_decay: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub clip: f64,
    pub seed: u64,
    pub val_part: f64,
    pub eval_every: u64,
    pub save_every: u64,
    pub early_stop: u64,
}

/// Passes over the data if neither they nor steps are asked for.
const EPOCHS: f64 = 3.0;

impl ProgramSettings {
    /// The settings that flags and, for a resumed run, those stored with it give. How long the run
    /// is follows with [`ProgramSettings::measure`].
    pub fn resolve(
        flags: &Flags,
        program: &ProgramFlags,
        stored: Option<ProgramSettings>,
    ) -> anyhow::Result<ProgramSettings> {
        let device = flags.device.as_deref().unwrap_or("cpu");
        if Kind::parse(device)? != Kind::Cpu {
            bail!(
                "programs are trained in fp32, which the device {device} leaves to its host: use \
                 --device cpu"
            );
        }
        if let (Some(stored), Some(other)) = (&stored, &program.program)
            && stored.program != *other
        {
            let stored = stored.program.display();
            bail!("the run in --out trains `{stored}`, not `{}`", other.display());
        }
        let mut s = match stored {
            Some(stored) => stored,
            None => ProgramSettings::new(
                program.program.clone().context("--program is missing")?,
                flags.data.clone().context(
                    "--program needs --data: a .npz or .safetensors file with an array for every \
                     input, and `target`",
                )?,
            ),
        };
        let (f, p) = (flags, program);
        set(&mut s.function, p.function.clone().map(Some));
        set(&mut s.target_output, p.target_output.clone().map(Some));
        set(&mut s.loss, p.loss.map(Some));
        set(&mut s.trainable, p.trainable.clone().map(Some));
        set(&mut s.data, f.data.clone());
        set(&mut s.epochs, f.tuning.epochs.map(Some));
        set(&mut s.batch, f.batch.map(|v| v as usize));
        set(&mut s.lr, f.lr);
        set(&mut s.min_lr_ratio, f.min_lr_ratio);
        set(&mut s.schedule, f.schedule);
        set(&mut s.weight_decay, f.weight_decay);
        set(&mut s.beta1, f.beta1);
        set(&mut s.beta2, f.beta2);
        set(&mut s.eps, f.eps);
        set(&mut s.clip, f.clip);
        set(&mut s.seed, f.seed);
        set(&mut s.val_part, f.tuning.val_part);
        set(&mut s.early_stop, f.tuning.early_stop);
        if let Some(steps) = f.steps {
            (s.steps, s.epochs) = (steps, None);
        }
        set(&mut s.warmup, f.warmup);
        set(&mut s.eval_every, f.eval_every);
        set(&mut s.save_every, f.save_every);
        Ok(s)
    }

    fn new(program: PathBuf, data: PathBuf) -> ProgramSettings {
        let AdamW { beta1, beta2, eps, .. } = AdamW::default();
        ProgramSettings {
            program,
            function: None,
            target_output: None,
            loss: None,
            trainable: None,
            data,
            epochs: Some(EPOCHS),
            steps: 0,
            batch: 16,
            lr: 1e-3,
            min_lr_ratio: 0.1,
            warmup: 0,
            schedule: Course::Cosine,
            weight_decay: 0.0,
            beta1,
            beta2,
            eps,
            clip: 1.0,
            seed: 42,
            val_part: 0.05,
            eval_every: 0,
            save_every: 0,
            early_stop: 0,
        }
    }

    /// Makes a run as long as its epochs over so many examples and, if it is a new one, all that
    /// follows its length unless flags say it.
    pub fn measure(&mut self, examples: usize, flags: &Flags, resumed: bool) {
        if let Some(epochs) = self.epochs {
            let steps = (examples as f64 * epochs / self.batch as f64).ceil();
            self.steps = (steps as u64).max(1);
        }
        if resumed {
            return;
        }
        self.warmup = flags.warmup.unwrap_or((self.steps / 20).min(100));
        self.eval_every = flags.eval_every.unwrap_or((self.steps / 10).max(1));
        self.save_every = flags.save_every.unwrap_or((self.steps / 5).max(1));
    }

    /// The optimizer's constants.
    pub fn optimizer(&self) -> AdamW {
        let ProgramSettings { beta1, beta2, eps, weight_decay, .. } = *self;
        AdamW { beta1, beta2, eps, weight_decay }
    }

    /// The learning rate of every step.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            peak: self.lr,
            min_ratio: self.min_lr_ratio,
            warmup: self.warmup,
            steps: self.steps,
            decay: match self.schedule {
                Course::Cosine => Decay::Cosine,
                Course::Constant => Decay::Constant,
            },
        }
    }
}
