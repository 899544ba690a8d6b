//! Models of Core ML on the command line: `run`, `info`, `convert`, `check`, `print` and `grad`.
//! The models are those of the tests of `coreml`, made by `scripts/fixtures/make_packages.py`.

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of this test's own.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Place {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("models_{test}"));
        fs::remove_dir_all(&path).ok();
        fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Runs a model on fp32 arrays and gives what it writes as floats.
    #[track_caller]
    fn run(&self, model: &str, arrays: &Arrays, more: &[&str]) -> BTreeMap<String, Vec<f32>> {
        let output = self.try_run(model, arrays, more);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let bytes = fs::read(self.at("out.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let floats = |(name, view): (&str, TensorView<'_>)| {
            let data = view.data();
            let values = match view.dtype() {
                Dtype::F32 => data.as_chunks().0.iter().map(|w| f32::from_le_bytes(*w)).collect(),
                Dtype::F16 => {
                    let words = data.as_chunks().0.iter();
                    words.map(|w| half::f16::from_le_bytes(*w).to_f32()).collect()
                }
                other => panic!("{name} is {other:?}"),
            };
            (name.to_owned(), values)
        };
        file.iter().map(floats).collect()
    }

    fn try_run(&self, model: &str, arrays: &Arrays, more: &[&str]) -> Output {
        let bytes: Vec<Vec<u8>> = arrays
            .iter()
            .map(|(_, _, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect())
            .collect();
        let views = arrays.iter().zip(&bytes).map(|((name, dims, _), bytes)| {
            (*name, TensorView::new(Dtype::F32, dims.to_vec(), bytes).unwrap())
        });
        fs::write(self.at("in.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
        fs::remove_file(self.at("out.safetensors")).ok();
        let (inputs, outputs) = (self.at("in.safetensors"), self.at("out.safetensors"));
        let arguments = ["run", model, "--inputs", &inputs, "--outputs", &outputs];
        anemone(&[&arguments[..], more].concat())
    }

    #[track_caller]
    fn refuses(&self, model: &str, arrays: &Arrays, expected: &str) {
        let output = self.try_run(model, arrays, &[]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains(expected), "`{expected}` is not in: {message}");
    }
}

type Arrays<'a> = [(&'a str, &'a [usize], &'a [f32])];

fn anemone(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anemone")).args(arguments).output().unwrap()
}

#[track_caller]
fn works(arguments: &[&str]) -> String {
    let output = anemone(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(arguments: &[&str], code: i32, expected: &[&str]) {
    let output = anemone(arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{message}");
    for part in expected {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../coreml/tests/fixtures");
    folder.join(name).to_str().unwrap().to_owned()
}

#[test]
fn features_have_the_names_that_the_model_says() {
    let place = Place::new("names");
    let arrays: &Arrays = &[("input.1", &[2], &[1., 2.]), ("input/1", &[2], &[3., 4.])];
    for device in ["cpu", "interp"] {
        let out = place.run(&fixture("names.mlpackage"), arrays, &["--device", device]);
        assert_eq!(out["größe"], [16., 36.]);
    }
    let wrong: &Arrays = &[("input.1", &[2], &[1., 2.]), ("input_1_1", &[2], &[3., 4.])];
    place.refuses(&fixture("names.mlpackage"), wrong, "input `input/1` is missing");
}

#[test]
fn functions_are_chosen_by_name_and_by_default() {
    let place = Place::new("functions");
    // Row j of the weight begins with this.
    let first = |j: usize| (j * 8 * 7 % 31) as f32 / 16. - 1.;
    let x: &Arrays = &[("x", &[1, 8], &[1., 0., 0., 0., 0., 0., 0., 0.])];
    let model = fixture("functions.mlpackage");
    let expected = |factor: f32| (0..8).map(|j| factor * first(j)).collect::<Vec<f32>>();
    assert_eq!(place.run(&model, x, &[])["twice_y"], expected(2.));
    assert_eq!(place.run(&model, x, &["--function", "half"])["half_y"], expected(0.5));
    // The same weights by way of every other form.
    for form in ["mlmodelc", "mil", "mlmodel"] {
        let other = place.at(&format!("other.{form}"));
        works(&["convert", &model, &other]);
        assert_eq!(place.run(&other, x, &["--function", "half"])["half_y"], expected(0.5));
    }
}

#[test]
fn shapes_are_those_of_the_inputs_where_the_interface_allows() {
    let place = Place::new("shapes");
    let model = fixture("flexible.mlpackage");
    let e = |x: f32| 1. / (1. + (-x).exp());
    let close = |found: &[f32], expected: &[f32]| {
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
    };
    for device in ["cpu", "interp"] {
        let one: &Arrays = &[("x", &[1, 2], &[1., 0.])];
        // What is left out is 2.
        let out = place.run(&model, one, &["--device", device]);
        close(&out["y"], &[e(2.), e(-2.)]);
        let two: &Arrays = &[("x", &[2, 2], &[1., 0., 0., 3.]), ("scale", &[1], &[1.])];
        let out = place.run(&model, two, &["--device", device]);
        close(&out["y"], &[e(1.), e(-1.), e(-3.), e(3.)]);
    }
    let long: &Arrays = &[("x", &[11, 2], &[0.; 22])];
    place.refuses(&model, long, "`x` is array of fp32 [1..10, 1..50], shape [11, 2] is none of it");

    let model = fixture("enumerated.mlpackage");
    let good: &Arrays = &[("x", &[2, 5], &[0.; 10]), ("scale", &[1], &[1.])];
    close(&place.run(&model, good, &[])["y"], &[0.2; 10]);
    let bad: &Arrays = &[("x", &[2, 3], &[0.; 6]), ("scale", &[1], &[1.])];
    place.refuses(&model, bad, "shape [2, 3] is none of it");
    place.refuses(&model, &[("x", &[2, 5], &[0.; 10])], "input `scale` is missing");
}

#[test]
fn images_are_arrays_of_their_sizes() {
    let place = Place::new("images");
    let model = fixture("image.mlpackage");
    let mut pixels = [0.; 3 * 64];
    pixels[64..128].fill(255.);
    let out = place.run(&model, &[("picture", &[1, 3, 8, 8], &pixels)], &[]);
    assert_eq!(out["color"], [0., 1., 0.]);
    place.refuses(
        &model,
        &[("picture", &[1, 3, 8, 6], &[0.; 144])],
        "`picture` is RGB image of 6 × 4 pixels or one of 2 sizes, shape [1, 3, 8, 6] is none of it",
    );
}

#[test]
fn states_go_in_and_out() {
    let place = Place::new("states");
    let x: &Arrays = &[("x", &[4], &[1., 2., 3., 4.]), ("state/total", &[4], &[10.; 4])];
    let out = place.run(&fixture("state.mlpackage"), x, &["--device", "interp"]);
    assert_eq!(out["state/total"], [11., 12., 13., 14.]);
    assert_eq!(out["now"], [11., 12., 13., 14.]);
}

#[test]
fn a_program_is_described() {
    let told = works(&["info", &fixture("perceptron.mlpackage")]);
    for line in [
        "  format       version 6\n",
        "  author       A. Nemone\n",
        "  metadata     season: winter\n",
        "  parameters   208: 832 bytes of fp32\n",
        "function main (ios15)\n",
        "  input        x: array of fp32 [2, 8], what goes in\n",
        "  output       y: array of fp32 [2, 4], what comes out\n",
        "  ops          const 4, linear 2, tanh 1\n",
        // Two rows, and 128 and 64 multiplications for each.
        "  operations   768\n",
    ] {
        assert!(told.contains(line), "`{line}` is not in\n{told}");
    }
    let flexible: Value =
        serde_json::from_str(&works(&["info", "--json", &fixture("flexible.mlpackage")])).unwrap();
    let function = &flexible["functions"][0];
    assert_eq!(function["inputs"][0]["type"], "array of fp32 [1..10, 1..50]");
    let scale = &function["inputs"][1];
    assert_eq!((&scale["optional"], &scale["default"]), (&true.into(), &2.0.into()));
    assert_eq!(flexible["specification_version"], 8);

    let both: Value =
        serde_json::from_str(&works(&["info", "--json", &fixture("functions.mlpackage")])).unwrap();
    assert_eq!(both["default_function"], "twice");
    // The weight that both have counts once.
    assert_eq!((&both["parameters"], &both["bytes"]["fp32"]), (&64.into(), &256.into()));
    assert_eq!(both["functions"][1]["flops"], 128.0);
    fails(&["info", &fixture("network.mlmodel")], 1, &["not an ML Program: it is a neuralNetwork"]);
}

#[test]
fn a_program_goes_through_every_form() {
    let place = Place::new("forms");
    let model = fixture("perceptron.mlpackage");
    let printed = works(&["print", &model]);
    let mut from = model.clone();
    for form in ["mil", "mlmodelc", "mlmodel", "mlpackage"] {
        let to = place.at(&format!("out.{form}"));
        let told = works(&["convert", &from, &to]);
        assert_eq!(told, format!("wrote {to}: 1 function\n"));
        from = to;
    }
    // Names of weight files aside, the program is what it was.
    assert_eq!(works(&["print", &from]), printed);
    fails(&["convert", &model, &from], 1, &["out.mlpackage` is there already"]);
    works(&["convert", &model, &from, "--force"]);
    let told = works(&["info", &from]);
    assert!(told.contains("author       A. Nemone"), "{told}");
    fails(&["convert", &model, &place.at("out.gguf")], 1, &["a program can be written as"]);
    fails(&["convert", &model, &place.at("b.mil"), "--dtype", "fp16"], 1, &["for checkpoints"]);
    fs::create_dir(place.at("precious.mlpackage")).unwrap();
    let precious = place.at("precious.mlpackage");
    fails(&["convert", &model, &precious, "--force"], 1, &["is no package: it is not replaced"]);
}

#[test]
fn rules_and_gradients_are_about_packages_too() {
    let place = Place::new("rules");
    let model = fixture("perceptron.mlpackage");
    let output = anemone(&["check", &model, "--target", "m4", "--json"]);
    let checked: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = checked["findings"].as_array().unwrap();
    // fp32 inputs, at least, with their lines in what `print` says.
    assert!(!findings.is_empty());
    assert!(findings.iter().any(|finding| finding["line"].is_u64()), "{checked}");

    let gradient = place.at("gradient.mil");
    works(&["grad", &model, "--wrt", "x", "-o", &gradient]);
    let text = fs::read_to_string(&gradient).unwrap();
    assert!(text.contains("func forward<") && text.contains("func backward<"), "{text}");
}
