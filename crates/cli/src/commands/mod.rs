//! The commands, one file each: the arguments with their help, and `run`.

mod completions;
mod generate;
mod grad;
mod print;
mod run;
mod train;

use clap::Subcommand;

/// What the first argument says.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a language model
    Train(Box<train::Train>),
    /// Write text with a model that was trained here
    Generate(generate::Generate),
    /// Evaluate a function of a program once
    Run(run::Run),
    /// Print a program as normalised text
    Print(print::Print),
    /// Differentiate a function: write its forward and backward functions
    Grad(grad::Grad),
    /// Print a script that completes this program's commands and flags in a shell
    Completions(completions::Completions),
}

impl Command {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Train(command) => command.run(),
            Command::Generate(command) => command.run(),
            Command::Run(command) => command.run(),
            Command::Print(command) => command.run(),
            Command::Grad(command) => command.run(),
            Command::Completions(command) => command.run(),
        }
    }
}
