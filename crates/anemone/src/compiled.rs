//! A function that is compiled for inputs of given shapes: by a device, by an engine, or not at
//! all, for the interpreter.

use crate::device::Opened;
use crate::labels::Labels;
use crate::prediction::Dictionary;
use crate::states::States;
use crate::{Error, Tensors, tensors};
use ane::Source;
use interp::Array;
use mil::{Function, Literal, Op, Operation, Program, Tensor, Type, Weights};
use runtime::{Accumulation, Bindings, CompileOptions, Executable, Placement, Port, Request};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use surface::Surface;

/// A function that is ready.
pub(crate) struct Compiled {
    /// Where every operation runs.
    pub placement: Vec<Placement>,
    /// Why the interpreter evaluates the function in place of the device.
    pub note: Option<String>,
    how: How,
    /// What a device or an engine leaves to be named.
    labels: Option<Labels>,
}

enum How {
    Device(OnDevice),
    Engine(OnEngine),
    Interpreter(Interpreted),
}

/// What an evaluation gives, by the names of values.
#[derive(Clone, Default)]
pub(crate) struct Results {
    pub outputs: Tensors,
    pub dictionaries: BTreeMap<String, Dictionary>,
}

/// How to compile.
pub(crate) struct Settings<'a> {
    pub opened: &'a Opened,
    pub weights: &'a Weights,
    /// Whether the interpreter evaluates what the device cannot run.
    pub fall_back: bool,
}

impl Compiled {
    /// Compiles one function of a program. `constants` are inputs that shapes may be computed from:
    /// the form serves these values alone.
    pub fn new(
        settings: &Settings<'_>,
        program: Program,
        function: &str,
        constants: Tensors,
        states: &States,
    ) -> Result<Compiled, Error> {
        let interpreted = |program| Interpreted::new(program, function, settings.weights);
        let of = |how, placement| Compiled { placement, note: None, how, labels: None };
        // What a device or an engine computes.
        let numbers = || {
            let mut numbers = program.clone();
            let labels = Labels::take(&mut numbers, function, settings.weights);
            (numbers, labels)
        };
        let labelled = |how, mut placement: Vec<Placement>, labels: Option<Labels>| {
            placement.extend(labels.iter().flat_map(Labels::placement).cloned());
            Compiled { placement, note: None, how, labels }
        };
        match settings.opened {
            Opened::Interpreter => {
                let placement = placed_all(&program, function, "interpreter");
                Ok(of(How::Interpreter(interpreted(program)), placement))
            }
            Opened::Engine(engine) => {
                if let Some(state) = states.names().next() {
                    let (function, state) = (function.to_owned(), state.clone());
                    return Err(Error::EngineState { function, state });
                }
                let (numbers, labels) = numbers();
                let placement = placed_all(&numbers, function, "ane");
                let on = OnEngine::new(&**engine, numbers, function, settings.weights)?;
                Ok(labelled(How::Engine(on), placement, labels))
            }
            Opened::Device(device) => {
                let (numbers, labels) = numbers();
                let on = OnDevice::new(&**device, numbers, function, constants, settings.weights);
                let refused = match on {
                    Ok(on) => {
                        let placement = on.executable.placement();
                        return Ok(labelled(How::Device(on), placement, labels));
                    }
                    Err(error) => error,
                };
                let Error::Device(runtime::Error::Unsupported { message, .. }) = &refused else {
                    return Err(refused);
                };
                if !settings.fall_back {
                    return Err(refused);
                }
                let place = format!("interpreter (whole function): {message}");
                let placement = placed_all(&program, function, &place);
                let how = How::Interpreter(interpreted(program));
                Ok(Compiled { placement, note: Some(refused.to_string()), how, labels: None })
            }
        }
    }

    /// Takes inputs, evaluates once and gives the results.
    pub fn evaluate(&mut self, inputs: &Tensors, states: &mut States) -> Result<Results, Error> {
        self.give(inputs)?;
        self.run(states)?;
        self.results()
    }

    /// Takes inputs, by the names of values. They have the types of the form; others are not looked
    /// at.
    pub fn give(&mut self, inputs: &Tensors) -> Result<(), Error> {
        match &mut self.how {
            How::Device(on) => write(&on.inputs, inputs),
            How::Engine(on) => write(&on.inputs, inputs),
            How::Interpreter(on) => {
                on.give(inputs);
                Ok(())
            }
        }
    }

    /// Evaluates with the inputs that were given last. The states become what they are afterwards;
    /// if the evaluation fails they stay what they were.
    pub fn run(&mut self, states: &mut States) -> Result<(), Error> {
        match &mut self.how {
            How::Device(on) => on.run(states),
            How::Engine(on) => Ok(on.evaluation.evaluate()?),
            How::Interpreter(on) => on.run(states),
        }
    }

