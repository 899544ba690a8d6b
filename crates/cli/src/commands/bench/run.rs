//! `anemone bench run`.

use super::Common;
use super::process;
use super::report::{self, Report, Row};
use super::roofline;
use super::sample::Spread;
use crate::arrays::{self, Tensors};
use crate::program::{self, ProgramArg};
use anyhow::{Context, bail};
use clap::Args;
use coreml::FunctionInterface;
use cpu::CpuDevice;
use mil::{Function, Tensor, TensorType, Type};
use runtime::Device;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Time a program, such as a Core ML package, on the CPU device.
///
/// Compiles a function once and evaluates it again and again with the same inputs: those of a file, or
/// numbers from 0 to 1 and zeros for integers. States begin as zeros and keep what evaluations have
/// written; open shapes are the default ones. Operations that the interpreter runs are counted, because
/// they are slow.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    program: ProgramArg,
    /// The function [default: main, or the only one]
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// Where the inputs are: a .npz or .safetensors file [default: numbers are made up]
    #[arg(long, value_name = "IN")]
    inputs: Option<PathBuf>,
    /// Evaluations that are timed
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
    /// Say where the time goes, step by step of the plan
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    common: Common,
}

impl Run {
    /// Measures.
    pub fn run(self) -> anyhow::Result<()> {
        let source = program::read(&self.program.program)?;
        let function = source.model.function(self.function.as_deref())?;
        let interface = source.interface.function(&function.name).cloned().unwrap_or_default();
        let given = match &self.inputs {
            None => made_up(function, &interface)?,
            Some(path) => arrays::read(path)?,
        };
        let name = function.name.clone();
        let device = Arc::new(CpuDevice::new(self.common.threads())?);
        let mut report = Report::new("run", device.threads());
        report.setting("program", self.program.program.display().to_string());
        report.setting("function", name.clone());
        report.setting("kernel", device.describe());
        let mut session = source.model.session_with(anemone::Options {
            function: Some(name),
            device: anemone::Device::Shared(device.clone()),
            fall_back: false,
            ..anemone::Options::default()
        })?;
        let start = Instant::now();
        session.prepare(given).map_err(|error| match (error, &self.inputs) {
            (error @ anemone::Error::Features(_), Some(path)) => {
                anyhow::Error::new(error).context(format!("`{}`", path.display()))
            }
            (error, _) => error.into(),
        })?;
        let compiling = start.elapsed().as_secs_f64();
        // The first ones touch memory for the first time, either side of states.
        for _ in 0..2 {
            session.evaluate()?;
        }
        device.set_profiling(true);
        let mut times = vec![];
        for _ in 0..self.repeats {
            session.reset()?;
            let start = Instant::now();
            session.evaluate()?;
            times.push(start.elapsed().as_secs_f64());
        }
        let profile = device.profile();
        let steps = f64::from(self.repeats);
        let flops: f64 = profile
            .iter()
            .flat_map(|kernel| &kernel.steps)
            .filter(|step| step.kind.contains("product"))
            .map(|step| step.flops * step.span.calls as f64 / steps)
            .sum();
        let times = Spread::of(&times);
        report.rows.push(Row::new("evaluation", "ms", times.map(|s| s * 1e3)));
        if self.profile {
            let team = self.common.team()?;
            report.peaks = report::arithmetic_peaks(&team);
            report.peaks.extend(report::memory_peaks(&team));
            report.tables.push(roofline::table(&profile, steps, &report.peaks, "fp32"));
        }
        if flops > 0.0 {
            let rate = times.map(|s| flops / s / 1e9);
            let row = Row::new("products", "GFLOP/s", rate);
            report.rows.push(row.share_of(&report.peaks, "fp32"));
        }
        report.rows.push(Row::single("compiling", "ms", compiling * 1e3));
        if let Some(bytes) = process::peak_memory() {
            report.rows.push(Row::single(process::PEAK_ROW, "MB", bytes as f64 / 1e6));
        }
        let slow: Vec<&str> = session
            .placement()
            .iter()
            .filter(|p| p.place.contains("interpreter"))
            .map(|p| p.op)
            .collect();
        report.rows.push(Row::single("in the interpreter", "ops", slow.len() as f64));
        if !slow.is_empty() {
            let mut names = slow.clone();
            names.sort_unstable();
            names.dedup();
            report.notes.push(format!("the interpreter runs {}", names.join(", ")));
        }
        report.print(self.common.json)
    }
}

/// Numbers for inputs that nobody gave, by the names of the features. Shapes that are open are the
/// default ones.
fn made_up(function: &Function, interface: &FunctionInterface) -> anyhow::Result<Tensors> {
    let mut inputs = Tensors::new();
    for &id in &function.inputs {
        let value = function.value(id);
        // States begin as zeros.
        let Type::Tensor(ty) = &value.ty else { continue };
        let feature = interface.inputs.iter().find(|feature| feature.value == value.name);
        let name = feature.map_or(&value.name, |feature| &feature.name);
        let dims = ty.fixed_dims().or_else(|| feature?.default_shape());
        let Some(dims) = dims else {
            bail!("input `{name}` is {ty}, which has no default shape: give inputs with --inputs")
        };
        let tensor = numbers(ty, &dims).with_context(|| format!("input `{name}`"))?;
        inputs.insert(name.clone(), tensor);
    }
    Ok(inputs)
}

fn numbers(ty: &TensorType, dims: &[usize]) -> anyhow::Result<Tensor> {
    let count = mil::element_count(dims).filter(|&count| count <= 1 << 31);
    let count = count.with_context(|| format!("shape {dims:?} is too large to make numbers up"))?;
    Ok(match ty.dtype.is_float() {
        true => {
            let values: Vec<f64> =
                (0..count).map(|i| (i.wrapping_mul(2654435761) % 1009) as f64 / 1008.0).collect();
            Tensor::from_f64s(ty.dtype, dims, &values)?
        }
        false => Tensor::from_i64s(ty.dtype, dims, &vec![0; count])?,
    })
}
