//! `anemone parity`.

use crate::device::{self, Kind, Opened};
use crate::model;
use anyhow::{Context, bail};
use clap::Args;
use indicatif::ProgressBar;
use mil::{DataType, Tensor};
use models::{Config, Role, Shape};
use passes::autodiff;
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use train::adamw::AdamW;
use train::data::{Batches, Order, Position, Tokens};
use train::loss_scale::LossScale;
use train::parity::{self, GradientError, OperationError, StepLosses, Values};
use train::rng::Rng;
use train::schedule::{Decay, Schedule};
use train::{Network, NetworkOptions, Trainer, TrainerOptions};

/// Train on two devices and report how far they are apart.
///
/// The first device is the reference: it runs in fp32. The second begins every step with the
/// first one's parameters, so that every step stands for itself. The report gives the worst
/// relative error (Euclidean norm) of every parameter's gradient. Then every operation of a layer,
/// forward and backward, is compared with its definition, from the operands that the second
/// device had; the worst of each op is given.
#[derive(Debug, Args)]
pub struct Parity {
    /// A preset or a folder with a config.json
    #[arg(long, value_name = "PRESET|DIR", default_value = "tiny")]
    model: String,
    /// The reference and the device that is compared with it
    #[arg(long, value_name = "A,B", default_value = "cpu,ane-emulated", value_delimiter = ',')]
    devices: Vec<String>,
    /// Steps
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Sequences in a batch
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Tokens in a sequence
    #[arg(long, value_name = "N", default_value_t = 32,
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    seq: u32,
    /// Element type of the second device's products [default: fp16 on an engine, fp32 elsewhere]
    #[arg(long, value_name = "TYPE", value_parser = ["fp32", "bf16", "fp16"])]
    dtype: Option<String>,
    /// Seed of parameters and tokens
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Fail if a gradient's relative error is above this
    #[arg(long, value_name = "X")]
    limit: Option<f64>,
    /// Do not compare operation by operation, which takes longest
    #[arg(long)]
    no_operations: bool,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
}

/// What was found.
struct Report {
    losses: Vec<StepLosses>,
    gradients: Vec<GradientError>,
    operations: Vec<OperationError>,
}

impl Parity {
    /// Compares.
    pub fn run(self) -> anyhow::Result<()> {
        let [reference, other] = self.devices.as_slice() else {
            bail!("--devices takes two, such as cpu,ane-emulated");
        };
        let config = model::config(&self.model, None)?;
        let shape = Shape { batch: self.batch.into(), seq: self.seq as usize };
        let reference = self.side(&config, shape, reference, Some("fp32"))?;
        let other = self.side(&config, shape, other, self.dtype.as_deref())?;
        let bar = match std::io::stderr().is_terminal() && !self.json {
            true => ProgressBar::new(self.steps),
            false => ProgressBar::hidden(),
        };
        bar.set_message("steps");
        let (mut a, mut b) = (self.trainer(&config, &reference)?, self.trainer(&config, &other)?);
        let (losses, gradients) =
            parity::gradients(&mut a, &mut b, self.steps, &mut |step, _| bar.set_position(step))?;
        let operations = match self.no_operations {
            true => vec![],
            false => self.operations(&config, &other, &a, &bar)?,
        };
        bar.finish_and_clear();
        let report = Report { losses, gradients, operations };
        self.print(&reference, &other, &report)?;
        let worst = report.worst_gradient();
        match self.limit {
            Some(limit) if worst.is_nan() || worst > limit => {
                bail!("the worst gradient is off by {worst:.3e}, the limit is {limit:.3e}")
            }
            _ => Ok(()),
        }
    }

