//! What a program holds: ops, arithmetic, constants. No weight is read.

use crate::Label;
use mil::{Arg, DataType, Function, Literal, Op, Operand, Operation, Program, Tensor};
use std::collections::{BTreeMap, HashSet};

/// How often a function has each op, those of nested blocks included.
pub fn ops(function: &Function) -> BTreeMap<&'static str, usize> {
    let mut ops = BTreeMap::new();
    function.body.visit(&mut |operation| {
        *ops.entry(operation.op.name()).or_default() += 1;
    });
    ops
}

/// The classes that a classifier tells apart, in the order of their probabilities; nothing if the
/// function is no classifier.
pub fn classes(function: &Function) -> Option<Vec<Label>> {
    let operation = function.body.operations.iter().find(|o| o.op == Op::Classify)?;
    let list = match operation.inputs.get("classes")? {
        Arg::One(Operand::Literal(literal)) => Some(literal),
        Arg::One(Operand::Value(id)) => function.literals()[id.index()],
        Arg::Many(_) => None,
    };
    let label = |tensor: &Tensor| match tensor.dtype() {
        DataType::String => tensor.strings().first().cloned().map(Label::Text),
        _ => tensor.to_i64s().first().copied().map(Label::Number),
    };
    let Literal::List { items, .. } = list? else { return None };
    items.iter().map(|item| label(item.as_tensor()?)).collect()
}

/// Constants of a program: all that are in weight files, each once, and those in the program that
/// have ten elements or more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constants {
    /// Elements.
    pub parameters: usize,
    /// Bytes by element type.
    pub bytes: BTreeMap<&'static str, usize>,
}

/// Operations of all matrix products and convolutions of a function, a multiplication with its
/// addition counting as two, if all their shapes are known. The body of a loop counts once.
pub fn flops(function: &Function) -> Option<f64> {
    let (mut total, mut known) = (0.0, true);
    function.body.visit(&mut |operation| match product(function, operation) {
        Some(flops) => total += flops,
        None => known = false,
    });
    known.then_some(total)
}

fn product(function: &Function, operation: &Operation) -> Option<f64> {
    let dims = |operand: &Operand| {
        let ty = match operand {
            Operand::Value(id) => function.ty(*id).clone(),
            Operand::Literal(literal) => literal.ty(),
        };
        ty.as_tensor()?.fixed_dims()
    };
    let argument = |name: &str| dims(operation.inputs.get(name)?.operands().first()?);
    let count = |dims: &[usize]| dims.iter().map(|&d| d as f64).product::<f64>();
    let result = || dims(&Operand::Value(*operation.outputs.first()?));
    let truth = |name: &str| {
        let operand = operation.inputs.get(name).and_then(|arg| arg.operands().first());
        let literal = match operand {
            Some(Operand::Literal(literal)) => Some(literal),
            Some(Operand::Value(id)) => function.literals()[id.index()],
            None => None,
        };
        literal.and_then(Literal::as_tensor).is_some_and(|t| t.bytes() == [1])
    };
    let multiplications = match operation.op {
        Op::Linear => count(&result()?) * *argument("x")?.last()? as f64,
        Op::Matmul => {
            let x = argument("x")?;
            let inner =
                if truth("transpose_x") { x.len().checked_sub(2) } else { x.len().checked_sub(1) };
            count(&result()?) * x.get(inner?).copied().unwrap_or(1) as f64
        }
        Op::Conv => {
            let weight = argument("weight")?;
            count(&result()?) * count(weight.get(1..)?)
        }
        Op::ConvTranspose => {
            let weight = argument("weight")?;
            count(&argument("x")?) * count(weight.get(1..)?)
        }
        Op::ScaledDotProductAttention => {
            let (query, key) = (argument("query")?, argument("key")?);
            let (rows, columns) =
                (query.get(query.len().checked_sub(2)?)?, key.get(key.len().checked_sub(2)?)?);
            let batch = count(&result()?) / (*result()?.last()? as f64 * *rows as f64).max(1.0);
            let widths = *query.last()? + *result()?.last()?;
            batch * *rows as f64 * *columns as f64 * widths as f64
        }
        // Recurrent ones: each step multiplies with every weight.
        _ if operation.inputs.contains_key("weight_hh") => {
            let steps = argument("x")?;
            let names = ["weight_ih", "weight_hh", "weight_ih_back", "weight_hh_back"];
            let weights = names.iter().filter_map(|name| argument(name));
            let weights: f64 = weights.map(|dims| count(&dims)).sum();
            count(steps.get(..2)?) * weights
        }
        _ if operation.op.name() == "einsum" => {
            // nchw,nwhu->nchu
            let values = operation.inputs.get("values")?.operands();
            count(&result()?) * *dims(values.first()?)?.last()? as f64
        }
        _ => 0.0,
    };
    Some(2.0 * multiplications)
}

impl Constants {
    /// Those of all functions.
    pub fn of(program: &Program) -> Constants {
        let mut weights = Constants::default();
        let mut seen = HashSet::new();
        for function in &program.functions {
            function.body.visit(&mut |operation| {
                for literal in operation.literals() {
                    let (dtype, count) = match literal {
                        Literal::Blob(blob) if seen.insert((&blob.path, blob.offset)) => {
                            (blob.dtype, mil::element_count(&blob.dims).unwrap_or(usize::MAX))
                        }
                        Literal::Tensor(tensor) if tensor.count() >= 10 => {
                            (tensor.dtype(), tensor.count())
                        }
                        _ => continue,
                    };
                    weights.parameters = weights.parameters.saturating_add(count);
                    let bytes = weights.bytes.entry(dtype.name()).or_default();
                    let more = dtype.packed_bytes(count).unwrap_or(usize::MAX);
                    *bytes = bytes.saturating_add(more);
                }
            });
        }
        weights
    }
}
