//! Casts, rounding, mistakes; inputs, shapes known only at run time, states, limits.

use crate::common::{
    Named, bools, check, dtype, evaluate, floats, ints, program, run, string, vector,
};
use anemone_interp::{Array, Options, Rounding};
use mil::{DataType, Op, Program};
use std::collections::BTreeMap;

#[test]
fn casts() {
    let x = floats(&[6], &[-1.9, 0.5, 300.0, 0.0, f64::NAN, -129.0]);
    let to =
        |name, expected| check(Op::Cast, &[("x", x.clone()), ("dtype", string(name))], expected);
    to("int32", ints(&[6], &[-1, 0, 300, 0, 0, -129]));
    to("int8", dtype(DataType::Int8, ints(&[6], &[-1, 0, 44, 0, 0, 127])));
    to("uint8", dtype(DataType::Uint8, ints(&[6], &[255, 0, 44, 0, 0, 127])));
    to("bool", bools(&[6], &[true, true, true, false, true, true]));
    let back = [("x", bools(&[2], &[true, false])), ("dtype", string("fp16"))];
    check(Op::Cast, &back, dtype(DataType::Fp16, floats(&[2], &[1.0, 0.0])));
}

#[test]
fn results_are_rounded_once_to_their_type() {
    // 1 + 2⁻¹¹ is between two fp16 numbers; with a little more it must round up, which a
    // rounding to single precision first would lose.
    let half = |v| Array::floats(DataType::Fp16, &[], vec![v]);
    let little = 2f64.powi(-11) * (1.0 + 2f64.powi(-20));
    check(Op::Add, &[("x", half(1.0)), ("y", half(little))], half(1.0 + 2f64.powi(-10)));
}

#[test]
fn arguments_that_do_not_fit_are_errors() {
    let x = floats(&[2], &[1.0, 2.0]);
    let error = |op, inputs: &[Named]| run(op, inputs).unwrap_err().to_string();
    assert!(error(Op::Relu, &[]).contains("parameter `x` is missing"));
    let wrong = [("x", x.clone()), ("y", floats(&[3], &[0.0; 3]))];
    assert!(error(Op::Add, &wrong).contains("do not broadcast"));
    assert!(error(Op::ReadState, &[("input", x)]).contains("must be a state"));
}

/// y = relu(x) for x of shape [2, 2].
fn relu() -> Program {
    let body = "tensor<fp32, [2, 2]> y = relu(x = x)[name = string(\"y\")];";
    program("ios17", "tensor<fp32, [2, 2]> x", body, "y")
}

#[test]
fn inputs_are_cast_and_reshaped() {
    let body = "tensor<int32, [2, 2]> y = identity(x = x)[name = string(\"y\")];";
    let p = program("ios17", "tensor<int32, [2, 2]> x", body, "y");
    let given = floats(&[4], &[1.9, -1.9, 2.0, 3.0]);
    let out = evaluate(&p, &[("x", given)], &Options::default()).unwrap();
    assert_eq!(out.outputs["y"], ints(&[2, 2], &[1, -1, 2, 3]));
}

#[test]
fn inputs_that_do_not_fit_are_errors() {
    let p = relu();
    let error =
        |inputs: &[Named]| evaluate(&p, inputs, &Options::default()).unwrap_err().to_string();
    assert_eq!(error(&[]), "input `x`: no value was given");
    assert_eq!(
        error(&[("x", floats(&[3], &[0.0; 3]))]),
        "input `x`: expected tensor<fp32, [2, 2]>, found shape [3]"
    );
    let x = floats(&[4], &[0.0; 4]);
    assert_eq!(
        error(&[("x", x.clone()), ("z", x)]),
        "input `z`: function `main` has no input of this name"
    );
    let words = vec!["a".to_owned(); 4];
    let words = mil::Tensor::from_strings(&[2, 2], words).unwrap();
    assert_eq!(
        error(&[("x", Array::from_tensor(&words))]),
        "input `x`: expected tensor<fp32, [2, 2]>, found strings"
    );
    let none = anemone_interp::evaluate(&p, "other", &BTreeMap::new(), &Options::default());
    assert_eq!(none.unwrap_err().to_string(), "the program has no function `other`");
}

