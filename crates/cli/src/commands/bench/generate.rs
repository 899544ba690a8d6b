//! `anemone bench prefill` and `anemone bench decode`.

use super::report::{self, Report, Row};
use super::roofline;
use super::sample::{Spread, seconds};
use super::subject::{Dtype, Subject};
use super::{Common, process};
use ::generate::{Generator, GeneratorOptions, Weights};
use ::train::rng::Rng;
use anyhow::ensure;
use clap::Args;
use cpu::CpuDevice;
use models::Config;
use runtime::{Device, Products};
use surface::Surface;

/// Time the reading of a prompt: all its tokens at once, as far as the model takes them so.
///
/// A prompt of random tokens is read by a model with random parameters, again and again from an
/// empty cache. The work is counted as 2 · parameters · tokens + 2 · layers · width · tokens²;
/// the share is that of the multiplications that the same threads do in registers.
///
/// Example: anemone bench prefill --model stories110m --dtype bf16 --prompt 256
#[derive(Debug, Args)]
pub struct Prefill {
    #[command(flatten)]
    subject: Subject,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65536))]
    prompt: u32,
    /// How often it is read
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    repeat: u16,
    /// Products with parameters in bytes, as `anemone generate --int8` does
    #[arg(long)]
    int8: bool,
    /// List the steps of the plan that take the most time, with the bound of each
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    common: Common,
}

/// Time the writing of tokens, one after the other.
///
/// After a prompt of random tokens a model with random parameters computes the scores of one
/// token after the other. Every token needs every parameter once, so memory is the bound: the
/// share is that of the bytes a second that the same threads read from memory, with each
/// parameter of a matrix counted once a token in the element type of `--dtype`, or as a byte.
///
/// Example: anemone bench decode --model stories110m --tokens 64
#[derive(Debug, Args)]
pub struct Decode {
    #[command(flatten)]
    subject: Subject,
    /// Tokens that are read before
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65536))]
    prompt: u32,
    /// Timed tokens
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65536))]
    tokens: u32,
    /// Products with parameters in bytes, as `anemone generate --int8` does
    #[arg(long)]
    int8: bool,
    /// List the steps of the plan that take the most time, with the bound of each
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    common: Common,
}

impl Prefill {
    /// Measures, and prints.
    pub fn run(self) -> anyhow::Result<()> {
        let prompt = self.prompt as usize;
        let mut bench = Bench::new("prefill", &self.subject, self.int8, self.common, prompt)?;
        bench.report.setting("prompt", prompt);
        let tokens = bench.tokens(prompt);
        // The first time memory is touched.
        bench.generator.read(&tokens, |_| ())?;
        let mut times = vec![];
        for _ in 0..self.repeat {
            times.push(bench.read_from_start(&tokens)?);
        }
        let config = bench.config;
        let count = prompt as f64;
        let width = (config.heads * config.head_dim) as f64;
        let attention = 2.0 * config.layers as f64 * width * count * count;
        // Scores are computed of the last token alone.
        let head = matrix_parameters(&config)? - (config.vocab * config.dim) as f64;
        let flops = 2.0 * head * count + attention + 2.0 * (config.vocab * config.dim) as f64;
        let times = Spread::of(&times);
        let rows = [
            Row::new("prompt", "ms", times.map(|s| s * 1e3)),
            Row::new("tokens", "tokens/s", times.map(|s| count / s)),
            Row::new("work", "GFLOP/s", times.map(|s| flops / s / 1e9))
                .share_of(&bench.report.peaks, bench.peak),
        ];
        bench.report.rows.extend(rows);
        bench.peak_memory();
        if self.profile {
            bench.device.set_profiling(true);
            bench.read_from_start(&tokens)?;
            bench.profile(1.0);
        }
        bench.report.print(self.common.json)
    }
}

impl Decode {
    /// Measures, and prints.
    pub fn run(self) -> anyhow::Result<()> {
        /// Tokens before the timed ones, and those with a profile.
        const OTHERS: usize = 8;

        let (prompt, count) = (self.prompt as usize, self.tokens as usize);
        let capacity = prompt + count + 2 * OTHERS;
        let mut bench = Bench::new("decode", &self.subject, self.int8, self.common, capacity)?;
        bench.report.setting("prompt", prompt);
        let tokens = bench.tokens(capacity);
        bench.generator.read(&tokens[..prompt], |_| ())?;
        let mut next = tokens[prompt..].iter();
        let mut decode = |bench: &mut Bench, count: usize| -> anyhow::Result<Vec<f64>> {
            let token = |&token: &u32| bench.read(&[token]);
            next.by_ref().take(count).map(token).collect()
        };
        decode(&mut bench, OTHERS)?;
        let times = Spread::of(&decode(&mut bench, count)?);
        let size = if self.int8 { 1 } else { self.subject.dtype.bytes() };
        let bytes = matrix_parameters(&bench.config)? * size as f64;
        let rows = [
            Row::new("token", "ms", times.map(|s| s * 1e3)),
            Row::new("tokens", "tokens/s", times.map(|s| 1.0 / s)),
            Row::new("weights", "GB/s", times.map(|s| bytes / s / 1e9))
                .share_of(&bench.report.peaks, "read"),
        ];
        bench.report.rows.extend(rows);
        bench.peak_memory();
        if self.profile {
            bench.device.set_profiling(true);
            decode(&mut bench, OTHERS)?;
            bench.profile(OTHERS as f64);
        }
        bench.report.print(self.common.json)
    }
}

