//! The engine's arithmetic, quirk by quirk: what is on by default, and what each does.

use crate::common::{Values, m4, run, source, target, with};
use anemone_ane::target::{Chip, Route, Target};
use anemone_ane::{EmulatorOptions, Engine, Numerics, Quirk, Source};
use mil::DataType::Fp16;
use mil::{FunctionBuilder, Op, OpError, Opset, Type, ValueId};
use std::collections::BTreeMap;

/// A program on one value `x` of `[1, 64, 1, 128]`.
fn program(write: impl Fn(&mut FunctionBuilder, ValueId) -> Result<ValueId, OpError>) -> Source {
    let mut b = FunctionBuilder::new("main", Opset::Ios18);
    let x = b.input("x", Type::tensor(Fp16, &[1, 64, 1, 128]));
    let y = write(&mut b, x).expect("the program is valid");
    b.rename(y, "y");
    source(b.finish(&[y]), BTreeMap::new())
}

/// The first row of the result, where the first row of `x` begins with these values and all else
/// is zero.
fn row(target: Target, quirks: &[(Quirk, bool)], source: &Source, values: &[f64]) -> Vec<f64> {
    let engine = with(EmulatorOptions {
        numerics: Numerics::Modelled,
        quirks: quirks.iter().copied().collect(),
        ..EmulatorOptions::new(target)
    });
    let mut x = values.to_vec();
    x.resize(64 * 128, 0.0);
    let found = run(&engine, source, &Values::from([("x".to_owned(), x)]));
    found.expect("the program runs").remove("y").expect("there is a y")
}

fn m(chip: Chip) -> Target {
    target(chip, Route::InMemory)
}

/// x·1, summed along each row.
fn row_sums() -> Source {
    program(|b, x| {
        let flat = b.reshape(x, &[1, 1, 64, 128])?;
        let ones = mil::Tensor::from_f64s(Fp16, &[1, 1, 128, 32], &[1.0; 128 * 32]);
        let ones = b.constant("ones", ones.expect("the count"));
        b.matmul(flat, ones, (false, false))
    })
}

#[test]
fn partial_sums_end_at_32768() {
    let sum = |target, quirks: &[(Quirk, bool)], values: &[f64]| {
        row(target, quirks, &row_sums(), values)[0]
    };
    let (fits, too_large) = ([16384.0, 16368.0], [16384.0, 16384.0]);
    let returns = [30000.0, 30000.0, -40000.0];
    for chip in [Chip::M1, Chip::M4] {
        assert_eq!(sum(m(chip), &[], &fits), 32752.0);
        assert_eq!(sum(m(chip), &[], &too_large), f64::INFINITY);
        assert_eq!(sum(m(chip), &[], &too_large.map(|v| -v)), f64::NEG_INFINITY);
        // The whole sum would fit.
        assert_eq!(sum(m(chip), &[], &returns), f64::INFINITY);
        assert_eq!(sum(m(chip), &[(Quirk::AccumulatorInfinity, false)], &returns), 20000.0);
    }
    assert_eq!(sum(m(Chip::M5), &[], &returns), 20000.0);
    assert_eq!(sum(m(Chip::M5), &[(Quirk::AccumulatorInfinity, true)], &returns), f64::INFINITY);
    assert_eq!(sum(m(Chip::M3), &[], &returns), 20000.0);
    assert_eq!(sum(m(Chip::M3), &[(Quirk::AccumulatorZero, true)], &returns), 0.0);

    let reduction = program(|b, x| {
        let sum = b.reduce(Op::ReduceSum, x, &[3], true)?;
        b.add(x, sum)
    });
    assert_eq!(row(m4(), &[], &reduction, &returns)[5], f64::INFINITY);
    assert_eq!(row(m(Chip::M5), &[], &reduction, &returns)[5], 20000.0);
}

#[test]
fn small_products_count_as_zero_in_sums() {
    let tiny = 2f64.powi(-15);
    let sum = |target, quirks: &[(Quirk, bool)]| {
        row(target, quirks, &row_sums(), &[tiny, tiny, 2.0 * tiny])[0]
    };
    assert_eq!(sum(m(Chip::M1), &[]), 2.0 * tiny);
    for chip in [Chip::M3, Chip::M4, Chip::M5] {
        assert_eq!(sum(m(chip), &[]), 4.0 * tiny);
    }
    assert_eq!(sum(m(Chip::M4), &[(Quirk::FlushedProducts, true)]), 2.0 * tiny);
}

