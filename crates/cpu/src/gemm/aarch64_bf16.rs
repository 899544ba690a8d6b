//! The kernel for products of bf16 with bf16 on Arm processors with FEAT_BF16.
//!
//! BFMMLA multiplies two rows of A by two columns of B over four steps of k and adds the four
//! results to a square of sums in f32. So panels hold four steps of a lane together, zero after
//! the last. It rounds sums to odd, by at most a unit in the last place instead of half of one,
//! and takes subnormal numbers for zero (Arm Architecture Reference Manual, BFMMLA).

use super::aarch64_neon::{KERNEL as F32_KERNEL, LANES, MR, NR, bf16_bits, store};
use super::kernel::{Finish, Kernel, Source, Strip, Tile};
use crate::format::Format;
use std::arch::aarch64::*;
use std::arch::asm;

/// Only reached through [`super::kernel`], which checks the machine.
pub(super) struct NeonBf16;
pub(super) static KERNEL: NeonBf16 = NeonBf16;

/// Steps of k in an instruction.
const STEPS: usize = 4;
/// Pairs of columns of a tile.
const COL_PAIRS: usize = NR / 2;

// SAFETY: `tile` stores `rows` rows of `cols` lanes and reads the steps of both panels in fours,
// `pack` writes as many; the other methods are those of the kernel for f32.
unsafe impl Kernel for NeonBf16 {
    fn name(&self) -> &'static str {
        "neonbf16-bf16-8x12"
    }

    fn mr(&self) -> usize {
        MR
    }

    fn nr(&self) -> usize {
        NR
    }

    fn panel_format(&self) -> Format {
        Format::Bf16
    }

    fn depth_unit(&self) -> usize {
        STEPS
    }

    fn lane_bytes(&self, depth: usize) -> usize {
        depth.next_multiple_of(STEPS) * size_of::<u16>()
    }

    unsafe fn tile(&self, tile: &Tile) {
        // SAFETY: the caller vouches for the tile and the instructions.
        unsafe {
            match tile.rows {
                0..=2 => multiply::<1>(tile),
                3..=4 => multiply::<2>(tile),
                5..=6 => multiply::<3>(tile),
                _ => multiply::<4>(tile),
            }
        }
    }

    unsafe fn pack(&self, source: &Source, width: usize, panel: *mut u8) {
        let plain = source.format == Format::Bf16
            && source.round.is_none_or(|format| format == Format::Bf16);
        // SAFETY: the caller vouches for source and panel.
        unsafe {
            if plain && source.depth_stride == 1 {
                pack_lanes(source, width, panel.cast());
            } else {
                pack_any(source, width, panel.cast());
            }
        }
    }

    unsafe fn widen(&self, format: Format, from: *const u8, to: *mut f32, count: usize) {
        // SAFETY: the caller vouches for both ranges.
        unsafe { F32_KERNEL.widen(format, from, to, count) }
    }

    unsafe fn narrow(&self, format: Format, from: *const f32, to: *mut u8, count: usize) {
        // SAFETY: the caller vouches for both ranges.
        unsafe { F32_KERNEL.narrow(format, from, to, count) }
    }

    unsafe fn finish(&self, finish: &Finish) {
        // SAFETY: the caller vouches for what `finish` describes.
        unsafe { F32_KERNEL.finish(finish) }
    }

    unsafe fn strip(&self, strip: &Strip) {
        // Memory bounds products of a few rows: widening costs nothing there.
        // SAFETY: the caller vouches for what `strip` describes.
        unsafe { F32_KERNEL.strip(strip) }
    }
}

/// Multiplies all pairs of rows with pairs of columns. Written out: the compiler gives up on
/// unrolling loops of this size, and the sums would not stay in registers.
macro_rules! add_products {
    ($squares:ident, $rows:ident, $b:ident, $($pair:literal)*) => {
        $(
            let columns = vld1q_u16($b.add(2 * STEPS * $pair));
            $squares[0][$pair] = add_product($squares[0][$pair], $rows[0], columns);
            if P > 1 {
                $squares[1 % P][$pair] = add_product($squares[1 % P][$pair], $rows[1 % P], columns);
            }
            if P > 2 {
                $squares[2 % P][$pair] = add_product($squares[2 % P][$pair], $rows[2 % P], columns);
            }
            if P > 3 {
                $squares[3 % P][$pair] = add_product($squares[3 % P][$pair], $rows[3 % P], columns);
            }
        )*
    };
}

