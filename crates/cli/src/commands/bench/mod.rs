//! `anemone bench`.

mod gemm;
mod generate;
mod int8;
mod memory;
mod process;
mod report;
mod roofline;
mod run;
mod sample;
mod subject;
mod train;

use anyhow::Context;
use clap::{Args, Subcommand};
use cpu::team::Team;

/// Measure how fast this machine computes, beside what it could do at most.
///
/// Every figure is a median of repetitions and comes with its smallest and largest, with the
/// names of the kernels that made it, and with its share of a peak that is measured in the same
/// run: multiplications that never leave the registers, or bytes read from memory. A share says
/// what is left to gain; figures of two machines, or of a busy one, say little by themselves.
///
/// Set ANEMONE_CPU_ISA to measure the kernels of another instruction set than the best one.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true, args_conflicts_with_subcommands = true)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

/// What is measured; one file each.
#[derive(Debug, Subcommand)]
enum What {
    Gemm(gemm::Gemm),
    Int8(int8::Int8),
    Train(train::Train),
    Prefill(generate::Prefill),
    Decode(generate::Decode),
    Memory(memory::Memory),
    Run(run::Run),
}

impl Bench {
    /// Measures.
    pub fn run(self) -> anyhow::Result<()> {
        match self.what {
            What::Gemm(bench) => bench.run(),
            What::Int8(bench) => bench.run(),
            What::Train(bench) => bench.run(),
            What::Prefill(bench) => bench.run(),
            What::Decode(bench) => bench.run(),
            What::Memory(bench) => bench.run(),
            What::Run(bench) => bench.run(),
        }
    }
}

/// What every benchmark takes.
#[derive(Clone, Copy, Debug, Args)]
struct Common {
    /// Threads [default: as many as the machine runs at once]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

impl Common {
    /// The number of threads, if one was asked for.
    fn threads(self) -> Option<usize> {
        self.threads.map(usize::from)
    }

    /// A team of that many threads.
    fn team(self) -> anyhow::Result<Team> {
        let team = match self.threads() {
            Some(threads) => Team::new(threads),
            None => Team::from_environment(),
        };
        team.context("cannot start the threads")
    }
}
