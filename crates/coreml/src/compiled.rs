//! Compiled models: a folder with the program as text, and `metadata.json` beside it, a list of
//! one object that says in words and numbers written as strings what the interface is.

use crate::description::ARRAY_TYPES;
use crate::error::{at, format_error};
use crate::interface::{
    ArrayType, ColorSpace, Feature, FeatureType, Flexibility, FunctionInterface, ImageFlexibility,
    ImageType, Interface, KeyType, Metadata,
};
use crate::{Error, Model};
use mil::Opset;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The file of the program.
pub(crate) const TEXT: &str = "model.mil";

/// The file about the interface.
pub(crate) const METADATA: &str = "metadata.json";

/// A longer one is refused.
const LONGEST: u64 = 64 << 20;

/// Adds what `metadata.json` says to a model read from the text beside it; without one there is
/// nothing to add.
pub(crate) fn read_metadata(folder: &Path, model: &mut Model) -> Result<(), Error> {
    let path = folder.join(METADATA);
    if !path.is_file() {
        return Ok(());
    }
    let mut bytes = vec![];
    let file = File::open(&path).map_err(at(&path))?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(at(&path))?;
    if bytes.len() as u64 > LONGEST {
        return Err(format_error(path, "this is too long"));
    }
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|e| format_error(&path, format!("this is not JSON: {e}")))?;
    // A list of one.
    let object = value.get(0).unwrap_or(&value);
    let version = string(object, "specificationVersion");
    let version = version.or_else(|| Some(object.get("specificationVersion")?.to_string()));
    model.specification_version = version.and_then(|text| text.parse().ok());
    let text = |key: &str| string(object, key).unwrap_or_default();
    let user = object.get("userDefinedMetadata").and_then(Value::as_object);
    let user = user.into_iter().flatten();
    model.interface.metadata = Metadata {
        description: text("shortDescription"),
        version: text("version"),
        author: text("author"),
        license: text("license"),
        user_defined: user
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect(),
    };
    if let Some(name) = string(object, "defaultFunctionName")
        && model.program.function(&name).is_some()
    {
        model.interface.default_function = Some(name);
    }
    let functions = object.get("functions").and_then(Value::as_array);
    match functions.filter(|functions| !functions.is_empty()) {
        Some(functions) => {
            for function in functions {
                let name = string(function, "name").unwrap_or_default();
                let named = model.interface.functions.iter_mut().find(|f| f.name == name);
                if let Some(interface) = named {
                    amend(interface, function);
                }
            }
        }
        None => {
            if let [only] = &mut model.interface.functions[..] {
                amend(only, object);
            } else if let Some(main) =
                model.interface.functions.iter_mut().find(|f| f.name == "main")
            {
                amend(main, object);
            }
        }
    }
    Ok(())
}

