//! Packing with AVX-512.

use super::generic;
use super::kernel::Source;
use super::x86_avx512::{BF16, F16, F32, FORMATS, LANES, MR, Simd, load_masked, mask, round};
use crate::format::Format;
use std::arch::x86_64::*;

/// Packs a panel of f32.
///
/// # Safety
/// As for [`super::kernel::Kernel::pack`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
pub(super) unsafe fn pack(source: &Source, width: usize, panel: *mut f32) {
    // SAFETY: passed on.
    unsafe {
        match (source.format, source.lane_stride, source.depth_stride) {
            (Format::F32, 1, _) => pack_contiguous::<F32>(source, width, panel),
            (Format::Bf16, 1, _) => pack_contiguous::<BF16>(source, width, panel),
            (_, 1, _) => pack_contiguous::<F16>(source, width, panel),
            (Format::F32, _, 1) => pack_transposed::<F32>(source, width, panel),
            (Format::Bf16, _, 1) => pack_transposed::<BF16>(source, width, panel),
            (_, _, 1) => pack_transposed::<F16>(source, width, panel),
            _ => return generic::pack::<Simd>(source, width, panel),
        }
        if let Some(format) = source.round.filter(|&f| f != source.format) {
            round(format, panel, source.depth * width);
        }
    }
}

/// Packs lanes that are neighbors in memory.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
unsafe fn pack_contiguous<const B: u8>(source: &Source, width: usize, panel: *mut f32) {
    let format = FORMATS[B as usize];
    for step in 0..source.depth {
        for lane in (0..width).step_by(LANES) {
            let from_mask = mask(source.lanes.saturating_sub(lane));
            let to_mask = mask(width - lane);
            let index = step * source.depth_stride + lane;
            // SAFETY: the masks leave lanes of the source, and lanes below `width` of the panel.
            unsafe {
                let x = load_masked(format, source.base, index, from_mask);
                _mm512_mask_storeu_ps(panel.wrapping_add(step * width + lane), to_mask, x);
            }
        }
    }
}

/// Packs lanes that are contiguous along k, by transposing squares of 16 in registers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
unsafe fn pack_transposed<const B: u8>(source: &Source, width: usize, panel: *mut f32) {
    for first in (0..source.depth).step_by(LANES) {
        let steps = LANES.min(source.depth - first);
        for lane in (0..width).step_by(LANES) {
            let [lanes, room] =
                [source.lanes, width].map(|end| LANES.min(end.saturating_sub(lane)));
            let from = lane * source.lane_stride + first;
            let to = panel.wrapping_add(first * width + lane);
            // SAFETY: lanes of the source, steps below its depth, and lanes below `width` of them.
            unsafe {
                // Counts that the compiler knows leave no tests between the moves.
                match [steps, lanes, room] {
                    [LANES, LANES, LANES] => {
                        pack_square::<B>(source, from, [LANES; 3], width, to);
                    }
                    [LANES, MR, MR] => {
                        pack_square::<B>(source, from, [LANES, MR, MR], width, to);
                    }
                    counts => pack_square::<B>(source, from, counts, width, to),
                }
            }
        }
    }
}

/// Packs up to 16 steps of up to 16 lanes from element `from` on to a panel at `to`, with zeros in
/// the lanes from `lanes` to `room`.
#[inline(always)]
unsafe fn pack_square<const B: u8>(
    source: &Source,
    from: usize,
    [steps, lanes, room]: [usize; 3],
    width: usize,
    to: *mut f32,
) {
    // SAFETY: the caller vouches for the instructions, steps and lanes; the masks leave no more.
    unsafe {
        let mut square = [_mm512_setzero_ps(); LANES];
        for (i, row) in square.iter_mut().enumerate().take(lanes) {
            let index = from + i * source.lane_stride;
            *row = load_masked(FORMATS[B as usize], source.base, index, mask(steps));
        }
        transpose(&mut square);
        for (i, &row) in square.iter().enumerate().take(steps) {
            _mm512_mask_storeu_ps(to.wrapping_add(i * width), mask(room), row);
        }
    }
}

/// Transposes a square of numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
pub(super) fn transpose(square: &mut [__m512; LANES]) {
    let r = *square;
    // Within each 128-bit quarter: first pairs of rows, then fours.
    let mut fours = [_mm512_setzero_ps(); LANES];
    for i in (0..LANES).step_by(4) {
        let low = _mm512_castps_pd(_mm512_unpacklo_ps(r[i], r[i + 1]));
        let high = _mm512_castps_pd(_mm512_unpackhi_ps(r[i], r[i + 1]));
        let next_low = _mm512_castps_pd(_mm512_unpacklo_ps(r[i + 2], r[i + 3]));
        let next_high = _mm512_castps_pd(_mm512_unpackhi_ps(r[i + 2], r[i + 3]));
        fours[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, next_low));
        fours[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, next_low));
        fours[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high, next_high));
        fours[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high, next_high));
    }
    // `fours[4g + c]` holds, in quarter q, column 4q + c of rows 4g to 4g + 3.
    for c in 0..4 {
        let even_low = _mm512_shuffle_f32x4::<0x88>(fours[c], fours[4 + c]);
        let odd_low = _mm512_shuffle_f32x4::<0xdd>(fours[c], fours[4 + c]);
        let even_high = _mm512_shuffle_f32x4::<0x88>(fours[8 + c], fours[12 + c]);
        let odd_high = _mm512_shuffle_f32x4::<0xdd>(fours[8 + c], fours[12 + c]);
        square[c] = _mm512_shuffle_f32x4::<0x88>(even_low, even_high);
        square[8 + c] = _mm512_shuffle_f32x4::<0xdd>(even_low, even_high);
        square[4 + c] = _mm512_shuffle_f32x4::<0x88>(odd_low, odd_high);
        square[12 + c] = _mm512_shuffle_f32x4::<0xdd>(odd_low, odd_high);
    }
}
