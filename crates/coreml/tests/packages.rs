//! Models as coremltools makes them; `scripts/fixtures/make_packages.py` has made the files.

mod common;

use anemone_coreml::{
    ColorSpace, DefaultValue, Error, FeatureType, Flexibility, Form, ImageFlexibility, KeyType,
    Model, SizeRange, parameters_in_place,
};
use common::{Folder, files, fixture, in_place};
use mil::{DataType, Literal, Op};

/// Fixtures with ops that not every op table has.
fn read(name: &str, op: &str) -> Option<Model> {
    let read = Model::read(&fixture(name));
    if Op::from_name(op).is_some() {
        return Some(read.unwrap_or_else(|e| panic!("{e}")));
    }
    let message = read.expect_err("the op is not in the table").to_string();
    assert!(message.contains(&format!("unknown op `{op}`")), "{message}");
    assert!(message.contains("function `main`, `"), "{message}");
    None
}

fn good(name: &str) -> Model {
    let model = Model::read(&fixture(name)).unwrap_or_else(|e| panic!("{e}"));
    mil::verify(&model.program).unwrap_or_else(|e| panic!("{name}: {e}"));
    model
}

#[test]
fn a_package_has_its_program_metadata_and_weights() {
    let model = good("perceptron.mlpackage");
    let function = &model.program.functions[0];
    assert_eq!((function.name.as_str(), function.opset.tag()), ("main", "ios15"));
    assert_eq!(model.specification_version, Some(6));
    let meta = &model.interface.metadata;
    assert_eq!((meta.author.as_str(), meta.license.as_str()), ("A. Nemone", "MIT"));
    assert_eq!((meta.version.as_str(), meta.description.as_str()), ("1.2", "two layers"));
    assert_eq!(meta.user_defined["season"], "winter");
    let interface = model.function_interface("main").unwrap();
    let x = interface.input("x").unwrap();
    assert_eq!((x.description.as_str(), x.value.as_str()), ("what goes in", "x"));
    assert_eq!(x.ty.to_string(), "array of fp32 [2, 8]");
    assert_eq!(interface.outputs[0].description, "what comes out");
    // Weights are references, and what they refer to is there.
    let mut weights = vec![];
    function.body.visit(&mut |operation| {
        if let Some(Literal::Blob(blob)) = operation.attributes.get("val") {
            weights.push(model.weights.load(blob).unwrap().dims().to_vec());
        }
    });
    assert_eq!(weights, [vec![16, 8], vec![16], vec![4, 16]]);
}

#[test]
fn features_have_their_types() {
    let image = good("image.mlpackage");
    let FeatureType::Image(picture) = &image.interface.functions[0].inputs[0].ty else {
        panic!("the input is an image");
    };
    assert_eq!((picture.width, picture.height, picture.color), (6, 4, ColorSpace::Rgb));
    let ImageFlexibility::Enumerated(sizes) = &picture.flexibility else {
        panic!("two sizes are allowed")
    };
    assert!(sizes.contains(&(6, 4)) && sizes.contains(&(8, 8)), "{sizes:?}");
    let input = &image.interface.functions[0].inputs[0];
    assert_eq!(input.default_shape().unwrap(), [1, 3, 4, 6]);
    assert_eq!(input.check_shape(&[1, 3, 8, 8]), Ok(()));
    assert_eq!(
        input.check_shape(&[1, 3, 8, 6]).unwrap_err(),
        "`picture` is RGB image of 6 × 4 pixels or one of 2 sizes, shape [1, 3, 8, 6] is none of it"
    );

    let flexible = good("flexible.mlpackage");
    let interface = &flexible.interface.functions[0];
    let x = interface.input("x").unwrap().array().unwrap();
    assert_eq!(x.shape, [2, 3]);
    let ranges = [(1, 10), (1, 50)].map(|(min, max)| SizeRange { min, max: Some(max) });
    assert_eq!(x.flexibility, Flexibility::Range(ranges.to_vec()));
    let scale = interface.input("scale").unwrap();
    assert!(scale.optional);
    assert_eq!(scale.array().unwrap().default, Some(DefaultValue::Float(2.0)));

    let enumerated = good("enumerated.mlpackage");
    let x = enumerated.interface.functions[0].input("x").unwrap().array().unwrap();
    assert_eq!(x.shape, [4, 3]);
    assert!(x.allows(&[1, 3]) && x.allows(&[4, 3]) && x.allows(&[2, 5]));
    assert!(!x.allows(&[1, 5]) && !x.allows(&[4]));

    let state = good("state.mlpackage");
    let interface = &state.interface.functions[0];
    assert_eq!(interface.states[0].ty.to_string(), "state, array of fp16 [4]");
    assert_eq!(interface.inputs[0].array().unwrap().dtype, DataType::Fp16);
}

