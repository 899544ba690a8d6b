//! Which operation runs where, and at which level.
//!
//! Levels of the host are even, those of kernels odd. Along every path levels never fall, and they
//! grow by one where the path changes sides; so operations of one level and side can run together.

use super::{Options, When};
use mil::{Function, Op, Operation, ValueId};
use std::collections::BTreeSet;

/// The level of every operation.
pub(super) struct Levels {
    /// By operation; nothing for constants and for what is derived from parameters alone.
    of: Vec<Option<Placed>>,
    /// By value: whether it depends on parameters and constants only, and on a parameter.
    pub derived: Vec<bool>,
    /// The highest level.
    pub last: usize,
}

#[derive(Clone, Debug)]
struct Placed {
    level: usize,
    late: bool,
    /// Why the accelerator does not run it.
    reason: Option<String>,
}

impl Levels {
    pub fn of(function: &Function, options: &Options<'_>) -> Levels {
        let derived = derived(function, options.parameters);
        let late = late(function, options.accumulators);
        let producers = producers(function);
        let operations = &function.body.operations;
        let consumers = consumers(function);
        let mut of: Vec<Option<Placed>> = vec![None; operations.len()];

        // As early as possible.
        for (index, operation) in operations.iter().enumerate() {
            if operation.op == Op::Const || operation.outputs.iter().any(|id| derived[id.index()]) {
                continue;
            }
            let reason = if late[index] {
                Some("its result is accumulated in fp32 and wanted late".to_owned())
            } else {
                (options.accepts)(function, operation).err()
            };
            let before = operation.operands().filter_map(|id| producers[id.index()]);
            let before = before.filter_map(|p| of[p].as_ref());
            let level = before.map(|p| step(p.level, reason.is_none())).max();
            let level = level.unwrap_or(usize::from(reason.is_none()));
            of[index] = Some(Placed { level, late: late[index], reason });
        }

        // As late as the consumers allow, for what is in turn. A kernel's result that only the
        // host reads stays where it is, beside what it is computed from.
        for index in (0..operations.len()).rev() {
            let Some(placed) = of[index].clone() else { continue };
            if placed.late {
                continue;
            }
            let kernel = placed.reason.is_none();
            let readers = operations[index].outputs.iter().flat_map(|id| &consumers[id.index()]);
            let readers: Vec<&Placed> =
                readers.filter_map(|&c| of[c].as_ref()).filter(|p| !p.late).collect();
            let is_output =
                operations[index].outputs.iter().any(|id| function.body.outputs.contains(id));
            let beside = readers.iter().any(|p| p.reason.is_none() == kernel);
            if readers.is_empty() || (kernel || is_output) && !beside {
                continue;
            }
            let latest = readers.iter().map(|p| match p.reason.is_none() == kernel {
                true => p.level,
                false => p.level - 1,
            });
            let level = latest.min().unwrap_or(placed.level);
            of[index] = Some(Placed { level, ..placed });
        }

        // What is late follows what it reads, and then waits for its readers: a view of an input
        // is no part of its own.
        for (index, operation) in operations.iter().enumerate() {
            if !of[index].as_ref().is_some_and(|p| p.late) {
                continue;
            }
            let before = operation.operands().filter_map(|id| producers[id.index()]);
            let before = before.filter_map(|p| of[p].as_ref());
            let level = before.map(|p| step(p.level, false)).max().unwrap_or(0);
            if let Some(placed) = &mut of[index] {
                placed.level = level;
            }
        }
        for (index, operation) in operations.iter().enumerate().rev() {
            let is_output = operation.outputs.iter().any(|id| function.body.outputs.contains(id));
            let readers = operation.outputs.iter().flat_map(|id| &consumers[id.index()]);
            let level = readers.filter_map(|&c| Some(of[c].as_ref()?.level)).min();
            if let (Some(placed), Some(level), false) = (&mut of[index], level, is_output)
                && placed.late
            {
                placed.level = level;
            }
        }
        let last = of.iter().flatten().map(|p| p.level).max().unwrap_or(0);
        Levels { of, derived, last }
    }

