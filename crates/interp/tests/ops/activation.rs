use crate::common::{Named, bools, check, check_near, dtype, floats, ints, run};
use mil::{DataType, Op};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_PI_2, FRAC_PI_6, LN_2};

#[test]
fn functions_of_one_number() {
    let x = floats(&[4], &[-0.5, 0.0, 0.25, 0.75]);
    let of = |op, expected: &[f64]| check_near(op, &[("x", x.clone())], floats(&[4], expected));
    of(Op::Acos, &[2.094_395_102_4, FRAC_PI_2, 1.318_116_071_7, 0.722_734_247_8]);
    of(Op::Asin, &[-FRAC_PI_6, 0.0, 0.252_680_255_1, 0.848_062_079_0]);
    of(Op::Atan, &[-0.463_647_609_0, 0.0, 0.244_978_663_1, 0.643_501_108_8]);
    of(Op::Atanh, &[-0.549_306_144_3, 0.0, 0.255_412_811_9, 0.972_955_074_5]);
    of(Op::Tan, &[-0.546_302_489_8, 0.0, 0.255_341_921_2, 0.931_596_459_9]);
    of(Op::Sinh, &[-0.521_095_305_5, 0.0, 0.252_612_316_8, 0.822_316_731_9]);
    of(Op::Cosh, &[1.127_625_965_2, 1.0, 1.031_413_099_9, 1.294_683_284_7]);
    of(Op::Exp2, &[FRAC_1_SQRT_2, 1.0, 1.189_207_115_0, 1.681_792_830_5]);
    of(Op::Softplus, &[0.474_076_984_2, LN_2, 0.825_939_419_6, 1.136_871_006_1]);
    of(Op::Softsign, &[-1.0 / 3.0, 0.0, 0.2, 3.0 / 7.0]);
    let wide = floats(&[5], &[-7.5, -0.5, 0.5, 6.5, 7.0]);
    check(Op::Ceil, &[("x", wide.clone())], floats(&[5], &[-7.0, 0.0, 1.0, 7.0, 7.0]));
    // Halves go to the even neighbor.
    check(Op::Round, &[("x", wide.clone())], floats(&[5], &[-8.0, 0.0, 0.0, 6.0, 7.0]));
    check(Op::Round, &[("x", floats(&[2], &[1.5, 2.5]))], floats(&[2], &[2.0, 2.0]));
    check(Op::Relu6, &[("x", wide)], floats(&[5], &[0.0, 0.0, 0.5, 6.0, 6.0]));
}

#[test]
fn softplus_of_large_numbers_is_finite() {
    let x = floats(&[2], &[1000.0, -1000.0]);
    check(Op::Softplus, &[("x", x)], floats(&[2], &[1000.0, 0.0]));
}

