//! Parts of tensors, wherever they begin.

use super::{Case, any, dims};
use crate::common::{Random, devices, on_cpu};
use interp::Array;
use mil::{Arg, DataType, Op, Program, Tensor, ValueId};
use runtime::CompileOptions;

/// The arguments of a slice, and how many elements it takes of each axis; those of 1 may be dropped.
struct Slice {
    begin: Vec<i64>,
    end: Vec<i64>,
    stride: Vec<i64>,
    masks: [Vec<bool>; 3],
    dims: Vec<usize>,
}

fn slice(random: &mut Random, dims: &[usize]) -> Slice {
    let mut s = Slice {
        begin: vec![],
        end: vec![],
        stride: vec![],
        masks: [vec![], vec![], vec![]],
        dims: vec![],
    };
    for &dim in dims {
        let n = dim as i64;
        // Bounds before the first element, behind the last, and counted from the end.
        let mut begin = random.below(3 * dim + 2) as i64 - n - 1;
        let end = random.below(3 * dim + 2) as i64 - n - 1;
        let stride = [1, 1, 1, 2, -1, -2][random.below(6)];
        let masks = [random.below(4) == 0, random.below(4) == 0, random.below(5) == 0];
        if masks[2] && !masks[0] {
            begin = random.below(2 * dim) as i64 - n;
        }
        let bounds = [(begin, masks[0]), (end, masks[1])];
        let [first, last] = bounds.map(|(bound, masked)| Some(bound).filter(|_| !masked));
        if !masks[2] {
            s.dims.push(mil::shape::slice_between(dim, first, last, stride).size);
        }
        s.begin.push(begin);
        s.end.push(end);
        s.stride.push(stride);
        s.masks.iter_mut().zip(masks).for_each(|(all, mask)| all.push(mask));
    }
    s
}

fn bools(case: &mut Case, values: &[bool]) -> ValueId {
    let values: Vec<i64> = values.iter().map(|&v| i64::from(v)).collect();
    let tensor = Tensor::from_i64s(DataType::Bool, &[values.len()], &values);
    case.b.constant("mask", tensor.expect("as many as the dims say"))
}

fn arguments(case: &mut Case, s: &Slice, known: [bool; 2]) -> Vec<(&'static str, Arg)> {
    let begin = case.numbers(&s.begin, known[0]);
    let end = case.numbers(&s.end, known[1]);
    let stride = case.numbers(&s.stride, true);
    let mut arguments = vec![("begin", begin), ("end", end), ("stride", stride)];
    let names = ["begin_mask", "end_mask", "squeeze_mask"];
    for (name, mask) in names.into_iter().zip(&s.masks) {
        arguments.push((name, bools(case, mask)));
    }
    arguments.into_iter().map(|(name, id)| (name, id.into())).collect()
}

const TYPES: [DataType; 6] = [
    DataType::Fp32,
    DataType::Fp16,
    DataType::Bf16,
    DataType::Int32,
    DataType::Int8,
    DataType::Bool,
];

#[test]
fn updates_of_any_part_agree_exactly() {
    let mut random = Random(3);
    for round in 0..160 {
        let dtype = TYPES[random.below(TYPES.len())];
        let rank = 1 + random.below(4);
        let shape = dims(&mut random, rank);
        let s = slice(&mut random, &shape);
        let known = [random.below(2) == 0, random.below(2) == 0];
        if s.dims.contains(&0) && !(known[0] && known[1]) {
            continue;
        }
        let mut case = Case::new();
        let x = case.input(any(&mut random, dtype, &shape));
        let update = case.input(any(&mut random, dtype, &s.dims));
        let mut inputs: Vec<(&str, Arg)> = vec![("x", x.into()), ("update", update.into())];
        inputs.extend(arguments(&mut case, &s, known));
        // The base as an input, as a copy that dies here, and as one that is read later.
        let outputs = (|| {
            if round % 3 == 0 {
                return Ok(vec![case.b.op(Op::SliceUpdate, "y", inputs)?]);
            }
            let turned = case.b.op(Op::Reverse, "turned", [("x", x.into())])?;
            inputs[0].1 = turned.into();
            let y = case.b.op(Op::SliceUpdate, "y", inputs.clone())?;
            inputs[0].1 = y.into();
            let z = case.b.op(Op::SliceUpdate, "z", inputs)?;
            Ok(if round % 3 == 1 { vec![z] } else { vec![y, z, turned] })
        })();
        case.check(outputs, &[Op::SliceUpdate], true);
    }
}

