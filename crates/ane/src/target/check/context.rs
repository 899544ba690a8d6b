//! What detectors know of a function.

use super::Hit;
use crate::target::{ChipData, Target};
use mil::{
    BlobRef, DataType, Function, FunctionEnv, Literal, Op, Operation, Params, Span, TensorType,
    ValueId, element_count,
};

/// A function, looked at once for all detectors.
pub(in crate::target) struct Context<'a> {
    pub function: &'a Function,
    pub chip: &'static ChipData,
    env: FunctionEnv<'a>,
    /// All operations but constants, those of nested blocks included, in order.
    pub operations: Vec<&'a Operation>,
    /// For every value, the operation that defines it; none for inputs.
    producers: Vec<Option<&'a Operation>>,
    /// For every value, how many times an operation reads it.
    readers: Vec<usize>,
}

impl<'a> Context<'a> {
    pub(in crate::target) fn new(function: &'a Function, target: &Target) -> Context<'a> {
        let mut operations = vec![];
        let mut producers = vec![None; function.values.len()];
        let mut readers = vec![0; function.values.len()];
        function.body.visit(&mut |operation| {
            for id in &operation.outputs {
                producers[id.index()] = Some(operation);
            }
            for id in operation.operands() {
                readers[id.index()] += 1;
            }
            if operation.op != Op::Const {
                operations.push(operation);
            }
        });
        let (chip, env) = (target.chip.data(), FunctionEnv::new(function));
        Context { function, chip, env, operations, producers, readers }
    }

    /// The operations of one op.
    pub fn of(&self, op: Op) -> impl Iterator<Item = &'a Operation> + '_ {
        self.operations.iter().copied().filter(move |operation| operation.op == op)
    }

    pub fn params(&self, operation: &'a Operation) -> Params<'_> {
        Params::new(operation, &self.env)
    }

    pub fn producer(&self, id: ValueId) -> Option<&'a Operation> {
        self.producers[id.index()]
    }

    /// How many times operations read a value.
    pub fn readers(&self, id: ValueId) -> usize {
        self.readers[id.index()]
    }

    /// Where a value is defined; nowhere for inputs.
    pub fn span(&self, id: ValueId) -> Span {
        self.producer(id).map_or(Span::default(), |operation| operation.span)
    }

    pub fn name(&self, id: ValueId) -> &'a str {
        &self.function.value(id).name
    }

    pub fn tensor(&self, id: ValueId) -> Option<&'a TensorType> {
        self.function.ty(id).as_tensor()
    }

    /// The dimensions of a value, if all are known.
    pub fn dims(&self, id: ValueId) -> Option<Vec<usize>> {
        self.tensor(id)?.fixed_dims()
    }

    /// The tensor type of an argument.
    pub fn argument(&self, operation: &'a Operation, name: &str) -> Option<TensorType> {
        self.params(operation).ty_opt(name).ok()?
    }

    /// The dimensions of an argument, if all are known.
    pub fn argument_dims(&self, operation: &'a Operation, name: &str) -> Option<Vec<usize>> {
        self.argument(operation, name)?.fixed_dims()
    }

    pub fn is_input(&self, id: ValueId) -> bool {
        self.function.inputs.contains(&id)
    }

    /// The literal that a `const` holds.
    pub fn literal(&self, id: ValueId) -> Option<&'a Literal> {
        self.env.literal(id)
    }

    /// Whether an argument is constant: written in the program, in a weight file, or dequantized
    /// from there when the program is compiled.
    pub fn is_constant(&self, operation: &'a Operation, name: &str) -> bool {
        self.params(operation).is_constant(name)
    }

    /// Inputs, and the results of all operations that are no constants.
    pub fn values(&self) -> impl Iterator<Item = ValueId> + '_ {
        let results = self.operations.iter().flat_map(|operation| operation.outputs.iter());
        self.function.inputs.iter().chain(results).copied()
    }

    /// Inputs that are tensors, then outputs that are, each with `"input"` or `"output"`.
    pub fn ports(&self) -> impl Iterator<Item = (&'static str, ValueId, &'a TensorType)> + '_ {
        let inputs = self.function.inputs.iter().map(|&id| ("input", id));
        let outputs = self.function.body.outputs.iter().map(|&id| ("output", id));
        inputs.chain(outputs).filter_map(|(kind, id)| Some((kind, id, self.tensor(id)?)))
    }

    /// Every reference to a weight file, with where it is and the value it becomes part of.
    pub fn blobs(&self) -> Vec<(&'a BlobRef, &'a Operation)> {
        let mut found = vec![];
        self.function.body.visit(&mut |operation| {
            for literal in operation.literals() {
                if let Literal::Blob(blob) = literal {
                    found.push((blob, operation));
                }
            }
        });
        found
    }
}

impl Hit {
    /// About an operation, and the first value it defines.
    pub fn at(operation: &Operation, message: String) -> Hit {
        Hit { span: operation.span, value: operation.outputs.first().copied(), message }
    }

    /// About a value.
    pub fn of(context: &Context<'_>, id: ValueId, message: String) -> Hit {
        Hit { span: context.span(id), value: Some(id), message }
    }
}

/// An operation as messages call it: its op and the value it defines.
pub(in crate::target) fn called(context: &Context<'_>, operation: &Operation) -> String {
    match operation.outputs.first() {
        Some(&id) => format!("{} `{}`", operation.op.name(), context.name(id)),
        None => operation.op.name().to_owned(),
    }
}

/// Bytes of a tensor stored densely, if its dimensions are known.
pub(super) fn dense_bytes(ty: &TensorType) -> Option<usize> {
    ty.dtype.packed_bytes(element_count(&ty.fixed_dims()?)?)
}

/// The innermost dimension: 1 for a scalar.
pub(super) fn width(ty: &TensorType) -> Option<usize> {
    match ty.dims()?.last() {
        Some(dim) => dim.fixed(),
        None => Some(1),
    }
}

/// A number with commas.
pub(in crate::target) fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Whether values of this type have less than 8 bits.
pub(super) fn is_sub_byte(dtype: DataType) -> bool {
    dtype != DataType::String && dtype.bits() < 8
}
