//! Activations, norms and reductions that are row programs: that they are, and their numbers where a
//! formula in single precision can go wrong.

mod common;

use common::{Random, devices, disagreement, inputs, on_cpu};
use interp::Array;
use mil::{Arg, DataType, Function, FunctionBuilder, Op, Opset, Program, Type, Weights};
use runtime::{CompileOptions, Device};
use std::collections::BTreeMap;

/// One operation on x of these dims, with numbers or vectors of ones for what else it needs.
fn function(op: Op, dtype: DataType, dims: &[usize], numbers: &[(&str, f64)]) -> Function {
    let mut b = FunctionBuilder::new("f", Opset::Ios18);
    let dtype = if op == Op::LogicalXor { DataType::Bool } else { dtype };
    let x = b.input("x", Type::tensor(dtype, dims));
    let mut inputs: Vec<(&str, Arg)> = vec![("x", x.into())];
    let vectors = match op {
        Op::Prelu => &["alpha"][..],
        Op::SoftplusParametric => &["alpha", "beta"],
        Op::BatchNorm => &["mean", "variance", "gamma", "beta"],
        Op::InstanceNorm => &["gamma", "beta"],
        _ => &[],
    };
    for &name in vectors {
        let mut vector = b.input(name, Type::tensor(DataType::Fp32, &dims[1..2]));
        if name == "variance" {
            vector = b.unary(Op::Sigmoid, vector).unwrap_or_else(|e| panic!("{e}"));
        }
        inputs.push((name, vector.into()));
    }
    if op == Op::LogicalXor {
        let y = b.input("y", Type::tensor(DataType::Bool, dims));
        inputs.push(("y", y.into()));
    }
    for &(name, value) in numbers {
        inputs.push((name, b.float(dtype, value).into()));
    }
    let y = b.op(op, op.name(), inputs).unwrap_or_else(|e| panic!("{e}"));
    b.rename(y, "result");
    b.finish(&[y])
}

const ALPHA: &[(&str, f64)] = &[("alpha", 0.5)];
const NUMBERS: &[(&str, f64)] = &[("alpha", 0.5), ("beta", 0.25)];

const CASES: &[(Op, &[(&str, f64)])] = &[
    (Op::LogicalXor, &[]),
    (Op::Ceil, &[]),
    (Op::Round, &[]),
    (Op::Exp2, &[]),
    (Op::Elu, ALPHA),
    (Op::LeakyRelu, ALPHA),
    (Op::Prelu, &[]),
    (Op::Relu6, &[]),
    (Op::ClampedRelu, NUMBERS),
    (Op::LinearActivation, NUMBERS),
    (Op::ScaledTanh, NUMBERS),
    (Op::SigmoidHard, NUMBERS),
    (Op::Softplus, &[]),
    (Op::SoftplusParametric, &[]),
    (Op::Softsign, &[]),
    (Op::Threshold, ALPHA),
    (Op::ThresholdedRelu, ALPHA),
    (Op::ReduceL1Norm, &[]),
    (Op::ReduceL2Norm, &[]),
    (Op::ReduceLogSum, &[]),
    (Op::ReduceSumSquare, &[]),
    (Op::BatchNorm, &[]),
    (Op::InstanceNorm, &[]),
    (Op::L2Norm, &[]),
];

#[test]
fn they_are_row_programs() {
    let device = devices().remove(0);
    for &(op, numbers) in CASES {
        let program = Program::new(vec![function(op, DataType::Fp32, &[2, 3, 4, 5], numbers)]);
        let executable = device.compile(&program, "f", &CompileOptions::default());
        let placement = executable.unwrap_or_else(|e| panic!("{e}")).placement();
        assert!(placement.iter().all(|p| p.place == "cpu: row program"), "{placement:?}");
    }
}

