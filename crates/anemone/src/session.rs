//! Functions that are evaluated again and again.

use crate::compiled::{Compiled, Results, Settings, is_open};
use crate::device::{Device, Opened};
use crate::features::{self, Given, STATE};
use crate::prediction::Prediction;
use crate::states::States;
use crate::{Error, Model, Tensors, tensors};
use coreml::FunctionInterface;
use mil::{Function, Program, Tensor, Weights};
use runtime::Placement;
use std::collections::BTreeMap;

/// What a session evaluates, and on what.
#[derive(Clone, Debug)]
pub struct Options {
    /// The function; `None` is the one that the model says is meant, `main`, or the only one.
    pub function: Option<String>,
    /// What evaluates.
    pub device: Device,
    /// The files that `@model_path` stands for in the program, if they are not the model's own.
    pub weights: Option<Weights>,
    /// Whether the interpreter evaluates a function that the device cannot run;
    /// [`Session::note`] then tells why. Otherwise this is an error.
    pub fall_back: bool,
    /// How many forms of a function with flexible shapes are kept, one for each set of shapes. The
    /// one that was not used for longest goes first.
    pub forms: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            function: None,
            device: Device::default(),
            weights: None,
            fall_back: true,
            forms: 8,
        }
    }
}

/// A function on a device, with its states.
///
/// It is compiled when it is first evaluated, once for every set of input shapes; weights are read
/// then, and never again while the form is kept. Only the interpreter reads them every time. States
/// begin as zeros and live as long as the session.
pub struct Session {
    /// The function alone.
    program: Program,
    function: String,
    interface: FunctionInterface,
    opened: Opened,
    weights: Weights,
    fall_back: bool,
    states: States,
    forms: Forms<Compiled>,
}

impl Session {
    /// Opens the device for a function of the model.
    ///
    /// # Errors
    /// If there is no such function, the device cannot be opened, or a state is of a type that
    /// cannot be kept.
    pub fn new(model: &Model, options: Options) -> Result<Session, Error> {
        let Options { function, device, weights, fall_back, forms } = options;
        let function = model.function(function.as_deref())?;
        let states = States::of(function)?;
        Ok(Session {
            program: Program { functions: vec![function.clone()], ..model.program().clone() },
            function: function.name.clone(),
            interface: model.interface().function(&function.name).cloned().unwrap_or_default(),
            opened: device.open()?,
            weights: weights.unwrap_or_else(|| model.weights().clone()),
            fall_back,
            states,
            forms: Forms::new(forms),
        })
    }

    /// The function's name.
    pub fn function(&self) -> &str {
        &self.function
    }

    /// The features of the function.
    pub fn features(&self) -> &FunctionInterface {
        &self.interface
    }

    /// Evaluates the function once.
    ///
    /// Inputs are given by the names of the features. They are cast to the declared element types,
    /// and reshaped where the number of elements allows; an image is an array of shape `[1, channels,
    /// height, width]` with values from 0 to 255 ([`crate::image::tensor`]). Inputs that the model
    /// says may be left out then have its default values. `state/NAME` sets a state before the
    /// evaluation, as [`Session::set_state`] does.
    ///
    /// # Errors
    /// If an input is missing, unknown or of a shape that the interface does not allow, with the
    /// names of all such; or the device refuses or fails.
    pub fn predict<N: Into<String>>(
        &mut self,
        inputs: impl IntoIterator<Item = (N, Tensor)>,
    ) -> Result<Prediction, Error> {
        self.prepare(inputs)?;
        self.evaluate()?;
        self.prediction()
    }

