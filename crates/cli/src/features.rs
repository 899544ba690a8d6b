//! Between arrays by the names that users say, and values of a function.

use crate::arrays::Tensors;
use crate::engine::{self, Results};
use anyhow::bail;
use coreml::{ArrayType, Feature, FeatureType, FunctionInterface};
use mil::{DataType, Function, Program, Tensor, TensorType, Type};

/// What the names of states begin with in files.
const STATE: &str = "state/";

/// What a function is given, by the names of its values.
#[derive(Debug, Default)]
pub struct Given {
    pub inputs: Tensors,
    pub states: Tensors,
}

/// Tells inputs and states apart, gives them their declared types, and fills in what may be left
/// out. Every problem is named.
pub fn sort(
    function: &Function,
    interface: &FunctionInterface,
    mut given: Tensors,
) -> anyhow::Result<Given> {
    let mut out = Given::default();
    let mut problems = vec![];
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
            problems.push(format!("input `{name}`: values of type {ty} are not supported"));
            continue;
        };
        let tensor = match given.remove(&key) {
            Some(tensor) => fit(tensor, ty, feature),
            None if is_state => continue,
            None => match feature.filter(|feature| feature.optional) {
                Some(feature) => left_out(feature, ty),
                None => {
                    problems.push(format!("input `{key}` is missing; expected {ty}"));
                    continue;
                }
            },
        };
        match tensor {
            Err(error) => problems.push(format!("input `{key}`: {error:#}")),
            Ok(tensor) => {
                target.insert(value.name.clone(), tensor);
            }
        }
    }
    let unknown =
        given.keys().map(|name| format!("`{name}` is no input of function `{}`", function.name));
    problems.extend(unknown);
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(out)
}

/// An array as a value of the declared type, of a shape that the interface allows.
fn fit(tensor: Tensor, ty: &TensorType, feature: Option<&Feature>) -> anyhow::Result<Tensor> {
    let tensor = engine::fit(tensor, ty)?;
    // What is declared to have one shape has it now.
    if let Some(feature) = feature.filter(|_| ty.fixed_dims().is_none()) {
        feature.check_shape(tensor.dims()).map_err(anyhow::Error::msg)?;
    }
    Ok(tensor)
}

/// The value of an input that was left out.
pub fn left_out(feature: &Feature, ty: &TensorType) -> anyhow::Result<Tensor> {
    let array = match &feature.ty {
        FeatureType::Array(array) => array,
        other => bail!("it is {other}, for which there is no value if it is left out"),
    };
    let ArrayType { shape, default: Some(default), .. } = array else {
        bail!("it may be left out, but the model does not say what its value is then");
    };
    let dims = ty.fixed_dims().unwrap_or_else(|| shape.clone());
    let Some(count) = mil::element_count(&dims).filter(|&count| count <= 1 << 31) else {
        bail!("shape {dims:?} is too large");
    };
    let tensor = Tensor::from_f64s(DataType::Fp64, &dims, &vec![default.to_f64(); count])?;
    engine::fit(tensor, ty)
}

/// The program with the function made for inputs of these shapes, as far as it leaves some open.
pub fn specialized(
    program: &Program,
    interface: &FunctionInterface,
    inputs: &Tensors,
) -> anyhow::Result<Program> {
    let shapes = inputs.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec()));
    // The shapes have been checked against the interface where they can differ from it.
    let open = FunctionInterface { name: interface.name.clone(), ..FunctionInterface::default() };
    Ok(coreml::specialize(program, &open, &shapes.collect())?)
}

/// What a run gives, by the names that users say: outputs, a dictionary as `NAME/keys` and
/// `NAME/values`, and states. Text is bytes of UTF-8.
pub fn results(interface: &FunctionInterface, results: &Results) -> anyhow::Result<Tensors> {
    let mut out = Tensors::new();
    for (value, tensor) in &results.outputs {
        out.insert(named(&interface.outputs, value).to_owned(), bytes_of_text(tensor.clone())?);
    }
    for (value, (keys, values)) in &results.dictionaries {
        let name = named(&interface.outputs, value);
        out.insert(format!("{name}/keys"), bytes_of_texts(keys)?);
        out.insert(format!("{name}/values"), values.clone());
    }
    for (value, tensor) in &results.states {
        out.insert(format!("{STATE}{}", named(&interface.states, value)), tensor.clone());
    }
    Ok(out)
}

fn named<'a>(features: &'a [Feature], value: &'a str) -> &'a str {
    features.iter().find(|feature| feature.value == value).map_or(value, |f| &f.name)
}

/// One text as a vector of its bytes; files of arrays know no strings. Others stay as they are.
fn bytes_of_text(tensor: Tensor) -> anyhow::Result<Tensor> {
    match tensor.strings() {
        [text] => {
            let bytes = text.as_bytes().to_vec();
            Ok(Tensor::from_bytes(DataType::Uint8, &[bytes.len()], bytes)?)
        }
        _ => Ok(tensor),
    }
}

/// Texts as rows of bytes, with zeros behind the shorter ones. Others stay as they are.
fn bytes_of_texts(tensor: &Tensor) -> anyhow::Result<Tensor> {
    if tensor.dtype() != DataType::String {
        return Ok(tensor.clone());
    }
    let texts = tensor.strings();
    let longest = texts.iter().map(String::len).max().unwrap_or(0);
    let mut bytes = vec![];
    for text in texts {
        bytes.extend(text.as_bytes());
        bytes.resize(bytes.len() + longest - text.len(), 0);
    }
    Ok(Tensor::from_bytes(DataType::Uint8, &[texts.len(), longest], bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_rows_of_bytes() {
        let texts = Tensor::from_strings(&[3], ["cat", "", "löwe"].map(String::from).to_vec());
        let rows = bytes_of_texts(&texts.unwrap()).unwrap();
        assert_eq!(rows.dims(), [3, 5]);
        assert_eq!(rows.bytes(), b"cat\0\0\0\0\0\0\0l\xc3\xb6we");
        let label = bytes_of_text(Tensor::string("löwe")).unwrap();
        assert_eq!((label.dims(), label.bytes()), (&[5][..], "löwe".as_bytes()));
        let numbers = Tensor::int32s(&[1, 2]);
        assert_eq!(bytes_of_texts(&numbers).unwrap(), numbers);
        assert_eq!(bytes_of_text(numbers.clone()).unwrap(), numbers);
    }
}
