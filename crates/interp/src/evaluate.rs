//! Running a function.

use crate::value::Value;
use crate::{Arithmetic, Array, Dictionary, Step, control, ops};
use mil::{
    Arg, DataType, Env, Function, Literal, Op, OpError, Operand, Operation, Params, Program,
    Tensor, Type, ValueId, Weights,
};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where weight files are.
    pub weights: Weights,
    /// When to round.
    pub rounding: Rounding,
    /// Values of states before the run, by name; a state that is not named is zero.
    pub states: BTreeMap<String, Array>,
    /// Results with more elements than this are refused.
    pub max_elements: usize,
    /// How many passes all loops of a run may make together.
    pub max_iterations: usize,
    /// Where random numbers begin that have no seed of their own (a seed of −1).
    pub seed: u64,
    /// A device's arithmetic in place of the plain one.
    pub arithmetic: Option<Arc<dyn Arithmetic>>,
}

/// When floats are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Every result is rounded to its declared type, once.
    Declared,
    /// Never: everything is f64, as finite differences need it.
    None,
}

/// What a run gives.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// The function's outputs by name; a class label is a scalar of strings or `int64`.
    pub outputs: BTreeMap<String, Array>,
    /// The function's outputs that are dictionaries, by name.
    pub dictionaries: BTreeMap<String, Dictionary>,
    /// The states after the run, by name.
    pub states: BTreeMap<String, Array>,
}

/// Why a run fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program has no such function.
    #[error("the program has no function `{0}`")]
    NoFunction(String),
    /// An input is missing, unknown or of another shape.
    #[error("input `{name}`: {message}")]
    Input {
        /// The input.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// An operation cannot be evaluated.
    #[error("`{value}`: {source}")]
    Op {
        /// The operation's first result.
        value: String,
        /// What is wrong.
        source: OpError,
    },
    /// A weight file cannot be read.
    #[error(transparent)]
    Weights(#[from] mil::BlobError),
    /// A result is too large.
    #[error("`{value}` would have {elements} elements, more than {max}")]
    TooLarge {
        /// The value.
        value: String,
        /// Its elements.
        elements: usize,
        /// The limit.
        max: usize,
    },
    /// A loop goes on for too long.
    #[error("`{value}`: its loop does not end; all loops may make {max} passes together")]
    Iterations {
        /// The loop's first result.
        value: String,
        /// The limit.
        max: usize,
    },
    /// The program is not valid.
    #[error("{0}")]
    Invalid(String),
}

impl Default for Options {
    fn default() -> Options {
        Options {
            weights: Weights::default(),
            rounding: Rounding::Declared,
            states: BTreeMap::new(),
            max_elements: 1 << 31,
            max_iterations: 1 << 20,
            seed: 0,
            arithmetic: None,
        }
    }
}

/// Runs a function of a program. Inputs are cast to the declared element type and reshaped to the
/// declared shape where the number of elements allows.
pub fn evaluate(
    program: &Program,
    function: &str,
    inputs: &BTreeMap<String, Array>,
    options: &Options,
) -> Result<Outputs, Error> {
    let function =
        program.function(function).ok_or_else(|| Error::NoFunction(function.to_owned()))?;
    known_names(function, "input", inputs)?;
    known_names(function, "state", &options.states)?;
    let mut frame = Frame {
        function,
        options,
        types: function.values.iter().map(|v| v.ty.clone()).collect(),
        values: vec![None; function.values.len()],
        states: BTreeMap::new(),
        iterations: 0,
        depth: 0,
        draws: BTreeMap::new(),
    };
    for &id in &function.inputs {
        frame.input(id, inputs)?;
    }
    for operation in &function.body.operations {
        frame.operation(operation)?;
    }
    let (mut outputs, mut dictionaries) = (BTreeMap::new(), BTreeMap::new());
    for &id in &function.body.outputs {
        let name = function.value(id).name.clone();
        match frame.values[id.index()].clone() {
            Some(Value::Tensor(array)) => {
                outputs.insert(name, array);
            }
            Some(Value::Dictionary(dictionary)) => {
                dictionaries.insert(name, dictionary);
            }
            Some(Value::List(_)) => {
                return Err(Error::Invalid(format!(
                    "output `{name}` is a list, which cannot leave"
                )));
            }
            None => return Err(Error::Invalid(format!("output `{name}` has no value"))),
        }
    }
    let states = std::mem::take(&mut frame.states)
        .into_iter()
        .map(|(id, array)| (function.value(id).name.clone(), array))
        .collect();
    Ok(Outputs { outputs, dictionaries, states })
}

/// Every name that was given must be one that the function has.
fn known_names(
    function: &Function,
    kind: &str,
    given: &BTreeMap<String, Array>,
) -> Result<(), Error> {
    let is_known = |name: &str| {
        let ty = function.input(name).map(|id| function.ty(id));
        ty.is_some_and(|ty| matches!(ty, Type::State(_)) == (kind == "state"))
    };
    match given.keys().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) => {
            let message = format!("function `{}` has no {kind} of this name", function.name);
            Err(Error::Input { name: name.clone(), message })
        }
    }
}

