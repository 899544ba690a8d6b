//! How fast row programs move memory, next to a plain copy.
//!
//! `cargo bench -p anemone-cpu --bench rows -- [name]`; the environment pins the threads and the
//! instruction set.

use anemone_cpu::format::Format;
use anemone_cpu::isa::Isa;
use anemone_cpu::rows::{Binary, Operand, Reduction, RowBuilder, RowProgram, Scratch, Unary};
use anemone_cpu::team::Team;
use std::time::Instant;

fn main() {
    let team = Team::from_environment().expect("a team");
    let isa = Isa::detect().expect("an instruction set");
    println!("{isa}, {} threads", team.threads());
    let programs: [(&str, usize, usize, usize, Program); 8] = [
        ("softmax", 3072, 256, 2, softmax),
        ("softmax", 1, 151_936, 2, softmax),
        ("rms norm", 256, 768, 2, rms_norm),
        ("rms norm", 6144, 32, 2, rms_norm),
        ("swiglu", 256, 2048, 3, swiglu),
        ("bias", 256, 2048, 2, bias),
        ("column sum", 3072, 768, 1, column_sum),
        ("transpose", 1024, 768, 2, transpose),
    ];
    let wanted = std::env::args().nth(1).filter(|word| !word.starts_with('-'));
    for (name, rows, inner, arrays, program) in programs {
        if wanted.as_ref().is_none_or(|word| name.contains(word)) {
            report(&team, isa, name, arrays, (rows, inner), program(rows, inner));
        }
    }
}

/// Makes a program on rows of some length.
type Program = fn(usize, usize) -> RowProgram;

fn report(
    team: &Team,
    isa: Isa,
    name: &str,
    arrays: usize,
    (rows, inner): (usize, usize),
    program: RowProgram,
) {
    let count = rows * inner;
    let mut memory: Vec<Vec<f32>> =
        (0..4).map(|slot| (0..count).map(|i| ((i + slot) % 17) as f32 * 0.1).collect()).collect();
    let pointers: Vec<*mut u8> = memory.iter_mut().map(|m| m.as_mut_ptr().cast()).collect();
    let mut scratch = Scratch::new(program.scratch_bytes(team.threads()));
    // SAFETY: every operand has at most `count` elements.
    let own = best(|| unsafe { program.run(team, isa, &pointers, &mut scratch) });
    let (first, rest) = memory.split_at_mut(1);
    let copy = best(|| rest[0].copy_from_slice(std::hint::black_box(&first[0])));
    let gigabytes = |arrays: usize, seconds: f64| (arrays * count * 4) as f64 / seconds / 1e9;
    println!(
        "  {name:<11} [{rows:>4} x {inner:>6}] {:>8.1} us {:>6.1} GB/s   copy {:>6.1} GB/s",
        own * 1e6,
        gigabytes(arrays, own),
        gigabytes(2, copy),
    );
}

/// The shortest of many runs.
fn best(mut run: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..200 {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

fn array(slot: usize, inner: usize) -> Operand {
    Operand {
        slot,
        byte_offset: 0,
        format: Format::F32,
        outer_strides: vec![inner as isize],
        inner_stride: 1,
    }
}

fn softmax(rows: usize, inner: usize) -> RowProgram {
    let mut b = RowBuilder::new(&[rows], inner);
    let x = b.load(array(0, inner));
    let max = b.reduce(Reduction::Max, x);
    let shifted = b.binary(Binary::Sub, x, max);
    let e = b.unary(Unary::Exp, shifted);
    let sum = b.reduce(Reduction::Sum, e);
    let scale = b.unary(Unary::Recip, sum);
    let y = b.binary(Binary::Mul, e, scale);
    b.store(array(1, inner), y);
    b.finish()
}

fn rms_norm(rows: usize, inner: usize) -> RowProgram {
    let mut b = RowBuilder::new(&[rows], inner);
    let x = b.load(array(0, inner));
    let gain = b.load(Operand { outer_strides: vec![0], ..array(2, inner) });
    let square = b.unary(Unary::Square, x);
    let sum = b.reduce(Reduction::Sum, square);
    let mean = b.binary_constant(Binary::Mul, sum, 1.0 / inner as f32);
    let shifted = b.binary_constant(Binary::Add, mean, 1e-5);
    let scale = b.unary(Unary::Rsqrt, shifted);
    let normalized = b.binary(Binary::Mul, x, scale);
    let y = b.binary(Binary::Mul, normalized, gain);
    b.store(array(1, inner), y);
    b.finish()
}

fn swiglu(rows: usize, inner: usize) -> RowProgram {
    let mut b = RowBuilder::new(&[rows], inner);
    let gate = b.load(array(0, inner));
    let up = b.load(array(1, inner));
    let silu = b.unary(Unary::Silu, gate);
    let y = b.binary(Binary::Mul, silu, up);
    b.store(array(2, inner), y);
    b.finish()
}

fn bias(rows: usize, inner: usize) -> RowProgram {
    let mut b = RowBuilder::new(&[rows], inner);
    let x = b.load(array(0, inner));
    let bias = b.load(Operand { outer_strides: vec![0], ..array(2, inner) });
    let y = b.binary(Binary::Add, x, bias);
    b.store(array(1, inner), y);
    b.finish()
}

fn column_sum(rows: usize, inner: usize) -> RowProgram {
    let mut b = RowBuilder::new(&[rows], inner);
    let x = b.load(array(0, inner));
    b.column_reduce(Reduction::Sum, x, array(1, inner), false);
    b.finish()
}

fn transpose(rows: usize, inner: usize) -> RowProgram {
    let mut b = RowBuilder::new(&[rows], inner);
    let from = Operand { outer_strides: vec![1], inner_stride: rows as isize, ..array(0, inner) };
    let x = b.load(from);
    b.store(array(1, inner), x);
    b.finish()
}
