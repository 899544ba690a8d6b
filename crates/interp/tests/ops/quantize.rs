use crate::common::{check, dtype, floats, ints, string};
use mil::{DataType, Op};

#[test]
fn quantizing_rounds_half_to_even_and_clips() {
    let inputs = [
        ("input", floats(&[6], &[0.5, 1.5, 2.5, -0.5, 1e9, f64::NEG_INFINITY])),
        ("scale", floats(&[], &[1.0])),
        ("zero_point", dtype(DataType::Int8, ints(&[], &[1]))),
        ("output_dtype", string("int8")),
    ];
    let expected = dtype(DataType::Int8, ints(&[6], &[1, 3, 3, 1, 127, -128]));
    check(Op::Quantize, &inputs, expected);
}

#[test]
fn scales_per_channel() {
    let bytes = |dims: &[usize], v: &[i64]| dtype(DataType::Uint8, ints(dims, v));
    let common = [
        ("scale", floats(&[2], &[0.5, 2.0])),
        ("zero_point", bytes(&[2], &[0, 10])),
        ("axis", ints(&[], &[-2])),
    ];
    let mut forth = common.to_vec();
    forth.push(("input", floats(&[2, 2], &[1.0, 300.0, 4.0, -100.0])));
    forth.push(("output_dtype", string("uint8")));
    check(Op::Quantize, &forth, bytes(&[2, 2], &[2, 255, 12, 0]));
    let mut back = common.to_vec();
    back.push(("input", bytes(&[2, 2], &[2, 255, 12, 0])));
    let expected = floats(&[2, 2], &[1.0, 127.5, 4.0, -20.0]);
    check(Op::Dequantize, &back, expected.clone());
    let mut constant = common.to_vec();
    constant.push(("quantized_data", bytes(&[2, 2], &[2, 255, 12, 0])));
    check(Op::ConstexprAffineDequantize, &constant, expected);
}