    fn side(
        &self,
        config: &Config,
        shape: Shape,
        name: &str,
        dtype: Option<&str>,
    ) -> anyhow::Result<Side> {
        let kind = Kind::parse(name)?;
        let compute = match dtype {
            None => kind.compute(),
            Some("fp16") => DataType::Fp16,
            Some("bf16") => DataType::Bf16,
            Some(_) => DataType::Fp32,
        };
        let opened = device::open(name, None, Default::default())?;
        let options = kind.network(shape, compute)?;
        let loss_scale = match compute {
            DataType::Fp16 => LossScale::Static(LossScale::usual(config.layers)),
            _ => LossScale::None,
        };
        Ok(Side { name: name.to_owned(), opened, options, loss_scale })
    }

    fn trainer(&self, config: &Config, side: &Side) -> anyhow::Result<Trainer> {
        let network = Network::new(&*side.opened.device, config, &side.options)?;
        let shape = side.options.shape;
        let mut rng = Rng::new(self.seed).fork("tokens");
        let count = (self.steps as usize + 1) * shape.tokens() + 1;
        let ids = (0..count).map(|_| rng.below(config.vocab as u64) as u32).collect();
        let tokens = Arc::new(Tokens::from_ids(ids));
        let all = 0..tokens.len();
        let position = Position { order: Order::Sequential, seed: self.seed, windows: 0 };
        let batches = Batches::new(tokens, all, shape.batch, shape.seq, position)?;
        let options = TrainerOptions {
            accumulate: 1,
            optimizer: AdamW::default(),
            schedule: Schedule {
                peak: 1e-3,
                min_ratio: 1.0,
                warmup: 0,
                steps: self.steps,
                decay: Decay::Constant,
            },
            clip: 1.0,
            threads: side.opened.threads,
            loss_scale: side.loss_scale,
        };
        Ok(Trainer::new(network, options, batches, self.seed)?)
    }

    /// Compares the operations of the first layer with their definitions, at the parameters that
    /// training has come to.
    fn operations(
        &self,
        config: &Config,
        side: &Side,
        trained: &Trainer,
        bar: &ProgressBar,
    ) -> anyhow::Result<Vec<OperationError>> {
        let NetworkOptions { shape, layout, compute, recompute, .. } = side.options;
        let layer = models::layer(config, shape, layout, compute)?;
        let mut rng = Rng::new(self.seed).fork("activations");
        let mut values = Values::new();
        let mut ports = vec![];
        for state in &trained.network().parameters {
            let Role::Layer { index: 0, port } = state.spec.role else { continue };
            ports.push(port.to_owned());
            values.insert(port.to_owned(), array(state.value.read()?.as_slice(), &state.spec.dims));
        }
        let mut random = |values: &mut Values, name: &str, dims: &[usize], size: f32| {
            let mut numbers = vec![0.0; dims.iter().product()];
            rng.fill_normal(&mut numbers, size);
            values.insert(name.to_owned(), array(&numbers, dims));
        };
        let activations = layout.activations(config, shape);
        random(&mut values, "x", &activations, 1.0);
        // About what a mean loss over the batch gives, times the loss scale.
        let size = LossScale::usual(config.layers) / shape.tokens() as f32;
        random(&mut values, "d_y", &activations, size);
        let tables = models::rope_tables(config, 0, shape.seq);
        let dims = [shape.seq, config.head_dim / 2];
        values.insert("rope_cos".into(), array(&tables.cos, &dims));
        values.insert("rope_sin".into(), array(&tables.sin, &dims));

        let wrt = std::iter::once("x".to_owned()).chain(ports.iter().cloned()).collect();
        let keep = models::taps(config, layout);
        let repeat = models::repeated(layout);
        let gradient =
            autodiff::differentiate(&layer, &autodiff::Options { wrt, recompute, keep, repeat })?;
        let mut all: Vec<OperationError> = vec![];
        let mut compare = |function: &mil::Function, values: &Values| -> anyhow::Result<Values> {
            bar.set_message(function.name.clone());
            let found = parity::operations(&*side.opened.device, function, &ports, values)
                .with_context(|| format!("`{}` on {}", function.name, side.name))?;
            merge(&mut all, found.errors);
            Ok(found.values)
        };
        let taps = compare(&gradient.forward, &only(&values, &gradient.forward))?;
        values.extend(taps);
        compare(&gradient.backward, &only(&values, &gradient.backward))?;
        Ok(all)
    }

