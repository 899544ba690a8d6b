//! Tensors made from parameters and shapes, selections by value, and scattered indices.

use crate::common::{
    apply_many, bools, check, dtype, evaluate, floats, ints, many, program, run, string, vector,
};
use anemone_interp::{Array, Options};
use mil::DataType::{Fp16, Uint16};
use mil::Op;

fn int(value: i64) -> Array {
    ints(&[], &[value])
}

fn flag(value: bool) -> Array {
    bools(&[], &[value])
}

#[test]
fn gathers_what_indices_spell() {
    let x = || ("x", ints(&[2, 3, 2], &Vec::from_iter(0..12)));
    let gather = |indices: Array, batch: i64, expected: Array| {
        let inputs = [x(), ("indices", indices), ("batch_dims", int(batch))];
        check(Op::GatherNd, &inputs, expected);
    };
    gather(ints(&[1, 2], &[1, 2]), 0, ints(&[1, 2], &[10, 11]));
    gather(ints(&[2, 1], &[1, 0]), 0, ints(&[2, 3, 2], &[6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5]));
    gather(ints(&[3], &[1, 1, 0]), 0, int(8));
    gather(ints(&[2, 1, 1], &[2, 0]), 1, ints(&[2, 1, 2], &[4, 5, 6, 7]));
    gather(ints(&[2, 3, 1], &[1, 0, 1, 0, 0, -1]), 2, ints(&[2, 3], &[1, 2, 5, 6, 8, 11]));
    gather(ints(&[2, 0], &[]), 0, ints(&[2, 2, 3, 2], &Vec::from_iter((0..12).chain(0..12))));
    let far = ("indices", ints(&[1, 3], &[0, 3, 0]));
    check(Op::GatherNd, &[x(), far.clone()], ints(&[1], &[4]));
    let error = run(Op::GatherNd, &[x(), far, ("validate_indices", flag(true))]).unwrap_err();
    assert_eq!(error.message, "index 3 is outside an axis of size 3");
    for (indices, batch, expected) in [
        (ints(&[1, 4], &[0; 4]), 0, "it names 4 axes"),
        (ints(&[3, 1], &[0; 3]), 1, "batch dims of `x` and `indices` differ: 2 and 3"),
        (int(0), 0, "`indices` must not be a scalar"),
        (vector(&[0]), 1, "`batch_dims` is 1"),
        (vector(&[0]), -1, "`batch_dims` is -1"),
    ] {
        let inputs = [x(), ("indices", indices), ("batch_dims", int(batch))];
        let error = run(Op::GatherNd, &inputs).unwrap_err().message;
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn scatters_to_what_indices_spell() {
    let scatter = |mode: &str, expected: &[f64]| {
        let inputs = [
            ("data", floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0])),
            ("indices", ints(&[3, 2], &[0, 1, 1, 0, 0, -1])),
            ("updates", floats(&[3], &[10.0, 5.0, 0.5])),
            ("mode", string(mode)),
        ];
        check(Op::ScatterNd, &inputs, floats(&[2, 2], expected));
    };
    scatter("update", &[1.0, 0.5, 5.0, 4.0]);
    scatter("add", &[1.0, 12.5, 8.0, 4.0]);
    scatter("sub", &[1.0, -8.5, -2.0, 4.0]);
    scatter("mul", &[1.0, 10.0, 15.0, 4.0]);
    scatter("div", &[1.0, 0.4, 0.6, 4.0]);
    scatter("max", &[1.0, 10.0, 5.0, 4.0]);
    scatter("min", &[1.0, 0.5, 3.0, 4.0]);
    let rows = [
        ("data", ints(&[3, 2], &[0; 6])),
        ("indices", ints(&[2, 1], &[2, 0])),
        ("updates", ints(&[2, 2], &[1, 2, 3, 4])),
    ];
    // Adding is what the op does unless it is told otherwise.
    check(Op::ScatterNd, &rows, ints(&[3, 2], &[3, 4, 0, 0, 1, 2]));
    let mut wrong = rows.to_vec();
    wrong[2].1 = ints(&[2], &[1, 2]);
    let error = run(Op::ScatterNd, &wrong).unwrap_err().message;
    assert!(error.ends_with("expected tensor<int32, [2, 2]>"), "{error}");
    wrong[1].1 = ints(&[2, 1], &[3, 0]);
    wrong[2].1 = ints(&[2, 2], &[0; 4]);
    wrong.push(("validate_indices", flag(true)));
    assert!(run(Op::ScatterNd, &wrong).is_err());
}

