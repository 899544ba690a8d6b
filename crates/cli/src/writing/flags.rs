//! The flags that name a model, and those that say how tokens are chosen.

use crate::device::{self, Opened};
use crate::model::{Loaded, Ways};
use anyhow::{Context, bail};
use clap::Args;
use generate::{GeneratorOptions, Sampling};
use mil::DataType;
use runtime::Products;
use std::path::PathBuf;

/// Which model, where and how it computes.
#[derive(Debug, Args)]
pub struct ModelFlags {
    /// The model: the folder of a run or of one of its checkpoints, a directory of Hugging Face, a
    /// GGUF, llama2.c or BLZT file, the folder of an adapter, or a name on the Hugging Face hub
    /// (`owner/name`), which is downloaded once
    #[arg(long, value_name = "PATH", default_value = "out")]
    pub model: PathBuf,
    /// Folder of a low-rank adapter to put beside the model, as `anemone train --lora` or the peft
    /// package saves it
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Device: cpu
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    /// Element type of matrix products, and of the matrices in memory; int8 quantizes parameters on
    /// the spot, with one scale for each output channel, and one for each token's activations
    #[arg(long, value_name = "TYPE", default_value = "fp32", value_parser = ["fp32", "bf16", "fp16", "int8"])]
    dtype: String,
    /// Threads [default: as many as the machine runs at once]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl ModelFlags {
    /// Opens the device and reads the model.
    pub fn open(&self) -> anyhow::Result<(Opened, Loaded)> {
        if device::Kind::parse(&self.device)?.is_engine() {
            bail!("text is generated on the cpu device; engines are for training so far");
        }
        let device = device::open(&self.device, self.threads.map(usize::from), Default::default())?;
        let adapter = self.adapter.as_deref();
        let loaded = Loaded::open(&self.model, adapter, device.threads, |half| self.stored(half))?;
        Ok((device, loaded))
    }

    /// The type to keep matrices in, where files have them in one of 16 bits or not.
    fn stored(&self, half: Option<DataType>) -> DataType {
        match self.dtype.as_str() {
            "bf16" => DataType::Bf16,
            "fp16" => DataType::Fp16,
            // Bytes are made from them, so they need not be more exact than this.
            "int8" => half.unwrap_or(DataType::Fp16),
            // Nothing is lost.
            _ => half.unwrap_or(DataType::Fp32),
        }
    }

    /// How the model is compiled for a context of `capacity` tokens.
    pub fn options(&self, loaded: &Loaded, capacity: usize) -> anyhow::Result<GeneratorOptions> {
        let (compute, products) = match self.dtype.as_str() {
            "int8" => (DataType::Fp32, Products::Int8),
            name => (DataType::from_name(name).context("an element type")?, Products::Native),
        };
        let lora = loaded.adapter.as_ref().map(|adapter| adapter.lora.clone());
        Ok(GeneratorOptions { capacity, compute, stored: loaded.stored, products, lora })
    }
}

/// How tokens are chosen. What is not given is as the model's maker recommends, in its
/// `generation_config.json`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Choosing tokens")]
pub struct ChoiceFlags {
    /// How freely to choose: 0 always takes the most probable token [default: the model's, or 0.8]
    #[arg(long, value_name = "X")]
    temperature: Option<f32>,
    /// Choose among so many of the most probable tokens; 0 for all [default: the model's, or 0]
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// Choose among the most probable tokens that together reach this probability [default: the
    /// model's, or 0.95]
    #[arg(long, value_name = "X")]
    top_p: Option<f32>,
    /// Choose among tokens at least this many times as probable as the most probable one
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    min_p: f32,
    /// Make tokens less probable that are there already; 1 does not [default: the model's, or 1]
    #[arg(long, value_name = "X")]
    repetition_penalty: Option<f32>,
    /// Seed of the choices
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// End before this text would be written; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
}

impl ChoiceFlags {
    /// What is asked for, completed by what the model's files recommend.
    pub fn sampling(&self, ways: &Ways) -> Sampling {
        let made = &ways.generation;
        // A maker who does not sample recommends the most probable token.
        let temperature = match made.sample {
            Some(false) => Some(0.0),
            _ => made.temperature,
        };
        Sampling {
            repetition_penalty: self.repetition_penalty.or(made.repetition_penalty).unwrap_or(1.0),
            temperature: self.temperature.or(temperature).unwrap_or(0.8),
            top_k: self.top_k.or(made.top_k).unwrap_or(0),
            top_p: self.top_p.or(made.top_p).unwrap_or(0.95),
            min_p: self.min_p,
            seed: self.seed,
        }
    }
}
