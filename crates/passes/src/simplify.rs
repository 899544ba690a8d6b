//! Removes what a function computes needlessly, without changing any result.
//!
//! Before:
//! ```text
//! tensor<fp32, [4, 3]> a = reshape(x = x, shape = [4, 3]);
//! tensor<fp32, [12]> b = reshape(x = a, shape = [12]);
//! tensor<fp32, [12]> c = mul(x = b, y = 1.0);
//! tensor<fp32, [12]> d = reshape(x = x, shape = [12]);
//! tensor<fp32, [12]> y = add(x = c, y = d);
//! ```
//! After:
//! ```text
//! tensor<fp32, [12]> b = reshape(x = x, shape = [12]);
//! tensor<fp32, [12]> y = add(x = b, y = b);
//! ```
//!
//! - an operation whose results nobody reads goes;
//! - equal operations on equal operands become one, and so do equal constants;
//! - `identity`, a cast to the same type, a view that changes nothing, + 0, − 0, · 1 and / 1 go
//!   (x + 0 turns −0 into 0, which compares equal);
//! - a reshape of a reshape, and a transpose of a transpose, become one;
//! - a + scatter(zeros, i, u) becomes scatter(a, i, u), where nothing else reads the scatter.
//!
//! Names of inputs and outputs stay.

use crate::edit;
use mil::{Arg, DataType, Function, Literal, Op, Operand, Operation, Tensor, Type, ValueId};
use std::collections::HashMap;

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Operations before, constants not counted.
    pub before: usize,
    /// Operations after, constants not counted.
    pub after: usize,
}

/// Simplifies until nothing changes.
pub fn run(function: &mut Function) -> Stats {
    let count = |function: &Function| {
        function.body.operations.iter().filter(|operation| operation.op != Op::Const).count()
    };
    let was_valid = edit::is_valid(function);
    let before = count(function);
    // Nested blocks see values of the body, and nothing here looks into them.
    if function.body.operations.iter().all(|operation| operation.blocks.is_empty()) {
        while sweep(function) {}
        drop_dead(function);
        edit::compact(function);
    }
    edit::assert_still_valid(was_valid, "simplify", function);
    Stats { before, after: count(function) }
}

/// One pass from the first operation to the last; whether anything changed.
fn sweep(function: &mut Function) -> bool {
    let mut changed = drop_dead(function);
    let mut facts = Facts::of(function);
    let mut operations = std::mem::take(&mut function.body.operations);
    // What each value is replaced by.
    let mut instead: Vec<ValueId> = (0..function.values.len() as u32).map(ValueId).collect();
    for i in 0..operations.len() {
        let operation = &mut operations[i];
        for arg in operation.inputs.values_mut() {
            replace(arg, &instead);
        }
        changed |= merge_view(&mut operations, i, &facts, function);
        changed |= merge_scatter(&mut operations, i, &facts, function);
        let operation = &operations[i];
        let twin = match unchanged(operation, &facts, function) {
            Some(x) => Some(vec![x]),
            None => facts.twin(operation),
        };
        // An output keeps its own operation, and so its name.
        let is_output = operation.outputs.iter().any(|id| facts.is_output[id.index()]);
        if let Some(twin) = twin
            && !is_output
        {
            for (id, &other) in operation.outputs.iter().zip(&twin) {
                instead[id.index()] = other;
            }
            changed = true;
        }
        facts.define(i, &operations[i]);
    }
    function.body.operations = operations;
    // Replaced operations read nothing that matters now, and nobody reads them.
    changed && {
        drop_dead(function);
        true
    }
}

fn replace(arg: &mut Arg, instead: &[ValueId]) {
    for operand in arg.operands_mut() {
        if let Operand::Value(id) = operand {
            *id = instead[id.index()];
        }
    }
}

/// What is known of the operations so far.
struct Facts {
    /// By value: the operation that defines it.
    producer: Vec<Option<usize>>,
    /// By value: the constant it is.
    literal: Vec<Option<Literal>>,
    /// By value: how many operands and outputs are it.
    uses: Vec<usize>,
    is_output: Vec<bool>,
    /// By what they do: the results of earlier operations.
    known: HashMap<Key, Vec<ValueId>>,
}

/// What an operation does, apart from the names.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Constant(DataType, Vec<usize>, Vec<u8>),
    Text(String),
}

