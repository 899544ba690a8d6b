//! Every kernel that the machine offers against plain loops, to the last bit: sums of integers are
//! exact, and the way to C is the same operations on numbers in the same order.

use super::generic::factors;
use super::*;
use crate::format::Format;
use crate::gemm::{AlignedBytes, Operand};
use crate::team::Team;

/// A small generator of repeatable numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A byte, often one of the ends, where products of pairs leave 16 bits.
    fn byte(&mut self) -> u8 {
        let any = self.below(256) as u8;
        self.pick(&[any, any, 127, 128, 129, 255, 0])
    }

    fn number(&mut self) -> f32 {
        (self.below(2_000_001) as f32 - 1e6) * 3e-6
    }
}

/// Memory of numbers in a format.
struct Array(Format, AlignedBytes);

impl Array {
    fn random(format: Format, count: usize, random: &mut Random) -> Array {
        let mut bytes = AlignedBytes::new(count * format.bytes());
        for i in 0..count {
            match format {
                Format::I8 | Format::U8 => bytes[i] = random.byte(),
                // SAFETY: below the count that was allocated.
                _ => unsafe { format.write(bytes.as_mut_ptr(), i, random.number()) },
            }
        }
        Array(format, bytes)
    }

    fn get(&self, index: usize) -> f32 {
        assert!((index + 1) * self.0.bytes() <= self.1.len());
        // SAFETY: just checked.
        unsafe { self.0.read(self.1.as_ptr(), index) }
    }
}

/// A random product with its memory.
struct Case {
    d: Description,
    activations: Array,
    weights: Vec<i8>,
    scales: Vec<f32>,
    bias: Option<Array>,
    c: Array,
}

fn case(random: &mut Random) -> Case {
    let dimension = |random: &mut Random| {
        let end = random.pick(&[2, 8, 20, 40, 71]);
        1 + random.below(end)
    };
    let (m, n) = (dimension(random), dimension(random));
    let (k, batch) =
        (random.pick(&[0, 1, 3, 4, 7, 64, 130]) + random.below(5), 1 + random.below(2));
    let side = random.pick(&[Side::Left, Side::Right]);
    let bytes = [Format::I8, Format::U8];
    let floats = [Format::F32, Format::Bf16, Format::F16];
    let dynamic = side == Side::Right && random.below(2) == 0;
    let format = if dynamic { random.pick(&floats) } else { random.pick(&bytes) };
    let (rows, cols) = if side == Side::Left { (k, n) } else { (m, k) };
    let (row_stride, col_stride) = match random.below(3) {
        0 => (1, rows + random.below(3)),
        1 => (2 * cols + 1, 2),
        _ => (cols + random.below(3), 1),
    };
    let extent = rows * row_stride + cols * col_stride + 1;
    let zero = |random: &mut Random, format| match format {
        Format::U8 => random.pick(&[0, 128, 255, 3]),
        _ => random.pick(&[0, 0, -128, 127]),
    };
    let activations = Activations {
        format,
        row_stride,
        col_stride,
        batch_stride: extent,
        zero: zero(random, if dynamic { Format::I8 } else { format }),
        scale: random.pick(&[1.0, 0.125, 0.3]),
    };
    let requantize = random.below(2) == 0;
    let format = if requantize { random.pick(&bytes) } else { random.pick(&floats) };
    let requantize = requantize.then(|| Requantize {
        inverse: random.pick(&[0.5, 3.0, 1e-3, 1e9]),
        zero: zero(random, format),
    });
    let output = Output {
        format,
        row_stride: n + random.below(3),
        batch_stride: m * (n + 3),
        relu: random.below(3) == 0,
        round: random.pick(&[None, Some(Format::Bf16), Some(Format::F16)]),
        accumulate: requantize.is_none() && random.below(2) == 0,
        requantize,
    };
    let output = Output { round: output.round.filter(|_| output.requantize.is_none()), ..output };
    let channels = if side == Side::Left { m } else { n };
    let bias = random.pick(&[None, Some(Format::F32), Some(Format::F16)]);
    let scales = if random.below(3) == 0 { 1 } else { channels };
    Case {
        activations: Array::random(activations.format, batch * extent, random),
        weights: (0..channels * k).map(|_| random.byte() as i8).collect(),
        scales: (0..scales).map(|_| 0.01 + random.number().abs()).collect(),
        bias: bias.map(|format| Array::random(format, channels, random)),
        c: Array::random(output.format, batch * m * (n + 3), random),
        d: Description { m, n, k, batch, weights: side, activations, output, bias },
    }
}

