//! `anemone bench train`.

use super::report::{self, Report, Row};
use super::roofline;
use super::sample::Spread;
use super::subject::{Dtype, Subject};
use super::{Common, process};
use crate::commands::train::Again;
use ::train::adamw::AdamW;
use ::train::data::{Batches, Order, Position, Tokens};
use ::train::loss_scale::LossScale;
use ::train::rng::Rng;
use ::train::schedule::{Decay, Schedule};
use ::train::{Network, ParameterState, Trainer, TrainerOptions};
use clap::Args;
use cpu::CpuDevice;
use cpu::profile::KernelProfile;
use models::{Config, Shape};
use std::sync::Arc;

/// Time a training step on the CPU: forward, backward and AdamW, with random tokens.
///
/// The work of a step is counted as 6 · parameters · tokens + 12 · layers · width · tokens² for
/// each sequence, whatever is computed twice or not at all; parameters are those of matrix
/// products. The share is that of the multiplications that the same threads do in registers, with
/// bf16 instructions for bf16 where the machine has them.
///
/// Phases are measured in steps of their own after the timed ones. "other" is what happens
/// outside the device's functions: the optimizer and the norm of the gradient.
///
/// Example: anemone bench train --model stories110m --dtype bf16 --profile
#[derive(Debug, Args)]
pub struct Train {
    #[command(flatten)]
    subject: Subject,
    /// Sequences in a batch
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: u32,
    /// Tokens in a sequence [default: 256, or the model's context if that is shorter]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    seq: Option<u32>,
    /// Timed steps
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    steps: u32,
    /// What the backward pass computes again instead of keeping it
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Again::Cheap)]
    recompute: Again,
    /// List the steps of the plan that take the most time, with the bound of each
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    common: Common,
}

/// Steps before the timed ones: memory is touched for the first time, threads and clock warm up.
const WARM_UP: u32 = 2;

/// Steps in which phases are measured.
const PHASE_STEPS: u32 = 3;

impl Train {
    /// Measures, and prints.
    pub fn run(self) -> anyhow::Result<()> {
        let config = self.subject.config()?;
        let seq = self.seq.map_or(config.max_seq.min(256), |seq| seq as usize);
        let shape = Shape { batch: self.batch as usize, seq };
        let device = CpuDevice::new(self.common.threads())?;
        let team = self.common.team()?;

        let mut report = Report::new("train", device.threads());
        self.subject.describe(&mut report, &config)?;
        report.setting("batch", shape.batch);
        report.setting("seq", shape.seq);
        report.setting("recompute", word(self.recompute));
        // Before the model takes its memory, so that the arrays are not part of the peak.
        report.peaks = report::arithmetic_peaks(&team);
        if self.profile {
            report.peaks.extend(report::memory_peaks(&team));
        }
        drop(team);
        let before = process::peak_memory();

        let network = network(&device, &config, shape, self.subject.dtype, self.recompute)?;
        let planned = Planned::of(&device, &network).total();
        let mut trainer = trainer(&device, &config, shape, self.subject.dtype, network)?;
        for _ in 0..WARM_UP {
            trainer.step()?;
        }
        let mut times = vec![];
        for _ in 0..self.steps {
            times.push(trainer.step()?.ms / 1e3);
        }
        device.set_profiling(true);
        let mut profiled = vec![];
        for _ in 0..PHASE_STEPS {
            profiled.push(trainer.step()?.ms / 1e3);
        }
        device.set_profiling(false);
        let profile = device.profile();

        let seconds = Spread::of(&times);
        let flops = flops(&config, shape)?;
        let tokens = shape.tokens() as f64;
        let peak = self.subject.dtype.peak(&report.peaks);
        let kernel = [device_kernel(&device)];
        report.rows.push(Row::new("step", "ms", seconds.map(|s| s * 1e3)).kernels(kernel));
        report.rows.push(Row::new("tokens", "tokens/s", seconds.map(|s| tokens / s)));
        let rate = seconds.map(|s| flops / s / 1e9);
        report.rows.push(Row::new("work", "GFLOP/s", rate).share_of(&report.peaks, peak));
        report.rows.extend(phases(&profile, &profiled));
        report.rows.push(Row::single("planned memory", "MB", planned as f64 / 1e6));
        // Zeroed memory that was measured before is not the model's.
        if let (Some(now), Some(before)) = (process::peak_memory(), before) {
            report.rows.push(Row::single(process::PEAK_ROW, "MB", now as f64 / 1e6));
            if self.profile && before > now / 2 {
                report.notes.push("The peak memory is that of measuring the memory.".to_owned());
            }
        }
        report.setting("gflop_per_step", (flops / 1e7).round() / 100.0);
        if self.profile {
            let steps = f64::from(PHASE_STEPS);
            report.tables.push(roofline::table(&profile, steps, &report.peaks, peak));
        }
        report.print(self.common.json)
    }
}

/// What a training step holds, in bytes.
pub struct Planned {
    /// Master weights.
    pub parameters: usize,
    /// Their gradients.
    pub gradients: usize,
    /// AdamW's two for every parameter.
    pub moments: usize,
    /// Parameters again, in the order of the kernels.
    pub packed: usize,
    /// What lies between functions, and what the forward pass keeps for the backward pass.
    pub activations: usize,
    /// What lives within a function.
    pub arena: usize,
}