/// Evaluates one operation. `env` knows the types of its operands, `argument` their values;
/// results are rounded to `types`.
pub fn apply(
    operation: &Operation,
    env: &dyn Env,
    argument: &dyn Fn(ValueId) -> Array,
    types: &[Type],
) -> Result<Vec<Array>, OpError> {
    let env = Known { types: env, argument };
    let draw = Draw { seed: Options::default().seed, visit: 0 };
    let results = ops::compute(&Context::new(operation, &env, argument, None, draw))?;
    Ok(results.into_iter().zip(types).map(|(array, ty)| typed(&array, ty).rounded()).collect())
}

/// The array with the element type of `ty`.
fn typed(array: &Array, ty: &Type) -> Array {
    match ty.as_tensor() {
        Some(t) if t.dtype != array.dtype() => array.cast(t.dtype),
        _ => array.clone(),
    }
}

/// An operation with the values of its operands.
pub(crate) struct Context<'a> {
    pub operation: &'a Operation,
    pub params: Params<'a>,
    env: &'a dyn Env,
    argument: &'a dyn Fn(ValueId) -> Array,
    arithmetic: Option<&'a dyn Arithmetic>,
    pub draw: Draw,
}

/// Where random numbers come from.
#[derive(Clone, Copy)]
pub(crate) struct Draw {
    /// The run's own seed.
    pub seed: u64,
    /// How often the operation has run before.
    pub visit: u64,
}

impl<'a> Context<'a> {
    fn new(
        operation: &'a Operation,
        env: &'a dyn Env,
        argument: &'a dyn Fn(ValueId) -> Array,
        arithmetic: Option<&'a dyn Arithmetic>,
        draw: Draw,
    ) -> Context<'a> {
        Context { operation, params: Params::new(operation, env), env, argument, arithmetic, draw }
    }

    /// sum + a·b.
    pub fn add_product(&self, sum: f64, a: f64, b: f64) -> f64 {
        match self.arithmetic {
            None => sum + a * b,
            Some(device) => device.accumulate(sum, device.product(a, b)),
        }
    }

    /// sum + term.
    pub fn add_term(&self, sum: f64, term: f64) -> f64 {
        self.arithmetic.map_or(sum + term, |device| device.accumulate(sum, term))
    }

    /// What is bound to a parameter that the op requires.
    pub fn need(&self, name: &str) -> Result<Array, OpError> {
        self.get(name)?.ok_or_else(|| self.params.error(format!("parameter `{name}` is missing")))
    }

    /// What is bound to a parameter.
    pub fn get(&self, name: &str) -> Result<Option<Array>, OpError> {
        match self.operation.inputs.get(name) {
            Some(Arg::One(operand)) => self.operand(operand).map(Some),
            Some(Arg::Many(_)) => Err(self.params.error(format!("`{name}` must not be a tuple"))),
            None => match self.operation.attributes.get(name) {
                Some(literal) if name != "name" => self.literal(literal).map(Some),
                _ => Ok(None),
            },
        }
    }

    /// The members of a tuple.
    pub fn tuple(&self, name: &str) -> Result<Vec<Array>, OpError> {
        let arg = self.operation.inputs.get(name);
        let arg = arg.ok_or_else(|| self.params.error(format!("parameter `{name}` is missing")))?;
        arg.operands().iter().map(|operand| self.operand(operand)).collect()
    }

    /// The dims of the operation's results.
    pub fn result_dims(&self) -> Result<Vec<Vec<usize>>, OpError> {
        let unknown = || self.params.error("the shape of the result is not known");
        let dims = |ty: &Type| ty.as_tensor().and_then(|t| t.fixed_dims()).ok_or_else(unknown);
        mil::infer(self.operation, self.env)?.iter().map(dims).collect()
    }

    fn operand(&self, operand: &Operand) -> Result<Array, OpError> {
        match operand {
            Operand::Value(id) => Ok((self.argument)(*id)),
            Operand::Literal(literal) => self.literal(literal),
        }
    }

    fn literal(&self, literal: &Literal) -> Result<Array, OpError> {
        let tensor = literal.as_tensor();
        let tensor = tensor.ok_or_else(|| self.params.error("a constant is not in memory"))?;
        Ok(Array::from_tensor(tensor))
    }
}

