//! States as ordinary inputs and outputs, for devices that know none.
//!
//! Before:
//! ```text
//! func main<ios18>(tensor<fp16, [2]> x, state<tensor<fp16, [2]>> s) {
//!     tensor<fp16, [2]> old = read_state(input = s);
//!     tensor<fp16, [2]> new = add(x = old, y = x);
//!     write_state(input = s, data = new);
//!     tensor<fp16, [2]> y = read_state(input = s);
//! } -> (y);
//! ```
//! After:
//! ```text
//! func main<ios18>(tensor<fp16, [2]> x, tensor<fp16, [2]> s) {
//!     tensor<fp16, [2]> new = add(x = s, y = x);
//!     tensor<fp16, [2]> s_after = identity(x = new);
//!     tensor<fp16, [2]> y = identity(x = new);
//! } -> (y, s_after);
//! ```
//! Reading is a copy, so a value that was read stays what it was when the state is written later.

use crate::edit;
use mil::{Function, Op, Operation, Tensor, Type, ValueId};
use std::collections::BTreeMap;

/// A state of a function that has become an input and an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Name of the state, and of the input that has its value before.
    pub name: String,
    /// Name of the output that has its value after.
    pub after: String,
}

/// Why states cannot be taken out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Whether it is read or written depends on a value.
    #[error("the state `{0}` is used within a nested block")]
    Nested(String),
    /// It is used as something other than a state.
    #[error("the state `{0}` is used by an operation other than read_state and write_state")]
    Use(String),
}

/// Turns every state into an input and an output; gives them in the order of the inputs.
///
/// # Errors
/// If a state is used within a nested block or by an operation that is not about states; the
/// function is then unchanged.
pub fn lift(function: &mut Function) -> Result<Vec<State>, Error> {
    let was_valid = edit::is_valid(function);
    let is_state = |id: &ValueId| matches!(function.ty(*id), Type::State(_));
    let states: Vec<ValueId> = function.inputs.iter().copied().filter(is_state).collect();
    if states.is_empty() {
        return Ok(vec![]);
    }
    check(function, &states)?;
    // What a state holds at the point that has been reached.
    let mut now: BTreeMap<ValueId, ValueId> = states.iter().map(|&id| (id, id)).collect();
    // What a value that was read is.
    let mut instead: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    let mut operations = vec![];
    for mut operation in std::mem::take(&mut function.body.operations) {
        match operation.op {
            Op::ReadState => {
                let state = operation.value("input").expect("it was checked");
                let result = operation.output();
                instead.insert(result, now[&state]);
                // An output keeps its name.
                if function.body.outputs.contains(&result) {
                    operations.push(identity(function, now[&state], result));
                }
            }
            Op::WriteState => {
                let state = operation.value("input").expect("it was checked");
                let data = operation.value("data");
                let data = data.map(|id| *instead.get(&id).unwrap_or(&id));
                let value = match data {
                    Some(id) => id,
                    // A constant written in place becomes a value first.
                    None => {
                        let ty = now_type(function, state);
                        let name = format!("{}_written", function.value(state).name);
                        let id = edit::add_value(function, &name, ty);
                        operation.op = Op::Identity;
                        let data = operation.inputs.remove("data").expect("it was checked");
                        operation.inputs = BTreeMap::from([("x".to_owned(), data)]);
                        operation.outputs = vec![id];
                        operations.push(operation);
                        id
                    }
                };
                now.insert(state, value);
            }
            _ => {
                edit::for_each_operand(&mut operation, &mut |id| {
                    if let Some(&other) = instead.get(id) {
                        *id = other;
                    }
                });
                operations.push(operation);
            }
        }
    }
    let mut lifted = vec![];
    for &state in &states {
        let ty = now_type(function, state);
        let name = function.value(state).name.clone();
        let after = edit::add_value(function, &format!("{name}_after"), ty);
        operations.push(identity(function, now[&state], after));
        function.body.outputs.push(after);
        lifted.push(State { name, after: function.value(after).name.clone() });
    }
    for &state in &states {
        function.values[state.index()].ty = now_type(function, state);
    }
    function.body.operations = operations;
    edit::compact(function);
    edit::assert_still_valid(was_valid, "states::lift", function);
    Ok(lifted)
}

/// The type of the tensor in a state, before or after the state has become one.
fn now_type(function: &Function, state: ValueId) -> Type {
    match function.ty(state) {
        Type::State(inner) => (**inner).clone(),
        other => other.clone(),
    }
}

fn check(function: &Function, states: &[ValueId]) -> Result<(), Error> {
    let name = |id: ValueId| function.value(id).name.clone();
    for operation in &function.body.operations {
        let about = matches!(operation.op, Op::ReadState | Op::WriteState);
        let state = operation.value("input").filter(|_| about);
        let is_other = |id: &ValueId| states.contains(id) && Some(*id) != state;
        if let Some(id) = operation.operands().find(is_other) {
            return Err(Error::Use(name(id)));
        }
        for block in &operation.blocks {
            let mut nested = None;
            block.visit(&mut |operation| {
                nested = nested.or(operation.operands().find(|id| states.contains(id)));
            });
            if let Some(id) = nested {
                return Err(Error::Nested(name(id)));
            }
        }
    }
    match function.body.outputs.iter().find(|id| states.contains(id)) {
        Some(&id) => Err(Error::Use(name(id))),
        None => Ok(()),
    }
}

fn identity(function: &Function, x: ValueId, result: ValueId) -> Operation {
    let label = Tensor::string(&function.value(result).name);
    Operation {
        op: Op::Identity,
        inputs: BTreeMap::from([("x".to_owned(), x.into())]),
        attributes: BTreeMap::from([("name".to_owned(), label.into())]),
        outputs: vec![result],
        blocks: vec![],
        span: Default::default(),
    }
}