    /// Takes inputs as [`Session::predict`] does, and compiles the function for their shapes if
    /// that has not happened yet; nothing is evaluated.
    ///
    /// With [`Session::evaluate`] and [`Session::prediction`] this is [`Session::predict`] in its
    /// parts, for those who evaluate the same inputs again or measure the device alone.
    ///
    /// ```
    /// # use anemone::{Model, mil::{DataType, Tensor}};
    /// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../coreml/tests/fixtures");
    /// let mut session = Model::load(format!("{folder}/state.mlpackage"))?.session()?;
    /// session.prepare([("x", Tensor::from_f64s(DataType::Fp16, &[4], &[1., 2., 3., 4.])?)])?;
    /// for _ in 0..3 {
    ///     session.evaluate()?;
    /// }
    /// assert_eq!(session.states()?["total"].to_f64s(), [3., 6., 9., 12.]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If inputs do not fit, as in [`Session::predict`], or the device refuses the function.
    pub fn prepare<N: Into<String>>(
        &mut self,
        inputs: impl IntoIterator<Item = (N, Tensor)>,
    ) -> Result<(), Error> {
        let given = tensors(inputs);
        let Given { inputs, states } = features::sort(self.own(), &self.interface, given)?;
        self.compile(&inputs)?;
        self.states.set(&states)?;
        self.forms.current().expect("it was compiled above").give(&inputs)
    }

    /// Evaluates with the inputs that were taken last. Nothing is copied but by the interpreter.
    ///
    /// # Errors
    /// If no inputs were taken yet, or the device fails; states are then what they were.
    pub fn evaluate(&mut self) -> Result<(), Error> {
        self.forms.current().ok_or(Error::NoInputs)?.run(&mut self.states)
    }

    /// What the last evaluation gave.
    ///
    /// # Errors
    /// If no inputs were taken yet, or the outputs' memory cannot be read.
    pub fn prediction(&self) -> Result<Prediction, Error> {
        let Results { outputs, dictionaries } =
            self.forms.last().ok_or(Error::NoInputs)?.results()?;
        let named = |name: String| features::named(&self.interface.outputs, &name).to_owned();
        let mut prediction = Prediction {
            outputs: features::renamed(&self.interface.outputs, outputs),
            dictionaries: dictionaries.into_iter().map(|(name, of)| (named(name), of)).collect(),
            ..Prediction::default()
        };
        prediction.named(&self.interface);
        Ok(prediction)
    }

    /// The function.
    fn own(&self) -> &Function {
        &self.program.functions[0]
    }

    /// Makes the form for these inputs the current one.
    fn compile(&mut self, inputs: &Tensors) -> Result<(), Error> {
        let key = match self.opened {
            // It takes whatever shapes there are.
            Opened::Interpreter => Key::default(),
            _ => Key::of(inputs),
        };
        let (program, settings) = (
            &self.program,
            Settings { opened: &self.opened, weights: &self.weights, fall_back: self.fall_back },
        );
        let (name, interface, states) = (&self.function, &self.interface, &self.states);
        self.forms.choose(key, inputs, || {
            if matches!(settings.opened, Opened::Interpreter) {
                let program = program.clone();
                let form = Compiled::new(&settings, program, name, Tensors::new(), states)?;
                return Ok((form, Tensors::new()));
            }
            let program = features::specialized(program, interface, inputs)?;
            // Where shapes are computed from inputs, the form is for the values of these.
            let open = program.function(name).is_some_and(is_open);
            let constants = match (settings.opened, open) {
                (Opened::Device(_), true) => sizes(inputs),
                _ => Tensors::new(),
            };
            let form = Compiled::new(&settings, program, name, constants.clone(), states)?;
            // The interpreter takes whatever values there are.
            let constants = if form.note.is_some() { Tensors::new() } else { constants };
            Ok((form, constants))
        })
    }

    /// Where every operation ran in the last evaluation; empty before the first.
    pub fn placement(&self) -> &[Placement] {
        self.forms.last().map_or(&[], |form| &form.placement)
    }

    /// Why the interpreter made the last evaluation in place of the device, if it did.
    pub fn note(&self) -> Option<&str> {
        self.forms.last()?.note.as_deref()
    }

    /// The states by the names of the features.
    ///
    /// # Errors
    /// If their memory cannot be read.
    pub fn states(&self) -> Result<Tensors, Error> {
        Ok(features::renamed(&self.interface.states, self.states.all()?))
    }