/// What C should hold.
fn expected(case: &Case) -> Array {
    let Case { d, activations, weights, scales, bias, c } = case;
    let mut out = Array(c.0, AlignedBytes::new(c.1.len()));
    out.1.copy_from_slice(&c.1);
    let a = &d.activations;
    for (batch, row, col) in
        (0..d.batch * d.m * d.n).map(|i| (i / d.n / d.m, i / d.n % d.m, i % d.n))
    {
        let left = d.weights == Side::Left;
        let channel = if left { row } else { col };
        let x = |step: usize| {
            let (i, j) = if left { (step, col) } else { (row, step) };
            activations.get(batch * a.batch_stride + i * a.row_stride + j * a.col_stride)
        };
        let (mut scale, mut sum) = (a.scale, 0i64);
        if a.format.is_float() {
            let largest = (0..d.k).map(|i| x(i).abs()).fold(0.0, f32::max);
            let inverse;
            (inverse, scale) = factors(largest);
            for step in 0..d.k {
                let q = (x(step) * inverse).round_ties_even() as i64;
                sum += q * i64::from(weights[channel * d.k + step]);
            }
        } else {
            for step in 0..d.k {
                let q = x(step) as i64 - i64::from(a.zero);
                sum += q * i64::from(weights[channel * d.k + step]);
            }
        }
        let bias = bias.as_ref().map_or(0.0, |bias| bias.get(channel));
        let mut value = sum as f32 * (scales[channel % scales.len()] * scale) + bias;
        if d.output.relu && value < 0.0 {
            value = 0.0;
        }
        let at = batch * d.output.batch_stride + row * d.output.row_stride + col;
        if let Some(q) = d.output.requantize {
            let (low, high) = q.bounds(d.output.format);
            let integer = (value * q.inverse).clamp(low, high).round_ties_even() as i32 + q.zero;
            out.1[at] = integer as u8;
            continue;
        }
        value = d.output.round.map_or(value, |format| format.round(value));
        if d.output.accumulate {
            value += c.get(at);
        }
        assert!((at + 1) * out.0.bytes() <= out.1.len());
        // SAFETY: just checked.
        unsafe { out.0.write(out.1.as_mut_ptr(), at, value) };
    }
    out
}

fn run(case: &mut Case, kernel: &'static dyn Kernel, isa: Isa, threads: usize) {
    let d = &case.d;
    let channels = if d.weights == Side::Left { d.m } else { d.n };
    let team = Team::new(threads).unwrap();
    let weights = Weights::new(isa, d.weights, d.k, channels).unwrap();
    let mut weights = weights.with_kernel(kernel);
    weights.set(&case.weights, &case.scales);
    let product = Product::with_kernel(kernel, isa, threads, d).unwrap();
    let mut scratch = vec![0xa5; product.scratch_bytes()];
    let bias = case.bias.as_ref().map(|bias| bias.1.as_ptr());
    let (a, c) = (case.activations.1.as_ptr(), case.c.1.as_mut_ptr());
    // SAFETY: the arrays hold what the description reaches.
    unsafe { product.run(&team, a, &weights, c, bias, &mut scratch) };
}

#[test]
fn every_kernel_is_exact_on_ragged_shapes() {
    for isa in Isa::available() {
        for kernel in kernels(isa) {
            let mut random = Random(7);
            for index in 0..300 {
                let mut case = case(&mut random);
                let want = expected(&case);
                run(&mut case, kernel, isa, 1 + index % 3);
                let name = kernel.name();
                assert!(*case.c.1 == *want.1, "case {index} with {name}: {:?}", case.d);
            }
        }
    }
}

/// `[m, n, k]` with all bytes of the activations, and all of the weights, the same.
fn constant(shape: [usize; 3], a: (Format, u8), w: i8) -> Case {
    let [m, n, k] = shape;
    let mut activations = Array(a.0, AlignedBytes::new(m * k));
    activations.1.fill(a.1);
    let (row_stride, format) = (k, a.0);
    let activations_of =
        Activations { format, row_stride, col_stride: 1, batch_stride: 0, zero: 0, scale: 1.0 };
    let output = Output {
        format: Format::F32,
        row_stride: n,
        batch_stride: 0,
        relu: false,
        round: None,
        accumulate: false,
        requantize: None,
    };
    let d = Description {
        m,
        n,
        k,
        batch: 1,
        weights: Side::Right,
        activations: activations_of,
        output,
        bias: None,
    };
    let c = Array(Format::F32, AlignedBytes::new(m * n * 4));
    Case { d, activations, weights: vec![w; n * k], scales: vec![1.0], bias: None, c }
}

