//! Operations with nested blocks: the interpreter evaluates the whole of them, blocks and all.

use super::Lower;
use mil::{Block, Function, Literal, Op, Operation, Program, Type, ValueId};
use runtime::Error;
use std::collections::BTreeMap;

impl Lower<'_> {
    /// A program whose one function is the operation: its inputs are what the operation and its
    /// blocks read and is not known here, its outputs the operation's results.
    pub(super) fn alone(&self, operation: &Operation) -> Result<Program, Error> {
        let mut operations = vec![];
        let mut inputs = vec![];
        for id in operation.reads() {
            match &self.known[id.index()] {
                Some(tensor) => operations.push(constant(id, tensor.clone().into())),
                None => inputs.push(id),
            }
        }
        let mut whole = operation.clone();
        for block in &mut whole.blocks {
            self.load(block)?;
        }
        let outputs = whole.outputs.clone();
        operations.push(whole);
        let mut values = self.function.values.clone();
        for (value, ty) in values.iter_mut().zip(&self.types) {
            value.ty = ty.clone();
        }
        let body = Block { operations, outputs, ..Block::default() };
        let function = Function {
            name: self.function.name.clone(),
            opset: self.function.opset,
            inputs,
            body,
            attributes: BTreeMap::new(),
            values,
        };
        Ok(Program::new(vec![function]))
    }

    /// Puts what the block has in weight files into the program.
    fn load(&self, block: &mut Block) -> Result<(), Error> {
        for operation in &mut block.operations {
            *operation = self.with_weights(operation)?;
            for block in &mut operation.blocks {
                self.load(block)?;
            }
        }
        Ok(())
    }

    /// What is known of the results of an operation with blocks that reads nothing but constants.
    pub(super) fn fold_blocks(&mut self, operation: &Operation) -> Result<(), Error> {
        let program = self.alone(operation)?;
        let name = &program.functions[0].name;
        let found = interp::evaluate(&program, name, &BTreeMap::new(), &Default::default());
        let found = found.map_err(|e| self.unsupported(operation, &e.to_string()))?;
        for &id in &operation.outputs {
            let Some(array) = found.outputs.get(&self.function.value(id).name) else {
                return Err(self.unsupported(operation, "its result is not a tensor"));
            };
            self.types[id.index()] = Type::tensor(array.dtype(), array.dims());
            self.known[id.index()] = Some(array.to_tensor());
        }
        Ok(())
    }
}

fn constant(id: ValueId, literal: Literal) -> Operation {
    Operation {
        op: Op::Const,
        inputs: BTreeMap::new(),
        attributes: BTreeMap::from([("val".to_owned(), literal)]),
        outputs: vec![id],
        blocks: vec![],
        span: Default::default(),
    }
}