    /// Gives a state a value, which is cast and reshaped as inputs are.
    ///
    /// # Errors
    /// If there is no such state, or the value is of another shape.
    pub fn set_state(&mut self, name: &str, value: Tensor) -> Result<(), Error> {
        let state = features::value_of(&self.interface.states, name);
        let key = format!("{STATE}{name}");
        let of = |message| Error::Features(vec![crate::FeatureProblem { feature: key, message }]);
        let Some(ty) = self.states.ty(state) else {
            let function = &self.function;
            return Err(of(format!("`{name}` is no state of function `{function}`")));
        };
        let value = match features::fit(value, ty) {
            Ok(value) => value,
            Err(error) => return Err(of(format!("state `{name}`: {error}"))),
        };
        self.states.set(&tensors([(state, value)]))
    }

    /// Makes all states zero again.
    ///
    /// # Errors
    /// If their memory cannot be written.
    pub fn reset(&mut self) -> Result<(), Error> {
        self.states.reset()
    }
}

/// Inputs that a shape could be computed from.
fn sizes(inputs: &Tensors) -> Tensors {
    let is_size = |tensor: &Tensor| tensor.dtype().is_int() && tensor.dims().len() <= 1;
    let sizes = inputs.iter().filter(|(_, tensor)| is_size(tensor));
    sizes.map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
}

/// The shapes that a form is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Key(BTreeMap<String, Vec<usize>>);

impl Key {
    pub fn of(inputs: &Tensors) -> Key {
        Key(inputs.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())).collect())
    }
}

/// What was made for given shapes, a few of them; the one that was used last stands last.
pub(crate) struct Forms<T> {
    limit: usize,
    kept: Vec<Form<T>>,
}

struct Form<T> {
    key: Key,
    /// Inputs that must have these values.
    constants: Tensors,
    form: T,
}

impl<T> Forms<T> {
    pub fn new(limit: usize) -> Forms<T> {
        Forms { limit: limit.max(1), kept: vec![] }
    }

    /// Makes the form for these inputs the current one: one that is there, or a new one, which
    /// comes with the values that it is for.
    pub fn choose(
        &mut self,
        key: Key,
        inputs: &Tensors,
        make: impl FnOnce() -> Result<(T, Tensors), Error>,
    ) -> Result<(), Error> {
        let fits = |form: &Form<T>| {
            let same = |(name, value): (&String, &Tensor)| inputs.get(name) == Some(value);
            form.key == key && form.constants.iter().all(same)
        };
        if let Some(at) = self.kept.iter().position(fits) {
            self.kept[at..].rotate_left(1);
            return Ok(());
        }
        let (form, constants) = make()?;
        if self.kept.len() == self.limit {
            self.kept.remove(0);
        }
        self.kept.push(Form { key, constants, form });
        Ok(())
    }

    pub fn current(&mut self) -> Option<&mut T> {
        self.kept.last_mut().map(|form| &mut form.form)
    }

    pub fn last(&self) -> Option<&T> {
        self.kept.last().map(|form| &form.form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_made_once_for_each_shape_and_the_oldest_goes() {
        let mut forms = Forms::new(2);
        let mut made = vec![];
        for length in [1, 2, 1, 3, 1, 2] {
            let inputs = tensors([("x", Tensor::int32s(&vec![0; length]))]);
            let make = || {
                made.push(length);
                Ok((length, Tensors::new()))
            };
            forms.choose(Key::of(&inputs), &inputs, make).unwrap();
            assert_eq!(forms.current(), Some(&mut length.clone()));
        }
        assert_eq!(made, [1, 2, 3, 2]);
    }

    #[test]
    fn a_form_may_be_for_one_value() {
        let mut forms = Forms::new(8);
        let mut made = vec![];
        for value in [5, 6, 5] {
            let inputs = tensors([("n", Tensor::int32(value)), ("x", Tensor::int32(1))]);
            let make = || {
                made.push(value);
                Ok((value, sizes(&tensors([("n", Tensor::int32(value))]))))
            };
            forms.choose(Key::of(&inputs), &inputs, make).unwrap();
            assert_eq!(forms.last(), Some(&value));
        }
        assert_eq!(made, [5, 6]);
    }
}
