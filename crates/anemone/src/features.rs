//! Between arrays by the names that users say, and values of a function.

use crate::error::{Error, FeatureProblem};
use crate::{Tensors, tensors};
use coreml::{ArrayType, Feature, FeatureType, FunctionInterface};
use interp::Array;
use mil::{DataType, Function, Program, Tensor, TensorType, Type};

/// What the names of states begin with where states and inputs stand in one list.
pub const STATE: &str = "state/";

/// The most elements of an input that is left out: the model alone says how many there are.
const MOST_LEFT_OUT: usize = 1 << 28;

/// What a function is given, by the names of its values.
#[derive(Debug, Default)]
pub struct Given {
    /// Inputs.
    pub inputs: Tensors,
    /// States, those that are given.
    pub states: Tensors,
}

/// Tells inputs and states apart, gives them their declared types, and fills in what may be left
/// out.
///
/// # Errors
/// Every problem, with the feature's name: one that is missing, unknown, or of another shape.
pub fn sort(
    function: &Function,
    interface: &FunctionInterface,
    mut given: Tensors,
) -> Result<Given, Error> {
    let mut out = Given::default();
    let mut problems = vec![];
    let mut problem =
        |feature: &str, message| problems.push(FeatureProblem { feature: feature.into(), message });
    for &id in &function.inputs {
        let value = function.value(id);
        let (ty, prefix, features, target) = match &value.ty {
            Type::State(inner) => (&**inner, STATE, &interface.states, &mut out.states),
            ty => (ty, "", &interface.inputs, &mut out.inputs),
        };
        let is_state = !prefix.is_empty();
        let feature = features.iter().find(|feature| feature.value == value.name);
        let name = feature.map_or(&value.name, |feature| &feature.name);
        let key = format!("{prefix}{name}");
        let Some(ty) = ty.as_tensor() else {
            problem(&key, format!("input `{name}`: values of type {ty} are not supported"));
            continue;
        };
        let tensor = match given.remove(&key) {
            Some(tensor) => fit_feature(tensor, ty, feature),
            None if is_state => continue,
            None => match feature.filter(|feature| feature.optional) {
                Some(feature) => left_out(feature, ty),
                None => {
                    problem(&key, format!("input `{key}` is missing; expected {ty}"));
                    continue;
                }
            },
        };
        match tensor {
            Err(error) => problem(&key, format!("input `{key}`: {error}")),
            Ok(tensor) => {
                target.insert(value.name.clone(), tensor);
            }
        }
    }
    for name in given.keys() {
        problem(name, format!("`{name}` is no input of function `{}`", function.name));
    }
    match problems.is_empty() {
        true => Ok(out),
        false => Err(Error::Features(problems)),
    }
}

/// A tensor as a value of the declared type: cast, and reshaped if the number of elements is that
/// of the type. Dimensions that the type leaves open are taken from the tensor.
///
/// # Errors
/// What was expected and found.
pub fn fit(tensor: Tensor, ty: &TensorType) -> Result<Tensor, String> {
    let dims = match ty.fixed_dims() {
        Some(dims) => dims,
        None if ty.compatible(&TensorType::fixed(ty.dtype, tensor.dims())) => {
            tensor.dims().to_vec()
        }
        None => return Err(format!("expected {ty}, found shape {:?}", tensor.dims())),
    };
    if mil::element_count(&dims) != Some(tensor.count()) {
        return Err(format!("expected {ty}, found shape {:?}", tensor.dims()));
    }
    let of_strings = |dtype| dtype == DataType::String;
    let tensor = if tensor.dtype() == ty.dtype {
        tensor
    } else if of_strings(ty.dtype) {
        return Err(format!("expected {ty}, found numbers"));
    } else if of_strings(tensor.dtype()) {
        return Err(format!("expected {ty}, found strings"));
    } else {
        Array::from_tensor(&tensor).cast(ty.dtype).to_tensor()
    };
    tensor.reshaped(&dims).map_err(|error| error.to_string())
}

/// An array as a value of the declared type, of a shape that the interface allows.
fn fit_feature(
    tensor: Tensor,
    ty: &TensorType,
    feature: Option<&Feature>,
) -> Result<Tensor, String> {
    let tensor = fit(tensor, ty)?;
    // What is declared to have one shape has it now.
    if let Some(feature) = feature.filter(|_| ty.fixed_dims().is_none()) {
        feature.check_shape(tensor.dims())?;
    }
    Ok(tensor)
}

/// The value of an input of this type that was left out.
///
/// # Errors
/// If the feature says none.
pub fn left_out(feature: &Feature, ty: &TensorType) -> Result<Tensor, String> {
    let array = match &feature.ty {
        FeatureType::Array(array) => array,
        other => {
            return Err(format!("it is {other}, for which there is no value if it is left out"));
        }
    };
    let ArrayType { shape, default: Some(default), .. } = array else {
        let message = "it may be left out, but the model does not say what its value is then";
        return Err(message.to_owned());
    };
    let dims = ty.fixed_dims().unwrap_or_else(|| shape.clone());
    let Some(count) = mil::element_count(&dims).filter(|&count| count <= MOST_LEFT_OUT) else {
        return Err(format!("shape {dims:?} is too large for a value that is left out"));
    };
    let one = Tensor::from_f64s(DataType::Fp64, &[1], &[default.to_f64()]);
    let one = one.map_err(|error| error.to_string())?;
    let one = fit(one, &TensorType::fixed(ty.dtype, &[1]))?;
    let all = match ty.dtype.bits() % 8 {
        0 => Tensor::from_bytes(ty.dtype, &dims, one.bytes().repeat(count)),
        _ => return Err(format!("there is no value of {} for what is left out", ty.dtype)),
    };
    fit(all.map_err(|error| error.to_string())?, ty)
}

/// The program with the function made for inputs of these shapes, as far as it leaves some open.
/// Inputs are those of [`sort`].
///
/// # Errors
/// If the operations cannot have inputs of these shapes.
pub fn specialized(
    program: &Program,
    interface: &FunctionInterface,
    inputs: &Tensors,
) -> Result<Program, Error> {
    let shapes = inputs.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec()));
    // The shapes have been checked against the interface where they can differ from it.
    let open = FunctionInterface { name: interface.name.clone(), ..FunctionInterface::default() };
    Ok(coreml::specialize(program, &open, &shapes.collect())?)
}

/// The name that users say for a value.
pub(crate) fn named<'a>(features: &'a [Feature], value: &'a str) -> &'a str {
    features.iter().find(|feature| feature.value == value).map_or(value, |f| &f.name)
}

/// Tensors by the names that users say.
pub(crate) fn renamed(features: &[Feature], values: Tensors) -> Tensors {
    tensors(values.into_iter().map(|(value, t)| (named(features, &value).to_owned(), t)))
}

/// The value that users mean by a name: that of a feature, or else a value.
pub(crate) fn value_of<'a>(features: &'a [Feature], name: &'a str) -> &'a str {
    features.iter().find(|feature| feature.name == name).map_or(name, |f| &f.value)
}
