use crate::common::{Named, bools, check, check_near, dtype, floats, ints, run, string, vector};
use mil::{DataType, Op};

#[test]
fn reductions_over_axes() {
    let x = floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 9.0]);
    let over = |op, axes: &[i64], dims: &[usize], expected: &[f64]| {
        check_near(op, &[("x", x.clone()), ("axes", vector(axes))], floats(dims, expected));
    };
    over(Op::ReduceSum, &[0], &[3], &[5.0, 7.0, 12.0]);
    over(Op::ReduceSum, &[-1], &[2], &[6.0, 18.0]);
    over(Op::ReduceMean, &[1], &[2], &[2.0, 6.0]);
    over(Op::ReduceMax, &[0, 1], &[], &[9.0]);
    over(Op::ReduceMin, &[0], &[3], &[1.0, 2.0, 3.0]);
    over(Op::ReduceLogSumExp, &[0], &[3], &[4.048_587_351_6, 5.048_587_351_6, 9.002_475_685_1]);
    let keep = [("x", x.clone()), ("keep_dims", bools(&[], &[true]))];
    check(Op::ReduceSum, &keep, floats(&[1, 1], &[24.0]));
    check(Op::ReduceSum, &[("x", x)], floats(&[], &[24.0]));
}

#[test]
fn reductions_of_integers_and_of_nothing() {
    let x = ints(&[3], &[-1, -2, -4]);
    check(Op::ReduceMean, &[("x", x.clone())], ints(&[], &[-2]));
    check(Op::ReduceMax, &[("x", x)], ints(&[], &[-1]));
    let none = ints(&[0], &[]);
    check(Op::ReduceMean, &[("x", none.clone())], ints(&[], &[0]));
    check(Op::ReduceMax, &[("x", none)], ints(&[], &[0]));
    check(Op::ReduceMin, &[("x", floats(&[0], &[]))], floats(&[], &[f64::INFINITY]));
}

#[test]
fn log_sum_exp_of_extremes() {
    let (low, high) = (f64::NEG_INFINITY, f64::INFINITY);
    for (x, expected) in [
        (vec![], low),
        (vec![low, low], low),
        (vec![high, 0.0], high),
        (vec![1000.0, 1000.0], 1000.0 + 2f64.ln()),
    ] {
        let inputs = [("x", floats(&[x.len()], &x))];
        check(Op::ReduceLogSumExp, &inputs, floats(&[], &[expected]));
    }
}

#[test]
fn running_sums() {
    let x = floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let of = |axis: i64, exclusive, reverse, expected: &[f64]| {
        let inputs = [
            ("x", x.clone()),
            ("axis", ints(&[], &[axis])),
            ("exclusive", bools(&[], &[exclusive])),
            ("reverse", bools(&[], &[reverse])),
        ];
        check(Op::Cumsum, &inputs, floats(&[2, 3], expected));
    };
    of(1, false, false, &[1.0, 3.0, 6.0, 4.0, 9.0, 15.0]);
    of(-1, true, false, &[0.0, 1.0, 3.0, 0.0, 4.0, 9.0]);
    of(1, false, true, &[6.0, 5.0, 3.0, 15.0, 11.0, 6.0]);
    of(0, true, true, &[4.0, 5.0, 6.0, 0.0, 0.0, 0.0]);
}

#[test]
fn norms_products_and_logarithms_over_axes() {
    let x = floats(&[2, 3], &[1.0, -2.0, 3.0, 4.0, 5.0, -9.0]);
    let over = |op, axes: &[i64], dims: &[usize], expected: &[f64]| {
        check_near(op, &[("x", x.clone()), ("axes", vector(axes))], floats(dims, expected));
    };
    over(Op::ReduceL1Norm, &[0], &[3], &[5.0, 7.0, 12.0]);
    over(Op::ReduceL2Norm, &[1], &[2], &[14f64.sqrt(), 122f64.sqrt()]);
    over(Op::ReduceSumSquare, &[-1], &[2], &[14.0, 122.0]);
    over(Op::ReduceProd, &[1], &[2], &[-6.0, -180.0]);
    over(Op::ReduceLogSum, &[0, 1], &[], &[2f64.ln()]);
    let keep = [("x", x.clone()), ("keep_dims", bools(&[], &[true]))];
    check(Op::ReduceProd, &keep, floats(&[1, 1], &[1080.0]));
    check(Op::ReduceL1Norm, &[("x", x)], floats(&[], &[24.0]));
}

#[test]
fn further_reductions_of_integers_and_of_nothing() {
    let x = ints(&[3], &[-1, 2, -4]);
    let of = |op, expected: i64| check(op, &[("x", x.clone())], ints(&[], &[expected]));
    of(Op::ReduceL1Norm, 7);
    of(Op::ReduceSumSquare, 21);
    of(Op::ReduceProd, 8);
    // √21 is 4.58.
    of(Op::ReduceL2Norm, 4);
    check(Op::ReduceLogSum, &[("x", ints(&[2], &[20, 5]))], ints(&[], &[3]));
    check(Op::ReduceLogSumExp, &[("x", ints(&[2], &[7, 7]))], ints(&[], &[7]));
    let (none, nothing) = (ints(&[0], &[]), floats(&[0], &[]));
    check(Op::ReduceProd, &[("x", none)], ints(&[], &[1]));
    check(Op::ReduceProd, &[("x", nothing.clone())], floats(&[], &[1.0]));
    check(Op::ReduceL2Norm, &[("x", nothing.clone())], floats(&[], &[0.0]));
    check(Op::ReduceLogSum, &[("x", nothing)], floats(&[], &[f64::NEG_INFINITY]));
}

#[test]
fn places_of_extremes() {
    let x = floats(&[2, 3], &[1.0, 3.0, 3.0, -2.0, -5.0, -5.0]);
    // Of equals the first; the last axis unless another is given.
    check(Op::ReduceArgmax, &[("x", x.clone())], ints(&[2], &[1, 0]));
    check(Op::ReduceArgmin, &[("x", x.clone())], ints(&[2], &[0, 1]));
    let first = [
        ("x", x.clone()),
        ("axis", ints(&[], &[0])),
        ("keep_dims", bools(&[], &[true])),
        ("output_dtype", string("uint16")),
    ];
    check(Op::ReduceArgmin, &first, dtype(DataType::Uint16, ints(&[1, 3], &[1, 1, 1])));
    check(Op::ReduceArgmax, &[("x", ints(&[3], &[4, 9, 9]))], ints(&[], &[1]));
    check(Op::ReduceArgmax, &[("x", floats(&[3], &[1.0, f64::NAN, 2.0]))], ints(&[], &[1]));
    let error = |inputs: &[Named]| run(Op::ReduceArgmax, inputs).unwrap_err().to_string();
    let scalar = [("x", floats(&[], &[1.0]))];
    assert_eq!(error(&scalar), "reduce_argmax: `axis` = -1 is out of range for rank 0");
    let empty = [("x", floats(&[2, 0], &[]))];
    assert_eq!(error(&empty), "reduce_argmax: axis 1 of x has no elements");
    check(Op::ReduceArgmax, &[("x", floats(&[0, 3], &[]))], ints(&[0], &[]));
    let wrong = [("x", x), ("output_dtype", string("int8"))];
    assert_eq!(error(&wrong), "reduce_argmax: `output_dtype` is int8, not int32 or uint16");
}
