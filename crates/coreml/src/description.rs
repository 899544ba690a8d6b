//! Interfaces from protobuf and as protobuf.

use crate::interface::{
    ArrayType, ColorSpace, DefaultValue, Feature, FeatureType, Flexibility, FunctionInterface,
    ImageFlexibility, ImageType, Interface, KeyType, Metadata, SizeRange,
};
use crate::proto::{
    self, Empty, array_feature_type, dictionary_feature_type, feature_type, image_feature_type,
    sequence_feature_type,
};
use crate::read::Ports;
use mil::{DataType, Function, Program, Type, ValueId};
use std::collections::{HashMap, HashSet};

/// The numbers of element types of arrays in `FeatureTypes.proto`.
pub(crate) const ARRAY_TYPES: [(DataType, i32, &str); 5] = [
    (DataType::Fp16, 65552, "Float16"),
    (DataType::Fp32, 65568, "Float32"),
    (DataType::Fp64, 65600, "Double"),
    (DataType::Int8, 131080, "Int8"),
    (DataType::Int32, 131104, "Int32"),
];

/// The order in which a description lists functions.
pub(crate) fn order(description: &proto::ModelDescription) -> Vec<String> {
    description.functions.iter().map(|function| function.name.clone()).collect()
}

/// The interface that a description gives a program.
///
/// A description without functions is about `main`, or the only function; what it does not tell
/// of is taken from the program.
pub(crate) fn interface(
    description: &proto::ModelDescription,
    program: &Program,
    ports: &[Ports],
) -> Result<Interface, String> {
    let described: Vec<proto::FunctionDescription> = if description.functions.is_empty() {
        let main = match &program.functions[..] {
            [only] => only.name.clone(),
            _ => "main".to_owned(),
        };
        vec![proto::FunctionDescription {
            name: main,
            input: description.input.clone(),
            output: description.output.clone(),
            state: description.state.clone(),
            predicted_feature_name: description.predicted_feature_name.clone(),
            predicted_probabilities_name: description.predicted_probabilities_name.clone(),
        }]
    } else {
        description.functions.clone()
    };
    let known: HashSet<&str> = program.functions.iter().map(|f| f.name.as_str()).collect();
    if let Some(unknown) = described.iter().find(|d| !known.contains(d.name.as_str())) {
        return Err(format!(
            "the description has a function `{}` that the program has not",
            unknown.name
        ));
    }
    let by_name: HashMap<&str, &proto::FunctionDescription> =
        described.iter().map(|d| (d.name.as_str(), d)).collect();
    if by_name.len() != described.len() {
        return Err("the description has a function twice".into());
    }
    let mut functions = vec![];
    for (function, ports) in program.functions.iter().zip(ports) {
        functions.push(match by_name.get(function.name.as_str()) {
            Some(description) => function_interface(description, function, ports)
                .map_err(|problem| format!("function `{}`: {problem}", function.name))?,
            None => crate::derive::function_interface(function),
        });
    }
    let default = &description.default_function_name;
    let metadata = description.metadata.clone().unwrap_or_default();
    Ok(Interface {
        functions,
        default_function: some(default),
        metadata: Metadata {
            description: metadata.short_description,
            version: metadata.version_string,
            author: metadata.author,
            license: metadata.license,
            user_defined: metadata.user_defined.into_iter().map(|e| (e.key, e.value)).collect(),
        },
    })
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn function_interface(
    description: &proto::FunctionDescription,
    function: &Function,
    ports: &Ports,
) -> Result<FunctionInterface, String> {
    let is_state = |id: &mil::ValueId| matches!(function.ty(*id), Type::State(_));
    let value = |id: mil::ValueId| function.value(id).name.clone();
    let mut interface = FunctionInterface {
        name: function.name.clone(),
        predicted_feature: some(&description.predicted_feature_name),
        predicted_probabilities: some(&description.predicted_probabilities_name),
        ..FunctionInterface::default()
    };
    let inputs: HashMap<&str, ValueId> =
        ports.inputs.iter().map(String::as_str).zip(function.inputs.iter().copied()).collect();
    let outputs = ports.outputs.iter().map(String::as_str);
    let outputs: HashMap<&str, ValueId> =
        outputs.zip(function.body.outputs.iter().copied()).collect();
    let mut seen = HashSet::new();
    for (kind, features) in [("input", &description.input), ("state", &description.state)] {
        for message in features {
            let id = inputs.get(message.name.as_str()).copied();
            let id = id.filter(|id| is_state(id) == (kind == "state"));
            let id = id.ok_or_else(|| format!("it has no {kind} `{}`", message.name))?;
            if !seen.insert(message.name.as_str()) {
                return Err(format!("the description has {kind} `{}` twice", message.name));
            }
            let list = if kind == "state" { &mut interface.states } else { &mut interface.inputs };
            list.push(feature(message, value(id))?);
        }
    }
    for message in &description.output {
        let id = outputs.get(message.name.as_str());
        let id = *id.ok_or_else(|| format!("it has no output `{}`", message.name))?;
        interface.outputs.push(feature(message, value(id))?);
    }
    // Every input must have a name by which it can be given.
    match ports.inputs.iter().zip(&function.inputs).find(|(n, _)| !seen.contains(n.as_str())) {
        Some((name, id)) => {
            let kind = if is_state(id) { "state" } else { "input" };
            Err(format!("the description has no {kind} `{name}`"))
        }
        None => Ok(interface),
    }
}

fn feature(message: &proto::FeatureDescription, value: String) -> Result<Feature, String> {
    let name = message.name.clone();
    let wrong = |problem: String| format!("feature `{name}`: {problem}");
    let ty = message.ty.as_ref();
    Ok(Feature {
        ty: feature_type(ty.and_then(|ty| ty.kind.as_ref())).map_err(wrong)?,
        name: message.name.clone(),
        value,
        description: message.short_description.clone(),
        optional: ty.is_some_and(|ty| ty.is_optional),
    })
}

fn feature_type(kind: Option<&feature_type::Kind>) -> Result<FeatureType, String> {
    use feature_type::Kind;
    Ok(match kind {
        None => return Err("it has no type".into()),
        Some(Kind::Int64(_)) => FeatureType::Int64,
        Some(Kind::Double(_)) => FeatureType::Double,
        Some(Kind::String(_)) => FeatureType::String,
        Some(Kind::Image(image)) => FeatureType::Image(image_type(image)?),
        Some(Kind::MultiArray(array)) => FeatureType::Array(array_type(array)?),
        Some(Kind::State(state)) => {
            let array = state.array.as_ref().ok_or("it has no type")?;
            FeatureType::State(array_type(array)?)
        }
        Some(Kind::Dictionary(dictionary)) => match dictionary.key {
            None => return Err("the keys have no type".into()),
            Some(dictionary_feature_type::Key::Int64(_)) => FeatureType::Dictionary(KeyType::Int64),
            Some(dictionary_feature_type::Key::String(_)) => {
                FeatureType::Dictionary(KeyType::String)
            }
        },
        Some(Kind::Sequence(sequence)) => match sequence.item {
            None => return Err("the items have no type".into()),
            Some(sequence_feature_type::Item::Int64(_)) => FeatureType::Sequence(KeyType::Int64),
            Some(sequence_feature_type::Item::String(_)) => FeatureType::Sequence(KeyType::String),
        },
    })
}

fn size(size: i64) -> Result<usize, String> {
    usize::try_from(size).map_err(|_| format!("{size} is not a size"))
}

fn shape(sizes: &[i64]) -> Result<Vec<usize>, String> {
    sizes.iter().map(|&n| size(n)).collect()
}

fn range(message: &proto::SizeRange) -> Result<SizeRange, String> {
    let min = usize::try_from(message.lower_bound);
    let min = min.map_err(|_| format!("{} is not a size", message.lower_bound))?;
    // Any negative number stands for no limit.
    let max = usize::try_from(message.upper_bound).ok();
    match max {
        Some(max) if max < min => Err(format!("the range {min}..{max} is empty")),
        max => Ok(SizeRange { min, max }),
    }
}

fn array_type(message: &proto::ArrayFeatureType) -> Result<ArrayType, String> {
    let code = message.data_type;
    let dtype = ARRAY_TYPES.iter().find(|row| row.1 == code).map(|row| row.0);
    let dtype = dtype.ok_or_else(|| format!("{code} is no element type of arrays"))?;
    let flexibility = match &message.flexibility {
        None => Flexibility::Fixed,
        Some(array_feature_type::Flexibility::Enumerated(list)) => Flexibility::Enumerated(
            list.shapes.iter().map(|s| shape(&s.shape)).collect::<Result<_, _>>()?,
        ),
        Some(array_feature_type::Flexibility::Range(list)) => {
            Flexibility::Range(list.size_ranges.iter().map(range).collect::<Result<_, _>>()?)
        }
    };
    let default = message.default.as_ref().map(|default| match *default {
        array_feature_type::Default::Int(value) => DefaultValue::Int(value),
        array_feature_type::Default::Float(value) => DefaultValue::Float(value),
        array_feature_type::Default::Double(value) => DefaultValue::Double(value),
    });
    Ok(ArrayType { dtype, shape: shape(&message.shape)?, flexibility, default })
}

fn image_type(message: &proto::ImageFeatureType) -> Result<ImageType, String> {
    let code = message.color_space;
    let color = ColorSpace::ALL.iter().find(|row| row.2 == code).map(|row| row.0);
    let color = color.ok_or_else(|| format!("{code} is no color space"))?;
    let flexibility = match &message.flexibility {
        None => ImageFlexibility::Fixed,
        Some(image_feature_type::Flexibility::Enumerated(list)) => {
            let number = |n: u64| usize::try_from(n).map_err(|_| format!("{n} is not a size"));
            let sizes = list.sizes.iter().map(|s| Ok((number(s.width)?, number(s.height)?)));
            ImageFlexibility::Enumerated(sizes.collect::<Result<_, String>>()?)
        }
        Some(image_feature_type::Flexibility::Range(ranges)) => {
            let one = |side: &Option<proto::SizeRange>| {
                side.as_ref().map_or(Ok(SizeRange { min: 0, max: None }), range)
            };
            ImageFlexibility::Range {
                width: one(&ranges.width_range)?,
                height: one(&ranges.height_range)?,
            }
        }
    };
    Ok(ImageType { width: size(message.width)?, height: size(message.height)?, color, flexibility })
}

/// The message `ModelDescription`. Functions are listed one by one if there are several, and where
/// the interface names a default one.
pub(crate) fn message(interface: &Interface) -> proto::ModelDescription {
    let Metadata { description, version, author, license, user_defined } = &interface.metadata;
    let metadata = proto::Metadata {
        short_description: description.clone(),
        version_string: version.clone(),
        author: author.clone(),
        license: license.clone(),
        user_defined: user_defined
            .iter()
            .map(|(key, value)| proto::StringEntry { key: key.clone(), value: value.clone() })
            .collect(),
    };
    let mut out = proto::ModelDescription { metadata: Some(metadata), ..Default::default() };
    let functions = interface.functions.iter().map(function_message);
    if is_multi_function(interface) {
        out.functions = functions.collect();
        out.default_function_name = interface.default_function.clone().unwrap_or_default();
    } else if let Some(only) = functions.into_iter().next() {
        out.input = only.input;
        out.output = only.output;
        out.state = only.state;
        out.predicted_feature_name = only.predicted_feature_name;
        out.predicted_probabilities_name = only.predicted_probabilities_name;
    }
    out
}

/// Whether a description has to list functions.
pub(crate) fn is_multi_function(interface: &Interface) -> bool {
    interface.functions.len() > 1 || interface.default_function.is_some()
}

fn function_message(interface: &FunctionInterface) -> proto::FunctionDescription {
    let features = |list: &[Feature]| list.iter().map(feature_message).collect();
    proto::FunctionDescription {
        name: interface.name.clone(),
        input: features(&interface.inputs),
        output: features(&interface.outputs),
        state: features(&interface.states),
        predicted_feature_name: interface.predicted_feature.clone().unwrap_or_default(),
        predicted_probabilities_name: interface.predicted_probabilities.clone().unwrap_or_default(),
    }
}

fn feature_message(feature: &Feature) -> proto::FeatureDescription {
    use feature_type::Kind;
    let kind = match &feature.ty {
        FeatureType::Int64 => Kind::Int64(Empty {}),
        FeatureType::Double => Kind::Double(Empty {}),
        FeatureType::String => Kind::String(Empty {}),
        FeatureType::Image(image) => Kind::Image(image_message(image)),
        FeatureType::Array(array) => Kind::MultiArray(array_message(array)),
        FeatureType::State(array) => {
            Kind::State(proto::StateFeatureType { array: Some(array_message(array)) })
        }
        FeatureType::Dictionary(key) => {
            let key = match key {
                KeyType::Int64 => dictionary_feature_type::Key::Int64(Empty {}),
                KeyType::String => dictionary_feature_type::Key::String(Empty {}),
            };
            Kind::Dictionary(proto::DictionaryFeatureType { key: Some(key) })
        }
        FeatureType::Sequence(item) => {
            let item = match item {
                KeyType::Int64 => sequence_feature_type::Item::Int64(Empty {}),
                KeyType::String => sequence_feature_type::Item::String(Empty {}),
            };
            Kind::Sequence(proto::SequenceFeatureType { item: Some(item), size_range: None })
        }
    };
    proto::FeatureDescription {
        name: feature.name.clone(),
        short_description: feature.description.clone(),
        ty: Some(proto::FeatureType { kind: Some(kind), is_optional: feature.optional }),
    }
}

fn range_message(range: SizeRange) -> proto::SizeRange {
    let upper_bound = range.max.map_or(-1, |max| i64::try_from(max).unwrap_or(-1));
    proto::SizeRange { lower_bound: range.min as u64, upper_bound }
}

fn array_message(array: &ArrayType) -> proto::ArrayFeatureType {
    let sizes = |dims: &[usize]| dims.iter().map(|&n| n as i64).collect();
    let flexibility = match &array.flexibility {
        Flexibility::Fixed => None,
        Flexibility::Enumerated(shapes) => {
            let shapes =
                shapes.iter().map(|shape| proto::ArrayShape { shape: sizes(shape) }).collect();
            let list = proto::EnumeratedShapes { shapes };
            Some(array_feature_type::Flexibility::Enumerated(list))
        }
        Flexibility::Range(ranges) => {
            let size_ranges = ranges.iter().map(|&r| range_message(r)).collect();
            Some(array_feature_type::Flexibility::Range(proto::ShapeRange { size_ranges }))
        }
    };
    let default = array.default.map(|default| match default {
        DefaultValue::Int(value) => array_feature_type::Default::Int(value),
        DefaultValue::Float(value) => array_feature_type::Default::Float(value),
        DefaultValue::Double(value) => array_feature_type::Default::Double(value),
    });
    let row = ARRAY_TYPES.iter().find(|row| row.0 == array.dtype);
    // 0 stands for no type; what arrays cannot be is refused before it gets here.
    let data_type = row.map_or(0, |row| row.1);
    proto::ArrayFeatureType { shape: sizes(&array.shape), data_type, flexibility, default }
}

fn image_message(image: &ImageType) -> proto::ImageFeatureType {
    let row = ColorSpace::ALL.iter().find(|row| row.0 == image.color);
    let flexibility = match &image.flexibility {
        ImageFlexibility::Fixed => None,
        ImageFlexibility::Enumerated(sizes) => {
            let size = |&(width, height): &(usize, usize)| proto::ImageSize {
                width: width as u64,
                height: height as u64,
            };
            let sizes = sizes.iter().map(size).collect();
            Some(image_feature_type::Flexibility::Enumerated(proto::EnumeratedImageSizes { sizes }))
        }
        ImageFlexibility::Range { width, height } => {
            Some(image_feature_type::Flexibility::Range(proto::ImageSizeRange {
                width_range: Some(range_message(*width)),
                height_range: Some(range_message(*height)),
            }))
        }
    };
    proto::ImageFeatureType {
        width: image.width as i64,
        height: image.height as i64,
        color_space: row.expect("every color space has a row").2,
        flexibility,
    }
}