#[test]
fn slices_with_computed_bounds_agree_exactly() {
    let mut random = Random(4);
    for _ in 0..80 {
        let dtype = TYPES[random.below(TYPES.len())];
        let rank = 1 + random.below(4);
        let shape = dims(&mut random, rank);
        let mut case = Case::new();
        let x = case.input(any(&mut random, dtype, &shape));
        // A view of x, so that strides are not those of a dense tensor.
        let turned = case.b.op(Op::Reverse, "turned", [("x", x.into())]);
        let size: Vec<usize> = shape.iter().map(|&d| random.below(d + 1)).collect();
        let begin: Vec<i64> =
            shape.iter().zip(&size).map(|(&d, &s)| random.below(d - s + 1) as i64).collect();
        let begin: Vec<i64> = begin
            .iter()
            .zip(&shape)
            .map(|(&b, &d)| if random.below(2) == 0 { b - d as i64 } else { b })
            .collect();
        let begin = case.numbers(&begin, false);
        let size: Vec<i64> = size.iter().map(|&s| s as i64).collect();
        let size = case.numbers(&size, true);
        // A row, by an index that is computed.
        let index: Vec<i64> =
            shape.iter().map(|&d| random.below(2 * d) as i64 - d as i64).collect();
        let (index, end) = (case.numbers(&index, false), case.numbers(&vec![0; rank], true));
        let first: Vec<bool> = (0..rank).map(|axis| axis == 0).collect();
        let rest: Vec<bool> = (0..rank).map(|axis| axis != 0).collect();
        let (first, rest) = (bools(&mut case, &first), bools(&mut case, &rest));
        let outputs = turned.and_then(|turned| {
            let inputs = [("x", turned), ("begin", begin), ("size", size)];
            let part = case.b.op(Op::SliceBySize, "part", inputs.map(|(n, id)| (n, id.into())))?;
            let inputs = [
                ("x", turned),
                ("begin", index),
                ("end", end),
                ("begin_mask", rest),
                ("end_mask", rest),
                ("squeeze_mask", first),
            ];
            let row = case.b.op(Op::SliceByIndex, "row", inputs.map(|(n, id)| (n, id.into())))?;
            Ok(vec![part, row])
        });
        case.check(outputs, &[Op::SliceBySize, Op::SliceByIndex], true);
    }
}

#[test]
fn bounds_that_do_not_fit_are_an_error_that_names_the_value() {
    let mut case = Case::new();
    let x = case.input(Array::floats(DataType::Fp16, &[4, 3], vec![0.0; 12]));
    let update = case.input(Array::floats(DataType::Fp16, &[2, 3], vec![1.0; 6]));
    let (begin, end) = (case.numbers(&[3, 0], false), case.numbers(&[5, 3], false));
    let inputs = [("x", x), ("update", update), ("begin", begin), ("end", end)];
    let y = case.b.op(Op::SliceUpdate, "cache", inputs.map(|(name, id)| (name, id.into())));
    let program = Program::new(vec![case.b.finish(&[y.expect("the shapes fit")])]);
    for device in devices() {
        let options = CompileOptions::default();
        let error = on_cpu(&device, &program, "f", &case.inputs, &options);
        let error = error.expect_err("the part has one row less").to_string();
        assert!(error.contains("`cache`") && error.contains("1 elements of axis 0"), "{error}");
    }
    let options = interp::Options::default();
    assert!(interp::evaluate(&program, "f", &case.inputs, &options).is_err());
}
