//! Sessions: names, shapes, states, devices, errors.

mod common;

use anemone::mil::Tensor;
use anemone::{Device, Error, Label, Model, Numerics, Options, Target};
use common::{devices, fixture, fp32, text};
use std::path::Path;

fn on(device: &Device) -> Options {
    Options { device: device.clone(), ..Options::default() }
}

/// The problems with features: their names and messages.
#[track_caller]
fn problems<T>(result: Result<T, Error>) -> Vec<(String, String)> {
    match result {
        Err(Error::Features(problems)) => {
            problems.into_iter().map(|problem| (problem.feature, problem.message)).collect()
        }
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("there was no error"),
    }
}

const SUM: &str = "func main<ios18>(state<tensor<fp16, [2]>> sum, tensor<fp16, [2]> x) {
    tensor<fp16, [2]> before = read_state(input = sum);
    tensor<fp16, [2]> after = add(x = before, y = x);
    write_state(input = sum, data = after);
} -> (after);";

#[test]
fn states_are_kept_across_calls_and_belong_to_one_session() {
    for device in devices() {
        let model = text(SUM);
        let mut session = model.session_with(on(&device)).unwrap();
        for call in 1..=5 {
            let out = session.predict([("x", fp32(&[2], &[1., 2.]))]).unwrap();
            let expected = [f64::from(call), 2. * f64::from(call)];
            assert_eq!(out.outputs["after"].to_f64s(), expected);
            assert_eq!(session.states().unwrap()["sum"].to_f64s(), expected);
        }
        let other = model.session_with(on(&device)).unwrap();
        assert_eq!(other.states().unwrap()["sum"].to_f64s(), [0., 0.]);

        session.set_state("sum", fp32(&[2], &[10., 20.])).unwrap();
        session.predict([("x", fp32(&[2], &[1., 2.]))]).unwrap();
        assert_eq!(session.states().unwrap()["sum"].to_f64s(), [11., 22.]);
        let both = [("x", fp32(&[2], &[1., 2.])), ("state/sum", fp32(&[2], &[5., 6.]))];
        session.predict(both).unwrap();
        assert_eq!(session.states().unwrap()["sum"].to_f64s(), [6., 8.]);
        session.reset().unwrap();
        session.predict([("x", fp32(&[2], &[1., 2.]))]).unwrap();
        assert_eq!(session.states().unwrap()["sum"].to_f64s(), [1., 2.]);
    }
}

#[test]
fn a_call_that_fails_leaves_the_states() {
    for device in devices() {
        let mut session = text(SUM).session_with(on(&device)).unwrap();
        session.predict([("x", fp32(&[2], &[1., 2.]))]).unwrap();
        let bad = [("x", fp32(&[3], &[0.; 3])), ("state/sum", fp32(&[2], &[5., 6.]))];
        problems(session.predict(bad));
        assert_eq!(session.states().unwrap()["sum"].to_f64s(), [1., 2.]);
    }
}

/// States live on where the form changes.
#[test]
fn states_are_kept_across_shapes() {
    let model = text(
        "func main<ios18>(state<tensor<fp32, [1]>> sum, tensor<fp32, [?]> x) {
            tensor<fp32, [1]> total = reduce_sum(x = x, axes = tensor<int32, [1]>([0]), keep_dims = bool(true));
            tensor<fp32, [1]> before = read_state(input = sum);
            tensor<fp32, [1]> after = add(x = before, y = total);
            write_state(input = sum, data = after);
        } -> (after);",
    );
    for device in devices() {
        let mut session = model.session_with(Options { forms: 2, ..on(&device) }).unwrap();
        let mut expected = 0.;
        for length in [1, 2, 1, 3, 4, 1] {
            session.predict([("x", fp32(&[length], &vec![1.; length]))]).unwrap();
            expected += length as f64;
            assert_eq!(session.states().unwrap()["sum"].to_f64s(), [expected], "{device:?}");
        }
    }
}