#[test]
fn one_hot() {
    let inputs = [("indices", vector(&[1, 3, -1])), ("one_hot_vector_size", int(3))];
    check(Op::OneHot, &inputs, ints(&[3, 3], &[0, 1, 0, 0, 0, 0, 0, 0, 0]));
    let inputs = [
        ("indices", vector(&[1, 0])),
        ("one_hot_vector_size", int(3)),
        ("axis", int(0)),
        ("on_value", floats(&[], &[2.5])),
        ("off_value", floats(&[], &[-1.0])),
    ];
    check(Op::OneHot, &inputs, floats(&[3, 2], &[-1.0, 2.5, 2.5, -1.0, -1.0, -1.0]));
    check(Op::OneHot, &inputs[..4], floats(&[3, 2], &[0.0, 2.5, 2.5, 0.0, 0.0, 0.0]));
    let none = [("indices", vector(&[1])), ("one_hot_vector_size", int(0))];
    check(Op::OneHot, &none, ints(&[1, 0], &[]));
    let negative = [("indices", vector(&[1])), ("one_hot_vector_size", int(-2))];
    let error = run(Op::OneHot, &negative).unwrap_err().message;
    assert_eq!(error, "`one_hot_vector_size` is -2; it must not be negative");
    let huge = [("indices", vector(&[1])), ("one_hot_vector_size", int(i64::from(i32::MAX)))];
    let mut far = huge.to_vec();
    far.push(("axis", int(3)));
    assert!(run(Op::OneHot, &far).unwrap_err().message.contains("`axis` = 3 is out of range"));
}

#[test]
fn sorts() {
    let x = || ("x", floats(&[2, 4], &[3.0, 1.0, 3.0, 2.0, -0.0, f64::NAN, 0.0, 5.0]));
    check(Op::Argsort, &[x()], ints(&[2, 4], &[0, 2, 3, 1, 3, 0, 2, 1]));
    let up = ("ascending", flag(true));
    check(Op::Argsort, &[x(), up.clone()], ints(&[2, 4], &[1, 3, 0, 2, 0, 2, 3, 1]));
    let columns = ("axis", int(0));
    check(Op::Argsort, &[x(), columns.clone()], ints(&[2, 4], &[0, 0, 0, 1, 1, 1, 1, 0]));
    let top = |more: &[(&str, Array)], results: usize| {
        let mut inputs = vec![x()];
        inputs.extend(more.to_vec());
        apply_many(Op::Topk, &[], &inputs, results)
    };
    let best = top(&[], 2).unwrap();
    assert_eq!(best, [floats(&[2, 1], &[3.0, 5.0]), ints(&[2, 1], &[0, 3])]);
    let two = ("k", int(2));
    let best = top(&[two.clone(), up], 2).unwrap();
    assert_eq!(best[1], ints(&[2, 2], &[1, 3, 0, 2]));
    let best = top(&[two.clone(), ("output_indices_dtype", string("uint16"))], 2).unwrap();
    assert_eq!(best[1], dtype(Uint16, ints(&[2, 2], &[0, 2, 3, 0])));
    let best = top(&[two, ("return_indices", flag(false)), ("sort", flag(false))], 1).unwrap();
    assert_eq!(best, [floats(&[2, 2], &[3.0, 3.0, 5.0, -0.0])]);
    assert_eq!(top(&[("k", int(-1))], 2).unwrap()[0].dims(), [2, 4]);
    assert_eq!(top(&[("k", int(0))], 2).unwrap()[0].dims(), [2, 0]);
    for k in [5, -2] {
        let error = top(&[("k", int(k))], 2).unwrap_err().message;
        assert_eq!(error, format!("`k` is {k}, axis 1 of x has 4 elements"));
    }
    assert!(top(&[("output_indices_dtype", string("int8"))], 2).is_err());
    assert!(run(Op::Argsort, &[("x", int(1))]).is_err());
}