#[test]
fn shapes_are_inferred_again_from_the_actual_ones() {
    let p = program(
        "ios17",
        "tensor<fp32, [?, 3]> x, tensor<int32, [2]> shape, tensor<int32, [2]> begin",
        "tensor<fp32, [?, ?]> y = reshape(x = x, shape = shape)[name = string(\"y\")];\n\
         tensor<int32, [2]> size = const()[name = string(\"size\"), val = tensor<int32, [2]>([-1, 1])];\n\
         tensor<fp32, [?, 1]> z = slice_by_size(x = y, begin = begin, size = size)[name = string(\"z\")];",
        "y, z",
    );
    let x = floats(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let inputs = [("x", x), ("shape", vector(&[3, -1])), ("begin", vector(&[1, 1]))];
    let out = evaluate(&p, &inputs, &Options::default()).unwrap().outputs;
    assert_eq!(out["y"].dims(), [3, 2]);
    assert_eq!(out["z"], floats(&[2, 1], &[3.0, 5.0]));
    let mut wrong = inputs.to_vec();
    wrong[2].1 = vector(&[4, 0]);
    let error = evaluate(&p, &wrong, &Options::default()).unwrap_err().to_string();
    assert!(error.starts_with("`z`: slice_by_size: "), "{error}");
}

fn half(values: &[f64]) -> Array {
    Array::floats(DataType::Fp16, &[values.len()], values.to_vec())
}

#[test]
fn states_start_at_zero_and_are_given_back() {
    let p = program(
        "ios18",
        "state<tensor<fp16, [2]>> total, tensor<fp16, [2]> x",
        "tensor<fp16, [2]> old = read_state(input = total)[name = string(\"old\")];\n\
         tensor<fp16, [2]> new = add(x = old, y = x)[name = string(\"new\")];\n\
         write_state(input = total, data = new)[name = string(\"write\")];\n\
         tensor<fp16, [2]> y = read_state(input = total)[name = string(\"y\")];",
        "old, y",
    );
    let x = [("x", half(&[1.0, 2.0]))];
    let with = |name: &str, state: Array| {
        let states = BTreeMap::from([(name.to_owned(), state)]);
        evaluate(&p, &x, &Options { states, ..Options::default() })
    };
    let first = evaluate(&p, &x, &Options::default()).unwrap();
    assert_eq!(first.outputs["old"], half(&[0.0, 0.0]));
    assert_eq!(first.states["total"], half(&[1.0, 2.0]));
    let second = with("total", first.states["total"].clone()).unwrap();
    assert_eq!(second.outputs["y"], half(&[2.0, 4.0]));
    // A state is rounded to its type as an input is.
    let fine = with("total", floats(&[2, 1], &[1.0 + 1e-6, 0.0])).unwrap();
    assert_eq!(fine.outputs["old"], half(&[1.0, 0.0]));
    let error = with("other", half(&[0.0, 0.0])).unwrap_err().to_string();
    assert_eq!(error, "input `other`: function `main` has no state of this name");
}

#[test]
fn states_take_constants_and_keep_their_shape() {
    let write =
        "write_state(input = s, data = tensor<fp16, [2]>([0x1p+0, 0x1p+1]))[name = string(\"w\")];";
    let p = program("ios18", "state<tensor<fp16, [2]>> s", write, "");
    let out = evaluate(&p, &[], &Options::default()).unwrap();
    assert_eq!(out.states["s"], half(&[1.0, 2.0]));
    let p = program(
        "ios18",
        "state<tensor<fp16, [2]>> s, tensor<fp16, [?]> x",
        "write_state(input = s, data = x)[name = string(\"w\")];",
        "",
    );
    let error = evaluate(&p, &[("x", half(&[1.0]))], &Options::default()).unwrap_err().to_string();
    assert!(error.contains("write_state: "), "{error}");
}

#[test]
fn a_state_beyond_the_limit_is_an_error() {
    let p = program(
        "ios18",
        "state<tensor<fp16, [100000]>> s, tensor<fp32, []> x",
        "fp32 y = relu(x = x)[name = string(\"y\")];",
        "y",
    );
    let options = Options { max_elements: 1000, ..Options::default() };
    let error = evaluate(&p, &[("x", floats(&[], &[1.0]))], &options).unwrap_err().to_string();
    assert_eq!(error, "`s` would have 100000 elements, more than 1000");
}

#[test]
fn without_rounding_inputs_and_results_keep_double_precision() {
    let body = "fp16 y = square(x = x)[name = string(\"y\")];";
    let p = program("ios17", "tensor<fp16, []> x", body, "y");
    let x = 1.0 + 1e-9;
    let out = |o: &Options| {
        evaluate(&p, &[("x", floats(&[], &[x]))], o).unwrap().outputs["y"].to_f64s()[0]
    };
    assert_eq!(out(&Options { rounding: Rounding::None, ..Options::default() }), x * x);
    assert_eq!(out(&Options::default()), 1.0);
}

#[test]
fn results_beyond_the_limit_are_errors() {
    let p = program(
        "ios17",
        "tensor<fp32, [2]> x, tensor<int32, [1]> reps",
        "tensor<fp32, [?]> y = tile(x = x, reps = reps)[name = string(\"y\")];",
        "y",
    );
    let options = Options { max_elements: 10, ..Options::default() };
    let of = |reps: i64| {
        let inputs = [("x", floats(&[2], &[1.0, 2.0])), ("reps", vector(&[reps]))];
        evaluate(&p, &inputs, &options)
    };
    assert_eq!(of(5).unwrap().outputs["y"].count(), 10);
    assert_eq!(of(6).unwrap_err().to_string(), "`y` would have 12 elements, more than 10");
    assert!(of(i64::from(i32::MAX)).is_err());
}

#[test]
fn constants_that_are_not_tensors_do_no_harm() {
    let body = "tuple<fp32, fp32> t = const()[name = string(\"t\"), val = tuple<fp32, fp32>((0x1p+0, 0x1p+1))];\n\
                tensor<fp32, [2, 2]> y = relu(x = x)[name = string(\"y\")];";
    let p = program("ios17", "tensor<fp32, [2, 2]> x", body, "y");
    let out = evaluate(&p, &[("x", floats(&[2, 2], &[-1.0, 0.0, 1.0, 2.0]))], &Options::default());
    assert_eq!(out.unwrap().outputs["y"], floats(&[2, 2], &[0.0, 0.0, 1.0, 2.0]));
}