    fn print(&self, reference: &Side, other: &Side, report: &Report) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            let object = json!({
                "model": self.model,
                "reference": reference.describe(),
                "device": other.describe(),
                "steps": report.losses.iter().map(|l| json!({
                    "reference_loss": l.reference, "loss": l.found,
                })).collect::<Vec<_>>(),
                "gradients": report.gradients.iter().map(|g| json!({
                    "parameter": g.parameter, "relative_error": g.worst, "step": g.step,
                })).collect::<Vec<_>>(),
                "operations": report.operations.iter().map(|o| json!({
                    "op": o.op, "count": o.count, "relative_error": o.worst, "value": o.value,
                    "place": o.place,
                })).collect::<Vec<_>>(),
            });
            return Ok(writeln!(out, "{object}")?);
        }
        writeln!(out, "reference  {}", reference.describe())?;
        writeln!(out, "device     {}\n", other.describe())?;
        writeln!(out, "{:>4}  {:>12}  {:>12}  {:>10}", "step", "reference", "loss", "relative")?;
        for (step, l) in report.losses.iter().enumerate() {
            let relative = (l.found - l.reference).abs() / l.reference.abs();
            let step = step + 1;
            writeln!(
                out,
                "{step:>4}  {:>12.6}  {:>12.6}  {relative:>10.2e}",
                l.reference, l.found
            )?;
        }
        let mut gradients: Vec<&GradientError> = report.gradients.iter().collect();
        gradients.sort_by(|a, b| b.worst.total_cmp(&a.worst));
        writeln!(out, "\ngradients, worst of {}", gradients.len())?;
        for g in gradients.iter().take(SHOWN) {
            writeln!(out, "  {:>9.2e}  {}, step {}", g.worst, g.parameter, g.step)?;
        }
        if !report.operations.is_empty() {
            writeln!(out, "\noperations of a layer, each from the operands that the device had")?;
        }
        for o in &report.operations {
            writeln!(
                out,
                "  {:>9.2e}  {:14} {:3} of them, worst in {} ({})",
                o.worst, o.op, o.count, o.value, o.place
            )?;
        }
        Ok(())
    }
}

/// Gradients that the table shows; JSON has all.
const SHOWN: usize = 12;

/// One of the two.
struct Side {
    name: String,
    opened: Opened,
    options: NetworkOptions,
    loss_scale: LossScale,
}

impl Side {
    fn describe(&self) -> String {
        format!("{}: {}, {}", self.name, self.opened.device.describe(), self.options.compute)
    }
}

impl Report {
    fn worst_gradient(&self) -> f64 {
        // NaN counts as the worst of all.
        self.gradients.iter().map(|g| g.worst).max_by(f64::total_cmp).unwrap_or(0.0)
    }
}

/// The values that a function has inputs for.
fn only(values: &Values, function: &mil::Function) -> Values {
    let known = |name: &String| function.input(name).is_some();
    values.iter().filter(|(name, _)| known(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
}

/// Keeps the worse of what is there already and what was found.
fn merge(all: &mut Vec<OperationError>, found: Vec<OperationError>) {
    for new in found {
        match all.iter_mut().find(|old| old.op == new.op) {
            None => all.push(new),
            Some(old) => {
                let count = old.count + new.count;
                if new.worst > old.worst || new.worst.is_nan() {
                    *old = new;
                }
                old.count = count;
            }
        }
    }
    all.sort_by(|a, b| b.worst.total_cmp(&a.worst));
}

fn array(values: &[f32], dims: &[usize]) -> interp::Array {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let tensor = Tensor::from_bytes(DataType::Fp32, dims, bytes);
    interp::Array::from_tensor(&tensor.expect("a parameter has as many values as its dimensions"))
}
