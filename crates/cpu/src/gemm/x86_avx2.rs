//! Kernels for AVX2 with FMA and F16C.

use super::ahead::Fetching;
use super::generic::{self, Convert, Plain};
use super::kernel::{Finish, Kernel, Source, Strip, Tile};
use crate::format::Format;
use std::arch::x86_64::*;

const MR: usize = 6;
/// Vectors across a tile.
const NV: usize = 2;
const LANES: usize = 8;
const NR: usize = NV * LANES;

/// Only reached through [`super::kernel`], which checks the machine.
pub(super) struct Avx2;
pub(super) static KERNEL: Avx2 = Avx2;

// SAFETY: `tile` stores `rows` rows of `cols` lanes and reads `depth` steps of both panels; the
// other methods keep to what their arguments describe.
unsafe impl Kernel for Avx2 {
    fn name(&self) -> &'static str {
        "avx2-f32-6x16"
    }

    fn mr(&self) -> usize {
        MR
    }

    fn nr(&self) -> usize {
        NR
    }

    unsafe fn tile(&self, tile: &Tile) {
        // SAFETY: the caller vouches for the tile and the instructions.
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
        unsafe { widen(format, from, to, count) }
    }

    unsafe fn narrow(&self, format: Format, from: *const f32, to: *mut u8, count: usize) {
        // SAFETY: the caller vouches for both ranges.
        unsafe { narrow(format, from, to, count) }
    }

    unsafe fn finish(&self, finish: &Finish) {
        // SAFETY: the caller vouches for what `finish` describes.
        unsafe { finish_tile(finish) }
    }

    unsafe fn strip(&self, strip: &Strip) {
        // SAFETY: the caller vouches for what `strip` describes.
        unsafe { columns(strip) }
    }
}

const F32: u8 = 0;
const BF16: u8 = 1;
const F16: u8 = 2;

/// Picks the code for the number of rows, so that a low tile costs no more than its rows.
#[inline(always)]
unsafe fn rows<const B: u8>(tile: &Tile) {
    // SAFETY: passed on.
    unsafe {
        match tile.rows {
            1 => multiply::<1, B>(tile),
            2 => multiply::<2, B>(tile),
            3 => multiply::<3, B>(tile),
            4 => multiply::<4, B>(tile),
            5 => multiply::<5, B>(tile),
            _ => multiply::<6, B>(tile),
        }
    }
}

/// A tile of `M` rows; B's panel is in format `B`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn multiply<const M: usize, const B: u8>(tile: &Tile) {
    let mut sums = [[_mm256_setzero_ps(); NV]; M];
    let (mut a, mut b) = (tile.a.cast::<f32>(), tile.b);
    let mut fetching = Fetching::new(tile.ahead);
    let size = if B == F32 { 4 } else { 2 };
    // The tile is written at the end, so its lines are fetched now.
    for i in 0..M {
        let row = tile.c.wrapping_add(i * tile.c_stride).cast::<i8>();
        _mm_prefetch::<_MM_HINT_T0>(row);
    }
    for step in 0..tile.depth {
        fetching.step(step);
        // SAFETY: the panels hold `depth` steps of MR and NR lanes, and `M <= MR`.
        unsafe {
            let columns: [__m256; NV] = std::array::from_fn(|j| load::<B>(b.add(j * LANES * size)));
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = _mm256_set1_ps(*a.add(i));
                for (sum, &y) in sums.iter_mut().zip(&columns) {
                    *sum = _mm256_fmadd_ps(x, y, *sum);
                }
            }
            a = a.add(MR);
            b = b.wrapping_add(tile.b_step * size);
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        for (j, &sum) in sums.iter().enumerate() {
            let lanes = tile.cols.saturating_sub(j * LANES);
            let c = tile.c.wrapping_add(i * tile.c_stride + j * LANES);
            // SAFETY: all lanes are columns of C, or the mask leaves those that are.
            unsafe {
                if lanes >= LANES {
                    let old =
                        if tile.accumulate { _mm256_loadu_ps(c) } else { _mm256_setzero_ps() };
                    _mm256_storeu_ps(c, _mm256_add_ps(sum, old));
                } else {
                    let mask = mask(lanes);
                    let old = if tile.accumulate {
                        _mm256_maskload_ps(c, mask)
                    } else {
                        _mm256_setzero_ps()
                    };
                    _mm256_maskstore_ps(c, mask, _mm256_add_ps(sum, old));
                }
            }
        }
    }
}

