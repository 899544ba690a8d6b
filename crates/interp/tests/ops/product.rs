use crate::common::{bools, check, floats, ints};
use mil::Op;

#[test]
fn linear_layers() {
    let inputs = [
        ("x", floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0])),
        ("weight", floats(&[3, 2], &[1.0, 0.0, 0.0, 1.0, 2.0, -1.0])),
        ("bias", floats(&[3], &[10.0, 20.0, 30.0])),
    ];
    check(Op::Linear, &inputs[..2], floats(&[2, 3], &[1.0, 2.0, 0.0, 3.0, 4.0, 2.0]));
    let expected = floats(&[2, 3], &[11.0, 22.0, 30.0, 13.0, 24.0, 32.0]);
    check(Op::Linear, &inputs, expected);
}

#[test]
fn products_with_every_transposition() {
    // [1 2 3; 4 5 6] times [1 0; 2 1; 0 3].
    let x = floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let xt = floats(&[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    let y = floats(&[3, 2], &[1.0, 0.0, 2.0, 1.0, 0.0, 3.0]);
    let yt = floats(&[2, 3], &[1.0, 2.0, 0.0, 0.0, 1.0, 3.0]);
    let expected = floats(&[2, 2], &[5.0, 11.0, 14.0, 23.0]);
    for (x, flip_x) in [(&x, false), (&xt, true)] {
        for (y, flip_y) in [(&y, false), (&yt, true)] {
            let inputs = [
                ("x", x.clone()),
                ("y", y.clone()),
                ("transpose_x", bools(&[], &[flip_x])),
                ("transpose_y", bools(&[], &[flip_y])),
            ];
            check(Op::Matmul, &inputs, expected.clone());
        }
    }
}

#[test]
fn leading_axes_broadcast_and_integers_are_exact() {
    let x = ints(&[2, 1, 1, 2], &[1, 2, 3, 4]);
    let y = ints(&[2, 2, 1], &[1, 1, 10, 100]);
    let expected = ints(&[2, 2, 1, 1], &[3, 210, 7, 430]);
    check(Op::Matmul, &[("x", x), ("y", y)], expected);
    let none = floats(&[2, 0], &[]);
    let inputs = [("x", none), ("y", floats(&[0, 1], &[]))];
    check(Op::Matmul, &inputs, floats(&[2, 1], &[0.0, 0.0]));
}
