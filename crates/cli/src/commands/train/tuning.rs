//! The flags of fine-tuning: adapters, samples, and when to stop.

use super::settings::{below_one, fraction, positive};
use anyhow::bail;
use clap::Args;
use models::Lora;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The flags that adapt a model that is there already.
#[derive(Debug, Args)]
#[command(next_help_heading = "Fine-tuning")]
pub struct TuningFlags {
    /// Train a low-rank adapter of this rank beside the model of --init, which stays as it is
    #[arg(long, value_name = "RANK", value_parser = clap::value_parser!(u32).range(1..=65536))]
    lora: Option<u32>,
    /// The adapter's update is multiplied by this over its rank [default: twice the rank]
    #[arg(long, value_name = "X", value_parser = positive, requires = "lora")]
    lora_alpha: Option<f64>,
    /// Probability with which an element is left out of the adapter's input [default: 0]
    #[arg(long, value_name = "X", value_parser = below_one, requires = "lora")]
    lora_dropout: Option<f64>,
    /// Modules that the adapter changes, such as q_proj,v_proj [default: all-linear]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "lora")]
    lora_targets: Option<Vec<String>>,
    /// Passes over the data, instead of --steps [default for chats and instructions: 3]
    #[arg(long, value_name = "N", value_parser = positive, conflicts_with = "steps")]
    pub(super) epochs: Option<f64>,
    /// Data for validation, in a file of their own [default: a part of --data]
    #[arg(long, value_name = "PATH")]
    val_data: Option<PathBuf>,
    /// The part of --data that is set aside for validation [default: 0.05]
    #[arg(long, value_name = "X", value_parser = fraction, conflicts_with = "val_data")]
    pub(super) val_part: Option<f64>,
    /// Chat template: a file, or chatml [default: the model's]
    #[arg(long, value_name = "FILE|chatml")]
    chat_template: Option<String>,
    /// Put several short samples into one sequence, where they do not see each other
    /// [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    packing: Option<bool>,
    /// Keep the checkpoint with the least validation loss too, as `best` [default: true with --init]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    best: Option<bool>,
    /// Stop after so many validations without a lower loss; 0 never does [default: 0]
    #[arg(long, value_name = "N")]
    pub(super) early_stop: Option<u64>,
    /// Steps between two texts that the model writes on the way; 0 for none [default: 0]
    #[arg(long, value_name = "N")]
    sample_every: Option<u64>,
    /// What those texts, and the one at the end, go on from
    #[arg(long, value_name = "TEXT")]
    sample_prompt: Option<String>,
}

impl TuningFlags {
    /// Whether an adapter is asked for.
    pub fn has_adapter(&self) -> bool {
        self.lora.is_some()
    }
}

/// What the flags say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // Named after the flags.
pub struct Tuning {
    pub lora: Option<u32>,
    pub lora_alpha: Option<f64>,
    pub lora_dropout: f64,
    pub lora_targets: Option<Vec<String>>,
    pub epochs: Option<f64>,
    pub val_data: Option<PathBuf>,
    pub val_part: Option<f64>,
    pub chat_template: Option<String>,
    pub packing: Option<bool>,
    pub best: Option<bool>,
    pub early_stop: u64,
    pub sample_every: u64,
    pub sample_prompt: Option<String>,
}

/// The part of the data that is set aside.
const HELD_OUT: f64 = 0.05;

impl Tuning {
    /// Takes over the flags that are given. A run that is `resumed` keeps its adapter's shape.
    pub fn take(&mut self, flags: &TuningFlags, resumed: bool) -> anyhow::Result<()> {
        let f = flags;
        if resumed && f.lora.is_some_and(|rank| self.lora != Some(rank)) {
            match self.lora {
                Some(rank) => bail!("the run in --out trains an adapter of rank {rank}"),
                None => bail!("the run in --out trains the whole model, not an adapter"),
            }
        }
        fn take<T: Clone>(setting: &mut Option<T>, flag: &Option<T>) {
            if flag.is_some() {
                setting.clone_from(flag);
            }
        }
        take(&mut self.lora, &f.lora);
        take(&mut self.lora_alpha, &f.lora_alpha);
        self.lora_dropout = f.lora_dropout.unwrap_or(self.lora_dropout);
        take(&mut self.lora_targets, &f.lora_targets);
        take(&mut self.epochs, &f.epochs);
        take(&mut self.val_data, &f.val_data);
        take(&mut self.val_part, &f.val_part);
        take(&mut self.chat_template, &f.chat_template);
        take(&mut self.packing, &f.packing);
        take(&mut self.best, &f.best);
        self.early_stop = f.early_stop.unwrap_or(self.early_stop);
        self.sample_every = f.sample_every.unwrap_or(self.sample_every);
        take(&mut self.sample_prompt, &f.sample_prompt);
        Ok(())
    }

    /// The adapter's shape, if one is trained.
    pub fn adapter(&self) -> Option<Lora> {
        let rank = self.lora? as usize;
        Some(Lora {
            rank,
            alpha: self.lora_alpha.unwrap_or(2.0 * rank as f64),
            rank_stabilized: false,
            dropout: self.lora_dropout,
            targets: match &self.lora_targets {
                Some(targets) => targets.clone(),
                None => vec![models::ALL_LINEAR.to_owned()],
            },
        })
    }

    /// Whether short samples share a sequence.
    pub fn packs(&self) -> bool {
        self.packing.unwrap_or(true)
    }

    /// The part of the data that is set aside for validation.
    pub fn held_out(&self) -> f64 {
        self.val_part.unwrap_or(HELD_OUT)
    }
}
