//! Views, slices, joins, gathers and scatters.

use crate::harness::{Row, apart, f, ints, op, row};
use mil::{DataType, FunctionBuilder, Op, OpError, Tensor, ValueId};

pub fn rows() -> Vec<Row> {
    let (x, wide) = (f(&[2, 3]), f(&[2, 3, 4]));
    vec![
        row("reshape", [x.clone()], |b, v| Ok(vec![b.reshape(v[0], &[3, 2, 1])?])),
        row("reshape that infers", [wide.clone()], |b, v| {
            let shape = b.ints(&[0, 4, -1]);
            op(b, Op::Reshape, &[("x", v[0]), ("shape", shape)])
        }),
        row("reshape of a scalar", [f(&[])], |b, v| Ok(vec![b.reshape(v[0], &[1, 1])?])),
        row("transpose", [wide.clone()], |b, v| Ok(vec![b.transpose(v[0], &[2, 0, 1])?])),
        row("transpose from the back", [wide.clone()], |b, v| {
            let perm = b.ints(&[-2, -1, 0]);
            op(b, Op::Transpose, &[("x", v[0]), ("perm", perm)])
        }),
        row("expand_dims", [x.clone()], |b, v| {
            let axes = b.ints(&[0, -1]);
            op(b, Op::ExpandDims, &[("x", v[0]), ("axes", axes)])
        }),
        row("squeeze", [f(&[1, 3, 1])], |b, v| {
            let axes = b.ints(&[-1]);
            op(b, Op::Squeeze, &[("x", v[0]), ("axes", axes)])
        }),
        row("squeeze all", [f(&[1, 3, 1])], |b, v| op(b, Op::Squeeze, &[("x", v[0])])),
        row("slice", [wide.clone()], |b, v| slice(b, v[0], &[0, 1, 1], &[1, 3, 3], None, &[])),
        row("slice from the back", [wide.clone()], |b, v| {
            slice(b, v[0], &[-2, -2, -3], &[2, -1, -1], None, &[])
        }),
        row("slice in steps", [f(&[2, 7, 5])], |b, v| {
            slice(b, v[0], &[0, 1, 0], &[2, 7, 5], Some(&[1, 3, 2]), &[])
        }),
        row("slice in steps to the end", [f(&[6])], |b, v| {
            slice(b, v[0], &[1], &[6], Some(&[2]), &[])
        }),
        row("slice backwards", [f(&[6, 3])], |b, v| {
            slice(b, v[0], &[5, 2], &[0, 0], Some(&[-2, -1]), &[])
        }),
        row("slice backwards to the start", [f(&[6, 3])], |b, v| {
            let mask = [("end_mask", vec![true, false])];
            slice(b, v[0], &[4, 0], &[0, 3], Some(&[-3, 1]), &mask)
        }),
        row("slice with masks", [wide.clone()], |b, v| {
            let masks = [
                ("begin_mask", vec![true, false, false]),
                ("end_mask", vec![false, false, true]),
                ("squeeze_mask", vec![false, true, false]),
            ];
            slice(b, v[0], &[1, -1, 1], &[2, 3, 1], None, &masks)
        }),
        row("slices that overlap", [f(&[5])], |b, v| {
            let first = slice(b, v[0], &[0], &[3], None, &[])?[0];
            let second = slice(b, v[0], &[2], &[5], None, &[])?[0];
            Ok(vec![b.mul(first, second)?])
        }),
        row("slice_by_size", [wide.clone()], |b, v| {
            let (begin, size) = (b.ints(&[1, 0, -2]), b.ints(&[-1, 2, 1]));
            op(b, Op::SliceBySize, &[("x", v[0]), ("begin", begin), ("size", size)])
        }),
        row("slice_by_size from where it runs", [wide.clone(), ints(&[3], &[1, 0, 2])], |b, v| {
            let size = b.ints(&[1, 2, 2]);
            op(b, Op::SliceBySize, &[("x", v[0]), ("begin", v[1]), ("size", size)])
        }),
        row("slice_update", [f(&[3, 4]), f(&[2, 2])], |b, v| {
            let (begin, end) = (b.ints(&[1, 0]), b.ints(&[3, 4]));
            let stride = b.ints(&[1, 2]);
            let inputs =
                [("x", v[0]), ("update", v[1]), ("begin", begin), ("end", end), ("stride", stride)];
            op(b, Op::SliceUpdate, &inputs)
        }),
        row("slice_update where it runs", [f(&[3, 4]), f(&[2, 2]), ints(&[2], &[1, 1])], |b, v| {
            let size = b.ints(&[2, 2]);
            let end = b.add(v[2], size)?;
            op(b, Op::SliceUpdate, &[("x", v[0]), ("update", v[1]), ("begin", v[2]), ("end", end)])
        }),
        row("concat", [f(&[2, 1]), f(&[2, 3])], |b, v| Ok(vec![b.concat(v, -1)?])),
        row("concat with a constant", [f(&[2, 2]), f(&[1, 2])], |b, v| {
            let fixed = b.constant(
                "fixed",
                Tensor::from_f64s(DataType::Fp64, &[1, 2], &[1.0, 2.0]).unwrap(),
            );
            Ok(vec![b.concat(&[v[0], fixed, v[1]], 0)?])
        }),
        row("concat of the same", [f(&[2])], |b, v| Ok(vec![b.concat(&[v[0], v[0]], 0)?])),
        row("concat of one", [x.clone()], |b, v| Ok(vec![b.concat(&[v[0]], 1)?])),
        row("concat of scalars", [f(&[]), f(&[])], |b, v| Ok(vec![b.concat(v, 0)?])),
        row("concat interleaved", [f(&[2, 3]), f(&[2, 3]), f(&[2, 3])], |b, v| {
            let (axis, interleave) = (b.int(1), b.bool(true));
            let inputs =
                [("values", v.into()), ("axis", axis.into()), ("interleave", interleave.into())];
            b.operation(Op::Concat, "concat", inputs)
        }),
        row("split", [f(&[2, 6])], |b, v| {
            let parts = b.split(v[0], &[1, 2, 3], 1)?;
            let first = b.mul(parts[0], parts[1])?;
            Ok(vec![first, parts[2]])
        }),
        row("split into equal parts", [f(&[4, 3])], |b, v| {
            let (count, axis) = (b.int(2), b.int(-2));
            op(b, Op::Split, &[("x", v[0]), ("num_splits", count), ("axis", axis)])
        }),
        row("split of which one is used", [f(&[6])], |b, v| {
            let parts = b.split(v[0], &[1, 2, 3], 0)?;
            Ok(vec![b.unary(Op::Sin, parts[1])?])
        }),
        row("split of which one is not used", [f(&[6, 2])], |b, v| {
            let parts = b.split(v[0], &[1, 2, 3], 0)?;
            Ok(vec![b.unary(Op::Sin, parts[0])?, parts[2]])
        }),
        row("tile", [x.clone()], |b, v| tile(b, v[0], &[2, 3])),
        row("tile of ones", [f(&[1, 3, 1])], |b, v| tile(b, v[0], &[2, 1, 4])),
        row("tile once", [x.clone()], |b, v| tile(b, v[0], &[1, 1])),
        row("pad", [x.clone()], |b, v| pad(b, v[0], &[1, 0, 2, 3])),
        row("pad the last axis", [wide.clone()], |b, v| pad(b, v[0], &[1, 1])),
        row("reverse", [wide.clone()], |b, v| {
            let axes = b.ints(&[0, -1]);
            op(b, Op::Reverse, &[("x", v[0]), ("axes", axes)])
        }),
        row("reverse all", [x.clone()], |b, v| op(b, Op::Reverse, &[("x", v[0])])),
        row("gather", [f(&[4, 2]), ints(&[3], &[0, 3, 0])], |b, v| {
            Ok(vec![b.gather(v[0], v[1], 0)?])
        }),
        row("gather from the back", [f(&[4, 2]), ints(&[2], &[-1, 1])], |b, v| {
            Ok(vec![b.gather(v[0], v[1], 0)?])
        }),
        row("gather in the middle", [f(&[2, 4, 3]), ints(&[2, 2], &[3, 1, 1, 0])], |b, v| {
            Ok(vec![b.gather(v[0], v[1], -2)?])
        }),
        row("gather one", [f(&[4, 2]), ints(&[], &[2])], |b, v| Ok(vec![b.gather(v[0], v[1], 0)?])),
        row("gather in batches", [f(&[2, 4, 3]), ints(&[2, 2], &[3, 1, -1, 0])], |b, v| {
            gather(b, v, 1, 1)
        }),
        row(
            "gather in batches, further back",
            [f(&[2, 2, 4, 2]), ints(&[2, 3], &[3, 1, 1, 0, 0, 2])],
            |b, v| gather(b, v, 2, 1),
        ),
        row("gather in two batches", [f(&[2, 2, 3]), ints(&[2, 2], &[2, 1, 0, 0])], |b, v| {
            gather(b, v, 2, 2)
        }),
        row("gather_along_axis", [f(&[2, 4]), ints(&[2, 3], &[3, 1, 1, 0, 0, -1])], |b, v| {
            along(b, Op::GatherAlongAxis, v, 1)
        }),
        row("gather_along_axis of the first", [f(&[3, 2]), ints(&[1, 2], &[2, 0])], |b, v| {
            along(b, Op::GatherAlongAxis, v, 0)
        }),
        row("scatter", [f(&[4, 2]), ints(&[3], &[0, 3, 0]), f(&[3, 2])], |b, v| {
            scatter(b, Op::Scatter, v, 0, "add")
        }),
        row("scatter that subtracts", [f(&[2, 4]), ints(&[3], &[0, 3, 0]), f(&[2, 3])], |b, v| {
            scatter(b, Op::Scatter, v, -1, "sub")
        }),
        row(
            "scatter_along_axis",
            [f(&[2, 4]), ints(&[2, 3], &[3, 1, 1, 0, 0, 2]), f(&[2, 3])],
            |b, v| scatter(b, Op::ScatterAlongAxis, v, 1, "add"),
        ),
        row(
            "scatter_along_axis that subtracts",
            [f(&[3, 2]), ints(&[1, 2], &[2, 0]), f(&[1, 2])],
            |b, v| scatter(b, Op::ScatterAlongAxis, v, 0, "sub"),
        ),
        row("gather_nd", [f(&[3, 4, 2]), ints(&[3, 2], &[0, 3, 2, -1, 0, 3])], |b, v| {
            gather_nd(b, v, 0)
        }),
        row("gather_nd of rows", [f(&[3, 2]), ints(&[2, 2, 1], &[0, 2, 2, 1])], |b, v| {
            gather_nd(b, v, 0)
        }),
        row("gather_nd in batches", [f(&[2, 3, 2]), ints(&[2, 2, 1], &[0, 2, 1, 1])], |b, v| {
            gather_nd(b, v, 1)
        }),
        row(
            "gather_nd in two batches",
            [f(&[2, 2, 3]), ints(&[2, 2, 1], &[0, -1, 1, 1])],
            |b, v| gather_nd(b, v, 2),
        ),
        row("scatter_nd", [f(&[3, 2]), ints(&[3, 2], &[0, 1, 2, 0, 0, 1]), f(&[3])], |b, v| {
            scatter_nd(b, v, "add")
        }),
        row(
            "scatter_nd that subtracts",
            [f(&[3, 2]), ints(&[2, 1], &[2, 0]), f(&[2, 2])],
            |b, v| scatter_nd(b, v, "sub"),
        ),
        row("topk", [apart(&[3, 4])], |b, v| {
            let k = b.int(2);
            Ok(vec![op(b, Op::Topk, &[("x", v[0]), ("k", k)])?[0]])
        }),
        row("bottom k of columns", [apart(&[3, 4])], |b, v| {
            let (k, axis, ascending, none) = (b.int(2), b.int(0), b.bool(true), b.bool(false));
            let more = [("ascending", ascending), ("return_indices", none)];
            op(b, Op::Topk, &[&[("x", v[0]), ("k", k), ("axis", axis)], &more[..]].concat())
        }),
        row("stack", [x.clone(), f(&[2, 3]), ints(&[], &[1])], |b, v| {
            let axis = b.int(1);
            let values = [v[0], v[1], v[0]];
            b.operation(
                Op::Stack,
                "stack",
                [("values", (&values[..]).into()), ("axis", axis.into())],
            )
        }),
        row("stack of scalars", [f(&[]), f(&[])], |b, v| {
            let axis = b.int(-1);
            b.operation(Op::Stack, "stack", [("values", v.into()), ("axis", axis.into())])
        }),
        row("band_part", [f(&[2, 3, 4])], |b, v| {
            let (lower, upper) = (b.int(1), b.int(0));
            op(b, Op::BandPart, &[("x", v[0]), ("lower", lower), ("upper", upper)])
        }),
        row("reverse_sequence", [wide.clone(), ints(&[2], &[2, 0])], |b, v| {
            let (seq, batch) = (b.int(1), b.int(0));
            let axes = [("seq_axis", seq), ("batch_axis", batch)];
            op(b, Op::ReverseSequence, &[&[("x", v[0]), ("lengths", v[1])], &axes[..]].concat())
        }),
        row("flatten2d", [wide.clone()], |b, v| op(b, Op::Flatten2d, &[("x", v[0])])),
        row(
            "reshape_like",
            [f(&[6, 4]), ints(&[2, 3], &[0; 6]), ints(&[1, 4], &[0; 4])],
            |b, v| {
                let (none, one, two, all) = (b.int(0), b.int(1), b.int(2), b.bool(false));
                let tuple = |ids: [ValueId; 2]| mil::Arg::from(&ids[..]);
                b.operation(
                    Op::ReshapeLike,
                    "reshape_like",
                    [
                        ("x", v[0].into()),
                        ("ref_tensors", tuple([v[1], v[2]])),
                        ("begins", tuple([none, one])),
                        ("ends", tuple([two, two])),
                        ("end_masks", tuple([all, all])),
                    ],
                )
            },
        ),
        row("what a fill and a one_hot scale", [x.clone(), ints(&[2], &[0, 2])], |b, v| {
            let (shape, two, size) = (b.ints(&[2, 3]), b.float(DataType::Fp64, 2.0), b.int(3));
            let filled = op(b, Op::Fill, &[("shape", shape), ("value", two)])?[0];
            let (on, off) = (b.float(DataType::Fp64, 1.5), b.float(DataType::Fp64, 0.5));
            let values = [("on_value", on), ("off_value", off)];
            let sizes = [("indices", v[1]), ("one_hot_vector_size", size)];
            let hot = op(b, Op::OneHot, &[&sizes[..], &values[..]].concat())?[0];
            let scaled = b.mul(v[0], filled)?;
            Ok(vec![b.mul(scaled, hot)?])
        }),
        row("gather of what is used beside", [f(&[4, 2]), ints(&[3], &[0, 3, 0])], |b, v| {
            let rows = b.gather(v[0], v[1], 0)?;
            let sin = b.unary(Op::Sin, v[0])?;
            Ok(vec![rows, sin])
        }),
    ]
}

