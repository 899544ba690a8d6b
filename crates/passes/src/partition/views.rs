//! Gives every reader of a reshape one of its own.
//!
//! A reshape costs nothing where it is read, but a kernel that shared one with the host would have
//! to hand over a value that the host has in another shape already. Copies that end up in one part
//! become one again when the part is simplified.

use crate::edit;
use mil::{Function, Op, Operation, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// The function in which every reshape has one reader, or none and is an output.
pub(super) fn split(function: &Function) -> Function {
    let mut views = Views {
        of: BTreeMap::new(),
        names: function.values.iter().map(|v| v.name.clone()).collect(),
        used: BTreeSet::new(),
        split: function.clone(),
        operations: vec![],
    };
    for operation in &function.body.operations {
        let is_view = operation.op == Op::Reshape && operation.blocks.is_empty();
        if is_view {
            views.of.insert(operation.output(), operation);
        }
        if !is_view || function.body.outputs.contains(&operation.output()) {
            views.used.extend(&operation.outputs);
            let operation = views.with_own_operands(operation);
            views.operations.push(operation);
        }
    }
    let Views { mut split, operations, .. } = views;
    split.body.operations = operations;
    split
}

struct Views<'a> {
    /// Reshapes by what they give.
    of: BTreeMap<ValueId, &'a Operation>,
    names: BTreeSet<String>,
    /// Results that something defines already.
    used: BTreeSet<ValueId>,
    split: Function,
    operations: Vec<Operation>,
}

impl Views<'_> {
    fn with_own_operands(&mut self, operation: &Operation) -> Operation {
        let mut operation = operation.clone();
        let mut own = BTreeMap::new();
        edit::for_each_operand(&mut operation, &mut |id| {
            *id = *own.entry(*id).or_insert_with(|| self.copy(*id));
        });
        operation
    }

    /// A copy of a reshape's result that nobody else reads; any other value itself.
    fn copy(&mut self, id: ValueId) -> ValueId {
        let Some(&view) = self.of.get(&id) else { return id };
        let mut view = self.with_own_operands(view);
        // The first copy is the reshape itself, unless that is an output.
        if !self.used.insert(id) || self.split.body.outputs.contains(&id) {
            let mut value = self.split.value(id).clone();
            let stem = value.name;
            let mut names = (1..).map(|n| format!("{stem}_view_{n}"));
            value.name = names.find(|name| !self.names.contains(name)).expect("names do not end");
            self.names.insert(value.name.clone());
            let new = ValueId(self.split.values.len() as u32);
            self.split.values.push(value);
            view.outputs = vec![new];
        }
        let new = view.output();
        self.operations.push(view);
        new
    }
}
