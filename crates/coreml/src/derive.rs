//! Interfaces of programs that come without one, as texts do; and what texts say of shapes.
//!
//! A function's attribute `FlexibleShapeInformation` is a tuple of pairs: `DefaultShapes` with a
//! shape for each input, `RangeDims` with a smallest and a largest size for each of its axes, and
//! `EnumeratedShapes` with any number of sets of shapes. Only inputs of several shapes are named.

use crate::interface::{
    ArrayType, Feature, FeatureType, Flexibility, FunctionInterface, Interface, KeyType, Metadata,
    SizeRange,
};
use crate::write::FLEXIBLE;
use mil::{DataType, Function, Literal, Program, Shape, Tensor, TensorType, Type, ValueId};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};

/// The largest size where there is no limit.
const NO_LIMIT: i64 = -1;

/// The interface of a program, as far as its types and attributes tell.
pub(crate) fn interface(program: &Program) -> Interface {
    let functions = program.functions.iter().map(function_interface).collect();
    Interface { functions, default_function: None, metadata: Metadata::default() }
}

/// The interface of a function. Inputs and outputs of types that no feature has are left out, and
/// what is said of shapes in another way than the usual one.
pub(crate) fn function_interface(function: &Function) -> FunctionInterface {
    let mut interface =
        FunctionInterface { name: function.name.clone(), ..FunctionInterface::default() };
    for &id in &function.inputs {
        match function.ty(id) {
            Type::State(inner) => {
                let array = inner.as_tensor().map(array_type).map(FeatureType::State);
                interface.states.extend(array.map(|ty| feature(function, id, ty)));
            }
            ty => interface.inputs.extend(feature_type(ty).map(|ty| feature(function, id, ty))),
        }
    }
    let mut seen = HashSet::new();
    for &id in &function.body.outputs {
        if !seen.insert(id) {
            continue;
        }
        let ty = feature_type(function.ty(id));
        interface.outputs.extend(ty.map(|ty| feature(function, id, ty)));
    }
    // The shapes of outputs follow from those of inputs.
    for output in &mut interface.outputs {
        if let FeatureType::Array(array) = &mut output.ty
            && array.is_flexible()
        {
            *array = ArrayType::fixed(array.dtype, &[]);
        }
    }
    for operation in &function.body.operations {
        // The one op that gives a label and a dictionary.
        let ([label, probabilities], "classify") = (&operation.outputs[..], operation.op.name())
        else {
            continue;
        };
        let is_output = |id: &&ValueId| function.body.outputs.contains(id);
        let name = |id: &ValueId| function.value(*id).name.clone();
        interface.predicted_feature = Some(label).filter(is_output).map(name);
        interface.predicted_probabilities = Some(probabilities).filter(is_output).map(name);
        let is_label =
            |output: &&mut Feature| Some(&output.name) == interface.predicted_feature.as_ref();
        if let Some(output) = interface.outputs.iter_mut().find(is_label)
            && function.ty(*label).as_tensor().is_some_and(|ty| ty.dtype == DataType::Int64)
        {
            output.ty = FeatureType::Int64;
        }
    }
    if let Some(read) = function.attributes.get(FLEXIBLE).and_then(Information::read) {
        for input in &mut interface.inputs {
            read.apply(input);
        }
    }
    interface
}

fn feature(function: &Function, id: ValueId, ty: FeatureType) -> Feature {
    let name = function.value(id).name.clone();
    Feature { value: name.clone(), name, description: String::new(), ty, optional: false }
}

fn feature_type(ty: &Type) -> Option<FeatureType> {
    match ty {
        Type::Tensor(t) if t.dtype == DataType::String => {
            (t.rank() == Some(0)).then_some(FeatureType::String)
        }
        Type::Tensor(t) => Some(FeatureType::Array(array_type(t))),
        Type::Dict(key, _) => match key.as_tensor()?.dtype {
            DataType::String => Some(FeatureType::Dictionary(KeyType::String)),
            DataType::Int64 => Some(FeatureType::Dictionary(KeyType::Int64)),
            _ => None,
        },
        _ => None,
    }
}

