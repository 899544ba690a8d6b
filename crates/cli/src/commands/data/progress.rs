//! What a person sees while data are prepared: a bar on a terminal, plain lines elsewhere.

use super::{bytes, grouped};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::Instant;

/// Seconds between two plain lines, at least.
const PAUSE: f64 = 2.0;

/// Where progress goes.
pub struct Progress {
    quiet: bool,
    bar: Option<ProgressBar>,
    total: u64,
    begun: Instant,
    /// Tenths of the work that have been told of in plain lines, and when.
    told: (u64, f64),
}

impl Progress {
    /// Of `total` bytes; says nothing if `quiet`.
    pub fn new(quiet: bool, total: u64) -> Progress {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(total);
            let style = ProgressStyle::with_template("{bar:28} {percent:>3} %  {msg}  {eta} to go");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Progress { quiet, bar, total, begun: Instant::now(), told: (0, 0.0) }
    }

    /// A line that stays.
    pub fn note(&self, text: &str) -> std::io::Result<()> {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.println(text),
            None => writeln!(std::io::stdout(), "{text}")?,
        }
        Ok(())
    }

    /// Begins to count from nothing.
    pub fn restart(&mut self) {
        self.begun = Instant::now();
        self.told = (0, 0.0);
        if let Some(bar) = &self.bar {
            bar.reset();
        }
    }

    /// Seconds since the beginning.
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// How many bytes have been read, and what came of them.
    pub fn reading(&mut self, done: u64, what: &str) {
        let rate = done as f64 / 1e6 / self.seconds().max(1e-9);
        let message = || format!("{} of {}, {rate:.1} MB/s{what}", bytes(done), bytes(self.total));
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(message());
            return;
        }
        let tenths = (u128::from(done) * 10 / u128::from(self.total.max(1))) as u64;
        let now = self.seconds();
        if !self.quiet && tenths > self.told.0 && tenths < 10 && now > self.told.1 + PAUSE {
            self.told = (tenths, now);
            // Progress that nobody can be told of is no reason to stop.
            writeln!(std::io::stdout(), "read       {}", message()).ok();
        }
    }

    /// What was made of it, to be shown beside.
    pub fn written(documents: u64, tokens: u64) -> String {
        format!(", {} documents, {} tokens", grouped(documents), grouped(tokens))
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
