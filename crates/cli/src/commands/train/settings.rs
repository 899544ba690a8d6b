//! The flags of `train`, and what they mean together.
//!
//! Every flag may be left out: then a resumed run has what it had, and a new one the model's
//! default.

#[macro_use]
mod choices;
mod descent;
mod program;

pub use descent::{Descent, DescentFlags, read};
pub use program::ProgramSettings;

use super::loss_scale::Scale;
use super::tuning::{Tuning, TuningFlags};
use crate::device::Kind;
use ane::device::WeightStrategy;
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use mil::DataType;
use models::Config;
use passes::autodiff;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;
use train::data::{Order, Position, Width};

/// The flags that make a run what it is.
#[derive(Debug, Args)]
pub struct Flags {
    /// A preset (tiny, stories15m, stories42m, stories110m, qwen3-0.6b, smollm2-135m,
    /// llama3.2-1b, qwen2.5-0.5b, mistral-7b, gemma-2b, gpt2) or a folder with a config.json [default: tiny]
    #[arg(long, value_name = "PRESET|DIR")]
    model: Option<String>,
    /// Where parameters come from: `scratch`, or a model: the folder of a run, a Hugging Face
    /// folder or name (`owner/name`), or a file of GGUF or llama2.c [default: scratch]
    #[arg(long, value_name = "scratch|MODEL")]
    init: Option<String>,
    /// Text, JSON lines (.jsonl), raw tokens (.bin, .u16, .u32) or a folder that `anemone data
    /// prepare` has written [default: stories made here]
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Bits of a token in a .bin file [default: 16]
    #[arg(long, value_name = "BITS", value_parser = ["16", "32"])]
    token_width: Option<String>,
    /// A tokenizer.json for text [default: the model's, or one trained on the text]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Tokens in a sequence [default: 128 for tiny, 512 with --init, otherwise 256]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    seq: Option<u32>,
    /// Batches whose gradients are added up for one step [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    accum: Option<u32>,
    /// Order of the data [default: random]
    #[arg(long, value_name = "NAME")]
    order: Option<Sequence>,
    /// Device: cpu, ane (this machine's Neural Engine), or ane-emulated:CHIP (the engine in
    /// software, under the rules of m1 to m5) [default: cpu]
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// How parameters get into the engine's kernels [default: packed]
    #[arg(long, value_name = "HOW")]
    weights: Option<Weights>,
    /// Element type of matrix products; parameters stay fp32 [default: fp32; fp16 on an engine]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<Compute>,
    /// What the loss is multiplied by while it is differentiated, so that gradients do not vanish
    /// in fp16: none, static (256 for every layer), dynamic (that at first, then halved when a
    /// gradient overflows and doubled when long none did) or a number [default: dynamic for fp16,
    /// otherwise none]
    #[arg(long, value_name = "none|static|dynamic|X", value_parser = Scale::parse)]
    loss_scale: Option<Scale>,
    /// What is computed again in the backward pass instead of kept [default: cheap]
    #[arg(long, value_name = "WHAT")]
    recompute: Option<Again>,
    /// Multiply with the layers' parameters in 8-bit integers in the forward pass; gradients are
    /// those of the products as they would be without (straight through)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    forward_int8: Option<bool>,
    /// Train only the rows of embedding and classifier whose tokens the data use (validation
    /// included): faster and smaller. Losses are then over those tokens only, and less than those
    /// of a run over the whole vocabulary; all other rows stay as they are, also by weight decay,
    /// and count nothing in the gradient's norm. Checkpoints have all rows, and can be resumed
    /// with this, with other data, or without (=false)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    compact_vocab: Option<bool>,
    /// Batches of a validation [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    eval_batches: Option<u32>,
    #[command(flatten)]
    descent: DescentFlags,
    #[command(flatten)]
    tuning: TuningFlags,
}

choices! {
    /// Order of the data.
    Sequence {
        Random "random" "windows anywhere, drawn from the seed",
        Sequential "sequential" "one window after the other",
    }
}

choices! {
    /// Element type of matrix products.
    Compute {
        Fp32 "fp32" "single precision",
        Bf16 "bf16" "brain floats, sums in single precision",
        Fp16 "fp16" "half precision, sums in single precision",
    }
}

choices! {
    /// How parameters get into an engine's kernels.
    Weights {
        Packed "packed" "beside the activations: nothing is compiled again",
        Baked "baked" "as constants: every step compiles every kernel, in a new process when the engine's budget of compilations is spent",
    }
}

choices! {
    /// What the backward pass computes again.
    Again {
        Nothing "nothing" "keep every value that is needed",
        Cheap "cheap" "keep matrix products, compute the rest again",
        Everything "everything" "keep only what goes into a layer",
    }
}

