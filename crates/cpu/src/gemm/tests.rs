//! Every kernel that the machine offers against sums in f64, on ragged shapes.

use super::*;
use crate::format::Format;
use crate::team::Team;

/// A small generator of repeatable numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Numbers around 1, of both signs.
    fn number(&mut self) -> f32 {
        (self.next() as i32 as f32) / (1u32 << 30) as f32 - 1.0
    }

    fn dimension(&mut self) -> usize {
        let end = self.pick(&[2, 9, 20, 40, 71]);
        1 + self.below(end)
    }
}

const FLOATS: [Format; 3] = [Format::F32, Format::Bf16, Format::F16];

/// Memory of `count` numbers in `format`.
struct Array {
    format: Format,
    bytes: AlignedBytes,
}

impl Array {
    fn random(format: Format, count: usize, random: &mut Random) -> Array {
        let mut array = Array { format, bytes: AlignedBytes::new(count * format.bytes()) };
        for i in 0..count {
            // SAFETY: below the count that was allocated.
            unsafe { format.write(array.bytes.as_mut_ptr(), i, random.number()) };
        }
        array
    }

    fn len(&self) -> usize {
        self.bytes.len() / self.format.bytes()
    }

    fn get(&self, index: usize) -> f32 {
        assert!(index < self.len());
        // SAFETY: below the length, as just checked.
        unsafe { self.format.read(self.bytes.as_ptr(), index) }
    }
}

/// Elements that a view with these (length, stride) axes reaches.
fn reach(axes: &[(usize, usize)]) -> usize {
    if axes.iter().any(|axis| axis.0 == 0) {
        return 0;
    }
    1 + axes.iter().map(|&(length, stride)| (length - 1) * stride).sum::<usize>()
}

/// One product with its operands in memory.
struct Case {
    description: Description,
    /// B as it lies in memory, also if the product takes it packed.
    b: Operand,
    storage: Option<Format>,
}

/// A matrix of random layout, `rows × cols`.
fn operand(random: &mut Random, rows: usize, cols: usize) -> Operand {
    let format = random.pick(&FLOATS);
    let gap = random.pick(&[0, 0, 1, 5]);
    let mut operand = match random.below(3) {
        0 => Operand::columns(format, rows + gap),
        1 => Operand { row_stride: 2 * cols + gap, col_stride: 2, format, round: None },
        _ => Operand::rows(format, cols + gap),
    };
    if random.chance(4) {
        operand.round = Some(random.pick(&FLOATS));
    }
    operand
}

fn case(random: &mut Random, m: usize, n: usize, k: usize) -> Case {
    let (a, b) = (operand(random, m, k), operand(random, k, n));
    let storage = random.chance(3).then(|| random.pick(&FLOATS));
    let format = random.pick(&[Format::F32, Format::F32, Format::Bf16, Format::F16]);
    let mut c = Output::rows(format, n + random.pick(&[0, 3]));
    match random.below(6) {
        0 => (c.row_stride, c.col_stride) = (1, m + 2),
        1 => (c.row_stride, c.col_stride) = (3 * n, 3),
        _ => {}
    }
    c.accumulate = random.chance(3);
    c.round = random.chance(4).then(|| random.pick(&FLOATS));
    let mut batch = Vec::new();
    let mut c_stride = reach(&[(m, c.row_stride), (n, c.col_stride)]);
    for _ in 0..random.pick(&[0, 0, 1, 2]) {
        let count = 1 + random.below(4);
        let b = if storage.is_some() { 0 } else { random.pick(&[0, k * n + 1]) };
        let a = random.pick(&[0, m * a.row_stride, m * k + 2]);
        batch.insert(0, BatchAxis { count, a, b, c: c_stride });
        c_stride *= count;
    }
    let bias = random.chance(3).then(|| Bias {
        // What some kernels add themselves is not rare.
        format: random.pick(&[Format::F32, Format::F32, Format::Bf16, Format::F16]),
        to: random.pick(&[BiasTo::Rows, BiasTo::Columns]),
    });
    let clamp = random.chance(4).then(|| random.pick(&[[0.0, f32::INFINITY], [-0.5, 0.75]]));
    let right = storage.map_or(Right::Strided(b), Right::Packed);
    let description = Description { m, n, k, batch, a, b: right, c, bias, clamp };
    Case { description, b, storage }
}

