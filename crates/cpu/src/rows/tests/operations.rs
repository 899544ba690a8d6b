//! Every operation, format and kind of argument.

use super::*;

const UNARY: [Unary; 21] = [
    Unary::Neg,
    Unary::Abs,
    Unary::Sign,
    Unary::Floor,
    Unary::Exp,
    Unary::Log,
    Unary::Sqrt,
    Unary::Rsqrt,
    Unary::Recip,
    Unary::Square,
    Unary::Sin,
    Unary::Cos,
    Unary::Erf,
    Unary::Sigmoid,
    Unary::Silu,
    Unary::Tanh,
    Unary::Relu,
    Unary::GeluExact,
    Unary::GeluTanh,
    Unary::GeluSigmoid,
    Unary::Not,
];

const BINARY: [Binary; 17] = [
    Binary::Add,
    Binary::Sub,
    Binary::Mul,
    Binary::Div,
    Binary::Max,
    Binary::Min,
    Binary::Pow,
    Binary::FloorDiv,
    Binary::Mod,
    Binary::Eq,
    Binary::Ne,
    Binary::Lt,
    Binary::Le,
    Binary::Gt,
    Binary::Ge,
    Binary::And,
    Binary::Or,
];

#[test]
fn every_unary_operation_on_rows_and_numbers() {
    let mut random = Random(1);
    for op in UNARY {
        for (outer, inner) in [(vec![], 1), (vec![3], 37), (vec![2, 2], 515)] {
            let count = outer.iter().product::<usize>() * inner;
            let mut values = random.floats(count, 6.0);
            if matches!(op, Unary::Log | Unary::Sqrt | Unary::Rsqrt | Unary::Recip) {
                values.iter_mut().for_each(|x| *x = x.abs() + 0.01);
            }
            let specials = [0.0, f32::NAN, f32::INFINITY, 1e9];
            // Infinity times zero, and infinity minus itself, differ between equal formulas.
            let specials = if matches!(op, Unary::Silu | Unary::GeluExact | Unary::GeluTanh) {
                &specials[..2]
            } else {
                &specials[..]
            };
            for (value, &special) in values.iter_mut().step_by(7).zip(specials) {
                *value = special;
            }
            let mut builder = RowBuilder::new(&outer, inner);
            let row = builder.load(dense(0, Format::F32, &outer, inner));
            let number =
                builder.load(Operand { inner_stride: 0, ..dense(0, Format::F32, &outer, inner) });
            let row = builder.unary(op, row);
            let number = builder.unary(op, number);
            builder.store(dense(1, Format::F32, &outer, inner), row);
            builder.store(dense(2, Format::F32, &outer, inner), number);
            let empty = Array::filled(Format::F32, count, 0.0);
            check(builder, &[Array::new(Format::F32, &values), empty.clone(), empty], 1e-6);
        }
    }
}

#[test]
fn every_binary_operation_on_rows_and_numbers() {
    let mut random = Random(2);
    for op in BINARY {
        for (rows, inner) in [(1, 1), (5, 33), (3, 1030)] {
            // Small integers make equality and exact quotients frequent.
            let mut integers = |low: usize| -> Vec<f32> {
                (0..rows * inner).map(|_| random.below(7) as f32 - 3.0 + low as f32).collect()
            };
            let base = if op == Binary::Pow { 4 } else { 0 };
            let a = Array::new(Format::F32, &integers(base));
            let mut divisors = integers(0);
            if matches!(op, Binary::Div | Binary::FloorDiv | Binary::Mod) {
                divisors.iter_mut().filter(|b| **b == 0.0).for_each(|b| *b = 0.5);
            }
            if matches!(op, Binary::Max | Binary::Min | Binary::Eq) && inner > 1 {
                divisors[inner - 1] = f32::NAN;
            }
            let b = Array::new(Format::F32, &divisors);
            let mut builder = RowBuilder::new(&[rows], inner);
            let row = |slot| dense(slot, Format::F32, &[rows], inner);
            let number = |slot| Operand { inner_stride: 0, ..row(slot) };
            let (a_row, a_number) = (builder.load(row(0)), builder.load(number(0)));
            let (b_row, b_number) = (builder.load(row(1)), builder.load(number(1)));
            let pairs =
                [(a_row, b_row), (a_row, b_number), (a_number, b_row), (a_number, b_number)];
            for (slot, (x, y)) in pairs.into_iter().enumerate() {
                let value = builder.binary(op, x, y);
                builder.store(row(2 + slot), value);
            }
            let value = builder.binary_constant(op, a_row, 2.0);
            builder.store(row(6), value);
            let empty = Array::filled(Format::F32, rows * inner, 0.0);
            let mut arrays = vec![a, b];
            arrays.extend(vec![empty; 5]);
            check(builder, &arrays, 2e-6);
        }
    }
}

