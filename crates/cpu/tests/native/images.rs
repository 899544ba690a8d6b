//! Images of other sizes, transposed convolutions, and tensors that are extended or selected.

use super::{Case, any, dims};
use crate::common::Random;
use interp::Array;
use mil::{Arg, DataType, Op, ValueId};

const FLOATS: [DataType; 3] = [DataType::Fp32, DataType::Fp16, DataType::Bf16];

fn floats(random: &mut Random, dtype: DataType, dims: &[usize]) -> Array {
    let count = dims.iter().product();
    Array::floats(dtype, dims, (0..count).map(|_| random.float()).collect())
}

/// Numbers from `base` on, one for each axis.
fn numbers(case: &mut Case, random: &mut Random, count: usize, base: usize, top: usize) -> ValueId {
    let numbers: Vec<i64> = (0..count).map(|_| (base + random.below(top)) as i64).collect();
    case.numbers(&numbers, true)
}

#[test]
fn transposed_convolutions_agree() {
    let mut random = Random(14);
    for round in 0..150 {
        let dtype = FLOATS[round % 3];
        let spatial = 1 + random.below(3);
        let groups = 1 + random.below(2);
        let (ins, outs) = (1 + random.below(3), 1 + random.below(3));
        let mut x = vec![1 + random.below(2), groups * ins];
        x.extend((0..spatial).map(|_| 1 + random.below(6)));
        let mut weight = vec![groups * ins, outs];
        weight.extend((0..spatial).map(|_| 1 + random.below(5)));
        let constant = round % 4 != 0;
        let mut case = Case::new();
        let image = case.input(floats(&mut random, dtype, &x));
        let values = floats(&mut random, dtype, &weight).rounded();
        let kernel = match constant {
            true => case.b.constant("kernel", values.to_tensor()),
            false => case.input(values),
        };
        let mut inputs: Vec<(&str, Arg)> = vec![("x", image.into()), ("weight", kernel.into())];
        if random.below(2) == 0 {
            let bias = case.input(floats(&mut random, dtype, &[groups * outs]));
            inputs.push(("bias", bias.into()));
        }
        inputs.push(("strides", numbers(&mut case, &mut random, spatial, 1, 3).into()));
        inputs.push(("dilations", numbers(&mut case, &mut random, spatial, 1, 3).into()));
        let kind = ["valid", "custom", "same", "same_lower"][random.below(4)];
        if kind == "custom" {
            inputs.push(("pad", numbers(&mut case, &mut random, 2 * spatial, 0, 3).into()));
        }
        if random.below(4) == 0 {
            // Larger than what is reached, or smaller.
            inputs.push(("output_shape", numbers(&mut case, &mut random, spatial, 2, 12).into()));
        }
        let (kind, groups) = (case.b.string(kind), case.b.int(groups as i64));
        inputs.extend([("pad_type", kind.into()), ("groups", groups.into())]);
        let y = case.b.op(Op::ConvTranspose, "y", inputs).map(|y| vec![y]);
        // Those of volumes are left to the interpreter.
        let native: &[Op] = if spatial == 3 { &[] } else { &[Op::ConvTranspose] };
        case.check(y, native, false);
    }
}

#[test]
fn resized_images_agree() {
    let mut random = Random(15);
    for round in 0..160 {
        let dtype = FLOATS[round % 3];
        let lead = dims(&mut random, 2);
        let shape = [&lead[..], &[1 + random.below(9), 1 + random.below(9)]].concat();
        let mut case = Case::new();
        let x = case.input(floats(&mut random, dtype, &shape));
        // A view, as of a layer that was transposed.
        let turned = case.b.op(Op::Reverse, "turned", [("x", x.into())]);
        let x = if random.below(2) == 0 { x } else { turned.expect("anything can be reversed") };
        let mut inputs: Vec<(&str, Arg)> = vec![("x", x.into())];
        let size = |case: &mut Case, random: &mut Random| case.b.int(1 + random.below(14) as i64);
        let op = match round % 5 {
            0 | 1 => {
                let whole = random.below(2) == 0;
                for name in ["scale_factor_height", "scale_factor_width"] {
                    let scale = match whole {
                        true => case.b.int(1 + random.below(3) as i64),
                        false => case.b.float(DataType::Fp32, [0.5, 1.5, 2.5][random.below(3)]),
                    };
                    inputs.push((name, scale.into()));
                }
                if round % 5 == 0 {
                    Op::UpsampleNearestNeighbor
                } else {
                    let align = case.b.bool(random.below(2) == 0);
                    inputs.push(("align_corners", align.into()));
                    Op::UpsampleBilinear
                }
            }
            2 | 3 => {
                let height = size(&mut case, &mut random);
                let width = size(&mut case, &mut random);
                inputs.push(("target_size_height", height.into()));
                inputs.push(("target_size_width", width.into()));
                if round % 5 == 2 {
                    Op::ResizeNearestNeighbor
                } else {
                    let modes = [
                        "DEFAULT",
                        "STRICT_ALIGN_CORNERS",
                        "ALIGN_CORNERS",
                        "UNALIGN_CORNERS",
                        "OFFSET_CORNERS",
                    ];
                    let mode = case.b.string(modes[random.below(modes.len())]);
                    inputs.push(("sampling_mode", mode.into()));
                    Op::ResizeBilinear
                }
            }
            _ => {
                let sizes = numbers(&mut case, &mut random, 2, 1, 9);
                let way = ["LINEAR", "NEAREST_NEIGHBOR"][random.below(2)];
                let (way, mode) = (case.b.string(way), case.b.string("UNALIGN_CORNERS"));
                let axes = case.b.int(2);
                inputs.extend([("shape", sizes.into()), ("resized_dims", axes.into())]);
                inputs.extend([("interpolation_mode", way.into()), ("sampling_mode", mode.into())]);
                Op::Resize
            }
        };
        let y = case.b.op(op, "y", inputs).map(|y| vec![y]);
        case.check(y, &[op], false);
    }
}