#[test]
fn classifiers_have_labels_and_probabilities() {
    for (name, label, key) in [
        ("labels.mlpackage", FeatureType::String, KeyType::String),
        ("numbers.mlpackage", FeatureType::Int64, KeyType::Int64),
    ] {
        let Some(model) = read(name, "classify") else { continue };
        let interface = &model.interface.functions[0];
        assert_eq!(interface.predicted_feature.as_deref(), Some("label"));
        assert_eq!(interface.predicted_probabilities.as_deref(), Some("label_probs"));
        assert_eq!(interface.outputs[0].ty, label);
        assert_eq!(interface.outputs[1].ty, FeatureType::Dictionary(key));
        let text = Model::from_text(model.to_text(), &fixture("x.mil")).unwrap();
        assert_eq!(text.interface.functions[0], *interface);
    }
}

#[test]
fn blocks_see_what_is_around_them() {
    let Some(model) = read("control.mlpackage", "cond") else { return };
    let body = &model.program.functions[0].body;
    let cond = body.operations.iter().find(|o| !o.blocks.is_empty()).expect("there is a cond");
    assert_eq!(cond.blocks.len(), 2);
}

#[test]
fn several_functions_keep_their_order_and_the_default_one() {
    let model = good("functions.mlpackage");
    assert_eq!(model.interface.default_function.as_deref(), Some("twice"));
    let names: Vec<&str> = model.program.functions.iter().map(|f| f.name.as_str()).collect();
    let listed: Vec<&str> = model.interface.functions.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, listed);
    assert_eq!(model.function_interface("half").unwrap().outputs[0].name, "half_y");
    // In any order.
    let mut turned = model.clone();
    turned.program.functions.reverse();
    turned.interface.functions.reverse();
    let folder = Folder::new("turned");
    turned.write(&folder.at("turned.mlpackage"), Form::Package, false).unwrap();
    let again = Model::read(&folder.at("turned.mlpackage")).unwrap();
    assert!(in_place(&again) == in_place(&turned));
    assert_eq!(again.interface, turned.interface);
}

#[test]
fn names_that_are_no_identifiers_are_replaced_and_remembered() {
    let model = good("names.mlpackage");
    let interface = &model.interface.functions[0];
    let all = interface.inputs.iter().chain(&interface.outputs);
    let pairs: Vec<(&str, &str)> = all.map(|f| (f.name.as_str(), f.value.as_str())).collect();
    let expected = [("input.1", "input_1"), ("input/1", "input_1_1"), ("größe", "gr__e")];
    assert_eq!(pairs, expected);
    let folder = Folder::new("names");
    model.write(&folder.at("a.mlpackage"), Form::Package, false).unwrap();
    let again = Model::read(&folder.at("a.mlpackage")).unwrap();
    assert_eq!(again.interface, model.interface);
    assert_eq!(again.program, model.program);
}

#[test]
fn models_of_other_kinds_are_named() {
    let message = |name: &str| {
        let error = Model::read(&fixture(name)).expect_err("it is no ML Program");
        assert!(matches!(error, Error::Kind { .. }));
        error.to_string()
    };
    let network = message("network.mlmodel");
    assert!(network.ends_with("is not an ML Program: it is a neuralNetwork"), "{network}");
    let pipeline = message("pipeline.mlmodel");
    assert!(pipeline.ends_with("is not an ML Program: it is a pipeline"), "{pipeline}");
    good("bare.mlmodel");
}

