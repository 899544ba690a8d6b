//! A compiled program with its surfaces, and access to them from C.

use crate::error::{Error, Result, Status};
use std::sync::{Mutex, MutexGuard, TryLockError};
use surface::{Reading, Surface, Writing};

/// A kernel with surfaces. One thread at a time uses it; a second one gets an error and does not
/// wait.
pub(crate) struct Request(Mutex<Parts>);

/// What a request is made of.
pub(crate) struct Parts {
    inputs: Vec<Slot>,
    outputs: Vec<Slot>,
    evaluation: Evaluation,
}

/// What evaluates.
pub(crate) enum Evaluation {
    Request(Box<dyn runtime::Request>),
    Engine(Box<dyn ane::Evaluation>),
}

/// The surface of an input or output.
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) surface: Surface,
    /// Bytes that C sees, from the first.
    bytes: usize,
    /// Access that C has begun and not ended.
    access: Option<Access>,
}

/// The guard behind a pointer that C holds. It is kept for what it forbids to others.
enum Access {
    Reading { _guard: Reading },
    Writing { _guard: Writing },
}

/// Which of a request's surfaces are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Input,
    Output,
}

impl Request {
    pub(crate) fn new(inputs: Vec<Slot>, outputs: Vec<Slot>, evaluation: Evaluation) -> Request {
        Request(Mutex::new(Parts { inputs, outputs, evaluation }))
    }

    /// The parts, for this thread alone.
    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, Parts>> {
        match self.0.try_lock() {
            Ok(parts) => Ok(parts),
            // Guards are released and outputs are unspecified after a failure; nothing else is
            // left half done.
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                Err(Error::new(Status::Busy, "another thread is using this request"))
            }
        }
    }
}

impl Parts {
    /// Computes the outputs.
    pub(crate) fn evaluate(&mut self) -> Result<()> {
        let mut slots = self.inputs.iter().chain(&self.outputs);
        if let Some(slot) = slots.find(|slot| slot.access.is_some()) {
            let message = format!("`{}` is mapped; unmap it before evaluating", slot.name);
            return Err(Error::new(Status::Busy, message));
        }
        match &mut self.evaluation {
            Evaluation::Request(request) => {
                request.evaluate(runtime::Accumulation::Replace)?;
                Ok(request.finish()?)
            }
            Evaluation::Engine(evaluation) => Ok(evaluation.evaluate()?),
        }
    }

    /// The input or output with this index.
    pub(crate) fn slot(&mut self, side: Side, index: usize) -> Result<&mut Slot> {
        let (kind, slots) = match side {
            Side::Input => ("input", &mut self.inputs),
            Side::Output => ("output", &mut self.outputs),
        };
        let count = slots.len();
        slots.get_mut(index).ok_or_else(|| {
            let plural = if count == 1 { "" } else { "s" };
            Error::argument(format!("no {kind} {index}; the program has {count} {kind}{plural}"))
        })
    }
}

impl Slot {
    /// A slot of which C sees the first `bytes` bytes.
    pub(crate) fn new(name: &str, surface: Surface, bytes: usize) -> Slot {
        let bytes = bytes.min(surface.len());
        Slot { name: name.to_owned(), surface, bytes, access: None }
    }

    /// Bytes that C sees.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Begins writing and gives the first byte.
    pub(crate) fn map_to_write(&mut self) -> Result<*mut u8> {
        self.check_unmapped()?;
        let mut guard = self.surface.write().map_err(|e| self.named(e))?;
        let address = guard.as_mut_ptr();
        self.access = Some(Access::Writing { _guard: guard });
        Ok(address)
    }

    /// Begins reading and gives the first byte.
    pub(crate) fn map_to_read(&mut self) -> Result<*const u8> {
        self.check_unmapped()?;
        let guard = self.surface.read().map_err(|e| self.named(e))?;
        let address = guard.as_ptr();
        self.access = Some(Access::Reading { _guard: guard });
        Ok(address)
    }

    /// Ends what was begun.
    pub(crate) fn unmap(&mut self) -> Result<()> {
        match self.access.take() {
            Some(_) => Ok(()),
            None => Err(Error::argument(format!("`{}` is not mapped", self.name))),
        }
    }

    /// Copies to the first bytes of the surface.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.check_size("written", bytes.len())?;
        self.check_unmapped()?;
        let mut guard = self.surface.write().map_err(|e| self.named(e))?;
        guard[..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    /// The surface's bytes, of which `bytes` are wanted.
    pub(crate) fn read(&mut self, bytes: usize) -> Result<Reading> {
        self.check_size("read", bytes)?;
        self.check_unmapped()?;
        self.surface.read().map_err(|e| self.named(e))
    }

    pub(crate) fn check_size(&self, verb: &str, bytes: usize) -> Result<()> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let (name, limit) = (&self.name, self.bytes);
        Err(Error::argument(format!("`{name}` has {limit} bytes, {bytes} cannot be {verb}")))
    }

    fn check_unmapped(&self) -> Result<()> {
        match self.access {
            None => Ok(()),
            Some(_) => Err(Error::new(Status::Busy, format!("`{}` is mapped", self.name))),
        }
    }

    fn named(&self, error: surface::Error) -> Error {
        let error = Error::from(error);
        Error { message: format!("`{}`: {}", self.name, error.message), ..error }
    }
}
