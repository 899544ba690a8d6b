//! What evaluates.

use crate::Error;
use ane::target::Target;
use ane::{Emulator, EmulatorOptions, Engine, Numerics};
use cpu::CpuDevice;
use std::fmt;
use std::sync::Arc;

/// What evaluates a function.
#[derive(Clone)]
#[non_exhaustive]
pub enum Device {
    /// The CPU device, with fused and vectorised kernels. Each session has one of its own; share
    /// one with [`Device::Shared`].
    Cpu {
        /// Threads; `None` is as many as `ANEMONE_THREADS` or the machine says.
        threads: Option<usize>,
    },
    /// The interpreter: slow and plain, it defines what every op means, in 64 bits and rounded once
    /// an op.
    Interpreter,
    /// The Neural Engine in software: it refuses what the engine of this target refuses.
    Emulated {
        /// The chip, system and route, as [`Target::parse`] reads them.
        target: Target,
        /// How it computes.
        numerics: Numerics,
    },
    /// A device that is open.
    Shared(Arc<dyn runtime::Device>),
    /// An engine that is open.
    Engine(Arc<dyn Engine>),
}

impl Default for Device {
    fn default() -> Device {
        Device::Cpu { threads: None }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu { threads } => f.debug_struct("Cpu").field("threads", threads).finish(),
            Device::Interpreter => f.write_str("Interpreter"),
            Device::Emulated { target, numerics } => f
                .debug_struct("Emulated")
                .field("target", target)
                .field("numerics", numerics)
                .finish(),
            Device::Shared(device) => write!(f, "Shared({})", device.describe()),
            Device::Engine(engine) => write!(f, "Engine({})", engine.describe()),
        }
    }
}

/// A device that is ready.
#[derive(Clone)]
pub(crate) enum Opened {
    Interpreter,
    Device(Arc<dyn runtime::Device>),
    Engine(Arc<dyn Engine>),
}

impl Device {
    pub(crate) fn open(&self) -> Result<Opened, Error> {
        Ok(match self {
            Device::Cpu { threads } => Opened::Device(Arc::new(CpuDevice::new(*threads)?)),
            Device::Interpreter => Opened::Interpreter,
            Device::Emulated { target, numerics } => {
                let options =
                    EmulatorOptions { numerics: *numerics, ..EmulatorOptions::new(*target) };
                Opened::Engine(Arc::new(Emulator::new(options)?))
            }
            Device::Shared(device) => Opened::Device(device.clone()),
            Device::Engine(engine) => Opened::Engine(engine.clone()),
        })
    }
}
