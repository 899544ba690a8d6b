//! Random programs of operations that are exact on small integers.

use super::*;

#[test]
fn random_programs_agree_with_the_reference() {
    for seed in 0..300 {
        let (builder, arrays) = random_program(&mut Random(seed));
        check(builder, &arrays, 0.0);
    }
}

/// The bound that values are kept within, so that sums of all of them are exact.
const BOUND: f32 = 8.0;

fn random_program(random: &mut Random) -> (RowBuilder, Vec<Array>) {
    let rank = random.below(5);
    let outer: Vec<usize> = (0..rank).map(|_| random.pick(&[1, 2, 3, 5, 8])).collect();
    let rows: usize = outer.iter().product();
    let inner = random.pick(&[1, 1, 2, 3, 7, 16, 31, 32, 64, 100, 257, 1024, 1500, 2500, 5000]);
    let inner = inner.min(40_000 / rows).max(1);
    let mut builder = RowBuilder::new(&outer, inner);
    let mut arrays = Vec::new();
    let mut loaded = Vec::new();
    let mut values = Vec::new();
    for _ in 0..1 + random.below(4) {
        let operand = random_operand(random, &mut arrays, &outer, inner, true);
        values.push(builder.load(operand.clone()));
        loaded.push(operand);
    }
    for _ in 0..random.below(12) {
        let value = random_operation(random, &mut builder, &values);
        values.push(builder.clamp(value, -BOUND, BOUND));
    }
    for _ in 0..1 + random.below(3) {
        random_store(random, &mut builder, &values, &mut arrays, &mut loaded);
    }
    (builder, arrays)
}

fn random_operation(random: &mut Random, builder: &mut RowBuilder, values: &[Value]) -> Value {
    use Binary::*;
    let binary = [Add, Sub, Mul, Max, Min, Eq, Ne, Lt, Le, Gt, Ge, And, Or];
    let unary = [Unary::Neg, Unary::Abs, Unary::Sign, Unary::Floor, Unary::Relu, Unary::Not];
    let (a, b, c) = (random.pick(values), random.pick(values), random.pick(values));
    match random.below(9) {
        0 | 1 => builder.unary(random.pick(&unary), a),
        2..=4 => builder.binary(random.pick(&binary), a, b),
        5 => {
            let number = random.below(7) as f32 - 3.0;
            builder.binary_constant(random.pick(&binary), a, number)
        }
        6 => builder.select(c, a, b),
        7 => builder.round(random.pick(&[Rounding::Bf16, Rounding::F16, Rounding::Bool]), a),
        _ => {
            let op = random.pick(&[Reduction::Sum, Reduction::Max, Reduction::Min]);
            builder.reduce(op, a)
        }
    }
}

fn random_store(
    random: &mut Random,
    builder: &mut RowBuilder,
    values: &[Value],
    arrays: &mut Vec<Array>,
    loaded: &mut Vec<Operand>,
) {
    let (outer, inner) = (builder.outer().to_vec(), builder.inner());
    let value = random.pick(values);
    let kind = random.below(6);
    if kind == 0 {
        let operand = random_operand(random, arrays, &[], inner, false);
        let accumulate = operand.format == Format::F32 && random.below(2) == 0;
        let op = random.pick(&[Reduction::Sum, Reduction::Max, Reduction::Min]);
        let value = match operand.format {
            // The sum of all rows must be exact in the format.
            Format::Bf16 | Format::F16 | Format::U8 => {
                builder.binary_constant(Binary::Mul, value, 0.0)
            }
            _ => value,
        };
        return builder.column_reduce(op, value, operand, accumulate);
    }
    let whole = |o: &Operand| {
        let strides = o.outer_strides.iter().zip(&outer).chain([(&o.inner_stride, &inner)]);
        strides.into_iter().all(|(&stride, &size)| stride != 0 || size == 1)
    };
    if kind == 1
        && let Some(index) = loaded.iter().position(whole)
    {
        let operand = loaded.remove(index);
        let add = operand.format == Format::F32 && random.below(2) == 0;
        return if add {
            builder.accumulate(operand, value)
        } else {
            builder.store(operand, value)
        };
    }
    if !builder.is_row(value) && kind < 5 {
        let mut operand = random_operand(random, arrays, &outer, 1, false);
        operand.inner_stride = random.below(3) as isize;
        return match operand.format {
            Format::F32 if random.below(2) == 0 => builder.accumulate_scalar(operand, value),
            _ => builder.store_scalar(operand, value),
        };
    }
    let operand = random_operand(random, arrays, &outer, inner, false);
    match operand.format {
        Format::F32 if random.below(3) == 0 => builder.accumulate(operand, value),
        _ => builder.store(operand, value),
    }
}

/// A new array with its axes in random order, some of them broadcast if that is allowed.
fn random_operand(
    random: &mut Random,
    arrays: &mut Vec<Array>,
    outer: &[usize],
    inner: usize,
    may_broadcast: bool,
) -> Operand {
    let formats = [Format::F32, Format::F32, Format::Bf16, Format::F16, Format::I32, Format::U8];
    let format = random.pick(&formats);
    let mut sizes = outer.to_vec();
    sizes.push(inner);
    let mut order: Vec<usize> = (0..sizes.len()).rev().collect();
    if random.below(3) == 0 {
        for i in (1..order.len()).rev() {
            order.swap(i, random.below(i + 1));
        }
    }
    let lead = random.below(3);
    let gap = 1 + random.below(4) / 3;
    let mut strides = vec![0; sizes.len()];
    let mut stride = gap;
    let broadcasts = may_broadcast && random.below(2) == 0;
    for axis in order {
        if !(broadcasts && random.below(2) == 0) {
            strides[axis] = stride as isize;
            stride *= sizes[axis];
        }
    }
    let values: Vec<f32> = (0..lead + stride)
        .map(|_| match format {
            Format::U8 => random.below(9) as f32,
            _ => random.below(17) as f32 - BOUND,
        })
        .collect();
    arrays.push(Array::new(format, &values));
    let inner_stride = strides.pop().expect("the inner axis is always there");
    Operand {
        slot: arrays.len() - 1,
        byte_offset: lead * format.bytes(),
        format,
        outer_strides: strides,
        inner_stride,
    }
}
