//! Gradients of outputs with respect to inputs.

use crate::compiled::{Compiled, Results, Settings};
use crate::device::{Device, Opened};
use crate::features::{self, Given, STATE};
use crate::session::{Forms, Key};
use crate::states::States;
use crate::{Error, FeatureProblem, Model, Tensors, tensors};
use coreml::FunctionInterface;
use mil::{Program, Tensor, TensorType, Weights};
use passes::autodiff::{self, Recompute};
use passes::states::State;

/// What is differentiated, for what, and on what.
#[derive(Clone, Debug)]
pub struct GradientOptions {
    /// The function; `None` is the one that the model says is meant, `main`, or the only one.
    pub function: Option<String>,
    /// The inputs whose gradients are wanted, by the names of the features; `state/NAME` is a state
    /// before the evaluation.
    pub wrt: Vec<String>,
    /// What the backward function computes again instead of being given.
    pub recompute: Recompute,
    /// What evaluates.
    pub device: Device,
    /// The files that `@model_path` stands for in the program, if they are not the model's own.
    pub weights: Option<Weights>,
    /// Whether the interpreter evaluates a function that the device cannot run. Otherwise this is
    /// an error.
    pub fall_back: bool,
    /// How many forms of a function with flexible shapes are kept.
    pub forms: usize,
}

impl Default for GradientOptions {
    fn default() -> GradientOptions {
        GradientOptions {
            function: None,
            wrt: vec![],
            recompute: Recompute::default(),
            device: Device::default(),
            weights: None,
            fall_back: true,
            forms: 8,
        }
    }
}

/// A function with its backward function, on a device.
///
/// Both are compiled when they are first evaluated, once for every set of input shapes.
pub struct Gradient {
    /// The function alone.
    program: Program,
    interface: FunctionInterface,
    wrt: Vec<String>,
    recompute: Recompute,
    opened: Opened,
    weights: Weights,
    fall_back: bool,
    forms: Forms<Pair>,
}

/// Outputs and gradients, by the names of the features.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    /// What the function gives. States after the evaluation are among it, as `state/NAME`.
    pub outputs: Tensors,
    /// The gradient of every wanted input, in its shape.
    pub gradients: Tensors,
}

/// Both functions, for inputs of given shapes.
struct Pair {
    forward: Compiled,
    backward: Compiled,
    /// Outputs of the function in their order, by the names of values, with their types.
    outputs: Vec<(String, TensorType)>,
    /// Inputs of the backward function.
    wanted: Vec<String>,
    states: Vec<State>,
}

impl Gradient {
    /// Opens the device for a function of the model.
    ///
    /// Whether there is a gradient is found out for the shapes of inputs, in
    /// [`Gradient::evaluate`].
    ///
    /// # Errors
    /// If there is no such function, or the device cannot be opened.
    pub fn new(model: &Model, options: GradientOptions) -> Result<Gradient, Error> {
        let GradientOptions { function, wrt, recompute, device, weights, fall_back, forms } =
            options;
        let function = model.function(function.as_deref())?;
        Ok(Gradient {
            program: Program { functions: vec![function.clone()], ..model.program().clone() },
            interface: model.interface().function(&function.name).cloned().unwrap_or_default(),
            wrt,
            recompute,
            opened: device.open()?,
            weights: weights.unwrap_or_else(|| model.weights().clone()),
            fall_back,
            forms: Forms::new(forms),
        })
    }

