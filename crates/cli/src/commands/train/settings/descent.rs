//! How every kind of run goes down: length, batch, learning rate, optimizer, and when it validates
//! and saves.

use super::{below_one, fraction, not_negative, positive, set};
use anyhow::bail;
use clap::{Args, ValueEnum};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use train::adamw::AdamW;
use train::schedule::{Decay, Schedule};

/// The flags.
#[derive(Debug, Args)]
pub struct DescentFlags {
    /// Optimizer steps in all [default: 1400 for tiny, --epochs for chats, otherwise 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) steps: Option<u64>,
    /// Sequences in a batch [default: 8 for tiny, otherwise 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(super) batch: Option<u32>,
    /// Largest learning rate [default: 2e-3 for tiny, 2e-5 with --init, 2e-4 with --lora, otherwise
    /// 3e-4]
    #[arg(long, value_name = "X", value_parser = positive)]
    pub(super) lr: Option<f64>,
    /// Smallest learning rate of the cosine, as a part of the largest [default: 0.1]
    #[arg(long, value_name = "X", value_parser = fraction)]
    pub(super) min_lr_ratio: Option<f64>,
    /// Steps in which the learning rate rises [default: a twentieth of the run, at most 100]
    #[arg(long, value_name = "N")]
    pub(super) warmup: Option<u64>,
    /// Course of the learning rate after that [default: cosine]
    #[arg(long, value_name = "NAME")]
    pub(super) schedule: Option<Course>,
    /// Weight decay of matrices [default: 0.1; 0 with --init]
    #[arg(long, value_name = "X", value_parser = not_negative)]
    pub(super) weight_decay: Option<f64>,
    /// Decay of AdamW's first moment [default: 0.9]
    #[arg(long, value_name = "X", value_parser = below_one)]
    pub(super) beta1: Option<f64>,
    /// Decay of AdamW's second moment [default: 0.95]
    #[arg(long, value_name = "X", value_parser = below_one)]
    pub(super) beta2: Option<f64>,
    /// AdamW's epsilon [default: 1e-8]
    #[arg(long, value_name = "X", value_parser = positive)]
    pub(super) eps: Option<f64>,
    /// Largest norm of the gradient; 0 for no limit [default: 1]
    #[arg(long, value_name = "X", value_parser = not_negative)]
    pub(super) clip: Option<f64>,
    /// Seed of parameters, stories and order [default: 42]
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// Steps between two validations; 0 for only at the end [default: a tenth of the run]
    #[arg(long, value_name = "N")]
    pub(super) eval_every: Option<u64>,
    /// Steps between two checkpoints; 0 for only at the end [default: a fifth of the run]
    #[arg(long, value_name = "N")]
    pub(super) save_every: Option<u64>,
}

choices! {
    /// Course of the learning rate.
    Course {
        Cosine "cosine" "half a cosine",
        Constant "constant" "stays at the largest",
    }
}

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // Named after the flags.
pub struct Descent {
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
    pub eval_every: u64,
    pub save_every: u64,
}

impl Default for Descent {
    fn default() -> Descent {
        let AdamW { beta1, beta2, eps, weight_decay } = AdamW::default();
        Descent {
            steps: 0,
            batch: 1,
            lr: 1e-3,
            min_lr_ratio: 0.1,
            warmup: 0,
            schedule: Course::Cosine,
            weight_decay,
            beta1,
            beta2,
            eps,
            clip: 1.0,
            seed: 42,
            eval_every: 0,
            save_every: 0,
        }
    }
}

impl Descent {
    /// Takes what flags say.
    pub fn take(&mut self, flags: &DescentFlags) {
        let f = flags;
        set(&mut self.steps, f.steps);
        set(&mut self.batch, f.batch.map(|v| v as usize));
        set(&mut self.lr, f.lr);
        set(&mut self.min_lr_ratio, f.min_lr_ratio);
        set(&mut self.warmup, f.warmup);
        set(&mut self.schedule, f.schedule);
        set(&mut self.weight_decay, f.weight_decay);
        set(&mut self.beta1, f.beta1);
        set(&mut self.beta2, f.beta2);
        set(&mut self.eps, f.eps);
        set(&mut self.clip, f.clip);
        set(&mut self.seed, f.seed);
        set(&mut self.eval_every, f.eval_every);
        set(&mut self.save_every, f.save_every);
    }

    /// Makes the run so many steps long, and all that follows its length unless flags say it.
    pub fn follow(&mut self, steps: u64, flags: &DescentFlags) {
        self.steps = steps;
        self.warmup = flags.warmup.unwrap_or((steps / 20).min(100));
        self.eval_every = flags.eval_every.unwrap_or((steps / 10).max(1));
        self.save_every = flags.save_every.unwrap_or((steps / 5).max(1));
    }

    /// The optimizer's constants.
    pub fn optimizer(&self) -> AdamW {
        let Descent { beta1, beta2, eps, weight_decay, .. } = *self;
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

/// Reads the settings of a run that is there.
///
/// # Errors
/// If one is missing, is of another type, or is not known here: then it would not be followed.
pub fn read<T: Serialize + DeserializeOwned>(stored: &Value) -> anyhow::Result<T> {
    let settings = serde_json::from_value(stored.clone())?;
    let known = serde_json::to_value(&settings)?;
    let mut names = stored.as_object().into_iter().flat_map(|object| object.keys());
    match names.find(|name| known.get(name).is_none()) {
        Some(name) => bail!("there is no setting `{name}`"),
        None => Ok(settings),
    }
}
