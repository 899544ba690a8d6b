//! The engine in software: the same text, the same rules, the same status codes, on any machine.
//!
//! [`Emulator`] takes what an engine takes and fails where one fails, with the reason in words:
//! it refuses programs that break a rule ([`crate::target`]), counts compilations and loaded
//! programs, binds surfaces by position, and answers an evaluation over surfaces that the engine
//! would not accept with the engine's status. What a program computes is either fast or modelled,
//! see [`Numerics`].
//!
//! It stands for one process: budgets and poison are those of one emulator.

mod admit;
mod arithmetic;
mod blobs;
mod model;
mod ports;
mod process;
mod quirks;
mod verdict;

pub use quirks::{Quirk, QuirkData, quirks};

use crate::engine::{Engine, EngineError, Model, Source, Stage, Usage};
use crate::target::Target;
use admit::{Admitted, MAIN};
use cpu::CpuDevice;
use model::{Body, Loaded, Modelled};
use ports::SurfaceRules;
use process::Process;
use runtime::{CompileOptions, Device};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use surface::Surface;

/// An engine in software.
pub struct Emulator {
    target: Target,
    numerics: Numerics,
    quirks: BTreeSet<Quirk>,
    cpu: CpuDevice,
    process: Arc<Process>,
}

/// What is emulated, and how.
#[derive(Clone, Debug)]
pub struct EmulatorOptions {
    /// The chip, system and route whose rules hold.
    pub target: Target,
    /// How programs are computed.
    pub numerics: Numerics,
    /// Threads that compute; `None` is as many as `ANEMONE_THREADS` or the machine says.
    pub threads: Option<usize>,
    /// Quirks to have or not to have, whatever the target says; for [`Numerics::Modelled`].
    pub quirks: BTreeMap<Quirk, bool>,
}

/// How an emulator computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numerics {
    /// On the CPU device: fp16 in surfaces and in what is stored between fused operations, sums in
    /// f32. What a training run goes through.
    Fast,
    /// Operation by operation as the language defines them, each result rounded to its type.
    /// With the quirks of the chip ([`Quirk`]). Slow; for single kernels.
    Modelled,
}

impl EmulatorOptions {
    /// Fast numerics on all threads.
    pub fn new(target: Target) -> EmulatorOptions {
        EmulatorOptions { target, numerics: Numerics::Fast, threads: None, quirks: BTreeMap::new() }
    }
}

impl Emulator {
    /// An emulator that has compiled nothing yet.
    ///
    /// # Errors
    /// If the CPU cannot be used as it is asked to.
    pub fn new(options: EmulatorOptions) -> Result<Emulator, EngineError> {
        let cpu = CpuDevice::new(options.threads)
            .map_err(|e| EngineError::new("emulator", Stage::Open, e.to_string()))?;
        let EmulatorOptions { target, numerics, quirks, .. } = options;
        let has = |quirk: &Quirk| quirks.get(quirk).copied().unwrap_or(quirk.is_default(&target));
        let quirks = Quirk::ALL.into_iter().filter(has).collect();
        Ok(Emulator { target, numerics, quirks, cpu, process: Arc::new(Process::new(&target)) })
    }
}

impl Emulator {
    /// What computes a program.
    fn body(&self, name: &str, admitted: &Admitted) -> Result<Body, EngineError> {
        if let Some(doom) = &admitted.doom {
            return Ok(Body::Doomed(doom.clone()));
        }
        let program = &admitted.program;
        match self.numerics {
            Numerics::Modelled => Ok(Body::Modelled(Arc::new(Modelled {
                program: program.clone(),
                options: arithmetic::options(&self.quirks),
                quirks: self.quirks.clone(),
            }))),
            Numerics::Fast => {
                let compiled = self.cpu.compile(program, MAIN, &CompileOptions::default());
                let compiled = compiled.map_err(|e| {
                    let message = format!("the emulator cannot run this program: {e}");
                    EngineError::new(name, Stage::Compile, message)
                })?;
                Ok(Body::Fast(compiled))
            }
        }
    }
}

impl Engine for Emulator {
    fn target(&self) -> &Target {
        &self.target
    }

    fn describe(&self) -> String {
        let how = match self.numerics {
            Numerics::Fast => self.cpu.describe(),
            Numerics::Modelled if self.quirks.is_empty() => "operation by operation".to_owned(),
            Numerics::Modelled => {
                let names: Vec<&str> = self.quirks.iter().map(|quirk| quirk.name()).collect();
                format!("operation by operation, with {}", names.join(", "))
            }
        };
        let Target { chip, os, .. } = self.target;
        format!("emulator of {chip} with macOS {os}: {how}")
    }

    fn surface(&self, bytes: usize) -> Result<Surface, EngineError> {
        Surface::new(bytes).map_err(|e| EngineError::new("surface", Stage::Surface, e.to_string()))
    }

    fn compile(&self, source: &Source) -> Result<Arc<dyn Model>, EngineError> {
        let compilation = self.process.compile(&source.name)?;
        let program = admit::admit(source, &self.target)?;
        let body = self.body(&source.name, &program)?;
        compilation.finish();
        let slot = self.process.load(&source.name)?;
        let rules = SurfaceRules::of(&self.target);
        let Admitted { inputs, outputs, .. } = program;
        Ok(Arc::new(Loaded { name: source.name.clone(), inputs, outputs, body, rules, slot }))
    }

    fn usage(&self) -> Usage {
        self.process.usage()
    }
}
