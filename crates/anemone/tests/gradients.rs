//! Gradients: against differences, by the names of features, with states, errors.

use anemone::mil::{DataType, Tensor};
use anemone::{Device, Error, Gradient, GradientOptions, Model};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../coreml/tests/fixtures").join(name)
}

fn text(function: &str) -> Model {
    Model::from_text(format!("program(1.3)\n{{\n{function}\n}}\n"), "test.mil").unwrap()
}

fn fp32(dims: &[usize], values: &[f64]) -> Tensor {
    Tensor::from_f64s(DataType::Fp32, dims, values).unwrap()
}

fn gradient(model: &Model, wrt: &[&str], device: Device) -> Gradient {
    let wrt = wrt.iter().map(|&name| name.to_owned()).collect();
    let options = GradientOptions { wrt, device, ..GradientOptions::default() };
    Gradient::new(model, options).unwrap()
}

fn devices() -> [Device; 2] {
    [Device::Cpu { threads: Some(1) }, Device::Interpreter]
}

const NONE: [(&str, Tensor); 0] = [];

#[test]
fn a_network_has_the_gradient_that_differences_say() {
    let model = Model::load(fixture("perceptron.mlpackage")).unwrap();
    let x: Vec<f64> = (0..16).map(|i| f64::from(i * 5 % 7) / 8. - 0.4).collect();
    let seed: Vec<f64> = (0..8).map(|i| f64::from(i % 3) - 1.).collect();
    for device in devices() {
        let mut session = model
            .session_with(anemone::Options { device: device.clone(), ..Default::default() })
            .unwrap();
        let mut loss = |x: &[f64]| -> f64 {
            let out = session.predict([("x", fp32(&[2, 8], x))]).unwrap();
            out.outputs["y"].to_f64s().iter().zip(&seed).map(|(y, s)| y * s).sum()
        };
        let mut gradient = gradient(&model, &["x"], device);
        // Compiled once, evaluated twice.
        for _ in 0..2 {
            let seeds = [("y", fp32(&[2, 4], &seed))];
            let result = gradient.evaluate([("x", fp32(&[2, 8], &x))], seeds).unwrap();
            let found = result.gradients["x"].to_f64s();
            for (i, found) in found.iter().enumerate() {
                let mut moved = x.clone();
                moved[i] += 1. / 64.;
                let above = loss(&moved);
                moved[i] -= 2. / 64.;
                let difference = (above - loss(&moved)) * 32.;
                // Differences over steps of 1/64 are off by a third derivative of at most some
                // units times 1/64²/6, and by fp32 rounding times 32.
                assert!((found - difference).abs() < 1e-3, "{i}: {found} {difference}");
            }
        }
    }
}

#[test]
fn one_number_needs_no_seed_and_outputs_without_one_count_as_zero() {
    let model = text(
        "func main<ios18>(tensor<fp32, [3]> x) {
            fp32 loss = reduce_sum_square(x = x, axes = tensor<int32, [1]>([0]), keep_dims = bool(false));
        } -> (loss);",
    );
    for device in devices() {
        let mut gradient = gradient(&model, &["x"], device);
        let result = gradient.evaluate([("x", fp32(&[3], &[1., 2., 3.]))], NONE).unwrap();
        assert_eq!(result.outputs["loss"].to_f64s(), [14.]);
        assert_eq!(result.gradients["x"].to_f64s(), [2., 4., 6.]);
    }
    let model = text(
        "func main<ios18>(tensor<fp32, [2]> x) {
            tensor<fp32, [2]> a = square(x = x);
            tensor<fp32, [2]> b = exp(x = x);
            bool c = const()[val = bool(true)];
        } -> (a, b, c);",
    );
    for device in devices() {
        let mut gradient = gradient(&model, &["x"], device);
        let x = || fp32(&[2], &[1., 2.]);
        let a = fp32(&[2], &[1., 10.]);
        let result = gradient.evaluate([("x", x())], [("a", a)]).unwrap();
        assert_eq!(result.gradients["x"].to_f64s(), [2., 40.]);
        let message = gradient.evaluate([("x", x())], NONE).unwrap_err().to_string();
        let wants = |name| format!("output `{name}` wants a seed of type tensor<fp32, [2]>");
        assert_eq!(message, [wants("a"), wants("b")].join("\n"));
        let wrong = [("a", fp32(&[3], &[0.; 3])), ("z", fp32(&[1], &[0.]))];
        let message = gradient.evaluate([("x", x())], wrong).unwrap_err().to_string();
        assert!(message.contains("seed of output `a`: expected tensor<fp32, [2]>"), "{message}");
        assert!(message.contains("`z` is no output of function `main`"), "{message}");
    }
}

