//! `anemone estimate`.

mod json;
mod pipeline;
mod table;

use crate::model;
use ane::cost::calibration;
use ane::device::WeightStrategy;
use ane::target::{Route, Target};
use anyhow::bail;
use clap::{Args, ValueEnum};
use models::Shape;
use std::io::Write;

/// Predict how long a training step takes on a Neural Engine, and where the time goes.
///
/// Nothing is run on an engine, and none need be there: the model's layer is cut into kernels as
/// training would cut it, and each is priced with the few numbers that are known of the chip.
/// Every prediction is printed with the error that the same numbers have on published
/// measurements; `--calibration` lists these one by one.
///
/// Example: anemone estimate --model stories110m --target m4
#[derive(Debug, Args)]
pub struct Estimate {
    /// A preset (tiny, stories15m, stories42m, stories110m, qwen3-0.6b, smollm2-135m,
    /// llama3.2-1b, qwen2.5-0.5b, mistral-7b, gemma-2b, gpt2) or a folder with a config.json
    #[arg(long, value_name = "PRESET|DIR", default_value = "stories110m")]
    model: String,
    /// The chip, and the major version of macOS behind a colon, such as m1 or m4:15
    #[arg(long, value_name = "CHIP[:OS]", default_value = "m4")]
    target: String,
    /// The way to the engine: client, in-memory or e5rt
    #[arg(long, value_name = "NAME", default_value = "in-memory")]
    route: String,
    /// Sequences in a batch [default: 8 for tiny, otherwise 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: Option<u32>,
    /// Tokens in a sequence [default: 128 for tiny, otherwise 256]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    seq: Option<u32>,
    /// How weights get into kernels
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Weights::Packed)]
    weights: Weights,
    /// List the published measurements, what is predicted for them, and the numbers of the chip
    #[arg(long)]
    calibration: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Weights {
    /// Beside the activations: nothing is compiled anew
    Packed,
    /// As constants: every update compiles every kernel of every layer anew
    Baked,
}

impl Estimate {
    /// Predicts, and prints.
    pub fn run(self) -> anyhow::Result<()> {
        let target = Target::parse(&self.target)?.by(self.route.parse::<Route>()?);
        let comparisons = calibration::compare()?;
        let mut out = std::io::stdout().lock();
        if self.calibration {
            let text = match self.json {
                true => format!("{:#}\n", json::calibration(&comparisons, target.chip)),
                false => table::calibration(&comparisons, target.chip),
            };
            out.write_all(text.as_bytes())?;
            return Ok(out.flush()?);
        }
        let config = model::config(&self.model, None)?;
        let is_tiny = self.model == "tiny";
        let batch = self.batch.unwrap_or(if is_tiny { 8 } else { 1 }) as usize;
        let seq = self.seq.unwrap_or(if is_tiny { 128 } else { 256 }) as usize;
        let shape = Shape { batch, seq };
        if seq > config.max_seq {
            bail!("--seq is {seq}, but `{}` is made for {} tokens", self.model, config.max_seq);
        }
        let weights = match self.weights {
            Weights::Packed => WeightStrategy::Packed,
            Weights::Baked => WeightStrategy::Baked,
        };
        let pipeline = pipeline::pipeline(&config, shape, &target, weights)?;
        let subject = table::Subject { model: &self.model, target, shape };
        let text = match self.json {
            true => format!("{:#}\n", json::estimate(&subject, &pipeline, &comparisons)),
            false => table::estimate(&subject, &pipeline, &comparisons),
        };
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }
}