#[test]
fn extended_joined_and_selected_tensors_agree_exactly() {
    let types = [DataType::Fp32, DataType::Fp16, DataType::Int32, DataType::Int8, DataType::Bool];
    let mut random = Random(16);
    for round in 0..180 {
        let dtype = types[random.below(types.len())];
        let rank = 2 + random.below(3);
        let shape = dims(&mut random, rank);
        let mut case = Case::new();
        let x = case.input(any(&mut random, dtype, &shape));
        let mut inputs: Vec<(&str, Arg)> = vec![("x", x.into())];
        let op = match round % 6 {
            5 => {
                let batch = random.below(rank);
                let seq = (batch + 1 + random.below(rank - 1)) % rank;
                let length = |_| random.below(shape[seq] + 1) as i64;
                let lengths: Vec<i64> = (0..shape[batch]).map(length).collect();
                let lengths = case.numbers(&lengths, true);
                let (seq, batch) = (case.b.int(seq as i64), case.b.int(batch as i64));
                inputs.extend([("lengths", lengths.into()), ("seq_axis", seq.into())]);
                inputs.push(("batch_axis", batch.into()));
                Op::ReverseSequence
            }
            0 => {
                let mode = ["constant", "reflect", "replicate"][random.below(3)];
                let axes = if mode == "constant" { rank } else { 1 + random.below(2) };
                let most = |axis: usize| if mode == "reflect" { shape[axis] } else { 4 };
                let pad: Vec<i64> = (rank - axes..rank)
                    .flat_map(|axis| [axis, axis])
                    .map(|axis| random.below(most(axis)) as i64)
                    .collect();
                inputs.push(("pad", case.numbers(&pad, true).into()));
                inputs.push(("mode", case.b.string(mode).into()));
                if mode == "constant" {
                    let fill = any(&mut Random(round as u64), dtype, &[]);
                    let finite = fill.to_f64s()[0].is_finite() && fill.to_f64s()[0].abs() < 100.0;
                    if finite {
                        let fill = case.b.constant("fill", fill.to_tensor());
                        inputs.push(("constant_val", fill.into()));
                    }
                }
                Op::Pad
            }
            1 => {
                let other = case.input(any(&mut random, dtype, &shape));
                let axis = case.b.int(random.below(rank) as i64);
                let yes = case.b.bool(true);
                let values: [ValueId; 3] = [x, other, x];
                inputs = vec![("values", Arg::from(&values[..]))];
                inputs.extend([("axis", axis.into()), ("interleave", yes.into())]);
                Op::Concat
            }
            2 => {
                let at = any(&mut random, DataType::Int32, &shape);
                let at = case.input(at);
                let size = case.b.int(1 + random.below(5) as i64);
                let axis = case.b.int(random.below(rank + 1) as i64);
                inputs = vec![("indices", at.into()), ("one_hot_vector_size", size.into())];
                inputs.push(("axis", axis.into()));
                if random.below(2) == 0 {
                    let on = case.b.constant("on", any(&mut random, dtype, &[]).to_tensor());
                    let off = case.b.constant("off", any(&mut random, dtype, &[]).to_tensor());
                    inputs.extend([("on_value", on.into()), ("off_value", off.into())]);
                }
                Op::OneHot
            }
            3 => {
                let lower = case.b.int(random.below(5) as i64 - 1);
                let upper = case.b.int(random.below(5) as i64 - 1);
                inputs.extend([("lower", lower.into()), ("upper", upper.into())]);
                Op::BandPart
            }
            _ => {
                let value = case.b.constant("value", any(&mut random, dtype, &[]).to_tensor());
                inputs = vec![("ref_tensor", x.into()), ("value", value.into())];
                Op::FillLike
            }
        };
        let Ok(y) = case.b.op(op, "y", inputs) else {
            // Not every op takes every type.
            assert!(!matches!(dtype, DataType::Fp32 | DataType::Int32), "{} of {dtype}", op.name());
            continue;
        };
        case.check(Ok(vec![y]), &[op], true);
    }
}

#[test]
fn channels_are_normed_by_their_neighbors() {
    let mut random = Random(18);
    for round in 0..24 {
        let dtype = FLOATS[round % 3];
        let rank = 3 + random.below(2);
        let shape = dims(&mut random, rank);
        let mut case = Case::new();
        let x = case.input(floats(&mut random, dtype, &shape));
        let size = case.b.int(1 + random.below(6) as i64);
        let mut inputs: Vec<(&str, Arg)> = vec![("x", x.into()), ("size", size.into())];
        for (name, value) in [("alpha", 0.5), ("beta", 0.75), ("k", 2.0)] {
            let number = case.b.float(dtype, value);
            inputs.push((name, number.into()));
        }
        let y = case.b.op(Op::LocalResponseNorm, "y", inputs).map(|y| vec![y]);
        case.check(y, &[Op::LocalResponseNorm], false);
    }
}
