//! `anemone data`: from files of text to a folder of tokens.

mod info;
mod prepare;
mod progress;

use clap::{Args, Subcommand};
use corpus::{Lengths, Part};
use serde_json::{Value, json};

/// Make folders of tokens to train on, and look into them.
#[derive(Debug, Args)]
pub struct Data {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Prepare(Box<prepare::Prepare>),
    Info(info::Info),
}

impl Data {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Prepare(command) => command.run(),
            Command::Info(command) => command.run(),
        }
    }
}

/// A part of a folder as JSON: what its index says, with percentiles instead of the histogram.
fn part_json(part: &Part) -> Value {
    json!({
        "tokens": part.tokens,
        "documents": part.documents,
        "text_bytes": part.text_bytes,
        "ends_inside": part.ends_inside,
        "shards": part.shards,
        "lengths": lengths_json(&part.lengths),
    })
}

fn lengths_json(lengths: &Lengths) -> Value {
    let at = |part| lengths.percentile(part);
    json!({
        "mean": lengths.mean(), "p5": at(0.05), "p25": at(0.25), "p50": at(0.5), "p75": at(0.75),
        "p95": at(0.95), "p99": at(0.99), "longest": lengths.longest(),
    })
}

/// A line about the lengths of documents.
fn lengths_line(lengths: &Lengths) -> String {
    let at = |part| grouped(lengths.percentile(part));
    format!(
        "lengths    5 % of documents have up to {} tokens, half up to {}, 95 % up to {}, 99 % up \
         to {}; the longest has {}, the mean {:.1}",
        at(0.05),
        at(0.5),
        at(0.95),
        at(0.99),
        grouped(lengths.longest()),
        lengths.mean()
    )
}

/// A line about a part: its name must fill its column.
fn part_line(name: &str, part: &Part) -> String {
    format!(
        "{name:<10} {}, {}, in {}",
        counted(part.tokens, "token"),
        counted(part.documents, "document"),
        counted(part.shards.len() as u64, "file")
    )
}

/// A number of things.
fn counted(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A number with its digits in groups of three.
fn grouped(number: u64) -> String {
    super::train::grouped(usize::try_from(number).unwrap_or(usize::MAX))
}

/// Bytes in the largest unit of which there is one.
fn bytes(bytes: u64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match units.iter().find(|unit| bytes as f64 >= unit.0) {
        Some((unit, name)) => format!("{:.2} {name}", bytes as f64 / unit),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, counted};

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(bytes(999), "999 bytes");
        assert_eq!(
            [1000, 1_234_567, 98_000_000_000].map(bytes),
            ["1.00 kB", "1.23 MB", "98.00 GB"]
        );
        assert_eq!([0, 1, 1200].map(|n| counted(n, "file")), ["0 files", "1 file", "1 200 files"]);
    }
}
