//! The programs that row programs are for, on the shapes that select different paths.

use super::*;

/// Short rows in blocks, rows of one tile, rows of several passes over tiles, and a whole vocabulary.
const SHAPES: [(usize, usize); 6] = [(50, 3), (40, 32), (9, 256), (3, 2048), (2, 5000), (1, 40000)];

fn normal(random: &mut Random, count: usize) -> Array {
    Array::new(Format::F32, &random.floats(count, 4.0))
}

fn softmax(builder: &mut RowBuilder, x: Value) -> Value {
    let max = builder.reduce(Reduction::Max, x);
    let shifted = builder.binary(Binary::Sub, x, max);
    let e = builder.unary(Unary::Exp, shifted);
    let sum = builder.reduce(Reduction::Sum, e);
    let scale = builder.unary(Unary::Recip, sum);
    builder.binary(Binary::Mul, e, scale)
}

#[test]
fn softmax_apart_and_in_place() {
    let mut random = Random(10);
    for (rows, inner) in SHAPES {
        for target in [0, 1] {
            let mut builder = RowBuilder::new(&[rows], inner);
            let x = builder.load(dense(0, Format::F32, &[rows], inner));
            let y = softmax(&mut builder, x);
            builder.store(dense(target, Format::F32, &[rows], inner), y);
            let empty = Array::filled(Format::F32, rows * inner, 0.0);
            check(builder, &[normal(&mut random, rows * inner), empty], 1e-6);
        }
    }
}

#[test]
fn softmax_of_masked_half_precision_scores() {
    let mut random = Random(11);
    let (heads, length) = (3, 70);
    let mut mask = Array::filled(Format::F32, length * length, 0.0);
    let causal: Vec<f32> =
        (0..length * length).map(|i| if i % length > i / length { -1e9 } else { 0.0 }).collect();
    mask.words = Array::new(Format::F32, &causal).words;
    for format in [Format::Bf16, Format::F16] {
        let outer = [heads, length];
        let mut builder = RowBuilder::new(&outer, length);
        let scores = builder.load(dense(0, format, &outer, length));
        let scaled = builder.binary_constant(Binary::Mul, scores, 0.125);
        let mask_rows = Operand { outer_strides: vec![0, length as isize], ..broadcast(1, 2) };
        let mask_value = builder.load(mask_rows);
        let masked = builder.binary(Binary::Add, scaled, mask_value);
        let y = softmax(&mut builder, masked);
        builder.store(dense(2, Format::F32, &outer, length), y);
        let values = random.floats(heads * length * length, 8.0);
        let empty = Array::filled(Format::F32, values.len(), 0.0);
        check(builder, &[Array::new(format, &values), mask.clone(), empty], 1e-6);
    }
}

#[test]
fn log_sum_exp_and_its_gradient() {
    let mut random = Random(12);
    for (rows, inner) in SHAPES {
        let mut builder = RowBuilder::new(&[rows], inner);
        let x = builder.load(dense(0, Format::F32, &[rows], inner));
        let max = builder.reduce(Reduction::Max, x);
        let shifted = builder.binary(Binary::Sub, x, max);
        let e = builder.unary(Unary::Exp, shifted);
        let sum = builder.reduce(Reduction::Sum, e);
        let log = builder.unary(Unary::Log, sum);
        let result = builder.binary(Binary::Add, log, max);
        let one = Operand { outer_strides: vec![1], ..broadcast(1, 1) };
        builder.store_scalar(one, result);
        let gradient =
            builder.load(Operand { outer_strides: vec![1], inner_stride: 0, ..broadcast(2, 1) });
        let inverse = builder.unary(Unary::Recip, sum);
        let scale = builder.binary(Binary::Mul, gradient, inverse);
        let dx = builder.binary(Binary::Mul, e, scale);
        builder.accumulate(dense(3, Format::F32, &[rows], inner), dx);
        let arrays = [rows * inner, rows, rows, rows * inner].map(|n| normal(&mut random, n));
        check(builder, &arrays, 2e-6);
    }
}