#[test]
fn shapes_are_those_of_the_inputs_where_the_interface_allows() {
    let model = Model::load(fixture("flexible.mlpackage")).unwrap();
    let e = |x: f64| 1. / (1. + (-x).exp());
    for device in devices() {
        let mut session = model.session_with(on(&device)).unwrap();
        for _ in 0..2 {
            // What is left out is 2.
            let out = session.predict([("x", fp32(&[1, 2], &[1., 0.]))]).unwrap();
            close(&out.outputs["y"], &[1, 2], &[e(2.), e(-2.)]);
            let x = fp32(&[2, 2], &[1., 0., 0., 3.]);
            let out = session.predict([("x", x), ("scale", fp32(&[1], &[1.]))]).unwrap();
            close(&out.outputs["y"], &[2, 2], &[e(1.), e(-1.), e(-3.), e(3.)]);
        }
        let found = problems(session.predict([("x", fp32(&[11, 2], &[0.; 22]))]));
        let message = "input `x`: `x` is array of fp32 [1..10, 1..50], shape [11, 2] is none of it";
        assert_eq!(found, [("x".to_owned(), message.to_owned())]);
    }
}

fn close(found: &Tensor, dims: &[usize], expected: &[f64]) {
    assert_eq!(found.dims(), dims);
    let found = found.to_f64s();
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
}

/// Shapes that are computed from inputs: each value has a form of its own.
#[test]
fn shapes_may_depend_on_values() {
    let model = text(
        "func main<ios18>(tensor<fp32, [?, 2]> x, tensor<int32, [1]> n) {
            tensor<int32, [2]> size = concat(values = (n, tensor<int32, [1]>([2])), axis = int32(0), interleave = bool(false));
            tensor<fp32, [?, ?]> y = slice_by_size(x = x, begin = tensor<int32, [2]>([1, 0]), size = size);
        } -> (y);",
    );
    for device in devices() {
        let mut session = model.session_with(on(&device)).unwrap();
        for (n, rows) in [(1, 4), (2, 4), (1, 4), (2, 3)] {
            let x: Vec<f64> = (0..2 * rows).map(|v| v as f64).collect();
            let inputs = [("x", fp32(&[rows, 2], &x)), ("n", Tensor::int32s(&[n]))];
            let out = session.predict(inputs).unwrap();
            let n = n as usize;
            assert_eq!(out.outputs["y"].dims(), [n, 2]);
            assert_eq!(out.outputs["y"].to_f64s(), x[2..2 + 2 * n]);
        }
    }
}

#[test]
fn what_does_not_fit_is_named_by_its_feature() {
    let model = Model::load(fixture("names.mlpackage")).unwrap();
    for device in devices() {
        let mut session = model.session_with(on(&device)).unwrap();
        let wrong = [("input.1", fp32(&[3], &[0.; 3])), ("input_1_1", fp32(&[2], &[0.; 2]))];
        let found = problems(session.predict(wrong));
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["input.1", "input/1", "input_1_1"]);
        assert!(found[0].1.contains("found shape [3]"), "{found:?}");
        assert!(found[1].1.starts_with("input `input/1` is missing"), "{found:?}");
        assert!(found[2].1.starts_with("`input_1_1` is no input"), "{found:?}");
        let strings = Tensor::from_strings(&[2], vec!["a".into(), "b".into()]).unwrap();
        let right = fp32(&[2], &[0.; 2]);
        let found = problems(session.predict([("input.1", strings), ("input/1", right)]));
        assert!(found[0].1.contains("found strings"), "{found:?}");

        let inputs = [("input.1", fp32(&[2], &[1., 2.])), ("input/1", fp32(&[2], &[3., 4.]))];
        let out = session.predict(inputs).unwrap();
        assert_eq!(out.output("größe").unwrap().to_f64s(), [16., 36.]);
        let missing = out.output("grosse").unwrap_err().to_string();
        assert_eq!(missing, "there is no output `grosse`; there are größe");
        let state = session.set_state("memory", fp32(&[1], &[0.]));
        assert_eq!(problems(state)[0].0, "state/memory");
    }
    let mut session = text(SUM).session().unwrap();
    let found = problems(session.set_state("sum", fp32(&[3], &[0.; 3])));
    assert!(found[0].1.starts_with("state `sum`: expected tensor<fp16, [2]>"), "{found:?}");
    let none = model.session_with(Options { function: Some("other".into()), ..Options::default() });
    let message = none.err().unwrap().to_string();
    assert_eq!(message, "no function `other`; the program has main");
}

