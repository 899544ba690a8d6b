//! The kernel for products of bf16 with bf16 on machines with AVX512_BF16.
//!
//! One instruction multiplies sixteen pairs of neighboring steps of k with another pair and adds
//! both products to sixteen sums in f32. So panels hold pairs: a lane's even step in the low half
//! of a word, its odd step in the high half, and zero after the last of an odd number of steps.
//!
//! The instructions round sums to nearest even and take numbers below 2⁻¹²⁶ for zero.

use super::ahead::Fetching;
use super::kernel::{Finish, Kernel, Source, Strip, Tile};
use super::x86_avx512::{
    self as f32_kernel, BF16, F16, F32, FORMATS, LANES, MR, NR, NV, each_row, fetch_tile,
    load_masked, mask, store,
};
use super::x86_avx512_pack::transpose;
use crate::format::Format;
use std::arch::x86_64::*;

/// Only reached through [`super::kernel`], which checks the machine.
pub(super) struct Avx512Bf16;
pub(super) static KERNEL: Avx512Bf16 = Avx512Bf16;

/// Bytes of a pair.
const PAIR: usize = 4;

// SAFETY: `tile` stores `rows` rows under masks of `cols` lanes and reads the pairs of `depth`
// steps of both panels, `pack` writes as many; the other methods are those of the kernel for f32.
unsafe impl Kernel for Avx512Bf16 {
    fn name(&self) -> &'static str {
        "avx512bf16-bf16-14x32"
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
        2
    }

    fn finishes(&self) -> bool {
        true
    }

    fn lane_bytes(&self, depth: usize) -> usize {
        depth.div_ceil(2) * PAIR
    }

    unsafe fn tile(&self, tile: &Tile) {
        // SAFETY: the caller vouches for the tile and the instructions.
        unsafe { rows(tile) }
    }

    unsafe fn pack(&self, source: &Source, width: usize, panel: *mut u8) {
        // SAFETY: the caller vouches for source and panel.
        unsafe { pack(source, width, panel.cast()) }
    }

    unsafe fn widen(&self, format: Format, from: *const u8, to: *mut f32, count: usize) {
        // SAFETY: the caller vouches for both ranges.
        unsafe { f32_kernel::KERNEL.widen(format, from, to, count) }
    }

    unsafe fn narrow(&self, format: Format, from: *const f32, to: *mut u8, count: usize) {
        // SAFETY: the caller vouches for both ranges.
        unsafe { f32_kernel::KERNEL.narrow(format, from, to, count) }
    }

    unsafe fn finish(&self, finish: &Finish) {
        // SAFETY: the caller vouches for what `finish` describes.
        unsafe { f32_kernel::KERNEL.finish(finish) }
    }

    unsafe fn strip(&self, strip: &Strip) {
        // Memory bounds products of a few rows: widening costs nothing there.
        // SAFETY: the caller vouches for what `strip` describes.
        unsafe { f32_kernel::KERNEL.strip(strip) }
    }
}

/// Picks the code for the number of rows, so that a low tile costs no more than its rows.
#[inline(always)]
unsafe fn rows(tile: &Tile) {
    // SAFETY: passed on.
    unsafe {
        match tile.rows {
            1 => multiply::<1>(tile),
            2 => multiply::<2>(tile),
            3 => multiply::<3>(tile),
            4 => multiply::<4>(tile),
            5 => multiply::<5>(tile),
            6 => multiply::<6>(tile),
            7 => multiply::<7>(tile),
            8 => multiply::<8>(tile),
            9 => multiply::<9>(tile),
            10 => multiply::<10>(tile),
            11 => multiply::<11>(tile),
            12 => multiply::<12>(tile),
            13 => multiply::<13>(tile),
            _ => multiply::<14>(tile),
        }
    }
}

