//! A device against the definition of every op, one operation at a time.
//!
//! The device computes a function whose every intermediate value is an output. Each operation is
//! then repeated by the interpreter from the very operands that the device had, so that an error
//! is charged to the operation that makes it and not to those behind it.

use super::relative_error;
use crate::Error;
use interp::Array;
use mil::{Function, FunctionEnv, Op, Operation, Program, Tensor, Type, ValueId};
use runtime::{Accumulation, Bindings, CompileOptions, Device, Port};
use std::collections::BTreeMap;
use surface::Surface;

/// The worst of an op's results.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationError {
    /// The op's name.
    pub op: &'static str,
    /// How many operations of it were compared.
    pub count: usize,
    /// |found − expected|₂ / |expected|₂ of the worst; expected is rounded to the result's type.
    pub worst: f64,
    /// The function and the value where that is.
    pub value: String,
    /// Where the device ran it.
    pub place: String,
}

/// What a comparison gives.
#[derive(Clone, Debug)]
pub struct Operations {
    /// The worst result of every op, in order of op name.
    pub errors: Vec<OperationError>,
    /// The values that the device computed.
    pub values: Values,
}

/// Arrays by name.
pub type Values = BTreeMap<String, Array>;

/// Compares every operation of a function; `parameters` are inputs as in [`CompileOptions`].
///
/// # Errors
/// If the device cannot run the function with all its values as outputs.
pub fn operations(
    device: &dyn Device,
    function: &Function,
    parameters: &[String],
    inputs: &Values,
) -> Result<Operations, Error> {
    let open = open(function, parameters);
    let (found, places) = evaluate(device, &open, parameters, inputs)?;
    let env = FunctionEnv::new(function);
    let mut values: Vec<Option<Array>> = vec![None; function.values.len()];
    for &id in &function.inputs {
        values[id.index()] = inputs.get(&function.value(id).name).cloned();
    }
    let mut worst: BTreeMap<&'static str, OperationError> = BTreeMap::new();
    for operation in &function.body.operations {
        let expected = expected(function, &env, operation, &values)?;
        for (&id, expected) in operation.outputs.iter().zip(expected) {
            let name = &function.value(id).name;
            let Some(found) = found.get(name) else {
                values[id.index()] = Some(expected);
                continue;
            };
            let error = relative_error(&found.to_f64s(), &expected.to_f64s());
            let op = operation.op.name();
            let entry = worst.entry(op).or_insert_with(|| OperationError {
                op,
                count: 0,
                worst: -1.0,
                value: String::new(),
                place: String::new(),
            });
            entry.count += 1;
            if error > entry.worst || error.is_nan() {
                entry.worst = error;
                entry.value = format!("{}: {name}", function.name);
                entry.place = places.get(name).cloned().unwrap_or_default();
            }
            values[id.index()] = Some(found.clone());
        }
    }
    Ok(Operations { errors: worst.into_values().collect(), values: found })
}

/// The function with every value as an output that does not depend on parameters alone: those are
/// a matter of staging, and devices keep them in forms of their own.
fn open(function: &Function, parameters: &[String]) -> Function {
    let mut fixed = vec![false; function.values.len()];
    for &id in &function.inputs {
        fixed[id.index()] = parameters.contains(&function.value(id).name);
    }
    let mut open = function.clone();
    for operation in &function.body.operations {
        let is_fixed = operation.operands().all(|id| fixed[id.index()]);
        for &id in &operation.outputs {
            fixed[id.index()] = is_fixed;
            let is_float = function.ty(id).as_tensor().is_some_and(|t| t.dtype.is_float());
            if !is_fixed && is_float && !open.body.outputs.contains(&id) {
                open.body.outputs.push(id);
            }
        }
    }
    open
}

/// All outputs of a function on a device, and where each value was computed.
fn evaluate(
    device: &dyn Device,
    function: &Function,
    parameters: &[String],
    inputs: &Values,
) -> Result<(Values, BTreeMap<String, String>), Error> {
    let options = CompileOptions {
        parameters: parameters.iter().filter(|p| function.input(p).is_some()).cloned().collect(),
        ..CompileOptions::default()
    };
    let program = Program::new(vec![function.clone()]);
    let executable = device.compile(&program, &function.name, &options)?;
    let mut bindings = Bindings::new();
    for port in executable.inputs() {
        let Some(array) = inputs.get(&port.name) else { continue };
        let surface = Surface::from_slice(array.cast(port.ty.dtype).to_tensor().bytes())?;
        bindings = bindings.input(&port.name, &surface);
    }
    let mut surfaces: Vec<(Port, Surface)> = vec![];
    for port in executable.outputs() {
        let surface = Surface::new(port.bytes)?;
        bindings = bindings.output(&port.name, &surface);
        surfaces.push((port.clone(), surface));
    }
    let places = executable.placement().into_iter().map(|p| (p.value, p.place)).collect();
    let mut request = executable.bind(bindings)?;
    request.evaluate(Accumulation::Replace)?;
    request.finish()?;
    let mut values = Values::new();
    for (port, surface) in surfaces {
        let bytes = surface.read()?[..port.bytes].to_vec();
        let tensor = Tensor::from_bytes(port.ty.dtype, &port.dims, bytes);
        let tensor = tensor.expect("a port's bytes are those of its type");
        values.insert(port.name, Array::from_tensor(&tensor));
    }
    Ok((values, places))
}

/// What an operation gives by its definition.
fn expected(
    function: &Function,
    env: &FunctionEnv<'_>,
    operation: &Operation,
    values: &[Option<Array>],
) -> Result<Vec<Array>, Error> {
    if operation.op == Op::Const {
        let literal = operation.attributes.get("val").and_then(mil::Literal::as_tensor);
        return Ok(literal.map(Array::from_tensor).into_iter().collect());
    }
    let lacking =
        |id: ValueId| Error::Parity(format!("`{}` has no value", function.value(id).name));
    if let Some(id) = operation.operands().find(|id| values[id.index()].is_none()) {
        return Err(lacking(id));
    }
    let argument = |id: ValueId| values[id.index()].clone().expect("checked above");
    let types: Vec<Type> = operation.outputs.iter().map(|&id| function.ty(id).clone()).collect();
    interp::apply(operation, env, &argument, &types)
        .map_err(|error| Error::Parity(error.to_string()))
}