fn check(isa: Isa, team: &Team, case: &Case, random: &mut Random) {
    let Case { description: d, b: b_layout, storage } = case;
    let axes = |stride: fn(&BatchAxis) -> usize| {
        d.batch.iter().map(move |axis| (axis.count, stride(axis))).collect::<Vec<_>>()
    };
    let size = |batch: Vec<(usize, usize)>, matrix: [(usize, usize); 2]| {
        reach(&[batch, matrix.to_vec()].concat())
    };
    let a_size = size(axes(|x| x.a), [(d.m, d.a.row_stride), (d.k, d.a.col_stride)]);
    let b_size = size(axes(|x| x.b), [(d.k, b_layout.row_stride), (d.n, b_layout.col_stride)]);
    let c_size = size(axes(|x| x.c), [(d.m, d.c.row_stride), (d.n, d.c.col_stride)]);
    let a = Array::random(d.a.format, a_size, random);
    let b = Array::random(b_layout.format, b_size, random);
    let mut c = Array::random(d.c.format, c_size, random);
    let before: Vec<f32> = (0..c_size).map(|i| c.get(i)).collect();
    let bias = d.bias.map(|bias| {
        let count = if bias.to == BiasTo::Rows { d.m } else { d.n };
        (Array::random(bias.format, count, random), bias.to)
    });

    let product = Product::new(isa, team.threads(), d).unwrap();
    let mut scratch = AlignedBytes::new(product.scratch_bytes());
    // What is left from earlier products must not matter.
    scratch.fill(0xff);
    let mut packed =
        PackedB::new(isa, d.a.numbers(), d.k, d.n, storage.unwrap_or(Format::F32)).unwrap();
    // SAFETY: the arrays are as large as the views reach, and C is borrowed mutably.
    unsafe {
        let right = if storage.is_some() {
            packed.pack(team, b.bytes.as_ptr(), b_layout);
            B::Packed(&packed)
        } else {
            B::Strided(b.bytes.as_ptr())
        };
        let bias = bias.as_ref().map(|bias| bias.0.bytes.as_ptr());
        product.run(team, a.bytes.as_ptr(), right, c.bytes.as_mut_ptr(), bias, &mut scratch);
    }

    let mut written = vec![false; c_size];
    let rounded = |x: f32, format: Option<Format>| f64::from(format.map_or(x, |f| f.round(x)));
    for index in 0..d.batch.iter().map(|axis| axis.count).product::<usize>() {
        let (mut rest, mut at) = (index, [0; 3]);
        for axis in d.batch.iter().rev() {
            let i = rest % axis.count;
            rest /= axis.count;
            at = [at[0] + i * axis.a, at[1] + i * axis.b, at[2] + i * axis.c];
        }
        for row in 0..d.m {
            for col in 0..d.n {
                let (mut sum, mut magnitude) = (0.0, 0.0);
                for i in 0..d.k {
                    let x = a.get(at[0] + row * d.a.row_stride + i * d.a.col_stride);
                    let y = b.get(at[1] + i * b_layout.row_stride + col * b_layout.col_stride);
                    let y = rounded(y, b_layout.round) as f32;
                    let product = rounded(x, d.a.round) * rounded(y, *storage);
                    sum += product;
                    magnitude += product.abs();
                }
                if let Some((bias, to)) = &bias {
                    let bias = bias.get(if *to == BiasTo::Rows { row } else { col });
                    sum += f64::from(bias);
                    magnitude += f64::from(bias).abs();
                }
                let place = at[2] + row * d.c.row_stride + col * d.c.col_stride;
                let mut expected = sum;
                // Each of k + 2 additions and products may be off by half a unit. Products of bf16
                // are exact, and what is flushed to zero is far below the last term.
                let mut tolerance = magnitude * (d.k + 2) as f64 * f64::from(f32::EPSILON);
                if let Some(format) = d.c.round {
                    tolerance += unit(format, expected);
                }
                if let Some([low, high]) = d.clamp {
                    expected = expected.clamp(f64::from(low), f64::from(high));
                }
                if d.c.accumulate {
                    expected += f64::from(before[place]);
                }
                tolerance += unit(d.c.format, expected) + 1e-30;
                let found = f64::from(c.get(place));
                assert!(
                    (found - expected).abs() <= tolerance,
                    "{isa}, {} threads: C[{index}][{row}, {col}] is {found}, expected {expected} \
                     within {tolerance}: {d:?} {b_layout:?}",
                    team.threads(),
                );
                written[place] = true;
            }
        }
    }
    for (i, &old) in before.iter().enumerate() {
        assert!(written[i] || c.get(i) == old, "{isa}: wrote outside of C at {i}: {d:?}");
    }
}

