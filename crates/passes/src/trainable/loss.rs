//! Gives a function a loss.
//!
//! Before, for cross-entropy:
//! ```text
//! func main<ios16>(tensor<fp32, [1, 3]> x) {
//!     tensor<fp32, [1, 4]> logits = linear(…);
//!     tensor<fp32, [1, 4]> p = softmax(x = logits, axis = -1);
//! } -> (p);
//! ```
//! After:
//! ```text
//! func main<ios16>(tensor<fp32, [1, 3]> x, tensor<fp32, [1, 4]> target, tensor<fp32, [1]> share) {
//!     tensor<fp32, [1, 4]> logits = linear(…);
//!     tensor<fp32, [1]> all = reduce_log_sum_exp(x = logits, axes = [1]);
//!     tensor<fp32, [1, 4]> hits = mul(x = logits, y = target);
//!     tensor<fp32, [1]> hit = reduce_sum(x = hits, axes = [1]);
//!     tensor<fp32, [1]> row = sub(x = all, y = hit);
//!     tensor<fp32, [1]> part = mul(x = row, y = share);
//!     fp32 loss = reduce_sum(x = part, axes = [0]);
//! } -> (loss, logits);
//! ```
//! The loss is over the logits, which a softmax and a label at the end are taken away for: then it
//! is exact where a probability would be rounded to 0 or 1.

use crate::edit;
use mil::{
    Arg, DataType, Function, FunctionEnv, Literal, Op, OpError, Operand, Operation, Tensor, Type,
    Value, ValueId,
};
use std::collections::BTreeMap;

/// What is made small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// −Σ target·log softmax(logits) over the classes, the mean of all rows; in nats.
    CrossEntropy,
    /// The mean of the squares of what prediction and target differ by.
    MeanSquares,
}

/// What a loss is computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// The value: logits, or what is compared with the target.
    pub value: String,
    /// Its rows: what is classified, or examples.
    pub rows: usize,
    /// Elements of a row: classes, or numbers.
    pub width: usize,
    /// Whether a softmax was taken away.
    pub before_softmax: bool,
}

/// The names of what [`attach`] adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Input `[rows, width]` of fp32: numbers, or the classes' probabilities.
    pub target: String,
    /// Input `[rows]` of fp32: what each row's loss is multiplied by, one over the number of rows
    /// for a mean.
    pub share: String,
    /// Output: the loss, a scalar of fp32.
    pub loss: String,
    /// Output `[rows, width]` of fp32: what it is computed from.
    pub prediction: String,
}

/// Why a function can be given no loss.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No value is called so.
    #[error("function `{function}` has no value `{name}`; its outputs are {known}")]
    NoValue {
        /// The function.
        function: String,
        /// The name.
        name: String,
        /// The names of the outputs.
        known: String,
    },
    /// Several outputs could be meant.
    #[error("function `{function}` has several outputs of floats: {known}; choose one")]
    Several {
        /// The function.
        function: String,
        /// Their names.
        known: String,
    },
    /// No output could be meant.
    #[error("function `{function}` has no output of floats")]
    None {
        /// The function.
        function: String,
    },
    /// The value is not what the loss needs.
    #[error("`{name}` is {ty}; {expected}")]
    Shape {
        /// The value.
        name: String,
        /// Its type.
        ty: Type,
        /// What was expected.
        expected: &'static str,
    },
    /// An operation cannot be trained through.
    #[error("`{value}`: programs with {what} cannot be trained")]
    Unsupported {
        /// The value at which it is.
        value: String,
        /// What it is.
        what: &'static str,
    },
    /// An operation cannot be written.
    #[error(transparent)]
    Op(#[from] OpError),
}

/// Makes what a loss is computed from the function's only output, without what only others need.
/// `output` is a value's name; without it the probabilities of a classifier are meant, or the only
/// output of floats. Examples are along the first axis.
///
/// # Errors
/// If it is not clear which value is meant, it has no such shape, or the way to it goes through
/// states or nested blocks.
pub fn cut(function: &mut Function, output: Option<&str>, loss: Loss) -> Result<Prediction, Error> {
    let end = end(function, output)?;
    let (value, axis) = match loss {
        Loss::MeanSquares => (end, None),
        Loss::CrossEntropy => match softmax(function, end) {
            Some((logits, axis)) => (logits, Some(axis)),
            None => (end, None),
        },
    };
    let Value { name, ty } = function.value(value).clone();
    let shape = |expected| Error::Shape { name: name.clone(), ty: ty.clone(), expected };
    let tensor = ty.as_tensor().filter(|t| t.dtype.is_float());
    let tensor = tensor.ok_or_else(|| shape("a loss is computed from floats"))?;
    let dims = tensor.fixed_dims();
    let dims = dims.ok_or_else(|| shape("a loss needs a shape without unknown dimensions"))?;
    let count = mil::element_count(&dims).filter(|&count| count > 0);
    let count = count.ok_or_else(|| shape("a loss needs elements"))?;
    let width = match loss {
        Loss::MeanSquares if dims.len() < 2 => count,
        Loss::MeanSquares => count / dims[0],
        Loss::CrossEntropy => {
            // Axes of size 1 behind the classes change no order.
            let last = dims.iter().rposition(|&size| size != 1).unwrap_or(0);
            let last = axis.unwrap_or(last);
            if dims.iter().skip(last + 1).any(|&size| size != 1) || dims.is_empty() {
                return Err(shape("cross-entropy needs the classes along the last axis"));
            }
            dims[last]
        }
    };
    if loss == Loss::CrossEntropy && width < 2 {
        return Err(shape("cross-entropy needs more than one class"));
    }
    function.body.outputs = vec![value];
    prune(function);
    refuse(function)?;
    let before_softmax = axis.is_some();
    Ok(Prediction { value: name, rows: count / width, width, before_softmax })
}

