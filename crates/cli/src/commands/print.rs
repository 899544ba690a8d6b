//! `anemone print`.

use crate::program::{self, ProgramArg};
use clap::Args;
use std::path::PathBuf;

/// Print a program as normalised text.
///
/// Reads the program, checks it, and prints it in the one form that this project's printer gives:
/// two programs that differ only in layout print the same. Problems are listed with their places,
/// all of them.
#[derive(Debug, Args)]
pub struct Print {
    #[command(flatten)]
    program: ProgramArg,
    /// Write to this file instead of the terminal
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Print {
    /// Prints the program.
    pub fn run(self) -> anyhow::Result<()> {
        let source = program::read(&self.program.program)?;
        program::write(&source.program, self.output.as_deref())
    }
}
