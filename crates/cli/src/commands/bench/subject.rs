//! The model that is measured.

use super::report::{Peak, Report};
use crate::model;
use clap::{Args, ValueEnum};
use mil::DataType;
use models::Config;

/// A model by name, and the element type of its products.
#[derive(Clone, Debug, Args)]
pub struct Subject {
    /// A preset (tiny, stories15m, stories42m, stories110m, qwen3-0.6b, smollm2-135m,
    /// llama3.2-1b, qwen2.5-0.5b, mistral-7b, gemma-2b, gpt2) or a folder with a config.json; parameters are random
    #[arg(long, value_name = "PRESET|DIR", default_value = "stories110m")]
    pub model: String,
    /// Element type of matrix products
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = Dtype::Fp32)]
    pub dtype: Dtype,
}

/// Element types of products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    /// Single precision
    Fp32,
    /// bf16 operands, sums and master weights in fp32
    Bf16,
    /// fp16 operands, sums and master weights in fp32
    Fp16,
}

impl From<Dtype> for DataType {
    fn from(dtype: Dtype) -> DataType {
        match dtype {
            Dtype::Fp32 => DataType::Fp32,
            Dtype::Bf16 => DataType::Bf16,
            Dtype::Fp16 => DataType::Fp16,
        }
    }
}

impl Dtype {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::Fp32 => "fp32",
            Dtype::Bf16 => "bf16",
            Dtype::Fp16 => "fp16",
        }
    }

    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            Dtype::Fp32 => 4,
            Dtype::Bf16 | Dtype::Fp16 => 2,
        }
    }

    /// The name of the peak that bounds products of this type: the machine's instruction for it
    /// if there is one, otherwise that of fp32, to which operands are widened.
    pub fn peak(self, peaks: &[Peak]) -> &'static str {
        let own = peaks.iter().map(|peak| peak.name).find(|name| *name == self.name());
        own.unwrap_or("fp32")
    }
}

impl Subject {
    /// The model's configuration.
    pub fn config(&self) -> anyhow::Result<Config> {
        model::config(&self.model, None)
    }

    /// Says in the report what is measured.
    pub fn describe(&self, report: &mut Report, config: &Config) -> anyhow::Result<()> {
        report.setting("model", self.model.as_str());
        report.setting("parameters", config.parameter_count()?);
        report.setting("dtype", self.dtype.name());
        Ok(())
    }
}