#[test]
fn the_longest_sum_of_the_largest_bytes_does_not_overflow() {
    for isa in Isa::available() {
        for kernel in kernels(isa) {
            for (format, byte, value) in
                [(Format::U8, 255, 255i64), (Format::I8, 0x80, -128), (Format::I8, 127, 127)]
            {
                for w in [-128i8, 127] {
                    let mut case = constant([2, 33, MAX_DEPTH], (format, byte), w);
                    run(&mut case, kernel, isa, 1);
                    let want = (value * i64::from(w) * MAX_DEPTH as i64) as f32;
                    let found: Vec<f32> = (0..66).map(|i| case.c.get(i)).collect();
                    assert!(found.iter().all(|&x| x == want), "{} {want} {found:?}", kernel.name());
                }
            }
        }
    }
}

#[test]
fn numbers_are_quantized_channel_by_channel_on_both_sides() {
    let mut random = Random(3);
    let team = Team::new(2).unwrap();
    for isa in Isa::available() {
        for (k, channels, along_k) in [(1, 1, true), (37, 33, true), (70, 40, false), (64, 5, true)]
        {
            let array = Array::random(Format::Bf16, k * channels, &mut random);
            let operand = if along_k {
                Operand::columns(Format::Bf16, k)
            } else {
                Operand::rows(Format::Bf16, channels)
            };
            let at = |step: usize, channel: usize| {
                array.get(step * operand.row_stride + channel * operand.col_stride)
            };
            let mut bytes = vec![];
            let mut scales = vec![];
            for channel in 0..channels {
                let largest = (0..k).map(|i| at(i, channel).abs()).fold(0.0, f32::max);
                let (inverse, scale) = factors(largest);
                scales.push(scale);
                bytes.extend((0..k).map(|i| (at(i, channel) * inverse).round_ties_even() as i8));
            }
            for side in [Side::Left, Side::Right] {
                let mut found = Weights::new(isa, side, k, channels).unwrap();
                let mut want = Weights::new(isa, side, k, channels).unwrap();
                // SAFETY: the array holds the whole operand.
                unsafe { found.quantize(&team, array.1.as_ptr(), &operand) };
                want.set(&bytes, &scales);
                assert!(found == want, "{found:?}");
            }
        }
    }
}

#[test]
fn rows_that_are_nothing_or_not_finite_stay_so() {
    for isa in Isa::available() {
        let mut case = constant([3, 5, 8], (Format::U8, 0), 1);
        case.d.activations.format = Format::F32;
        case.activations = Array(Format::F32, AlignedBytes::new(3 * 8 * 4));
        let base = case.activations.1.as_mut_ptr();
        for (index, value) in [(0, 1e-40), (9, f32::INFINITY), (17, f32::NAN)] {
            // SAFETY: below 24 numbers.
            unsafe { Format::F32.write(base, index, value) };
        }
        run(&mut case, kernel(isa), isa, 1);
        assert!((0..5).all(|i| case.c.get(i) == 0.0));
        assert!((5..15).all(|i| case.c.get(i).is_nan()), "{isa}");
    }
}

#[test]
fn what_cannot_be_is_an_error() {
    let d = constant([1, 1, 1], (Format::U8, 0), 1).d;
    let new = |d: Description| Product::new(Isa::Portable, 1, &d).map(|_| ());
    let long = Description { k: MAX_DEPTH + 1, ..d.clone() };
    assert_eq!(new(long), Err(Error::Depth(MAX_DEPTH + 1)));
    assert!(Weights::new(Isa::Portable, Side::Left, MAX_DEPTH + 1, 1).is_err());
    let zero = Activations { zero: 256, ..d.activations };
    assert_eq!(new(Description { activations: zero, ..d.clone() }), Err(Error::Zero(256)));
    let floats = Activations { format: Format::F32, ..d.activations };
    let left = Description { activations: floats, weights: Side::Left, ..d.clone() };
    assert!(matches!(new(left), Err(Error::Format { what: "activations", .. })));
    let bytes = Output { format: Format::U8, ..d.output };
    let bytes = Description { output: bytes, ..d };
    assert!(matches!(new(bytes), Err(Error::Format { what: "result", .. })));
}
