//! Cuts a function into what an accelerator runs and what the host runs.
//!
//! Before, with `w` a parameter and an accelerator that takes fp16 only:
//! ```text
//! func main(tensor<fp32, [1, 8, 1, 32]> x, tensor<fp32, [1, 1, 4, 8]> w) {
//!     h = square(x = x);                        fp32
//!     h16 = cast(x = h, dtype = "fp16");
//!     w16 = cast(x = w, dtype = "fp16");
//!     p = matmul(x = w16, y = reshape(h16));    fp16
//!     y = cast(x = p, dtype = "fp32");
//! } -> (y);
//! ```
//! After: `main_staging` (w to w16, run when parameters change), `main_host_0` (x to h16),
//! `main_kernel_1` (h16 and w16 to p), `main_host_2` (p to y).
//!
//! What runs where is decided by operation; the parts are then the fewest that keep every path
//! going forward: an operation's *level* grows by one wherever a path changes sides, and all
//! operations of one level are one part. Operations whose results are wanted late move to the
//! level of their consumers, so that what a backward function computes again stands in the kernel
//! that reads it.

mod extract;
mod levels;
mod views;

use crate::{edit, simplify};
use extract::Extract;
use levels::Levels;
use mil::{Function, Op, Operation, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// What the accelerator accepts, and which values are special.
pub struct Options<'a> {
    /// Inputs that change only between evaluations: what kernels read of them is computed by the
    /// staging part.
    pub parameters: &'a [String],
    /// Outputs that may come late. What only they need is [`When::Late`].
    pub accumulators: &'a [String],
    /// Whether the accelerator can run an operation of the function; if not, why.
    pub accepts: &'a dyn Fn(&Function, &Operation) -> Result<(), String>,
    /// Whether a function, given with the names of its weights, can be one kernel; if not, why.
    /// Kernels are then made smaller until they can.
    pub fits: &'a Fits<'a>,
}

/// See [`Options::fits`].
pub type Fits<'a> = dyn Fn(&Function, &[String]) -> Result<(), String> + 'a;

/// A function in parts, in an order in which they can run.
#[derive(Clone, Debug)]
pub struct Partition {
    /// The parts. Values are passed between them by name.
    pub parts: Vec<Part>,
    /// Why the kernels are not one.
    pub cuts: Vec<Cut>,
    /// Operations that the accelerator accepts and that no kernel can hold, by value, with what
    /// does not fit. The host runs them.
    pub too_large: BTreeMap<String, String>,
}

/// A part of a function.
#[derive(Clone, Debug)]
pub struct Part {
    /// Who runs it.
    pub place: Place,
    /// When.
    pub when: When,
    /// Its inputs and outputs have the names and types that they have in the whole.
    pub function: Function,
    /// The inputs that come from the staging part; only kernels have any.
    pub weights: Vec<String>,
}

/// Who runs a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The accelerator.
    Kernel,
    /// The host.
    Host,
}

/// When a part runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// When parameters have changed.
    Staging,
    /// In its turn.
    InTurn,
    /// At any time after the parts before it: only accumulators need it.
    Late,
}

/// A place where kernels had to be separated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The name of the kernel that begins behind the cut.
    pub before: String,
    /// The operations that cannot be in it nor in a kernel before, by the reason; empty for a
    /// kernel that was too large.
    pub operations: Vec<String>,
    /// Why.
    pub reason: String,
}

/// Why a function cannot be cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An output that no operation computes.
    #[error("`{function}`: output `{value}` is an input or a constant")]
    Untouched {
        /// The function.
        function: String,
        /// The output.
        value: String,
    },
}

/// Cuts a function. The function is valid, and its shapes are fixed.
///
/// # Errors
/// If an output is no result.
pub fn partition(function: &Function, options: &Options<'_>) -> Result<Partition, Error> {
    for &id in &function.body.outputs {
        let defined = function.body.operations.iter();
        if !defined.filter(|o| o.op != Op::Const).any(|o| o.outputs.contains(&id)) {
            let value = function.value(id).name.clone();
            return Err(Error::Untouched { function: function.name.clone(), value });
        }
    }
    let was_valid = edit::is_valid(function);
    let function = &views::split(function);
    // Whatever turns out to fit into no kernel goes to the host, and all is cut anew.
    let mut too_large = BTreeMap::new();
    let mut partition = loop {
        match attempt(function, options, &too_large) {
            Ok(partition) => break partition,
            Err(TooLarge { value, reason }) => too_large.insert(value, reason),
        };
    };
    for part in &mut partition.parts {
        simplify::run(&mut part.function);
        edit::assert_still_valid(was_valid, "partition", &part.function);
    }
    Ok(Partition { too_large, ..partition })
}

/// An operation that no kernel can hold.
struct TooLarge {
    value: String,
    reason: String,
}