#[test]
fn non_zero() {
    let rows = |x: Array, expected: Array| {
        let body = format!("tensor<int32, [?, {}]> y = non_zero(x = x);", x.dims().len());
        let inputs = format!("tensor<{}, {:?}> x", x.dtype(), x.dims());
        let program = program("ios15", &inputs, &body, "y");
        let outputs = evaluate(&program, &[("x", x)], &Options::default()).unwrap().outputs;
        assert_eq!(outputs["y"], expected);
    };
    rows(floats(&[2, 2], &[0.0, -1.0, f64::NAN, -0.0]), ints(&[2, 2], &[0, 1, 1, 0]));
    rows(bools(&[3], &[true, false, true]), ints(&[2, 1], &[0, 2]));
    rows(floats(&[2, 2], &[0.0; 4]), ints(&[0, 2], &[]));
    rows(ints(&[0, 3], &[]), ints(&[0, 2], &[]));
}

#[test]
fn ranges() {
    let range = |start: i64, end: i64, step: i64, expected: &[i64]| {
        let inputs = [("start", int(start)), ("end", int(end)), ("step", int(step))];
        check(Op::Range1d, &inputs, vector(expected));
    };
    range(0, 5, 2, &[0, 2, 4]);
    range(1, 5, 2, &[1, 3]);
    range(5, -1, -3, &[5, 2]);
    range(5, -2, -3, &[5, 2, -1]);
    range(3, 3, 1, &[]);
    range(3, 0, 1, &[]);
    range(0, 3, -1, &[]);
    let number = |v: f64| floats(&[], &[v]);
    let range = |start: f64, end: f64, step: f64| {
        run(Op::Range1d, &[("start", number(start)), ("end", number(end)), ("step", number(step))])
    };
    assert_eq!(range(0.5, 2.0, 0.5).unwrap(), [floats(&[3], &[0.5, 1.0, 1.5])]);
    assert_eq!(range(1.0, 0.0, -0.75).unwrap(), [floats(&[2], &[1.0, 0.25])]);
    for (start, end, step) in [(0.0, 1.0, 0.0), (0.0, f64::NAN, 1.0), (0.0, f64::INFINITY, 1.0)] {
        assert!(range(start, end, step).is_err());
    }
    assert!(range(0.0, 1e30, 1.0).is_err());
    let still = [("start", int(0)), ("end", int(5)), ("step", int(0))];
    assert_eq!(run(Op::Range1d, &still).unwrap_err().message, "`step` is 0");
}

#[test]
fn fills() {
    check(Op::Fill, &[("shape", vector(&[2, 0]))], floats(&[2, 0], &[]));
    check(Op::Fill, &[("shape", vector(&[2, 1]))], floats(&[2, 1], &[0.0; 2]));
    let yes = ("value", flag(true));
    check(Op::Fill, &[("shape", vector(&[2])), yes.clone()], bools(&[2], &[true; 2]));
    check(Op::Fill, &[("shape", vector(&[])), ("value", int(7))], int(7));
    let like = ("ref_tensor", ints(&[1, 2], &[3, 4]));
    check(Op::FillLike, std::slice::from_ref(&like), floats(&[1, 2], &[0.0; 2]));
    check(Op::FillLike, &[like, yes], bools(&[1, 2], &[true; 2]));
    let error = run(Op::Fill, &[("shape", vector(&[2, -1]))]).unwrap_err().message;
    assert_eq!(error, "`shape` holds -1; sizes must not be negative");
    assert!(run(Op::Fill, &[("shape", ints(&[1, 1], &[2]))]).is_err());
    let huge = vector(&[1 << 30, 1 << 30, 1 << 30]);
    assert!(run(Op::Fill, &[("shape", huge)]).unwrap_err().message.contains("is too large"));
}

