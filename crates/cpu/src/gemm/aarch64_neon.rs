//! Kernels for NEON, which 64-bit Arm processors have.

use super::generic::{self, Convert, Plain};
use super::kernel::{Finish, Kernel, Source, Strip, Tile};
use crate::format::Format;
use std::arch::aarch64::*;

pub(super) const MR: usize = 8;
/// Vectors across a tile.
pub(super) const NV: usize = 3;
pub(super) const LANES: usize = 4;
pub(super) const NR: usize = NV * LANES;

/// Only reached through [`super::kernel`], which checks the machine.
pub(super) struct Neon;
pub(super) static KERNEL: Neon = Neon;

// SAFETY: `tile` stores `rows` rows of `cols` lanes and reads `depth` steps of both panels; the
// other methods keep to what their arguments describe.
unsafe impl Kernel for Neon {
    fn name(&self) -> &'static str {
        "neon-f32-8x12"
    }

    fn mr(&self) -> usize {
        MR
    }

    fn nr(&self) -> usize {
        NR
    }

    unsafe fn tile(&self, tile: &Tile) {
        // SAFETY: the caller vouches for the tile.
        unsafe {
            match tile.b_format {
                Format::F32 => rows::<F32>(tile),
                Format::Bf16 => rows::<BF16>(tile),
                _ => rows::<F16>(tile),
            }
        }
    }

    unsafe fn pack(&self, source: &Source, width: usize, panel: *mut u8) {
        // SAFETY: the caller vouches for source and panel.
        unsafe { pack(source, width, panel.cast()) }
    }

    unsafe fn widen(&self, format: Format, from: *const u8, to: *mut f32, count: usize) {
        // SAFETY: the caller vouches for both ranges.
        unsafe { Simd::widen(format, from, to, count) }
    }

    unsafe fn narrow(&self, format: Format, from: *const f32, to: *mut u8, count: usize) {
        // SAFETY: the caller vouches for both ranges.
        unsafe { Simd::narrow(format, from, to, count) }
    }

    unsafe fn finish(&self, finish: &Finish) {
        // SAFETY: the caller vouches for what `finish` describes.
        unsafe { generic::finish::<Simd>(finish) }
    }

    unsafe fn strip(&self, strip: &Strip) {
        // SAFETY: the caller vouches for what `strip` describes.
        unsafe { generic::strip::<Simd>(strip) }
    }
}

const F32: u8 = 0;
const BF16: u8 = 1;
const F16: u8 = 2;

/// Low tiles do without half of the multiplications.
#[inline(always)]
unsafe fn rows<const B: u8>(tile: &Tile) {
    // SAFETY: passed on.
    unsafe {
        if tile.rows <= LANES {
            multiply::<1, B>(tile);
        } else {
            multiply::<2, B>(tile);
        }
    }
}

/// Adds the columns, times a lane of a vector of A, to the sums of the lane's row. Written out: the
/// compiler gives up on unrolling loops of this size, and the sums would not stay in registers.
macro_rules! add_lane {
    ($sums:ident, $columns:ident, $x:ident, $($row:literal => $lane:literal),*) => {
        $(
            $sums[$row][0] = vfmaq_laneq_f32::<$lane>($sums[$row][0], $columns[0], $x);
            $sums[$row][1] = vfmaq_laneq_f32::<$lane>($sums[$row][1], $columns[1], $x);
            $sums[$row][2] = vfmaq_laneq_f32::<$lane>($sums[$row][2], $columns[2], $x);
        )*
    };
}

/// A tile of `G` groups of four rows; B's panel is in format `B`.
#[target_feature(enable = "neon")]
unsafe fn multiply<const G: usize, const B: u8>(tile: &Tile) {
    let mut sums = [[vdupq_n_f32(0.0); NV]; MR];
    let (mut a, mut b) = (tile.a.cast::<f32>(), tile.b);
    let size = if B == F32 { 4 } else { 2 };
    for _ in 0..tile.depth {
        // SAFETY: the panels hold `depth` steps of MR and NR lanes, and `G` groups are at most MR.
        unsafe {
            let columns: [float32x4_t; NV] =
                std::array::from_fn(|j| load::<B>(b.add(j * LANES * size)));
            let x = vld1q_f32(a);
            add_lane!(sums, columns, x, 0 => 0, 1 => 1, 2 => 2, 3 => 3);
            if G == 2 {
                let x = vld1q_f32(a.add(LANES));
                add_lane!(sums, columns, x, 4 => 0, 5 => 1, 6 => 2, 7 => 3);
            }
            a = a.add(MR);
            b = b.wrapping_add(tile.b_step * size);
        }
    }
    // SAFETY: passed on.
    unsafe { store(tile, &sums) }
}

