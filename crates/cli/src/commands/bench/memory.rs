//! `anemone bench memory`.

use super::Common;
use super::process::PEAK_ROW;
use super::report::{Report, Row};
use super::subject::Subject;
use super::train;
use crate::commands::train::Again;
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use cpu::CpuDevice;
use models::Shape;
use serde_json::Value;
use std::process::Command;

/// Say how much memory a training step takes, and for what.
///
/// The plan's memory is listed by what it holds, once for each way of keeping or recomputing what
/// the backward pass needs. "activations" are what lies between layers and what the forward pass
/// keeps for the backward pass; "arena" is what lives within one function. Then a step is run in
/// a process of its own, and the system says how much that process held at most.
///
/// Example: anemone bench memory --model stories110m --dtype bf16
#[derive(Debug, Args)]
pub struct Memory {
    #[command(flatten)]
    subject: Subject,
    /// Sequences in a batch
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: u32,
    /// Tokens in a sequence [default: 256, or the model's context if that is shorter]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    seq: Option<u32>,
    /// What is recomputed; all ways if it is not given
    #[arg(long, value_enum, value_name = "WHAT")]
    recompute: Option<Again>,
    /// Only plan: run no step
    #[arg(long)]
    plan_only: bool,
    #[command(flatten)]
    common: Common,
}

impl Memory {
    /// Plans, runs, and prints.
    pub fn run(self) -> anyhow::Result<()> {
        let config = self.subject.config()?;
        let seq = self.seq.map_or(config.max_seq.min(256), |seq| seq as usize);
        let shape = Shape { batch: self.batch as usize, seq };
        let ways = match self.recompute {
            Some(way) => vec![way],
            None => Again::value_variants().to_vec(),
        };
        let mut report = None;
        for way in ways {
            let device = CpuDevice::new(self.common.threads())?;
            let report = report.get_or_insert_with(|| Report::new("memory", device.threads()));
            let name = train::word(way);
            let network = train::network(&device, &config, shape, self.subject.dtype, way)?;
            let planned = train::Planned::of(&device, &network);
            // The step's process shall have all memory for itself.
            drop(network);
            let row = |what: &str, bytes: usize| {
                Row::single(format!("recompute {name}: {what}"), "MB", bytes as f64 / 1e6)
            };
            report.rows.extend([
                row("parameters", planned.parameters),
                row("gradients", planned.gradients),
                row("moments", planned.moments),
                row("packed parameters", planned.packed),
                row("activations", planned.activations),
                row("arena", planned.arena),
                row("in all", planned.total()),
            ]);
            if !self.plan_only
                && let Some(megabytes) = self.measured(name, shape)?
            {
                report.rows.push(row("held by a process at most", (megabytes * 1e6) as usize));
            }
        }
        let mut report = report.context("there is a way to keep what is needed")?;
        self.subject.describe(&mut report, &config)?;
        report.setting("batch", shape.batch);
        report.setting("seq", shape.seq);
        report.print(self.common.json)
    }

    /// Megabytes that a process held which did a few steps; none where the system does not say.
    fn measured(&self, way: &str, shape: Shape) -> anyhow::Result<Option<f64>> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command.args(["bench", "train", "--json", "--steps", "1"]);
        command.args(["--model", &self.subject.model, "--dtype", self.subject.dtype.name()]);
        command.args(["--batch", &shape.batch.to_string(), "--seq", &shape.seq.to_string()]);
        command.args(["--recompute", way]);
        if let Some(threads) = self.common.threads() {
            command.args(["--threads", &threads.to_string()]);
        }
        let output = command.output().context("cannot start a process for the step")?;
        if !output.status.success() {
            bail!("the step failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let json: Value = serde_json::from_slice(&output.stdout).context("the step's report")?;
        let rows = json["rows"].as_array().context("the step's report has rows")?;
        Ok(rows.iter().find(|row| row["name"] == PEAK_ROW).and_then(|row| row["value"].as_f64()))
    }
}
