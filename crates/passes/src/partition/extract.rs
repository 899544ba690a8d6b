//! Making functions of parts of a function.

use super::Place;
use crate::edit;
use mil::{Function, Op, ValueId};
use std::collections::BTreeSet;

/// A function that parts are taken from.
pub(super) struct Extract<'a> {
    whole: &'a Function,
    /// By value: whether it is computed from parameters alone.
    derived: &'a [bool],
    /// By value: the operation that defines it.
    producers: Vec<Option<usize>>,
}

/// What a set of operations reads and gives.
pub(super) struct Ports {
    /// What it reads of inputs and of other operations' results, in order of first use.
    pub activations: Vec<ValueId>,
    /// What it reads that is derived from parameters, in order of first use.
    pub weights: Vec<ValueId>,
    /// What others read of its results, or is an output, in order of definition.
    pub results: Vec<ValueId>,
}

impl<'a> Extract<'a> {
    pub fn new(whole: &'a Function, derived: &'a [bool]) -> Extract<'a> {
        let mut producers = vec![None; whole.values.len()];
        for (index, operation) in whole.body.operations.iter().enumerate() {
            for &id in &operation.outputs {
                producers[id.index()] = Some(index);
            }
        }
        Extract { whole, derived, producers }
    }

    /// The names of values.
    pub fn names(&self, ids: &[ValueId]) -> Vec<String> {
        ids.iter().map(|&id| self.whole.value(id).name.clone()).collect()
    }

    /// The name of an operation's first result.
    pub fn first_result(&self, operation: usize) -> String {
        self.whole.value(self.whole.body.operations[operation].output()).name.clone()
    }

    /// What a set of operations reads and gives.
    pub fn ports(&self, members: &[usize]) -> Ports {
        let own: BTreeSet<usize> = members.iter().copied().collect();
        let (mut activations, mut weights, mut results) = (vec![], vec![], vec![]);
        for &member in members {
            for id in self.whole.body.operations[member].operands() {
                let producer = self.producers[id.index()];
                if producer.is_some_and(|p| own.contains(&p) || self.is_constant(p)) {
                    continue;
                }
                let list = if self.derived[id.index()] { &mut weights } else { &mut activations };
                if !list.contains(&id) {
                    list.push(id);
                }
            }
        }
        for &member in members {
            results.extend(self.whole.body.operations[member].outputs.iter().filter(|&&id| {
                let read = |(index, operation): (usize, &mil::Operation)| {
                    !own.contains(&index) && operation.operands().any(|o| o == id)
                };
                self.whole.body.outputs.contains(&id)
                    || self.whole.body.operations.iter().enumerate().any(read)
            }));
        }
        Ports { activations, weights, results }
    }

    /// A set of operations as a function. In a kernel, what is derived from parameters is an
    /// input; the host derives it itself.
    pub fn function(&self, name: &str, members: &[usize], place: Place) -> Function {
        let ports = self.ports(members);
        let mut inputs = ports.activations;
        let mut operations: BTreeSet<usize> = members.iter().copied().collect();
        match place {
            Place::Kernel => inputs.extend(ports.weights),
            Place::Host => self.derive(&ports.weights, &mut operations, &mut inputs),
        }
        self.build(name, inputs, operations, ports.results)
    }

    /// The function that derives values from parameters.
    pub fn staging(&self, name: &str, values: &[ValueId]) -> Function {
        let (mut inputs, mut operations) = (vec![], BTreeSet::new());
        self.derive(values, &mut operations, &mut inputs);
        self.build(name, inputs, operations, values.to_vec())
    }

    /// Adds the operations that values are derived with, and the parameters that they need.
    fn derive(
        &self,
        values: &[ValueId],
        operations: &mut BTreeSet<usize>,
        inputs: &mut Vec<ValueId>,
    ) {
        let mut pending = values.to_vec();
        while let Some(id) = pending.pop() {
            match self.producers[id.index()] {
                None if !inputs.contains(&id) => inputs.push(id),
                Some(index) if operations.insert(index) => {
                    pending.extend(self.whole.body.operations[index].operands());
                }
                _ => {}
            }
        }
    }

    fn build(
        &self,
        name: &str,
        inputs: Vec<ValueId>,
        mut operations: BTreeSet<usize>,
        outputs: Vec<ValueId>,
    ) -> Function {
        let read: Vec<ValueId> =
            operations.iter().flat_map(|&i| self.whole.body.operations[i].operands()).collect();
        let constants = read.into_iter().filter_map(|id| self.producers[id.index()]);
        operations.extend(constants.filter(|&p| self.is_constant(p)));
        let mut function = self.whole.clone();
        function.name = name.to_owned();
        function.inputs = inputs;
        function.body.operations =
            operations.iter().map(|&i| self.whole.body.operations[i].clone()).collect();
        function.body.outputs = outputs;
        edit::compact(&mut function);
        function
    }

    fn is_constant(&self, operation: usize) -> bool {
        self.whole.body.operations[operation].op == Op::Const
    }
}
