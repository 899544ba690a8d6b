//! Integer matrix products against our own products of f32, alternating in one run. Prints GOP/s
//! of both (two operations for a multiplication with its addition), and the share of the peak of
//! the integer kernel's multiplications, measured in registers where the kernel has VNNI.
//!
//! `cargo bench -p anemone-cpu --bench int8 [-- WORD]` keeps the shapes whose name holds WORD.

use anemone_cpu::format::Format;
use anemone_cpu::gemm::int8::{
    self, Activations, Description, Output, Product, Requantize, Side, Weights,
};
use anemone_cpu::gemm::{self, AlignedBytes, B, Operand, PackedB, Right};
use anemone_cpu::isa::Isa;
use anemone_cpu::team::{Team, default_threads};
use std::time::{Duration, Instant};

/// Name, m, n, k, the side of the weights, the format of the activations.
type Shape = (&'static str, usize, usize, usize, Side, Format);

const SHAPES: &[Shape] = &[
    ("conv 512x4096x512", 512, 4096, 512, Side::Left, Format::U8),
    ("static 256x2048x768", 256, 2048, 768, Side::Right, Format::U8),
    ("dynamic 256x768x768", 256, 768, 768, Side::Right, Format::F32),
    ("dynamic 256x2048x768", 256, 2048, 768, Side::Right, Format::F32),
    ("dynamic 256x768x2048", 256, 768, 2048, Side::Right, Format::F32),
    ("decode 1x2048x768", 1, 2048, 768, Side::Right, Format::F32),
    ("decode 1x32000x768", 1, 32000, 768, Side::Right, Format::F32),
];

/// How often the two are timed in turn.
const ROUNDS: usize = 21;

fn main() {
    let isa = Isa::detect().expect("an available instruction set");
    let word = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let threads = default_threads().expect("a thread count");
    let mut counts = vec![1, threads];
    counts.dedup();
    let peak = peak_per_thread();
    println!("{}; peak of vpdpbusd {peak:.0} GOP/s a thread", int8::kernel_name(isa));
    for &threads in &counts {
        let team = Team::new(threads).expect("threads");
        for &shape in SHAPES.iter().filter(|shape| shape.0.contains(&word)) {
            compare(isa, &team, shape, peak * threads as f64);
        }
    }
}

fn compare(isa: Isa, team: &Team, (name, m, n, k, side, format): Shape, peak: f64) {
    let threads = team.threads();
    let (rows, cols) = if side == Side::Left { (k, n) } else { (m, k) };
    let bytes = format == Format::U8;
    let activations = Activations {
        format,
        row_stride: cols,
        col_stride: 1,
        batch_stride: 0,
        zero: if bytes { 7 } else { 0 },
        scale: 0.1,
    };
    let output = Output {
        format: if bytes { Format::U8 } else { Format::F32 },
        row_stride: n,
        batch_stride: 0,
        relu: false,
        round: None,
        accumulate: false,
        requantize: bytes.then_some(Requantize { inverse: 0.05, zero: 128 }),
    };
    let d = Description { m, n, k, batch: 1, weights: side, activations, output, bias: None };
    let product = Product::new(isa, threads, &d).expect("a product");
    let channels = if side == Side::Left { m } else { n };
    let mut weights = Weights::new(isa, side, k, channels).expect("weights");
    let w: Vec<f32> = (0..k * channels).map(|i| (i * 37 % 255) as f32 - 127.0).collect();
    // SAFETY: the numbers of the whole operand.
    unsafe { weights.quantize(team, w.as_ptr().cast(), &Operand::columns(Format::F32, k)) };
    let a = AlignedBytes::new(rows * cols * format.bytes());
    let mut c = AlignedBytes::new(m * n * 4);
    let mut scratch = vec![0; product.scratch_bytes()];

    let float = gemm::Description {
        m,
        n,
        k,
        batch: vec![],
        a: Operand::rows(Format::F32, k),
        b: match side {
            Side::Right if m > 6 => Right::Packed(Format::F32),
            Side::Right => Right::Strided(Operand::columns(Format::F32, k)),
            Side::Left => Right::Strided(Operand::rows(Format::F32, n)),
        },
        c: gemm::Output::rows(Format::F32, n),
        bias: None,
        clamp: None,
    };
    let reference = gemm::Product::new(isa, threads, &float).expect("a product");
    let mut packed = PackedB::new(isa, Format::F32, k, n, Format::F32).expect("a packed operand");
    let x = vec![1f32; m.max(n) * k];
    // SAFETY: the numbers of the whole operand.
    unsafe { packed.pack(team, x.as_ptr().cast(), &Operand::columns(Format::F32, k)) };
    let b = match float.b {
        Right::Packed(_) => B::Packed(&packed),
        Right::Strided(_) => B::Strided(x.as_ptr().cast()),
    };
    let mut room = vec![0; reference.scratch_bytes()];
    let (mut ours, mut theirs) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        ours.push(time(|| {
            // SAFETY: the arrays hold what the description reaches.
            unsafe {
                product.run(team, a.as_ptr(), &weights, c.as_mut_ptr(), None, &mut scratch);
            }
        }));
        theirs.push(time(|| {
            // SAFETY: the arrays hold what the description reaches.
            unsafe {
                reference.run(team, x.as_ptr().cast(), b, c.as_mut_ptr(), None, &mut room);
            }
        }));
    }
    let rate = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        2.0 * (m * n * k) as f64 / times[times.len() / 2].as_nanos() as f64
    };
    let (ours, theirs) = (rate(&mut ours), rate(&mut theirs));
    println!(
        "{threads} thr {name:<22} int8 {ours:8.1} GOP/s ({:4.1} % of peak)  f32 {theirs:7.1}  ratio {:.2}",
        100.0 * ours / peak,
        ours / theirs
    );
}

