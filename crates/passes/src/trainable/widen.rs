//! Makes a function compute in fp32 what it computes in fp16 or bf16.
//!
//! Before:
//! ```text
//! func main<ios16>(tensor<fp32, [1, 3]> x) {
//!     tensor<fp16, [1, 3]> h = cast(x = x, dtype = "fp16");
//!     tensor<fp16, [1, 3]> y = mul(x = h, y = 2.0);
//! ```
//! After:
//! ```text
//! func main<ios16>(tensor<fp32, [1, 3]> x) {
//!     tensor<fp32, [1, 3]> h = cast(x = x, dtype = "fp32");
//!     tensor<fp32, [1, 3]> y = mul(x = h, y = 2.0);
//! ```
//! Constants in weight files come into the program as fp32. What `constexpr` operations give is
//! cast behind them.

use crate::edit;
use mil::{
    Arg, BlobError, DataType, Function, Literal, Op, Operand, Operation, Tensor, TensorType, Type,
    ValueId, Weights,
};
use std::collections::HashMap;

/// Makes every tensor of fp16 or bf16 one of fp32: inputs, outputs and all between. The function
/// must have no nested blocks and no states.
///
/// # Errors
/// If a weight cannot be read.
pub fn widen(function: &mut Function, weights: &Weights) -> Result<(), BlobError> {
    let was_valid = edit::is_valid(function);
    let literals: Vec<Option<Literal>> =
        function.literals().into_iter().map(|literal| literal.cloned()).collect();
    let declared: Vec<Type> = function.values.iter().map(|value| value.ty.clone()).collect();
    for value in &mut function.values {
        value.ty = wide(&value.ty);
    }
    // What constexpr operations give, by the value that is its fp32 now.
    let mut narrow: HashMap<ValueId, ValueId> = HashMap::new();
    let mut operations = vec![];
    for mut operation in std::mem::take(&mut function.body.operations) {
        if operation.op.is_constexpr() {
            // Its operands stay what they are.
            each_operand(&mut operation, |operand| {
                let Operand::Value(id) = operand else { return Ok(()) };
                if let Some(literal) = &literals[id.index()] {
                    *operand = Operand::Literal(literal.clone());
                } else if let Some(stored) = narrow.get(id) {
                    *operand = Operand::Value(*stored);
                }
                Ok(())
            })?;
            let result = operation.output();
            let ty = &declared[result.index()];
            if wide(ty) == *ty {
                operations.push(operation);
                continue;
            }
            let name = format!("{}_narrow", function.value(result).name);
            let stored = edit::add_value(function, &name, ty.clone());
            narrow.insert(result, stored);
            operation.outputs = vec![stored];
            operations.push(operation);
            operations.push(edit::cast(function, stored, result, DataType::Fp32));
            continue;
        }
        each_operand(&mut operation, |operand| match operand {
            Operand::Literal(literal) => widen_literal(literal, weights),
            Operand::Value(_) => Ok(()),
        })?;
        if operation.op == Op::Const {
            if let Some(literal) = operation.attributes.get_mut("val") {
                widen_literal(literal, weights)?;
            }
        } else if let Some(arg) = operation.inputs.get_mut("dtype") {
            widen_name(arg, &literals);
        }
        operations.push(operation);
    }
    function.body.operations = operations;
    edit::assert_still_valid(was_valid, "widen", function);
    Ok(())
}

fn is_narrow(dtype: DataType) -> bool {
    matches!(dtype, DataType::Fp16 | DataType::Bf16)
}

/// The type with fp32 for every narrower float.
fn wide(ty: &Type) -> Type {
    match ty {
        Type::Tensor(tensor) if is_narrow(tensor.dtype) => {
            Type::Tensor(TensorType { dtype: DataType::Fp32, ..tensor.clone() })
        }
        Type::Tensor(_) => ty.clone(),
        Type::List { element, len } => Type::List { element: Box::new(wide(element)), len: *len },
        Type::Tuple(items) => Type::Tuple(items.iter().map(wide).collect()),
        Type::Dict(key, value) => Type::Dict(Box::new(wide(key)), Box::new(wide(value))),
        Type::State(inner) => Type::State(Box::new(wide(inner))),
    }
}

fn each_operand(
    operation: &mut Operation,
    f: impl FnMut(&mut Operand) -> Result<(), BlobError>,
) -> Result<(), BlobError> {
    operation.inputs.values_mut().flat_map(Arg::operands_mut).try_for_each(f)
}

/// Every element of a tensor in fp32, which holds them all exactly.
fn widen_literal(literal: &mut Literal, weights: &Weights) -> Result<(), BlobError> {
    let tensor = match literal {
        Literal::Tensor(tensor) if is_narrow(tensor.dtype()) => tensor.clone(),
        Literal::Blob(blob) if blob.dtype.is_float() => weights.load(blob)?,
        _ => return Ok(()),
    };
    *literal = Literal::Tensor(match is_narrow(tensor.dtype()) {
        true => Tensor::from_f64s(DataType::Fp32, tensor.dims(), &tensor.to_f64s())
            .expect("the shape is that of the tensor"),
        false => tensor,
    });
    Ok(())
}

/// The name of a narrow type becomes that of the wide one, as in `cast(dtype = "fp16")`.
fn widen_name(arg: &mut Arg, literals: &[Option<Literal>]) {
    let literal = match arg {
        Arg::One(Operand::Literal(literal)) => Some(&*literal),
        Arg::One(Operand::Value(id)) => literals[id.index()].as_ref(),
        Arg::Many(_) => None,
    };
    let name = literal.and_then(Literal::as_tensor).and_then(|name| name.strings().first());
    if name.and_then(|name| DataType::from_name(name)).is_some_and(is_narrow) {
        let name = Tensor::string(DataType::Fp32.name());
        *arg = Arg::One(Operand::Literal(name.into()));
    }
}