fn array_type(ty: &TensorType) -> ArrayType {
    let Shape::Ranked(dims) = &ty.shape else { return ArrayType::fixed(ty.dtype, &[]) };
    let shape: Vec<usize> = dims.iter().map(|dim| dim.fixed().unwrap_or(1)).collect();
    if ty.fixed_dims().is_some() {
        // Users see scalars with one axis.
        return ArrayType::fixed(ty.dtype, if shape.is_empty() { &[1] } else { &shape });
    }
    let range = |dim: &mil::Dim| match dim.fixed() {
        Some(size) => SizeRange { min: size, max: Some(size) },
        None => SizeRange { min: 1, max: None },
    };
    let flexibility = Flexibility::Range(dims.iter().map(range).collect());
    ArrayType { flexibility, ..ArrayType::fixed(ty.dtype, &shape) }
}

/// What a text says of the shapes of inputs.
#[derive(Debug, Default)]
struct Information {
    default: BTreeMap<String, Vec<usize>>,
    ranges: BTreeMap<String, Vec<SizeRange>>,
    enumerated: BTreeMap<String, Vec<Vec<usize>>>,
}

impl Information {
    fn read(literal: &Literal) -> Option<Information> {
        let mut information = Information::default();
        let Literal::Tuple(pairs) = literal else { return None };
        for pair in pairs {
            let Literal::Tuple(pair) = pair else { return None };
            let [kind, Literal::Dict { entries, .. }] = &pair[..] else { return None };
            match string(kind)? {
                "DefaultShapes" => {
                    for (name, shape) in entries {
                        information.default.insert(string(name)?.to_owned(), sizes(shape)?);
                    }
                }
                "RangeDims" => {
                    for (name, list) in entries {
                        let Literal::List { items, .. } = list else { return None };
                        let ranges = items.iter().map(range).collect::<Option<_>>()?;
                        information.ranges.insert(string(name)?.to_owned(), ranges);
                    }
                }
                "EnumeratedShapes" => {
                    for (_, set) in entries {
                        let Literal::Dict { entries, .. } = set else { return None };
                        for (name, shape) in entries {
                            let name = string(name)?.to_owned();
                            information.enumerated.entry(name).or_default().push(sizes(shape)?);
                        }
                    }
                }
                // Whatever else there may be is not about what this crate knows.
                _ => {}
            }
        }
        Some(information)
    }

    fn apply(&self, feature: &mut Feature) {
        let FeatureType::Array(array) = &mut feature.ty else { return };
        if let Some(shape) = self.default.get(&feature.value) {
            array.shape.clone_from(shape);
        }
        if let Some(ranges) = self.ranges.get(&feature.value) {
            array.flexibility = Flexibility::Range(ranges.clone());
        } else if let Some(shapes) = self.enumerated.get(&feature.value) {
            array.flexibility = Flexibility::Enumerated(shapes.clone());
        }
    }
}

fn string(literal: &Literal) -> Option<&str> {
    literal.as_tensor()?.strings().first().map(String::as_str)
}

fn sizes(literal: &Literal) -> Option<Vec<usize>> {
    let tensor = literal.as_tensor().filter(|tensor| tensor.dtype().is_int())?;
    tensor.to_i64s().into_iter().map(|size| usize::try_from(size).ok()).collect()
}

fn range(literal: &Literal) -> Option<SizeRange> {
    let tensor = literal.as_tensor().filter(|tensor| tensor.dtype().is_int())?;
    let &[min, max] = &tensor.to_i64s()[..] else { return None };
    let max = match usize::try_from(max) {
        // The largest number that there is stands for no limit too.
        Ok(max) if max >= i32::MAX as usize => None,
        Ok(max) => Some(max),
        Err(_) => None,
    };
    Some(SizeRange { min: usize::try_from(min).ok()?, max })
}

/// The program with what its interface says of shapes in attributes, as texts have it. Functions
/// that say it already stay as they are.
pub fn with_information(program: &Program, interface: &Interface) -> Program {
    let mut program = program.clone();
    for function in &mut program.functions {
        let Some(interface) = interface.function(&function.name) else { continue };
        let said = function_interface(function).inputs.into_iter();
        let said: BTreeMap<String, _> = said.map(|f| (f.value.clone(), flexible(&f))).collect();
        if interface.inputs.iter().all(|f| said.get(&f.value) == Some(&flexible(f))) {
            continue;
        }
        function.attributes.remove(FLEXIBLE);
        if let Some(literal) = information(interface) {
            function.attributes.insert(FLEXIBLE.to_owned(), literal);
        }
    }
    program
}