#[test]
fn activations_with_numbers() {
    let x = floats(&[5], &[-2.0, -0.5, 0.0, 0.5, 3.0]);
    let of = |op, numbers: &[(&'static str, f64)], expected: &[f64]| {
        let mut inputs: Vec<Named> = vec![("x", x.clone())];
        inputs.extend(numbers.iter().map(|&(name, v)| (name, floats(&[], &[v]))));
        check_near(op, &inputs, floats(&[5], expected));
    };
    let (e2, e05) = (1.0 - (-2f64).exp(), 1.0 - (-0.5f64).exp());
    of(Op::Elu, &[("alpha", 2.0)], &[-2.0 * e2, -2.0 * e05, 0.0, 0.5, 3.0]);
    of(Op::LeakyRelu, &[("alpha", 0.25)], &[-0.5, -0.125, 0.0, 0.5, 3.0]);
    of(Op::ClampedRelu, &[("alpha", 0.5), ("beta", 1.0)], &[-1.0, -0.25, 0.0, 0.5, 1.0]);
    // An upper bound below 0 holds for negative numbers too.
    of(Op::ClampedRelu, &[("alpha", 0.5), ("beta", -0.5)], &[-1.0, -0.5, -0.5, -0.5, -0.5]);
    of(Op::LinearActivation, &[("alpha", 2.0), ("beta", 0.5)], &[-3.5, -0.5, 0.5, 1.5, 6.5]);
    let tanh = |v: f64| 2.0 * (0.5 * v).tanh();
    let expected = [-2.0, -0.5, 0.0, 0.5, 3.0].map(tanh);
    of(Op::ScaledTanh, &[("alpha", 2.0), ("beta", 0.5)], &expected);
    of(Op::SigmoidHard, &[("alpha", 0.4), ("beta", 0.5)], &[0.0, 0.3, 0.5, 0.7, 1.0]);
    of(Op::ThresholdedRelu, &[("alpha", 0.5)], &[0.0, 0.0, 0.0, 0.5, 3.0]);
    of(Op::Threshold, &[("alpha", 0.25)], &[0.25, 0.25, 0.25, 0.5, 3.0]);
}

#[test]
fn integers_and_halves() {
    let x = ints(&[3], &[-2, 0, 5]);
    check(Op::Exp2, &[("x", x.clone())], ints(&[3], &[0, 1, 32]));
    check(Op::Exp2, &[("x", ints(&[2], &[31, 70]))], ints(&[2], &[-(1 << 31), 0]));
    check(Op::Threshold, &[("x", x), ("alpha", ints(&[], &[1]))], ints(&[3], &[1, 1, 5]));
    let half = |v: &[f64]| dtype(DataType::Fp16, floats(&[v.len()], v));
    // 2¹⁶ is beyond fp16, and 0.1 is not a half: the coefficient is rounded before, the result once.
    check(Op::Exp2, &[("x", half(&[16.0, -24.0]))], half(&[f64::INFINITY, 2f64.powi(-24)]));
    let alpha = dtype(DataType::Fp16, floats(&[], &[0.1]));
    let expected = half(&[-3.0 * alpha.to_f64s()[0]]);
    check(Op::LeakyRelu, &[("x", half(&[-3.0])), ("alpha", alpha)], expected);
}

#[test]
fn numbers_for_each_channel() {
    let x = floats(&[1, 2, 2], &[-1.0, 2.0, -3.0, 4.0]);
    let alpha = ("alpha", floats(&[2], &[0.5, 0.1]));
    let prelu = [("x", x.clone()), alpha.clone()];
    check_near(Op::Prelu, &prelu, floats(&[1, 2, 2], &[-0.5, 2.0, -0.3, 4.0]));
    let beta = ("beta", floats(&[2], &[1.0, -2.0]));
    let softplus = |a: f64, v: f64| a * v.exp().ln_1p();
    let expected =
        [softplus(0.5, -1.0), softplus(0.5, 2.0), softplus(0.1, 6.0), softplus(0.1, -8.0)];
    check_near(
        Op::SoftplusParametric,
        &[("x", x.clone()), alpha, beta],
        floats(&[1, 2, 2], &expected),
    );
    let wrong = [("x", x), ("alpha", floats(&[3], &[0.0; 3]))];
    let error = run(Op::Prelu, &wrong).unwrap_err().to_string();
    assert_eq!(error, "prelu: `alpha` is tensor<fp32, [3]>, x has 2 channels");
    let wrong = [("x", floats(&[2], &[0.0; 2])), ("alpha", floats(&[2], &[0.0; 2]))];
    let error = run(Op::Prelu, &wrong).unwrap_err().to_string();
    assert_eq!(error, "prelu: x has rank 1, and so no channels");
}

#[test]
fn nan_stays() {
    for op in [
        Op::Elu,
        Op::LeakyRelu,
        Op::ClampedRelu,
        Op::LinearActivation,
        Op::ScaledTanh,
        Op::SigmoidHard,
        Op::Softplus,
        Op::Softsign,
        Op::Threshold,
        Op::ThresholdedRelu,
        Op::Relu6,
        Op::Round,
        Op::Ceil,
        Op::Acos,
        Op::Tan,
        Op::Exp2,
    ] {
        let mut inputs = vec![("x", floats(&[1], &[f64::NAN]))];
        for name in ["alpha", "beta"] {
            if op.spec().param(name).is_some() {
                inputs.push((name, floats(&[], &[0.5])));
            }
        }
        assert!(run(op, &inputs).unwrap()[0].to_f64s()[0].is_nan(), "{}", op.name());
    }
}

#[test]
fn exclusive_or() {
    let x = bools(&[4], &[false, false, true, true]);
    let y = bools(&[4], &[false, true, false, true]);
    let expected = bools(&[4], &[false, true, true, false]);
    check(Op::LogicalXor, &[("x", x.clone()), ("y", y)], expected);
    let spread = [("x", x), ("y", bools(&[1], &[true]))];
    check(Op::LogicalXor, &spread, bools(&[4], &[true, true, false, false]));
}
