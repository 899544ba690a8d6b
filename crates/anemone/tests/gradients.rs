//! Gradients: against differences, by the names of features, with states, errors.

mod common;

use anemone::mil::{DataType, Tensor};
use anemone::{Device, Error, Gradient, GradientOptions, Model, Options, Tensors};
use common::{devices, fixture, fp32, text};

fn gradient(model: &Model, wrt: &[&str], device: Device) -> Gradient {
    let wrt = wrt.iter().map(|&name| name.to_owned()).collect();
    let options = GradientOptions { wrt, device, ..GradientOptions::default() };
    Gradient::new(model, options).unwrap()
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

/// Gradients of Σ seed·output by all constants that match, beside differences of the model with
/// other constants. Returns the constants' names.
fn constants_have_the_gradient_of_differences(
    model: &Model,
    pattern: &str,
    (input, output): (&str, &str),
    step: f64,
    tolerance: f64,
) -> Vec<String> {
    let mut names = vec![];
    for device in devices() {
        let constants = Some(pattern.to_owned());
        let options = GradientOptions { constants, device: device.clone(), ..Default::default() };
        let mut gradient = Gradient::new(model, options).unwrap();
        let values = gradient.constants().unwrap();
        names = values.keys().cloned().collect();
        let shape = model.features(None).unwrap().input(input).unwrap().default_shape().unwrap();
        let count: usize = shape.iter().product();
        let x: Vec<f64> = (0..count).map(|i| (i * 5 % 7) as f64 / 8. - 0.4).collect();
        let x = || (input.to_owned(), fp32(&shape, &x));
        let on = || Options { device: device.clone(), ..Options::default() };
        let run = |constants: &Tensors| {
            let model = model.with_constants(None, constants).unwrap();
            let out = model.session_with(on()).unwrap().predict([x()]).unwrap();
            out.output(output).unwrap().clone()
        };
        let y = run(&Tensors::new());
        let seed: Vec<f64> = (0..y.count()).map(|i| (i % 3) as f64 - 0.75).collect();
        let seeds = || [(output, fp32(y.dims(), &seed))];
        let result = gradient.evaluate([x()], seeds()).unwrap();
        assert_eq!(result.outputs[output], y, "the constants have their own values");
        let loss = |constants: &Tensors| -> f64 {
            run(constants).to_f64s().iter().zip(&seed).map(|(y, s)| y * s).sum()
        };
        assert_eq!(result.gradients.keys().cloned().collect::<Vec<_>>(), names);
        for (name, value) in &values {
            let found = result.gradients[name].to_f64s();
            assert_eq!(result.gradients[name].dims(), value.dims());
            // The first, the last and one between.
            for i in [0, value.count() / 2, value.count() - 1] {
                let moved = |by: f64| {
                    let mut moved = value.to_f64s();
                    moved[i] += by;
                    [(name.clone(), fp32(value.dims(), &moved))].into()
                };
                let difference = (loss(&moved(step)) - loss(&moved(-step))) / (2. * step);
                let off = (found[i] - difference).abs();
                assert!(off < tolerance, "{name}[{i}]: {} {difference} {device:?}", found[i]);
            }
        }
        // Other values are given as inputs are.
        let doubled: Tensors = values
            .iter()
            .map(|(name, value)| {
                let doubled: Vec<f64> = value.to_f64s().iter().map(|v| 2. * v).collect();
                (name.clone(), fp32(value.dims(), &doubled))
            })
            .collect();
        let given = [x()].into_iter().chain(doubled.clone());
        let result = gradient.evaluate(given, seeds()).unwrap();
        assert_eq!(result.outputs[output], run(&doubled));
    }
    names
}

#[test]
fn constants_in_weight_files_have_the_gradient_that_differences_say() {
    let model = Model::load(fixture("perceptron.mlpackage")).unwrap();
    let names = constants_have_the_gradient_of_differences(
        &model,
        "weight|bias",
        ("x", "y"),
        1. / 64.,
        // As above: a third derivative and rounding in fp32.
        1e-3,
    );
    assert_eq!(names.len(), 4, "{names:?}");
}

#[test]
fn constants_may_be_found_where_shapes_are_open_and_by_either_name() {
    let model = text(
        "func main<ios18>(tensor<fp32, [?, 2]> x, state<tensor<fp32, [1]>> s) {
            tensor<fp32, [3, 2]> w = const()[name = string(\"layer.weight\"), val = tensor<fp32, [3, 2]>([[1, 2], [3, 4], [5, 6]])];
            tensor<fp32, [1]> d = const()[val = tensor<fp32, [1]>([2])];
            tensor<fp32, [?, 3]> h = linear(x = x, weight = w);
            tensor<fp32, [?, 3]> y = square(x = h);
            tensor<fp32, [1]> old = read_state(input = s);
            tensor<fp32, [1]> new = add(x = old, y = d);
            write_state(input = s, data = new);
        } -> (y);",
    );
    for device in devices() {
        // What a state alone depends on has a gradient too.
        let constants = Some("layer|^d$".to_owned());
        let options = GradientOptions { constants, device, ..Default::default() };
        let mut gradient = Gradient::new(&model, options).unwrap();
        for rows in [1, 2] {
            let x = fp32(&[rows, 2], &vec![1.; 2 * rows]);
            let y = fp32(&[rows, 3], &vec![1.; 3 * rows]);
            let seeds = [("y", y), ("state/s", fp32(&[1], &[5.]))];
            let result = gradient.evaluate([("x", x)], seeds).unwrap();
            let by = |row: f64| 2. * row * rows as f64;
            let expected = [by(3.), by(3.), by(7.), by(7.), by(11.), by(11.)];
            assert_eq!(result.gradients["w"].to_f64s(), expected);
            assert_eq!(result.gradients["d"].to_f64s(), [5.]);
            assert_eq!(result.outputs["state/s"].to_f64s(), [2.]);
        }
    }
}

#[test]
fn a_classifier_is_differentiated_for_its_probabilities() {
    let model = Model::load(fixture("quadrants.mlpackage")).unwrap();
    let constants = Some("^scores_".to_owned());
    let wrt = vec!["image".to_owned()];
    let options = GradientOptions { wrt, constants, ..Default::default() };
    let mut gradient = Gradient::new(&model, options).unwrap();
    let image: Vec<f64> = (0..64).map(|i| f64::from(i * 37 % 256)).collect();
    let image = [("image", fp32(&[1, 1, 8, 8], &image))];
    let expected = model.session().unwrap().predict(image.clone()).unwrap();
    let expected = expected.probabilities().unwrap();
    let seeds = [("probabilities", fp32(&[1, 4], &[1., 0., 0., 0.]))];
    let result = gradient.evaluate(image, seeds).unwrap();
    let found = result.outputs["probabilities"].to_f64s();
    assert!(found.iter().zip(&expected).all(|(a, (_, b))| (a - b).abs() < 1e-6), "{found:?}");
    assert_eq!(result.gradients["image"].dims(), [1, 1, 8, 8]);
    // Probabilities are p = softmax(z), so that ∂p₀/∂z = p₀·(δ − p), which the bias takes as it is.
    let bias = result.gradients["scores_bias_0_to_fp16"].to_f64s();
    for (i, bias) in bias.iter().enumerate() {
        let expected = found[0] * (if i == 0 { 1. } else { 0. } - found[i]);
        // The program computes in fp16.
        assert!((bias - expected).abs() < 1e-3, "{i}: {bias} {expected}");
    }
}

#[test]
fn constants_that_cannot_be_meant_are_refused() {
    let refused = |model: &Model, pattern: &str| {
        let constants = Some(pattern.to_owned());
        let options = GradientOptions { constants, ..Default::default() };
        Gradient::new(model, options).err().unwrap().to_string()
    };
    let model = Model::load(fixture("perceptron.mlpackage")).unwrap();
    assert!(refused(&model, "(").starts_with("`(` is no regular expression"));
    assert!(refused(&model, "nothing").contains("has a name that matches"));
    let affine = Model::load(fixture("affine.mlpackage")).unwrap();
    assert!(refused(&affine, ".").contains("is compressed"));
    let wrong = [("nothing".to_owned(), Tensor::from_f64s(DataType::Fp32, &[1], &[0.]).unwrap())];
    let message = model.with_constants(None, &wrong.into()).err().unwrap().to_string();
    assert_eq!(message, "function `main` has no constant `nothing` of floats");
}