type Built = Result<Vec<ValueId>, OpError>;

fn slice(
    b: &mut FunctionBuilder,
    x: ValueId,
    begin: &[i64],
    end: &[i64],
    stride: Option<&[i64]>,
    masks: &[(&'static str, Vec<bool>)],
) -> Built {
    let mut inputs = vec![("x", x), ("begin", b.ints(begin)), ("end", b.ints(end))];
    if let Some(stride) = stride {
        inputs.push(("stride", b.ints(stride)));
    }
    for (name, mask) in masks {
        let bits: Vec<i64> = mask.iter().map(|&bit| i64::from(bit)).collect();
        let mask = Tensor::from_i64s(DataType::Bool, &[bits.len()], &bits).unwrap();
        inputs.push((name, b.constant(name, mask)));
    }
    op(b, Op::SliceByIndex, &inputs)
}

fn tile(b: &mut FunctionBuilder, x: ValueId, reps: &[i64]) -> Built {
    let reps = b.ints(reps);
    op(b, Op::Tile, &[("x", x), ("reps", reps)])
}

fn pad(b: &mut FunctionBuilder, x: ValueId, amounts: &[i64]) -> Built {
    let (amounts, value) = (b.ints(amounts), b.float(DataType::Fp64, 7.0));
    op(b, Op::Pad, &[("x", x), ("pad", amounts), ("constant_val", value)])
}

fn gather(b: &mut FunctionBuilder, v: &[ValueId], axis: i64, batch: i64) -> Built {
    let (axis, batch) = (b.int(axis), b.int(batch));
    op(b, Op::Gather, &[("x", v[0]), ("indices", v[1]), ("axis", axis), ("batch_dims", batch)])
}

fn along(b: &mut FunctionBuilder, o: Op, v: &[ValueId], axis: i64) -> Built {
    let axis = b.int(axis);
    op(b, o, &[("x", v[0]), ("indices", v[1]), ("axis", axis)])
}

fn scatter(b: &mut FunctionBuilder, o: Op, v: &[ValueId], axis: i64, mode: &str) -> Built {
    let (axis, mode) = (b.int(axis), b.string(mode));
    let inputs =
        [("data", v[0]), ("indices", v[1]), ("updates", v[2]), ("axis", axis), ("mode", mode)];
    op(b, o, &inputs)
}

fn gather_nd(b: &mut FunctionBuilder, v: &[ValueId], batch: i64) -> Built {
    let batch = b.int(batch);
    op(b, Op::GatherNd, &[("x", v[0]), ("indices", v[1]), ("batch_dims", batch)])
}

fn scatter_nd(b: &mut FunctionBuilder, v: &[ValueId], mode: &str) -> Built {
    let mode = b.string(mode);
    let inputs = [("data", v[0]), ("indices", v[1]), ("updates", v[2]), ("mode", mode)];
    op(b, Op::ScatterNd, &inputs)
}
