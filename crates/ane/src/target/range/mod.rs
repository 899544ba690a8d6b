//! Which values meet the cliffs of fp16.
//!
//! Every value gets an interval that holds whatever the inputs are, or where they are in the
//! ranges given. A bound that is not known is infinite, and nothing is said of it: without ranges
//! only what constants, `softmax`, `sigmoid`, `tanh`, `clip` and the like bound is judged.

mod interval;
mod transfer;

pub use interval::Interval;

use super::check::Hit;
use super::check::context::{Context, called, grouped};
use super::rule;
use half::f16;
use mil::{DataType, Op, Operation, ValueId};
use std::collections::BTreeMap;
use transfer::{Known, Sum};

/// Intervals of inputs by name.
pub type Ranges = BTreeMap<String, Interval>;

/// The rules that this analysis judges.
#[cfg(test)]
pub(super) const CLIFFS: [&str; 6] = [
    "fp16-overflow",
    "partial-sum",
    "exp-overflow",
    "slice-saturation",
    "subnormal-products",
    "root-of-negative",
];

/// Cases in which values can meet a cliff, each with its rule; rules of other targets included.
pub(super) fn cliffs(c: &Context<'_>, ranges: &Ranges) -> Vec<(&'static str, Hit)> {
    let mut known = Known { c, intervals: vec![Interval::ALL; c.function.values.len()] };
    for at in 0..known.intervals.len() {
        if let Some(literal) = c.literal(ValueId(at as u32)) {
            known.intervals[at] = transfer::of_literal(literal);
        }
    }
    for &id in &c.function.inputs {
        if let Some(&range) = ranges.get(c.name(id)) {
            known.intervals[id.index()] = range;
        }
    }
    let mut hits = vec![];
    for &operation in &c.operations {
        let mut hit = |rule: &'static str, message: String| {
            let message = format!("{} {message}", called(c, operation));
            hits.push((rule, Hit::at(operation, message)));
        };
        let result = judge(&known, operation, &mut hit);
        for id in &operation.outputs {
            known.intervals[id.index()] = result;
        }
    }
    hits
}

/// Reports what an operation can meet, and gives the interval of its results.
fn judge<'a>(
    known: &Known<'_, 'a>,
    operation: &'a Operation,
    hit: &mut impl FnMut(&'static str, String),
) -> Interval {
    let limit = |id: &str| rule(id).and_then(|rule| rule.limit).unwrap_or(f64::INFINITY);
    let x = known.argument(operation, "x");
    if let Some(Sum { terms, term }) = known.sum(operation) {
        let (most, least) = (limit("partial-sum"), limit("subnormal-products"));
        let sum = terms * term.magnitude();
        if sum.is_finite() && sum >= most {
            let (terms, each) = (number(terms), number(term.magnitude()));
            let sum = number(sum);
            hit(
                "partial-sum",
                format!("sums {terms} terms of up to {each}, which can reach {sum}"),
            );
        }
        let multiplies = !matches!(operation.op, Op::ReduceSum | Op::ReduceMean | Op::Cumsum);
        let magnitude = term.magnitude();
        if multiplies && magnitude > 0.0 && magnitude < least {
            let each = number(magnitude);
            hit("subnormal-products", format!("sums products that are all below {each}"));
        }
    }
    let most = limit("exp-overflow");
    if operation.op == Op::Exp && x.hi.is_finite() && x.hi > most {
        let (hi, most) = (number(x.hi), number(most));
        hit("exp-overflow", format!("has an argument of up to {hi}, more than {most}"));
    }
    let (most, magnitude) = (limit("slice-saturation"), x.magnitude());
    if magnitude.is_finite() && magnitude > most && begins_within(known.c, operation) {
        let (found, most) = (number(magnitude), number(most));
        hit(
            "slice-saturation",
            format!(
                "cuts magnitudes of up to {found}, more than {most}, out of the innermost axis"
            ),
        );
    }
    let below = match operation.op {
        Op::Sqrt => x.lo < 0.0,
        Op::Log | Op::Rsqrt => known.with_epsilon(operation).lo <= 0.0,
        _ => false,
    };
    if below && x.lo.is_finite() {
        hit("root-of-negative", format!("has an argument down to {}", number(x.lo)));
    }
    let result = known.result(operation);
    let fp16 = |id: &ValueId| known.c.tensor(*id).is_some_and(|ty| ty.dtype == DataType::Fp16);
    if !operation.outputs.iter().any(fp16) {
        return result;
    }
    let infinite = |v: f64| v.is_finite() && f16::from_f64(v).is_infinite();
    if (infinite(result.lo) || infinite(result.hi)) && operation.op != Op::Exp {
        let worst = if infinite(result.hi) { result.hi } else { result.lo };
        hit("fp16-overflow", format!("can be {}", number(worst)));
    }
    // What overflowed once is told once: beyond it nothing is known.
    Interval {
        lo: if infinite(result.lo) { f64::NEG_INFINITY } else { result.lo },
        hi: if infinite(result.hi) { f64::INFINITY } else { result.hi },
    }
}

/// Whether an operation gives a part of the innermost axis that does not begin at 0.
fn begins_within<'a>(c: &Context<'a>, operation: &'a Operation) -> bool {
    let Some(dims) = c.argument_dims(operation, "x") else { return false };
    let params = c.params(operation);
    match operation.op {
        Op::SliceByIndex | Op::SliceBySize => {
            let axes = mil::shape::resolve_slice(&params, &dims).unwrap_or_default();
            axes.last().is_some_and(|axis| axis.begin != 0)
        }
        Op::Split => {
            let axis = params.axis("axis", dims.len());
            axis.is_ok_and(|axis| axis + 1 == dims.len()) && operation.outputs.len() > 1
        }
        _ => false,
    }
}

/// A number for reading.
fn number(v: f64) -> String {
    let magnitude = v.abs();
    if (1000.0..1e15).contains(&magnitude) {
        let sign = if v < 0.0 { "-" } else { "" };
        return format!("{sign}{}", grouped(magnitude.round() as usize));
    }
    if magnitude >= 1e15 || (magnitude < 0.01 && magnitude > 0.0) {
        return format!("{v:.1e}");
    }
    let text = format!("{v:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
