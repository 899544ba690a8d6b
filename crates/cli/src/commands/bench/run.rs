//! `anemone bench run`.

use super::Common;
use super::process;
use super::report::{self, Report, Row};
use super::roofline;
use super::sample::Spread;
use crate::program::{self, ProgramArg};
use crate::{arrays, features};
use anyhow::{Context, bail};
use clap::Args;
use cpu::CpuDevice;
use mil::{Tensor, Type, Weights};
use runtime::{Accumulation, Bindings, CompileOptions, Device};
use std::path::PathBuf;
use std::time::Instant;
use surface::Surface;

/// Time a program, such as a Core ML package, on the CPU device.
///
/// Compiles a function once and evaluates it again and again with the same inputs: those of a file, or
/// numbers from 0 to 1 and zeros for integers. States begin as the same numbers, and those that are
/// updated in place keep what an evaluation has written. Operations that the
/// interpreter runs are counted, because they are slow.
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
        let function = source.function(self.function.as_deref())?;
        let interface = source.interface.function(&function.name).cloned().unwrap_or_default();
        let given = match &self.inputs {
            None => None,
            Some(path) => {
                let given = features::sort(function, &interface, arrays::read(path)?);
                Some(given.with_context(|| format!("`{}`", path.display()))?.inputs)
            }
        };
        let mut program = match &given {
            Some(inputs) => features::specialized(&source.program, &interface, inputs)?,
            None => source.program.clone(),
        };
        let name = function.name.clone();
        let lifted = program.functions.iter_mut().find(|f| f.name == name);
        let states = passes::states::lift(lifted.context("the function stays there")?)?;

        let device = CpuDevice::new(self.common.threads())?;
        let mut report = Report::new("run", device.threads());
        report.setting("program", self.program.program.display().to_string());
        report.setting("function", name.clone());
        report.setting("kernel", device.describe());
        let options = CompileOptions {
            weights: Weights::in_dir(&source.folder),
            in_place: states.into_iter().map(|state| (state.name, state.after)).collect(),
            ..Default::default()
        };
        let start = Instant::now();
        let executable = device.compile(&program, &name, &options)?;
        let mut bindings = Bindings::new();
        for port in executable.inputs() {
            let given = given.as_ref().and_then(|given| given.get(&port.name));
            let tensor = match given {
                Some(tensor) => tensor.clone(),
                None => made_up(&port.ty)?,
            };
            bindings = bindings.input(&port.name, &Surface::from_slice(tensor.bytes())?);
        }
        for (index, port) in executable.outputs().iter().enumerate() {
            let input = executable.in_place().iter().find(|pair| pair.1 == index);
            let input = input.map(|pair| &executable.inputs()[pair.0].name);
            let surface = match input.and_then(|name| bindings.inputs.get(name)) {
                Some(surface) => surface.clone(),
                None => Surface::new(port.bytes)?,
            };
            bindings = bindings.output(&port.name, &surface);
        }
        let placement = executable.placement();
        let mut request = executable.bind(bindings)?;
        let compiling = start.elapsed().as_secs_f64();
        // The first ones touch memory for the first time.
        for _ in 0..2 {
            request.evaluate(Accumulation::Replace)?;
        }
        device.set_profiling(true);
        let mut times = vec![];
        for _ in 0..self.repeats {
            let start = Instant::now();
            request.evaluate(Accumulation::Replace)?;
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
        let slow: Vec<&str> =
            placement.iter().filter(|p| p.place.contains("interpreter")).map(|p| p.op).collect();
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

/// Numbers for an input that nobody gave.
fn made_up(ty: &mil::TensorType) -> anyhow::Result<Tensor> {
    let Some(dims) = ty.fixed_dims() else {
        bail!("the shape {} is open: give the inputs with --inputs", Type::Tensor(ty.clone()))
    };
    let count = mil::element_count(&dims).context("the shape is too large")?;
    Ok(match ty.dtype.is_float() {
        true => {
            let values: Vec<f64> =
                (0..count).map(|i| (i.wrapping_mul(2654435761) % 1009) as f64 / 1008.0).collect();
            Tensor::from_f64s(ty.dtype, &dims, &values)?
        }
        false => Tensor::from_i64s(ty.dtype, &dims, &vec![0; count])?,
    })
}
