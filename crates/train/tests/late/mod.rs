//! A device that computes accumulators only when it is told to finish, from what its inputs hold
//! then: whoever reads too early, or writes to inputs too early, gets other numbers.

use mil::Program;
use runtime::{
    Accumulation, Bindings, CompileOptions, Device, Error, Executable, Placement, Port, Request,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use surface::Surface;

pub struct LateDevice {
    inner: Arc<dyn Device>,
    finished: Arc<AtomicUsize>,
}

impl LateDevice {
    pub fn new(inner: Arc<dyn Device>) -> LateDevice {
        LateDevice { inner, finished: Arc::default() }
    }

    /// How often something was late.
    pub fn finished(&self) -> usize {
        self.finished.load(Ordering::Relaxed)
    }
}

impl Device for LateDevice {
    fn name(&self) -> &str {
        "late"
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn compile(
        &self,
        program: &Program,
        function: &str,
        options: &CompileOptions,
    ) -> Result<Arc<dyn Executable>, Error> {
        let inner = self.inner.compile(program, function, options)?;
        let accumulators = options.accumulators.clone();
        Ok(Arc::new(Late { inner, accumulators, finished: Arc::clone(&self.finished) }))
    }
}

struct Late {
    inner: Arc<dyn Executable>,
    accumulators: Vec<String>,
    finished: Arc<AtomicUsize>,
}

impl Executable for Late {
    fn inputs(&self) -> &[Port] {
        self.inner.inputs()
    }

    fn outputs(&self) -> &[Port] {
        self.inner.outputs()
    }

    fn placement(&self) -> Vec<Placement> {
        self.inner.placement()
    }

    fn scratch_bytes(&self) -> usize {
        self.inner.scratch_bytes()
    }

    fn bind(self: Arc<Self>, bindings: Bindings) -> Result<Box<dyn Request>, Error> {
        // One request writes the accumulators, the other all else; the rest goes nowhere.
        let (mut early, mut late) = (bindings.clone(), bindings);
        for port in self.outputs() {
            let nowhere = Surface::new(port.bytes).expect("memory for an output");
            let other = if self.accumulators.contains(&port.name) { &mut early } else { &mut late };
            other.outputs.insert(port.name.clone(), nowhere);
        }
        Ok(Box::new(LateRequest {
            early: Arc::clone(&self.inner).bind(early)?,
            late: Arc::clone(&self.inner).bind(late)?,
            is_late: !self.accumulators.is_empty(),
            pending: None,
            finished: Arc::clone(&self.finished),
        }))
    }
}

struct LateRequest {
    early: Box<dyn Request>,
    late: Box<dyn Request>,
    is_late: bool,
    pending: Option<Accumulation>,
    finished: Arc<AtomicUsize>,
}

impl Request for LateRequest {
    fn stage(&mut self) -> Result<(), Error> {
        self.early.stage()?;
        self.late.stage()
    }

    fn evaluate(&mut self, accumulation: Accumulation) -> Result<(), Error> {
        if self.pending.is_some() {
            let message = "the evaluation before has not finished".to_owned();
            return Err(Error::Evaluate { kernel: "late".to_owned(), message });
        }
        self.early.evaluate(Accumulation::Replace)?;
        if self.is_late {
            self.pending = Some(accumulation);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        if let Some(accumulation) = self.pending.take() {
            self.late.evaluate(accumulation)?;
            self.finished.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
