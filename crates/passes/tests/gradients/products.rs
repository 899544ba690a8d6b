//! Matrix products, convolutions, attention.

use crate::harness::{Row, bools, f, op, row};
use mil::{DataType, FunctionBuilder, Op, OpError, ValueId};

pub fn rows() -> Vec<Row> {
    let mask = bools(
        &[3, 4],
        &[true, false, true, true, false, true, true, true, true, true, false, false],
    );
    vec![
        row("linear", [f(&[2, 3]), f(&[4, 3])], |b, v| Ok(vec![b.linear(v[0], v[1])?])),
        row("linear with a bias", [f(&[2, 5, 3]), f(&[4, 3]), f(&[4])], linear),
        row("linear with one bias", [f(&[2, 3]), f(&[4, 3]), f(&[1])], linear),
        row("linear of a vector", [f(&[3]), f(&[2, 3]), f(&[2])], linear),
        row("linear of one row", [f(&[1, 3]), f(&[1, 3]), f(&[1])], linear),
        row("matmul", [f(&[2, 3]), f(&[3, 4])], |b, v| {
            Ok(vec![b.matmul(v[0], v[1], (false, false))?])
        }),
        row("matmul xᵀ", [f(&[3, 2]), f(&[3, 4])], |b, v| {
            Ok(vec![b.matmul(v[0], v[1], (true, false))?])
        }),
        row("matmul yᵀ", [f(&[2, 3]), f(&[4, 3])], |b, v| {
            Ok(vec![b.matmul(v[0], v[1], (false, true))?])
        }),
        row("matmul xᵀyᵀ", [f(&[3, 2]), f(&[4, 3])], |b, v| {
            Ok(vec![b.matmul(v[0], v[1], (true, true))?])
        }),
        row("matmul of batches", [f(&[5, 2, 3]), f(&[5, 3, 4])], |b, v| {
            Ok(vec![b.matmul(v[0], v[1], (false, false))?])
        }),
        row("matmul of repeated y", [f(&[2, 2, 2, 3]), f(&[2, 1, 4, 3])], |b, v| {
            Ok(vec![b.matmul(v[0], v[1], (false, true))?])
        }),
        row("matmul of y repeated in front", [f(&[2, 3, 2, 3]), f(&[1, 3, 3, 2])], |b, v| {
            Ok(vec![b.matmul(v[0], v[1], (false, false))?])
        }),
        row("matmul of y without batch", [f(&[2, 2, 1, 3]), f(&[3, 4])], |b, v| {
            Ok(vec![b.matmul(v[0], v[1], (false, false))?])
        }),
        row("matmul of y without batch, xᵀ", [f(&[2, 2, 3, 2]), f(&[4, 3])], |b, v| {
            Ok(vec![b.matmul(v[0], v[1], (true, true))?])
        }),
        row("matmul of repeated x", [f(&[1, 2, 3]), f(&[2, 3, 2])], |b, v| {
            Ok(vec![b.matmul(v[0], v[1], (false, false))?])
        }),
        row("matmul of x without batch, xᵀ", [f(&[3, 2]), f(&[2, 2, 3, 2])], |b, v| {
            Ok(vec![b.matmul(v[0], v[1], (true, false))?])
        }),
        row("matmul repeated both ways", [f(&[1, 2, 2, 3]), f(&[2, 1, 3, 2])], |b, v| {
            Ok(vec![b.matmul(v[0], v[1], (false, false))?])
        }),
        row("matmul by itself", [f(&[3, 3])], |b, v| {
            Ok(vec![b.matmul(v[0], v[0], (false, true))?])
        }),
        row("matmul by a constant", [f(&[2, 2])], |b, v| {
            let values = [1.0, -2.0, 0.5, 3.0];
            let y = mil::Tensor::from_f64s(mil::DataType::Fp64, &[2, 2], &values).unwrap();
            let y = b.constant("y", y);
            Ok(vec![b.matmul(v[0], y, (true, false))?])
        }),
        row("conv", [f(&[2, 2, 5]), f(&[3, 2, 3]), f(&[3])], |b, v| {
            conv(b, Op::Conv, v, &Window::new(1))
        }),
        row("conv 2-D", [f(&[1, 2, 4, 3]), f(&[2, 2, 2, 2]), f(&[2])], |b, v| {
            conv(b, Op::Conv, v, &Window::new(2))
        }),
        row("conv with all options", [f(&[2, 4, 7, 6]), f(&[6, 2, 3, 2]), f(&[6])], |b, v| {
            let window = Window {
                strides: &[2, 3],
                dilations: &[2, 1],
                pads: &[1, 2, 0, 3],
                groups: 2,
                ..Window::new(2)
            };
            conv(b, Op::Conv, v, &window)
        }),
        row("conv that leaves a rest", [f(&[1, 1, 8]), f(&[1, 1, 2]), f(&[1])], |b, v| {
            conv(b, Op::Conv, v, &Window { strides: &[3], ..Window::new(1) })
        }),
        row("conv per channel", [f(&[2, 3, 4]), f(&[3, 1, 2]), f(&[3])], |b, v| {
            conv(b, Op::Conv, v, &Window { groups: 3, ..Window::new(1) })
        }),
        row("conv of one point", [f(&[1, 3, 1, 4]), f(&[2, 3, 1, 1]), f(&[2])], |b, v| {
            conv(b, Op::Conv, v, &Window::new(2))
        }),
        row("conv 3-D", [f(&[1, 1, 3, 2, 3]), f(&[2, 1, 2, 2, 2]), f(&[2])], |b, v| {
            conv(
                b,
                Op::Conv,
                v,
                &Window { strides: &[1, 1, 2], pads: &[1, 0, 0, 1, 1, 1], ..Window::new(3) },
            )
        }),
        row("conv padded to the same size", [f(&[1, 2, 5]), f(&[2, 2, 2]), f(&[2])], |b, v| {
            conv(b, Op::Conv, v, &Window { strides: &[2], kind: "same", ..Window::new(1) })
        }),
        row("conv padded in front", [f(&[1, 2, 4]), f(&[2, 2, 2]), f(&[2])], |b, v| {
            conv(b, Op::Conv, v, &Window { kind: "same_lower", ..Window::new(1) })
        }),
        row("conv_transpose", [f(&[2, 2, 3]), f(&[2, 3, 2]), f(&[3])], |b, v| {
            conv(b, Op::ConvTranspose, v, &Window::new(1))
        }),
        row(
            "conv_transpose with all options",
            [f(&[2, 4, 3, 2]), f(&[4, 3, 3, 2]), f(&[6])],
            |b, v| {
                let window = Window {
                    strides: &[2, 3],
                    dilations: &[2, 1],
                    pads: &[1, 2, 0, 1],
                    groups: 2,
                    ..Window::new(2)
                };
                conv(b, Op::ConvTranspose, v, &window)
            },
        ),
        row("conv_transpose to a longer size", [f(&[1, 2, 3]), f(&[2, 1, 2]), f(&[1])], |b, v| {
            conv(
                b,
                Op::ConvTranspose,
                v,
                &Window { strides: &[3], shape: &[1, 1, 10], ..Window::new(1) },
            )
        }),
        row("conv_transpose to the same size", [f(&[1, 1, 3]), f(&[1, 2, 3]), f(&[2])], |b, v| {
            conv(b, Op::ConvTranspose, v, &Window { strides: &[2], kind: "same", ..Window::new(1) })
        }),
        row("conv_transpose 3-D", [f(&[1, 1, 2, 1, 2]), f(&[1, 1, 2, 2, 1]), f(&[1])], |b, v| {
            conv(b, Op::ConvTranspose, v, &Window { strides: &[1, 2, 2], ..Window::new(3) })
        }),
        row("attention", [f(&[2, 3, 2]), f(&[2, 4, 2]), f(&[2, 4, 3])], |b, v| {
            attention(b, v, None)
        }),
        row(
            "attention with a mask",
            [f(&[2, 2, 3, 2]), f(&[2, 2, 4, 2]), f(&[2, 2, 4, 2]), f(&[3, 4])],
            |b, v| attention(b, &v[..3], Some(v[3])),
        ),
        row("attention that hides", [f(&[2, 3, 2]), f(&[2, 4, 2]), f(&[2, 4, 2]), mask], |b, v| {
            attention(b, &v[..3], Some(v[3]))
        }),
        row(
            "attention of repeated keys",
            [f(&[2, 3, 2]), f(&[1, 4, 2]), f(&[1, 4, 2]), f(&[2, 1, 4])],
            |b, v| attention(b, &v[..3], Some(v[3])),
        ),
        row("attention on values only", [f(&[1, 2, 2])], |b, v| {
            let ones =
                mil::Tensor::from_f64s(mil::DataType::Fp64, &[1, 2, 2], &[1.0, 0.5, -1.0, 2.0]);
            let fixed = b.constant("q", ones.unwrap());
            attention(b, &[fixed, fixed, v[0]], None)
        }),
        row(
            "lstm",
            [f(&[3, 2, 2]), f(&[2, 2]), f(&[2, 2]), f(&[8, 2]), f(&[8, 2]), f(&[8]), f(&[6])],
            |b, v| {
                let sequence = b.bool(true);
                let mut inputs = states(v, true);
                inputs.extend([("bias", v[5]), ("peephole", v[6]), ("output_sequence", sequence)]);
                op(b, Op::Lstm, &inputs)
            },
        ),
        row(
            "lstm both ways, with other activations and its cell clipped",
            [f(&[2, 1, 2]), f(&[1, 2]), f(&[1, 2]), f(&[4, 2]), f(&[4, 1]), f(&[4, 2]), f(&[4, 1])],
            |b, v| {
                let (direction, clip) = (b.string("bidirectional"), b.float(DataType::Fp64, 0.9));
                let (hard, linear) = (b.string("hard_sigmoid"), b.string("linear"));
                let mut inputs = states(v, true);
                inputs.extend([("weight_ih_back", v[5]), ("weight_hh_back", v[6])]);
                inputs.extend([("direction", direction), ("clip", clip)]);
                inputs.extend([("recurrent_activation", hard), ("cell_activation", linear)]);
                op(b, Op::Lstm, &inputs)
            },
        ),
        row(
            "gru",
            [f(&[3, 2, 2]), f(&[2, 2]), f(&[6, 2]), f(&[6, 2]), f(&[6]), f(&[6])],
            |b, v| {
                let mut inputs = states(v, false);
                inputs.extend([("bias", v[4]), ("input_bias", v[5])]);
                op(b, Op::Gru, &inputs)
            },
        ),
        row(
            "gru that resets after, backwards",
            [f(&[3, 2, 2]), f(&[2, 2]), f(&[6, 2]), f(&[6, 2]), f(&[6]), f(&[6])],
            |b, v| {
                let (after, sequence) = (b.bool(true), b.bool(true));
                let direction = b.string("reverse");
                let mut inputs = states(v, false);
                inputs.extend([("bias", v[4]), ("input_bias", v[5]), ("reset_after", after)]);
                inputs.extend([("direction", direction), ("output_sequence", sequence)]);
                op(b, Op::Gru, &inputs)
            },
        ),
        row("rnn", [f(&[3, 2, 2]), f(&[2, 3]), f(&[3, 2]), f(&[3, 3])], |b, v| {
            op(b, Op::Rnn, &states(v, false))
        }),
        row("einsum", [f(&[2, 3, 2]), f(&[2, 3, 4])], |b, v| einsum(b, v, "chw,whu->chu")),
        row("einsum that repeats", [f(&[2, 2, 1, 3]), f(&[1, 3, 2, 2])], |b, v| {
            einsum(b, v, "nchw,nwhu->nchu")
        }),
    ]
}

