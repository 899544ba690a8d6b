//! `anemone grad`.

use crate::program::{self, ProgramArg};
use anyhow::Context;
use clap::{Args, ValueEnum};
use mil::Program;
use passes::autodiff::{Options, Recompute, differentiate};
use passes::trainable::{self, Choice, loss};
use regex::Regex;
use std::path::PathBuf;

/// Differentiate a function: write its forward and backward functions.
///
/// The result is a program with two functions. `forward` is the function itself, with the
/// intermediate values that the gradient needs as further outputs. `backward` takes d_OUTPUT for
/// every output that depends on the wanted inputs, those intermediate values, and the original
/// inputs that it still needs, and gives d_INPUT for every wanted input.
///
/// Constants have gradients when they are inputs, which --trainable makes them: each keeps its name,
/// is fp32 whatever it was, and is cast where it is used. Their values are then no part of the
/// result any more. A classifier is differentiated for the probabilities that its label is made of.
///
/// Example: anemone grad layer.mil --wrt x,w -o layer_grad.mil
/// Example: anemone grad classifier.mlpackage --trainable 'conv.*' -o gradients.mil
#[derive(Debug, Args)]
pub struct Grad {
    #[command(flatten)]
    program: ProgramArg,
    /// The function to differentiate [default: `main`, or the only one]
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// The inputs whose gradients are wanted, separated by commas
    #[arg(
        long,
        value_name = "NAMES",
        required_unless_present = "trainable",
        value_delimiter = ','
    )]
    wrt: Vec<String>,
    /// Make constants whose names have a match of this regular expression inputs of fp32, and want
    /// their gradients too
    #[arg(long, value_name = "REGEX")]
    trainable: Option<Regex>,
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
        let mut function = source.function(self.function.as_deref())?.clone();
        loss::unlabel(&mut function);
        let mut wrt = self.wrt;
        if let Some(regex) = &self.trainable {
            let named = |name: &str| regex.is_match(name);
            let chosen = trainable::choose(&function, &Choice::Named(&named))?;
            trainable::lift(&mut function, &chosen)?;
            wrt.extend(chosen);
        }
        let recompute = match self.recompute {
            Again::Nothing => Recompute::Nothing,
            Again::Cheap => Recompute::Cheap,
            Again::Everything => Recompute::Everything,
        };
        let options = Options { wrt, recompute, ..Options::default() };
        let mut gradient = differentiate(&function, &options)
            .with_context(|| format!("cannot differentiate `{}`", function.name))?;
        gradient.forward.name = "forward".into();
        gradient.backward.name = "backward".into();
        let program =
            Program { functions: vec![gradient.forward, gradient.backward], ..source.program };
        program::write(&program, self.output.as_deref())
    }
}
