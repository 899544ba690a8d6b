//! Matrix products against the `gemm` crate, alternating in one run, on the shapes of a 110M
//! Llama-style model with 256 tokens. Prints one JSON object per line, then a table.
//!
//! `cargo bench -p anemone-cpu --bench gemm [-- WORD]` keeps the shapes whose name holds WORD.

use anemone_cpu::format::Format;
use anemone_cpu::gemm::{
    AlignedBytes, B, BatchAxis, Description, Operand, Output, PackedB, Product, Right, kernel_name,
};
use anemone_cpu::isa::Isa;
use anemone_cpu::team::{Team, default_threads};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// A product; `a` and `b` say whether the operand is stored transposed.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    a_transposed: bool,
    b_transposed: bool,
}

const fn shape(name: &'static str, batch: usize, [m, n, k]: [usize; 3], t: [bool; 2]) -> Shape {
    Shape { name, batch, m, n, k, a_transposed: t[0], b_transposed: t[1] }
}

const SHAPES: &[Shape] = &[
    shape("forward 256x768x768", 1, [256, 768, 768], [false, true]),
    shape("forward 256x2048x768", 1, [256, 2048, 768], [false, true]),
    shape("forward 256x768x2048", 1, [256, 768, 2048], [false, true]),
    shape("forward 256x32000x768", 1, [256, 32000, 768], [false, true]),
    shape("square 2048x2048x2048", 1, [2048, 2048, 2048], [false, false]),
    shape("dX 256x768x2048", 1, [256, 768, 2048], [false, false]),
    shape("dX 256x768x32000", 1, [256, 768, 32000], [false, false]),
    shape("dW 768x768x256", 1, [768, 768, 256], [true, false]),
    shape("dW 2048x768x256", 1, [2048, 768, 256], [true, false]),
    shape("dW 32000x768x256", 1, [32000, 768, 256], [true, false]),
    shape("attention qk 12x256x256x64", 12, [256, 256, 64], [false, true]),
    shape("attention pv 12x256x64x256", 12, [256, 64, 256], [false, false]),
    shape("decode 1x2048x768", 1, [1, 2048, 768], [false, true]),
    shape("decode 1x768x2048", 1, [1, 768, 2048], [false, true]),
    shape("decode 1x32000x768", 1, [1, 32000, 768], [false, true]),
];

/// How often the two are timed in turn.
const ROUNDS: usize = 15;

fn main() {
    let isa = Isa::detect().expect("an available instruction set");
    let word = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let threads = default_threads().expect("a thread count");
    let mut counts = vec![1, threads];
    counts.dedup();
    let mut table = Vec::new();
    for &threads in &counts {
        let team = Team::new(threads).expect("threads");
        for shape in SHAPES.iter().filter(|shape| shape.name.contains(&word)) {
            for packed in [false, true] {
                // Attention multiplies activations, which are never packed ahead.
                if packed && shape.batch > 1 {
                    continue;
                }
                table.push(compare(isa, &team, *shape, packed));
            }
        }
    }
    println!(
        "\n{:>3} {:<28} {:>8} {:>9} {:>9} {:>7} {:>7}",
        "thr",
        kernel_name(isa),
        "B",
        "GFLOP/s",
        "gemm",
        "ratio",
        "of peak"
    );
    for line in table {
        println!("{line}");
    }
}

