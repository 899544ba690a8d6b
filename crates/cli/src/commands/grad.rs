//! `anemone grad`.

use crate::program::{self, ProgramArg};
use anyhow::Context;
use clap::{Args, ValueEnum};
use mil::Program;
use passes::autodiff::{Options, Recompute, differentiate};
use std::path::PathBuf;

/// Differentiate a function: write its forward and backward functions.
///
/// The result is a program with two functions. `forward` is the function itself, with the
/// intermediate values that the gradient needs as further outputs. `backward` takes d_OUTPUT for
/// every output that depends on the wanted inputs, those intermediate values, and the original
/// inputs that it still needs, and gives d_INPUT for every wanted input.
///
/// Example: anemone grad layer.mil --wrt x,w -o layer_grad.mil
#[derive(Debug, Args)]
pub struct Grad {
    #[command(flatten)]
    program: ProgramArg,
    /// The function to differentiate [default: `main`, or the only one]
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// The inputs whose gradients are wanted, separated by commas
    #[arg(long, value_name = "NAMES", required = true, value_delimiter = ',')]
    wrt: Vec<String>,
    /// What the backward function computes again instead of being given
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Again::Cheap)]
    recompute: Again,
    /// Write to this file instead of the terminal
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Again {
    /// Nothing: every intermediate value that is needed is given
    Nothing,
    /// All but products, convolutions, attention, softmax, running sums and gathers
    Cheap,
    /// Everything: only original inputs are given
    Everything,
}

impl Grad {
    /// Writes the two functions.
    pub fn run(self) -> anyhow::Result<()> {
        let source = program::read(&self.program.program)?;
        let function = source.function(self.function.as_deref())?;
        let recompute = match self.recompute {
            Again::Nothing => Recompute::Nothing,
            Again::Cheap => Recompute::Cheap,
            Again::Everything => Recompute::Everything,
        };
        let options = Options { wrt: self.wrt, recompute, ..Options::default() };
        let mut gradient = differentiate(function, &options)
            .with_context(|| format!("cannot differentiate `{}`", function.name))?;
        gradient.forward.name = "forward".into();
        gradient.backward.name = "backward".into();
        let program =
            Program { functions: vec![gradient.forward, gradient.backward], ..source.program };
        program::write(&program, self.output.as_deref())
    }
}