/// A tile of `P` pairs of rows.
#[target_feature(enable = "neon,bf16")]
unsafe fn multiply<const P: usize>(tile: &Tile) {
    let mut squares = [[vdupq_n_f32(0.0); COL_PAIRS]; P];
    let (mut a, mut b) = (tile.a.cast::<u16>(), tile.b.cast::<u16>());
    for _ in 0..tile.depth.div_ceil(STEPS) {
        // SAFETY: the panels hold the steps of MR and NR lanes in fours, and `P` pairs are at
        // most MR.
        unsafe {
            let rows: [uint16x8_t; P] = std::array::from_fn(|i| vld1q_u16(a.add(2 * STEPS * i)));
            add_products!(squares, rows, b, 0 1 2 3 4 5);
            a = a.add(STEPS * MR);
            b = b.add(STEPS * NR);
        }
    }
    let mut sums = [[[vdupq_n_f32(0.0); NR / LANES]; 2]; P];
    for (sums, squares) in sums.iter_mut().zip(&squares) {
        for (j, two) in squares.chunks_exact(2).enumerate() {
            // The upper row of a square is in the lower half of its register.
            let [left, right] = [two[0], two[1]].map(|x| vreinterpretq_f64_f32(x));
            sums[0][j] = vreinterpretq_f32_f64(vtrn1q_f64(left, right));
            sums[1][j] = vreinterpretq_f32_f64(vtrn2q_f64(left, right));
        }
    }
    // SAFETY: passed on.
    unsafe { store(tile, sums.as_flattened()) }
}

/// BFMMLA, for which there is no intrinsic yet.
#[inline]
#[target_feature(enable = "neon,bf16")]
fn add_product(mut sums: float32x4_t, rows: uint16x8_t, columns: uint16x8_t) -> float32x4_t {
    // SAFETY: only registers are read and written.
    unsafe {
        asm!(
            "bfmmla {sums:v}.4s, {rows:v}.8h, {columns:v}.8h",
            sums = inout(vreg) sums,
            rows = in(vreg) rows,
            columns = in(vreg) columns,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Packs bf16 that is contiguous along k: four steps are copied at a time.
unsafe fn pack_lanes(source: &Source, width: usize, panel: *mut u16) {
    let base = source.base.cast::<u16>();
    for lane in 0..width {
        for step in (0..source.depth).step_by(STEPS) {
            let mut four = [0; STEPS];
            if lane < source.lanes {
                let count = STEPS.min(source.depth - step);
                // SAFETY: steps below the depth of a lane of the source.
                unsafe {
                    let from = base.add(lane * source.lane_stride + step);
                    four.as_mut_ptr().copy_from_nonoverlapping(from, count);
                }
            }
            // SAFETY: four steps of a lane of the panel.
            unsafe { panel.add(step * width + lane * STEPS).cast::<[u16; 4]>().write(four) };
        }
    }
}

/// Packs any source by way of a panel in f32.
unsafe fn pack_any(source: &Source, width: usize, panel: *mut u16) {
    const BLOCK: usize = 32;
    let mut wide = [0.0f32; BLOCK * NR];
    for first in (0..source.depth).step_by(BLOCK) {
        let depth = BLOCK.min(source.depth - first);
        let from = first * source.depth_stride * source.format.bytes();
        let part = Source { base: source.base.wrapping_add(from), depth, ..*source };
        let whole = depth.next_multiple_of(STEPS);
        // SAFETY: `part` is a part of the source, and `wide` has room for 32 steps of the widest
        // panel.
        unsafe { F32_KERNEL.pack(&part, width, wide.as_mut_ptr().cast()) };
        wide[depth * width..whole * width].fill(0.0);
        for step in (0..whole).step_by(STEPS) {
            for lane in (0..width).step_by(LANES) {
                // SAFETY: widths are multiples of four, so these are lanes of both.
                unsafe {
                    let from = wide.as_ptr().add(step * width + lane);
                    let row = |i: usize| bf16_bits(vld1q_f32(from.add(i * width)));
                    let rows = uint16x4x4_t(row(0), row(1), row(2), row(3));
                    vst4_u16(panel.add((first + step) * width + lane * STEPS), rows);
                }
            }
        }
    }
}