/// Stores the sums of a tile, or adds them to what is there.
///
/// # Safety
/// C is as for [`Kernel::tile`], and `sums` has at least its rows.
#[inline(always)]
pub(super) unsafe fn store(tile: &Tile, sums: &[[float32x4_t; NV]]) {
    for (i, sums) in sums.iter().enumerate().take(tile.rows) {
        let c = tile.c.wrapping_add(i * tile.c_stride);
        // SAFETY: all lanes are columns of C, or only those that are get written.
        unsafe {
            if tile.cols >= NR {
                for (j, &sum) in sums.iter().enumerate() {
                    let to = c.add(j * LANES);
                    let old = if tile.accumulate { vld1q_f32(to) } else { vdupq_n_f32(0.0) };
                    vst1q_f32(to, vaddq_f32(sum, old));
                }
                continue;
            }
            let mut row = [0.0; NR];
            for (j, &sum) in sums.iter().enumerate() {
                vst1q_f32(row[j * LANES..].as_mut_ptr(), sum);
            }
            for (j, sum) in row.into_iter().enumerate().take(tile.cols) {
                let to = c.add(j);
                *to = if tile.accumulate { *to + sum } else { sum };
            }
        }
    }
}

/// A vector of B's panel.
#[inline(always)]
unsafe fn load<const B: u8>(from: *const u8) -> float32x4_t {
    // SAFETY: the caller vouches for a vector of the format.
    unsafe {
        match B {
            F32 => vld1q_f32(from.cast()),
            BF16 => widen_bf16(vld1_u16(from.cast())),
            _ => vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from.cast()))),
        }
    }
}

#[inline(always)]
fn widen_bf16(x: uint16x4_t) -> float32x4_t {
    // SAFETY: the machine has NEON.
    unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(x)) }
}

/// The bits of the nearest bf16; NaN stays NaN.
#[inline(always)]
pub(super) fn bf16_bits(x: float32x4_t) -> uint16x4_t {
    // SAFETY: the machine has NEON.
    unsafe {
        let bits = vreinterpretq_u32_f32(x);
        let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
        let up = vaddq_u32(odd, vdupq_n_u32(0x7fff));
        let rounded = vshrn_n_u32::<16>(vaddq_u32(bits, up));
        let quiet = vorr_u16(vshrn_n_u32::<16>(bits), vdup_n_u16(0x40));
        vbsl_u16(vmovn_u32(vceqq_f32(x, x)), rounded, quiet)
    }
}

#[inline(always)]
fn f16_bits(x: float32x4_t) -> uint16x4_t {
    // SAFETY: the machine has NEON.
    unsafe { vreinterpret_u16_f16(vcvt_f16_f32(x)) }
}

struct Simd;

impl Convert for Simd {
    #[inline(always)]
    unsafe fn widen(format: Format, from: *const u8, to: *mut f32, count: usize) {
        let whole = count - count % LANES;
        // SAFETY: the caller vouches for `count` elements on both sides.
        unsafe {
            match format {
                Format::F32 => return to.copy_from_nonoverlapping(from.cast(), count),
                Format::Bf16 => {
                    each(whole, |i| vst1q_f32(to.add(i), load::<BF16>(from.add(2 * i))))
                }
                _ => each(whole, |i| vst1q_f32(to.add(i), load::<F16>(from.add(2 * i)))),
            }
            Plain::widen(format, from.add(2 * whole), to.add(whole), count - whole);
        }
    }

