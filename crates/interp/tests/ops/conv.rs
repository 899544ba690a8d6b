use crate::common::{check, check_near, floats, ints, run, string, vector};
use mil::Op;

#[test]
fn one_axis_with_every_padding() {
    let x = floats(&[1, 1, 4], &[1.0, 2.0, 3.0, 4.0]);
    let weight = floats(&[1, 1, 2], &[1.0, 10.0]);
    let with = |pad_type, pad: &[i64], expected: &[f64]| {
        let inputs = [
            ("x", x.clone()),
            ("weight", weight.clone()),
            ("pad_type", string(pad_type)),
            ("pad", vector(pad)),
        ];
        check(Op::Conv, &inputs, floats(&[1, 1, expected.len()], expected));
    };
    with("valid", &[0, 0], &[21.0, 32.0, 43.0]);
    with("custom", &[2, 0], &[0.0, 10.0, 21.0, 32.0, 43.0]);
    // The odd element of padding is at the end, or with same_lower at the start.
    with("same", &[0, 0], &[21.0, 32.0, 43.0, 4.0]);
    with("same_lower", &[0, 0], &[10.0, 21.0, 32.0, 43.0]);
}

#[test]
fn strides_dilations_groups_and_bias() {
    let inputs = [
        ("x", floats(&[1, 2, 5], &[1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 1.0, 1.0, 1.0, 1.0])),
        ("weight", floats(&[2, 1, 2], &[1.0, 10.0, 1.0, 1.0])),
        ("bias", floats(&[2], &[0.5, -0.5])),
        ("strides", vector(&[2])),
        ("dilations", vector(&[2])),
        ("groups", ints(&[], &[2])),
    ];
    check(Op::Conv, &inputs, floats(&[1, 2, 2], &[31.5, 53.5, 1.5, 1.5]));
}

#[test]
fn a_convolution_of_one_element_is_a_linear_layer() {
    let x: Vec<f64> = (0..12).map(|v| f64::from(v) * 0.5 - 2.0).collect();
    let w: Vec<f64> = (0..15).map(|v| f64::from(v * v % 7) - 3.0).collect();
    // x is [1, 3, 2, 2] channel first, [4, 3] channel last.
    let last: Vec<f64> = (0..4).flat_map(|p| [x[p], x[4 + p], x[8 + p]]).collect();
    let conv = [("x", floats(&[1, 3, 2, 2], &x)), ("weight", floats(&[5, 3, 1, 1], &w))];
    let linear = [("x", floats(&[4, 3], &last)), ("weight", floats(&[5, 3], &w))];
    let conv = run(Op::Conv, &conv).unwrap()[0].to_f64s();
    let linear = run(Op::Linear, &linear).unwrap()[0].to_f64s();
    for p in 0..4 {
        for o in 0..5 {
            assert_eq!(conv[o * 4 + p], linear[p * 5 + o]);
        }
    }
}

#[test]
fn three_axes() {
    let x: Vec<f64> = (1..=8).map(f64::from).collect();
    let inputs =
        [("x", floats(&[1, 1, 2, 2, 2], &x)), ("weight", floats(&[1, 1, 2, 2, 2], &[1.0; 8]))];
    check(Op::Conv, &inputs, floats(&[1, 1, 1, 1, 1], &[36.0]));
    let one = floats(&[1, 1, 1, 1, 1], &[2.0]);
    let inputs = [("x", floats(&[1, 1, 2, 2, 2], &x)), ("weight", one)];
    let doubled: Vec<f64> = x.iter().map(|v| v * 2.0).collect();
    check_near(Op::ConvTranspose, &inputs, floats(&[1, 1, 2, 2, 2], &doubled));
}

#[test]
fn transposed_convolutions() {
    let x = floats(&[1, 1, 2], &[1.0, 2.0]);
    let weight = floats(&[1, 1, 3], &[1.0, 10.0, 100.0]);
    let stride = ("strides", vector(&[2]));
    let base = [("x", x), ("weight", weight), stride];
    check(Op::ConvTranspose, &base, floats(&[1, 1, 5], &[1.0, 10.0, 102.0, 20.0, 200.0]));
    let mut cut = base.to_vec();
    cut.extend([("pad_type", string("custom")), ("pad", vector(&[1, 1]))]);
    check(Op::ConvTranspose, &cut, floats(&[1, 1, 3], &[10.0, 102.0, 20.0]));
    // A longer result than the padding leaves is filled with what was cut, then zeros.
    cut.push(("output_shape", vector(&[1, 1, 5])));
    check(Op::ConvTranspose, &cut, floats(&[1, 1, 5], &[10.0, 102.0, 20.0, 200.0, 0.0]));
    let mut wrong = cut.clone();
    for (shape, message) in [
        (&[1, 2, 5][..], "`output_shape` has 2 channels, the weight gives 1"),
        (&[1, 1, -5], "`output_shape` holds -5"),
        (&[1, 5], "`output_shape` has 2 elements"),
    ] {
        *wrong.last_mut().unwrap() = ("output_shape", vector(shape));
        let found = run(Op::ConvTranspose, &wrong).unwrap_err().to_string();
        assert!(found.contains(message), "{found}");
    }
}

#[test]
fn transposed_convolutions_of_the_same_size() {
    // in·stride elements: of the five there are, one is cut, at the end unless the start is lower.
    let base = [
        ("x", floats(&[1, 1, 2], &[1.0, 2.0])),
        ("weight", floats(&[1, 1, 3], &[1.0, 10.0, 100.0])),
        ("strides", vector(&[2])),
    ];
    let of = |kind, expected: &[f64]| {
        let mut inputs = base.to_vec();
        inputs.push(("pad_type", string(kind)));
        check(Op::ConvTranspose, &inputs, floats(&[1, 1, expected.len()], expected));
    };
    of("same", &[1.0, 10.0, 102.0, 20.0]);
    of("same_lower", &[10.0, 102.0, 20.0, 200.0]);
}

#[test]
fn transposed_convolution_of_groups() {
    let inputs = [
        ("x", floats(&[1, 2, 1], &[3.0, 5.0])),
        ("weight", floats(&[2, 2, 1], &[1.0, 2.0, 3.0, 4.0])),
        ("groups", ints(&[], &[2])),
        ("bias", floats(&[4], &[0.0, 0.0, 0.0, 1.0])),
    ];
    check(Op::ConvTranspose, &inputs, floats(&[1, 4, 1], &[3.0, 6.0, 15.0, 21.0]));
}