#[test]
fn every_format_is_stored_to_the_nearest() {
    let mut random = Random(3);
    let mut values: Vec<f32> = random.floats(3000, 300.0);
    values.extend((0..2000).map(|i| f32::from_bits(0x3300_0000 + i * 131_071)));
    values.extend([
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        65504.0,
        65519.9,
        65520.0,
    ]);
    values.extend([6e-8, 3e-8, 2.9e-8, 6.1e-5, 1e-40, 3.3e38, 3.4e38, -1e10, 1e10, 255.6, 256.0]);
    let count = values.len();
    for format in [Format::F32, Format::Bf16, Format::F16, Format::I32, Format::U8, Format::I8] {
        let mut builder = RowBuilder::new(&[], count);
        let value = builder.load(dense(0, Format::F32, &[], count));
        builder.store(dense(1, format, &[], count), value);
        let again = builder.load(dense(2, format, &[], count));
        builder.store(dense(3, Format::F32, &[], count), again);
        let arrays = [
            Array::new(Format::F32, &values),
            Array::filled(format, count, 0.0),
            Array::new(format, &values),
            Array::filled(Format::F32, count, 0.0),
        ];
        check(builder, &arrays, 0.0);
    }
}

#[test]
fn rounding_matches_the_formats() {
    let mut random = Random(4);
    let count = 1200;
    let mut values = random.floats(count, 70000.0);
    values[3] = f32::NAN;
    values[7] = f32::INFINITY;
    values[100..200].iter_mut().for_each(|x| *x *= 1e-9);
    for to in [Rounding::Bf16, Rounding::F16, Rounding::Integer, Rounding::Bool] {
        let mut builder = RowBuilder::new(&[4], count / 4);
        let value = builder.load(dense(0, Format::F32, &[4], count / 4));
        let value = builder.round(to, value);
        builder.store(dense(1, Format::F32, &[4], count / 4), value);
        let empty = Array::filled(Format::F32, count, 0.0);
        check(builder, &[Array::new(Format::F32, &values), empty], 0.0);
    }
}

#[test]
fn copied_integers_keep_all_bits() {
    let count = 100;
    let words: Vec<u32> = (0..=count as u32).map(|i| 0x7fff_ffff - 12345 * i).collect();
    let mut builder = RowBuilder::new(&[10], 10);
    let value = builder.load(dense(0, Format::I32, &[10], 10));
    let transposed =
        Operand { outer_strides: vec![1], inner_stride: 10, ..dense(1, Format::I32, &[10], 10) };
    builder.store(transposed, value);
    let program = builder.finish();
    let from = Array { format: Format::I32, words, count };
    let to = Array::filled(Format::I32, count, 0.0);
    let team = Team::new(1).unwrap();
    let results = run(&program, Isa::best(), &team, &[from.clone(), to]);
    for index in 0..count {
        assert_eq!(results[1].words[index], from.words[index % 10 * 10 + index / 10]);
    }
}

#[test]
fn transposing_copies_of_many_shapes() {
    let mut random = Random(5);
    for (rows, columns) in [(1, 9), (17, 5), (64, 130), (300, 257)] {
        for formats in [(Format::F32, Format::F32), (Format::F32, Format::Bf16)] {
            for flip in [false, true] {
                let count = 2 * rows * columns;
                let mut from = dense(0, formats.0, &[2, rows], columns);
                let mut to = dense(1, formats.1, &[2, rows], columns);
                // Either the loads or the stores stride.
                let strided = if flip { &mut from } else { &mut to };
                strided.outer_strides[1] = 1;
                strided.inner_stride = rows as isize;
                let mut builder = RowBuilder::new(&[2, rows], columns);
                let value = builder.load(from);
                builder.store(to, value);
                let values = Array::new(formats.0, &random.floats(count, 1.0));
                check(builder, &[values, Array::filled(formats.1, count, 0.0)], 0.0);
            }
        }
    }
}

#[test]
fn empty_spaces_store_the_reduction_of_nothing() {
    for (rows, inner) in [(0, 5), (3, 0), (0, 0)] {
        let mut builder = RowBuilder::new(&[rows], inner);
        let value = builder.load(dense(0, Format::F32, &[rows], inner));
        let sum = builder.reduce(Reduction::Sum, value);
        builder.store_scalar(Operand { outer_strides: vec![1], ..broadcast(1, 1) }, sum);
        builder.column_reduce(Reduction::Sum, value, broadcast(2, 1), false);
        let team = Team::new(2).unwrap();
        let arrays = [0, rows, inner].map(|count| Array::filled(Format::F32, count, 9.0));
        let results = run(&builder.finish(), Isa::best(), &team, &arrays);
        assert_eq!(results[1].values(), vec![0.0; rows]);
        assert_eq!(results[2].values(), vec![0.0; inner]);
    }
}

#[test]
fn axes_merge_where_all_operands_permit() {
    let mut builder = RowBuilder::new(&[4, 1, 6], 8);
    let a = builder.load(dense(0, Format::F32, &[4, 1, 6], 8));
    let bias = builder.load(Operand { outer_strides: vec![0, 5, 8], ..broadcast(1, 3) });
    let sum = builder.binary(Binary::Add, a, bias);
    builder.store(dense(2, Format::F32, &[4, 1, 6], 8), sum);
    let program = builder.finish();
    assert_eq!((program.outer(), program.inner()), (&[4][..], 48));
}
