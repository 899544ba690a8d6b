//! `anemone grad`.

use crate::program::{self, ProgramArg};
use anemone::{Device, Gradient, GradientOptions, Recompute};
use clap::{Args, ValueEnum};
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
/// Inputs whose shapes are open have the default ones. A state is an input of its name, for its
/// value before, and an output NAME_after; --wrt state/NAME wants its gradient.
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
        let recompute = match self.recompute {
            Again::Nothing => Recompute::Nothing,
            Again::Cheap => Recompute::Cheap,
            Again::Everything => Recompute::Everything,
        };
        let options = GradientOptions {
            function: self.function,
            wrt: self.wrt,
            constants: self.trainable.map(|regex| regex.as_str().to_owned()),
            recompute,
            // Nothing is evaluated.
            device: Device::Interpreter,
            ..GradientOptions::default()
        };
        let gradient = Gradient::new(&source.model, options)?;
        program::write(&gradient.program()?, self.output.as_deref())
    }
}
