//! `anemone bench gemm`.

use super::Common;
use super::report::{self, Report, Row};
use super::sample::{Spread, seconds};
use anyhow::bail;
use clap::{Args, ValueEnum};
use cpu::format::Format;
use cpu::isa::Isa;
use cpu::measure::{Arithmetic, SHAPES, Shape, Trial};
use cpu::team::Team;

/// Time matrix products of the shapes that training and decoding need.
///
/// The shapes are those of a model of 110M parameters with 256 tokens: forward products, gradients
/// of activations (dX) and of weights (dW), attention, and the one-row products of decoding.
/// "packed" products read a right operand that was brought into the kernel's order beforehand, as
/// parameters are after every update; "strided" ones read it as it lies in memory. The share is
/// that of the multiplications that the same threads do in registers, timed in turn with the
/// product; for one-row products, that of the bytes that the same threads read from memory, as far
/// as B does not stay in a cache.
#[derive(Debug, Args)]
pub struct Gemm {
    /// Only shapes whose name contains this, such as dW or decode
    #[arg(long, value_name = "WORD", default_value = "")]
    only: String,
    /// Element types of the operands; results are fp32
    #[arg(long = "dtype", value_enum, value_name = "TYPE", value_delimiter = ',', default_values_t = [Operands::Fp32, Operands::Bf16])]
    dtypes: Vec<Operands>,
    /// How often each product is timed
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    repeat: u16,
    /// Instead, time every kernel that this machine offers on a short list of shapes, and fail if
    /// one that was not picked is more than 10 % faster than the one that was
    #[arg(long)]
    assert: bool,
    #[command(flatten)]
    common: Common,
}

/// Element types of operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Operands {
    Fp32,
    Bf16,
    Fp16,
}

impl Operands {
    fn format(self) -> Format {
        match self {
            Operands::Fp32 => Format::F32,
            Operands::Bf16 => Format::Bf16,
            Operands::Fp16 => Format::F16,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Operands::Fp32 => "fp32",
            Operands::Bf16 => "bf16",
            Operands::Fp16 => "fp16",
        }
    }

    /// The instruction that products of these operands can use at best.
    fn arithmetic(self) -> Arithmetic {
        match self {
            Operands::Bf16 if Arithmetic::Bf16.instruction().is_some() => Arithmetic::Bf16,
            _ => Arithmetic::F32,
        }
    }
}

/// One thing to time.
#[derive(Clone, Copy)]
struct Case {
    shape: &'static Shape,
    operands: Operands,
    packed: bool,
}

impl Case {
    fn name(self) -> String {
        let b = if self.packed { "packed" } else { "strided" };
        format!("{} {} {b}", self.operands.name(), self.shape.name)
    }

    fn trial(self, isa: Isa, team: &Team) -> anyhow::Result<Trial> {
        Ok(Trial::new(isa, team, self.shape, self.operands.format(), self.packed)?)
    }

    /// Calls of one sample: some milliseconds.
    fn repeats(self) -> usize {
        ((3e8 / self.shape.flops()) as usize).clamp(1, 200)
    }
}

impl Gemm {
    /// Measures, and prints or asserts.
    pub fn run(self) -> anyhow::Result<()> {
        let team = self.common.team()?;
        if self.assert {
            return self.check(&team);
        }
        let isa = Isa::detect()?;
        let mut report = Report::new("gemm", team.threads());
        report.setting("isa", isa.name());
        report.peaks = report::arithmetic_peaks(&team);
        report.peaks.extend(report::memory_peaks(&team));
        for case in self.cases()? {
            let row = measure(isa, &team, case, usize::from(self.repeat))?;
            report.rows.push(match (case.shape.m, report.peak("read")) {
                // Every element of B is read for one multiplication: memory is the bound.
                (1, Some(read)) => {
                    let bytes_per_flop = case.operands.format().bytes() as f64 / 2.0;
                    let share = row.spread.median * bytes_per_flop / read;
                    row.share("read", share)
                }
                _ => row,
            });
        }
        report.print(self.common.json)
    }

    fn cases(&self) -> anyhow::Result<Vec<Case>> {
        let mut cases = vec![];
        for &operands in &self.dtypes {
            for shape in SHAPES.iter().filter(|shape| shape.name.contains(&self.only)) {
                // Attention multiplies activations, which are never packed ahead.
                let ways: &[bool] = if shape.batch > 1 { &[false] } else { &[false, true] };
                cases.extend(ways.iter().map(|&packed| Case { shape, operands, packed }));
            }
        }
        if cases.is_empty() {
            let names: Vec<&str> = SHAPES.iter().map(|shape| shape.name).collect();
            bail!("no shape's name contains `{}`: {}", self.only, names.join(", "));
        }
        Ok(cases)
    }