/// The value that the user means.
fn end(function: &Function, output: Option<&str>) -> Result<ValueId, Error> {
    let names = |ids: &[ValueId]| {
        let names: Vec<&str> = ids.iter().map(|&id| function.value(id).name.as_str()).collect();
        names.join(", ")
    };
    let owner = || function.name.clone();
    let probabilities = |operation: &Operation| operation.value("probabilities");
    let outputs = &function.body.outputs;
    if let Some(name) = output {
        let found = outputs.iter().chain(&function.inputs).copied();
        let found = found.chain(function.body.operations.iter().flat_map(|o| o.outputs.clone()));
        let found = found.into_iter().find(|&id| function.value(id).name == name);
        let found = found.ok_or_else(|| Error::NoValue {
            function: owner(),
            name: name.to_owned(),
            known: names(outputs),
        })?;
        // A label, or a dictionary: what it is made of.
        let producer = function.body.operations.iter().find(|o| o.outputs.contains(&found));
        return Ok(producer.and_then(probabilities).unwrap_or(found));
    }
    let classify = |operation: &&Operation| {
        operation.op == Op::Classify && operation.outputs.iter().any(|id| outputs.contains(id))
    };
    if let Some(operation) = function.body.operations.iter().find(classify)
        && let Some(id) = probabilities(operation)
    {
        return Ok(id);
    }
    let is_float = |id: &ValueId| function.ty(*id).as_tensor().is_some_and(|t| t.dtype.is_float());
    let floats: Vec<ValueId> = outputs.iter().copied().filter(is_float).collect();
    match floats[..] {
        [only] => Ok(only),
        [] => Err(Error::None { function: owner() }),
        _ => Err(Error::Several { function: owner(), known: names(&floats) }),
    }
}

/// What the softmax at the end of a function is of, and its axis, if there is one with nothing
/// behind it but casts, changes of shape and a logarithm.
fn softmax(function: &Function, end: ValueId) -> Option<(ValueId, usize)> {
    let env = FunctionEnv::new(function);
    let mut at = end;
    loop {
        let operation = function.body.operations.iter().find(|o| o.outputs.contains(&at))?;
        let x = operation.value("x")?;
        match operation.op {
            Op::Softmax => {
                let rank = function.ty(x).as_tensor()?.rank()?;
                let axis = mil::Params::new(operation, &env).axis("axis", rank).ok()?;
                return Some((x, axis));
            }
            Op::Identity
            | Op::Cast
            | Op::Log
            | Op::Reshape
            | Op::Squeeze
            | Op::ExpandDims
            | Op::Flatten2d => at = x,
            _ => return None,
        }
    }
}

/// Replaces a classifier's label and dictionary, which have no gradient, by the probabilities that
/// they are made of. Other outputs stay.
pub fn unlabel(function: &mut Function) {
    let mut outputs: Vec<ValueId> = vec![];
    for &id in &function.body.outputs {
        let mut producers = function.body.operations.iter();
        let producer = producers.find(|o| o.op == Op::Classify && o.outputs.contains(&id));
        let id = producer.and_then(|operation| operation.value("probabilities")).unwrap_or(id);
        if !outputs.contains(&id) {
            outputs.push(id);
        }
    }
    if outputs != function.body.outputs {
        function.body.outputs = outputs;
        prune(function);
    }
}

/// Drops operations that no output needs and that write no state.
fn prune(function: &mut Function) {
    let mut live = vec![false; function.values.len()];
    function.body.outputs.iter().for_each(|id| live[id.index()] = true);
    let mut kept = vec![];
    for operation in std::mem::take(&mut function.body.operations).into_iter().rev() {
        if writes(&operation) || operation.outputs.iter().any(|id| live[id.index()]) {
            operation.reads().iter().for_each(|id| live[id.index()] = true);
            kept.push(operation);
        }
    }
    kept.reverse();
    function.body.operations = kept;
    edit::compact(function);
}