    /// The function's outputs, and the gradients of Σ ⟨output, its seed⟩.
    ///
    /// Inputs are given as in [`crate::Session::predict`]; states that are not given are zero.
    /// `seeds` has an array in the shape of an output for any number of them, `state/NAME` among
    /// them, and counts as zero for the others. Where it is empty, the seed is 1 for the only float
    /// output, which must have one element.
    ///
    /// # Errors
    /// If inputs or seeds do not fit, with their names; an operation on the way has no gradient
    /// rule; a wanted input does not influence any output; or the device refuses or fails.
    pub fn evaluate<N: Into<String>, M: Into<String>>(
        &mut self,
        inputs: impl IntoIterator<Item = (N, Tensor)>,
        seeds: impl IntoIterator<Item = (M, Tensor)>,
    ) -> Result<Gradients, Error> {
        let (given, seeds) = (tensors(inputs), tensors(seeds));
        let function = &self.program.functions[0];
        let name = function.name.clone();
        let Given { mut inputs, states } = features::sort(function, &self.interface, given)?;
        self.compile(&inputs)?;
        let Gradient { forms, interface, wrt, .. } = self;
        let pair = forms.current().expect("it was compiled above");
        let mut values = pair.seeds(interface, seeds, &name)?;
        // States are inputs now.
        for state in &pair.states {
            let zero = || pair.state_zero(&state.after);
            let value = states.get(&state.name).cloned().or_else(zero);
            inputs.extend(value.map(|value| (state.name.clone(), value)));
        }
        let none = &mut States::default();
        let Results { outputs, .. } = pair.forward.evaluate(&inputs, none)?;
        let all = inputs.into_iter().chain(outputs.clone());
        values.extend(all.filter(|(value, _)| pair.wanted.contains(value)));
        let mut gradients = pair.backward.evaluate(&values, none)?.outputs;
        let mut result = Gradients::default();
        for (value, tensor) in outputs {
            if pair.outputs.iter().any(|(name, _)| *name == value) {
                result.outputs.insert(pair.output_name(interface, &value), tensor);
            }
        }
        for feature in wrt {
            let gradient = gradients.remove(&format!("d_{}", wanted(interface, feature)));
            result.gradients.extend(gradient.map(|gradient| (feature.clone(), gradient)));
        }
        Ok(result)
    }

    /// The functions `forward` and `backward` for inputs of the shapes that are declared, or else
    /// of the default ones: what `anemone grad` writes. `forward` also gives what `backward` wants
    /// to know; that takes `d_OUTPUT` for every output that depends on a wanted input, and gives
    /// `d_INPUT`.
    ///
    /// # Errors
    /// As [`Gradient::evaluate`].
    pub fn program(&self) -> Result<Program, Error> {
        let none = coreml::Shapes::new();
        let program = coreml::specialize(&self.program, &self.interface, &none)?;
        Ok(self.differentiated(program)?.program)
    }

    fn differentiated(&self, mut program: Program) -> Result<Differentiated, Error> {
        let mut function = program.functions.remove(0);
        let name = function.name.clone();
        let states = passes::states::lift(&mut function)
            .map_err(|source| Error::GradientState { function: name.clone(), source })?;
        let wrt = self.wrt.iter().map(|name| wanted(&self.interface, name).to_owned()).collect();
        let options =
            autodiff::Options { wrt, recompute: self.recompute, ..autodiff::Options::default() };
        let mut gradient = autodiff::differentiate(&function, &options)
            .map_err(|source| Error::Gradient { function: name, source })?;
        gradient.forward.name = FORWARD.to_owned();
        gradient.backward.name = BACKWARD.to_owned();
        let outputs = function.body.outputs.iter().map(|&id| function.value(id));
        let outputs = outputs
            .filter_map(|value| Some((value.name.clone(), value.ty.as_tensor()?.clone())))
            .collect();
        program.functions = vec![gradient.forward, gradient.backward];
        Ok(Differentiated { program, outputs, states })
    }

    /// Makes the form for these inputs the current one.
    fn compile(&mut self, inputs: &Tensors) -> Result<(), Error> {
        let mut forms = std::mem::replace(&mut self.forms, Forms::new(1));
        let chosen = forms.choose(Key::of(inputs), inputs, || {
            let program = features::specialized(&self.program, &self.interface, inputs)?;
            let Differentiated { program, outputs, states } = self.differentiated(program)?;
            let (opened, weights) = (&self.opened, &self.weights);
            let settings = Settings { opened, weights, fall_back: self.fall_back };
            let compiled = |name| {
                let functions = program.functions.iter().filter(|f| f.name == name);
                let program =
                    Program { functions: functions.cloned().collect(), ..program.clone() };
                Compiled::new(&settings, program, name, Tensors::new(), &States::default())
            };
            let wanted = program.function(BACKWARD).map_or(vec![], |function| {
                function.inputs.iter().map(|&id| function.value(id).name.clone()).collect()
            });
            let (forward, backward) = (compiled(FORWARD)?, compiled(BACKWARD)?);
            Ok((Pair { forward, backward, outputs, wanted, states }, Tensors::new()))
        });
        self.forms = forms;
        chosen
    }
}

