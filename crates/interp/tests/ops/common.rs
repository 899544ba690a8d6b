//! What the tests of the ops are written with.

use anemone_interp::{Array, Error, Options, apply};
use mil::{
    Arg, DataType, Env, Op, OpError, Operand, Operation, Program, Span, Tensor, Type, ValueId,
    infer,
};
use std::collections::BTreeMap;

pub fn floats(dims: &[usize], values: &[f64]) -> Array {
    Array::floats(DataType::Fp32, dims, values.to_vec())
}

pub fn ints(dims: &[usize], values: &[i64]) -> Array {
    Array::ints(DataType::Int32, dims, values.to_vec())
}

pub fn vector(values: &[i64]) -> Array {
    ints(&[values.len()], values)
}

pub fn bools(dims: &[usize], values: &[bool]) -> Array {
    Array::ints(DataType::Bool, dims, values.iter().map(|&b| i64::from(b)).collect())
}

pub fn string(value: &str) -> Array {
    Array::from_tensor(&Tensor::string(value))
}

/// The array in another element type.
pub fn dtype(dtype: DataType, array: Array) -> Array {
    array.cast(dtype).rounded()
}

pub fn many<'n>(name: &'n str, values: &[Array]) -> (&'n str, Vec<Array>) {
    (name, values.to_vec())
}

pub type Named<'n> = (&'n str, Array);

/// Values by id.
#[derive(Default)]
struct Values(Vec<(Type, Array)>);

impl Values {
    fn define(&mut self, array: &Array) -> ValueId {
        let ty = Type::tensor(array.dtype(), array.dims());
        self.0.push((ty, array.clone()));
        ValueId(self.0.len() as u32 - 1)
    }
}

impl Env for Values {
    fn ty(&self, id: ValueId) -> &Type {
        &self.0[id.index()].0
    }

    fn constant(&self, id: ValueId) -> Option<Tensor> {
        Some(self.0[id.index()].1.to_tensor())
    }
}

/// Applies one op with every argument a value of its own.
pub fn apply_many(
    op: Op,
    tuples: &[(&str, Vec<Array>)],
    inputs: &[Named],
    results: usize,
) -> Result<Vec<Array>, OpError> {
    let mut values = Values::default();
    let mut arguments = BTreeMap::new();
    for (name, arrays) in tuples {
        let operands = arrays.iter().map(|array| Operand::Value(values.define(array))).collect();
        arguments.insert((*name).to_owned(), Arg::Many(operands));
    }
    for (name, array) in inputs {
        arguments.insert((*name).to_owned(), Arg::from(values.define(array)));
    }
    let operation = Operation {
        op,
        inputs: arguments,
        attributes: BTreeMap::new(),
        outputs: vec![],
        blocks: vec![],
        span: Span::default(),
    };
    let types = infer(&operation, &values)?;
    let argument = |id: ValueId| values.0[id.index()].1.clone();
    let out = apply(&operation, &values, &argument, &types)?;
    assert_eq!(out.len(), results);
    for (array, ty) in out.iter().zip(&types) {
        assert_eq!(Type::tensor(array.dtype(), array.dims()), *ty, "{}", op.name());
    }
    Ok(out)
}

pub fn run(op: Op, inputs: &[Named]) -> Result<Vec<Array>, OpError> {
    apply_many(op, &[], inputs, 1)
}

/// Checks the one result, element for element. Expected floats are rounded first.
#[track_caller]
pub fn check(op: Op, inputs: &[Named], expected: Array) {
    assert_eq!(run(op, inputs).unwrap(), [expected.rounded()], "{}", op.name());
}

/// Checks the one result within a single-precision rounding error of the expected.
#[track_caller]
pub fn check_near(op: Op, inputs: &[Named], expected: Array) {
    let out = run(op, inputs).unwrap().remove(0);
    assert_eq!((out.dtype(), out.dims()), (expected.dtype(), expected.dims()), "{}", op.name());
    for (found, expected) in out.to_f64s().into_iter().zip(expected.to_f64s()) {
        let near = (found - expected).abs() <= 1e-7 * expected.abs().max(1.0);
        assert!(near, "{}: {found} is not {expected}", op.name());
    }
}

/// A verified program of one function.
pub fn program(opset: &str, inputs: &str, body: &str, outputs: &str) -> Program {
    let text =
        format!("program(1.3)\n{{ func main<{opset}>({inputs}) {{ {body} }} -> ({outputs}); }}");
    let program = mil::parse(&text).unwrap_or_else(|e| panic!("{}", e.render(&text)));
    mil::verify(&program).unwrap_or_else(|e| panic!("{}", e.render(&text)));
    program
}

pub fn evaluate(
    program: &Program,
    inputs: &[Named],
    options: &Options,
) -> Result<anemone_interp::Outputs, Error> {
    let inputs = inputs.iter().map(|(name, array)| ((*name).to_owned(), array.clone())).collect();
    anemone_interp::evaluate(program, "main", &inputs, options)
}
