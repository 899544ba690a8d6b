//! `anemone doctor`.

#[cfg(target_os = "macos")]
mod apple_routes;
#[cfg(not(target_os = "macos"))]
#[path = "no_routes.rs"]
mod apple_routes;
mod report;

use ane::recording::{Recorder, Replay};
use ane::target::{Chip, Target};
use ane::{Emulator, EmulatorOptions, Engine, EngineError, selftest};
use anyhow::{Context, bail};
use clap::Args;
use cpu::CpuDevice;
use report::{Apple, EngineReport, Report};
use runtime::Device;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Say what this machine can run on, and whether it works.
///
/// Four small programs run on every engine that is here (on macOS the routes to the Neural
/// Engine, everywhere the emulator), and their results are compared with the emulator's. On macOS
/// the report also lists every class, method and function of Apple's frameworks that is missing
/// or is not as expected.
///
/// If something does not work on your Mac, run `anemone doctor --out report.json --record
/// recording.jsonl` and attach the files to an issue. They hold no data of yours: only these
/// programs, what the system answered, and the versions of system and engine.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Write the report as JSON into a file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write all that is done with each engine into a file; its name gets the engine's
    /// (recording.client.jsonl)
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Check a recording of another machine instead of this machine's engines
    #[arg(long, value_name = "FILE", conflicts_with = "record")]
    replay: Option<PathBuf>,
    /// On macOS, try the route through Espresso's e5rt as well, which was never seen to work
    #[arg(long)]
    e5rt: bool,
}

/// Takes lines of what happens inside of an engine once there is a recording.
#[derive(Clone, Default)]
struct Notes(Arc<OnceLock<ane::recording::Notes>>);

impl Notes {
    /// What an engine is given to tell of what happens.
    #[cfg_attr(not(target_os = "macos"), expect(dead_code))] // Only routes tell.
    fn listener(&self) -> Arc<dyn Fn(&str) + Send + Sync> {
        let to = self.0.clone();
        Arc::new(move |line| {
            if let Some(to) = to.get() {
                to(line);
            }
        })
    }
}

impl Doctor {
    /// Looks, tries and reports.
    pub fn run(self) -> anyhow::Result<()> {
        let report = match &self.replay {
            Some(path) => self.replayed(path)?,
            None => self.here()?,
        };
        if let Some(path) = &self.out {
            let text = format!("{:#}\n", report.json());
            fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{:#}", report.json())?;
        } else {
            write!(out, "{}", report.text())?;
        }
        let broken = report.broken();
        if !broken.is_empty() {
            bail!("what is here does not all work: {}", broken.join(", "));
        }
        Ok(())
    }

    /// This machine's engines.
    fn here(&self) -> anyhow::Result<Report> {
        let cpu = CpuDevice::new(None)?.describe();
        let target = Target::of(Chip::M4);
        let emulator = Emulator::new(EmulatorOptions::new(target));
        let emulator = emulator.map(|emulator| Arc::new(emulator) as Arc<dyn Engine>);
        let mut engines = vec![self.try_engine("emulator", emulator, &Notes::default())?];
        let apple = apple_routes::look(self.e5rt);
        for route in &apple.routes {
            let notes = Notes::default();
            engines.push(self.try_engine(
                route.name(),
                apple_routes::open(*route, &notes),
                &notes,
            )?);
        }
        Ok(Report { cpu, apple, engines })
    }

    /// Another machine's engine.
    fn replayed(&self, path: &Path) -> anyhow::Result<Report> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let replay = Replay::read(&text).with_context(|| path.display().to_string())?;
        let engine = self.try_engine("recording", Ok(Arc::new(replay)), &Notes::default())?;
        let cpu = CpuDevice::new(None)?.describe();
        Ok(Report { cpu, apple: Apple::default(), engines: vec![engine] })
    }

    /// Runs the programs on an engine, and records that if it is wanted.
    fn try_engine(
        &self,
        name: &str,
        engine: Result<Arc<dyn Engine>, EngineError>,
        notes: &Notes,
    ) -> anyhow::Result<EngineReport> {
        let name = name.to_owned();
        let engine = match engine {
            Ok(engine) => engine,
            Err(error) => {
                let outcome = Err(error.to_string());
                return Ok(EngineReport { name, outcome, recording: None });
            }
        };
        let description = engine.describe();
        let Some(path) = &self.record else {
            let checks = selftest::run(&*engine);
            return Ok(EngineReport { name, outcome: Ok((description, checks)), recording: None });
        };
        let path = named(path, &name);
        let cannot = || format!("cannot write {}", path.display());
        let file = BufWriter::new(File::create(&path).with_context(cannot)?);
        let recorder = Recorder::new(engine, Box::new(file));
        // Nobody else has set it: an engine is tried once.
        _ = notes.0.set(recorder.notes());
        let checks = selftest::run(&recorder);
        recorder.finish().with_context(cannot)?;
        Ok(EngineReport { name, outcome: Ok((description, checks)), recording: Some(path) })
    }
}

/// `recording.jsonl` becomes `recording.client.jsonl`.
fn named(path: &Path, engine: &str) -> PathBuf {
    let extension = path.extension().map_or("jsonl".into(), |e| e.to_string_lossy());
    path.with_extension(format!("{engine}.{extension}"))
}
