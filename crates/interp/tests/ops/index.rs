use crate::common::{bools, check, floats, ints, run, string};
use anemone_interp::Array;
use mil::Op;

fn gather(x: Array, indices: Array, axis: i64, batch: i64, expected: Array) {
    let (axis, batch) = (ints(&[], &[axis]), ints(&[], &[batch]));
    let inputs = [("x", x), ("indices", indices), ("axis", axis), ("batch_dims", batch)];
    check(Op::Gather, &inputs, expected);
}

#[test]
fn gathers() {
    let x = || ints(&[2, 3], &[0, 1, 2, 3, 4, 5]);
    gather(x(), ints(&[], &[1]), 0, 0, ints(&[3], &[3, 4, 5]));
    gather(x(), ints(&[2, 1], &[2, 0]), 1, 0, ints(&[2, 2, 1], &[2, 0, 5, 3]));
    gather(x(), ints(&[2, 1], &[2, 0]), -1, 1, ints(&[2, 1], &[2, 3]));
    let along = [("x", x()), ("indices", ints(&[1, 3], &[1, 0, 1])), ("axis", ints(&[], &[0]))];
    check(Op::GatherAlongAxis, &along, ints(&[1, 3], &[3, 1, 5]));
}

#[test]
fn indices_wrap_then_clamp_or_fail() {
    let x = || ints(&[3], &[10, 11, 12]);
    let far = || ints(&[4], &[-1, -3, 99, -99]);
    gather(x(), far(), 0, 0, ints(&[4], &[12, 10, 12, 10]));
    let valid = ("validate_indices", bools(&[], &[true]));
    for (index, ok) in [(99, false), (-1, false), (3, false), (2, true)] {
        let one = ("indices", ints(&[1], &[index]));
        let found = run(Op::Gather, &[("x", x()), one, valid.clone()]);
        let message = format!("gather: index {index} is outside an axis of size 3");
        assert_eq!(
            found.map(|_| ()).map_err(|e| e.to_string()),
            if ok { Ok(()) } else { Err(message) }
        );
    }
    let nothing = [("x", ints(&[0], &[])), ("indices", ints(&[1], &[0]))];
    assert!(run(Op::Gather, &nothing).is_err());
}

#[test]
fn scatters_combine_in_order() {
    let with = |mode, expected: &[f64]| {
        let inputs = [
            ("data", floats(&[3], &[1.0, 2.0, 3.0])),
            ("indices", ints(&[3], &[0, -1, 0])),
            ("updates", floats(&[3], &[4.0, 5.0, 6.0])),
            ("mode", string(mode)),
        ];
        check(Op::Scatter, &inputs, floats(&[3], expected));
        check(Op::ScatterAlongAxis, &inputs, floats(&[3], expected));
    };
    with("update", &[6.0, 2.0, 5.0]);
    with("add", &[11.0, 2.0, 8.0]);
    with("sub", &[-9.0, 2.0, -2.0]);
    with("mul", &[24.0, 2.0, 15.0]);
    with("div", &[1.0 / 24.0, 2.0, 0.6]);
    with("max", &[6.0, 2.0, 5.0]);
    with("min", &[1.0, 2.0, 3.0]);
}

#[test]
fn scatters_along_an_axis() {
    let axis = ("axis", ints(&[], &[1]));
    let rows = [
        ("data", ints(&[2, 3], &[0; 6])),
        ("indices", ints(&[1], &[2])),
        ("updates", ints(&[2, 1], &[7, 8])),
        axis.clone(),
    ];
    check(Op::Scatter, &rows, ints(&[2, 3], &[0, 0, 7, 0, 0, 8]));
    let along = [
        ("data", ints(&[2, 3], &[0; 6])),
        ("indices", ints(&[2, 2], &[0, 1, 2, 2])),
        ("updates", ints(&[2, 2], &[1, 2, 3, 4])),
        axis,
    ];
    check(Op::ScatterAlongAxis, &along, ints(&[2, 3], &[1, 2, 0, 0, 0, 7]));
}

#[test]
fn nan_wins_in_a_scatter() {
    for mode in ["max", "min"] {
        for (data, update) in [(f64::NAN, 1.0), (1.0, f64::NAN)] {
            let inputs = [
                ("data", floats(&[1], &[data])),
                ("indices", ints(&[1], &[0])),
                ("updates", floats(&[1], &[update])),
                ("mode", string(mode)),
            ];
            assert!(run(Op::Scatter, &inputs).unwrap()[0].to_f64s()[0].is_nan(), "{mode}");
        }
    }
}
