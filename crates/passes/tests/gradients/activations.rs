//! Further functions of one number, and further reductions.

use crate::harness::{Row, f, op, positive, row};
use mil::{DataType, FunctionBuilder, Op, OpError, Tensor, ValueId};

pub fn rows() -> Vec<Row> {
    let x = f(&[2, 3]);
    vec![
        row("acos", [x.clone()], |b, v| scaled(b, Op::Acos, v, 0.9)),
        row("asin", [x.clone()], |b, v| scaled(b, Op::Asin, v, 0.9)),
        row("atan", [x.clone()], |b, v| scaled(b, Op::Atan, v, 3.0)),
        row("atanh", [x.clone()], |b, v| scaled(b, Op::Atanh, v, 0.9)),
        row("tan", [x.clone()], |b, v| scaled(b, Op::Tan, v, 1.0)),
        row("sinh", [x.clone()], |b, v| scaled(b, Op::Sinh, v, 2.0)),
        row("cosh", [x.clone()], |b, v| scaled(b, Op::Cosh, v, 2.0)),
        row("exp2", [x.clone()], |b, v| scaled(b, Op::Exp2, v, 2.0)),
        row("ceil and round beside another way", [x.clone()], |b, v| {
            let ceil = b.unary(Op::Ceil, v[0])?;
            let round = b.scale(v[0], 1.7)?;
            let round = b.unary(Op::Round, round)?;
            let steps = b.add(ceil, round)?;
            Ok(vec![b.mul(steps, v[0])?])
        }),
        row("elu", [x.clone()], |b, v| shaped(b, Op::Elu, v[0], &[1.5])),
        row("leaky_relu", [x.clone()], |b, v| shaped(b, Op::LeakyRelu, v[0], &[0.1])),
        row("prelu", [f(&[2, 3, 4]), positive(&[3])], |b, v| {
            op(b, Op::Prelu, &[("x", v[0]), ("alpha", v[1])])
        }),
        row("relu6", [x.clone()], |b, v| scaled(b, Op::Relu6, v, 10.0)),
        row("clamped_relu", [x.clone()], |b, v| shaped(b, Op::ClampedRelu, v[0], &[0.5, 0.55])),
        row("clamped_relu below 0", [x.clone()], |b, v| {
            shaped(b, Op::ClampedRelu, v[0], &[2.0, -0.7])
        }),
        row("linear_activation", [x.clone()], |b, v| {
            shaped(b, Op::LinearActivation, v[0], &[-3.0, 0.5])
        }),
        row("scaled_tanh", [x.clone()], |b, v| shaped(b, Op::ScaledTanh, v[0], &[1.7, 0.6])),
        row("sigmoid_hard", [x.clone()], |b, v| shaped(b, Op::SigmoidHard, v[0], &[0.8, 0.5])),
        row("softplus", [x.clone()], |b, v| scaled(b, Op::Softplus, v, 5.0)),
        row("softplus_parametric", [f(&[2, 3, 4]), f(&[3]), f(&[3])], |b, v| {
            op(b, Op::SoftplusParametric, &[("x", v[0]), ("alpha", v[1]), ("beta", v[2])])
        }),
        row("softsign", [x.clone()], |b, v| scaled(b, Op::Softsign, v, 2.0)),
        row("threshold", [x.clone()], |b, v| shaped(b, Op::Threshold, v[0], &[0.05])),
        row("thresholded_relu", [x.clone()], |b, v| shaped(b, Op::ThresholdedRelu, v[0], &[0.05])),
        row("l1 norm", [x.clone()], |b, v| used(b, Op::ReduceL1Norm, v[0], &[1], false)),
        row("l2 norm", [f(&[2, 3, 4])], |b, v| used(b, Op::ReduceL2Norm, v[0], &[0, 2], true)),
        row("l2 norm of all", [x.clone()], |b, v| op(b, Op::ReduceL2Norm, &[("x", v[0])])),
        row("sum of squares", [x.clone()], |b, v| used(b, Op::ReduceSumSquare, v[0], &[-1], false)),
        row("log of a sum", [positive(&[2, 3])], |b, v| {
            used(b, Op::ReduceLogSum, v[0], &[0], false)
        }),
        row("product", [x.clone()], |b, v| used(b, Op::ReduceProd, v[0], &[1], true)),
        row("product of all", [x.clone()], |b, v| op(b, Op::ReduceProd, &[("x", v[0])])),
        // Rows with no zero, one and two.
        row("product with zeros", [f(&[3, 3])], |b, v| {
            let mask = [1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0];
            let mask = Tensor::from_f64s(DataType::Fp64, &[3, 3], &mask).unwrap();
            let mask = b.constant("mask", mask);
            let less = b.mul(v[0], mask)?;
            let shift = b.sub(v[0], v[0])?;
            let x = b.add(less, shift)?;
            used(b, Op::ReduceProd, x, &[1], false)
        }),
        row("indices of extremes stop", [x], |b, v| {
            let index = op(b, Op::ReduceArgmax, &[("x", v[0])])?[0];
            let index = b.cast(index, DataType::Fp64)?;
            let sum = b.reduce(Op::ReduceSum, v[0], &[1], false)?;
            Ok(vec![b.mul(index, sum)?])
        }),
    ]
}

type Built = Result<Vec<ValueId>, OpError>;

fn scaled(b: &mut FunctionBuilder, o: Op, v: &[ValueId], factor: f64) -> Built {
    let x = b.scale(v[0], factor)?;
    op(b, o, &[("x", x)])
}

/// An activation with alpha and perhaps beta.
fn shaped(b: &mut FunctionBuilder, o: Op, x: ValueId, numbers: &[f64]) -> Built {
    let mut inputs = vec![("x", x)];
    for (name, &number) in ["alpha", "beta"].into_iter().zip(numbers) {
        inputs.push((name, b.float(DataType::Fp64, number)));
    }
    op(b, o, &inputs)
}

/// A reduction whose result is used nonlinearly, so that cotangents differ by element.
fn used(b: &mut FunctionBuilder, o: Op, x: ValueId, axes: &[i64], keep: bool) -> Built {
    let reduced = b.reduce(o, x, axes, keep)?;
    Ok(vec![b.unary(Op::Sin, reduced)?])
}