#[test]
fn images_are_tensors_of_pixels() {
    let model = Model::load(fixture("image.mlpackage")).unwrap();
    let anemone::coreml::FeatureType::Image(image) = &model.features(None).unwrap().inputs[0].ty
    else {
        panic!("it is an image")
    };
    let mut session = model.session().unwrap();
    // Nothing but green.
    let pixels = [0, 255, 0].repeat(64);
    let picture = anemone::image::tensor(image, 8, 8, &pixels).unwrap();
    let out = session.predict([("picture", picture)]).unwrap();
    assert_eq!(out.outputs["color"].to_f64s(), [0., 1., 0.]);
    let few = anemone::image::tensor(image, 8, 8, &pixels[1..]).unwrap_err().to_string();
    assert_eq!(few, "an image of 8 × 8 pixels has 192 bytes, found 191");
    let found = problems(session.predict([("picture", fp32(&[1, 3, 8, 6], &[0.; 144]))]));
    assert!(found[0].1.contains("shape [1, 3, 8, 6] is none of it"), "{found:?}");
}

#[test]
fn classifiers_give_labels_and_probabilities() {
    for (name, is_text) in [("labels.mlpackage", true), ("numbers.mlpackage", false)] {
        let model = Model::load(fixture(name)).unwrap();
        let features = model.features(None).unwrap();
        let input = &features.inputs[0];
        let shape = input.default_shape().unwrap();
        let count: usize = shape.iter().product();
        let values: Vec<f64> = (0..count).map(|i| ((i * 7) % 5) as f64 - 2.).collect();
        for device in devices() {
            let mut session = model.session_with(on(&device)).unwrap();
            let out = session.predict([(input.name.as_str(), fp32(&shape, &values))]).unwrap();
            let label = out.label().unwrap();
            assert_eq!(matches!(label, Label::Text(_)), is_text);
            let all = out.probabilities().unwrap();
            let best = all.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
            assert_eq!(best.0, label);
            assert!((all.iter().map(|(_, p)| p).sum::<f64>() - 1.).abs() < 1e-3);
            // The label alone is not the device's, and leaves no trace of how it is made.
            assert_eq!(session.note(), None);
            let names: Vec<&str> = out.outputs.keys().map(String::as_str).collect();
            assert!(
                names.iter().all(|n| features.outputs.iter().any(|o| o.name == *n)),
                "{names:?}"
            );
        }
    }
    let out = text(SUM).session().unwrap().predict([("x", fp32(&[2], &[0.; 2]))]).unwrap();
    assert_eq!((out.label(), out.probabilities()), (None, None));
}

#[test]
fn what_the_device_cannot_run_is_interpreted_or_refused_as_asked() {
    let model = text(
        "func main<ios18>(tensor<fp32, [2, 2]> x) {
            tensor<int32, [?, 2]> at = non_zero(x = x);
            tensor<fp32, [?]> y = gather_nd(x = x, indices = at);
        } -> (y);",
    );
    let x = || fp32(&[2, 2], &[1., 0., 3., 0.]);
    let mut session = model.session().unwrap();
    for _ in 0..2 {
        let out = session.predict([("x", x())]).unwrap();
        assert_eq!(out.outputs["y"].to_f64s(), [1., 3.]);
        assert!(session.note().unwrap().starts_with("cpu cannot run `main`: non_zero"));
        let is_said = |place: &str| place.starts_with("interpreter (whole function)");
        assert!(session.placement().len() == 2);
        assert!(session.placement().iter().all(|p| is_said(&p.place)));
    }
    let refusing = Options { fall_back: false, ..Options::default() };
    let refused = model.session_with(refusing).unwrap().predict([("x", x())]).unwrap_err();
    assert!(matches!(refused, Error::Device(anemone::runtime::Error::Unsupported { .. })));
}