type Built = Result<Vec<ValueId>, OpError>;

fn linear(b: &mut FunctionBuilder, v: &[ValueId]) -> Built {
    op(b, Op::Linear, &[("x", v[0]), ("weight", v[1]), ("bias", v[2])])
}

struct Window {
    strides: &'static [i64],
    dilations: &'static [i64],
    pads: &'static [i64],
    shape: &'static [i64],
    groups: i64,
    kind: &'static str,
}

impl Window {
    fn new(rank: usize) -> Window {
        Window {
            strides: &[1; 3][..rank],
            dilations: &[1; 3][..rank],
            pads: &[],
            shape: &[],
            groups: 1,
            kind: "valid",
        }
    }
}

fn conv(b: &mut FunctionBuilder, o: Op, v: &[ValueId], w: &Window) -> Built {
    let mut inputs = vec![("x", v[0]), ("weight", v[1]), ("bias", v[2])];
    inputs.push(("strides", b.ints(w.strides)));
    inputs.push(("dilations", b.ints(w.dilations)));
    inputs.push(("groups", b.int(w.groups)));
    if !w.pads.is_empty() {
        inputs.push(("pad", b.ints(w.pads)));
    }
    if !w.shape.is_empty() {
        inputs.push(("output_shape", b.ints(w.shape)));
    }
    let kind = if w.pads.is_empty() { w.kind } else { "custom" };
    inputs.push(("pad_type", b.string(kind)));
    op(b, o, &inputs)
}

fn attention(b: &mut FunctionBuilder, v: &[ValueId], mask: Option<ValueId>) -> Built {
    let mut inputs = vec![("query", v[0]), ("key", v[1]), ("value", v[2])];
    inputs.extend(mask.map(|mask| ("attn_mask", mask)));
    op(b, Op::ScaledDotProductAttention, &inputs)
}

fn einsum(
    b: &mut FunctionBuilder,
    v: &[ValueId],
    equation: &str,
) -> Result<Vec<ValueId>, mil::OpError> {
    let equation = b.string(equation);
    b.operation(Op::Einsum, "einsum", [("values", v.into()), ("equation", equation.into())])
}

/// The parameters that every recurrent layer has, of values in this order.
fn states(v: &[ValueId], cell: bool) -> Vec<(&'static str, ValueId)> {
    let names: &[&str] = match cell {
        true => &["x", "initial_h", "initial_c", "weight_ih", "weight_hh"],
        false => &["x", "initial_h", "weight_ih", "weight_hh"],
    };
    names.iter().copied().zip(v.iter().copied()).collect()
}