/// No more memory than the options allow, whatever the program computes.
#[test]
fn what_is_too_large_is_refused() {
    let options = Options { max_elements: 1000, ..Options::default() };
    for (op, ty) in [
        ("fill(shape = n)", "tensor<fp32, [?, ?]>"),
        ("random_uniform(shape = n)", "tensor<fp32, [?, ?]>"),
        ("range_1d(start = int32(0), end = m, step = int32(1))", "tensor<int32, [?]>"),
        ("one_hot(indices = n, one_hot_vector_size = m)", "tensor<int32, [2, ?]>"),
        ("tile(x = n, reps = k)", "tensor<int32, [?]>"),
    ] {
        let inputs = "tensor<int32, [2]> n, int32 m, tensor<int32, [1]> k";
        let program = program("ios18", inputs, &format!("{ty} y = {op};"), "y");
        let given = [("n", vector(&[50, 50])), ("m", int(2000)), ("k", vector(&[900]))];
        let error = evaluate(&program, &given, &options).unwrap_err().to_string();
        assert!(error.contains("more than 1000"), "{op}: {error}");
    }
}

#[test]
fn shapes() {
    check(Op::Shape, &[("x", floats(&[2, 0, 3], &[]))], vector(&[2, 0, 3]));
    check(Op::Shape, &[("x", int(3))], vector(&[]));
    let flatten = |dims: &[usize], axis: i64| {
        let count: usize = dims.iter().product();
        let x = ints(dims, &Vec::from_iter(0..count as i64));
        run(Op::Flatten2d, &[("x", x), ("axis", int(axis))]).map(|out| out[0].dims().to_vec())
    };
    assert_eq!(flatten(&[3], -1), Ok(vec![1, 3]));
    assert_eq!(flatten(&[3], 1), Ok(vec![3, 1]));
    assert_eq!(flatten(&[4, 3], -1), Ok(vec![4, 3]));
    assert_eq!(flatten(&[2, 3, 2], -1), Ok(vec![6, 2]));
    assert_eq!(flatten(&[5, 5, 2], 1), Ok(vec![5, 10]));
    assert_eq!(flatten(&[2, 3], 0), Ok(vec![1, 6]));
    assert!(flatten(&[2, 3], 3).is_err());
    let x = floats(&[6, 10], &[0.0; 60]);
    let like = |begins: &[i64], ends: &[i64], masks: &[bool]| {
        let scalars = |v: &[i64]| v.iter().map(|&v| int(v)).collect::<Vec<_>>();
        let tuples = [
            many("ref_tensors", &[floats(&[2, 3, 4], &[0.0; 24]), floats(&[1, 2, 5], &[0.0; 10])]),
            many("begins", &scalars(begins)),
            many("ends", &scalars(ends)),
            many("end_masks", &masks.iter().map(|&m| flag(m)).collect::<Vec<_>>()),
        ];
        let out = apply_many(Op::ReshapeLike, &tuples, &[("x", x.clone())], 1);
        out.map(|out| out[0].dims().to_vec()).map_err(|e| e.message)
    };
    assert_eq!(like(&[0, 1], &[2, 0], &[false, true]), Ok(vec![2, 3, 2, 5]));
    assert_eq!(
        like(&[-2, -1], &[-1, 3], &[false, false]).unwrap_err(),
        "tensor<fp32, [6, 10]> does not reshape to tensor<fp32, [3, 5]>"
    );
    assert!(like(&[0], &[2, 0], &[false, true]).is_err());
}