/// What an attribute would say of an input.
fn flexible(feature: &Feature) -> Option<(Vec<usize>, Flexibility)> {
    flexibility(feature).map(|(_, default, others)| (default, others))
}

/// The attribute for a function, if it has inputs of several shapes.
fn information(interface: &FunctionInterface) -> Option<Literal> {
    let flexible: Vec<(&str, Vec<usize>, Flexibility)> =
        interface.inputs.iter().filter_map(flexibility).collect();
    if flexible.is_empty() {
        return None;
    }
    let text = || Type::scalar(DataType::String);
    let literal = |text: &str| Literal::from(Tensor::string(text));
    let shape_type = || {
        Type::Tensor(TensorType {
            dtype: DataType::Int32,
            shape: Shape::Ranked(vec![mil::Dim::Unknown]),
        })
    };
    let shape = |sizes: &[usize]| {
        Literal::from(Tensor::int32s(&sizes.iter().map(|&n| n as i64).collect::<Vec<_>>()))
    };
    let dict = |value: Type, entries: Vec<(Literal, Literal)>| Literal::Dict {
        ty: Type::Dict(Box::new(text()), Box::new(value)),
        entries,
    };
    let pair = |name: &str, dict: Literal| Literal::Tuple(vec![literal(name), dict]);

    let defaults = flexible.iter().map(|(name, default, _)| (literal(name), shape(default)));
    let mut all = vec![pair("DefaultShapes", dict(shape_type(), defaults.collect()))];

    let ranges_type =
        Type::List { element: Box::new(Type::tensor(DataType::Int32, &[2])), len: None };
    let mut ranges = vec![];
    let mut enumerated: Vec<(&str, &Vec<Vec<usize>>)> = vec![];
    for (name, _, flexibility) in &flexible {
        match flexibility {
            Flexibility::Fixed => {}
            Flexibility::Enumerated(shapes) => enumerated.push((name, shapes)),
            Flexibility::Range(sizes) => {
                let range = |range: &SizeRange| {
                    let max = range.max.map_or(NO_LIMIT, |max| max as i64);
                    Literal::from(Tensor::int32s(&[range.min as i64, max]))
                };
                let items = sizes.iter().map(range).collect();
                ranges.push((literal(name), Literal::List { ty: ranges_type.clone(), items }));
            }
        }
    }
    if !ranges.is_empty() {
        all.push(pair("RangeDims", dict(ranges_type, ranges)));
    }
    if !enumerated.is_empty() {
        let count = enumerated.iter().map(|(_, shapes)| shapes.len()).max().unwrap_or(0);
        let mut sets = vec![];
        for at in 0..count {
            let named =
                enumerated.iter().filter_map(|(name, shapes)| Some((name, shapes.get(at)?)));
            let named: Vec<_> = named.collect();
            // Any key will do that is the same each time and differs from the others.
            let key = hex(&Sha256::digest(format!("{at} {named:?}")))[..32].to_owned();
            let entries = named.iter().map(|(name, sizes)| (literal(name), shape(sizes)));
            sets.push((literal(&key), dict(shape_type(), entries.collect())));
        }
        let ty = Type::Dict(Box::new(text()), Box::new(shape_type()));
        all.push(pair("EnumeratedShapes", dict(ty, sets)));
    }
    Some(Literal::Tuple(all))
}

/// The name in the program, the default shape and the other shapes of an input that has some.
fn flexibility(feature: &Feature) -> Option<(&str, Vec<usize>, Flexibility)> {
    let name = feature.value.as_str();
    match &feature.ty {
        FeatureType::Array(array) if array.is_flexible() => {
            Some((name, array.shape.clone(), array.flexibility.clone()))
        }
        FeatureType::Image(image) => {
            Some((name, image.shape(image.width, image.height), image.shapes()?))
        }
        _ => None,
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