/// `y = x · rsqrt(mean(x²) + ε) · gain`, and the normalized `x` and its scale for the gradient.
fn rms_norm(builder: &mut RowBuilder, x: Value, gain: Value) -> (Value, Value, Value) {
    let square = builder.unary(Unary::Square, x);
    let sum = builder.reduce(Reduction::Sum, square);
    let mean = builder.binary_constant(Binary::Mul, sum, 1.0 / builder.inner() as f32);
    let shifted = builder.binary_constant(Binary::Add, mean, 1e-5);
    let scale = builder.unary(Unary::Rsqrt, shifted);
    let normalized = builder.binary(Binary::Mul, x, scale);
    (builder.binary(Binary::Mul, normalized, gain), normalized, scale)
}

#[test]
fn rms_norm_in_place_and_to_half_precision() {
    let mut random = Random(13);
    for (rows, inner) in SHAPES {
        let mut builder = RowBuilder::new(&[rows], inner);
        let x = builder.load(dense(0, Format::F32, &[rows], inner));
        let gain = builder.load(broadcast(1, 1));
        let (y, ..) = rms_norm(&mut builder, x, gain);
        builder.store(dense(0, Format::F32, &[rows], inner), y);
        // The result is sometimes the other neighbor of what the reference rounds.
        builder.store(dense(2, Format::Bf16, &[rows], inner), y);
        let half = Array::filled(Format::Bf16, rows * inner, 0.0);
        let arrays = [normal(&mut random, rows * inner), normal(&mut random, inner), half];
        check(builder, &arrays, 1.0 / 128.0);
    }
}

#[test]
fn rms_norm_gradients_in_one_program() {
    let mut random = Random(14);
    for (rows, inner) in [(300, 3), (130, 32), (70, 256), (9, 5000)] {
        for accumulate in [false, true] {
            let mut builder = RowBuilder::new(&[rows], inner);
            let x = builder.load(dense(0, Format::F32, &[rows], inner));
            let gain = builder.load(broadcast(1, 1));
            let dy = builder.load(dense(2, Format::F32, &[rows], inner));
            let (_, normalized, scale) = rms_norm(&mut builder, x, gain);
            let with_gain = builder.binary(Binary::Mul, dy, gain);
            let product = builder.binary(Binary::Mul, with_gain, normalized);
            let sum = builder.reduce(Reduction::Sum, product);
            let mean = builder.binary_constant(Binary::Mul, sum, 1.0 / inner as f32);
            let along = builder.binary(Binary::Mul, normalized, mean);
            let across = builder.binary(Binary::Sub, with_gain, along);
            let dx = builder.binary(Binary::Mul, across, scale);
            let dense_dx = dense(3, Format::F32, &[rows], inner);
            if accumulate {
                builder.accumulate(dense_dx, dx);
            } else {
                builder.store(dense_dx, dx);
            }
            let contribution = builder.binary(Binary::Mul, dy, normalized);
            builder.column_reduce(Reduction::Sum, contribution, broadcast(4, 1), accumulate);
            let counts = [rows * inner, inner, rows * inner, rows * inner, inner];
            check(builder, &counts.map(|n| normal(&mut random, n)), 1e-5);
        }
    }
}

