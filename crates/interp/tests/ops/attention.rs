use crate::common::{bools, check_near, floats};
use mil::Op;

#[test]
fn attention_weighs_values() {
    // Scores ln 3 and 0 after the scale 1/√4.
    let query = floats(&[1, 1, 4], &[2.0 * 3f64.ln(), 0.0, 0.0, 0.0]);
    let key = floats(&[1, 2, 4], &[1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
    let value = floats(&[1, 2, 1], &[4.0, 8.0]);
    let base = [("query", query), ("key", key), ("value", value)];
    let op = Op::ScaledDotProductAttention;
    check_near(op, &base, floats(&[1, 1, 1], &[5.0]));
    let with = |mask, expected| {
        let mut inputs = base.to_vec();
        inputs.push(("attn_mask", mask));
        check_near(op, &inputs, floats(&[1, 1, 1], &[expected]));
    };
    with(bools(&[1, 2], &[false, true]), 8.0);
    with(floats(&[1, 2], &[0.0, 3f64.ln()]), 6.0);
}

#[test]
fn leading_axes_broadcast() {
    let inputs = [
        ("query", floats(&[2, 1, 1, 1], &[0.0, 0.0])),
        ("key", floats(&[1, 1, 2, 1], &[1.0, 2.0])),
        ("value", floats(&[1, 3, 2, 1], &[0.0, 2.0, 4.0, 6.0, 8.0, 10.0])),
    ];
    let expected = floats(&[2, 3, 1, 1], &[1.0, 5.0, 9.0, 1.0, 5.0, 9.0]);
    check_near(Op::ScaledDotProductAttention, &inputs, expected);
}