    /// What the last evaluation gave.
    pub fn results(&self) -> Result<Results, Error> {
        let outputs = match &self.how {
            How::Device(on) => read(&on.outputs)?,
            How::Engine(on) => read(&on.outputs)?,
            How::Interpreter(on) => return Ok(on.results.clone()),
        };
        let mut results = Results { outputs, ..Results::default() };
        if let Some(labels) = &self.labels {
            labels.add(&mut results)?;
        }
        Ok(results)
    }
}

/// An executable with its surfaces.
struct OnDevice {
    executable: Arc<dyn Executable>,
    states: Vec<passes::states::State>,
    /// For each state whether it is updated in place.
    in_place: Vec<bool>,
    inputs: Vec<(Port, Surface)>,
    outputs: Vec<(Port, Surface)>,
    /// Made when they are wanted.
    requests: Vec<Ready>,
}

/// A request that reads the states from the sides that hold them.
struct Ready {
    sides: Vec<Option<usize>>,
    request: Box<dyn Request>,
}

/// The most requests that are kept: all states are on one side or on the other, unless other forms
/// turn some of them only.
const REQUESTS: usize = 2;

impl OnDevice {
    fn new(
        device: &dyn runtime::Device,
        mut program: Program,
        name: &str,
        constants: Tensors,
        weights: &Weights,
    ) -> Result<OnDevice, Error> {
        let no_function = || runtime::Error::NoFunction(name.to_owned());
        let function = program.functions.iter_mut().find(|f| f.name == name);
        // Devices know no states: these become inputs and outputs.
        let states = passes::states::lift(function.ok_or_else(no_function)?);
        let states = states.map_err(|error| runtime::Error::Unsupported {
            device: device.name().to_owned(),
            kernel: name.to_owned(),
            message: error.to_string(),
        })?;
        let weights = weights.clone();
        let pair = |state: &passes::states::State| (state.name.clone(), state.after.clone());
        let in_place = states.iter().map(pair).collect();
        let options = CompileOptions { weights, constants, in_place, ..CompileOptions::default() };
        let executable = device.compile(&program, name, &options)?;
        let is_state = |port: &Port| {
            states.iter().any(|state| state.name == port.name || state.after == port.name)
        };
        let surfaces = |ports: &[Port]| -> Result<Vec<(Port, Surface)>, Error> {
            let own = ports.iter().filter(|port| !is_state(port));
            own.map(|port| Ok((port.clone(), Surface::new(port.bytes)?))).collect()
        };
        let inputs = surfaces(executable.inputs())?;
        let outputs = surfaces(executable.outputs())?;
        let is_updated = |state: &passes::states::State| {
            let outputs = executable.in_place().iter().map(|pair| pair.1);
            outputs.map(|index| &executable.outputs()[index]).any(|port| port.name == state.after)
        };
        let in_place = states.iter().map(is_updated).collect();
        Ok(OnDevice { executable, states, in_place, inputs, outputs, requests: vec![] })
    }

    fn request(&mut self, states: &mut States) -> Result<&mut dyn Request, Error> {
        let sides: Vec<Option<usize>> = self.states.iter().map(|s| states.side(&s.name)).collect();
        if let Some(at) = self.requests.iter().position(|ready| ready.sides == sides) {
            return Ok(&mut *self.requests[at].request);
        }
        let mut bindings = Bindings::new();
        for (port, surface) in &self.inputs {
            bindings = bindings.input(&port.name, surface);
        }
        for (port, surface) in &self.outputs {
            bindings = bindings.output(&port.name, surface);
        }
        for (state, in_place) in self.states.iter().zip(&self.in_place) {
            let Some(before) = states.before(&state.name).cloned() else { continue };
            let after = if *in_place { Some(before.clone()) } else { states.after(&state.name)? };
            bindings = bindings.input(&state.name, &before);
            bindings = bindings.output(&state.after, &after.expect("the state is known"));
        }
        let request = self.executable.clone().bind(bindings)?;
        if self.requests.len() == REQUESTS {
            self.requests.remove(0);
        }
        self.requests.push(Ready { sides, request });
        Ok(&mut *self.requests.last_mut().expect("it was pushed").request)
    }

    fn run(&mut self, states: &mut States) -> Result<(), Error> {
        self.request(states)?.evaluate(Accumulation::Replace)?;
        for (state, in_place) in self.states.iter().zip(&self.in_place) {
            if !in_place {
                states.turn(&state.name);
            }
        }
        Ok(())
    }
}

/// A model of an engine with its surfaces.
struct OnEngine {
    evaluation: Box<dyn ane::Evaluation>,
    inputs: Vec<(Port, Surface)>,
    outputs: Vec<(Port, Surface)>,
}