    fn check(&self, team: &Team) -> anyhow::Result<()> {
        let picked = Isa::detect()?;
        let mut report = Report::new("gemm", team.threads());
        report.setting("isa", picked.name());
        let mut slow = vec![];
        for case in self.cases()?.into_iter().filter(|case| ASSERTED.contains(&case.shape.name)) {
            let mut verdict = race(picked, team, case)?;
            // Another program may have run beside one kernel and not beside the other: only what
            // is slow again and again is slow.
            for _ in 0..RETRIES {
                if verdict.ratio <= TOLERANCE {
                    break;
                }
                let again = race(picked, team, case)?;
                if again.ratio < verdict.ratio {
                    verdict = again;
                }
            }
            if verdict.ratio > TOLERANCE {
                let Verdict { own, fastest, ratio, .. } = &verdict;
                slow.push(format!("{}: {own} takes {ratio:.2} times {fastest}", case.name()));
            }
            report.rows.extend(verdict.rows);
        }
        report.print(self.common.json)?;
        if !slow.is_empty() {
            bail!("kernels that are faster were not picked:\n  {}", slow.join("\n  "));
        }
        Ok(())
    }
}

/// The short list: a shape of each kind, none that takes long.
const ASSERTED: [&str; 5] = [
    "forward 256x768x768",
    "dX 256x768x2048",
    "dW 768x768x256",
    "attention qk 12x256x256x64",
    "decode 1x2048x768",
];

/// How much slower than the fastest kernel the one that was picked may be.
const TOLERANCE: f64 = 1.1;

/// Races after one that was lost.
const RETRIES: usize = 4;

/// Times one product in turn with multiplications in registers.
fn measure(isa: Isa, team: &Team, case: Case, repeat: usize) -> anyhow::Result<Row> {
    let mut trial = case.trial(isa, team)?;
    let arithmetic = case.operands.arithmetic();
    let (mut rates, mut shares) = (vec![], vec![]);
    // The first rounds warm caches, threads and the clock.
    for round in 0..repeat + 2 {
        let rate = case.shape.flops() / seconds(case.repeats(), || trial.run(team));
        let peak = arithmetic.burst(team);
        if round >= 2 {
            rates.push(rate / 1e9);
            shares.extend(peak.map(|peak| rate / peak));
        }
    }
    let row = Row::new(case.name(), "GFLOP/s", Spread::of(&rates)).kernels([trial.kernel_name()]);
    Ok(row.share(arithmetic.name(), Spread::of(&shares).median))
}

/// How the kernels compare on one product.
struct Verdict {
    rows: Vec<Row>,
    own: &'static str,
    fastest: &'static str,
    /// Time of the one that is picked, over that of the fastest.
    ratio: f64,
}

/// Times the kernels of every instruction set in turn.
fn race(picked: Isa, team: &Team, case: Case) -> anyhow::Result<Verdict> {
    const ROUNDS: usize = 5;
    /// A kernel that needs this many times what the fastest does has lost after one round.
    const HOPELESS: f64 = 3.0;

    let mut trials = vec![];
    // Sets that differ in other things may share the kernel for this product.
    for isa in std::iter::once(picked).chain(Isa::available()) {
        let trial = case.trial(isa, team)?;
        let kernel = trial.kernel_name();
        if trials.iter().all(|(_, other, _): &(Isa, Trial, Vec<f64>)| other.kernel_name() != kernel)
        {
            trials.push((isa, trial, vec![]));
        }
    }
    // Samples as long as the slowest kernel would need are not worth waiting for.
    let repeats = case.repeats().div_ceil(3);
    let mut fastest_first = f64::INFINITY;
    for (_, trial, _) in &mut trials {
        trial.run(team);
        fastest_first = fastest_first.min(seconds(1, || trial.run(team)));
    }
    for _ in 0..ROUNDS {
        for (isa, trial, times) in &mut trials {
            let lost = times.first().is_some_and(|&first| first > HOPELESS * fastest_first);
            if *isa == picked || !lost {
                times.push(seconds(repeats, || trial.run(team)));
            }
        }
    }
    let flops = case.shape.flops();
    let (mut own, mut fastest) = (("", f64::INFINITY), ("", f64::INFINITY));
    let mut rows = vec![];
    for (isa, trial, times) in &trials {
        let spread = Spread::of(times);
        if *isa == picked {
            own = (trial.kernel_name(), spread.median);
        }
        if spread.median < fastest.1 {
            fastest = (trial.kernel_name(), spread.median);
        }
        let mark = if *isa == picked { "* " } else { "  " };
        let rate = spread.map(|seconds| flops / seconds / 1e9);
        let name = format!("{mark}{}", case.name());
        rows.push(Row::new(name, "GFLOP/s", rate).kernels([trial.kernel_name()]));
    }
    Ok(Verdict { rows, own: own.0, fastest: fastest.0, ratio: own.1 / fastest.1 })
}