/// How far rounding to `format` may move a number near `x`.
fn unit(format: Format, x: f64) -> f64 {
    let (relative, smallest) = match format {
        Format::Bf16 => (1.0 / 256.0, 0.0),
        Format::F16 => (1.0 / 2048.0, 1.0 / f64::from(1 << 24)),
        _ => (f64::from(f32::EPSILON), 0.0),
    };
    // Twice, as the number itself may lie on the other side of a power of two.
    2.0 * x.abs() * relative + smallest
}

/// The same case with numbers of bf16 on both sides, stored or rounded to.
fn of_bf16(mut case: Case, random: &mut Random) -> Case {
    for operand in [&mut case.description.a, &mut case.b] {
        operand.round = match operand.format {
            Format::Bf16 => random.chance(2).then_some(Format::Bf16),
            _ => Some(Format::Bf16),
        };
    }
    case.storage = case.storage.map(|_| Format::Bf16);
    case.description.b = case.storage.map_or(Right::Strided(case.b), Right::Packed);
    case
}

fn check_many(count: usize, seed: u64, mut shape: impl FnMut(&mut Random) -> [usize; 3]) {
    // Kernels for Arm are mostly run in an emulator, which takes its time.
    let count = if cfg!(target_arch = "aarch64") { count.div_ceil(4) } else { count };
    for threads in [1, 3] {
        let team = Team::new(threads).unwrap();
        for isa in Isa::available() {
            let mut random = Random(seed);
            for _ in 0..count {
                let [m, n, k] = shape(&mut random);
                let mut case = case(&mut random, m, n, k);
                if random.chance(3) {
                    case = of_bf16(case, &mut random);
                }
                check(isa, &team, &case, &mut random);
            }
        }
    }
}

#[test]
fn ragged_shapes_agree_with_the_reference() {
    check_many(1500, 1, |r| [r.dimension(), r.dimension(), r.dimension()]);
}

#[test]
fn few_rows_or_columns_agree_with_the_reference() {
    check_many(400, 2, |r| [1 + r.below(8), 1 + r.below(300), 1 + r.below(90)]);
    check_many(200, 3, |r| [1 + r.below(300), 1 + r.below(4), 1 + r.below(90)]);
}

#[test]
fn deep_products_of_several_blocks_agree_with_the_reference() {
    check_many(40, 4, |r| [1 + r.below(40), 1 + r.below(70), 370 + r.below(900)]);
}

#[test]
fn wide_and_tall_products_of_several_blocks_agree_with_the_reference() {
    check_many(8, 5, |r| [1 + r.below(30), 1000 + r.below(1200), 1 + r.below(20)]);
    check_many(8, 6, |r| [500 + r.below(900), 1 + r.below(70), 1 + r.below(20)]);
}

#[test]
fn without_depth_the_result_is_the_bias() {
    check_many(60, 7, |r| [r.below(30), r.below(70), 0]);
}

