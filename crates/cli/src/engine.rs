//! Evaluating a function once: on the CPU device, in the interpreter, or on the emulated engine.

use crate::arrays::Tensors;
use ane::{Engine, Source};
use anyhow::{Context, bail};
use interp::Array;
use mil::{Function, Literal, Op, Operand, Program, Tensor, TensorType, Type, Weights};
use runtime::{Accumulation, Bindings, CompileOptions, Device, Placement, Port};
use std::collections::{BTreeMap, BTreeSet};
use surface::Surface;

/// What an evaluation gives.
pub struct Results {
    /// Outputs by name.
    pub outputs: Tensors,
    /// Outputs that are dictionaries, by name: keys and values.
    pub dictionaries: BTreeMap<String, (Tensor, Tensor)>,
    /// States after the evaluation, by name.
    pub states: Tensors,
    /// Where every operation ran.
    pub placement: Vec<Placement>,
}

/// A tensor as a value of the declared type: cast, and reshaped if the number of elements is that
/// of the type. Dimensions that the type leaves open are taken from the tensor.
pub fn fit(tensor: Tensor, ty: &TensorType) -> anyhow::Result<Tensor> {
    let found = tensor.ty();
    let dims = match ty.fixed_dims() {
        Some(dims) => dims,
        None if ty.compatible(&TensorType::fixed(ty.dtype, tensor.dims())) => {
            tensor.dims().to_vec()
        }
        None => bail!("expected {ty}, found shape {:?}", tensor.dims()),
    };
    if mil::element_count(&dims) != Some(tensor.count()) {
        bail!("expected {ty}, found shape {:?}", found.fixed_dims().unwrap_or_default());
    }
    let tensor = if tensor.dtype() == ty.dtype {
        tensor
    } else if ty.dtype == mil::DataType::String {
        bail!("expected {ty}, found numbers")
    } else {
        Array::from_tensor(&tensor).cast(ty.dtype).to_tensor()
    };
    Ok(tensor.reshaped(&dims)?)
}

/// Evaluates on a device, or, where the device cannot run the function, all of it in the
/// interpreter; then a note on stderr and every placement say so and why.
pub fn on_device_or_interpreted(
    device: &dyn Device,
    program: &Program,
    function: &Function,
    (inputs, states): (&Tensors, &Tensors),
    weights: Weights,
) -> anyhow::Result<Results> {
    let error = match on_device(device, program, function, (inputs, states), weights.clone()) {
        Ok(results) => return Ok(results),
        Err(error) => error,
    };
    let Some(runtime::Error::Unsupported { message, .. }) = error.downcast_ref() else {
        return Err(error);
    };
    eprintln!("note: {error}; the interpreter evaluates the whole function");
    let place = format!("interpreter (whole function): {message}");
    let mut results = interpret(program, function, inputs, states, weights)?;
    results.placement.iter_mut().for_each(|p| p.place.clone_from(&place));
    Ok(results)
}

/// Evaluates in the interpreter. Inputs and states have their declared types.
pub fn interpret(
    program: &Program,
    function: &Function,
    inputs: &Tensors,
    states: &Tensors,
    weights: Weights,
) -> anyhow::Result<Results> {
    let arrays = |tensors: &Tensors| -> BTreeMap<String, Array> {
        tensors.iter().map(|(name, t)| (name.clone(), Array::from_tensor(t))).collect()
    };
    let options = interp::Options { weights, states: arrays(states), ..interp::Options::default() };
    let results = interp::evaluate(program, &function.name, &arrays(inputs), &options)?;
    let tensors = |arrays: BTreeMap<String, Array>| {
        arrays.into_iter().map(|(name, array)| (name, array.to_tensor())).collect()
    };
    let placed = |operation: &mil::Operation| Placement {
        value: operation.outputs.first().map_or("", |&id| &function.value(id).name).to_owned(),
        op: operation.op.name(),
        place: "interpreter".to_owned(),
    };
    let operations = function.body.operations.iter().filter(|o| o.op != Op::Const);
    Ok(Results {
        outputs: tensors(results.outputs),
        dictionaries: results
            .dictionaries
            .into_iter()
            .map(|(name, of)| (name, (of.keys.to_tensor(), of.values.to_tensor())))
            .collect(),
        states: tensors(results.states),
        placement: operations.map(placed).collect(),
    })
}