    /// The operations of a level, in order.
    pub fn members(&self, level: usize, when: When) -> Vec<usize> {
        let here = |p: &Placed| p.level == level && p.late == (when == When::Late);
        (0..self.of.len()).filter(|&i| self.of[i].as_ref().is_some_and(here)).collect()
    }

    /// Why the host runs an operation.
    pub fn reason(&self, operation: usize) -> Option<&str> {
        self.of[operation].as_ref()?.reason.as_deref()
    }

    /// Whether an operation reads, directly or not, a kernel's result.
    pub fn depends_on_kernel(&self, function: &Function, operation: usize) -> bool {
        let producers = producers(function);
        let mut seen = BTreeSet::new();
        let mut pending = vec![operation];
        while let Some(index) = pending.pop() {
            if !seen.insert(index) {
                continue;
            }
            match &self.of[index] {
                None => {}
                Some(placed) if placed.reason.is_none() => return true,
                Some(_) => {
                    let operands = function.body.operations[index].operands();
                    pending.extend(operands.filter_map(|id| producers[id.index()]));
                }
            }
        }
        false
    }
}

/// The level of a reader on the given side of a value of this level.
fn step(level: usize, kernel: bool) -> usize {
    if (level % 2 == 1) == kernel { level } else { level + 1 }
}

/// By value: whether it is computed from parameters and constants alone, and from a parameter.
/// Outputs are not: they have to be computed in turn.
fn derived(function: &Function, parameters: &[String]) -> Vec<bool> {
    let mut derived = vec![false; function.values.len()];
    let mut constant = vec![false; function.values.len()];
    for &id in &function.inputs {
        derived[id.index()] = parameters.contains(&function.value(id).name);
    }
    for operation in &function.body.operations {
        let is_output = operation.outputs.iter().any(|id| function.body.outputs.contains(id));
        let all = operation.operands().all(|id| derived[id.index()] || constant[id.index()]);
        let any = operation.operands().any(|id| derived[id.index()]);
        for &id in &operation.outputs {
            constant[id.index()] = operation.op == Op::Const;
            derived[id.index()] = all && any && !is_output && operation.blocks.is_empty();
        }
    }
    derived
}

/// By operation: whether only accumulators depend on it.
fn late(function: &Function, accumulators: &[String]) -> Vec<bool> {
    let mut needed = vec![false; function.values.len()];
    for &id in &function.body.outputs {
        needed[id.index()] = !accumulators.contains(&function.value(id).name);
    }
    let mut late = vec![false; function.body.operations.len()];
    for (index, operation) in function.body.operations.iter().enumerate().rev() {
        late[index] = !operation.outputs.iter().any(|id| needed[id.index()]);
        if !late[index] {
            operation.operands().for_each(|id| needed[id.index()] = true);
        }
    }
    late
}

/// By value: the operation that defines it.
fn producers(function: &Function) -> Vec<Option<usize>> {
    let mut producers = vec![None; function.values.len()];
    for (index, operation) in function.body.operations.iter().enumerate() {
        define(&mut producers, operation, index);
    }
    producers
}

fn define(producers: &mut [Option<usize>], operation: &Operation, index: usize) {
    for &id in &operation.outputs {
        producers[id.index()] = Some(index);
    }
}

/// By value: the operations that read it.
fn consumers(function: &Function) -> Vec<Vec<usize>> {
    let mut consumers = vec![vec![]; function.values.len()];
    for (index, operation) in function.body.operations.iter().enumerate() {
        for id in operation.operands() {
            let readers: &mut Vec<usize> = &mut consumers[ValueId::index(id)];
            if readers.last() != Some(&index) {
                readers.push(index);
            }
        }
    }
    consumers
}