/// What both need.
struct Bench {
    config: Config,
    /// The name of the peak that bounds products.
    peak: &'static str,
    device: CpuDevice,
    generator: Generator,
    report: Report,
}

impl Bench {
    fn new(
        name: &'static str,
        subject: &Subject,
        int8: bool,
        common: Common,
        capacity: usize,
    ) -> anyhow::Result<Bench> {
        let config = subject.config()?;
        ensure!(
            capacity <= config.max_seq,
            "{capacity} tokens are more than the model's context of {}",
            config.max_seq
        );
        let device = CpuDevice::new(common.threads())?;
        let mut report = Report::new(name, device.threads());
        subject.describe(&mut report, &config)?;
        report.setting("kernel", device.describe());
        let team = common.team()?;
        report.peaks = report::arithmetic_peaks(&team);
        report.peaks.extend(report::memory_peaks(&team));
        drop(team);
        let products = if int8 { Products::Int8 } else { Products::Native };
        report.setting("int8", int8);
        let compute = subject.dtype.into();
        let options = GeneratorOptions {
            capacity,
            compute,
            stored: mil::DataType::Fp32,
            products,
            lora: None,
        };
        let generator = Generator::new(&device, &config, &random(&config)?, options)?;
        Ok(Bench { config, peak: peak(subject.dtype, int8, &report), device, generator, report })
    }

    /// Adds the most memory that the process has held so far, if the system says.
    fn peak_memory(&mut self) {
        if let Some(bytes) = process::peak_memory() {
            self.report.rows.push(Row::single(process::PEAK_ROW, "MB", bytes as f64 / 1e6));
        }
    }

    fn tokens(&self, count: usize) -> Vec<u32> {
        let mut random = Rng::new(SEED);
        (0..count).map(|_| random.below(self.config.vocab as u64) as u32).collect()
    }

    /// Seconds until the scores of the next token are there.
    fn read(&mut self, tokens: &[u32]) -> anyhow::Result<f64> {
        let mut result = Ok(());
        let seconds = seconds(1, || result = self.generator.read(tokens, |_| ()));
        result?;
        Ok(seconds)
    }

    fn read_from_start(&mut self, tokens: &[u32]) -> anyhow::Result<f64> {
        self.generator.clear();
        self.read(tokens)
    }

    /// Adds the profile of what was repeated so many times since it began.
    fn profile(&mut self, repetitions: f64) {
        self.device.set_profiling(false);
        let profile = self.device.profile();
        let table = roofline::table(&profile, repetitions, &self.report.peaks, self.peak);
        self.report.tables.push(table);
    }
}

/// The name of the peak that bounds products.
fn peak(dtype: Dtype, int8: bool, report: &Report) -> &'static str {
    let own = report.peaks.iter().map(|peak| peak.name).find(|&name| int8 && name == "int8");
    own.unwrap_or_else(|| dtype.peak(&report.peaks))
}

/// Seed of tokens and parameters.
const SEED: u64 = 42;

/// Parameters that were drawn, not learned.
fn random(config: &Config) -> anyhow::Result<Weights> {
    let random = Rng::new(SEED);
    let mut weights = Weights::new();
    for parameter in models::parameters(config)? {
        let surface = Surface::new(parameter.dims.iter().product::<usize>() * size_of::<f32>())?;
        let mut writing = surface.write()?;
        let values = writing.as_mut_slice::<f32>();
        train::initialize(&parameter, &random, values);
        drop(writing);
        weights.insert(parameter.name, surface);
    }
    Ok(weights)
}

/// Parameters that a token is multiplied with. A table that is tied is the classifier's matrix;
/// one that is not is only looked up.
fn matrix_parameters(config: &Config) -> anyhow::Result<f64> {
    let looked_up = if config.tied { 0 } else { config.vocab * config.dim };
    Ok((config.parameter_count()? - looked_up) as f64)
}