/// A tile of `M` rows.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
unsafe fn multiply<const M: usize>(tile: &Tile) {
    let mut sums = [[_mm512_setzero_ps(); NV]; M];
    let (mut a, mut b) = (tile.a.cast::<i32>(), tile.b);
    let mut fetching = Fetching::new(tile.ahead);
    fetch_tile::<M>(tile);
    for pair in 0..tile.depth.div_ceil(2) {
        fetching.step(2 * pair);
        // SAFETY: the panels hold the pairs of `depth` steps of MR and NR lanes, and `M <= MR`.
        unsafe {
            let columns: [__m512bh; NV] =
                std::array::from_fn(|j| pairs(_mm512_loadu_si512(b.add(j * LANES * PAIR).cast())));
            each_row!(M, |i| {
                let x = pairs(_mm512_set1_epi32(*a.add(i)));
                sums[i][0] = _mm512_dpbf16_ps(sums[i][0], columns[0], x);
                sums[i][1] = _mm512_dpbf16_ps(sums[i][1], columns[1], x);
            });
        }
        a = a.wrapping_add(MR);
        b = b.wrapping_add(NR * PAIR);
    }
    // SAFETY: passed on.
    unsafe { store(tile, sums) }
}

/// A vector as the dot-product instruction takes it.
#[inline(always)]
fn pairs(x: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes of which every pattern is valid.
    unsafe { std::mem::transmute(x) }
}

#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
unsafe fn pack(source: &Source, width: usize, panel: *mut i32) {
    // A packed operand may be rounded to another format before it is stored as bf16.
    let once = source.round.is_none_or(|f| f == source.format || f == Format::Bf16);
    // SAFETY: passed on.
    unsafe {
        match (source.format, source.lane_stride, source.depth_stride) {
            _ if !once => pack_any(source, width, panel),
            (Format::F32, 1, _) => pack_contiguous::<F32>(source, width, panel),
            (Format::Bf16, 1, _) => pack_contiguous::<BF16>(source, width, panel),
            (_, 1, _) => pack_contiguous::<F16>(source, width, panel),
            (Format::F32, _, 1) => pack_transposed::<F32>(source, width, panel),
            (Format::Bf16, _, 1) => pack_transposed::<BF16>(source, width, panel),
            (_, _, 1) => pack_transposed::<F16>(source, width, panel),
            _ => pack_any(source, width, panel),
        }
    }
}

/// Packs lanes that are neighbors in memory: each pair comes from two rows.
#[inline]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
unsafe fn pack_contiguous<const B: u8>(source: &Source, width: usize, panel: *mut i32) {
    for lane in (0..width).step_by(LANES) {
        let from_mask = mask(source.lanes.saturating_sub(lane));
        let to_mask = mask(width - lane);
        for step in (0..source.depth).step_by(2) {
            let index = step * source.depth_stride + lane;
            let odd_mask = if step + 1 < source.depth { from_mask } else { 0 };
            // SAFETY: the masks leave lanes and steps of the source, and lanes below `width` of
            // the panel.
            unsafe {
                let x = two_rows::<B>(source, index, from_mask, odd_mask);
                let to = panel.wrapping_add(step / 2 * width + lane);
                _mm512_mask_storeu_epi32(to, to_mask, x);
            }
        }
    }
}

/// Elements of two rows of the source as pairs.
#[inline]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
unsafe fn two_rows<const B: u8>(
    source: &Source,
    index: usize,
    even_mask: __mmask16,
    odd_mask: __mmask16,
) -> __m512i {
    let odd_index = index + source.depth_stride;
    // SAFETY: the caller vouches for the elements under the masks.
    unsafe {
        if B == BF16 {
            let base = source.base.cast::<i16>();
            let even = _mm256_maskz_loadu_epi16(even_mask, base.wrapping_add(index));
            let odd = _mm256_maskz_loadu_epi16(odd_mask, base.wrapping_add(odd_index));
            let odd = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(odd));
            return _mm512_or_si512(_mm512_cvtepu16_epi32(even), odd);
        }
        let format = FORMATS[B as usize];
        let even = load_masked(format, source.base, index, even_mask);
        let odd = load_masked(format, source.base, odd_index, odd_mask);
        // Rounded one row after the other, then dealt alternately.
        let rows: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(odd, even));
        _mm512_permutexvar_epi16(alternate(), rows)
    }
}