impl Facts {
    fn of(function: &Function) -> Facts {
        let count = function.values.len();
        let mut facts = Facts {
            producer: vec![None; count],
            literal: vec![None; count],
            uses: vec![0; count],
            is_output: vec![false; count],
            known: HashMap::new(),
        };
        for id in function.body.operations.iter().flat_map(Operation::operands) {
            facts.uses[id.index()] += 1;
        }
        for id in &function.body.outputs {
            facts.uses[id.index()] += 1;
            facts.is_output[id.index()] = true;
        }
        facts
    }

    fn define(&mut self, i: usize, operation: &Operation) {
        for id in &operation.outputs {
            self.producer[id.index()] = Some(i);
        }
        if let (Op::Const, Some(id)) = (operation.op, operation.outputs.first()) {
            self.literal[id.index()] = operation.attributes.get("val").cloned();
        }
        if let Some(key) = key(operation) {
            self.known.entry(key).or_insert_with(|| operation.outputs.clone());
        }
    }

    fn twin(&self, operation: &Operation) -> Option<Vec<ValueId>> {
        self.known.get(&key(operation)?).cloned()
    }

    /// The tensor that an argument is known to be.
    fn tensor<'a>(&'a self, operation: &'a Operation, name: &str) -> Option<&'a Tensor> {
        let literal = match operation.inputs.get(name) {
            Some(Arg::One(Operand::Value(id))) => self.literal[id.index()].as_ref(),
            Some(Arg::One(Operand::Literal(literal))) => Some(literal),
            Some(Arg::Many(_)) => None,
            None => operation.attributes.get(name).filter(|_| name != "name"),
        };
        literal.and_then(Literal::as_tensor)
    }

    /// Whether every element of an argument is known to be this.
    fn all(&self, operation: &Operation, name: &str, value: f64) -> bool {
        self.tensor(operation, name).is_some_and(|tensor| is_all(tensor, value))
    }
}

fn is_all(tensor: &Tensor, value: f64) -> bool {
    // The constants this is for are small; large ones are weights.
    tensor.dtype() != DataType::String
        && (1..=4096).contains(&tensor.count())
        && tensor.to_f64s().iter().all(|&element| element == value)
}

/// `None` for operations that must not be merged.
fn key(operation: &Operation) -> Option<Key> {
    match operation.op {
        Op::ReadState | Op::WriteState => None,
        // Two draws are not one.
        op if op.is_random() => None,
        Op::Const => match operation.attributes.get("val")? {
            Literal::Tensor(t) if t.dtype() != DataType::String => {
                Some(Key::Constant(t.dtype(), t.dims().to_vec(), t.bytes().to_vec()))
            }
            literal => Some(Key::Text(format!("const {literal:?}"))),
        },
        op => {
            let attributes: Vec<_> =
                operation.attributes.iter().filter(|a| a.0 != "name").collect();
            Some(Key::Text(format!("{} {:?} {attributes:?}", op.name(), operation.inputs)))
        }
    }
}

/// The value that an operation with one result gives back unchanged.
fn unchanged(operation: &Operation, facts: &Facts, function: &Function) -> Option<ValueId> {
    let [result] = operation.outputs[..] else { return None };
    let same =
        |name: &str| operation.value(name).filter(|&id| function.ty(id) == function.ty(result));
    match operation.op {
        Op::Identity | Op::Cast | Op::Reshape | Op::ExpandDims | Op::Squeeze => same("x"),
        Op::SliceByIndex | Op::SliceBySize => {
            let plain = facts.tensor(operation, "stride").is_none_or(|t| is_all(t, 1.0));
            let known = operation.op == Op::SliceBySize || !operation.inputs.contains_key("stride");
            // A slice of the tensor's own size is the tensor, unless it goes backwards.
            same("x")
                .filter(|_| plain && (known || facts.tensor(operation, "stride").is_some()))
                .filter(|&id| is_fixed(function, id))
        }
        Op::Tile | Op::Pad => same("x").filter(|&id| is_fixed(function, id)),
        Op::Transpose => same("x").filter(|_| {
            let perm = facts.tensor(operation, "perm").map(Tensor::to_i64s);
            perm.is_some_and(|perm| perm.iter().enumerate().all(|(i, &axis)| axis == i as i64))
        }),
        Op::Add => match (facts.all(operation, "x", 0.0), facts.all(operation, "y", 0.0)) {
            (_, true) => same("x"),
            (true, _) => same("y"),
            _ => None,
        },
        Op::Sub => same("x").filter(|_| facts.all(operation, "y", 0.0)),
        Op::Mul => match (facts.all(operation, "x", 1.0), facts.all(operation, "y", 1.0)) {
            (_, true) => same("x"),
            (true, _) => same("y"),
            _ => None,
        },
        Op::RealDiv => same("x").filter(|_| facts.all(operation, "y", 1.0)),
        _ => None,
    }
}