    #[inline(always)]
    unsafe fn narrow(format: Format, from: *const f32, to: *mut u8, count: usize) {
        let whole = count - count % LANES;
        let halves = to.cast::<u16>();
        // SAFETY: as above.
        unsafe {
            match format {
                Format::F32 => return to.cast::<f32>().copy_from_nonoverlapping(from, count),
                Format::Bf16 => {
                    each(whole, |i| vst1_u16(halves.add(i), bf16_bits(vld1q_f32(from.add(i)))));
                }
                _ => each(whole, |i| vst1_u16(halves.add(i), f16_bits(vld1q_f32(from.add(i))))),
            }
            Plain::narrow(format, from.add(whole), to.add(2 * whole), count - whole);
        }
    }

    #[inline(always)]
    unsafe fn round(format: Format, data: *mut f32, count: usize) {
        let whole = count - count % LANES;
        // SAFETY: as above.
        unsafe {
            match format {
                Format::F32 => return,
                Format::Bf16 => each(whole, |i| {
                    let rounded = widen_bf16(bf16_bits(vld1q_f32(data.add(i))));
                    vst1q_f32(data.add(i), rounded);
                }),
                _ => each(whole, |i| {
                    let bits = f16_bits(vld1q_f32(data.add(i)));
                    vst1q_f32(data.add(i), vcvt_f32_f16(vreinterpret_f16_u16(bits)));
                }),
            }
            Plain::round(format, data.add(whole), count - whole);
        }
    }

    #[inline(always)]
    fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

/// Calls a function with the start of every vector below `end`.
#[inline(always)]
fn each(end: usize, f: impl FnMut(usize)) {
    (0..end).step_by(LANES).for_each(f);
}

unsafe fn pack(source: &Source, width: usize, panel: *mut f32) {
    // SAFETY: passed on.
    unsafe {
        if source.depth_stride != 1 || source.lane_stride == 1 {
            return generic::pack::<Simd>(source, width, panel);
        }
        match source.format {
            Format::F32 => pack_transposed::<F32>(source, width, panel),
            Format::Bf16 => pack_transposed::<BF16>(source, width, panel),
            _ => pack_transposed::<F16>(source, width, panel),
        }
        if let Some(format) = source.round.filter(|&f| f != source.format) {
            Simd::round(format, panel, source.depth * width);
        }
    }
}

/// Packs lanes that are contiguous along k, by transposing squares of 4 in registers.
#[target_feature(enable = "neon")]
unsafe fn pack_transposed<const B: u8>(source: &Source, width: usize, panel: *mut f32) {
    let bytes = source.format.bytes();
    let whole = source.depth - source.depth % LANES;
    for lane in (0..width).step_by(LANES) {
        for step in (0..whole).step_by(LANES) {
            let mut square = [vdupq_n_f32(0.0); LANES];
            for (i, row) in square.iter_mut().enumerate() {
                if lane + i < source.lanes {
                    let at = ((lane + i) * source.lane_stride + step) * bytes;
                    // SAFETY: four steps below the depth of a lane of the source.
                    *row = unsafe { load::<B>(source.base.add(at)) };
                }
            }
            for (i, row) in transposed(square).into_iter().enumerate() {
                // SAFETY: widths are multiples of four, and so these are lanes of the panel.
                unsafe { vst1q_f32(panel.add((step + i) * width + lane), row) };
            }
        }
    }
    let rest = Source {
        base: source.base.wrapping_add(whole * bytes),
        depth: source.depth - whole,
        round: None,
        ..*source
    };
    // SAFETY: the remaining steps of source and panel.
    unsafe { generic::pack::<Simd>(&rest, width, panel.add(whole * width)) }
}

#[inline(always)]
fn transposed(r: [float32x4_t; LANES]) -> [float32x4_t; LANES] {
    // SAFETY: the machine has NEON.
    unsafe {
        let wide = |x: float32x4_t| vreinterpretq_f64_f32(x);
        let [even, odd] = [vtrn1q_f32(r[0], r[1]), vtrn2q_f32(r[0], r[1])].map(wide);
        let [next_even, next_odd] = [vtrn1q_f32(r[2], r[3]), vtrn2q_f32(r[2], r[3])].map(wide);
        [
            vtrn1q_f64(even, next_even),
            vtrn1q_f64(odd, next_odd),
            vtrn2q_f64(even, next_even),
            vtrn2q_f64(odd, next_odd),
        ]
        .map(|x| vreinterpretq_f32_f64(x))
    }
}
