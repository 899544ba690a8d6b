//! How many operations a second the instructions give that products are made of, in registers.

use crate::isa::Isa;
use crate::team::Team;
use std::hint::black_box;
use std::time::Instant;

/// An instruction that multiplies and adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Fused multiplication and addition of fp32.
    F32,
    /// Dot products of pairs of bf16, added to fp32.
    Bf16,
    /// Dot products of four int8, added to int32.
    Int8,
}

/// Independent sums, enough to hide the latency of an addition.
const CHAINS: usize = 12;

/// Rounds over the chains in one burst: about half a millisecond.
const STEPS: usize = 200_000;

/// Runs `STEPS` rounds and gives the operations of one instruction: two for every product.
type Loop = unsafe fn() -> usize;

impl Arithmetic {
    /// All of them.
    pub const ALL: [Arithmetic; 3] = [Arithmetic::F32, Arithmetic::Bf16, Arithmetic::Int8];

    /// The word for its element type.
    pub fn name(self) -> &'static str {
        match self {
            Arithmetic::F32 => "fp32",
            Arithmetic::Bf16 => "bf16",
            Arithmetic::Int8 => "int8",
        }
    }

    /// The widest instruction of this machine, such as `vfmadd 512`; none if it has none.
    pub fn instruction(self) -> Option<&'static str> {
        self.best().map(|(name, _)| name)
    }

    /// Operations per second of all threads of a team together, in one short burst; a product
    /// and its sum count as two. None if the machine has no such instruction.
    ///
    /// A single burst may be disturbed: the peak is the best of several.
    pub fn burst(self, team: &Team) -> Option<f64> {
        let (_, run) = self.best()?;
        let start = Instant::now();
        let operations = std::sync::atomic::AtomicUsize::new(0);
        team.run(&|_, _| {
            // SAFETY: `best` gives only loops whose instructions were found on this machine.
            let one = unsafe { run() };
            let total = one * CHAINS * STEPS;
            operations.fetch_add(total, std::sync::atomic::Ordering::Relaxed);
        });
        Some(operations.into_inner() as f64 / start.elapsed().as_secs_f64())
    }

    fn best(self) -> Option<(&'static str, Loop)> {
        #[cfg(target_arch = "x86_64")]
        {
            let wide = Isa::Avx512.is_available();
            match self {
                Arithmetic::F32 if wide => return Some(("vfmadd 512", x86::f32_512)),
                Arithmetic::F32 if Isa::Avx2.is_available() => {
                    return Some(("vfmadd 256", x86::f32_256));
                }
                Arithmetic::Bf16 if wide && is_x86_feature_detected!("avx512bf16") => {
                    return Some(("vdpbf16ps 512", x86::bf16_512));
                }
                Arithmetic::Int8 if wide && is_x86_feature_detected!("avx512vnni") => {
                    return Some(("vpdpbusd 512", x86::int8_512));
                }
                _ => {}
            }
        }
        #[cfg(target_arch = "aarch64")]
        match self {
            Arithmetic::F32 if Isa::Neon.is_available() => {
                return Some(("fmla 128", arm::f32_128));
            }
            Arithmetic::Bf16 if Isa::NeonBf16.is_available() => {
                return Some(("bfmmla 128", arm::bf16_128));
            }
            Arithmetic::Int8 if std::arch::is_aarch64_feature_detected!("dotprod") => {
                return Some(("sdot 128", arm::int8_128));
            }
            _ => {}
        }
        (self == Arithmetic::F32).then_some((Isa::Portable.name(), portable as Loop))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{CHAINS, STEPS, black_box};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f")]
    pub fn f32_512() -> usize {
        let x = black_box(_mm512_set1_ps(0.999));
        let mut sums = black_box([_mm512_set1_ps(1.0); CHAINS]);
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, x, x);
            }
        }
        black_box(sums);
        2 * 16
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn f32_256() -> usize {
        let x = black_box(_mm256_set1_ps(0.999));
        let mut sums = black_box([_mm256_set1_ps(1.0); CHAINS]);
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, x, x);
            }
        }
        black_box(sums);
        2 * 8
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub fn bf16_512() -> usize {
        // Pairs of bf16 that are 0.5: sums stay finite, and are never subnormal.
        let x = black_box(_mm512_set1_epi32(0x3f00_3f00));
        let mut sums = black_box([_mm512_set1_ps(1.0); CHAINS]);
        for _ in 0..STEPS {
            for sum in &mut sums {
                // SAFETY: both types are 64 bytes, and every pattern is valid in both.
                let x = unsafe { std::mem::transmute::<__m512i, __m512bh>(x) };
                *sum = _mm512_dpbf16_ps(*sum, x, x);
            }
        }
        black_box(sums);
        2 * 32
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub fn int8_512() -> usize {
        let x = black_box(_mm512_set1_epi8(1));
        let mut sums = black_box([_mm512_setzero_si512(); CHAINS]);
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, x, x);
            }
        }
        black_box(sums);
        2 * 64
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::{CHAINS, STEPS, black_box};
    use std::arch::aarch64::*;
    use std::arch::asm;

    #[target_feature(enable = "neon")]
    pub fn f32_128() -> usize {
        let x = black_box(vdupq_n_f32(0.999));
        let mut sums = black_box([vdupq_n_f32(1.0); CHAINS]);
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = vfmaq_f32(x, *sum, x);
            }
        }
        black_box(sums);
        2 * 4
    }

    #[target_feature(enable = "neon,bf16")]
    pub fn bf16_128() -> usize {
        // Numbers that are 0.5: sums stay finite, and are never subnormal.
        let x = black_box(vdupq_n_u16(0x3f00));
        let mut sums = black_box([vdupq_n_f32(1.0); CHAINS]);
        for _ in 0..STEPS {
            for sum in &mut sums {
                // SAFETY: only registers are read and written.
                unsafe {
                    asm!(
                        "bfmmla {0:v}.4s, {1:v}.8h, {1:v}.8h",
                        inout(vreg) *sum,
                        in(vreg) x,
                        options(pure, nomem, nostack, preserves_flags),
                    );
                }
            }
        }
        black_box(sums);
        2 * 16
    }

    #[target_feature(enable = "neon,dotprod")]
    pub fn int8_128() -> usize {
        let x = black_box(vdupq_n_s8(1));
        let mut sums = black_box([vdupq_n_s32(0); CHAINS]);
        for _ in 0..STEPS {
            for sum in &mut sums {
                // SAFETY: only registers are read and written.
                unsafe {
                    asm!(
                        "sdot {0:v}.4s, {1:v}.16b, {1:v}.16b",
                        inout(vreg) *sum,
                        in(vreg) x,
                        options(pure, nomem, nostack, preserves_flags),
                    );
                }
            }
        }
        black_box(sums);
        2 * 16
    }
}

fn portable() -> usize {
    let x = black_box([0.999f32; 4]);
    let mut sums = black_box([[1.0f32; 4]; CHAINS]);
    for _ in 0..STEPS {
        for sum in &mut sums {
            for (sum, x) in sum.iter_mut().zip(x) {
                *sum = *sum * x + x;
            }
        }
    }
    black_box(sums);
    2 * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_instruction_runs_and_fp32_is_everywhere() {
        let team = Team::new(2).unwrap();
        assert!(Arithmetic::F32.instruction().is_some());
        for arithmetic in Arithmetic::ALL {
            let rate = arithmetic.burst(&team);
            assert_eq!(rate.is_some(), arithmetic.instruction().is_some());
            assert!(rate.is_none_or(|rate| rate.is_finite() && rate > 0.0));
        }
    }
}
