use crate::common::{check_near, floats, ints, run, vector};
use mil::Op;

#[test]
fn softmax_along_an_axis() {
    let x = floats(&[2, 2], &[0.0, 3f64.ln(), 1000.0, f64::NEG_INFINITY]);
    check_near(Op::Softmax, &[("x", x)], floats(&[2, 2], &[0.25, 0.75, 1.0, 0.0]));
    let x = floats(&[2, 1], &[0.0, 0.0]);
    let inputs = [("x", x), ("axis", ints(&[], &[0]))];
    check_near(Op::Softmax, &inputs, floats(&[2, 1], &[0.5, 0.5]));
    let nothing = floats(&[2], &[f64::NEG_INFINITY; 2]);
    assert!(run(Op::Softmax, &[("x", nothing)]).unwrap()[0].to_f64s()[0].is_nan());
}

#[test]
fn layer_norm_of_any_axes() {
    let x = floats(&[2, 2], &[1.0, 3.0, 10.0, 20.0]);
    let last = [
        ("x", x.clone()),
        ("axes", vector(&[-1])),
        ("gamma", floats(&[2], &[2.0, 3.0])),
        ("beta", floats(&[2], &[0.5, -0.5])),
        ("epsilon", floats(&[], &[0.0])),
    ];
    check_near(Op::LayerNorm, &last, floats(&[2, 2], &[-1.5, 2.5, -1.5, 2.5]));
    let first = [("x", x), ("axes", vector(&[0])), ("epsilon", floats(&[], &[19.75]))];
    let (p, q) = (4.5 / 40f64.sqrt(), 8.5 / 92f64.sqrt());
    check_near(Op::LayerNorm, &first, floats(&[2, 2], &[-p, -q, p, q]));
}