#[test]
fn layer_norm_over_a_strided_axis() {
    let mut random = Random(15);
    // Channels first: the rows' elements are `width` apart.
    for (channels, width) in [(64, 33), (300, 20), (3000, 5)] {
        let mut builder = RowBuilder::new(&[width], channels);
        let column = |slot| Operand {
            outer_strides: vec![1],
            inner_stride: width as isize,
            ..broadcast(slot, 1)
        };
        let x = builder.load(column(0));
        let sum = builder.reduce(Reduction::Sum, x);
        let mean = builder.binary_constant(Binary::Mul, sum, 1.0 / channels as f32);
        let centered = builder.binary(Binary::Sub, x, mean);
        let square = builder.unary(Unary::Square, centered);
        let sum = builder.reduce(Reduction::Sum, square);
        let variance = builder.binary_constant(Binary::Mul, sum, 1.0 / channels as f32);
        let shifted = builder.binary_constant(Binary::Add, variance, 1e-5);
        let scale = builder.unary(Unary::Rsqrt, shifted);
        let y = builder.binary(Binary::Mul, centered, scale);
        builder.store(column(1), y);
        let empty = Array::filled(Format::F32, channels * width, 0.0);
        check(builder, &[normal(&mut random, channels * width), empty], 2e-6);
    }
}

#[test]
fn swiglu_and_its_gradients() {
    let mut random = Random(16);
    for (rows, inner) in SHAPES {
        let mut builder = RowBuilder::new(&[rows], inner);
        let row = |slot| dense(slot, Format::F32, &[rows], inner);
        let (gate, up) = (builder.load(row(0)), builder.load(row(1)));
        let dy = builder.load(row(2));
        let silu = builder.unary(Unary::Silu, gate);
        let y = builder.binary(Binary::Mul, silu, up);
        builder.store(row(3), y);
        let d_up = builder.binary(Binary::Mul, dy, silu);
        builder.store(row(1), d_up);
        let sigmoid = builder.unary(Unary::Sigmoid, gate);
        let rest = builder.binary(Binary::Sub, gate, silu);
        let inside = builder.binary_constant(Binary::Add, rest, 1.0);
        let slope = builder.binary(Binary::Mul, sigmoid, inside);
        let d_silu = builder.binary(Binary::Mul, dy, up);
        let d_gate = builder.binary(Binary::Mul, d_silu, slope);
        builder.store(row(0), d_gate);
        let arrays = [(); 4].map(|_| normal(&mut random, rows * inner));
        check(builder, &arrays, 2e-6);
    }
}

#[test]
fn a_long_sum_is_accurate() {
    let count = 1 << 20;
    let mut random = Random(17);
    let values: Vec<f32> = (0..count).map(|_| random.float() * 0.5 + 1.0).collect();
    let exact: f64 = values.iter().map(|&x| x as f64).sum();
    let mut by_row = RowBuilder::new(&[], count);
    let x = by_row.load(dense(0, Format::F32, &[], count));
    let sum = by_row.reduce(Reduction::Sum, x);
    by_row.store_scalar(broadcast(1, 0), sum);
    let mut by_column = RowBuilder::new(&[count / 4], 4);
    let x = by_column.load(dense(0, Format::F32, &[count / 4], 4));
    by_column.column_reduce(Reduction::Sum, x, broadcast(1, 1), false);
    let arrays = [Array::new(Format::F32, &values), Array::filled(Format::F32, 4, 0.0)];
    let team = Team::new(2).unwrap();
    for builder in [by_row, by_column] {
        let results = run(&builder.finish(), Isa::best(), &team, &arrays);
        let sum: f64 = results[1].values().iter().map(|&x| x as f64).sum();
        // One running sum in f32 would be off by a hundred times as much.
        assert!((sum - exact).abs() < 2e-6 * exact, "{sum}, expected {exact}");
    }
}

#[test]
fn not_a_number_passes_through_maxima() {
    let mut values = vec![1.0; 300];
    values[77] = f32::NAN;
    let mut builder = RowBuilder::new(&[3], 100);
    let x = builder.load(dense(0, Format::F32, &[3], 100));
    for (slot, op) in [(1, Reduction::Max), (2, Reduction::Min)] {
        let result = builder.reduce(op, x);
        builder.store_scalar(Operand { outer_strides: vec![1], ..broadcast(slot, 1) }, result);
    }
    let empty = Array::filled(Format::F32, 3, 0.0);
    check(builder, &[Array::new(Format::F32, &values), empty.clone(), empty], 0.0);
}
