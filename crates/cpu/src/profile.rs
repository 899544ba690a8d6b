//! Where the time of evaluations goes, step by step.
//!
//! Counters lie beside every plan from the start, so that nothing is allocated while evaluating;
//! as long as nobody asks for a profile they cost one look at a flag for each step.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The profile of one compiled function.
#[derive(Clone, Debug)]
pub struct KernelProfile {
    /// The function's name.
    pub name: String,
    /// Evaluations as a whole.
    pub evaluations: Span,
    /// Packing of parameters, once per request and update.
    pub staging: Span,
    /// Every step of the plan, in order.
    pub steps: Vec<StepProfile>,
}

/// How often something ran, and how long in all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Span {
    /// Number of runs.
    pub calls: u64,
    /// Seconds of all of them together.
    pub seconds: f64,
}

/// The profile of one step.
#[derive(Clone, Debug)]
pub struct StepProfile {
    /// The kind of step, such as `product` or `rows`.
    pub kind: &'static str,
    /// Its shape, and the kernel that runs it.
    pub what: String,
    /// Runs and their time.
    pub span: Span,
    /// Operations on numbers of one run: two for each multiplication of a matrix product and its
    /// sum, one for each element that an operation of a row program computes.
    pub flops: f64,
    /// Bytes of the operands and results of one run, each counted once.
    pub bytes: f64,
}

/// Counts runs and their time.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    calls: AtomicU64,
    nanos: AtomicU64,
}

impl Clock {
    /// Counts a run that began at `start` and ends now.
    pub fn add(&self, start: Instant) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    /// What was counted since [`Clock::reset`].
    pub fn span(&self) -> Span {
        Span {
            calls: self.calls.load(Ordering::Relaxed),
            seconds: self.nanos.load(Ordering::Relaxed) as f64 / 1e9,
        }
    }

    /// Begins again.
    pub fn reset(&self) {
        self.calls.store(0, Ordering::Relaxed);
        self.nanos.store(0, Ordering::Relaxed);
    }
}