#[test]
fn nan_goes_in_as_infinity_and_never_comes_out() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let relu = program(|b, x| b.unary(Op::Relu, x));
    let difference = program(|b, x| b.sub(x, x));
    let product = program(|b, x| {
        let zero = b.float(Fp16, 0.0);
        b.mul(x, zero)
    });
    let root = program(|b, x| b.unary(Op::Sqrt, x));
    for chip in [Chip::M1, Chip::M5] {
        let first = |source, value| row(m(chip), &[], source, &[value])[0];
        assert_eq!(first(&relu, nan), inf);
        assert_eq!(first(&difference, inf), 0.0);
        assert_eq!(first(&difference, nan), 0.0);
        assert_eq!(first(&product, inf), 0.0);
        assert_eq!(first(&root, -1.0), 0.0);
        assert_eq!(first(&root, 9.0), 3.0);
        // In a product of matrices as well: inf · 1 − inf · 1.
        assert_eq!(row(m(chip), &[], &row_sums(), &[inf, -inf, 7.0])[0], 7.0);
    }
    let first = |source, value| row(m4(), &[], source, &[value])[0];
    assert!(first(&relu, nan).is_nan() && first(&difference, inf).is_nan());
    assert!(first(&root, -1.0).is_nan());
    let off = [(Quirk::NanInput, false), (Quirk::NanResult, false)];
    assert!(row(m(Chip::M1), &off, &relu, &[nan])[0].is_nan());
}

#[test]
fn log_of_zero_is_a_number() {
    let log = program(|b, x| {
        let epsilon = b.float(Fp16, 0.0);
        b.op(Op::Log, "log", [("x", x.into()), ("epsilon", epsilon.into())])
    });
    let found = row(m(Chip::M5), &[], &log, &[0.0, 1.0]);
    assert_eq!(found[..3], [-45440.0, 0.0, -45440.0]);
    assert_eq!(row(m4(), &[], &log, &[0.0])[0], f64::NEG_INFINITY);
}

#[test]
fn exp_ends_at_11_094() {
    let exp = program(|b, x| b.unary(Op::Exp, x));
    // Neighbours in fp16.
    let around = [11.0859375, 11.09375, 11.1015625];
    let found = row(m(Chip::M1), &[], &exp, &around);
    assert_eq!(found[1..3], [65504.0, f64::INFINITY]);
    assert!(found[0] < 65504.0);
    let plain = row(m(Chip::M1), &[(Quirk::ExpRange, false)], &exp, &around);
    assert_eq!(plain[1..3], [f64::INFINITY; 2]);
    assert_eq!(plain[0], found[0]);
}

#[test]
fn slices_from_within_a_row_end_at_4094() {
    let slice = |begin: i64| {
        program(move |b, x| {
            let (begin, size) = (b.ints(&[0, 0, 0, begin]), b.ints(&[1, 64, 1, 32]));
            let arguments = [("x", x.into()), ("begin", begin.into()), ("size", size.into())];
            let part = b.op(Op::SliceBySize, "part", arguments)?;
            b.unary(Op::Relu, part)
        })
    };
    let values: Vec<f64> = (0..64).map(|i| 4092.0 + 2.0 * f64::from(i % 4)).collect();
    let plain = [4092.0, 4094.0, 4096.0, 4098.0];
    let (begin, within) = (slice(0), slice(32));
    for chip in [Chip::M1, Chip::M2] {
        assert_eq!(row(m(chip), &[], &begin, &values)[..2], plain[..2]);
        // 4098 is no fp16 number.
        assert_eq!(row(m(chip), &[], &begin, &values)[2], 4096.0);
        let found = row(m(chip), &[], &within, &values);
        assert_eq!(found[..4], [4092.0, 4094.0, f64::INFINITY, f64::INFINITY]);
    }
    assert_eq!(row(m(Chip::M3), &[], &within, &values)[2], 4096.0);
}

#[test]
fn ties_go_up_if_told_so() {
    // 2048 and 2050 are neighbours.
    let half = program(|b, x| {
        let one = b.float(Fp16, 1.0);
        b.add(x, one)
    });
    assert_eq!(row(m4(), &[], &half, &[2048.0, 2050.0, -2050.0])[..3], [2048.0, 2052.0, -2048.0]);
    let up = row(m4(), &[(Quirk::TiesUp, true)], &half, &[2048.0, 2050.0, -2050.0]);
    assert_eq!(up[..3], [2050.0, 2052.0, -2048.0]);
}

#[test]
fn an_emulator_says_which_quirks_it_has() {
    let describe = |numerics, quirks: &[(Quirk, bool)]| {
        let quirks = quirks.iter().copied().collect();
        with(EmulatorOptions { numerics, quirks, ..EmulatorOptions::new(m4()) }).describe()
    };
    assert!(describe(Numerics::Modelled, &[]).ends_with("with accumulator-infinity"));
    let off = [(Quirk::AccumulatorInfinity, false)];
    assert!(describe(Numerics::Modelled, &off).ends_with("operation by operation"));
    assert!(describe(Numerics::Fast, &[]).contains("thread"));
}