fn string(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

/// Adds to an interface, which is what types tell, what a compiler has said of it.
fn amend(interface: &mut FunctionInterface, object: &Value) {
    let lists = [
        ("inputSchema", &mut interface.inputs),
        ("outputSchema", &mut interface.outputs),
        ("stateSchema", &mut interface.states),
    ];
    for (key, features) in lists {
        for entry in object.get(key).and_then(Value::as_array).into_iter().flatten() {
            let name = string(entry, "name").unwrap_or_default();
            if let Some(feature) = features.iter_mut().find(|feature| feature.name == name) {
                feature.description = string(entry, "shortDescription").unwrap_or_default();
                feature.optional = string(entry, "isOptional").as_deref() == Some("1");
                if let Some(mut image) = image(entry) {
                    if let FeatureType::Array(array) = &feature.ty {
                        image.flexibility = sizes(&array.flexibility);
                    }
                    feature.ty = FeatureType::Image(image);
                }
            }
        }
    }
}

fn image(entry: &Value) -> Option<ImageType> {
    if string(entry, "type")? != "Image" {
        return None;
    }
    let size = |key: &str| string(entry, key)?.parse::<usize>().ok();
    let color = string(entry, "colorspace")?;
    let color = ColorSpace::ALL.iter().find(|row| row.1 == color)?.0;
    let flexibility = ImageFlexibility::Fixed;
    Some(ImageType { width: size("width")?, height: size("height")?, color, flexibility })
}

/// The sizes of an image whose array has these shapes.
fn sizes(shapes: &Flexibility) -> ImageFlexibility {
    match shapes {
        Flexibility::Range(ranges) if ranges.len() == 4 => {
            ImageFlexibility::Range { width: ranges[3], height: ranges[2] }
        }
        Flexibility::Enumerated(shapes) if shapes.iter().all(|shape| shape.len() == 4) => {
            ImageFlexibility::Enumerated(shapes.iter().map(|s| (s[3], s[2])).collect())
        }
        _ => ImageFlexibility::Fixed,
    }
}

/// What `metadata.json` says of a model.
pub(crate) fn metadata(model: &Model, specification_version: i64) -> String {
    let Interface { functions, default_function, metadata } = &model.interface;
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("metadataOutputVersion", json!("3.0"));
    put("specificationVersion", json!(specification_version));
    put("modelType", json!({ "name": "MLModelType_mlProgram" }));
    put("isUpdatable", json!("0"));
    put("method", json!("predict"));
    put("modelParameters", json!([]));
    put("shortDescription", json!(metadata.description));
    put("version", json!(metadata.version));
    put("author", json!(metadata.author));
    put("license", json!(metadata.license));
    put("userDefinedMetadata", json!(metadata.user_defined));
    let several = functions.len() > 1 || default_function.is_some();
    for (at, interface) in functions.iter().enumerate() {
        let schemas = [
            ("inputSchema", &interface.inputs),
            ("outputSchema", &interface.outputs),
            ("stateSchema", &interface.states),
        ];
        let mut entry = Map::new();
        for (key, features) in schemas {
            let list = features.iter().map(schema).collect();
            entry.insert(key.to_owned(), Value::Array(list));
        }
        entry.insert("mlProgramOperationTypeHistogram".to_owned(), histogram(model, at));
        if several {
            entry.insert("name".to_owned(), json!(interface.name));
            let list = object.entry("functions").or_insert_with(|| json!([]));
            list.as_array_mut().expect("it was made one").push(Value::Object(entry));
        } else {
            object.extend(entry);
        }
    }
    if let Some(name) = default_function {
        object.insert("defaultFunctionName".to_owned(), json!(name));
    }
    format!("{:#}\n", json!([object]))
}

/// How often a function has each op, under the name of the operator set that brought its present
/// form.
fn histogram(model: &Model, function: usize) -> Value {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let function = &model.program.functions[function];
    let prefix = match function.opset {
        Opset::Ios15 => "",
        Opset::Ios16 => "Ios16.",
        Opset::Ios17 => "Ios17.",
        Opset::Ios18 => "Ios18.",
        Opset::Ios26 => "Ios26.",
    };
    function.body.visit(&mut |operation| {
        if operation.op != mil::Op::Const {
            *counts.entry(format!("{prefix}{}", operation.op.name())).or_default() += 1;
        }
    });
    json!(counts)
}

fn flag(value: bool) -> &'static str {
    if value { "1" } else { "0" }
}

fn schema(feature: &Feature) -> Value {
    let mut entry = Map::new();
    let mut put = |key: &str, value: &str| entry.insert(key.to_owned(), json!(value));
    put("name", &feature.name);
    put("shortDescription", &feature.description);
    put("isOptional", flag(feature.optional));
    put("formattedType", &feature.ty.to_string());
    match &feature.ty {
        FeatureType::Array(array) | FeatureType::State(array) => {
            let is_state = matches!(feature.ty, FeatureType::State(_));
            let ArrayType { dtype, shape, .. } = array;
            put("type", if is_state { "State" } else { "MultiArray" });
            put("shape", &format!("{shape:?}"));
            put("hasShapeFlexibility", flag(array.is_flexible()));
            let row = ARRAY_TYPES.iter().find(|row| row.0 == *dtype);
            put("dataType", row.map_or(dtype.name(), |row| row.2));
        }
        FeatureType::Image(image) => {
            put("type", "Image");
            put("width", &image.width.to_string());
            put("height", &image.height.to_string());
            put("colorspace", image.color.name());
            put("isColor", flag(image.channels() == 3));
            put("hasSizeFlexibility", flag(image.flexibility != ImageFlexibility::Fixed));
        }
        FeatureType::Int64 => drop(put("type", "Int64")),
        FeatureType::Double => drop(put("type", "Double")),
        FeatureType::String => drop(put("type", "String")),
        FeatureType::Dictionary(key) => {
            put("type", "Dictionary");
            put("keyType", if *key == KeyType::String { "String" } else { "Int64" });
        }
        FeatureType::Sequence(_) => drop(put("type", "Sequence")),
    }
    Value::Object(entry)
}