/// A vector of B's panel.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load<const B: u8>(from: *const u8) -> __m256 {
    // SAFETY: the caller vouches for a vector of the format.
    unsafe {
        match B {
            F32 => _mm256_loadu_ps(from.cast()),
            BF16 => widen_bf16(_mm_loadu_si128(from.cast())),
            _ => _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
        }
    }
}

/// The mask of the first `lanes` lanes, fewer than all.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn mask(lanes: usize) -> __m256i {
    let index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes as i32), index)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn widen_bf16(x: __m128i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(x)))
}

/// The bits of the nearest bf16, in the low halves; NaN stays NaN.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn bf16_bits(x: __m256) -> __m256i {
    let bits = _mm256_castps_si256(x);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let up = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, up));
    let quiet = _mm256_or_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(0x40));
    let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
    _mm256_blendv_epi8(rounded, quiet, nan)
}

struct Simd;

impl Convert for Simd {
    #[inline(always)]
    unsafe fn widen(format: Format, from: *const u8, to: *mut f32, count: usize) {
        // SAFETY: passed on.
        unsafe { widen(format, from, to, count) }
    }

    #[inline(always)]
    unsafe fn narrow(format: Format, from: *const f32, to: *mut u8, count: usize) {
        // SAFETY: passed on.
        unsafe { narrow(format, from, to, count) }
    }

    #[inline(always)]
    unsafe fn round(format: Format, data: *mut f32, count: usize) {
        // SAFETY: passed on.
        unsafe { round(format, data, count) }
    }

    #[inline(always)]
    fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

/// # Safety
/// As for [`Kernel::widen`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn widen(format: Format, from: *const u8, to: *mut f32, count: usize) {
    let size = format.bytes();
    let whole = count - count % LANES;
    // SAFETY: whole vectors below `count`, then the elements that are left.
    unsafe {
        for i in (0..whole).step_by(LANES) {
            let from = from.add(i * size);
            let x = match format {
                Format::F32 => load::<F32>(from),
                Format::Bf16 => load::<BF16>(from),
                _ => load::<F16>(from),
            };
            _mm256_storeu_ps(to.add(i), x);
        }
        Plain::widen(format, from.add(whole * size), to.add(whole), count - whole);
    }
}

/// # Safety
/// As for [`Kernel::narrow`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn narrow(format: Format, from: *const f32, to: *mut u8, count: usize) {
    let whole = count - count % LANES;
    // SAFETY: whole vectors below `count`, then the elements that are left.
    unsafe {
        for i in (0..whole).step_by(LANES) {
            let x = _mm256_loadu_ps(from.add(i));
            let to = to.add(i * format.bytes());
            match format {
                Format::F32 => _mm256_storeu_ps(to.cast(), x),
                Format::Bf16 => {
                    let bits = bf16_bits(x);
                    let (low, high) =
                        (_mm256_castsi256_si128(bits), _mm256_extracti128_si256::<1>(bits));
                    _mm_storeu_si128(to.cast(), _mm_packus_epi32(low, high));
                }
                _ => {
                    let bits = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x);
                    _mm_storeu_si128(to.cast(), bits);
                }
            }
        }
        let to = to.add(whole * format.bytes());
        Plain::narrow(format, from.add(whole), to, count - whole);
    }
}

