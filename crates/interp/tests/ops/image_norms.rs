use crate::common::{Named, check_near, dtype, floats, ints, run};
use mil::{DataType, Op};

#[test]
fn batch_norm_of_any_rank() {
    let params = [
        ("mean", floats(&[2], &[1.0, 2.0])),
        ("variance", floats(&[2], &[3.0, 8.0])),
        ("gamma", floats(&[2], &[2.0, 3.0])),
        ("beta", floats(&[2], &[0.5, -0.5])),
        ("epsilon", floats(&[], &[1.0])),
    ];
    let mut inputs = params.to_vec();
    inputs.push(("x", floats(&[1, 2, 2], &[1.0, 3.0, 5.0, -1.0])));
    check_near(Op::BatchNorm, &inputs, floats(&[1, 2, 2], &[0.5, 2.5, 2.5, -3.5]));
    // Without gamma and beta, and with the default ε; a batch of vectors.
    let plain = [
        ("x", floats(&[2, 1], &[1.0, 2.0])),
        ("mean", floats(&[1], &[1.0])),
        ("variance", floats(&[1], &[0.0])),
    ];
    let (one, root) = (0.0, 1e-5f64.sqrt().recip());
    let out = run(Op::BatchNorm, &plain).unwrap()[0].to_f64s();
    assert!((out[0] - one).abs() < 1e-6 && (out[1] - root).abs() < 1e-2, "{out:?}");
    let error = |inputs: &[Named]| run(Op::BatchNorm, inputs).unwrap_err().to_string();
    let mut wrong = plain.to_vec();
    wrong[1].1 = floats(&[2], &[0.0; 2]);
    assert_eq!(error(&wrong), "batch_norm: `mean` is tensor<fp32, [2]>, x has 1 channels");
    assert_eq!(error(&plain[..2]), "batch_norm: parameter `variance` is missing");
}

#[test]
fn instance_norm_has_statistics_for_each_channel_of_each_image() {
    let x = floats(&[2, 1, 2], &[1.0, 3.0, 10.0, 20.0]);
    let inputs = [
        ("x", x),
        ("gamma", floats(&[1], &[2.0])),
        ("beta", floats(&[1], &[1.0])),
        ("epsilon", floats(&[], &[0.0])),
    ];
    check_near(Op::InstanceNorm, &inputs, floats(&[2, 1, 2], &[-1.0, 3.0, -1.0, 3.0]));
    let error = run(Op::InstanceNorm, &[("x", floats(&[2, 2], &[0.0; 4]))]).unwrap_err();
    assert!(error.to_string().contains("an image without pixels"), "{error}");
    assert!(run(Op::InstanceNorm, &[("x", floats(&[0, 2, 3], &[]))]).is_ok());
}

#[test]
fn l2_norm_sums_over_the_last_three_axes() {
    let values = [1.0, -7.0, 5.0, -6.0, -3.0, -5.0];
    let expected: Vec<f64> = values.iter().map(|v| v / 145f64.sqrt()).collect();
    let epsilon = ("epsilon", floats(&[], &[1e-10]));
    let one = [("x", floats(&[1, 3, 2], &values)), epsilon.clone()];
    check_near(Op::L2Norm, &one, floats(&[1, 3, 2], &expected));
    // Axes before the last three are a batch.
    let both: Vec<f64> = values.iter().chain(values.map(|v| v * 2.0).iter()).copied().collect();
    let twice: Vec<f64> = expected.iter().chain(&expected).copied().collect();
    let batch = [("x", floats(&[2, 1, 3, 2], &both)), epsilon];
    check_near(Op::L2Norm, &batch, floats(&[2, 1, 3, 2], &twice));
    // The default ε is inside the root.
    let zero = [("x", floats(&[1, 1, 1], &[1e-3]))];
    check_near(Op::L2Norm, &zero, floats(&[1, 1, 1], &[0.5f64.sqrt()]));
    let error = run(Op::L2Norm, &[("x", floats(&[2, 2], &[0.0; 4]))]).unwrap_err().to_string();
    assert_eq!(error, "l2_norm: x has rank 2; it must be 3 or more");
}

#[test]
fn local_response_norm_sums_over_neighboring_channels() {
    let x = floats(&[1, 4, 1], &[1.0, 2.0, 3.0, 4.0]);
    let of = |size: i64, sums: [f64; 4]| {
        let inputs = [
            ("x", x.clone()),
            ("size", ints(&[], &[size])),
            ("alpha", floats(&[], &[0.5])),
            ("k", floats(&[], &[2.0])),
        ];
        let expected: Vec<f64> = (0..4)
            .map(|i| (i + 1) as f64 / (2.0 + 0.5 / size as f64 * sums[i]).powf(0.75))
            .collect();
        check_near(Op::LocalResponseNorm, &inputs, floats(&[1, 4, 1], &expected));
    };
    of(1, [1.0, 4.0, 9.0, 16.0]);
    of(3, [5.0, 14.0, 29.0, 25.0]);
    // Of an even number the larger half is before.
    of(2, [1.0, 5.0, 13.0, 25.0]);
    of(i64::from(i32::MAX), [30.0; 4]);
    let error = run(Op::LocalResponseNorm, &[("x", x), ("size", ints(&[], &[0]))]);
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "local_response_norm: `size` is 0, it must be 1 or more");
}

#[test]
fn norms_of_halves_are_rounded_once() {
    // In fp16 the squares of 300 are infinite; only the result is rounded.
    let x = dtype(DataType::Fp16, floats(&[1, 1, 2], &[300.0, 400.0]));
    let out = run(Op::L2Norm, &[("x", x)]).unwrap()[0].to_f64s();
    let half = |v: f64| dtype(DataType::Fp16, floats(&[], &[v])).to_f64s()[0];
    assert_eq!(out, [half(0.6), half(0.8)]);
}
