//! Element-wise operations.

use crate::harness::{Row, apart, bools, f, op, positive, row};
use mil::{DataType, Op};

pub fn rows() -> Vec<Row> {
    let (scalar, x, wide) = (f(&[]), f(&[2, 3]), f(&[4, 2, 3]));
    vec![
        row("identity", [x.clone()], |b, v| op(b, Op::Identity, &[("x", v[0])])),
        row("cast there and back", [x.clone()], |b, v| {
            let narrow = b.cast(v[0], DataType::Fp32)?;
            let sin = b.unary(Op::Sin, narrow)?;
            Ok(vec![b.cast(sin, DataType::Fp64)?])
        }),
        row("cast to integers stops", [x.clone()], |b, v| {
            let ints = b.cast(v[0], DataType::Int32)?;
            let floats = b.cast(ints, DataType::Fp64)?;
            Ok(vec![b.add(floats, v[0])?])
        }),
        row("add", [x.clone(), x.clone()], |b, v| Ok(vec![b.add(v[0], v[1])?])),
        row("add a row", [wide.clone(), f(&[3])], |b, v| Ok(vec![b.add(v[0], v[1])?])),
        row("add to a row", [f(&[1, 3]), wide.clone()], |b, v| Ok(vec![b.add(v[0], v[1])?])),
        row("add a scalar", [x.clone(), scalar.clone()], |b, v| Ok(vec![b.add(v[0], v[1])?])),
        row("add both ways", [f(&[2, 1]), f(&[1, 3])], |b, v| Ok(vec![b.add(v[0], v[1])?])),
        row("add itself", [x.clone()], |b, v| Ok(vec![b.add(v[0], v[0])?])),
        row("sub", [x.clone(), x.clone()], |b, v| Ok(vec![b.sub(v[0], v[1])?])),
        row("sub a column", [wide.clone(), f(&[2, 1])], |b, v| Ok(vec![b.sub(v[0], v[1])?])),
        row("mul", [x.clone(), x.clone()], |b, v| Ok(vec![b.mul(v[0], v[1])?])),
        row("mul by a row", [wide.clone(), f(&[3])], |b, v| Ok(vec![b.mul(v[0], v[1])?])),
        row("mul of ones", [f(&[1, 1]), f(&[1])], |b, v| Ok(vec![b.mul(v[0], v[1])?])),
        row("mul by a scalar", [scalar.clone(), x.clone()], |b, v| Ok(vec![b.mul(v[0], v[1])?])),
        row("mul by itself", [x.clone()], |b, v| Ok(vec![b.mul(v[0], v[0])?])),
        row("mul by a constant", [x.clone()], |b, v| Ok(vec![b.scale(v[0], 3.0)?])),
        row("real_div", [x.clone(), x.clone()], |b, v| binary(b, Op::RealDiv, v)),
        row("real_div by a column", [wide.clone(), f(&[2, 1])], |b, v| binary(b, Op::RealDiv, v)),
        row("real_div of a scalar", [scalar.clone(), x.clone()], |b, v| binary(b, Op::RealDiv, v)),
        // Quotients between 1.25 and 1.75 are far from a jump.
        row("mod", [positive(&[2, 3]), f(&[3])], |b, v| {
            let small = b.scale(v[1], 0.1)?;
            let one = b.float(DataType::Fp64, 1.6);
            let y = b.add(one, small)?;
            let large = b.scale(v[0], 0.1)?;
            let two = b.float(DataType::Fp64, 2.2);
            let x = b.add(two, large)?;
            binary(b, Op::Mod, &[x, y])
        }),
        row("maximum", [apart(&[2, 3]), f(&[2, 3])], |b, v| binary(b, Op::Maximum, v)),
        row("maximum with a row", [apart(&[4, 2, 3]), f(&[3])], |b, v| binary(b, Op::Maximum, v)),
        row("maximum of equals", [x.clone()], |b, v| binary(b, Op::Maximum, &[v[0], v[0]])),
        row("minimum", [apart(&[2, 3]), f(&[2, 3])], |b, v| binary(b, Op::Minimum, v)),
        row("minimum with a scalar", [apart(&[2, 3]), f(&[])], |b, v| binary(b, Op::Minimum, v)),
        row("minimum of equals", [x.clone()], |b, v| binary(b, Op::Minimum, &[v[0], v[0]])),
        row("pow", [positive(&[2, 3]), f(&[2, 3])], |b, v| binary(b, Op::Pow, v)),
        row("pow of a row", [positive(&[3]), f(&[4, 2, 3])], |b, v| binary(b, Op::Pow, v)),
        row("pow 2", [x.clone()], |b, v| {
            let two = b.float(DataType::Fp64, 2.0);
            binary(b, Op::Pow, &[v[0], two])
        }),
        row("pow 3", [x.clone()], |b, v| {
            let three = b.float(DataType::Fp64, 3.0);
            binary(b, Op::Pow, &[v[0], three])
        }),
        row("pow 0 and 1", [x.clone()], |b, v| {
            let (zero, one) = (b.float(DataType::Fp64, 0.0), b.float(DataType::Fp64, 1.0));
            let flat = b.binary(Op::Pow, v[0], zero)?;
            let same = b.binary(Op::Pow, v[0], one)?;
            Ok(vec![b.mul(flat, same)?])
        }),
        row("pow -1.5", [positive(&[2, 3])], |b, v| {
            let exponent = b.float(DataType::Fp64, -1.5);
            binary(b, Op::Pow, &[v[0], exponent])
        }),
        row(
            "select",
            [bools(&[2, 3], &[true, false, true, false, false, true]), x.clone(), x.clone()],
            |b, v| op(b, Op::Select, &[("cond", v[0]), ("a", v[1]), ("b", v[2])]),
        ),
        row(
            "select broadcasts",
            [bools(&[2, 1], &[true, false]), f(&[3]), scalar.clone()],
            |b, v| op(b, Op::Select, &[("cond", v[0]), ("a", v[1]), ("b", v[2])]),
        ),
        row("select by a comparison", [apart(&[2, 3]), f(&[2, 3])], |b, v| {
            let less = b.binary(Op::Less, v[0], v[1])?;
            op(b, Op::Select, &[("cond", less), ("a", v[0]), ("b", v[1])])
        }),
        row("abs", [x.clone()], |b, v| unary(b, Op::Abs, v)),
        row("floor and sign beside another way", [x.clone()], |b, v| {
            let floor = b.unary(Op::Floor, v[0])?;
            let sign = b.unary(Op::Sign, v[0])?;
            let steps = b.add(floor, sign)?;
            Ok(vec![b.mul(steps, v[0])?])
        }),
        row("exp", [x.clone()], |b, v| unary(b, Op::Exp, v)),
        row("log", [positive(&[2, 3])], |b, v| unary(b, Op::Log, v)),
        row("log with epsilon", [positive(&[2, 3])], |b, v| with_epsilon(b, Op::Log, v)),
        row("sqrt", [positive(&[2, 3])], |b, v| unary(b, Op::Sqrt, v)),
        row("rsqrt", [positive(&[2, 3])], |b, v| unary(b, Op::Rsqrt, v)),
        row("rsqrt with epsilon", [positive(&[2, 3])], |b, v| with_epsilon(b, Op::Rsqrt, v)),
        row("inverse", [positive(&[2, 3])], |b, v| unary(b, Op::Inverse, v)),
        row("inverse with epsilon", [positive(&[3])], |b, v| with_epsilon(b, Op::Inverse, v)),
        row("square", [x.clone()], |b, v| unary(b, Op::Square, v)),
        row("sin", [x.clone()], |b, v| unary(b, Op::Sin, v)),
        row("cos", [x.clone()], |b, v| unary(b, Op::Cos, v)),
        row("erf", [x.clone()], |b, v| unary(b, Op::Erf, v)),
        row("sigmoid", [x.clone()], |b, v| unary(b, Op::Sigmoid, v)),
        row("silu", [x.clone()], |b, v| unary(b, Op::Silu, v)),
        row("tanh", [x.clone()], |b, v| unary(b, Op::Tanh, v)),
        row("relu", [x.clone()], |b, v| unary(b, Op::Relu, v)),
        row("gelu", [x.clone()], |b, v| unary(b, Op::Gelu, v)),
        row("gelu by tanh", [x.clone()], |b, v| {
            let mode = b.string("TANH_APPROXIMATION");
            op(b, Op::Gelu, &[("x", v[0]), ("mode", mode)])
        }),
        row("gelu by sigmoid", [x.clone()], |b, v| {
            let mode = b.string("SIGMOID_APPROXIMATION");
            op(b, Op::Gelu, &[("x", v[0]), ("mode", mode)])
        }),
        row("clip", [f(&[4, 5])], |b, v| {
            let (low, high) = (b.float(DataType::Fp64, -0.05), b.float(DataType::Fp64, 0.05));
            let small = b.scale(v[0], 0.1)?;
            op(b, Op::Clip, &[("x", small), ("alpha", low), ("beta", high)])
        }),
        row("one value used often", [x, f(&[3])], |b, v| {
            let sum = b.add(v[0], v[1])?;
            let sin = b.unary(Op::Sin, sum)?;
            let product = b.mul(sin, sum)?;
            let total = b.add(product, v[1])?;
            Ok(vec![total, sin])
        }),
    ]
}

type Built = Result<Vec<mil::ValueId>, mil::OpError>;

fn unary(b: &mut mil::FunctionBuilder, o: Op, v: &[mil::ValueId]) -> Built {
    op(b, o, &[("x", v[0])])
}

fn binary(b: &mut mil::FunctionBuilder, o: Op, v: &[mil::ValueId]) -> Built {
    op(b, o, &[("x", v[0]), ("y", v[1])])
}

fn with_epsilon(b: &mut mil::FunctionBuilder, o: Op, v: &[mil::ValueId]) -> Built {
    let epsilon = b.float(DataType::Fp64, 0.25);
    op(b, o, &[("x", v[0]), ("epsilon", epsilon)])
}