#[test]
fn stacks() {
    let values = many("values", &[vector(&[1, 2]), vector(&[3, 4]), vector(&[5, 6])]);
    let stack =
        |axis: i64| apply_many(Op::Stack, std::slice::from_ref(&values), &[("axis", int(axis))], 1);
    assert_eq!(stack(0).unwrap(), [ints(&[3, 2], &[1, 2, 3, 4, 5, 6])]);
    assert_eq!(stack(-1).unwrap(), [ints(&[2, 3], &[1, 3, 5, 2, 4, 6])]);
    assert!(stack(2).is_err());
    let scalars = many("values", &[int(7), int(8)]);
    let out = apply_many(Op::Stack, &[scalars], &[("axis", int(0))], 1).unwrap();
    assert_eq!(out, [vector(&[7, 8])]);
    let differ = many("values", &[vector(&[1]), vector(&[1, 2])]);
    assert!(apply_many(Op::Stack, &[differ], &[("axis", int(0))], 1).is_err());
}

#[test]
fn bands() {
    let x = ints(&[3, 4], &Vec::from_iter(1..13));
    let band = |lower: i64, upper: i64, expected: &[i64]| {
        let inputs = [("x", x.clone()), ("lower", int(lower)), ("upper", int(upper))];
        check(Op::BandPart, &inputs, ints(&[3, 4], expected));
    };
    band(0, -1, &[1, 2, 3, 4, 0, 6, 7, 8, 0, 0, 11, 12]);
    band(-1, 0, &[1, 0, 0, 0, 5, 6, 0, 0, 9, 10, 11, 0]);
    band(1, 1, &[1, 2, 0, 0, 5, 6, 7, 0, 0, 10, 11, 12]);
    check(Op::BandPart, &[("x", x.clone())], x.clone());
    // What is outside becomes 0 even where x is NaN.
    let nan = floats(&[2, 2], &[f64::NAN; 4]);
    let inputs = [("x", nan), ("lower", int(0)), ("upper", int(0))];
    let found = run(Op::BandPart, &inputs).unwrap()[0].to_f64s();
    assert_eq!(found.iter().map(|v| v.is_nan()).collect::<Vec<_>>(), [true, false, false, true]);
    assert!(run(Op::BandPart, &[("x", vector(&[1]))]).is_err());
}

#[test]
fn reverses_parts_of_sequences() {
    let x = ints(&[2, 3], &[1, 2, 3, 4, 5, 6]);
    let reverse = |lengths: &[i64], seq: i64, batch: i64| {
        let inputs = [
            ("x", x.clone()),
            ("lengths", vector(lengths)),
            ("seq_axis", int(seq)),
            ("batch_axis", int(batch)),
        ];
        run(Op::ReverseSequence, &inputs).map(|out| out[0].to_i64s()).map_err(|e| e.message)
    };
    assert_eq!(reverse(&[2, 3], 1, 0), Ok(vec![2, 1, 3, 6, 5, 4]));
    assert_eq!(reverse(&[0, 2, 1], 0, -1), Ok(vec![1, 5, 3, 4, 2, 6]));
    assert_eq!(reverse(&[4, 0], 1, 0).unwrap_err(), "`lengths` holds 4, axis 1 has 3 elements");
    assert_eq!(reverse(&[-1, 0], 1, 0).unwrap_err(), "`lengths` holds -1, axis 1 has 3 elements");
    assert_eq!(reverse(&[1, 1], 0, 0).unwrap_err(), "`seq_axis` and `batch_axis` are both 0");
    assert!(reverse(&[1, 1, 1], 1, 0).is_err());
}

