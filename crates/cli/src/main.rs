//! The command line.
//!
//! One file per command in `commands`; this file only chooses the command and turns the result
//! into an exit code: 0 done, 1 failed, 2 wrong usage.
#![forbid(unsafe_code)]

mod arrays;
mod commands;
mod device;
mod features;
mod hub;
mod model;
mod pictures;
mod program;
mod writing;

use clap::Parser;
use commands::Command;
use std::process::ExitCode;

/// Train and run neural networks that are MIL programs.
///
/// MIL is the language that Core ML runs. Anemone reads and prints MIL programs, evaluates them
/// on the CPU, and trains and samples language models whose layers are MIL programs.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "anemone", version, arg_required_else_help = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("anemone: error: {}", message(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error with its causes, but those that it ends with already: some libraries print the cause as
/// a part of the error.
fn message(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if message.is_empty() {
            message = cause;
        } else if !message.ends_with(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    message
}

/// Whether whoever reads our output has stopped to, as `head` does. That is no failure of ours.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let io = || anyhow::Error::from(std::io::Error::other("no room"));
        assert_eq!(
            message(&io().context("`a`: no room").context("cannot save")),
            "cannot save: `a`: no room"
        );
        assert_eq!(message(&io().context("cannot save")), "cannot save: no room");
    }
}
