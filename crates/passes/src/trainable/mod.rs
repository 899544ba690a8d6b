//! Makes constants of a function trainable: they become inputs.
//!
//! Before:
//! ```text
//! func main<ios16>(tensor<fp16, [1, 3]> x) {
//!     tensor<fp16, [4, 3]> w = const()[val = tensor<fp16, [4, 3]>(BLOBFILE(…))];
//!     tensor<fp16, [1, 4]> y = linear(x = x, weight = w);
//! ```
//! After, for `w`:
//! ```text
//! func main<ios16>(tensor<fp16, [1, 3]> x, tensor<fp32, [4, 3]> w) {
//!     tensor<fp16, [4, 3]> w_narrow = cast(x = w, dtype = "fp16");
//!     tensor<fp16, [1, 4]> y = linear(x = x, weight = w_narrow);
//! ```
//! The inputs are fp32 whatever the constants are, so that small updates add up. [`choose`] tells
//! which constants can be trained, [`lift`] makes them inputs, and [`put_back`] writes values into a
//! function as it was.
//!
//! [`widen`] makes all of a function fp32 first, and [`loss`] gives it a loss to train for.

pub mod loss;
pub mod widen;

use crate::autodiff::{Differentiability, differentiability};
use crate::edit;
use mil::{
    DataType, Function, Literal, Op, Operand, Operation, Tensor, TensorError, Type, Value, ValueId,
    Weights,
};
use std::collections::BTreeMap;

/// A constant that has become an input of the same name.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// The constant's element type; the input is fp32.
    pub dtype: DataType,
    /// Dimensions.
    pub dims: Vec<usize>,
    /// The constant, in the program or in a weight file.
    pub literal: Literal,
}

impl Parameter {
    /// What the constant is, in fp32: the value to begin with.
    ///
    /// # Errors
    /// If its weight file cannot be read.
    pub fn value(&self, weights: &Weights) -> Result<Tensor, Error> {
        let unread = |message: String| Error::Unread { name: self.name.clone(), message };
        let tensor = match &self.literal {
            Literal::Tensor(tensor) => tensor.clone(),
            Literal::Blob(blob) => weights.load(blob).map_err(|e| unread(e.to_string()))?,
            other => return Err(unread(format!("it is {}, no tensor", other.ty()))),
        };
        if tensor.dtype() == DataType::Fp32 {
            return Ok(tensor);
        }
        let wide = Tensor::from_f64s(DataType::Fp32, tensor.dims(), &tensor.to_f64s());
        wide.map_err(|error| unread(error.to_string()))
    }
}

/// Which constants are to be trained.
pub enum Choice<'a> {
    /// All of more than one element, but no statistics of a batch norm (its mean and variance).
    All,
    /// Those of these names; a constant has the name of its value and that of its attribute
    /// `name`.
    Named(&'a dyn Fn(&str) -> bool),
}

/// Why constants cannot be trained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The constant is not stored as the numbers that it is.
    #[error(
        "`{name}` is compressed ({}): only constants that are stored as floats can be trained; \
         decompress the model first, or choose others", op.name()
    )]
    Compressed {
        /// The constant.
        name: String,
        /// What decompresses it.
        op: Op,
    },
    /// Nothing fits the choice.
    #[error("function `{function}`: {found}")]
    Nothing {
        /// The function.
        function: String,
        /// What there is.
        found: String,
    },
    /// There is no constant of this name.
    #[error("function `{function}` has no constant `{name}` of floats")]
    NoConstant {
        /// The function.
        function: String,
        /// The name.
        name: String,
    },
    /// The constant's value cannot be had.
    #[error("constant `{name}`: {message}")]
    Unread {
        /// The constant.
        name: String,
        /// Why.
        message: String,
    },
    /// Values of another number or type are put back.
    #[error("`{name}`: {source}")]
    Values {
        /// The constant.
        name: String,
        /// What does not fit.
        source: TensorError,
    },
}

/// The names of constants that can be trained, in the order of the program: floats that a gradient
/// reaches from an output, and that no operation needs to know before it runs.
///
/// # Errors
/// If there are none, or one that is asked for by its name is compressed.
pub fn choose(function: &Function, choice: &Choice<'_>) -> Result<Vec<String>, Error> {
    let uses = Uses::of(function);
    let mut chosen = vec![];
    let mut compressed = 0;
    for operation in &function.body.operations {
        let [id] = operation.outputs[..] else { continue };
        let value = function.value(id);
        let is_constant = operation.op == Op::Const || operation.op.is_constexpr();
        let count = float_count(&value.ty);
        let (true, Some(count)) = (is_constant && uses.reached[id.index()], count) else {
            continue;
        };
        let label = operation.attributes.get("name").and_then(Literal::as_tensor);
        let label = label.and_then(|label| label.strings().first());
        let wanted = match choice {
            Choice::All => count > 1 && !uses.statistic[id.index()],
            Choice::Named(is) => is(&value.name) || label.is_some_and(|label| is(label)),
        };
        if !wanted || uses.fixed[id.index()] {
            continue;
        }
        match (operation.op, choice) {
            (Op::Const, _) => chosen.push(value.name.clone()),
            (_, Choice::All) => compressed += 1,
            (op, _) => return Err(Error::Compressed { name: value.name.clone(), op }),
        }
    }
    if chosen.is_empty() {
        let found = match (choice, compressed) {
            (Choice::Named(_), _) => {
                "no constant of floats that a gradient reaches has a name that matches".to_owned()
            }
            (Choice::All, 0) => "no constant of floats is reached by a gradient".to_owned(),
            (Choice::All, n) => format!(
                "all {n} constants that a gradient reaches are compressed; only those that are \
                 stored as floats can be trained"
            ),
        };
        return Err(Error::Nothing { function: function.name.clone(), found });
    }
    Ok(chosen)
}