impl OnEngine {
    /// An engine takes the text as it is, by its own rules: fp16 or fp32 inputs and outputs of
    /// fixed shapes.
    fn new(
        engine: &dyn ane::Engine,
        mut program: Program,
        name: &str,
        weights: &Weights,
    ) -> Result<OnEngine, Error> {
        program.functions.retain(|function| function.name == name);
        let mut source = Source { name: name.to_owned(), ..Source::default() };
        for function in &mut program.functions {
            function.name = "main".to_owned();
            for path in weight_files(function) {
                source.weights.insert(path.clone(), weights.file(&path)?);
            }
        }
        source.text = mil::print(&program);
        let model = engine.compile(&source)?;
        let least = engine.target().limits().min_surface_bytes;
        let surfaces = |ports: &[Port]| -> Result<Vec<(Port, Surface)>, Error> {
            // All of a side have one size, as the engine wants it.
            let bytes = ports.iter().map(|p| p.bytes).max().unwrap_or(0).max(least);
            ports.iter().map(|port| Ok((port.clone(), engine.surface(bytes)?))).collect()
        };
        let (inputs, outputs) = (surfaces(model.inputs())?, surfaces(model.outputs())?);
        let bound = |side: &[(Port, Surface)]| -> Vec<Surface> {
            side.iter().map(|(_, surface)| surface.clone()).collect()
        };
        let evaluation = model.bind(&bound(&inputs), &bound(&outputs))?;
        Ok(OnEngine { evaluation, inputs, outputs })
    }
}

/// A function that the interpreter evaluates.
struct Interpreted {
    program: Program,
    name: String,
    options: interp::Options,
    inputs: BTreeMap<String, Array>,
    results: Results,
}

impl Interpreted {
    fn new(program: Program, name: &str, weights: &Weights) -> Interpreted {
        let options = interp::Options { weights: weights.clone(), ..interp::Options::default() };
        let (inputs, results) = (BTreeMap::new(), Results::default());
        Interpreted { program, name: name.to_owned(), options, inputs, results }
    }

    fn give(&mut self, inputs: &Tensors) {
        let function = self.program.function(&self.name);
        let taken = |name: &String| function.is_some_and(|f| f.input(name).is_some());
        self.inputs = inputs.iter().filter(|(name, _)| taken(name)).map(array).collect();
    }

    fn run(&mut self, states: &mut States) -> Result<(), Error> {
        self.options.states = states.all()?.iter().map(array).collect();
        let results = interp::evaluate(&self.program, &self.name, &self.inputs, &self.options)?;
        let of = |arrays: BTreeMap<String, Array>| {
            tensors(arrays.into_iter().map(|(name, array)| (name, array.to_tensor())))
        };
        states.set(&of(results.states))?;
        let dictionary = |of: interp::Dictionary| Dictionary {
            keys: of.keys.to_tensor(),
            values: of.values.to_tensor(),
        };
        let dictionaries = results.dictionaries.into_iter();
        self.results = Results {
            outputs: of(results.outputs),
            dictionaries: dictionaries.map(|(name, of)| (name, dictionary(of))).collect(),
        };
        Ok(())
    }
}

fn array((name, tensor): (&String, &Tensor)) -> (String, Array) {
    (name.clone(), Array::from_tensor(tensor))
}

/// Writes the values of ports.
fn write(ports: &[(Port, Surface)], values: &Tensors) -> Result<(), Error> {
    for (port, surface) in ports {
        let found = values.get(&port.name).map(Tensor::bytes);
        let Some(bytes) = found.filter(|bytes| bytes.len() == port.bytes) else {
            let message = format!("input `{}` has no value of type {}", port.name, port.ty);
            return Err(runtime::Error::Bind { kernel: port.name.clone(), message }.into());
        };
        surface.write()?[..port.bytes].copy_from_slice(bytes);
    }
    Ok(())
}

/// Reads the values of ports.
fn read(ports: &[(Port, Surface)]) -> Result<Tensors, Error> {
    let mut values = Tensors::new();
    for (port, surface) in ports {
        let bytes = surface.read()?[..port.bytes].to_vec();
        let tensor = Tensor::from_bytes(port.ty.dtype, &port.dims, bytes);
        values.insert(port.name.clone(), tensor.expect("a port has the bytes of its type"));
    }
    Ok(values)
}

/// Every operation of a function at one place.
fn placed_all(program: &Program, function: &str, place: &str) -> Vec<Placement> {
    let Some(function) = program.function(function) else { return vec![] };
    let placed = |operation: &Operation| Placement {
        value: operation.outputs.first().map_or("", |&id| &function.value(id).name).to_owned(),
        op: operation.op.name(),
        place: place.to_owned(),
    };
    function.body.operations.iter().filter(|o| o.op != Op::Const).map(placed).collect()
}

/// The paths of the weight files that a function reads.
fn weight_files(function: &Function) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    function.body.visit(&mut |operation| {
        for literal in operation.literals() {
            if let Literal::Blob(blob) = literal {
                paths.insert(blob.path.clone());
            }
        }
    });
    paths
}

/// Whether a shape is known only when the function runs.
pub(crate) fn is_open(function: &Function) -> bool {
    let open = |ty: &Type| ty.as_tensor().is_some_and(|t| t.fixed_dims().is_none());
    function.values.iter().any(|value| open(&value.ty))
}