/// For every 16-bit place where it comes from: 0, 16, 1, 17 and so on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn alternate() -> __m512i {
    let mut places = _mm512_set1_epi32(16 << 16);
    let counts = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    places = _mm512_add_epi32(places, counts);
    _mm512_add_epi32(places, _mm512_slli_epi32::<16>(counts))
}

/// Packs lanes that are contiguous along k, so that pairs are as well, by transposing squares of
/// 16 pairs in registers.
#[inline]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
unsafe fn pack_transposed<const B: u8>(source: &Source, width: usize, panel: *mut i32) {
    const STEPS: usize = 2 * LANES;
    for first in (0..source.depth).step_by(STEPS) {
        let steps = STEPS.min(source.depth - first);
        for lane in (0..width).step_by(LANES) {
            let lane_mask = mask(width - lane);
            let mut square = [_mm512_setzero_ps(); LANES];
            for (i, row) in square.iter_mut().enumerate() {
                if lane + i < source.lanes {
                    let index = (lane + i) * source.lane_stride + first;
                    // SAFETY: a lane of the source, and steps below its depth.
                    *row = _mm512_castsi512_ps(unsafe { one_row::<B>(source, index, steps) });
                }
            }
            transpose(&mut square);
            for (i, &row) in square.iter().enumerate() {
                if 2 * i < steps {
                    let to = panel.wrapping_add((first / 2 + i) * width + lane).cast();
                    // SAFETY: the mask leaves lanes below `width` of a pair that the panel has.
                    unsafe { _mm512_mask_storeu_ps(to, lane_mask, row) };
                }
            }
        }
    }
}

/// `steps` neighboring elements, at most 32, and zeros after them.
#[inline]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
unsafe fn one_row<const B: u8>(source: &Source, index: usize, steps: usize) -> __m512i {
    let [low, high] = [mask(steps), mask(steps.saturating_sub(LANES))];
    // SAFETY: the caller vouches for the elements, which the masks leave.
    unsafe {
        if B == BF16 {
            let both = u32::from(low) | u32::from(high) << LANES;
            let from = source.base.cast::<i16>().wrapping_add(index);
            return _mm512_maskz_loadu_epi16(both, from);
        }
        let format = FORMATS[B as usize];
        let first = load_masked(format, source.base, index, low);
        let second = load_masked(format, source.base, index + LANES, high);
        std::mem::transmute(_mm512_cvtne2ps_pbh(second, first))
    }
}

/// Packs any source by way of a panel in f32.
#[inline]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
unsafe fn pack_any(source: &Source, width: usize, panel: *mut i32) {
    const STEPS: usize = 32;
    let mut wide = [0.0f32; STEPS * NR];
    for first in (0..source.depth).step_by(STEPS) {
        let depth = STEPS.min(source.depth - first);
        let from = first * source.depth_stride * source.format.bytes();
        let part = Source { base: source.base.wrapping_add(from), depth, ..*source };
        let rounded = Source {
            base: wide.as_ptr().cast(),
            format: Format::F32,
            lane_stride: 1,
            depth_stride: width,
            lanes: width,
            depth,
            round: None,
        };
        // SAFETY: `part` is a part of the source, `wide` has room for 32 steps of the widest
        // panel, and the panel for the pairs from `first` on.
        unsafe {
            f32_kernel::KERNEL.pack(&part, width, wide.as_mut_ptr().cast());
            pack_contiguous::<F32>(&rounded, width, panel.wrapping_add(first / 2 * width));
        }
    }
}
