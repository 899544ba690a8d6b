//! What `anemone doctor` found, as text and as JSON.

use ane::selftest::Check;
use ane::target::Route;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::PathBuf;

/// Everything that was found.
pub struct Report {
    /// The CPU device's description.
    pub cpu: String,
    /// Apple's frameworks.
    pub apple: Apple,
    /// Engines that were tried.
    pub engines: Vec<EngineReport>,
}

/// What was found of Apple's frameworks.
#[derive(Default)]
pub struct Apple {
    /// Whether there are any.
    pub present: bool,
    /// Routes to try.
    pub routes: Vec<Route>,
    /// What is missing or different.
    pub missing: Vec<Missing>,
    /// How many things were looked for.
    pub looked_for: usize,
}

/// Something that is not there as expected.
pub struct Missing {
    /// What it is, and what was found.
    pub what: String,
    /// The routes that cannot do without.
    pub routes: Vec<String>,
}

/// An engine that was tried.
pub struct EngineReport {
    /// Its name.
    pub name: String,
    /// Its description with the programs, or why it cannot be opened.
    pub outcome: Result<(String, Vec<Check>), String>,
    /// Where the recording is.
    pub recording: Option<PathBuf>,
}

impl EngineReport {
    fn works(&self) -> bool {
        self.outcome.as_ref().is_ok_and(|(_, checks)| checks.iter().all(Check::passed))
    }
}

impl Report {
    /// Engines that do not work.
    pub fn broken(&self) -> Vec<&str> {
        let broken = self.engines.iter().filter(|engine| !engine.works());
        broken.map(|engine| engine.name.as_str()).collect()
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let (os, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
        writeln!(out, "anemone {} on {os} ({architecture})", env!("CARGO_PKG_VERSION"))?;
        writeln!(out, "cpu: {}", self.cpu)?;
        if self.apple.present {
            let (all, missing) = (self.apple.looked_for, &self.apple.missing);
            writeln!(out, "Apple's frameworks: {} of {all} as expected", all - missing.len())?;
            for Missing { what, routes } in missing {
                let needed = match routes.is_empty() {
                    true => "not needed".to_owned(),
                    false => format!("needed by {}", routes.join(", ")),
                };
                writeln!(out, "  {what} ({needed})")?;
            }
        } else {
            writeln!(out, "Apple's routes to the Neural Engine are not present on {os}")?;
        }
        for EngineReport { name, outcome, recording } in &self.engines {
            match outcome {
                Err(reason) => writeln!(out, "{name}: cannot be opened: {reason}")?,
                Ok((description, checks)) => {
                    writeln!(out, "{name}: {description}")?;
                    for check in checks {
                        let program = check.program;
                        match &check.outcome {
                            Err(error) => writeln!(out, "  {program}: FAILED: {error}")?,
                            Ok(d) => writeln!(
                                out,
                                "  {program}: {}, {} of {} values differ from the emulator's, by \
                                 {:.1e} at most",
                                if check.passed() { "ok" } else { "WRONG" },
                                d.differing,
                                d.elements,
                                d.largest
                            )?,
                        }
                    }
                }
            }
            if let Some(path) = recording {
                writeln!(out, "  recorded in {}", path.display())?;
            }
        }
        Ok(())
    }

    /// For machines, and for issues.
    pub fn json(&self) -> Value {
        let missing =
            self.apple.missing.iter().map(|m| json!({"what": m.what, "needed_by": m.routes}));
        json!({
            "anemone": env!("CARGO_PKG_VERSION"),
            "os": std::env::consts::OS,
            "architecture": std::env::consts::ARCH,
            "cpu": self.cpu,
            "apple": {
                "present": self.apple.present,
                "looked_for": self.apple.looked_for,
                "missing": missing.collect::<Vec<_>>(),
            },
            "engines": self.engines.iter().map(engine).collect::<Vec<_>>(),
        })
    }
}

fn engine(engine: &EngineReport) -> Value {
    let recording = engine.recording.as_ref().map(|path| path.display().to_string());
    let common = json!({"name": engine.name, "works": engine.works(), "recording": recording});
    let more = match &engine.outcome {
        Err(error) => json!({"error": error}),
        Ok((description, checks)) => json!({
            "description": description,
            "checks": checks.iter().map(check).collect::<Vec<_>>(),
        }),
    };
    let mut all = common;
    if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
        all.extend(more);
    }
    all
}

fn check(check: &Check) -> Value {
    match &check.outcome {
        Err(error) => json!({
            "program": check.program,
            "passed": false,
            "error": error.to_string(),
            "status": error.code,
        }),
        Ok(d) => json!({
            "program": check.program,
            "passed": check.passed(),
            "elements": d.elements,
            "differing": d.differing,
            // Infinity is no number of JSON.
            "largest": if d.largest.is_finite() { json!(d.largest) } else { json!("infinite") },
        }),
    }
}