/// Evaluates on a device. Inputs and states have their declared types; states that are not given are
/// zero.
///
/// Devices know no states: these become inputs and outputs. And they want shapes when they compile.
/// A function that leaves some open is compiled for this evaluation alone: for the shapes of these
/// inputs, and for the values of those that a shape could be computed from.
pub fn on_device(
    device: &dyn Device,
    program: &Program,
    function: &Function,
    (inputs, given_states): (&Tensors, &Tensors),
    weights: Weights,
) -> anyhow::Result<Results> {
    let mut options = CompileOptions { weights, ..CompileOptions::default() };
    let mut program = program.clone();
    if is_open(function) {
        let sizes = |tensor: &&Tensor| tensor.dtype().is_int() && tensor.dims().len() <= 1;
        options.constants = inputs
            .iter()
            .filter(|(_, tensor)| sizes(tensor))
            .map(|(name, tensor)| (name.clone(), tensor.clone()))
            .collect();
        program = with_shapes_of(&program, &function.name, inputs);
    }
    let lifted = program.functions.iter_mut().find(|f| f.name == function.name);
    let lifted = lifted.expect("the caller took the function from this program");
    let states = passes::states::lift(lifted).map_err(|error| runtime::Error::Unsupported {
        device: device.name().to_owned(),
        kernel: function.name.clone(),
        message: error.to_string(),
    })?;
    let executable = device.compile(&program, &function.name, &options)?;
    let mut bindings = Bindings::new();
    for port in executable.inputs() {
        let is_state = states.iter().any(|state| state.name == port.name);
        let given = if is_state { given_states } else { inputs };
        let surface = match given.get(&port.name) {
            Some(tensor) => Surface::from_slice(tensor.bytes())?,
            None if is_state => Surface::new(port.bytes)?,
            None => bail!("input `{}`: no value", port.name),
        };
        bindings = bindings.input(&port.name, &surface);
    }
    let mut surfaces = vec![];
    for port in executable.outputs() {
        let surface = Surface::new(port.bytes)?;
        bindings = bindings.output(&port.name, &surface);
        surfaces.push((port.clone(), surface));
    }
    let placement = executable.placement();
    executable.bind(bindings)?.evaluate(Accumulation::Replace)?;
    let (mut outputs, mut after) = (Tensors::new(), Tensors::new());
    for (port, surface) in surfaces {
        let bytes = surface.read()?[..port.bytes].to_vec();
        let tensor = Tensor::from_bytes(port.ty.dtype, &port.dims, bytes)?;
        match states.iter().find(|state| state.after == port.name) {
            Some(state) => after.insert(state.name.clone(), tensor),
            None => outputs.insert(port.name, tensor),
        };
    }
    Ok(Results { outputs, dictionaries: BTreeMap::new(), states: after, placement })
}

/// Evaluates on an engine, which takes the text as it is: fp16 or fp32 inputs and outputs of fixed
/// shapes, by its own rules. Inputs have their declared types.
pub fn on_engine(
    engine: &dyn Engine,
    program: &Program,
    function: &Function,
    inputs: &Tensors,
    weights: &Weights,
) -> anyhow::Result<Results> {
    let mut main = function.clone();
    main.name = "main".to_owned();
    let program = Program { functions: vec![main], ..program.clone() };
    let mut source = Source { name: function.name.clone(), ..Source::default() };
    for path in weight_files(function) {
        source.weights.insert(path.clone(), weights.file(&path)?);
    }
    source.text = mil::print(&program);
    let model = engine.compile(&source)?;
    let least = engine.target().limits().min_surface_bytes;
    let surfaces = |ports: &[Port]| -> anyhow::Result<Vec<Surface>> {
        // All of a side have one size, as the engine wants it.
        let bytes = ports.iter().map(|p| p.bytes).max().unwrap_or(0).max(least);
        ports.iter().map(|_| Ok(engine.surface(bytes)?)).collect()
    };
    let (ins, outs) = (surfaces(model.inputs())?, surfaces(model.outputs())?);
    for (port, surface) in model.inputs().iter().zip(&ins) {
        let tensor = inputs.get(&port.name);
        let tensor = tensor.with_context(|| format!("input `{}`: no value", port.name))?;
        surface.write()?[..port.bytes].copy_from_slice(tensor.bytes());
    }
    let ports = model.outputs().to_vec();
    model.bind(&ins, &outs)?.evaluate()?;
    let mut outputs = Tensors::new();
    for (port, surface) in ports.into_iter().zip(outs) {
        let bytes = surface.read()?[..port.bytes].to_vec();
        outputs.insert(port.name, Tensor::from_bytes(port.ty.dtype, &port.dims, bytes)?);
    }
    let placed = |operation: &mil::Operation| Placement {
        value: operation.outputs.first().map_or("", |&id| &function.value(id).name).to_owned(),
        op: operation.op.name(),
        place: "ane".to_owned(),
    };
    let operations = function.body.operations.iter().filter(|o| o.op != Op::Const);
    let (dictionaries, states) = (BTreeMap::new(), Tensors::new());
    Ok(Results { outputs, dictionaries, states, placement: operations.map(placed).collect() })
}

/// The paths of the weight files that a function reads.
fn weight_files(function: &Function) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    function.body.visit(&mut |operation| {
        let arguments = operation.inputs.values().flat_map(|argument| argument.operands());
        let literals = arguments.filter_map(|operand| match operand {
            Operand::Literal(literal) => Some(literal),
            Operand::Value(_) => None,
        });
        for literal in literals.chain(operation.attributes.values()) {
            if let Literal::Blob(blob) = literal {
                paths.insert(blob.path.clone());
            }
        }
    });
    paths
}

/// Whether a shape is known only when the function runs.
fn is_open(function: &Function) -> bool {
    let open = |ty: &Type| ty.as_tensor().is_some_and(|t| t.fixed_dims().is_none());
    function.values.iter().any(|value| open(&value.ty))
}

/// The program with the function's inputs declared to have the shapes of these tensors.
fn with_shapes_of(program: &Program, function: &str, inputs: &Tensors) -> Program {
    let mut program = program.clone();
    let function = program.functions.iter_mut().find(|f| f.name == function);
    let function = function.expect("the caller took the function from this program");
    for id in &function.inputs {
        let value = &mut function.values[id.index()];
        if let Some(tensor) = inputs.get(&value.name) {
            value.ty = Type::Tensor(tensor.ty());
        }
    }
    program
}
