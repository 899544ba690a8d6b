//! Reductions, softmax, norms and running sums.

use crate::harness::{Row, apart, f, op, row};
use mil::{DataType, FunctionBuilder, Op, OpError, ValueId};

pub fn rows() -> Vec<Row> {
    let (x, wide) = (f(&[2, 3]), f(&[2, 3, 4]));
    vec![
        row("softmax", [x.clone()], |b, v| Ok(vec![b.softmax(v[0], -1)?])),
        row("softmax along the middle", [wide.clone()], |b, v| Ok(vec![b.softmax(v[0], 1)?])),
        row("softmax of one", [f(&[2, 1])], |b, v| {
            let y = b.softmax(v[0], -1)?;
            Ok(vec![b.mul(y, v[0])?])
        }),
        row("softmax without an axis", [x.clone()], |b, v| op(b, Op::Softmax, &[("x", v[0])])),
        row("sum", [x.clone()], |b, v| used(b, Op::ReduceSum, v[0], &[-1], false)),
        row("sum of all", [x.clone()], |b, v| op(b, Op::ReduceSum, &[("x", v[0])])),
        row("sum of the first", [wide.clone()], |b, v| used(b, Op::ReduceSum, v[0], &[0], false)),
        row("sum of outer, kept", [wide.clone()], |b, v| {
            used(b, Op::ReduceSum, v[0], &[0, -1], true)
        }),
        row("mean", [x.clone()], |b, v| used(b, Op::ReduceMean, v[0], &[-1], true)),
        row("mean of all", [wide.clone()], |b, v| op(b, Op::ReduceMean, &[("x", v[0])])),
        row("mean of the middle", [wide.clone()], |b, v| {
            used(b, Op::ReduceMean, v[0], &[1], false)
        }),
        row("max", [apart(&[2, 3])], |b, v| used(b, Op::ReduceMax, v[0], &[1], false)),
        row("max of all", [apart(&[2, 3, 4])], |b, v| op(b, Op::ReduceMax, &[("x", v[0])])),
        row("min", [apart(&[2, 3, 4])], |b, v| used(b, Op::ReduceMin, v[0], &[0, 2], true)),
        row("log_sum_exp", [x.clone()], |b, v| used(b, Op::ReduceLogSumExp, v[0], &[-1], true)),
        row("log_sum_exp of the first", [wide.clone()], |b, v| {
            used(b, Op::ReduceLogSumExp, v[0], &[0], false)
        }),
        row("log_sum_exp of all", [x.clone()], |b, v| op(b, Op::ReduceLogSumExp, &[("x", v[0])])),
        row("centered", [wide.clone()], |b, v| {
            let mean = b.reduce(Op::ReduceMean, v[0], &[-1], true)?;
            let centered = b.sub(v[0], mean)?;
            let square = b.mul(centered, centered)?;
            let variance = b.reduce(Op::ReduceMean, square, &[-1], false)?;
            Ok(vec![b.unary(Op::Sqrt, variance)?])
        }),
        row("repeated cotangents meet a product", [wide.clone(), f(&[4, 4])], |b, v| {
            let product = b.matmul(v[0], v[1], (false, false))?;
            Ok(vec![b.reduce(Op::ReduceSum, product, &[1, 2], false)?])
        }),
        row("repeated cotangents meet views", [wide.clone()], |b, v| {
            let flat = b.reshape(v[0], &[6, 4])?;
            let turned = b.transpose(flat, &[1, 0])?;
            let rows = b.reduce(Op::ReduceSum, turned, &[0], true)?;
            let all = b.reduce(Op::ReduceMean, v[0], &[0, 1, 2], true)?;
            let again = b.reshape(all, &[1])?;
            Ok(vec![rows, again])
        }),
        row("repeated cotangents meet a broadcast", [f(&[3, 1]), f(&[1, 4])], |b, v| {
            let grid = b.add(v[0], v[1])?;
            let sum = b.reduce(Op::ReduceSum, grid, &[0, 1], false)?;
            Ok(vec![b.unary(Op::Sin, sum)?])
        }),
        row("cumsum", [x.clone()], |b, v| cumsum(b, v[0], 0, false, false)),
        row("cumsum exclusive", [wide.clone()], |b, v| cumsum(b, v[0], -1, true, false)),
        row("cumsum reverse", [wide.clone()], |b, v| cumsum(b, v[0], 1, false, true)),
        row("cumsum exclusive reverse", [x.clone()], |b, v| cumsum(b, v[0], 1, true, true)),
        row("layer_norm of all", [x.clone()], |b, v| op(b, Op::LayerNorm, &[("x", v[0])])),
        row("layer_norm", [x.clone(), f(&[3]), f(&[3])], |b, v| layer_norm(b, v, &[-1])),
        row("layer_norm of two axes", [wide.clone(), f(&[3, 4]), f(&[3, 4])], |b, v| {
            layer_norm(b, v, &[1, 2])
        }),
        row("layer_norm of channels", [wide, f(&[3]), f(&[3])], |b, v| layer_norm(b, v, &[1])),
        row("layer_norm of a constant scale", [x], |b, v| {
            let gamma = b.constant("gamma", mil_vector(&[0.5, -1.0, 2.0]));
            let axes = b.ints(&[-1]);
            op(b, Op::LayerNorm, &[("x", v[0]), ("axes", axes), ("gamma", gamma)])
        }),
    ]
}

type Built = Result<Vec<ValueId>, OpError>;

fn mil_vector(values: &[f64]) -> mil::Tensor {
    mil::Tensor::from_f64s(DataType::Fp64, &[values.len()], values).unwrap()
}

/// A reduction whose result is used nonlinearly, so that cotangents differ by element.
fn used(b: &mut FunctionBuilder, o: Op, x: ValueId, axes: &[i64], keep: bool) -> Built {
    let reduced = b.reduce(o, x, axes, keep)?;
    Ok(vec![b.unary(Op::Sin, reduced)?])
}

fn cumsum(b: &mut FunctionBuilder, x: ValueId, axis: i64, exclusive: bool, back: bool) -> Built {
    let (axis, exclusive, back) = (b.int(axis), b.bool(exclusive), b.bool(back));
    let inputs = [("x", x), ("axis", axis), ("exclusive", exclusive), ("reverse", back)];
    op(b, Op::Cumsum, &inputs)
}

fn layer_norm(b: &mut FunctionBuilder, v: &[ValueId], axes: &[i64]) -> Built {
    let (axes, epsilon) = (b.ints(axes), b.float(DataType::Fp64, 0.01));
    let inputs =
        [("x", v[0]), ("axes", axes), ("gamma", v[1]), ("beta", v[2]), ("epsilon", epsilon)];
    op(b, Op::LayerNorm, &inputs)
}
