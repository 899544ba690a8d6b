//! What one process may use, and what it has used.

use super::verdict::acting;
use crate::engine::{EngineError, Stage, Usage};
use crate::target::Target;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Evaluation failed: surfaces, sizes, or a poisoned process.
pub(super) const INFERENCE_ERROR: u32 = 0x1d;

/// All program slots are taken.
const NO_SLOT: u32 = 0x50004;

/// The budgets of one process.
pub(super) struct Process {
    state: Mutex<State>,
}

struct State {
    usage: Usage,
    /// Why nothing can be evaluated any more.
    poison: Option<String>,
}

/// A compilation that counts unless it is refused.
pub(super) struct Compilation {
    process: Arc<Process>,
    counts: bool,
}

/// A program slot, free again when this is dropped.
pub(super) struct Slot(Arc<Process>);

impl Process {
    pub fn new(target: &Target) -> Process {
        let limits = target.limits();
        let compile_limit =
            limits.max_compiles.filter(|_| acting("compile-budget", target).is_some());
        let load_limit = match acting("loaded-programs", target) {
            Some(_) => limits.max_loaded,
            None => usize::MAX,
        };
        let usage = Usage { compiles: 0, compile_limit, loaded: 0, load_limit };
        Process { state: Mutex::new(State { usage, poison: None }) }
    }

    pub fn usage(&self) -> Usage {
        self.state().usage
    }

    /// Takes one compilation of the budget.
    pub fn compile(self: &Arc<Self>, name: &str) -> Result<Compilation, EngineError> {
        let mut state = self.state();
        let usage = &mut state.usage;
        if let Some(limit) = usage.compile_limit.filter(|&limit| usage.compiles >= limit) {
            let message = format!(
                "this process has compiled {limit} programs, and the route leaks: no more compile \
                 until a new process is started (rule compile-budget)"
            );
            let error = EngineError::new(name, Stage::Compile, message);
            return Err(EngineError { needs_new_process: true, ..error });
        }
        usage.compiles += 1;
        Ok(Compilation { process: self.clone(), counts: false })
    }

    /// Takes one slot of those that loaded programs have.
    pub fn load(self: &Arc<Self>, name: &str) -> Result<Slot, EngineError> {
        let mut state = self.state();
        let usage = &mut state.usage;
        if usage.loaded >= usage.load_limit {
            let limit = usage.load_limit;
            let message = format!(
                "{limit} programs are loaded, and no more can be until one is dropped (rule \
                 loaded-programs)"
            );
            return Err(EngineError::new(name, Stage::Load, message).with_code(NO_SLOT));
        }
        usage.loaded += 1;
        Ok(Slot(self.clone()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Compilation {
    /// The compiler has accepted the program.
    pub fn finish(mut self) {
        self.counts = true;
    }
}

impl Drop for Compilation {
    fn drop(&mut self) {
        if !self.counts {
            self.process.state().usage.compiles -= 1;
        }
    }
}

impl Slot {
    /// Why the process can evaluate nothing any more, if that is so.
    pub fn poisoned(&self) -> Option<String> {
        self.0.state().poison.clone()
    }

    /// Lets every evaluation of the process fail from now on.
    pub fn poison(&self, reason: String) {
        self.0.state().poison.get_or_insert(reason);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.state().usage.loaded -= 1;
    }
}