#[test]
fn names_are_those_of_the_features() {
    let model = Model::load(fixture("names.mlpackage")).unwrap();
    let inputs = [("input.1", fp32(&[2], &[1., 2.])), ("input/1", fp32(&[2], &[3., 4.]))];
    let seeds = [("größe", fp32(&[2], &[1., 1.]))];
    let mut gradient = gradient(&model, &["input/1", "input.1"], Device::default());
    let result = gradient.evaluate(inputs, seeds).unwrap();
    // (a + b)².
    assert_eq!(result.outputs["größe"].to_f64s(), [16., 36.]);
    assert_eq!(result.gradients["input.1"].to_f64s(), [8., 12.]);
    assert_eq!(result.gradients["input/1"].to_f64s(), [8., 12.]);
}

#[test]
fn shapes_are_those_of_the_inputs() {
    let model = text(
        "func main<ios18>(tensor<fp32, [?, 2]> x) {
            tensor<fp32, [?, 2]> y = square(x = x);
        } -> (y);",
    );
    let mut gradient = gradient(&model, &["x"], Device::default());
    for rows in [1, 3, 1] {
        let values: Vec<f64> = (0..2 * rows).map(|i| i as f64).collect();
        let ones = fp32(&[rows, 2], &vec![1.; 2 * rows]);
        let x = fp32(&[rows, 2], &values);
        let result = gradient.evaluate([("x", x)], [("y", ones)]).unwrap();
        let doubled: Vec<f64> = values.iter().map(|x| 2. * x).collect();
        assert_eq!(result.gradients["x"].to_f64s(), doubled);
    }
}

#[test]
fn states_are_inputs_and_outputs_of_gradients() {
    let model = text(
        "func main<ios18>(state<tensor<fp32, [2]>> s, tensor<fp32, [2]> x) {
            tensor<fp32, [2]> before = read_state(input = s);
            tensor<fp32, [2]> y = mul(x = before, y = x);
            write_state(input = s, data = y);
        } -> (y);",
    );
    for device in devices() {
        let mut gradient = gradient(&model, &["x", "state/s"], device);
        let inputs = [("x", fp32(&[2], &[2., 3.])), ("state/s", fp32(&[2], &[5., 7.]))];
        let seeds = [("state/s", fp32(&[2], &[1., 1.])), ("y", fp32(&[2], &[1., 0.]))];
        let result = gradient.evaluate(inputs, seeds).unwrap();
        assert_eq!(result.outputs["state/s"].to_f64s(), [10., 21.]);
        assert_eq!(result.gradients["x"].to_f64s(), [10., 7.]);
        assert_eq!(result.gradients["state/s"].to_f64s(), [4., 3.]);
        // A state that is not given is zero.
        let seeds = [("y", fp32(&[2], &[1., 1.]))];
        let result = gradient.evaluate([("x", fp32(&[2], &[2., 3.]))], seeds).unwrap();
        assert_eq!(result.gradients["x"].to_f64s(), [0., 0.]);
    }
}

#[test]
fn what_has_no_gradient_is_named() {
    let model = text(
        "func main<ios18>(tensor<fp32, [2]> x, tensor<fp32, [2]> idle) {
            tensor<fp32, [2]> y = square(x = x);
        } -> (y);",
    );
    let evaluate = |wrt: &[&str]| {
        let inputs = [("x", fp32(&[2], &[0.; 2])), ("idle", fp32(&[2], &[0.; 2]))];
        let mut gradient = gradient(&model, wrt, Device::Interpreter);
        gradient.evaluate(inputs, [("y", fp32(&[2], &[1.; 2]))]).unwrap_err()
    };
    for (wrt, expected) in [
        (&["z"][..], "cannot differentiate `main`: function `main` has no input `z`"),
        (&["idle"], "`idle` does not influence any output"),
        (&[], "no input to differentiate for was named"),
    ] {
        let error = evaluate(wrt);
        assert!(matches!(error, Error::Gradient { .. }));
        assert!(error.to_string().contains(expected), "{error}");
    }
    let program = gradient(&model, &["x"], Device::Interpreter).program().unwrap();
    let names: Vec<&str> = program.functions.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["forward", "backward"]);
}