/// An environment in which every value is known.
struct Known<'a> {
    types: &'a dyn Env,
    argument: &'a dyn Fn(ValueId) -> Array,
}

impl Env for Known<'_> {
    fn ty(&self, id: ValueId) -> &Type {
        self.types.ty(id)
    }

    fn constant(&self, id: ValueId) -> Option<Tensor> {
        Some((self.argument)(id).to_tensor())
    }

    fn is_constant(&self, _: ValueId) -> bool {
        true
    }
}

/// A function while it runs.
pub(crate) struct Frame<'a> {
    pub function: &'a Function,
    pub options: &'a Options,
    /// Types as they are in this run.
    types: Vec<Type>,
    pub values: Vec<Option<Value>>,
    states: BTreeMap<ValueId, Array>,
    /// Passes of all loops so far.
    pub iterations: usize,
    /// How deep in nested blocks this is.
    pub depth: usize,
    /// How often operations that draw random numbers have run.
    draws: BTreeMap<ValueId, u64>,
}

impl Env for Frame<'_> {
    fn ty(&self, id: ValueId) -> &Type {
        &self.types[id.index()]
    }

    fn constant(&self, id: ValueId) -> Option<Tensor> {
        self.values[id.index()].as_ref().and_then(Value::tensor).map(Array::to_tensor)
    }

    fn is_constant(&self, id: ValueId) -> bool {
        self.values[id.index()].is_some()
    }
}