/// Whether it, or an operation of its blocks, writes a state.
fn writes(operation: &Operation) -> bool {
    let mut nested = operation.blocks.iter().flat_map(|block| &block.operations);
    operation.op == Op::WriteState || nested.any(writes)
}

fn refuse(function: &Function) -> Result<(), Error> {
    let error = |id: Option<&ValueId>, what| {
        let value = id.map_or(&function.name, |&id| &function.value(id).name).clone();
        Err(Error::Unsupported { value, what })
    };
    for id in &function.inputs {
        if let Type::State(_) = function.ty(*id) {
            return error(Some(id), "states");
        }
    }
    match function.body.operations.iter().find(|o| !o.blocks.is_empty()) {
        Some(operation) => error(operation.outputs.first(), "loops or conditions"),
        None => Ok(()),
    }
}

/// Adds a loss to a function whose only output is the prediction. Its outputs are the loss and the
/// prediction then.
///
/// # Errors
/// If an operation cannot be written.
pub fn attach(
    function: &mut Function,
    prediction: &Prediction,
    loss: Loss,
) -> Result<Ports, Error> {
    let was_valid = edit::is_valid(function);
    let &Prediction { rows, width, .. } = prediction;
    let value = function.body.outputs[0];
    let new_input = |function: &mut Function, name: &str, dims: &[usize]| {
        let id = edit::add_value(function, name, Type::tensor(DataType::Fp32, dims));
        function.inputs.push(id);
        id
    };
    let target = new_input(function, "target", &[rows, width]);
    let share = new_input(function, "share", &[rows]);
    let mut add = Appender(function);
    let dims = Tensor::int32s(&[rows as i64, width as i64]);
    let wide = [("x", value.into()), ("dtype", text(DataType::Fp32.name()))];
    let wide = add.operation(Op::Cast, "prediction_wide", wide)?;
    let x = [("x", wide.into()), ("shape", constant(dims))];
    let x = add.operation(Op::Reshape, "prediction", x)?;
    let row = match loss {
        Loss::CrossEntropy => {
            let all = add.reduce(Op::ReduceLogSumExp, "loss_all", x, 1)?;
            let hits = [("x", x.into()), ("y", target.into())];
            let hits = add.operation(Op::Mul, "loss_hits", hits)?;
            let hit = add.reduce(Op::ReduceSum, "loss_hit", hits, 1)?;
            add.operation(Op::Sub, "loss_row", [("x", all.into()), ("y", hit.into())])?
        }
        Loss::MeanSquares => {
            let off = [("x", x.into()), ("y", target.into())];
            let off = add.operation(Op::Sub, "loss_off", off)?;
            let squares = add.operation(Op::Square, "loss_squares", [("x", off.into())])?;
            add.reduce(Op::ReduceMean, "loss_row", squares, 1)?
        }
    };
    let part = [("x", row.into()), ("y", share.into())];
    let part = add.operation(Op::Mul, "loss_part", part)?;
    let total = add.reduce(Op::ReduceSum, "loss", part, 0)?;
    function.body.outputs = vec![total, x];
    edit::assert_still_valid(was_valid, "attach", function);
    let name = |id: ValueId| function.value(id).name.clone();
    Ok(Ports { target: name(target), share: name(share), loss: name(total), prediction: name(x) })
}

fn constant(tensor: Tensor) -> Arg {
    Arg::One(Operand::Literal(Literal::Tensor(tensor)))
}

fn text(text: &str) -> Arg {
    constant(Tensor::string(text))
}

/// Writes operations behind those that a function has.
struct Appender<'a>(&'a mut Function);

impl Appender<'_> {
    fn operation<'n>(
        &mut self,
        op: Op,
        name: &str,
        inputs: impl IntoIterator<Item = (&'n str, Arg)>,
    ) -> Result<ValueId, OpError> {
        let mut operation = Operation {
            op,
            inputs: inputs.into_iter().map(|(name, arg)| (name.to_owned(), arg)).collect(),
            attributes: BTreeMap::new(),
            outputs: vec![],
            blocks: vec![],
            span: Default::default(),
        };
        let ty = mil::infer(&operation, &FunctionEnv::new(self.0))?.remove(0);
        let id = edit::add_value(self.0, name, ty);
        let label = Tensor::string(&self.0.value(id).name);
        operation.attributes.insert("name".to_owned(), label.into());
        operation.outputs = vec![id];
        self.0.body.operations.push(operation);
        Ok(id)
    }

    fn reduce(&mut self, op: Op, name: &str, x: ValueId, axis: i64) -> Result<ValueId, OpError> {
        let axes = constant(Tensor::int32s(&[axis]));
        let keep = constant(Tensor::bool(false));
        self.operation(op, name, [("x", x.into()), ("axes", axes), ("keep_dims", keep)])
    }
}
