//! `anemone train --program` from the outside, and the gradients that it trains with.

use coreml::Model;
use cpu::CpuDevice;
use mil::{DataType, Literal, Tensor, Weights};
use passes::trainable::loss::{Loss, attach, cut};
use passes::trainable::{Choice, Parameter, choose, lift, widen};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use train::adamw::AdamW;
use train::fit::{Column, Examples, Fit, FitOptions, Progress, Target, Task};
use train::metrics::{self, Record};
use train::rng::Rng;
use train::schedule::{Decay, Schedule};

/// A folder of this test's own.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Place {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fit_{test}"));
        fs::remove_dir_all(&path).ok();
        fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, arrays: &[(&str, Dtype, &[usize], Vec<u8>)]) {
        let views = arrays.iter().map(|(name, dtype, dims, bytes)| {
            (*name, TensorView::new(*dtype, dims.to_vec(), bytes).unwrap())
        });
        fs::write(self.at(name), safetensors::serialize(views, None).unwrap()).unwrap();
    }

    /// Images with one bright quadrant each, and which it is.
    fn quadrants(&self, count: usize) {
        let (images, classes) = quadrants(count);
        let classes = classes.iter().flat_map(|class| class.to_le_bytes()).collect();
        self.write(
            "data.safetensors",
            &[
                ("image", Dtype::U8, &[count, 1, 8, 8], images),
                ("target", Dtype::I64, &[count], classes),
            ],
        );
    }

    fn train(&self, program: &str, out: &str, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_anemone"))
            .args(["train", "--program", program, "--out", &self.at(out)])
            .args(["--data", &self.at("data.safetensors"), "--threads", "1"])
            .args(more)
            .output()
            .unwrap()
    }

    #[track_caller]
    fn trains(&self, program: &str, out: &str, more: &[&str]) -> String {
        let output = self.train(program, out, more);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, program: &str, more: &[&str], expected: &str) {
        let output = self.train(program, "refused", more);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_ne!(output.status.code(), Some(0), "{more:?}");
        assert!(message.contains(expected), "`{expected}` is not in: {message}");
        assert!(!self.0.join("refused").exists(), "nothing is written");
    }

    fn records(&self, out: &str) -> Vec<Record> {
        metrics::read(&self.0.join(out).join("metrics.jsonl")).unwrap().records
    }
}

fn quadrants(count: usize) -> (Vec<u8>, Vec<i64>) {
    let mut random = Rng::new(3);
    let (mut images, mut classes) = (vec![], vec![]);
    for _ in 0..count {
        let class = random.below(4);
        for place in 0..64 {
            let inside = place / 32 == class / 2 && place % 8 / 4 == class % 2;
            let light = random.below(120) + if inside { 60 + random.below(60) } else { 0 };
            images.push(light as u8);
        }
        classes.push(class as i64);
    }
    (images, classes)
}

/// A package of the tests of `coreml`.
fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../coreml/tests/fixtures").join(name);
    path.to_str().unwrap().to_owned()
}

/// The constants of a model's `main`, by name, read from where they are.
fn constants(model: &Model) -> BTreeMap<String, Literal> {
    let function = model.program.function("main").unwrap();
    let literals = function.literals();
    let named = function.values.iter().zip(literals);
    let constant = |(value, literal): (&mil::Value, Option<&Literal>)| {
        let literal = match literal? {
            Literal::Blob(blob) => Literal::Tensor(model.weights.load(blob).unwrap()),
            other => other.clone(),
        };
        Some((value.name.clone(), literal))
    };
    named.filter_map(constant).collect()
}