/// A run's settings, all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // Named after the flags.
pub struct Settings {
    pub model: String,
    pub init: Option<PathBuf>,
    pub data: Option<PathBuf>,
    pub token_width: u8,
    pub tokenizer: Option<PathBuf>,
    #[serde(flatten)]
    pub descent: Descent,
    pub seq: usize,
    pub accum: usize,
    pub order: Sequence,
    pub device: String,
    #[serde(default = "packed")]
    pub weights: Weights,
    pub dtype: Compute,
    #[serde(default = "Scale::none")]
    pub loss_scale: Scale,
    pub recompute: Again,
    #[serde(default)]
    pub forward_int8: bool,
    #[serde(default)]
    pub compact_vocab: bool,
    pub eval_batches: usize,
    #[serde(default)]
    pub tuning: Tuning,
}

/// Passes over chats and instructions.
const EPOCHS: f64 = 3.0;

/// Steps, sequences, tokens in each, learning rate: what suits a model's size.
fn defaults_of(model: &str) -> (u64, usize, usize, f64) {
    match model {
        // At twice this rate a run is no better, and a rounding decides where it ends.
        "tiny" => (1400, 8, 128, 2e-3),
        _ => (1000, 1, 256, 3e-4),
    }
}

impl Settings {
    /// The settings that flags and, for a resumed run, those stored with it give.
    pub fn resolve(flags: &Flags, stored: Option<&Value>) -> anyhow::Result<Settings> {
        let stored: Option<Settings> = match stored {
            Some(value) => Some(read(value).context("the checkpoint's settings cannot be read")?),
            None => None,
        };
        let model = flags.model.clone();
        let resumed = stored.is_some();
        let mut s = match stored {
            Some(stored) => {
                if let Some(model) = model.filter(|m| *m != stored.model) {
                    bail!("the run in --out trains `{}`, not `{model}`", stored.model);
                }
                stored
            }
            None => Settings::begin(model.as_deref(), flags),
        };
        let f = flags;
        if resumed && let Some(init) = &f.init {
            s.init = (init != "scratch").then(|| PathBuf::from(init));
        }
        s.tuning.take(&f.tuning, resumed)?;
        if s.tuning.lora.is_some() {
            if s.init.is_none() {
                bail!("--lora trains an adapter beside a model: name that model with --init");
            }
            if f.compact_vocab == Some(true) {
                bail!(
                    "--compact-vocab is for the rows of a vocabulary, which --lora does not train"
                );
            }
        }
        set(&mut s.data, f.data.clone().map(Some));
        set(&mut s.tokenizer, f.tokenizer.clone().map(Some));
        set(&mut s.token_width, f.token_width.as_deref().map(|w| if w == "32" { 32 } else { 16 }));
        s.descent.take(&f.descent);
        set(&mut s.seq, f.seq.map(|v| v as usize));
        set(&mut s.accum, f.accum.map(|v| v as usize));
        set(&mut s.order, f.order);
        set(&mut s.device, f.device.clone());
        set(&mut s.weights, f.weights);
        let kind = Kind::parse(&s.device)?;
        if f.device.is_some() {
            s.dtype = Compute::of(kind);
        }
        set(&mut s.dtype, f.dtype);
        if s.weights == Weights::Baked && !kind.is_engine() {
            bail!("--weights baked is for an engine, not for the device {}", s.device);
        }
        set(&mut s.loss_scale, f.loss_scale);
        set(&mut s.recompute, f.recompute);
        set(&mut s.forward_int8, f.forward_int8);
        if s.forward_int8 && kind.is_engine() {
            bail!("--forward-int8 is for the cpu device, not for {}", s.device);
        }
        set(&mut s.compact_vocab, f.compact_vocab);
        set(&mut s.eval_batches, f.eval_batches.map(|v| v as usize));
        if !resumed {
            s.descent.follow(s.descent.steps, &f.descent);
        }
        Ok(s)
    }

    /// Fits what no flag says to the model.
    pub fn fit(&mut self, config: &Config, flags: &Flags) {
        if flags.seq.is_none() {
            self.seq = self.seq.min(config.max_seq);
        }
    }

    /// Makes the run as long as its epochs over data of so many sequences. Without any, chats and
    /// instructions (`samples`) have three, and other data the steps that there are.
    pub fn measure(&mut self, sequences: u64, samples: bool, flags: &Flags) {
        let epochs = match (self.tuning.epochs, flags.descent.steps) {
            (Some(epochs), _) => epochs,
            (None, None) if samples => EPOCHS,
            _ => return,
        };
        let each = (self.descent.batch * self.accum) as f64;
        let steps = (sequences as f64 * epochs / each).ceil() as u64;
        self.descent.follow(steps.max(1), &flags.descent);
    }

    /// What a new run begins with: what suits the model, or a model that is there already.
    fn begin(model: Option<&str>, flags: &Flags) -> Settings {
        let mut s = Settings::of_model(model.unwrap_or("tiny"));
        s.init = flags.init.as_ref().filter(|init| *init != "scratch").map(PathBuf::from);
        if let (Some(init), None) = (&s.init, model) {
            s = Settings { init: s.init.clone(), ..Settings::of_model(&init.to_string_lossy()) };
            s.seq = 512;
            s.descent.lr = if flags.tuning.has_adapter() { 2e-4 } else { 2e-5 };
            s.descent.weight_decay = 0.0;
        }
        s
    }