#[test]
fn empty_results_are_left_alone() {
    check_many(30, 8, |r| [0, r.below(70), r.below(20)]);
    check_many(30, 9, |r| [r.below(30), 0, r.below(20)]);
}

#[test]
fn every_row_count_of_a_tile_agrees_with_the_reference() {
    let team = Team::new(1).unwrap();
    for isa in Isa::available() {
        let mut random = Random(10);
        for m in 1..30 {
            for n in [1, 7, 16, 31, 32, 33] {
                for bf16 in [false, true] {
                    let case = case(&mut random, m, n, 17);
                    let case = if bf16 { of_bf16(case, &mut random) } else { case };
                    check(isa, &team, &case, &mut random);
                }
            }
        }
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let (m, n, k) = (83, 190, 500);
    let mut random = Random(11);
    let a = Array::random(Format::F32, m * k, &mut random);
    let b = Array::random(Format::F32, k * n, &mut random);
    let d = Description {
        m,
        n,
        k,
        batch: Vec::new(),
        a: Operand::rows(Format::F32, k),
        b: Right::Strided(Operand::columns(Format::F32, k)),
        c: Output::rows(Format::F32, n),
        bias: None,
        clamp: None,
    };
    for isa in Isa::available() {
        let mut first: Option<Vec<u8>> = None;
        for threads in 1..6 {
            let team = Team::new(threads).unwrap();
            let product = Product::new(isa, threads, &d).unwrap();
            let mut c = AlignedBytes::new(m * n * 4);
            let mut scratch = AlignedBytes::new(product.scratch_bytes());
            let b = B::Strided(b.bytes.as_ptr());
            // SAFETY: the arrays have the described sizes.
            unsafe {
                product.run(&team, a.bytes.as_ptr(), b, c.as_mut_ptr(), None, &mut scratch);
            }
            assert_eq!(first.get_or_insert_with(|| c.to_vec())[..], c[..], "{isa}, {threads}");
        }
    }
}

/// The best kernel is for both operands; a pinned set never gets another's.
#[test]
fn the_kernel_follows_the_numbers_of_both_operands() {
    let mut random = Random(13);
    let mut d = of_bf16(case(&mut random, 30, 40, 50), &mut random).description;
    let name = |isa: Isa, d: &Description| Product::new(isa, 1, d).unwrap().kernel_name();
    for isa in Isa::available() {
        let bf16 = name(isa, &d).contains("-bf16-");
        assert_eq!(
            bf16,
            matches!(isa, Isa::Avx512Bf16 | Isa::NeonBf16),
            "{isa}: {}",
            name(isa, &d)
        );
    }
    let choices = choices(&d).unwrap();
    assert_eq!(choices[0], Choice { isa: Isa::best(), kernel: name(Isa::best(), &d) });
    assert_eq!(choices.last().unwrap().kernel, name(Isa::Portable, &d));
    for (i, choice) in choices.iter().enumerate() {
        assert_eq!(choice.kernel, name(choice.isa, &d));
        assert!(choices[..i].iter().all(|other| other.kernel != choice.kernel), "{choices:?}");
    }
    (d.a.format, d.a.round) = (Format::F32, None);
    assert_eq!(name(Isa::best(), &d), kernel_name(Isa::best()));
}

#[test]
fn integer_operands_and_packed_batches_are_errors() {
    let mut random = Random(12);
    let mut d = case(&mut random, 3, 4, 5).description;
    d.a.format = Format::I32;
    let error = Product::new(Isa::Portable, 1, &d).unwrap_err();
    assert_eq!(error, Error::Format { what: "left operand", format: Format::I32 });
    d.a.format = Format::F32;
    d.b = Right::Packed(Format::F32);
    d.batch = vec![BatchAxis { count: 2, a: 15, b: 20, c: 12 }];
    assert_eq!(Product::new(Isa::Portable, 1, &d).unwrap_err(), Error::PackedBatch);
    assert!(PackedB::new(Isa::Portable, Format::F32, 3, 4, Format::U8).is_err());
}
