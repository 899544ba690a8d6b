use crate::common::{bools, check, floats, ints, run};
use anemone_interp::Array;
use mil::{DataType, Op};

#[test]
fn arithmetic() {
    let x = floats(&[2, 1], &[1.0, -7.0]);
    let y = floats(&[2], &[2.0, 3.0]);
    let of = |op, expected| {
        check(op, &[("x", x.clone()), ("y", y.clone())], floats(&[2, 2], expected));
    };
    of(Op::Add, &[3.0, 4.0, -5.0, -4.0]);
    of(Op::Sub, &[-1.0, -2.0, -9.0, -10.0]);
    of(Op::Mul, &[2.0, 3.0, -14.0, -21.0]);
    of(Op::RealDiv, &[0.5, 1.0 / 3.0, -3.5, -7.0 / 3.0]);
    of(Op::FloorDiv, &[0.0, 0.0, -4.0, -3.0]);
    of(Op::Mod, &[1.0, 1.0, 1.0, 2.0]);
    of(Op::Maximum, &[2.0, 3.0, 2.0, 3.0]);
    of(Op::Minimum, &[1.0, 1.0, -7.0, -7.0]);
    of(Op::Pow, &[1.0, 1.0, 49.0, -343.0]);
}

#[test]
fn integers_stay_integers_and_wrap() {
    let x = ints(&[3], &[7, -7, 2_147_483_647]);
    let y = ints(&[], &[2]);
    let of = |op, expected| {
        check(op, &[("x", x.clone()), ("y", y.clone())], ints(&[3], expected));
    };
    of(Op::Add, &[9, -5, -2_147_483_647]);
    of(Op::Mul, &[14, -14, -2]);
    of(Op::RealDiv, &[3, -3, 1_073_741_823]);
    of(Op::FloorDiv, &[3, -4, 1_073_741_823]);
    of(Op::Mod, &[1, 1, 1]);
    of(Op::Pow, &[49, 49, 1]);
}

#[test]
fn integer_corner_cases_give_values() {
    let of = |op, x: i64, y: i64, expected: i64| {
        check(op, &[("x", ints(&[], &[x])), ("y", ints(&[], &[y]))], ints(&[], &[expected]));
    };
    for op in [Op::RealDiv, Op::FloorDiv] {
        of(op, 5, 0, 0);
    }
    for (x, y, expected) in [(2, -1, 0), (1, -3, 1), (-1, -3, -1), (-1, -2, 1), (0, 0, 1)] {
        of(Op::Pow, x, y, expected);
    }
    let least = |v| Array::ints(DataType::Int64, &[], vec![v]);
    for (op, expected) in [(Op::RealDiv, 0), (Op::FloorDiv, 0), (Op::Pow, 0)] {
        // The quotient of the least integer and −1 is not an integer of 64 bits.
        let inputs = [("x", least(i64::MIN)), ("y", least(-1))];
        check(op, &inputs, least(expected));
    }
    let inputs = [("x", least(3)), ("y", least(1 << 40))];
    // 3 to the power 2ᵏ is 1 modulo 2^(k+2).
    let out = run(Op::Pow, &inputs).unwrap()[0].to_i64s()[0];
    assert_eq!((out - 1) % (1 << 42), 0);
}

#[test]
fn modulo_is_exact_where_the_quotient_is_not() {
    let large = 2f64.powi(100);
    let inputs = [("x", floats(&[2], &[large, -large])), ("y", floats(&[], &[3.0]))];
    check(Op::Mod, &inputs, floats(&[2], &[1.0, 2.0]));
}

#[test]
fn comparisons() {
    let x = floats(&[3], &[1.0, 2.0, f64::NAN]);
    let y = floats(&[1], &[2.0]);
    let of = |op, expected| {
        check(op, &[("x", x.clone()), ("y", y.clone())], bools(&[3], expected));
    };
    of(Op::Equal, &[false, true, false]);
    of(Op::NotEqual, &[true, false, true]);
    of(Op::Less, &[true, false, false]);
    of(Op::LessEqual, &[true, true, false]);
    of(Op::Greater, &[false, false, false]);
    of(Op::GreaterEqual, &[false, true, false]);
}

#[test]
fn logic_and_selection() {
    let x = bools(&[4], &[false, false, true, true]);
    let y = bools(&[4], &[false, true, false, true]);
    let both = [("x", x.clone()), ("y", y)];
    check(Op::LogicalAnd, &both, bools(&[4], &[false, false, false, true]));
    check(Op::LogicalOr, &both, bools(&[4], &[false, true, true, true]));
    check(Op::LogicalNot, &both[..1], bools(&[4], &[true, true, false, false]));
    let (a, b) = (floats(&[1], &[5.0]), floats(&[2, 1], &[1.0, 2.0]));
    let select = [("cond", x), ("a", a), ("b", b)];
    let expected = floats(&[2, 4], &[1.0, 1.0, 5.0, 5.0, 2.0, 2.0, 5.0, 5.0]);
    check(Op::Select, &select, expected);
}
