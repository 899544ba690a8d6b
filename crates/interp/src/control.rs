//! Operations that are more than a function of tensors: nested blocks, lists, classes.

use crate::evaluate::{Context, Error, Frame};
use crate::value::{List, Value};
use crate::{Array, lists, value};
use mil::{Arg, Block, Literal, Op, OpError, Operand, Operation, ValueId};

/// Blocks nest no deeper than the verifier allows.
const MAX_DEPTH: usize = 64;

/// Whether the operation is one of these.
pub(crate) fn is_control(op: Op) -> bool {
    use Op::*;
    op.takes_blocks()
        || matches!(
            op,
            MakeList | ListWrite | ListRead | ListGather | ListScatter | ListLength | Classify
        )
}

impl Frame<'_> {
    /// Runs a block's operations; the values that it gives.
    fn nested(&mut self, block: &Block, value: &str) -> Result<Vec<Value>, Error> {
        if self.depth == MAX_DEPTH {
            let message = format!("`{value}`: blocks nest more than {MAX_DEPTH} deep");
            return Err(Error::Invalid(message));
        }
        self.depth += 1;
        let done = block.operations.iter().try_for_each(|operation| self.operation(operation));
        self.depth -= 1;
        done?;
        block.outputs.iter().map(|&id| self.known(id, value)).collect()
    }

    fn known(&self, id: ValueId, reader: &str) -> Result<Value, Error> {
        let missing = || {
            let name = &self.function.value(id).name;
            Error::Invalid(format!("`{reader}`: `{name}` has no value"))
        };
        self.values[id.index()].clone().ok_or_else(missing)
    }

    fn operand(&self, operand: &Operand, reader: &str) -> Result<Value, Error> {
        match operand {
            Operand::Value(id) => self.known(*id, reader),
            Operand::Literal(Literal::Tensor(t)) => Ok(Value::Tensor(Array::from_tensor(t))),
            Operand::Literal(Literal::List { ty, items }) => Value::of_list(ty, items)
                .ok_or_else(|| Error::Invalid(format!("`{reader}`: a list must hold tensors"))),
            Operand::Literal(_) => {
                Err(Error::Invalid(format!("`{reader}`: a constant is not in memory")))
            }
        }
    }

    /// The results of `cond` or `while_loop`; its types have been checked.
    pub(crate) fn branch(
        &mut self,
        operation: &Operation,
        name: &str,
    ) -> Result<Vec<Value>, Error> {
        let [first, second] = &operation.blocks[..] else {
            return Err(Error::Invalid(format!("`{name}`: it takes two nested blocks")));
        };
        let operands = |parameter: &str| -> Result<Vec<Value>, Error> {
            let operands = operation.inputs.get(parameter).map_or(&[][..], Arg::operands);
            operands.iter().map(|operand| self.operand(operand, name)).collect()
        };
        if operation.op == Op::Cond {
            let pred = operands("pred")?;
            let block = if is_true(&pred) { first } else { second };
            return self.nested(block, name);
        }
        let mut variables = operands("loop_vars")?;
        loop {
            self.bind(first, &variables);
            if !is_true(&self.nested(first, name)?) {
                return Ok(variables);
            }
            if self.iterations == self.options.max_iterations {
                let (value, max) = (name.to_owned(), self.options.max_iterations);
                return Err(Error::Iterations { value, max });
            }
            self.iterations += 1;
            self.bind(second, &variables);
            variables = self.nested(second, name)?;
        }
    }

    fn bind(&mut self, block: &Block, variables: &[Value]) {
        for (&id, value) in block.inputs.iter().zip(variables) {
            self.set(id, value.clone());
        }
    }

    /// The results of an operation on a list, or of `classify`; its types have been checked.
    pub(crate) fn listed(
        &self,
        context: &Context,
        types: &[mil::Type],
    ) -> Result<Vec<Value>, OpError> {
        let (p, max) = (&context.params, self.options.max_elements);
        let operation = context.operation;
        let list = |parameter: &str| -> Result<List, OpError> {
            let operand = match operation.inputs.get(parameter) {
                Some(Arg::One(operand)) => self.operand(operand, operation.op.name()),
                _ => return Err(p.error(format!("`{parameter}` must be a list"))),
            };
            match operand {
                Ok(Value::List(list)) => Ok(list),
                Ok(_) => Err(p.error(format!("`{parameter}` must be a list"))),
                Err(error) => Err(p.error(error.to_string())),
            }
        };
        let one = |array| Ok(vec![Value::Tensor(array)]);
        match operation.op {
            Op::MakeList => Ok(vec![Value::List(lists::make(p, &types[0], max)?)]),
            Op::ListWrite => {
                let mut list = list("ls")?;
                lists::write(p, &mut list, p.int("index")?, context.need("value")?, max)?;
                Ok(vec![Value::List(list)])
            }
            Op::ListScatter => {
                let mut list = list("ls")?;
                let (indices, value) = (p.need_ints("indices")?, context.need("value")?);
                lists::scatter(p, &mut list, &indices, &value, max)?;
                Ok(vec![Value::List(list)])
            }
            Op::ListRead => one(lists::read(p, &list("ls")?, p.int("index")?)?),
            Op::ListGather => one(lists::gather(p, &list("ls")?, &p.need_ints("indices")?, max)?),
            Op::ListLength => {
                let length = list("ls")?.items.len() as i64;
                one(Array::ints(mil::DataType::Int32, &[], vec![length]))
            }
            _ => {
                let items = list("classes")?;
                let indices: Vec<i64> = (0..items.items.len() as i64).collect();
                let classes = classes(p, &items, &indices)?;
                let probabilities = context.need("probabilities")?;
                let made = value::classify(&probabilities, &classes);
                let (label, dictionary) = made.ok_or_else(|| {
                    let (classes, count) = (classes.count(), probabilities.count());
                    p.error(format!("there are {classes} classes for {count} probabilities"))
                })?;
                Ok(vec![Value::Tensor(label), Value::Dictionary(dictionary)])
            }
        }
    }
}

/// The classes as one array.
fn classes(p: &mil::Params, list: &List, indices: &[i64]) -> Result<Array, OpError> {
    if list.element.dtype != mil::DataType::String {
        return lists::gather(p, list, indices, usize::MAX);
    }
    let strings = |&i: &i64| Ok(lists::read(p, list, i)?.to_tensor().strings().to_vec());
    let names: Vec<Vec<String>> = indices.iter().map(strings).collect::<Result<_, OpError>>()?;
    let names = names.concat();
    let tensor = mil::Tensor::from_strings(&[names.len()], names);
    Ok(Array::from_tensor(&tensor.map_err(|e| p.error(e.to_string()))?))
}

/// Whether the one value is true.
fn is_true(values: &[Value]) -> bool {
    let first = values.first().and_then(Value::tensor);
    first.is_some_and(|array| array.to_i64s().first().is_some_and(|&v| v != 0))
}