fn compare(isa: Isa, team: &Team, shape: Shape, packed: bool) -> String {
    let Shape { batch, m, n, k, .. } = shape;
    let operand = |transposed: bool, rows: usize, cols: usize| {
        if transposed {
            Operand::columns(Format::F32, rows)
        } else {
            Operand::rows(Format::F32, cols)
        }
    };
    let (a_layout, b_layout) =
        (operand(shape.a_transposed, m, k), operand(shape.b_transposed, k, n));
    let description = Description {
        m,
        n,
        k,
        batch: vec![BatchAxis { count: batch, a: m * k, b: k * n, c: m * n }],
        a: a_layout,
        b: if packed { Right::Packed(Format::F32) } else { Right::Strided(b_layout) },
        c: Output::rows(Format::F32, n),
        bias: None,
    };
    let description = match packed {
        true => Description { batch: Vec::new(), ..description },
        false => description,
    };
    let product = Product::new(isa, team.threads(), &description).expect("a valid product");
    let mut scratch = AlignedBytes::new(product.scratch_bytes());
    let (a, b) = (numbers(batch * m * k), numbers(batch * k * n));
    let mut ours = vec![0.0f32; batch * m * n];
    let mut theirs = vec![0.0f32; batch * m * n];
    let mut panels = PackedB::new(isa, k, n, Format::F32).expect("a float format");
    if packed {
        // SAFETY: `b` holds the matrix.
        unsafe { panels.pack(team, b.as_ptr().cast(), &b_layout) };
    }
    let right = if packed { B::Packed(&panels) } else { B::Strided(b.as_ptr().cast()) };
    let mut run_ours = || {
        // SAFETY: the vectors hold the operands.
        unsafe {
            let (a, c) = (a.as_ptr().cast(), ours.as_mut_ptr().cast());
            product.run(team, a, right, c, None, &mut scratch);
        }
    };
    let parallelism = match team.threads() {
        1 => gemm::Parallelism::None,
        threads => gemm::Parallelism::Rayon(threads),
    };
    let mut run_theirs = || {
        for i in 0..batch {
            // SAFETY: the vectors hold the operands.
            unsafe {
                gemm::gemm(
                    m,
                    n,
                    k,
                    theirs.as_mut_ptr().add(i * m * n),
                    1,
                    n as isize,
                    false,
                    a.as_ptr().add(i * m * k),
                    a_layout.col_stride as isize,
                    a_layout.row_stride as isize,
                    b.as_ptr().add(i * k * n),
                    b_layout.col_stride as isize,
                    b_layout.row_stride as isize,
                    0.0f32,
                    1.0f32,
                    false,
                    false,
                    false,
                    parallelism,
                );
            }
        }
    };
    let flops = 2.0 * (batch * m * n * k) as f64;
    // Short products are repeated, so that one sample takes some milliseconds.
    let repeats = ((3e8 / flops) as usize).clamp(1, 200);
    let (mut own, mut other, mut ratios, mut peaks) = (vec![], vec![], vec![], vec![]);
    for round in 0..ROUNDS + 2 {
        let (x, y) = (time(repeats, &mut run_ours), time(repeats, &mut run_theirs));
        let peak = peak(isa) * team.threads() as f64;
        // The first rounds warm caches, threads and the clock.
        if round >= 2 {
            own.push(flops / x / 1e9);
            other.push(flops / y / 1e9);
            ratios.push(y / x);
            peaks.push(flops / x / peak);
        }
    }
    for (x, y) in ours.iter().zip(&theirs) {
        assert!((x - y).abs() <= 1e-4 * (k as f32).sqrt() * 4.0, "{}: {x} and {y}", shape.name);
    }
    let [own, other, ratio, share] = [own, other, ratios, peaks].map(median);
    let threads = team.threads();
    let b = if packed { "packed" } else { "strided" };
    println!(
        "{{\"shape\":\"{}\",\"threads\":{threads},\"b\":\"{b}\",\"kernel\":\"{}\",\
         \"gflops\":{own:.1},\"gemm_gflops\":{other:.1},\"ratio\":{ratio:.3},\
         \"share_of_peak\":{share:.3}}}",
        shape.name,
        product.kernel_name(),
    );
    format!(
        "{threads:>3} {:<28} {b:>8} {own:>9.1} {other:>9.1} {ratio:>7.2} {share:>7.2}",
        shape.name
    )
}

/// Seconds of one call, of `repeats` in a row.
fn time(repeats: usize, f: &mut impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..repeats).for_each(|_| f());
    start.elapsed().max(Duration::from_nanos(1)).as_secs_f64() / repeats as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0).collect()
}

/// Floating-point operations in a second of one thread that multiplies in registers only.
fn peak(isa: Isa) -> f64 {
    const STEPS: usize = 200_000;
    let start = Instant::now();
    // SAFETY: the instruction set was found on this machine.
    let lanes = unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => peak_avx512(STEPS),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => peak_avx2(STEPS),
            _ => peak_portable(STEPS),
        }
    };
    (2 * STEPS * CHAINS * lanes) as f64 / start.elapsed().as_secs_f64()
}

/// Independent sums, enough to hide the latency of an addition.
const CHAINS: usize = 12;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn peak_avx512(steps: usize) -> usize {
    use std::arch::x86_64::*;
    let x = black_box(_mm512_set1_ps(0.999));
    let mut sums = black_box([_mm512_set1_ps(1.0); CHAINS]);
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, x, x);
        }
    }
    black_box(sums);
    16
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn peak_avx2(steps: usize) -> usize {
    use std::arch::x86_64::*;
    let x = black_box(_mm256_set1_ps(0.999));
    let mut sums = black_box([_mm256_set1_ps(1.0); CHAINS]);
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, x, x);
        }
    }
    black_box(sums);
    8
}

fn peak_portable(steps: usize) -> usize {
    let x = black_box([0.999f32; 4]);
    let mut sums = black_box([[1.0f32; 4]; CHAINS]);
    for _ in 0..steps {
        for sum in &mut sums {
            for (sum, x) in sum.iter_mut().zip(x) {
                *sum = *sum * x + x;
            }
        }
    }
    black_box(sums);
    4
}
