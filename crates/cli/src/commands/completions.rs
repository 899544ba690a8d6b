//! `anemone completions`.

use crate::Arguments;
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};
use std::io::Write;

/// Print a script that completes this program's commands and flags in a shell.
///
/// For bash: anemone completions bash > ~/.local/share/bash-completion/completions/anemone
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell that the script is for
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub fn run(self) -> anyhow::Result<()> {
        let mut script = vec![];
        generate(self.shell, &mut Arguments::command(), "anemone", &mut script);
        std::io::stdout().write_all(&script)?;
        Ok(())
    }
}