    fn of_model(model: &str) -> Settings {
        let (steps, batch, seq, lr) = defaults_of(model);
        let descent = Descent { steps, batch, lr, ..Descent::default() };
        Settings {
            model: model.to_owned(),
            init: None,
            data: None,
            token_width: 16,
            tokenizer: None,
            descent,
            seq,
            accum: 1,
            order: Sequence::Random,
            device: "cpu".into(),
            weights: Weights::Packed,
            dtype: Compute::Fp32,
            loss_scale: Scale::Auto,
            recompute: Again::Cheap,
            forward_int8: false,
            compact_vocab: false,
            eval_batches: 8,
            tuning: Tuning::default(),
        }
    }

    /// Whether the checkpoint with the least validation loss is kept.
    pub fn keeps_best(&self) -> bool {
        self.tuning.best.unwrap_or(self.init.is_some())
    }

    /// For the checkpoint.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("settings are plain data with names for keys")
    }

    /// Where a new run begins in the data.
    pub fn position(&self) -> Position {
        let order = match self.order {
            Sequence::Random => Order::Random,
            Sequence::Sequential => Order::Sequential,
        };
        Position { order, seed: self.descent.seed, windows: 0 }
    }

    /// Bytes of a token in a raw file.
    pub fn width(&self) -> Width {
        if self.token_width == 32 { Width::Four } else { Width::Two }
    }
}

impl From<Weights> for WeightStrategy {
    fn from(weights: Weights) -> WeightStrategy {
        match weights {
            Weights::Packed => WeightStrategy::Packed,
            Weights::Baked => WeightStrategy::Baked,
        }
    }
}

/// What runs without the setting had.
fn packed() -> Weights {
    Weights::Packed
}

impl Compute {
    /// What a device computes in if nothing else is asked for.
    fn of(kind: Kind) -> Compute {
        if kind.compute() == DataType::Fp16 { Compute::Fp16 } else { Compute::Fp32 }
    }

    /// The word on the command line.
    pub fn name(self) -> &'static str {
        DataType::from(self).name()
    }
}

fn set<T>(setting: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *setting = value;
    }
}

impl From<Compute> for DataType {
    fn from(compute: Compute) -> DataType {
        match compute {
            Compute::Fp32 => DataType::Fp32,
            Compute::Bf16 => DataType::Bf16,
            Compute::Fp16 => DataType::Fp16,
        }
    }
}

impl From<Again> for autodiff::Recompute {
    fn from(again: Again) -> autodiff::Recompute {
        match again {
            Again::Nothing => autodiff::Recompute::Nothing,
            Again::Cheap => autodiff::Recompute::Cheap,
            Again::Everything => autodiff::Recompute::Everything,
        }
    }
}

fn number(text: &str, fits: impl Fn(f64) -> bool, expected: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if fits(value) => Ok(value),
        _ => Err(format!("it must be {expected}")),
    }
}

pub(super) fn positive(text: &str) -> Result<f64, String> {
    number(text, |v| v > 0.0 && v.is_finite(), "a number above 0")
}

fn not_negative(text: &str) -> Result<f64, String> {
    number(text, |v| v >= 0.0 && v.is_finite(), "a number, 0 or above")
}

pub(super) fn fraction(text: &str) -> Result<f64, String> {
    number(text, |v| (0.0..=1.0).contains(&v), "a number from 0 to 1")
}

pub(super) fn below_one(text: &str) -> Result<f64, String> {
    number(text, |v| (0.0..1.0).contains(&v), "a number from 0 to below 1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        flags: Flags,
    }

    #[test]
    fn settings_are_kept_flat_and_unknown_ones_are_refused() {
        let flags = Command::parse_from(["train", "--lr", "0.5", "--steps", "7"]).flags;
        let mut stored = Settings::resolve(&flags, None).unwrap().to_json();
        for (name, value) in [("lr", Value::from(0.5)), ("steps", 7.into()), ("seed", 42.into())] {
            assert_eq!(stored[name], value, "{name}");
        }
        stored["momentum"] = 0.5.into();
        let error = Settings::resolve(&flags, Some(&stored)).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "the checkpoint's settings cannot be read: there is no setting `momentum`"
        );
    }

    #[test]
    fn settings_from_before_there_was_a_loss_scale_have_none() {
        let flags = |words: &[&str]| Command::parse_from([&["train"], words].concat()).flags;
        let new = Settings::resolve(&flags(&["--dtype", "fp16"]), None).unwrap();
        assert_eq!(new.loss_scale, Scale::Auto);
        let mut stored = new.to_json();
        assert_eq!(Settings::resolve(&flags(&[]), Some(&stored)).unwrap(), new);
        stored.as_object_mut().unwrap().remove("loss_scale").unwrap();
        let old = Settings::resolve(&flags(&[]), Some(&stored)).unwrap();
        assert_eq!(old, Settings { loss_scale: Scale::None, ..new });
        let asked = Settings::resolve(&flags(&["--loss-scale", "2048"]), Some(&stored)).unwrap();
        assert_eq!(asked.loss_scale, Scale::Fixed(2048.0));
    }
}