/// Equal types mean equal shapes only where no dimension is unknown.
fn is_fixed(function: &Function, id: ValueId) -> bool {
    matches!(function.ty(id), Type::Tensor(t) if t.fixed_dims().is_some())
}

/// reshape(reshape(x)) = reshape(x); transpose(transpose(x)) = transpose(x).
fn merge_view(operations: &mut [Operation], i: usize, facts: &Facts, function: &Function) -> bool {
    let operation = &operations[i];
    let Some(middle) = operation.value("x") else { return false };
    let Some(inner) = facts.producer[middle.index()].map(|at| &operations[at]) else {
        return false;
    };
    let Some(x) = inner.value("x") else { return false };
    match (operation.op, inner.op) {
        (Op::Reshape, Op::Reshape | Op::ExpandDims | Op::Squeeze) => {
            // A 0 would copy a dimension of what it reads.
            let shape = facts.tensor(operation, "shape").map(Tensor::to_i64s);
            if shape.is_none_or(|shape| shape.contains(&0)) || !is_fixed(function, x) {
                return false;
            }
            operations[i].inputs.insert("x".into(), x.into());
            true
        }
        (Op::Transpose, Op::Transpose) => {
            let perm = |operation: &Operation| {
                let perm = facts.tensor(operation, "perm")?.to_i64s();
                let rank = perm.len() as i64;
                Some(perm.into_iter().map(|p| if p < 0 { p + rank } else { p }).collect::<Vec<_>>())
            };
            let (Some(outer), Some(first)) = (perm(operation), perm(inner)) else { return false };
            let perm: Vec<i64> = outer.iter().map(|&axis| first[axis as usize]).collect();
            let perm = Literal::from(Tensor::int32s(&perm));
            operations[i].inputs.insert("perm".into(), perm.into());
            operations[i].inputs.insert("x".into(), x.into());
            true
        }
        _ => false,
    }
}

/// a + scatter(zeros, i, u) = scatter(a, i, u).
fn merge_scatter(
    operations: &mut [Operation],
    i: usize,
    facts: &Facts,
    function: &Function,
) -> bool {
    if operations[i].op != Op::Add {
        return false;
    }
    for (operand, other) in [("x", "y"), ("y", "x")] {
        let operation = &operations[i];
        let (Some(scattered), Some(a)) = (operation.value(operand), operation.value(other)) else {
            continue;
        };
        let Some(at) = facts.producer[scattered.index()] else { continue };
        let scatter = &operations[at];
        let adds = matches!(scatter.op, Op::Scatter | Op::ScatterAlongAxis)
            && match (scatter.inputs.contains_key("mode"), facts.tensor(scatter, "mode")) {
                (true, Some(mode)) => mode.strings() == ["add"],
                (true, None) => false,
                (false, _) => !scatter.attributes.contains_key("mode"),
            };
        let into_zeros = adds && is_zeros(scatter, "data", operations, facts);
        let same_shape = function.ty(a) == function.ty(operation.output())
            && function.ty(a) == function.ty(scattered)
            && is_fixed(function, a);
        if into_zeros && same_shape && facts.uses[scattered.index()] == 1 {
            let mut inputs = scatter.inputs.clone();
            inputs.insert("data".into(), a.into());
            operations[i].op = operations[at].op;
            operations[i].inputs = inputs;
            return true;
        }
    }
    false
}

/// Whether the argument is a constant of zeros, or one repeated.
fn is_zeros(operation: &Operation, name: &str, operations: &[Operation], facts: &Facts) -> bool {
    if facts.all(operation, name, 0.0) {
        return true;
    }
    let producer = operation.value(name).and_then(|id| facts.producer[id.index()]);
    producer.is_some_and(|at| operations[at].op == Op::Tile && facts.all(&operations[at], "x", 0.0))
}

/// Drops operations whose results nobody reads; whether there were any.
fn drop_dead(function: &mut Function) -> bool {
    let mut live = vec![false; function.values.len()];
    for id in &function.body.outputs {
        live[id.index()] = true;
    }
    let mut kept = vec![];
    let operations = std::mem::take(&mut function.body.operations);
    let before = operations.len();
    for operation in operations.into_iter().rev() {
        let acts = operation.op == Op::WriteState;
        if acts || operation.outputs.iter().any(|id| live[id.index()]) {
            for id in operation.operands() {
                live[id.index()] = true;
            }
            kept.push(operation);
        }
    }
    kept.reverse();
    function.body.operations = kept;
    function.body.operations.len() != before
}
