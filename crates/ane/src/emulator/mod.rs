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
mod model;
mod ports;
mod process;

use crate::engine::{Engine, EngineError, Model, Source, Stage, Usage};
use crate::target::Target;
use cpu::CpuDevice;
use process::Process;
use runtime::Device;
use std::sync::Arc;
use surface::Surface;

/// An engine in software.
pub struct Emulator {
    target: Target,
    numerics: Numerics,
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
}

/// How an emulator computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numerics {
    /// On the CPU device: fp16 in surfaces and in what is stored between fused operations, sums in
    /// f32. What a training run goes through.
    Fast,
    /// Operation by operation as the language defines them, each result rounded to its type.
    /// Slow; for single kernels.
    Modelled,
}

impl EmulatorOptions {
    /// Fast numerics on all threads.
    pub fn new(target: Target) -> EmulatorOptions {
        EmulatorOptions { target, numerics: Numerics::Fast, threads: None }
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
        let EmulatorOptions { target, numerics, .. } = options;
        Ok(Emulator { target, numerics, cpu, process: Arc::new(Process::new(&target)) })
    }
}

impl Engine for Emulator {
    fn target(&self) -> &Target {
        &self.target
    }

    fn describe(&self) -> String {
        let how = match self.numerics {
            Numerics::Fast => self.cpu.describe(),
            Numerics::Modelled => "operation by operation".to_owned(),
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
        let body = model::Body::new(&source.name, &program, self.numerics, &self.cpu)?;
        compilation.finish();
        let slot = self.process.load(&source.name)?;
        Ok(Arc::new(model::Loaded::new(source.name.clone(), program, body, slot)))
    }

    fn usage(&self) -> Usage {
        self.process.usage()
    }
}
