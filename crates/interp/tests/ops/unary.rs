use crate::common::{check, check_near, dtype, floats, ints, run, string};
use mil::{DataType, Op};

#[test]
fn functions() {
    let x = floats(&[3], &[-1.5, 0.0, 2.0]);
    let of = |op, expected: &[f64]| check_near(op, &[("x", x.clone())], floats(&[3], expected));
    of(Op::Abs, &[1.5, 0.0, 2.0]);
    of(Op::Sign, &[-1.0, 0.0, 1.0]);
    of(Op::Square, &[2.25, 0.0, 4.0]);
    of(Op::Floor, &[-2.0, 0.0, 2.0]);
    of(Op::Exp, &[0.223_130_160_148, 1.0, 7.389_056_098_931]);
    of(Op::Sin, &[-0.997_494_986_604, 0.0, 0.909_297_426_826]);
    of(Op::Cos, &[0.070_737_201_668, 1.0, -0.416_146_836_547]);
    of(Op::Erf, &[-0.966_105_146_475, 0.0, 0.995_322_265_019]);
    of(Op::Sigmoid, &[0.182_425_523_806, 0.5, 0.880_797_077_978]);
    of(Op::Silu, &[-0.273_638_285_709, 0.0, 1.761_594_155_956]);
    of(Op::Tanh, &[-0.905_148_253_645, 0.0, 0.964_027_580_076]);
    of(Op::Relu, &[0.0, 0.0, 2.0]);
    of(Op::Gelu, &[-0.100_210_802_8, 0.0, 1.954_499_736_104]);
    check(Op::Abs, &[("x", ints(&[2], &[-3, 4]))], ints(&[2], &[3, 4]));
    check(Op::Sign, &[("x", ints(&[2], &[-3, 0]))], ints(&[2], &[-1, 0]));
}

#[test]
fn functions_of_positive_numbers_add_their_epsilon() {
    let x = floats(&[2], &[0.25, 4.0]);
    check_near(Op::Sqrt, &[("x", x.clone())], floats(&[2], &[0.5, 2.0]));
    check_near(Op::Log, &[("x", x.clone())], floats(&[2], &[0.25f64.ln(), 4f64.ln()]));
    check_near(Op::Rsqrt, &[("x", x.clone())], floats(&[2], &[2.0, 0.5]));
    check_near(Op::Inverse, &[("x", x.clone())], floats(&[2], &[1.0 / 0.2501, 1.0 / 4.0001]));
    let own = [("x", x), ("epsilon", floats(&[], &[0.75]))];
    check_near(Op::Inverse, &own, floats(&[2], &[1.0, 1.0 / 4.75]));
}

#[test]
fn default_epsilons_are_rounded_to_the_element_type() {
    let zero = |t| [("x", dtype(t, floats(&[1], &[0.0])))];
    let value = |op, t| run(op, &zero(t)).unwrap()[0].to_f64s()[0];
    assert_eq!(value(Op::Log, DataType::Fp16), f64::NEG_INFINITY);
    assert!((value(Op::Log, DataType::Fp32) - f64::from(2f32.powi(-149)).ln()).abs() < 1e-5);
    assert_eq!(value(Op::Rsqrt, DataType::Fp16), f64::INFINITY);
    assert_eq!(value(Op::Rsqrt, DataType::Fp32), 1e6);
}

#[test]
fn gelu_has_three_modes() {
    let of = |mode, expected| {
        let inputs = [("x", floats(&[1], &[1.0])), ("mode", string(mode))];
        check_near(Op::Gelu, &inputs, floats(&[1], &[expected]));
    };
    of("EXACT", 0.841_344_746_069);
    of("TANH_APPROXIMATION", 0.841_191_990_608);
    of("SIGMOID_APPROXIMATION", 0.845_795_761_5);
}

#[test]
fn clip_keeps_nan() {
    let inputs = [
        ("x", floats(&[4], &[-2.0, 0.5, 9.0, f64::NAN])),
        ("alpha", floats(&[], &[-1.0])),
        ("beta", floats(&[], &[1.0])),
    ];
    let out = run(Op::Clip, &inputs).unwrap()[0].to_f64s();
    assert_eq!(out[..3], [-1.0, 0.5, 1.0]);
    assert!(out[3].is_nan());
}