#[test]
fn the_emulated_engine_runs_what_it_would() {
    let emulated =
        Device::Emulated { target: Target::parse("m4").unwrap(), numerics: Numerics::Fast };
    // An engine wants to know what made the text.
    let program = "program(1.3)
[buildInfo = dict<string, string>({{\"coremlc-version\", \"3505.4.1\"}})]
{
    func main<ios18>(tensor<fp16, [1, 8, 1, 64]> x) {
        tensor<fp16, [1, 8, 1, 64]> y = add(x = x, y = x);
    } -> (y);
}
";
    let model = Model::from_text(program, "test.mil").unwrap();
    let mut session = model.session_with(on(&emulated)).unwrap();
    for factor in [1., 2.] {
        let x: Vec<f64> = (0..512).map(|i| factor * f64::from(i)).collect();
        let out = session.predict([("x", fp32(&[1, 8, 1, 64], &x))]).unwrap();
        let doubled: Vec<f64> = x.iter().map(|x| 2. * x).collect();
        assert_eq!(out.outputs["y"].to_f64s(), doubled);
    }
    assert_eq!(session.placement()[0].place, "ane");
    let mut session = text(SUM).session_with(on(&emulated)).unwrap();
    let message = session.predict([("x", fp32(&[2], &[0.; 2]))]).unwrap_err().to_string();
    assert!(message.contains("function `main` has the state `sum`"), "{message}");
}

#[test]
fn models_are_written_and_loaded_again() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("written");
    std::fs::remove_dir_all(&folder).ok();
    std::fs::create_dir_all(&folder).unwrap();
    let model = Model::load(fixture("perceptron.mlpackage")).unwrap();
    let x: Vec<f64> = (0..16).map(|i| f64::from(i) / 8. - 1.).collect();
    let y = |model: &Model| {
        let out = model.session().unwrap().predict([("x", fp32(&[2, 8], &x))]).unwrap();
        out.outputs["y"].clone()
    };
    let expected = y(&model);
    for form in ["mlpackage", "mlmodel", "mlmodelc", "mil"] {
        let path = folder.join(format!("model.{form}"));
        model.write(&path, false).unwrap();
        assert_eq!(y(&Model::load(&path).unwrap()), expected, "{form}");
        let again = model.write(&path, false).unwrap_err().to_string();
        assert!(again.contains("is there already"), "{again}");
        model.write(&path, true).unwrap();
    }
}

#[test]
fn a_program_that_breaks_a_rule_is_refused_with_the_place() {
    let wrong = "program(1.3)\n{\n    func main<ios18>(tensor<fp32, [2]> x) {
        tensor<fp32, [3]> y = relu(x = x);\n    } -> (y);\n}\n";
    let message = Model::from_text(wrong, "wrong.mil").err().unwrap().to_string();
    assert!(message.starts_with("`wrong.mil` has 1 problem\n"), "{message}");
    assert!(message.contains("wrong.mil:4"), "{message}");
}

/// What is compiled holds its weights: the files may go, and other sessions then miss them.
#[test]
fn weights_are_read_once_for_a_shape() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("once");
    std::fs::remove_dir_all(&folder).ok();
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("model.mlpackage");
    Model::load(fixture("perceptron.mlpackage")).unwrap().write(&path, false).unwrap();
    let model = Model::load(&path).unwrap();
    let x = || [("x", fp32(&[2, 8], &[0.25; 16]))];
    let mut session = model.session().unwrap();
    let before = session.predict(x()).unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    let after = session.predict(x()).unwrap();
    assert_eq!(after.outputs["y"], before.outputs["y"]);
    let message = model.session().unwrap().predict(x()).unwrap_err().to_string();
    assert!(message.contains("weight.bin"), "{message}");
}