impl Frame<'_> {
    fn input(&mut self, id: ValueId, inputs: &BTreeMap<String, Array>) -> Result<(), Error> {
        let value = self.function.value(id);
        let error = |message| Error::Input { name: value.name.clone(), message };
        if let Type::State(inner) = &value.ty {
            let state = match self.options.states.get(&value.name) {
                Some(given) => self.fit(&value.name, inner, given)?,
                None => self.zeros(&value.name, inner)?,
            };
            self.states.insert(id, state);
            return Ok(());
        }
        let given = inputs.get(&value.name).ok_or_else(|| error("no value was given".into()))?;
        let array = self.fit(&value.name, &value.ty, given)?;
        self.set(id, Value::Tensor(array));
        Ok(())
    }

    pub fn set(&mut self, id: ValueId, value: Value) {
        self.types[id.index()] = value.ty();
        self.values[id.index()] = Some(value);
    }

    /// What was given for an input or a state, in its declared type.
    fn fit(&self, name: &str, ty: &Type, given: &Array) -> Result<Array, Error> {
        let error = |message| Error::Input { name: name.to_owned(), message };
        let Some(ty) = ty.as_tensor() else {
            return Err(error(format!("inputs of type {ty} are not supported")));
        };
        if (given.dtype() == DataType::String) != (ty.dtype == DataType::String) {
            let found = if ty.dtype == DataType::String { "numbers" } else { "strings" };
            return Err(error(format!("expected {ty}, found {found}")));
        }
        let cast = given.cast(ty.dtype);
        let cast = if self.options.rounding == Rounding::Declared { cast.rounded() } else { cast };
        let actual = mil::TensorType::fixed(ty.dtype, cast.dims());
        match ty.fixed_dims() {
            Some(dims) if mil::element_count(&dims) == Some(cast.count()) => {
                Ok(cast.with_dims(&dims))
            }
            None if ty.compatible(&actual) => Ok(cast),
            _ => Err(error(format!("expected {ty}, found shape {:?}", given.dims()))),
        }
    }

    /// The value of a state before anything was written to it.
    fn zeros(&self, name: &str, ty: &Type) -> Result<Array, Error> {
        let dims = ty.as_tensor().and_then(|t| Some((t.dtype, t.fixed_dims()?)));
        let Some((dtype, dims)) = dims else {
            let message = format!("the state's type {ty} has no fixed shape");
            return Err(Error::Input { name: name.to_owned(), message });
        };
        self.check_size(name, &dims)?;
        let count = dims.iter().product();
        Ok(match dtype.is_float() {
            true => Array::floats(dtype, &dims, vec![0.0; count]),
            false => Array::ints(dtype, &dims, vec![0; count]),
        })
    }

    fn check_size(&self, value: &str, dims: &[usize]) -> Result<(), Error> {
        let elements = mil::element_count(dims).unwrap_or(usize::MAX);
        let max = self.options.max_elements;
        match elements <= max {
            true => Ok(()),
            false => Err(Error::TooLarge { value: value.to_owned(), elements, max }),
        }
    }

    pub fn operation(&mut self, operation: &Operation) -> Result<(), Error> {
        // In a loop, what is constant is computed once.
        let is_constant = operation.op == Op::Const || operation.op.is_constexpr();
        if is_constant && operation.outputs.iter().all(|id| self.values[id.index()].is_some()) {
            return Ok(());
        }
        let results = self.results(operation)?;
        for (&id, value) in operation.outputs.iter().zip(results) {
            self.set(id, value);
        }
        Ok(())
    }

    fn results(&mut self, operation: &Operation) -> Result<Vec<Value>, Error> {
        let name = match operation.outputs.first() {
            Some(&id) => self.function.value(id).name.clone(),
            None => operation.op.name().to_owned(),
        };
        let failed = |source| Error::Op { value: name.clone(), source };
        let one = |array| Ok(vec![Value::Tensor(array)]);
        match operation.op {
            Op::Const => {
                return match operation.attributes.get("val") {
                    Some(Literal::Tensor(t)) => one(Array::from_tensor(t)),
                    Some(Literal::Blob(b)) => {
                        one(Array::from_tensor(&self.options.weights.load(b)?))
                    }
                    Some(Literal::List { ty, items }) => {
                        Ok(Value::of_list(ty, items).into_iter().collect())
                    }
                    // Tuples and dictionaries: an operation that reads one says so.
                    _ => Ok(vec![]),
                };
            }
            Op::ReadState => {
                let state = operation.value("input").and_then(|id| self.states.get(&id));
                return match state {
                    Some(state) => one(state.clone()),
                    None => Err(Error::Invalid(format!("`{name}`: no state"))),
                };
            }
            _ => {}
        }
        let operation = &*self.with_weights(operation)?;
        if let Some(id) = operation.operands().find(|id| !self.is_defined(*id)) {
            let operand = &self.function.value(id).name;
            return Err(Error::Invalid(format!("`{name}`: `{operand}` has no value")));
        }
        if operation.op.takes_blocks() {
            // Types in the blocks are those of the pass before, which say nothing of this one.
            return self.branch(operation, &name);
        }
        let types = mil::infer(operation, self).map_err(failed)?;
        for ty in &types {
            let dims = ty.as_tensor().and_then(|t| t.fixed_dims()).unwrap_or_default();
            self.check_size(&name, &dims)?;
        }
        if operation.op == Op::Identity
            && let Some(id) = operation.value("x")
        {
            match self.values[id.index()].as_ref() {
                Some(Value::Tensor(_)) => {}
                Some(other) => return Ok(vec![other.clone()]),
                None => return Err(Error::Invalid(format!("`{name}`: a state is not a value"))),
            }
        }
        let mut draw = Draw { seed: self.options.seed, visit: 0 };
        if let Some(&id) = operation.outputs.first().filter(|_| operation.op.is_random()) {
            let count = self.draws.entry(id).or_default();
            draw.visit = *count;
            *count += 1;
        }
        let argument = |id: ValueId| {
            let value = self.values[id.index()].as_ref().and_then(Value::tensor);
            value.expect("the operands that are read this way are tensors with a value").clone()
        };
        if operation.op == Op::WriteState {
            let context = Context::new(operation, self, &argument, None, draw);
            let data = context.need("data").map_err(failed)?;
            if let Some(id) = operation.value("input") {
                self.states.insert(id, data);
            }
            return Ok(vec![]);
        }
        let arithmetic = self.options.arithmetic.as_deref();
        let context = Context::new(operation, self, &argument, arithmetic, draw);
        if control::is_control(operation.op) {
            return self.listed(&context, &types).map_err(failed);
        }
        let results = ops::compute(&context).map_err(failed)?;
        for array in &results {
            self.check_size(&name, array.dims())?;
        }
        let rounded = |(array, ty): (Array, &Type)| {
            let mut array = typed(&array, ty);
            if let Some(device) = arithmetic {
                array = device.result(&Step(&context), array)?;
            }
            Ok(Value::Tensor(match self.options.rounding {
                Rounding::Declared => array.rounded(),
                Rounding::None => array,
            }))
        };
        let rounded = results.into_iter().zip(&types).map(rounded);
        rounded.collect::<Result<Vec<_>, OpError>>().map_err(failed)
    }

    fn is_defined(&self, id: ValueId) -> bool {
        self.values[id.index()].is_some() || self.states.contains_key(&id)
    }

    /// The operation with constants from weight files in memory.
    fn with_weights<'o>(&self, operation: &'o Operation) -> Result<Cow<'o, Operation>, Error> {
        if !operation.literals().any(|literal| matches!(literal, Literal::Blob(_))) {
            return Ok(Cow::Borrowed(operation));
        }
        let mut operation = operation.clone();
        for literal in operation.literals_mut() {
            if let Literal::Blob(blob) = literal {
                *literal = Literal::Tensor(self.options.weights.load(blob)?);
            }
        }
        Ok(Cow::Owned(operation))
    }
}
