//! `anemone print`.

use crate::program::{self, ProgramArg};
use anyhow::Context;
use clap::Args;
use mil::AtomicFile;
use std::io::Write;
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
        let text = mil::print(&source.program);
        match &self.output {
            Some(path) => {
                let write = || {
                    let mut file = AtomicFile::create(path)?;
                    file.write_all(text.as_bytes())?;
                    file.commit()
                };
                write().with_context(|| format!("cannot write `{}`", path.display()))
            }
            None => Ok(std::io::stdout().write_all(text.as_bytes())?),
        }
    }
}
