//! What a plan uses of the limits that a target sets.

use super::StepPlan;
use crate::target::Limits;

/// What is used of a target's limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// One line a limit.
    pub lines: Vec<BudgetLine>,
}

/// What is used of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetLine {
    /// What is counted.
    pub what: &'static str,
    /// How much of it there is.
    pub used: usize,
    /// How much there may be, or must be at least.
    pub limit: Option<usize>,
    /// Whether `limit` is a smallest value.
    pub at_least: bool,
}

impl BudgetLine {
    /// Whether the limit is kept.
    pub fn is_kept(&self) -> bool {
        self.limit.is_none_or(|limit| match self.at_least {
            true => self.used >= limit,
            false => self.used <= limit,
        })
    }
}

impl Budget {
    /// What a plan uses whose kernels serve `requests` requests each, such as one a layer.
    /// `compiles_per_update` is zero where weights are given beside the activations.
    pub fn of(
        plan: &StepPlan,
        limits: &Limits,
        requests: usize,
        compiles_per_update: usize,
    ) -> Budget {
        // Baked weights need a program for every request.
        let programs = plan.kernels.len().max(compiles_per_update);
        let costs = || plan.kernels.iter().map(|k| &k.cost);
        let ports = || costs().flat_map(|c| [c.input_bytes, c.output_bytes]);
        // Smaller ports are given larger surfaces.
        let allocated = |bytes: f64| bytes.max(limits.min_surface_bytes as f64);
        let bytes: f64 = ports().map(allocated).sum::<f64>() * requests as f64;
        let smallest = ports().map(allocated).fold(f64::INFINITY, f64::min);
        let files = costs().map(|c| {
            let constants = c.operations.iter().filter(|o| o.op == "const");
            constants.filter(|o| o.constant_bytes > INLINE_BYTES).count()
        });
        let most = |what, used, limit| BudgetLine { what, used, limit, at_least: false };
        Budget {
            lines: vec![
                most("programs loaded", programs, Some(limits.max_loaded)),
                most("compiles at the start", programs, limits.max_compiles),
                most("compiles an update", compiles_per_update, None),
                most("surfaces", ports().count() * requests, None),
                most("bytes of surfaces", bytes as usize, None),
                BudgetLine {
                    what: "bytes of the smallest surface",
                    used: if smallest.is_finite() { smallest as usize } else { 0 },
                    limit: (programs > 0).then_some(limits.min_surface_bytes),
                    at_least: true,
                },
                most(
                    "weight tensors of a program",
                    files.max().unwrap_or(0),
                    (limits.max_weight_files != usize::MAX).then_some(limits.max_weight_files),
                ),
                most(
                    "columns of a surface",
                    costs().map(|c| c.widest).max().unwrap_or(0),
                    Some(limits.max_width),
                ),
            ],
        }
    }
}

/// Constants up to this size stand in the text of a program and not in a weight file.
const INLINE_BYTES: f64 = 256.0;
