//! Matrix products against the `gemm` crate, alternating in one run, on the shapes of a 110M
//! Llama-style model with 256 tokens. Prints one JSON object per line, then a table.
//!
//! `cargo bench -p anemone-cpu --bench gemm [-- WORD]` keeps the shapes whose name holds WORD.

use anemone_cpu::format::Format;
use anemone_cpu::gemm::kernel_name;
use anemone_cpu::isa::Isa;
use anemone_cpu::measure::{Arithmetic, SHAPES, Shape, Trial};
use anemone_cpu::team::{Team, default_threads};
use std::time::{Duration, Instant};

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
    let (a_layout, b_layout) = (shape.a(Format::F32), shape.b(Format::F32));
    let mut trial = Trial::new(isa, team, &shape, Format::F32, packed).expect("a valid product");
    let (a, b) = (floats(trial.a()), floats(trial.b()));
    let mut theirs = vec![0.0f32; batch * m * n];
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
    let flops = shape.flops();
    // Short products are repeated, so that one sample takes some milliseconds.
    let repeats = ((3e8 / flops) as usize).clamp(1, 200);
    let (mut own, mut other, mut ratios, mut peaks) = (vec![], vec![], vec![], vec![]);
    for round in 0..ROUNDS + 2 {
        let (x, y) = (time(repeats, &mut || trial.run(team)), time(repeats, &mut run_theirs));
        let peak = Arithmetic::F32.burst(team).expect("every machine multiplies fp32");
        // The first rounds warm caches, threads and the clock.
        if round >= 2 {
            own.push(flops / x / 1e9);
            other.push(flops / y / 1e9);
            ratios.push(y / x);
            peaks.push(flops / x / peak);
        }
    }
    for (x, y) in trial.result().iter().zip(&theirs) {
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
        trial.kernel_name(),
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

fn floats(bytes: &[u8]) -> Vec<f32> {
    let float = |bytes: &[u8]| f32::from_ne_bytes(bytes.try_into().expect("four bytes"));
    bytes.chunks_exact(4).map(float).collect()
}