#[test]
fn einsum() {
    let sum = |x: Array, y: Array, equation: &str| {
        apply_many(Op::Einsum, &[many("values", &[x, y])], &[("equation", string(equation))], 1)
            .map(|out| out[0].clone())
            .map_err(|e| e.message)
    };
    let x = floats(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let y = floats(&[2, 2, 1], &[10.0, 20.0, 30.0, 40.0]);
    // Row h of x times column h of y.
    let expected = floats(&[1, 2, 1], &[1.0 * 10.0 + 2.0 * 30.0, 3.0 * 20.0 + 4.0 * 40.0]);
    assert_eq!(sum(x.clone(), y.clone(), "chw,whu->chu"), Ok(expected.clone()));
    assert_eq!(sum(x.clone(), y.clone(), "abc, cbr -> abr"), Ok(expected));
    let wide = |a: &Array, dims: &[usize]| a.clone().with_dims(dims);
    let (x4, y4) = (wide(&x, &[2, 1, 1, 2]), wide(&y, &[1, 2, 2, 1]));
    let expected = floats(&[2, 1, 2, 1], &[70.0, 100.0, 150.0, 220.0]);
    assert_eq!(sum(x4, y4, "nchw,nwhu->nchu"), Ok(expected));
    for equation in ["chw,whu->cuh", "nchw,nwhu->nchu", "chw,whw->chw", "", "012,213->013"] {
        assert!(sum(x.clone(), y.clone(), equation).is_err(), "{equation}");
    }
    let halves = |array: &Array| dtype(Fp16, array.clone());
    assert!(sum(halves(&x), y, "chw,whu->chu").is_err());
}

#[test]
fn suppresses_boxes() {
    // Centers and sizes: the second overlaps the first by 3/5, the third nothing.
    let boxes = [0.0, 0.0, 4.0, 2.0, 1.0, 0.0, 4.0, 2.0, 9.0, 9.0, 1.0, 1.0];
    let scores = [0.5, 0.8, 0.9, 0.1, 0.3, 0.2];
    let run = |iou: f64, max: i64, more: &[(&str, Array)]| {
        let mut inputs = vec![
            ("boxes", floats(&[1, 3, 4], &boxes)),
            ("scores", floats(&[1, 3, 2], &scores)),
            ("iou_threshold", floats(&[], &[iou])),
            ("max_boxes", int(max)),
            ("score_threshold", floats(&[], &[0.25])),
        ];
        for (name, value) in more {
            inputs.retain(|(other, _)| other != name);
            inputs.push((name, value.clone()));
        }
        apply_many(Op::NonMaximumSuppression, &[], &inputs, 4).unwrap()
    };
    let found = run(0.5, 3, &[]);
    assert_eq!(found[2], ints(&[1, 3], &[1, 2, -1]));
    assert_eq!(found[3], vector(&[2]));
    let kept = [&boxes[4..], &[0.0; 4]].concat();
    assert_eq!(found[0], floats(&[1, 3, 4], &kept));
    assert_eq!(found[1], floats(&[1, 3, 2], &[0.9, 0.1, 0.3, 0.2, 0.0, 0.0]).rounded());
    assert_eq!(run(0.6, 2, &[])[2], ints(&[1, 2], &[1, 0]));
    assert_eq!(run(0.5, 3, &[("score_threshold", floats(&[], &[0.85]))])[3], vector(&[1]));
    // Each class has its own best: the first box for the second class, the second for the first.
    let found = run(0.5, 3, &[("per_class_suppression", flag(true))]);
    assert_eq!(found[2], ints(&[1, 3], &[1, 0, 2]));

    // The other signature has the boxes last and no threshold of scores.
    let across = |v: &[f64], parts: usize| -> Vec<f64> {
        (0..3 * parts).map(|k| v[k % 3 * parts + k / 3]).collect()
    };
    let inputs = [
        ("boxes", floats(&[1, 4, 3], &across(&boxes, 4))),
        ("scores", floats(&[1, 2, 3], &across(&scores, 2))),
        ("iou_threshold", floats(&[], &[0.5])),
        ("max_boxes", int(3)),
    ];
    let found = apply_many(Op::NonMaximumSuppression, &[], &inputs, 3).unwrap();
    assert_eq!(found[0], floats(&[1, 4, 3], &across(&kept, 4)));
    assert_eq!(found[2], ints(&[1, 3], &[1, 2, -1]));
    let mut wrong = inputs.to_vec();
    wrong[3].1 = int(-1);
    assert!(apply_many(Op::NonMaximumSuppression, &[], &wrong, 3).is_err());
}
