use crate::common::{apply_many, bools, check, floats, ints, many, string, vector};
use mil::Op;

/// 0, 1, 2, … in this shape.
fn counting(dims: &[usize]) -> anemone_interp::Array {
    let count = dims.iter().product::<usize>() as i64;
    ints(dims, &(0..count).collect::<Vec<_>>())
}

#[test]
fn shapes_change_without_moving() {
    let x = counting(&[1, 2, 3]);
    let shape = [("x", x.clone()), ("shape", vector(&[-1, 2]))];
    check(Op::Reshape, &shape, counting(&[3, 2]));
    check(Op::Squeeze, &[("x", x.clone())], counting(&[2, 3]));
    let axes = [("x", x), ("axes", vector(&[1, -1]))];
    check(Op::ExpandDims, &axes, counting(&[1, 1, 2, 3, 1]));
}

#[test]
fn transposes_and_reversals() {
    let x = counting(&[2, 3]);
    let perm = [("x", x.clone()), ("perm", vector(&[-1, 0]))];
    check(Op::Transpose, &perm, ints(&[3, 2], &[0, 3, 1, 4, 2, 5]));
    let turn = [("x", counting(&[1, 2, 3])), ("perm", vector(&[2, 0, 1]))];
    check(Op::Transpose, &turn, ints(&[3, 1, 2], &[0, 3, 1, 4, 2, 5]));
    let last = [("x", x.clone()), ("axes", vector(&[-1]))];
    check(Op::Reverse, &last, ints(&[2, 3], &[2, 1, 0, 5, 4, 3]));
    check(Op::Reverse, &[("x", x)], ints(&[2, 3], &[5, 4, 3, 2, 1, 0]));
}

#[test]
fn slices() {
    let x = counting(&[3, 4]);
    let inputs = [
        ("x", x.clone()),
        ("begin", vector(&[-1, 3])),
        ("end", vector(&[0, 0])),
        ("stride", vector(&[1, -2])),
        ("end_mask", bools(&[2], &[false, true])),
        ("squeeze_mask", bools(&[2], &[true, false])),
    ];
    check(Op::SliceByIndex, &inputs, ints(&[2], &[11, 9]));
    let size = [("x", x), ("begin", vector(&[1, 2])), ("size", vector(&[1, -1]))];
    check(Op::SliceBySize, &size, ints(&[1, 2], &[6, 7]));
}

#[test]
fn slice_update_replaces_what_the_slice_reads() {
    let inputs = [
        ("x", counting(&[2, 3])),
        ("update", ints(&[2], &[-1, -2])),
        ("begin", vector(&[1, 0])),
        ("end", vector(&[2, 3])),
        ("stride", vector(&[1, 2])),
        ("squeeze_mask", bools(&[2], &[true, false])),
    ];
    check(Op::SliceUpdate, &inputs, ints(&[2, 3], &[0, 1, 2, -1, 4, -2]));
}

#[test]
fn joins_and_cuts() {
    let (x, y) = (counting(&[2, 1]), ints(&[2, 2], &[7, 8, 9, 10]));
    let axis = ("axis", ints(&[], &[-1]));
    let values = [many("values", &[x, y])];
    let joined = ints(&[2, 3], &[0, 7, 8, 1, 9, 10]);
    let fixed = std::slice::from_ref(&axis);
    assert_eq!(apply_many(Op::Concat, &values, fixed, 1).unwrap(), std::slice::from_ref(&joined));
    let sizes = [("x", joined), ("split_sizes", vector(&[1, 2])), axis.clone()];
    let parts = apply_many(Op::Split, &[], &sizes, 2).unwrap();
    assert_eq!(parts, [counting(&[2, 1]), ints(&[2, 2], &[7, 8, 9, 10])]);

    let scalars = [many("values", &[ints(&[], &[4]), ints(&[], &[5])])];
    let axis = [("axis", ints(&[], &[0]))];
    assert_eq!(apply_many(Op::Concat, &scalars, &axis, 1).unwrap(), [ints(&[2], &[4, 5])]);
    let pairs = [many("values", &[ints(&[2], &[1, 2]), ints(&[2], &[3, 4])])];
    let turns = [("axis", ints(&[], &[0])), ("interleave", bools(&[], &[true]))];
    let expected = ints(&[4], &[1, 3, 2, 4]);
    assert_eq!(apply_many(Op::Concat, &pairs, &turns, 1).unwrap(), [expected]);
}

#[test]
fn tiles() {
    let inputs = [("x", counting(&[1, 2])), ("reps", vector(&[2, 2]))];
    check(Op::Tile, &inputs, ints(&[2, 4], &[0, 1, 0, 1, 0, 1, 0, 1]));
}

#[test]
fn pads() {
    let with = |mode, expected: &[f64]| {
        let inputs = [
            ("x", floats(&[1, 3], &[1.0, 2.0, 3.0])),
            ("pad", vector(&[1, 2])),
            ("mode", string(mode)),
            ("constant_val", floats(&[], &[9.0])),
        ];
        check(Op::Pad, &inputs, floats(&[1, 6], expected));
    };
    with("constant", &[9.0, 1.0, 2.0, 3.0, 9.0, 9.0]);
    with("reflect", &[2.0, 1.0, 2.0, 3.0, 2.0, 1.0]);
    with("replicate", &[1.0, 1.0, 2.0, 3.0, 3.0, 3.0]);
    let zeros = [("x", ints(&[1], &[5])), ("pad", vector(&[1, 0]))];
    check(Op::Pad, &zeros, ints(&[2], &[0, 5]));
}