/// How many constants that a gradient reaches are compressed, and so cannot be trained.
pub fn compressed(function: &Function) -> usize {
    let uses = Uses::of(function);
    let is = |operation: &&Operation| {
        operation.op.is_constexpr()
            && operation
                .outputs
                .iter()
                .any(|&id| uses.reached[id.index()] && float_count(function.ty(id)).is_some())
    };
    function.body.operations.iter().filter(is).count()
}

/// Elements of a tensor of floats that constants can be trained as.
fn float_count(ty: &Type) -> Option<usize> {
    let ty = ty.as_tensor()?;
    mil::element_count(&ty.fixed_dims()?).filter(|_| is_trained(ty.dtype))
}

fn is_trained(dtype: DataType) -> bool {
    matches!(dtype, DataType::Fp16 | DataType::Bf16 | DataType::Fp32)
}

/// What is known of every value from those that read it.
struct Uses {
    /// Whether a gradient comes to it from an output.
    reached: Vec<bool>,
    /// Whether it is the mean or the variance of a batch norm.
    statistic: Vec<bool>,
    /// Whether an operation must know it before it runs.
    fixed: Vec<bool>,
}

impl Uses {
    fn of(function: &Function) -> Uses {
        let none = vec![false; function.values.len()];
        let mut uses = Uses { reached: none.clone(), statistic: none.clone(), fixed: none };
        for &id in &function.body.outputs {
            // Its shape may be open as yet.
            uses.reached[id.index()] =
                function.ty(id).as_tensor().is_some_and(|ty| is_trained(ty.dtype));
        }
        for operation in function.body.operations.iter().rev() {
            let differentiable = differentiability(operation.op) == Differentiability::Rule;
            let reached = operation.outputs.iter().any(|id| uses.reached[id.index()]);
            for (name, arg) in &operation.inputs {
                let is_statistic =
                    operation.op == Op::BatchNorm && matches!(name.as_str(), "mean" | "variance");
                let fixed = operation.op.spec().param(name).is_none_or(|param| param.constant);
                for operand in arg.operands() {
                    let Operand::Value(id) = operand else { continue };
                    uses.statistic[id.index()] |= is_statistic;
                    uses.fixed[id.index()] |= fixed;
                    uses.reached[id.index()] |= reached && differentiable;
                }
            }
        }
        uses
    }
}

/// Makes constants inputs, after all others and in this order.
///
/// # Errors
/// If there is no such constant of floats; the function is then unchanged.
pub fn lift(function: &mut Function, names: &[String]) -> Result<Vec<Parameter>, Error> {
    let was_valid = edit::is_valid(function);
    let mut found = vec![];
    for name in names {
        let at = constant(function, name)?;
        let operation = &function.body.operations[at];
        let id = operation.output();
        let ty = function.ty(id).as_tensor().expect("it is a tensor of floats");
        found.push(Parameter {
            name: name.clone(),
            dtype: ty.dtype,
            dims: ty.fixed_dims().expect("constants have shapes"),
            literal: operation.attributes["val"].clone(),
        });
    }
    let mut narrow = vec![];
    for parameter in &found {
        let at = constant(function, &parameter.name)?;
        let operation = function.body.operations.remove(at);
        let id = operation.output();
        if parameter.dtype == DataType::Fp32 {
            function.inputs.push(id);
            continue;
        }
        let name = format!("{}_narrow", parameter.name);
        function.values[id.index()].name = edit::free_name(function, &name);
        let wide = ValueId(function.values.len() as u32);
        let ty = Type::tensor(DataType::Fp32, &parameter.dims);
        function.values.push(Value { name: parameter.name.clone(), ty });
        function.inputs.push(wide);
        narrow.push(edit::cast(function, wide, id, parameter.dtype));
    }
    function.body.operations.splice(0..0, narrow);
    edit::assert_still_valid(was_valid, "lift", function);
    Ok(found)
}

/// Gives constants other values, rounded to the type that they have. All else stays as it is.
///
/// # Errors
/// If there is no such constant, or it has another number of elements; the function is then
/// unchanged.
pub fn put_back(function: &mut Function, values: &BTreeMap<String, Vec<f32>>) -> Result<(), Error> {
    let mut new = vec![];
    for (name, values) in values {
        let at = constant(function, name)?;
        let ty = function.ty(function.body.operations[at].output());
        let ty = ty.as_tensor().expect("it is a tensor of floats");
        let dims = ty.fixed_dims().expect("constants have shapes");
        let wide: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
        let tensor = Tensor::from_f64s(ty.dtype, &dims, &wide)
            .map_err(|source| Error::Values { name: name.clone(), source })?;
        new.push((at, tensor));
    }
    for (at, tensor) in new {
        let attributes = &mut function.body.operations[at].attributes;
        attributes.insert("val".to_owned(), tensor.into());
    }
    Ok(())
}

/// The position of the operation that defines a constant.
fn constant(function: &Function, name: &str) -> Result<usize, Error> {
    let is = |operation: &Operation| {
        operation.op == Op::Const
            && operation.attributes.contains_key("val")
            && operation.outputs.len() == 1
            && function.value(operation.output()).name == name
            && float_count(function.ty(operation.output())).is_some()
    };
    let none = || Error::NoConstant { function: function.name.clone(), name: name.to_owned() };
    function.body.operations.iter().position(is).ok_or_else(none)
}
