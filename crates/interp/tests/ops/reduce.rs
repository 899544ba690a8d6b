use crate::common::{bools, check, check_near, floats, ints, vector};
use mil::Op;

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