const FORWARD: &str = "forward";
const BACKWARD: &str = "backward";

/// Both functions in one program.
struct Differentiated {
    program: Program,
    outputs: Vec<(String, TensorType)>,
    states: Vec<State>,
}

impl Pair {
    /// The name that users say for an output, a state among them.
    fn output_name(&self, interface: &FunctionInterface, value: &str) -> String {
        match self.states.iter().find(|state| state.after == value) {
            Some(state) => format!("{STATE}{}", features::named(&interface.states, &state.name)),
            None => features::named(&interface.outputs, value).to_owned(),
        }
    }

    fn zero(ty: &TensorType) -> Option<Tensor> {
        let dims = ty.fixed_dims()?;
        let bytes = ty.dtype.packed_bytes(mil::element_count(&dims)?)?;
        Tensor::from_bytes(ty.dtype, &dims, vec![0; bytes]).ok()
    }

    /// Zeros of the type of a state.
    fn state_zero(&self, after: &str) -> Option<Tensor> {
        let (_, ty) = self.outputs.iter().find(|(name, _)| name == after)?;
        Pair::zero(ty)
    }

    /// The seeds that the backward function takes, by its names.
    fn seeds(
        &self,
        interface: &FunctionInterface,
        mut given: Tensors,
        function: &str,
    ) -> Result<Tensors, Error> {
        let mut problems = vec![];
        let mut problem = |feature: String, message: String| {
            problems.push(FeatureProblem { feature, message });
        };
        let is_alone = given.is_empty();
        let mut seeds = Tensors::new();
        let mut unseeded = vec![];
        for (value, ty) in &self.outputs {
            let key = format!("d_{value}");
            let name = self.output_name(interface, value);
            let seed = match given.remove(&name) {
                Some(seed) => features::fit(seed, ty),
                None if !self.wanted.contains(&key) => continue,
                None if is_alone => {
                    unseeded.push((name, key, ty));
                    continue;
                }
                None => Pair::zero(ty).ok_or_else(|| format!("{ty} is too large")),
            };
            match seed {
                Ok(seed) if self.wanted.contains(&key) => {
                    seeds.insert(key, seed);
                }
                Ok(_) => {}
                Err(error) => problem(name.clone(), format!("seed of output `{name}`: {error}")),
            }
        }
        for name in given.keys() {
            problem(name.clone(), format!("`{name}` is no output of function `{function}`"));
        }
        match &unseeded[..] {
            [] => {}
            [(_, key, ty)] if ty.fixed_dims().and_then(|d| mil::element_count(&d)) == Some(1) => {
                let dims = ty.fixed_dims().unwrap_or_default();
                let one = Tensor::from_f64s(ty.dtype, &dims, &[1.0]);
                seeds.extend(one.ok().map(|one| (key.clone(), one)));
            }
            several => {
                for (name, _, ty) in several {
                    let message = format!("output `{name}` wants a seed of type {ty}");
                    problem(name.clone(), message);
                }
            }
        }
        match problems.is_empty() {
            true => Ok(seeds),
            false => Err(Error::Features(problems)),
        }
    }
}

/// The value that a wanted input is.
fn wanted<'a>(interface: &'a FunctionInterface, name: &'a str) -> &'a str {
    match name.strip_prefix(STATE) {
        Some(state) if !interface.inputs.iter().any(|input| input.name == name) => {
            features::value_of(&interface.states, state)
        }
        _ => features::value_of(&interface.inputs, name),
    }
}