/// # Safety
/// `data` holds `count` numbers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn round(format: Format, data: *mut f32, count: usize) {
    if format == Format::F32 {
        return;
    }
    let whole = count - count % LANES;
    // SAFETY: whole vectors below `count`, then the elements that are left.
    unsafe {
        for i in (0..whole).step_by(LANES) {
            let x = _mm256_loadu_ps(data.add(i));
            let rounded = match format {
                Format::Bf16 => _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bf16_bits(x))),
                _ => _mm256_cvtph_ps(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x)),
            };
            _mm256_storeu_ps(data.add(i), rounded);
        }
        Plain::round(format, data.add(whole), count - whole);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn finish_tile(finish: &Finish) {
    // SAFETY: passed on.
    unsafe { generic::finish::<Simd>(finish) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn columns(strip: &Strip) {
    // SAFETY: passed on.
    unsafe { generic::strip::<Simd>(strip) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn pack(source: &Source, width: usize, panel: *mut f32) {
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
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn pack_contiguous<const B: u8>(source: &Source, width: usize, panel: *mut f32) {
    let bytes = source.format.bytes();
    let whole = source.lanes - source.lanes % LANES;
    for step in 0..source.depth {
        let from = source.base.wrapping_add(step * source.depth_stride * bytes);
        let to = panel.wrapping_add(step * width);
        // SAFETY: lanes of a step of the source and of the panel. What the next panel will be
        // packed from is fetched, which cannot fault.
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(width * bytes).cast());
            for lane in (0..whole).step_by(LANES) {
                _mm256_storeu_ps(to.add(lane), load::<B>(from.add(lane * bytes)));
            }
            for lane in whole..width {
                let inside = lane < source.lanes;
                *to.add(lane) = if inside { source.format.read(from, lane) } else { 0.0 };
            }
        }
    }
}

/// Packs lanes that are contiguous along k, by transposing squares of 8 in registers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn pack_transposed<const B: u8>(source: &Source, width: usize, panel: *mut f32) {
    let bytes = source.format.bytes();
    let whole = source.depth - source.depth % LANES;
    for lane in (0..width).step_by(LANES) {
        // A panel of A has fewer lanes than a vector.
        let lanes = LANES.min(width - lane);
        for step in (0..whole).step_by(LANES) {
            let mut square = [_mm256_setzero_ps(); LANES];
            for (i, row) in square.iter_mut().enumerate() {
                if lane + i < source.lanes {
                    let at = ((lane + i) * source.lane_stride + step) * bytes;
                    // SAFETY: eight steps below the depth of a lane of the source.
                    *row = unsafe { load::<B>(source.base.add(at)) };
                }
            }
            transpose(&mut square);
            for (i, &row) in square.iter().enumerate() {
                let to = panel.wrapping_add((step + i) * width + lane);
                // SAFETY: the mask leaves lanes below `width` of a step below `depth`.
                unsafe {
                    if lanes == LANES {
                        _mm256_storeu_ps(to, row);
                    } else {
                        _mm256_maskstore_ps(to, mask(lanes), row);
                    }
                }
            }
        }
    }
    let rest = Source {
        base: source.base.wrapping_add(whole * bytes),
        depth: source.depth - whole,
        round: None,
        ..*source
    };
    // SAFETY: the steps that are left, of source and panel.
    unsafe { generic::pack::<Simd>(&rest, width, panel.add(whole * width)) }
}

/// Transposes a square of numbers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn transpose(square: &mut [__m256; LANES]) {
    let r = *square;
    // Within each half: first pairs of rows, then fours.
    let mut fours = [_mm256_setzero_ps(); LANES];
    for i in [0, 4] {
        let low = _mm256_castps_pd(_mm256_unpacklo_ps(r[i], r[i + 1]));
        let high = _mm256_castps_pd(_mm256_unpackhi_ps(r[i], r[i + 1]));
        let next_low = _mm256_castps_pd(_mm256_unpacklo_ps(r[i + 2], r[i + 3]));
        let next_high = _mm256_castps_pd(_mm256_unpackhi_ps(r[i + 2], r[i + 3]));
        fours[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, next_low));
        fours[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, next_low));
        fours[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(high, next_high));
        fours[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(high, next_high));
    }
    for c in 0..4 {
        square[c] = _mm256_permute2f128_ps::<0x20>(fours[c], fours[4 + c]);
        square[4 + c] = _mm256_permute2f128_ps::<0x31>(fours[c], fours[4 + c]);
    }
}