#[test]
fn ragged_shapes_of_every_type_agree_with_the_interpreter() {
    // The logarithm of a sum of both signs is anything.
    let cases = CASES.iter().filter(|case| case.0 != Op::ReduceLogSum);
    let shapes: &[&[usize]] =
        &[&[2, 3, 4, 5], &[1, 1, 1], &[3, 2, 17], &[2, 3, 1, 1], &[1, 40, 3], &[2, 3, 2, 1, 3]];
    for &(op, numbers) in cases {
        for dtype in [DataType::Fp32, DataType::Fp16, DataType::Bf16] {
            for dims in shapes {
                let function = function(op, dtype, dims, numbers);
                let inputs = inputs(&function, &mut Random(3));
                let program = Program::new(vec![function]);
                for device in devices() {
                    let what = disagreement(&device, &program, "f", &inputs, &Weights::default());
                    assert_eq!(what, None, "{} of {dtype} {dims:?}", op.name());
                }
            }
        }
    }
}

/// The result for these x on every device, within `steps` rounding errors of what is expected.
#[track_caller]
fn check(op: Op, numbers: &[(&str, f64)], x: &[f64], expected: &[f64], steps: f64) {
    let program = Program::new(vec![function(op, DataType::Fp32, &[x.len()], numbers)]);
    let array = Array::floats(DataType::Fp32, &[x.len()], x.to_vec());
    let inputs = BTreeMap::from([("x".to_owned(), array)]);
    for device in devices() {
        let out = on_cpu(&device, &program, "f", &inputs, &CompileOptions::default());
        let out = out.unwrap_or_else(|e| panic!("{e}"))["result"].to_f64s();
        for ((x, found), expected) in x.iter().zip(&out).zip(expected) {
            let near = found == expected
                || (found.is_nan() && expected.is_nan())
                || (found - expected).abs() <= steps * 6e-8 * expected.abs();
            assert!(near, "{} of {x} is {found}, not {expected}", op.name());
        }
    }
}

#[test]
fn small_and_large_numbers_keep_their_precision() {
    let x: Vec<f64> = [-80.0, -20.0, -1e-3, -1e-6, 0.0, 1e-6, 20.0, 200.0]
        .iter()
        .map(|&v| f64::from(v as f32))
        .collect();
    let softplus: Vec<f64> =
        x.iter().map(|v: &f64| v.max(0.0) + (-v.abs()).exp().ln_1p()).collect();
    check(Op::Softplus, &[], &x, &softplus, 16.0);
    let elu: Vec<f64> = x.iter().map(|v| if *v < 0.0 { 0.5 * v.exp_m1() } else { *v }).collect();
    check(Op::Elu, &[("alpha", 0.5)], &x, &elu, 16.0);
}

#[test]
fn halves_round_to_even_and_large_numbers_stay() {
    let large = f64::from((1 << 23) - 1) + 0.0;
    let x = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 4_194_303.5, large, 1e30, f64::INFINITY, f64::NAN];
    let expected = [
        -2.0,
        -2.0,
        0.0,
        0.0,
        2.0,
        2.0,
        4_194_304.0,
        large,
        1e30f32.into(),
        f64::INFINITY,
        f64::NAN,
    ];
    check(Op::Round, &[], &x, &expected, 0.0);
    let ceil = [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4_194_304.0, large];
    check(Op::Ceil, &[], &x[..8], &ceil, 0.0);
}

#[test]
fn extremes_give_what_the_interpreter_gives() {
    let (low, high, nan) = (f64::NEG_INFINITY, f64::INFINITY, f64::NAN);
    let x = [low, high, nan];
    let of =
        |op, numbers: &[(&str, f64)], expected: [f64; 3]| check(op, numbers, &x, &expected, 4.0);
    of(Op::Softplus, &[], [0.0, high, nan]);
    of(Op::Elu, &[("alpha", 0.5)], [-0.5, high, nan]);
    of(Op::LeakyRelu, &[("alpha", 0.5)], [low, high, nan]);
    of(Op::Relu6, &[], [0.0, 6.0, nan]);
    of(Op::ClampedRelu, NUMBERS, [low, 0.25, nan]);
    of(Op::SigmoidHard, NUMBERS, [0.0, 1.0, nan]);
    of(Op::ScaledTanh, NUMBERS, [-0.5, 0.5, nan]);
    of(Op::Threshold, &[("alpha", 0.5)], [0.5, high, nan]);
    of(Op::ThresholdedRelu, &[("alpha", 0.5)], [0.0, high, nan]);
    of(Op::Exp2, &[], [0.0, high, nan]);
}
