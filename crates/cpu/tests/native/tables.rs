//! Gather and scatter in all their forms.

use super::{Case, any, dims};
use crate::common::Random;
use interp::Array;
use mil::{Arg, DataType, Op, ValueId};

const TYPES: [DataType; 5] =
    [DataType::Fp32, DataType::Fp16, DataType::Int32, DataType::Int8, DataType::Bool];

/// Indices of which some lie outside, on either side.
fn indices(case: &mut Case, random: &mut Random, dims: &[usize], n: usize) -> ValueId {
    let count = dims.iter().product();
    let index = |_| random.below(2 * n + 3) as i64 - n as i64 - 1;
    let dtype = [DataType::Int32, DataType::Int32, DataType::Int16][count % 3];
    case.input(Array::ints(dtype, dims, (0..count).map(index).collect()))
}

#[test]
fn gathers_agree_exactly() {
    let mut random = Random(12);
    for round in 0..120 {
        let dtype = TYPES[round % TYPES.len()];
        let rank = 1 + random.below(4);
        let (shape, axis) = (dims(&mut random, rank), random.below(rank));
        let mut case = Case::new();
        let x = case.input(any(&mut random, dtype, &shape));
        let turned = case.b.op(Op::Reverse, "turned", [("x", x.into())]);
        let x = if random.below(2) == 0 { x } else { turned.expect("anything can be reversed") };
        let along = case.b.int(axis as i64);
        let mut inputs: Vec<(&str, Arg)> = vec![("x", x.into())];
        let op = match round % 3 {
            0 => {
                let batch = random.below(axis + 1);
                let extra = random.below(3);
                let at = [&shape[..batch], &dims(&mut random, extra)[..]].concat();
                let at = indices(&mut case, &mut random, &at, shape[axis]);
                let batch = case.b.int(batch as i64);
                inputs.extend([("indices", at.into()), ("axis", along.into())]);
                inputs.push(("batch_dims", batch.into()));
                Op::Gather
            }
            1 => {
                let mut at = shape.clone();
                at[axis] = 1 + random.below(5);
                let at = indices(&mut case, &mut random, &at, shape[axis]);
                inputs.extend([("indices", at.into()), ("axis", along.into())]);
                Op::GatherAlongAxis
            }
            _ => {
                let batch = random.below(rank);
                let depth = 1 + random.below(rank - batch);
                let extra = 1 + random.below(2);
                let lead = dims(&mut random, extra);
                let at = [&shape[..batch], &lead[..], &[depth]].concat();
                let at = indices(&mut case, &mut random, &at, 4);
                let batch = case.b.int(batch as i64);
                inputs.extend([("indices", at.into()), ("batch_dims", batch.into())]);
                Op::GatherNd
            }
        };
        let y = case.b.op(op, "y", inputs).map(|y| vec![y]);
        case.check(y, &[op], true);
    }
}

#[test]
fn scatters_agree() {
    let mut random = Random(13);
    let modes = ["update", "add", "sub", "mul", "div", "max", "min"];
    for round in 0..126 {
        let dtype = [DataType::Fp32, DataType::Int32, DataType::Fp16][round % 3];
        let mode = modes[round / 3 % 7];
        if dtype == DataType::Int32 && mode == "div" {
            continue;
        }
        let rank = 1 + random.below(4);
        let (shape, axis) = (dims(&mut random, rank), random.below(rank));
        // Numbers that no mode makes hard to compare: from 1/2 to 2.
        let numbers = |random: &mut Random, dims: &[usize]| {
            let count = dims.iter().product();
            match dtype {
                DataType::Int32 => any(random, dtype, dims),
                _ => {
                    let value = |_| 0.5 + random.below(7) as f64 / 4.0;
                    Array::floats(dtype, dims, (0..count).map(value).collect())
                }
            }
        };
        let mut case = Case::new();
        let data = case.input(numbers(&mut random, &shape));
        let (op, at, updates) = match random.below(3) {
            0 => {
                let extra = random.below(3);
                let at = dims(&mut random, extra);
                let updates = [&shape[..axis], &at[..], &shape[axis + 1..]].concat();
                (Op::Scatter, at, updates)
            }
            1 => {
                let mut at = shape.clone();
                at[axis] = 1 + random.below(5);
                (Op::ScatterAlongAxis, at.clone(), at)
            }
            _ => {
                let depth = 1 + random.below(rank);
                let at = vec![1 + random.below(4), depth];
                let updates = [&at[..1], &shape[depth..]].concat();
                (Op::ScatterNd, at, updates)
            }
        };
        let at = indices(&mut case, &mut random, &at, shape[axis]);
        let updates = case.input(numbers(&mut random, &updates));
        let mode = case.b.string(mode);
        let mut inputs: Vec<(&str, Arg)> = vec![
            ("data", data.into()),
            ("indices", at.into()),
            ("updates", updates.into()),
            ("mode", mode.into()),
        ];
        if op != Op::ScatterNd {
            let axis = case.b.int(axis as i64);
            inputs.push(("axis", axis.into()));
        }
        let y = case.b.op(op, "y", inputs).map(|y| vec![y]);
        // Sums are in f32 on the device, and in f64 in the interpreter.
        case.check(y, &[op], dtype == DataType::Int32);
    }
}
