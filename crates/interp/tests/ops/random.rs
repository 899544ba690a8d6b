//! Random numbers: reproducible, and distributed as they should be.

use crate::common::{dtype, evaluate, floats, ints, program, run, string, vector};
use anemone_interp::{Array, Options};
use mil::DataType::Fp16;
use mil::{Op, OpError};

fn draw(op: Op, count: i64, seed: i64, more: &[(&str, Array)]) -> Result<Vec<f64>, OpError> {
    let mut inputs = vec![("shape", vector(&[count])), ("seed", ints(&[], &[seed]))];
    inputs.extend(more.to_vec());
    Ok(run(op, &inputs)?[0].to_f64s())
}

/// Mean and variance.
fn moments(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
    (mean, variance)
}

/// Twenty thousand numbers; what is compared is within five standard errors.
const COUNT: i64 = 20_000;

#[test]
fn distributions() {
    let number = |v: f64| floats(&[], &[v]);
    let uniform =
        draw(Op::RandomUniform, COUNT, 3, &[("low", number(-1.0)), ("high", number(3.0))]);
    let uniform = uniform.unwrap();
    assert!(uniform.iter().all(|v| (-1.0..3.0).contains(v)));
    let (mean, variance) = moments(&uniform);
    assert!((mean - 1.0).abs() < 0.05 && (variance - 16.0 / 12.0).abs() < 0.05);

    let normal =
        draw(Op::RandomNormal, COUNT, 3, &[("mean", number(2.0)), ("stddev", number(0.5))]);
    let (mean, variance) = moments(&normal.unwrap());
    assert!((mean - 2.0).abs() < 0.02 && (variance - 0.25).abs() < 0.02);

    let coin = draw(Op::RandomBernoulli, COUNT, 3, &[("prob", number(0.25))]).unwrap();
    assert!(coin.iter().all(|v| *v == 0.0 || *v == 1.0));
    assert!((moments(&coin).0 - 0.25).abs() < 0.02);
    let never = draw(Op::RandomBernoulli, 100, 3, &[("prob", number(0.0))]).unwrap();
    assert_eq!(never, vec![0.0; 100]);
    let always = draw(Op::RandomBernoulli, 100, 3, &[("prob", number(1.0))]).unwrap();
    assert_eq!(always, vec![1.0; 100]);
}

#[test]
fn categories() {
    let of = |x: Array, mode: &str, size: i64| {
        let inputs = [
            ("x", x),
            ("mode", string(mode)),
            ("size", ints(&[], &[size])),
            ("seed", ints(&[], &[1])),
        ];
        run(Op::RandomCategorical, &inputs).map(|out| out[0].clone()).map_err(|e| e.message)
    };
    let probabilities = floats(&[2, 3], &[0.5, 0.0, 1.5, 0.0, 1.0, 0.0]);
    let found = of(probabilities.clone(), "probs", COUNT).unwrap();
    assert_eq!(found.dims(), [2, COUNT as usize]);
    let values = found.to_f64s();
    let (first, second) = values.split_at(COUNT as usize);
    let share = first.iter().filter(|v| **v == 0.0).count() as f64 / COUNT as f64;
    assert!((share - 0.25).abs() < 0.02 && !first.contains(&1.0));
    assert!(second.iter().all(|v| *v == 1.0));
    let logits = floats(&[3], &[0.0, f64::NEG_INFINITY, 3f64.ln()]);
    let values = of(logits, "logits", COUNT).unwrap().to_f64s();
    let share = values.iter().filter(|v| **v == 0.0).count() as f64 / COUNT as f64;
    assert!((share - 0.25).abs() < 0.02 && !values.contains(&1.0));
    assert_eq!(of(probabilities, "probs", 0).unwrap().dims(), [2, 0]);
    for x in [[0.0, 0.0], [-1.0, 2.0], [f64::NAN, 1.0], [f64::INFINITY, 1.0]] {
        let error = of(floats(&[2], &x), "probs", 1).unwrap_err();
        assert_eq!(error, "x holds no probabilities that could be drawn by");
    }
    assert!(of(floats(&[2], &[1.0; 2]), "odds", 1).is_err());
    assert!(of(floats(&[2], &[1.0; 2]), "probs", -1).is_err());
}

#[test]
fn the_end_is_excluded_after_rounding_too() {
    let half = |v: f64| dtype(Fp16, floats(&[], &[v]));
    let values =
        draw(Op::RandomUniform, COUNT, 5, &[("low", half(0.0)), ("high", half(1.0))]).unwrap();
    assert!(values.iter().all(|v| *v < 1.0));
    let one = draw(Op::RandomUniform, 3, 5, &[("low", half(2.0)), ("high", half(2.0))]).unwrap();
    assert_eq!(one, [2.0; 3]);
}

#[test]
fn seeds() {
    let uniform = |seed: i64| draw(Op::RandomUniform, 4, seed, &[]).unwrap();
    assert_eq!(uniform(1), uniform(1));
    assert_ne!(uniform(1), uniform(2));
    let body = "tensor<fp32, [4]> a = random_uniform(shape = tensor<int32, [1]>([4]))[name = string(\"a\")]; \
        tensor<fp32, [4]> b = random_uniform(shape = tensor<int32, [1]>([4]))[name = string(\"b\")]; \
        tensor<fp32, [4]> c = random_uniform(shape = tensor<int32, [1]>([4]), seed = int32(9))[name = string(\"c\")]; \
        int32 k, tensor<fp32, [4]> first, tensor<fp32, [4]> last = while_loop(loop_vars = (n, a, a)) \
            block(int32 i, tensor<fp32, [4]> f, tensor<fp32, [4]> l) { bool go = less(x = i, y = int32(2)); } -> (go) \
            block(int32 i, tensor<fp32, [4]> f, tensor<fp32, [4]> l) { int32 j = add(x = i, y = int32(1)); \
                tensor<fp32, [4]> r = random_uniform(shape = tensor<int32, [1]>([4]), seed = int32(9))[name = string(\"r\")]; } -> (j, l, r);";
    let program = program("ios18", "int32 n", body, "a, b, c, first, last");
    let of = |seed: u64| {
        let options = Options { seed, ..Options::default() };
        evaluate(&program, &[("n", ints(&[], &[0]))], &options).unwrap().outputs
    };
    let (one, again, other) = (of(0), of(0), of(1));
    assert_eq!(one, again);
    // Without seeds of their own, operations draw other numbers, and other ones in another run.
    assert_ne!(one["a"], one["b"]);
    assert_ne!(one["a"], other["a"]);
    assert_eq!(one["c"], other["c"]);
    // A loop goes on in the sequence.
    assert_ne!(one["first"], one["last"]);
    assert_eq!(one["c"], one["first"]);
}
