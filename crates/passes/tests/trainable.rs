//! Constants that become inputs, and losses.

use anemone_passes::autodiff::value_and_gradient;
use anemone_passes::trainable::loss::{self, Loss, attach, cut, unlabel};
use anemone_passes::trainable::widen::widen;
use anemone_passes::trainable::{Choice, Error, choose, compressed, lift, put_back};
use interp::{Array, Options};
use mil::{BlobWriter, DataType, Function, Op, Program, Tensor, Weights};
use std::collections::BTreeMap;

/// A classifier in fp16 with a folded convolution's kind of constants, and a batch norm.
const CLASSIFIER: &str = "program(1.0)
{
    func main<ios16>(tensor<fp32, [1, 2, 2, 2]> x) {
        string dt = const()[val = string(\"fp16\")];
        tensor<fp16, [1, 2, 2, 2]> h = cast(x = x, dtype = dt);
        tensor<fp16, [2]> mean = const()[val = tensor<fp16, [2]>([0x1p-3, 0x1p-2])];
        tensor<fp16, [2]> variance = const()[val = tensor<fp16, [2]>([0x1p+0, 0x1p+1])];
        tensor<fp16, [2]> gamma = const()[name = string(\"norm.scale\"), val = tensor<fp16, [2]>([0x1p+0, 0x1p-1])];
        fp16 epsilon = const()[val = fp16(0x1p-10)];
        tensor<fp16, [1, 2, 2, 2]> n = batch_norm(x = h, mean = mean, variance = variance, gamma = gamma, epsilon = epsilon);
        tensor<fp16, [1, 8]> flat = reshape(x = n, shape = tensor<int32, [2]>([1, 8]));
        tensor<fp16, [3, 8]> w = const()[val = tensor<fp16, [3, 8]>([[0x1p-1, 0x1p-2, -0x1p-1, 0x1p-3, 0x1p-1, 0x1p-2, -0x1p-1, 0x1p-3], [-0x1p-1, 0x1p-1, 0x1p-2, 0x1p-3, 0x1p-1, -0x1p-2, -0x1p-1, 0x1p-3], [0x1p-1, 0x1p-2, 0x1p-1, -0x1p-3, 0x1p-4, 0x1p-2, -0x1p-1, 0x1p-3]])];
        fp16 half = const()[val = fp16(0x1p-1)];
        tensor<fp16, [1, 3]> y = linear(x = flat, weight = w);
        tensor<fp16, [1, 3]> scores = mul(x = y, y = half);
        tensor<fp16, [1, 3]> p16 = softmax(x = scores, axis = int32(-1));
        tensor<fp32, [1, 3]> p = cast(x = p16, dtype = string(\"fp32\"));
        string label, dict<string, fp64> all = classify(probabilities = p, classes = list<string, 3>([\"a\", \"b\", \"c\"]));
    } -> (label, all);
}
";

fn parse(text: &str) -> Function {
    let mut program = mil::parse(text).unwrap_or_else(|e| panic!("{}", e.annotate(text, "text")));
    program.functions.remove(0)
}

fn classifier() -> Function {
    let function = parse(CLASSIFIER);
    assert_eq!(mil::verify_function(&function), []);
    function
}

fn evaluate(function: &Function, inputs: &BTreeMap<String, Array>) -> BTreeMap<String, Array> {
    let program = Program::new(vec![function.clone()]);
    interp::evaluate(&program, &function.name, inputs, &Options::default()).unwrap().outputs
}

fn floats(dims: &[usize], values: &[f64]) -> Array {
    Array::floats(DataType::Fp32, dims, values.to_vec())
}

const X: [f64; 8] = [1.0, -0.5, 0.25, 2.0, -1.0, 0.5, 0.75, -0.25];

#[test]
fn statistics_and_parameters_that_must_be_known_are_not_chosen() {
    let mut function = classifier();
    unlabel(&mut function);
    assert_eq!(choose(&function, &Choice::All).unwrap(), ["gamma", "w"]);
    let named = |name: &str| ["norm.scale", "mean", "half", "epsilon", "dt"].contains(&name);
    let chosen = choose(&function, &Choice::Named(&named)).unwrap();
    assert_eq!(chosen, ["mean", "gamma", "half"]);
    let error = choose(&function, &Choice::Named(&|name| name == "dt")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "function `main`: no constant of floats that a gradient reaches has a name that matches"
    );
}

#[test]
fn what_is_lifted_and_put_back_computes_the_same() {
    let mut function = classifier();
    unlabel(&mut function);
    let x = ("x".to_owned(), floats(&[1, 2, 2, 2], &X));
    let expected = evaluate(&function, &[x.clone()].into())["p"].to_f64s();

    let mut lifted = function.clone();
    let parameters = lift(&mut lifted, &["w".into(), "gamma".into()]).unwrap();
    assert_eq!(mil::verify_function(&lifted), []);
    let names: Vec<&str> = lifted.inputs.iter().map(|&id| lifted.value(id).name.as_str()).collect();
    assert_eq!(names, ["x", "w", "gamma"]);
    let mut inputs = BTreeMap::from([x.clone()]);
    for parameter in &parameters {
        assert_eq!(parameter.dtype, DataType::Fp16);
        let tensor = parameter.literal.as_tensor().unwrap();
        let array = floats(&parameter.dims, &tensor.to_f64s());
        inputs.insert(parameter.name.clone(), array);
    }
    assert_eq!(evaluate(&lifted, &inputs)["p"].to_f64s(), expected);

    let mut same = function.clone();
    let w = parameters[0].literal.as_tensor().unwrap().to_f64s();
    let mut w: Vec<f32> = w.into_iter().map(|v| v as f32).collect();
    put_back(&mut same, &[("w".to_owned(), w.clone())].into()).unwrap();
    assert_eq!(same, function);
    // Rounded to the type that it has.
    w[0] = 0.3;
    put_back(&mut same, &[("w".to_owned(), w)].into()).unwrap();
    let (old, new) = (function.literals(), same.literals());
    let changed: Vec<usize> = (0..old.len()).filter(|&i| old[i] != new[i]).collect();
    let [changed] = changed[..] else { panic!("{changed:?}") };
    let changed = new[changed].unwrap().as_tensor().unwrap();
    assert_eq!(changed.dtype(), DataType::Fp16);
    assert_eq!(changed.to_f64s()[0], 0.300048828125);
}

#[test]
fn what_does_not_fit_is_not_put_back() {
    let mut function = classifier();
    let before = function.clone();
    let error = put_back(&mut function, &[("w".to_owned(), vec![0.0; 3])].into()).unwrap_err();
    assert!(error.to_string().starts_with("`w`: fp16 of shape [3, 8] takes 24 elements"));
    for name in ["dt", "x", "none"] {
        let error = put_back(&mut function, &[(name.to_owned(), vec![0.0])].into()).unwrap_err();
        let expected = format!("function `main` has no constant `{name}` of floats");
        assert_eq!(error.to_string(), expected);
        assert_eq!(lift(&mut function, &[name.into()]).unwrap_err().to_string(), expected);
    }
    assert_eq!(function, before);
}

#[test]
fn a_classifier_without_its_label_still_writes_its_states() {
    let mut function = parse(
        "program(1.3)
{
    func main<ios18>(tensor<fp32, [1, 2]> x, state<tensor<fp32, [1, 2]>> s) {
        tensor<fp32, [1, 2]> p = softmax(x = x, axis = int32(-1));
        tensor<fp32, [1, 2]> idle = exp(x = x);
        write_state(input = s, data = p);
        string label, dict<string, fp64> all = classify(probabilities = p, classes = list<string, 2>([\"a\", \"b\"]));
    } -> (label, all);
}
",
    );
    unlabel(&mut function);
    let ops: Vec<Op> = function.body.operations.iter().map(|operation| operation.op).collect();
    assert_eq!(ops, [Op::Softmax, Op::WriteState]);
    assert_eq!(mil::verify_function(&function), []);
}

#[test]
fn a_widened_function_has_no_narrow_floats_and_computes_the_same_more_exactly() {
    let mut function = classifier();
    unlabel(&mut function);
    let x = BTreeMap::from([("x".to_owned(), floats(&[1, 2, 2, 2], &X))]);
    let narrow = evaluate(&function, &x)["p"].to_f64s();
    widen(&mut function, &Weights::default()).unwrap();
    assert_eq!(mil::verify_function(&function), []);
    for value in &function.values {
        let dtype = value.ty.as_tensor().map(|ty| ty.dtype);
        assert_ne!(dtype, Some(DataType::Fp16), "{}", value.name);
    }
    for (wide, narrow) in evaluate(&function, &x)["p"].to_f64s().iter().zip(narrow) {
        assert!((wide - narrow).abs() < 2e-3, "{wide} {narrow}");
    }
}

#[test]
fn weights_in_files_and_compressed_ones_are_widened() {
    let mut file = BlobWriter::in_memory();
    let values: Vec<f64> = (0..6).map(f64::from).collect();
    let at = file.push(&Tensor::from_f64s(DataType::Fp16, &[2, 3], &values).unwrap()).unwrap();
    let bytes = file.into_bytes().unwrap();
    let text = format!(
        "program(1.3)
{{
    func main<ios18>(tensor<fp16, [1, 3]> x) {{
        tensor<fp16, [2, 3]> w = const()[val = tensor<fp16, [2, 3]>(BLOBFILE(path = string(\"@model_path/w.bin\"), offset = uint64({at})))];
        tensor<fp16, [1, 1]> scale = const()[val = tensor<fp16, [1, 1]>([[0x1p-1]])];
        tensor<fp16, [2, 2]> v = constexpr_blockwise_shift_scale(data = tensor<int8, [2, 2]>([[1, 2], [3, 4]]), scale = scale);
        tensor<fp16, [1, 2]> h = linear(x = x, weight = w);
        tensor<fp16, [1, 2]> y = linear(x = h, weight = v);
    }} -> (y);
}}
"
    );
    let mut function = parse(&text);
    assert_eq!(mil::verify_function(&function), []);
    widen(&mut function, &Weights::in_memory([("w.bin", bytes)])).unwrap();
    assert_eq!(mil::verify_function(&function), []);
    let x = BTreeMap::from([("x".to_owned(), floats(&[1, 3], &[1.0, 0.5, 2.0]))]);
    let y = evaluate(&function, &x)["y"].clone();
    // h = [4.5, 15]; v = [[0.5, 1], [1.5, 2]].
    assert_eq!((y.dtype(), y.to_f64s()), (DataType::Fp32, vec![17.25, 36.75]));

    assert_eq!(choose(&function, &Choice::All).unwrap(), ["w"]);
    assert_eq!(compressed(&function), 1);
    let error = choose(&function, &Choice::Named(&|name| name.starts_with('v'))).unwrap_err();
    assert!(
        matches!(&error, Error::Compressed { op: Op::ConstexprBlockwiseShiftScale, .. }),
        "{error}"
    );
}

/// The function with its loss, as the trainer makes it, and the names of what is added.
fn trained(loss: Loss, output: Option<&str>) -> (Function, loss::Ports, loss::Prediction) {
    let mut function = classifier();
    let prediction = cut(&mut function, output, loss).unwrap();
    widen(&mut function, &Weights::default()).unwrap();
    let names = choose(&function, &Choice::All).unwrap();
    lift(&mut function, &names).unwrap();
    let ports = attach(&mut function, &prediction, loss).unwrap();
    (function, ports, prediction)
}

#[test]
fn cross_entropy_is_over_the_logits_and_its_gradient_that_of_finite_differences() {
    let (function, ports, prediction) = trained(Loss::CrossEntropy, None);
    assert_eq!(
        prediction,
        loss::Prediction { value: "scores".into(), rows: 1, width: 3, before_softmax: true }
    );
    assert!(function.body.operations.iter().all(|o| !matches!(o.op, Op::Softmax | Op::Classify)));
    let w: Vec<f64> = (0..24).map(|i| f64::from(i * 7 % 11) / 8.0 - 0.5).collect();
    let mut inputs = BTreeMap::from([
        ("x".to_owned(), floats(&[1, 2, 2, 2], &X)),
        ("gamma".to_owned(), floats(&[2], &[1.0, 0.5])),
        ("w".to_owned(), floats(&[3, 8], &w)),
        (ports.target.clone(), floats(&[1, 3], &[0.0, 1.0, 0.0])),
        (ports.share.clone(), floats(&[1], &[1.0])),
    ]);
    let found = evaluate(&function, &inputs);
    let scores = found[&ports.prediction].to_f64s();
    let sum: f64 = scores.iter().map(|score| score.exp()).sum();
    let expected = sum.ln() - scores[1];
    assert!((found[&ports.loss].to_f64s()[0] - expected).abs() < 1e-6);

    let both = value_and_gradient(&function, &["gamma".into(), "w".into()]).unwrap();
    let gradients = evaluate(&both, &inputs);
    // The step is large beside the roundings of fp32, and the loss is smooth over it.
    const STEP: f64 = 1.0 / 64.0;
    for (name, element) in [("gamma", 0), ("gamma", 1), ("w", 0), ("w", 9), ("w", 23)] {
        let original = inputs[name].clone();
        let mut losses = [0.0; 2];
        for (loss, sign) in losses.iter_mut().zip([1.0, -1.0]) {
            let mut values = original.to_f64s();
            values[element] += sign * STEP;
            inputs.insert(name.to_owned(), floats(original.dims(), &values));
            *loss = evaluate(&function, &inputs)[&ports.loss].to_f64s()[0];
        }
        inputs.insert(name.to_owned(), original);
        let expected = (losses[0] - losses[1]) / (2.0 * STEP);
        let found = gradients[&format!("d_{name}")].to_f64s()[element];
        assert!((found - expected).abs() < 1e-4, "{name}[{element}]: {found}, not {expected}");
        assert!(expected.abs() > 1e-3, "{name}[{element}] says nothing: {expected}");
    }
}

#[test]
fn mean_squares_are_of_what_is_named() {
    let (function, ports, prediction) = trained(Loss::MeanSquares, Some("p"));
    assert_eq!((prediction.rows, prediction.width, prediction.before_softmax), (1, 3, false));
    let literals = classifier();
    let value = |name: &str| {
        let id = literals.values.iter().position(|value| value.name == name).unwrap();
        literals.literals()[id].unwrap().as_tensor().unwrap().to_f64s()
    };
    let inputs = BTreeMap::from([
        ("x".to_owned(), floats(&[1, 2, 2, 2], &X)),
        ("gamma".to_owned(), floats(&[2], &value("gamma"))),
        ("w".to_owned(), floats(&[3, 8], &value("w"))),
        (ports.target.clone(), floats(&[1, 3], &[0.0, 1.0, 0.5])),
        (ports.share.clone(), floats(&[1], &[0.5])),
    ]);
    let found = evaluate(&function, &inputs);
    let p = found[&ports.prediction].to_f64s();
    assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-6);
    let squares: f64 = p.iter().zip([0.0, 1.0, 0.5]).map(|(p, t)| (p - t) * (p - t)).sum();
    assert!((found[&ports.loss].to_f64s()[0] - 0.5 * squares / 3.0).abs() < 1e-6);
}

#[test]
fn what_has_no_loss_is_refused_by_name() {
    let refusal = |text: &str, output: Option<&str>, loss| {
        cut(&mut parse(text), output, loss).unwrap_err().to_string()
    };
    let two = "program(1.3)
{
    func main<ios18>(tensor<fp32, [2, 3, 4]> x) {
        tensor<fp32, [2, 3, 4]> y = relu(x = x);
        tensor<fp32, [2, 3, 4]> z = softmax(x = x, axis = int32(1));
        tensor<int32, [2, 3, 4]> i = cast(x = x, dtype = string(\"int32\"));
    } -> (y, z, i);
}
";
    let loss = Loss::CrossEntropy;
    assert_eq!(
        refusal(two, None, loss),
        "function `main` has several outputs of floats: y, z; choose one"
    );
    assert_eq!(
        refusal(two, Some("q"), loss),
        "function `main` has no value `q`; its outputs are y, z, i"
    );
    assert_eq!(
        refusal(two, Some("z"), loss),
        "`x` is tensor<fp32, [2, 3, 4]>; cross-entropy needs the classes along the last axis"
    );
    assert_eq!(
        refusal(two, Some("i"), loss),
        "`i` is tensor<int32, [2, 3, 4]>; a loss is computed from floats"
    );
    let state = "program(1.3)
{
    func main<ios18>(state<tensor<fp16, [4]>> s) {
        tensor<fp16, [4]> y = read_state(input = s);
    } -> (y);
}
";
    assert_eq!(refusal(state, None, loss), "`s`: programs with states cannot be trained");
}