#[test]
fn a_classifier_is_fine_tuned_and_keeps_all_but_its_weights() {
    let place = Place::new("classifier");
    place.quadrants(320);
    let program = fixture("quadrants.mlpackage");
    let flags = ["--lr", "1e-2", "--steps", "120", "--batch", "8", "--val-part", "0.2"];
    let said = place.trains(&program, "out", &flags);
    assert!(said.contains("8 constants of 1 524 elements, in fp32"), "{said}");
    assert!(said.contains("of `scores_cast_fp16` before the softmax"), "{said}");
    let records = place.records("out");
    assert_eq!(records.len(), 120);
    let last = records.last().unwrap();
    // It begins at ln 4 = 1.39, and one quadrant is always brighter by far.
    assert!(records[0].loss > 1.0, "{:?}", records[0]);
    assert!(last.val_loss.unwrap() < 0.1, "{last:?}");
    assert!(last.val_accuracy.unwrap() > 0.96, "{last:?}");
    assert!(fs::read_to_string(place.at("out/loss.svg")).unwrap().contains("loss (nats)"));

    let original = Model::read(Path::new(&program)).unwrap();
    let before = constants(&original);
    let mut packages = vec![];
    for name in ["out/best.mlpackage", "out/last.mlpackage"] {
        let trained = Model::read(Path::new(&place.at(name))).unwrap();
        assert_eq!(trained.interface, original.interface);
        assert_eq!(trained.specification_version, original.specification_version);
        let after = constants(&trained);
        assert!(before.keys().eq(after.keys()));
        let mut changed = vec![];
        for (name, new) in &after {
            assert_eq!(new.ty(), before[name].ty(), "{name}");
            if *new != before[name] {
                changed.push(name.as_str());
            }
        }
        let expected = [
            "conv_1_bias_0_to_fp16",
            "conv_1_weight_0_to_fp16",
            "conv_2_bias_0_to_fp16",
            "conv_2_weight_0_to_fp16",
            "norm_beta_0_to_fp16",
            "norm_gamma_0_to_fp16",
            "scores_bias_0_to_fp16",
            "scores_weight_0_to_fp16",
        ];
        assert_eq!(changed, expected);
        packages.push(trained);
    }

    // In fp16, as the package says, by the oracle: the label of an image of its own.
    let mut image = vec![20; 64];
    for place in [4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31] {
        image[place] = 150;
    }
    place.write("one.safetensors", &[("image", Dtype::U8, &[1, 1, 8, 8], image)]);
    let output = Command::new(env!("CARGO_BIN_EXE_anemone"))
        .args(["run", &place.at("out/best.mlpackage"), "--device", "interp"])
        .args(["--inputs", &place.at("one.safetensors")])
        .args(["--outputs", &place.at("label.safetensors")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = fs::read(place.at("label.safetensors")).unwrap();
    let label = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let label = label.tensor("quadrant").unwrap();
    assert_eq!(String::from_utf8_lossy(label.data()), "top right");

    let Some(python) = std::env::var_os("COREMLTOOLS_PYTHON") else {
        println!("not compared: COREMLTOOLS_PYTHON names no Python with coremltools");
        return;
    };
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/fixtures");
    let output = Command::new(python)
        .arg(scripts.join("fine_tuned.py"))
        .args([&program, &place.at("out/best.mlpackage")])
        .output()
        .expect("COREMLTOOLS_PYTHON can be run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().filter(|line| line.starts_with("changed ")).count(), 8, "{said}");
}

#[test]
fn six_steps_are_three_and_three_more_and_only_what_is_named_is_trained() {
    let place = Place::new("resume");
    place.quadrants(20);
    let program = fixture("quadrants.mlpackage");
    let flags = ["--schedule", "constant", "--batch", "3", "--trainable", "^(scores|conv_2_bias)"];
    let run = |out: &str, steps: &str, more: &[&str]| {
        place.trains(&program, out, &[&flags[..], &["--steps", steps], more].concat());
    };
    run("six", "6", &["--warmup", "0"]);
    run("parts", "3", &["--warmup", "0"]);
    let message = place.train(&program, "parts", &flags);
    assert!(String::from_utf8_lossy(&message.stderr).contains("holds a run already"));
    run("parts", "6", &["--resume"]);
    let bytes = |name: &str| fs::read(place.at(name)).unwrap();
    let weights = "last.mlpackage/Data/com.apple.CoreML/weights/weight.bin";
    assert_eq!(bytes(&format!("six/{weights}")), bytes(&format!("parts/{weights}")));
    assert_eq!(bytes("six/state.safetensors"), bytes("parts/state.safetensors"));
    let losses = |out| place.records(out).iter().map(|r| r.loss.to_bits()).collect::<Vec<_>>();
    assert_eq!(losses("six"), losses("parts"));

    let before = constants(&Model::read(Path::new(&program)).unwrap());
    let after = constants(&Model::read(Path::new(&place.at("six/last.mlpackage"))).unwrap());
    let changed: Vec<&String> = after.keys().filter(|n| after[*n] != before[*n]).collect();
    let expected = ["conv_2_bias_0_to_fp16", "scores_bias_0_to_fp16", "scores_weight_0_to_fp16"];
    assert_eq!(changed, expected);
}

#[test]
fn a_program_that_takes_several_examples_at_once_trains_the_same() {
    let place = Place::new("batch");
    let mut random = Rng::new(5);
    let mut values = |count: usize| -> Vec<u8> {
        (0..count).flat_map(|_| random.normal().to_le_bytes()).collect()
    };
    let arrays = [
        ("x", Dtype::F32, &[14, 3][..], values(14 * 3)),
        ("y", Dtype::F32, &[14, 2][..], values(14 * 2)),
    ];
    place.write("data.safetensors", &arrays);
    for (name, rows) in [("one", "1"), ("two", "2"), ("any", "?")] {
        let text = format!(
            "program(1.3)
{{
    func main<ios18>(tensor<fp32, [{rows}, 3]> x) {{
        tensor<fp32, [2, 3]> w = const()[val = tensor<fp32, [2, 3]>([[0x1p-1, 0x1p-2, -0x1p-1], [0x1p-3, 0x1p-1, 0x1p-2]])];
        tensor<fp32, [{rows}, 2]> y = linear(x = x, weight = w);
    }} -> (y);
}}
"
        );
        fs::write(place.at(&format!("{name}.mil")), text).unwrap();
        // Five in a batch: the last evaluation of two is half empty.
        let flags = ["--loss", "mse", "--batch", "5", "--steps", "6", "--val-part", "0.25"];
        let said = place.trains(&place.at(&format!("{name}.mil")), name, &flags);
        let each = match name {
            "one" => "1 in an evaluation",
            "two" => "2 in an evaluation",
            _ => "5 in an evaluation",
        };
        assert!(said.contains(each), "{said}");
    }
    let expected = place.records("one");
    for name in ["two", "any"] {
        for (found, expected) in place.records(name).iter().zip(&expected) {
            // Only the order of sums differs.
            assert!((found.loss - expected.loss).abs() < 1e-5, "{name}: {found:?} {expected:?}");
            let validated = found.val_loss.unwrap_or(0.0) - expected.val_loss.unwrap_or(0.0);
            assert!(validated.abs() < 1e-5, "{name}: {found:?} {expected:?}");
        }
    }
    assert!(expected[5].loss.is_finite() && expected[5].val_loss.is_some());
}

#[test]
fn a_bias_beside_a_compressed_weight_is_trained_and_the_weight_stays() {
    let place = Place::new("compressed");
    let rows = |value: f32| std::iter::repeat_n(value.to_le_bytes(), 16).flatten().collect();
    let dims = &[2, 8][..];
    let arrays = [("x", Dtype::F32, dims, rows(0.0)), ("y", Dtype::F32, dims, rows(0.25))];
    place.write("data.safetensors", &arrays);
    let affine = fixture("affine.mlpackage");
    let flags = ["--loss", "mse", "--steps", "40", "--batch", "2", "--lr", "0.05"];
    let said = place.trains(&affine, "out", &[&flags[..], &["--val-part", "0"]].concat());
    assert!(said.contains("frozen   1 compressed constant"), "{said}");
    assert!(place.records("out")[39].loss < 1e-2, "{:?}", place.records("out")[39]);
    let after = Model::read(Path::new(&place.at("out/last.mlpackage"))).unwrap();
    let before = Model::read(Path::new(&affine)).unwrap();
    let (old, new) = (constants(&before), constants(&after));
    let changed: Vec<&String> = new.keys().filter(|name| new[*name] != old[*name]).collect();
    assert_eq!(changed, ["y_bias_0"]);
}

#[test]
fn what_cannot_be_trained_is_refused_by_name() {
    let place = Place::new("refused");
    place.quadrants(4);
    let classifier = fixture("quadrants.mlpackage");
    let no_match = "no constant of floats that a gradient reaches has a name that matches";
    place.fails(&classifier, &["--trainable", "nothing"], no_match);
    place.fails(&classifier, &["--trainable", "("], "--trainable");
    place.fails(&classifier, &["--target-output", "q"], "has no value `q`");
    place.fails(&classifier, &["--device", "ane-emulated"], "use --device cpu");
    place.fails(&classifier, &["--lora", "4"], "cannot be used with '--lora");
    place.fails(&classifier, &["--model", "tiny"], "cannot be used with '--model");

    let floats = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let image = || vec![0; 2 * 64];
    let labels = |classes: &[i64]| classes.iter().flat_map(|c| c.to_le_bytes()).collect();
    let data = "data.safetensors";
    let of = |dims: &'static [usize]| ("image", Dtype::U8, dims, image());
    place.write(data, &[of(&[2, 64]), ("target", Dtype::I64, &[2], labels(&[0, 4]))]);
    place.fails(&classifier, &[], "array `target`: 4 is no index of one of 4 classes");
    place.write(data, &[of(&[4, 32]), ("target", Dtype::I64, &[4], labels(&[0, 1, 2, 3]))]);
    place.fails(&classifier, &[], "an example in the data has shape [32]");
    place.write(data, &[("target", Dtype::I64, &[2], labels(&[0, 1]))]);
    place.fails(&classifier, &[], "input `image` is missing in the data");
    place.write(data, &[of(&[2, 64])]);
    place.fails(&classifier, &[], "the data has no array `target`");
    let half = floats(&[0.5, 0.0]);
    place.write(data, &[of(&[2, 64]), ("target", Dtype::F32, &[2], half)]);
    place.fails(&classifier, &[], "array `target`: indices of classes are whole numbers");

    let number = || ("target", Dtype::F32, &[1, 4][..], floats(&[0.0; 4]));
    place.write(data, &[("x", Dtype::F32, &[1, 4], floats(&[0.0; 4])), number()]);
    let state = fixture("state.mlpackage");
    place.fails(&state, &["--loss", "mse"], "`total`: programs with states cannot be trained");
    place.fails(&state, &[], "say --loss cross-entropy or --loss mse");
    let rows = |width: usize| floats(&vec![0.0; width]);
    place.write(data, &[("x", Dtype::F32, &[1, 3], rows(3)), ("y", Dtype::F32, &[1, 3], rows(3))]);
    let control = fixture("control.mlpackage");
    place.fails(&control, &["--loss", "mse"], "programs with loops or conditions");
    place.write(data, &[("x", Dtype::F32, &[1, 8], rows(8)), ("y", Dtype::F32, &[1, 8], rows(8))]);
    let affine = fixture("affine.mlpackage");
    let compressed = "is compressed (constexpr_affine_dequantize): only constants that are stored";
    place.fails(&affine, &["--loss", "mse", "--trainable", "."], compressed);
}

#[test]
fn gradients_of_a_package_are_those_of_finite_differences() {
    let model = Model::read(Path::new(&fixture("quadrants.mlpackage"))).unwrap();
    let mut function = model.program.function("main").unwrap().clone();
    let prediction = cut(&mut function, None, Loss::CrossEntropy).unwrap();
    widen::widen(&mut function, &model.weights).unwrap();
    let names = choose(&function, &Choice::All).unwrap();
    let lifted = lift(&mut function, &names).unwrap();
    let ports = attach(&mut function, &prediction, Loss::CrossEntropy).unwrap();
    let value = |p: &Parameter| p.value(&Weights::default()).unwrap();
    let parameters = lifted.iter().map(|p| (p.name.clone(), value(p))).collect();
    let task = Task {
        function,
        ports,
        prediction,
        examples: 1,
        parameters,
        constants: vec![],
        weights: Weights::default(),
    };
    let options = FitOptions {
        batch: 3,
        optimizer: AdamW::default(),
        schedule: Schedule {
            peak: 1e-3,
            min_ratio: 1.0,
            warmup: 0,
            steps: 1,
            decay: Decay::Constant,
        },
        clip: 0.0,
        seed: 1,
        threads: 1,
    };
    let device = CpuDevice::new(Some(1)).unwrap();
    let mut fit = Fit::new(&device, task, options).unwrap();
    let (images, classes) = quadrants(3);
    let images = Tensor::from_bytes(DataType::Uint8, &[3, 64], images).unwrap();
    let classes = Tensor::from_i64s(DataType::Int32, &[3], &classes).unwrap();
    let classes = Column::new("target", classes, 3, 1).unwrap();
    let examples = Examples {
        columns: vec![Column::new("image", images, 3, 64).unwrap()],
        target: Target::classes(classes, 4).unwrap(),
        count: 3,
    };
    let all = [0, 1, 2];
    fit.loss_and_gradient(&examples, &all).unwrap();
    let gradients: BTreeMap<String, Vec<f32>> = fit.gradients().unwrap().into_iter().collect();
    let state: BTreeMap<String, Tensor> = fit.state().unwrap().into_iter().collect();

    // Small enough that few units change sides, large beside the roundings of fp32.
    const STEP: f64 = 1.0 / 512.0;
    for (name, gradient) in &gradients {
        // The element of the largest gradient says most.
        let magnitude = |&i: &usize| gradient[i].abs().to_bits();
        let element = (0..gradient.len()).max_by_key(magnitude).unwrap();
        let mut losses = [0.0; 2];
        for (loss, sign) in losses.iter_mut().zip([1.0, -1.0]) {
            let mut values = state[name].to_f64s();
            values[element] += sign * STEP;
            let moved = Tensor::from_f64s(DataType::Fp32, state[name].dims(), &values).unwrap();
            let find = |wanted: &str| match wanted == name {
                true => Some(moved.clone()),
                false => state.get(wanted).cloned(),
            };
            fit.restore(Progress::default(), find).unwrap();
            *loss = fit.loss_and_gradient(&examples, &all).unwrap();
        }
        let expected = (losses[0] - losses[1]) / (2.0 * STEP);
        let found = f64::from(gradient[element]);
        assert!(found.abs() > 1e-3, "{name}[{element}] says nothing: {found}");
        let apart = (found - expected).abs();
        assert!(apart < 0.02 * found.abs() + 2e-4, "{name}[{element}]: {found}, not {expected}");
    }
}

#[test]
fn a_package_is_differentiated_for_its_constants() {
    let output = Command::new(env!("CARGO_BIN_EXE_anemone"))
        .args(["grad", &fixture("quadrants.mlpackage"), "--trainable", "^(conv_2|scores)_weight"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let program = mil::parse(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
    mil::verify(&program).unwrap();
    let ports = |name: &str| {
        let f = program.function(name).unwrap();
        let names = |ids: &[mil::ValueId]| -> Vec<String> {
            ids.iter().map(|&id| format!("{}: {}", f.value(id).name, f.ty(id))).collect()
        };
        (names(&f.inputs), names(&f.body.outputs))
    };
    let (inputs, outputs) = ports("forward");
    assert_eq!(
        inputs,
        [
            "image: tensor<fp32, [1, 1, 8, 8]>",
            "conv_2_weight_0_to_fp16: tensor<fp32, [16, 8, 3, 3]>",
            "scores_weight_0_to_fp16: tensor<fp32, [4, 64]>",
        ]
    );
    assert_eq!(outputs[0], "probabilities: tensor<fp32, [1, 4]>");
    let (inputs, outputs) = ports("backward");
    assert_eq!(inputs[0], "d_probabilities: tensor<fp32, [1, 4]>");
    assert_eq!(
        outputs,
        [
            "d_conv_2_weight_0_to_fp16: tensor<fp32, [16, 8, 3, 3]>",
            "d_scores_weight_0_to_fp16: tensor<fp32, [4, 64]>",
        ]
    );
}

/// The same images as pictures, in folders by the names of the classes.
#[test]
fn pictures_in_folders_train_as_their_arrays_do() {
    let place = Place::new("pictures");
    let labels = ["top left", "top right", "bottom left", "bottom right"];
    let (images, classes) = quadrants(40);
    // In the order in which the folders are read.
    let mut order: Vec<usize> = (0..classes.len()).collect();
    let mut names = labels;
    names.sort_unstable();
    let folder = |&i: &usize| names.iter().position(|name| *name == labels[classes[i] as usize]);
    order.sort_by_key(|i| (folder(i), *i));
    for &i in &order {
        let folder = place.at(&format!("pictures/{}", labels[classes[i] as usize]));
        fs::create_dir_all(&folder).unwrap();
        png(&format!("{folder}/{i:03}.PNG"), 8, 8, &images[64 * i..][..64]);
    }
    fs::write(place.at("pictures/readme.txt"), "no class").unwrap();
    fs::write(place.at("pictures/top left/notes.txt"), "no picture").unwrap();
    let arrays = order.iter().flat_map(|&i| images[64 * i..][..64].to_vec()).collect();
    let targets = order.iter().flat_map(|&i| classes[i].to_le_bytes()).collect();
    let arrays: [(&str, Dtype, &[usize], Vec<u8>); 2] =
        [("image", Dtype::U8, &[40, 1, 8, 8], arrays), ("target", Dtype::I64, &[40], targets)];
    place.write("data.safetensors", &arrays);

    let program = fixture("quadrants.mlpackage");
    let flags = ["--lr", "1e-2", "--steps", "30", "--batch", "8"];
    place.trains(&program, "arrays", &flags);
    let pictures = place.at("pictures");
    let train = |out: &str, more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_anemone"))
            .args(["train", "--program", &program, "--data", &pictures, "--out", &place.at(out)])
            .args(["--threads", "1"])
            .args(flags)
            .args(more)
            .output()
            .unwrap()
    };
    let output = train("trained", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("classes  4 folders, by the model's labels"), "{said}");
    let losses = |out: &str| place.records(out).iter().map(|r| r.loss).collect::<Vec<_>>();
    assert_eq!(losses("trained"), losses("arrays"));
    let losses = losses("trained");
    assert!(losses[losses.len() - 1] < losses[0] / 2.0, "{losses:?}");
    let weights = |path: &str| constants(&Model::read(Path::new(path)).unwrap());
    let trained = weights(&place.at("trained/last.mlpackage"));
    assert_eq!(trained, weights(&place.at("arrays/last.mlpackage")));
    assert_ne!(trained, weights(&program));

    // Another size is scaled if that is asked for, and the wish is kept for a resumed run.
    let other = place.at("pictures/top left/zzz.png");
    png(&other, 16, 24, &[9; 16 * 24]);
    let refused = |output: Output, expected: &str| {
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains(expected), "{message}");
    };
    refused(train("scaled", &[]), "has 16 × 24 pixels, input `image` is");
    for more in [&["--resize"][..], &["--resume"]] {
        let output = train("scaled", more);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    // What is no picture is named.
    fs::write(&other, b"\x89PNG\r\n\x1a\nnothing").unwrap();
    refused(train("damaged", &["--resize"]), "zzz.png");
    fs::remove_file(&other).unwrap();
    // Names that are no labels.
    fs::rename(place.at("pictures/top left"), place.at("pictures/upper left")).unwrap();
    refused(train("unknown", &[]), "have not the name of a class: `upper left`");
    for (i, label) in labels.iter().enumerate() {
        let from = if i == 0 { "upper left" } else { label };
        fs::rename(place.at(&format!("pictures/{from}")), place.at(&format!("pictures/n0{i}")))
            .unwrap();
    }
    let output = train("sorted", &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("classes  4 folders, in the order of their names"), "{said}");
    refused(train("trained", &[]), "holds a run already");
}

/// Writes a gray picture.
fn png(path: &str, width: u32, height: u32, pixels: &[u8]) {
    let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), width, height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(pixels).unwrap();
}

#[test]
fn a_picture_is_classified() {
    let place = Place::new("picture");
    let array: Vec<u8> = (0..64).map(|i| i * 3).collect();
    png(&place.at("one.png"), 8, 8, &array);
    png(&place.at("small.png"), 4, 4, &array[..16]);
    place.write("one.safetensors", &[("image", Dtype::U8, &[1, 1, 8, 8], array)]);
    let run = |inputs: &str, outputs: &str, more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_anemone"))
            .args(["run", &fixture("quadrants.mlpackage"), "--inputs", &place.at(inputs)])
            .args(["--outputs", &place.at(outputs)])
            .args(more)
            .output()
            .unwrap()
    };
    let good = |output: Output| {
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    };
    good(run("one.png", "a.safetensors", &[]));
    good(run("one.safetensors", "b.safetensors", &[]));
    let read = |name: &str| fs::read(place.at(name)).unwrap();
    assert_eq!(read("a.safetensors"), read("b.safetensors"));
    good(run("small.png", "c.safetensors", &["--resize"]));
    let output = run("small.png", "d.safetensors", &[]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    let expected = "has 4 × 4 pixels, input `image` is Grayscale image of 8 × 8 pixels: --resize \
                    scales pictures to 8 × 8";
    assert!(message.contains(expected), "{message}");
    let output = run("one.safetensors", "d.safetensors", &["--resize"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("--resize is for pictures"));
    let output = Command::new(env!("CARGO_BIN_EXE_anemone"))
        .args(["run", &fixture("perceptron.mlpackage"), "--inputs", &place.at("one.png")])
        .args(["--outputs", &place.at("d.safetensors")])
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("the model takes no image"), "{message}");
    assert!(message.contains("`x` is array of fp32 [2, 8]"), "{message}");
}