fn time(mut f: impl FnMut()) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..2 {
        let start = Instant::now();
        f();
        best = best.min(start.elapsed());
    }
    best
}

/// GOP/s of `vpdpbusd` on registers, or 0 without it.
fn peak_per_thread() -> f64 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512f") {
        const TIMES: usize = 2_000_000;
        let best = (0..5).map(|_| {
            // SAFETY: the machine has the instructions.
            time(|| unsafe { spin(TIMES) })
        });
        let best = best.min().expect("five times");
        return (TIMES * 12 * 128) as f64 / best.as_nanos() as f64;
    }
    0.0
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn spin(times: usize) {
    use std::arch::x86_64::*;
    let zero = _mm512_setzero_si512();
    let x = std::hint::black_box(_mm512_set1_epi8(3));
    // Apart, so that each has a register; more than the latency times the rate.
    let (mut a, mut b, mut c, mut d, mut e, mut f) = (zero, zero, zero, zero, zero, zero);
    let (mut g, mut h, mut i, mut j, mut k, mut l) = (zero, zero, zero, zero, zero, zero);
    for _ in 0..times {
        (a, b) = (_mm512_dpbusd_epi32(a, x, x), _mm512_dpbusd_epi32(b, x, x));
        (c, d) = (_mm512_dpbusd_epi32(c, x, x), _mm512_dpbusd_epi32(d, x, x));
        (e, f) = (_mm512_dpbusd_epi32(e, x, x), _mm512_dpbusd_epi32(f, x, x));
        (g, h) = (_mm512_dpbusd_epi32(g, x, x), _mm512_dpbusd_epi32(h, x, x));
        (i, j) = (_mm512_dpbusd_epi32(i, x, x), _mm512_dpbusd_epi32(j, x, x));
        (k, l) = (_mm512_dpbusd_epi32(k, x, x), _mm512_dpbusd_epi32(l, x, x));
    }
    std::hint::black_box([a, b, c, d, e, f, g, h, i, j, k, l]);
}