impl Planned {
    /// The memory of a network and of its optimizer.
    pub fn of(device: &CpuDevice, network: &Network) -> Planned {
        let sum = |bytes: &dyn Fn(&ParameterState) -> usize| {
            network.parameters.iter().map(bytes).sum::<usize>()
        };
        let (parameters, gradients) = (sum(&|p| p.value.len()), sum(&|p| p.gradient.len()));
        Planned {
            parameters,
            gradients,
            moments: 2 * parameters,
            packed: device.packed_bytes(),
            activations: network.surface_bytes() - parameters - gradients,
            arena: network.scratch_bytes(),
        }
    }

    /// All of it.
    pub fn total(&self) -> usize {
        let Planned { parameters, gradients, moments, packed, activations, arena } = self;
        parameters + gradients + moments + packed + activations + arena
    }
}

/// The word for what is recomputed.
pub fn word(way: Again) -> &'static str {
    match way {
        Again::Nothing => "nothing",
        Again::Cheap => "cheap",
        Again::Everything => "everything",
    }
}

/// A model compiled for training.
pub fn network(
    device: &CpuDevice,
    config: &Config,
    shape: Shape,
    dtype: Dtype,
    way: Again,
) -> anyhow::Result<Network> {
    anyhow::ensure!(
        shape.seq <= config.max_seq,
        "the model's context has {} tokens, and the sequences {}",
        config.max_seq,
        shape.seq
    );
    let mut options = crate::device::Kind::Cpu.network(shape, dtype.into())?;
    options.recompute = way.into();
    Ok(Network::new(device, config, &options)?)
}

/// A model from scratch, that trains on random tokens.
fn trainer(
    device: &CpuDevice,
    config: &Config,
    shape: Shape,
    dtype: Dtype,
    network: Network,
) -> anyhow::Result<Trainer> {
    let loss_scale = match dtype {
        Dtype::Fp16 => LossScale::Static(LossScale::usual(config.layers)),
        _ => LossScale::None,
    };
    let options = TrainerOptions {
        accumulate: 1,
        optimizer: AdamW::default(),
        schedule: Schedule {
            peak: 1e-4,
            min_ratio: 0.1,
            warmup: 0,
            steps: 1000,
            decay: Decay::Constant,
        },
        clip: 1.0,
        loss_scale,
        threads: device.threads(),
    };
    let mut random = Rng::new(SEED);
    let windows = 4 * shape.tokens() + shape.seq + 1;
    let ids = (0..windows).map(|_| random.below(config.vocab as u64) as u32).collect();
    let tokens = Arc::new(Tokens::from_ids(ids));
    let range = 0..tokens.len();
    let position = Position { order: Order::Random, seed: SEED, windows: 0 };
    let batches = Batches::new(tokens, range, shape.batch, shape.seq, position)?;
    Ok(Trainer::new(network, options, batches, SEED)?)
}

/// Seed of tokens and parameters.
const SEED: u64 = 42;

/// Multiplications and additions of a step, by the usual convention.
fn flops(config: &Config, shape: Shape) -> anyhow::Result<f64> {
    let tokens = shape.tokens() as f64;
    // Looking rows up in a table multiplies nothing; a tied table is the classifier's matrix.
    let looked_up = if config.tied { 0 } else { config.vocab * config.dim };
    let parameters = (config.parameter_count()? - looked_up) as f64;
    let width = (config.heads * config.head_dim) as f64;
    let attention =
        12.0 * config.layers as f64 * width * (shape.seq as f64).powi(2) * shape.batch as f64;
    Ok(6.0 * parameters * tokens + attention)
}

/// Milliseconds of a step by phase.
fn phases(profile: &[KernelProfile], steps: &[f64]) -> Vec<Row> {
    let count = steps.len() as f64;
    let sum = |select: &dyn Fn(&KernelProfile) -> f64| profile.iter().map(select).sum::<f64>();
    let backward = |kernel: &KernelProfile| kernel.name.contains("_backward");
    let evaluations = |kernel: &KernelProfile| kernel.evaluations.seconds;
    // The head's one function gives the loss and its gradient.
    let head = sum(&|k| if k.name.starts_with("head") { evaluations(k) } else { 0.0 });
    let is_head = |k: &KernelProfile| k.name.starts_with("head");
    let forward = sum(&|k| if backward(k) || is_head(k) { 0.0 } else { evaluations(k) });
    let back = sum(&|k| if backward(k) && !is_head(k) { evaluations(k) } else { 0.0 });
    let staging = sum(&|k| k.staging.seconds);
    let other = steps.iter().sum::<f64>() - head - forward - back - staging;
    let row = |name: &str, seconds: f64| {
        let spread = Spread { repetitions: steps.len(), ..Spread::of(&[seconds * 1e3 / count]) };
        Row::new(name, "ms", spread)
    };
    vec![
        row("  forward", forward),
        row("  head and its gradient", head),
        row("  backward", back),
        row("  staging", staging),
        row("  other", other),
    ]
}

fn device_kernel(device: &CpuDevice) -> String {
    let description = runtime::Device::describe(device);
    description.split(',').next().unwrap_or_default().to_owned()
}