/// All fixtures whose ops are in the table.
fn readable() -> Vec<(String, Model)> {
    let mut models = vec![];
    for name in files("tests/fixtures") {
        match Model::read(&fixture(&name)) {
            Ok(model) => models.push((name, model)),
            Err(Error::Kind { .. }) => {}
            Err(Error::Program { problems, .. }) => {
                assert!(problems.0.iter().all(|p| p.message.starts_with("unknown op ")));
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(models.len() >= 9, "{}", models.len());
    models
}

#[test]
fn every_form_keeps_the_program() {
    let folder = Folder::new("forms");
    for (name, model) in readable() {
        for (form, extension) in [
            (Form::Package, "mlpackage"),
            (Form::File, "mlmodel"),
            (Form::Compiled, "mlmodelc"),
            (Form::Text, "mil"),
        ] {
            let path = folder.at(&format!("{name}.{extension}"));
            assert_eq!(Form::of(&path), Some(form));
            model.write(&path, form, false).unwrap_or_else(|e| panic!("{e}"));
            let again = Model::read(&path).unwrap_or_else(|e| panic!("{e}"));
            assert!(in_place(&again) == in_place(&model), "{name}: {form:?} changes the program");
            match form {
                Form::Package | Form::File => assert_eq!(again.interface, model.interface),
                // What a default value is stands in no text, and names are those of values.
                Form::Compiled if name != "names.mlpackage" => {
                    assert_eq!(again.interface.metadata, model.interface.metadata, "{name}");
                    for (a, b) in again.interface.functions.iter().zip(&model.interface.functions) {
                        assert_eq!(a.name, b.name);
                        for (a, b) in a.inputs.iter().zip(&b.inputs) {
                            assert_eq!((&a.name, a.optional), (&b.name, b.optional), "{name}");
                            assert_eq!(a.ty.to_string(), b.ty.to_string(), "{name}");
                        }
                    }
                }
                _ => {}
            }
        }
        // By way of the text, a package is the same.
        let text = Model::read(&folder.at(&format!("{name}.mil"))).unwrap();
        text.write(&folder.at(&format!("{name}.2.mlpackage")), Form::Package, false).unwrap();
        let package = Model::read(&folder.at(&format!("{name}.mlpackage"))).unwrap();
        let again = Model::read(&folder.at(&format!("{name}.2.mlpackage"))).unwrap();
        assert!(again.program == package.program, "{name}: a text changes the program");
    }
}

#[test]
fn a_text_says_of_shapes_what_the_interface_says_and_no_more() {
    let shapes = "FlexibleShapeInformation = ";
    let text = good("flexible.mlpackage").to_text();
    assert!(text.contains("(\"RangeDims\", {{\"x\", [[1, 10], [1, 50]]}})"), "{text}");
    assert!(good("enumerated.mlpackage").to_text().contains("\"EnumeratedShapes\""));
    assert!(!good("perceptron.mlpackage").to_text().contains(shapes));
    // Texts stay as they are, whether or not what they say is understood.
    for attribute in ["", "[FlexibleShapeInformation = int32(7)] "] {
        let text = format!(
            "program(1.0)\n{{\n    func main<ios15>(tensor<fp32, [?]> x) {attribute}{{\n        }} -> \
             (x);\n}}\n"
        );
        let model = Model::from_text(text.clone(), &fixture("x.mil")).unwrap();
        let said = mil::print(&mil::parse(&text).unwrap());
        assert_eq!(model.to_text(), said);
        assert_eq!(said.contains(shapes), !attribute.is_empty());
    }
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let folder = Folder::new("same");
    for (name, model) in readable() {
        let (first, second) = (folder.at(&format!("1{name}")), folder.at(&format!("2{name}")));
        model.write(&first, Form::Package, false).unwrap();
        // Reading and writing again changes nothing more.
        Model::read(&first).unwrap().write(&second, Form::Package, false).unwrap();
        let inner = ["Manifest.json", "Data/com.apple.CoreML/model.mlmodel"];
        let weights = "Data/com.apple.CoreML/weights/weight.bin";
        for file in inner.iter().chain(first.join(weights).is_file().then_some(&weights)) {
            let bytes = |path: &std::path::Path| std::fs::read(path.join(file)).unwrap();
            assert!(bytes(&first) == bytes(&second), "{name}: {file}");
        }
    }
}

#[test]
fn what_is_not_known_of_a_description_is_kept() {
    let folder = Folder::new("unknown");
    let model = good("unknown.mlpackage");
    let message = |path: &std::path::Path| {
        std::fs::read(path.join("Data/com.apple.CoreML/model.mlmodel")).unwrap()
    };
    let new = |bytes: &[u8]| bytes.windows(6).filter(|w| *w == b"\xc2\x3e\x03new").count();
    assert_eq!(new(&message(&fixture("unknown.mlpackage"))), 2);
    model.write(&folder.at("a.mlpackage"), Form::Package, false).unwrap();
    assert_eq!(new(&message(&folder.at("a.mlpackage"))), 2);
    // Once something in it has changed it is written anew.
    let mut changed = model.clone();
    changed.interface.metadata.author = "somebody".into();
    changed.write(&folder.at("b.mlpackage"), Form::Package, false).unwrap();
    assert_eq!(new(&message(&folder.at("b.mlpackage"))), 0);
    let again = Model::read(&folder.at("b.mlpackage")).unwrap();
    assert_eq!(again.interface, changed.interface);
}

#[test]
fn nothing_is_replaced_that_is_no_model() {
    let folder = Folder::new("replace");
    let model = good("perceptron.mlpackage");
    let path = folder.at("a.mlpackage");
    model.write(&path, Form::Package, false).unwrap();
    let message = |form: Form, path: &std::path::Path, replace: bool| {
        model.write(path, form, replace).expect_err("something is there").to_string()
    };
    assert!(message(Form::Package, &path, false).ends_with("is there already"));
    model.write(&path, Form::Package, true).unwrap();
    assert!(in_place(&Model::read(&path).unwrap()) == in_place(&model));

    let other = folder.at("precious");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("thesis.txt"), "words").unwrap();
    for form in [Form::Package, Form::Compiled, Form::Text, Form::File] {
        let message = message(form, &other, true);
        assert!(message.contains("is there already, and is no "), "{message}");
    }
    assert_eq!(std::fs::read_to_string(other.join("thesis.txt")).unwrap(), "words");
    // A weight that cannot be read leaves what was there.
    let mut broken = model.clone();
    broken.weights = mil::Weights::in_dir(folder.at("nowhere"));
    broken.write(&path, Form::Package, true).expect_err("the weights are nowhere");
    assert!(in_place(&Model::read(&path).unwrap()) == in_place(&model));
    let left: Vec<String> = files_in(&folder.0);
    assert_eq!(left, ["a.mlpackage", "precious"]);
}

fn files_in(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn what_features_cannot_be_is_an_error_that_names_it() {
    let folder = Folder::new("features");
    let problem = |text: &str| {
        let model = Model::from_text(text.to_owned(), &folder.at("x.mil")).unwrap();
        model.write(&folder.at("x.mlpackage"), Form::Package, false).unwrap_err().to_string()
    };
    assert_eq!(
        problem(
            "program(1.0)\n{ func main<ios15>(tensor<bool, [2]> x) { tensor<bool, [2]> y = \
             logical_not(x = x); } -> (y); }"
        ),
        "function `main`: feature `x` is an array of bool; arrays of fp16, fp32, fp64, int8, int32 \
         can be features"
    );
    assert_eq!(
        problem(
            "program(1.0)\n{ func main<ios15>(list<fp32, 2> x, tensor<fp32, [2]> a) { } -> (a); }"
        ),
        "function `main`: input `x` is of type list<fp32, 2>, which no feature can be"
    );
}

#[test]
fn long_parameters_come_into_the_program() {
    let folder = Folder::new("parameters");
    let sizes = ["1"; 12].join(", ");
    let parts: Vec<String> = (0..12).map(|i| format!("tensor<fp32, [1]> y{i}")).collect();
    let text = format!(
        "program(1.3)\n{{ func main<ios18>(tensor<fp32, [12]> x) {{\n\
         tensor<int32, [12]> sizes = const()[val = tensor<int32, [12]>([{sizes}])];\n\
         {} = split(x = x, split_sizes = sizes, axis = int32(0));\n}} -> (y3); }}",
        parts.join(", ")
    );
    let model = Model::from_text(text, &folder.at("x.mil")).unwrap();
    mil::verify(&model.program).unwrap();
    model.write(&folder.at("x.mlpackage"), Form::Package, false).unwrap();
    let mut again = Model::read(&folder.at("x.mlpackage")).unwrap();
    // The converter's rule puts them into the file, where nobody sees what they are.
    assert!(mil::verify(&again.program).is_err());
    let weights = again.weights.clone();
    assert_eq!(parameters_in_place(&mut again.program, &weights).unwrap(), 1);
    mil::verify(&again.program).unwrap();
    assert!(in_place(&again) == in_place(&model));
}
