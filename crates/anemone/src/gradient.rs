//! Gradients of outputs with respect to inputs and constants.

use crate::compiled::{Compiled, Results, Settings};
use crate::constants::Constants;
use crate::device::{Device, Opened};
use crate::features::{self, Given, STATE};
use crate::session::{Forms, Key};
use crate::states::States;
use crate::{Error, FeatureProblem, Model, Tensors, tensors};
use coreml::FunctionInterface;
use mil::{Program, Tensor, TensorType, Weights};
use passes::autodiff::{self, Recompute};
use passes::states::State;
use passes::trainable::loss;

/// What is differentiated, for what, and on what.
#[derive(Clone, Debug)]
pub struct GradientOptions {
    /// The function; `None` is the one that the model says is meant, `main`, or the only one.
    pub function: Option<String>,
    /// The inputs whose gradients are wanted, by the names of the features; `state/NAME` is a state
    /// before the evaluation.
    pub wrt: Vec<String>,
    /// Constants whose gradients are wanted too: those whose names have a match of this regular
    /// expression. A constant has the name of its value and that of its attribute `name`.
    pub constants: Option<String>,
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
            constants: None,
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
/// Both are compiled when they are first evaluated, once for every set of input shapes. A classifier
/// is differentiated for the probabilities that its label is made of.
///
/// Constants that are differentiated for are inputs of fp32, whatever they were, and are cast where
/// they are used. They have the model's values where [`Gradient::evaluate`] is given no others, so
/// that training is a loop around it:
///
/// ```
/// use anemone::mil::{DataType, Tensor};
/// use anemone::{Gradient, GradientOptions, Model};
///
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../coreml/tests/fixtures");
/// let model = Model::load(format!("{folder}/perceptron.mlpackage"))?;
/// let constants = Some("weight|bias".to_owned());
/// let options = GradientOptions { constants, ..GradientOptions::default() };
/// let mut gradient = Gradient::new(&model, options)?;
/// let mut constants = gradient.constants()?;
/// let x = Tensor::from_f64s(DataType::Fp32, &[2, 8], &[0.5; 16])?;
///
/// // One step down the mean of squares Σy²/n, whose gradient by y is 2y/n.
/// let y = model.session()?.predict([("x", x.clone())])?.output("y")?.clone();
/// let loss = |y: &Tensor| y.to_f64s().iter().map(|y| y * y).sum::<f64>() / y.count() as f64;
/// let seed: Vec<f64> = y.to_f64s().iter().map(|v| 2.0 * v / y.count() as f64).collect();
/// let seed = Tensor::from_f64s(DataType::Fp32, y.dims(), &seed)?;
/// let given = constants.clone().into_iter().chain([("x".to_owned(), x.clone())]);
/// let result = gradient.evaluate(given, [("y", seed)])?;
/// for (name, constant) in &mut constants {
///     let by = result.gradients[name].to_f64s();
///     let values = constant.to_f64s().into_iter().zip(by).map(|(value, by)| value - 0.1 * by);
///     let values: Vec<f64> = values.collect();
///     *constant = Tensor::from_f64s(DataType::Fp32, constant.dims(), &values)?;
/// }
///
/// // The model with the new values; `write` makes a package of it.
/// let trained = model.with_constants(None, &constants)?;
/// let after = trained.session()?.predict([("x", x)])?;
/// assert!(loss(after.output("y")?) < loss(&y));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Gradient {
    /// The function alone, with constants that are inputs.
    program: Program,
    interface: FunctionInterface,
    constants: Constants,
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
    /// The gradient of every wanted input and constant, in its shape.
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
    /// If there is no such function, no constant is meant, or the device cannot be opened.
    pub fn new(model: &Model, options: GradientOptions) -> Result<Gradient, Error> {
        let GradientOptions {
            function,
            mut wrt,
            constants,
            recompute,
            device,
            weights,
            fall_back,
            forms,
        } = options;
        let mut function = model.function(function.as_deref())?.clone();
        let interface = model.interface().function(&function.name).cloned().unwrap_or_default();
        loss::unlabel(&mut function);
        let constants = match constants {
            Some(pattern) => Constants::lift(&mut function, &interface, &pattern)?,
            None => Constants::default(),
        };
        for name in constants.names() {
            if !wrt.contains(name) {
                wrt.push(name.clone());
            }
        }
        Ok(Gradient {
            program: Program { functions: vec![function], ..model.program().clone() },
            interface,
            constants,
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
    /// Inputs are given as in [`crate::Session::predict`]; states that are not given are zero, and
    /// constants that gradients are wanted of are what they are in the model.
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
        let (mut given, seeds) = (tensors(inputs), tensors(seeds));
        self.constants.load(&self.weights)?;
        self.constants.fill(&mut given);
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

    /// The constants that gradients are wanted of, by their names, as the model has them; in fp32.
    ///
    /// # Errors
    /// If a weight file cannot be read.
    pub fn constants(&self) -> Result<Tensors, Error> {
        self.constants.values(&self.weights)
    }

    /// The functions `forward` and `backward` for inputs of the shapes that are declared, or else
    /// of the default ones: what `anemone grad` writes. `forward` also gives what `backward` wants
    /// to know; that takes `d_OUTPUT` for every output that depends on a wanted input, and gives
    /// `d_INPUT`. Constants are inputs behind the others.
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