#[test]
fn sessions_go_from_thread_to_thread() {
    let mut session = text(SUM).session().unwrap();
    let out = std::thread::spawn(move || session.predict([("x", fp32(&[2], &[1., 2.]))]));
    assert_eq!(out.join().unwrap().unwrap().outputs["after"].to_f64s(), [1., 2.]);
}

/// A cache of rows that each call writes one of, at a computed place, as language models have them.
const CACHE: &str =
    "func main<ios18>(state<tensor<fp16, [4, 2]>> rows, state<tensor<fp16, [4, 2]>> twice, \
    tensor<int32, [1]> at, tensor<fp16, [1, 2]> x) {
    tensor<int32, [1]> next = add(x = at, y = tensor<int32, [1]>([1]));
    tensor<int32, [2]> begin = concat(values = (at, tensor<int32, [1]>([0])), axis = int32(0));
    tensor<int32, [2]> end = concat(values = (next, tensor<int32, [1]>([2])), axis = int32(0));
    tensor<fp16, [4, 2]> old = read_state(input = rows);
    tensor<fp16, [2]> before = reduce_sum(x = old, axes = tensor<int32, [1]>([0]));
    tensor<fp16, [4, 2]> new = slice_update(x = old, update = x, begin = begin, end = end);
    write_state(input = rows, data = new);
    tensor<fp16, [4, 2]> other = read_state(input = twice);
    tensor<fp16, [4, 2]> doubled = slice_update(x = other, update = x, begin = begin, end = end);
    write_state(input = twice, data = doubled);
    tensor<fp16, [2]> after = reduce_sum(x = new, axes = tensor<int32, [1]>([0]));
} -> (before, after);";

#[test]
fn states_are_updated_in_place_and_a_call_that_fails_leaves_them() {
    for device in devices() {
        let mut session = text(CACHE).session_with(on(&device)).unwrap();
        let mut rows = [[0.; 2]; 4];
        for (at, x) in [(2, [1., 2.]), (0, [3., 4.]), (2, [5., 6.]), (3, [7., 8.])] {
            let sum = |rows: &[[f64; 2]; 4]| [0, 1].map(|i| rows.iter().map(|row| row[i]).sum());
            let before: [f64; 2] = sum(&rows);
            rows[at] = x;
            let after: [f64; 2] = sum(&rows);
            let inputs = |at: i64| [("at", Tensor::int32s(&[at])), ("x", fp32(&[1, 2], &x))];
            let out = session.predict(inputs(at as i64)).unwrap();
            assert_eq!(out.outputs["before"].to_f64s(), before, "{device:?}");
            assert_eq!(out.outputs["after"].to_f64s(), after, "{device:?}");
            // There is no fifth row.
            assert!(session.predict(inputs(4)).is_err(), "{device:?}");
            for name in ["rows", "twice"] {
                assert_eq!(session.states().unwrap()[name].to_f64s(), rows.concat(), "{device:?}");
            }
        }
        session.set_state("rows", fp32(&[4, 2], &[1.; 8])).unwrap();
        let inputs = [("at", Tensor::int32s(&[1])), ("x", fp32(&[1, 2], &[0., 9.]))];
        let out = session.predict(inputs).unwrap();
        assert_eq!(out.outputs["after"].to_f64s(), [3., 12.], "{device:?}");
        session.reset().unwrap();
        assert_eq!(session.states().unwrap()["rows"].to_f64s(), [0.; 8], "{device:?}");
    }
}