/// Cuts a function, with the operations that are known to be too large on the host.
fn attempt(
    function: &Function,
    options: &Options<'_>,
    too_large: &BTreeMap<String, String>,
) -> Result<Partition, TooLarge> {
    let accepts = |f: &Function, operation: &Operation| {
        let name = operation.outputs.first().map(|&id| &f.value(id).name);
        match name.and_then(|name| too_large.get(name)) {
            Some(reason) => Err(reason.clone()),
            None => (options.accepts)(f, operation),
        }
    };
    let options = &Options { accepts: &accepts, ..*options };
    let levels = Levels::of(function, options);
    let extract = Extract::new(function, &levels.derived);
    let mut parts = vec![];
    let mut cuts = vec![];
    let mut staged: BTreeSet<ValueId> = BTreeSet::new();
    for level in 0..=levels.last {
        let place = if level % 2 == 1 { Place::Kernel } else { Place::Host };
        for when in [When::InTurn, When::Late] {
            let members = levels.members(level, when);
            if members.is_empty() {
                continue;
            }
            let (pieces, reasons) = match place {
                Place::Host => (vec![members], vec![]),
                Place::Kernel => pieces(&extract, members, options)?,
            };
            for (index, piece) in pieces.iter().enumerate() {
                let number = parts.len();
                let name = match (place, when) {
                    (Place::Kernel, _) => format!("{}_kernel_{number}", function.name),
                    (Place::Host, When::Late) => format!("{}_late_{number}", function.name),
                    (Place::Host, _) => format!("{}_host_{number}", function.name),
                };
                let weights = match place {
                    Place::Kernel => extract.ports(piece).weights,
                    Place::Host => vec![],
                };
                // A parameter that a kernel reads as it is needs no staging part.
                let has_producer = |id: &&ValueId| !function.inputs.contains(id);
                staged.extend(weights.iter().filter(has_producer));
                if place == Place::Kernel && index > 0 {
                    let reason = reasons[index - 1].clone();
                    cuts.push(Cut { before: name.clone(), operations: vec![], reason });
                } else if place == Place::Kernel && level > 1 {
                    cuts.extend(cuts_before(function, &levels, level, &name));
                }
                let weights = extract.names(&weights);
                let function = extract.function(&name, piece, place);
                parts.push(Part { place, when, function, weights });
            }
        }
    }
    if !staged.is_empty() {
        let staged: Vec<ValueId> = staged.into_iter().collect();
        let name = format!("{}_staging", function.name);
        let function = extract.staging(&name, &staged);
        let weights = vec![];
        parts.insert(0, Part { place: Place::Host, when: When::Staging, function, weights });
    }
    Ok(Partition { parts, cuts, too_large: BTreeMap::new() })
}

/// Operations of one kernel, or of several where one does not fit, with the reasons for the cuts.
fn pieces(
    extract: &Extract<'_>,
    members: Vec<usize>,
    options: &Options<'_>,
) -> Result<(Vec<Vec<usize>>, Vec<String>), TooLarge> {
    let fits = |piece: &[usize]| {
        let weights = extract.names(&extract.ports(piece).weights);
        (options.fits)(&extract.function("kernel", piece, Place::Kernel), &weights)
    };
    if fits(&members).is_ok() {
        return Ok((vec![members], vec![]));
    }
    // Operations are in an order in which they can run, so every prefix is a kernel of its own.
    let (mut done, mut reasons): (Vec<Vec<usize>>, Vec<String>) = (vec![], vec![]);
    let mut piece: Vec<usize> = vec![];
    for member in members {
        piece.push(member);
        let Err(reason) = fits(&piece) else { continue };
        piece.pop();
        if let Err(reason) = fits(&[member]) {
            return Err(TooLarge { value: extract.first_result(member), reason });
        }
        done.push(std::mem::replace(&mut piece, vec![member]));
        reasons.push(reason);
    }
    done.push(piece);
    Ok((done, reasons))
}

/// What stands between the kernel of a level and the one before: operations of the host that
/// depend on a kernel and that this kernel depends on, by the reason that keeps them there.
fn cuts_before(function: &Function, levels: &Levels, level: usize, name: &str) -> Vec<Cut> {
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for &index in &levels.members(level - 1, When::InTurn) {
        if let Some(reason) = levels.reason(index)
            && levels.depends_on_kernel(function, index)
        {
            let operation = &function.body.operations[index];
            let value = &function.value(operation.output()).name;
            let text = format!("{value} = {}", operation.op.name());
            reasons.entry(reason).or_default().push(text);
        }
    }
    let cut = |(reason, operations): (&str, Vec<String>)| Cut {
        before: name.to_owned(),
        operations,
        reason: reason.to_owned(),
    };
    reasons.into_iter().map(cut).collect()
}
