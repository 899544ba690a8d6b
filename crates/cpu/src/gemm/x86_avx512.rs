//! Kernels for AVX-512 (F, BW, VL, DQ).

use super::ahead::Fetching;
use super::generic::{self, Convert};
use super::kernel::{Finish, Kernel, Last, Source, Strip, Tile};
use super::x86_avx512_pack::pack;
use crate::format::Format;
use std::arch::x86_64::*;

pub(super) const MR: usize = 14;
/// Vectors across a tile.
pub(super) const NV: usize = 2;
pub(super) const LANES: usize = 16;
pub(super) const NR: usize = NV * LANES;

/// Only reached through [`super::kernel`], which checks the machine.
pub(super) struct Avx512;
pub(super) static KERNEL: Avx512 = Avx512;

// SAFETY: `tile` stores `rows` rows under masks of `cols` lanes and reads `depth` steps of both
// panels; the other methods keep to what their arguments describe.
unsafe impl Kernel for Avx512 {
    fn name(&self) -> &'static str {
        "avx512-f32-14x32"
    }

    fn mr(&self) -> usize {
        MR
    }

    fn nr(&self) -> usize {
        NR
    }

    fn takes_rows(&self) -> bool {
        true
    }

    fn finishes(&self) -> bool {
        true
    }

    unsafe fn tile(&self, tile: &Tile) {
        // SAFETY: the caller vouches for the tile and the instructions.
        unsafe {
            match tile.b_format {
                Format::F32 => form::<F32>(tile),
                Format::Bf16 => form::<BF16>(tile),
                _ => form::<F16>(tile),
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

pub(super) const F32: u8 = 0;
pub(super) const BF16: u8 = 1;
pub(super) const F16: u8 = 2;
pub(super) const FORMATS: [Format; 3] = [Format::F32, Format::Bf16, Format::F16];

/// Picks the code for operands as they lie.
#[inline(always)]
unsafe fn form<const B: u8>(tile: &Tile) {
    // SAFETY: passed on; a tile that packs is whole.
    unsafe {
        match (tile.a_row_stride.is_some(), tile.b_packed.is_null()) {
            (false, true) => rows::<B, false>(tile),
            (true, true) => rows::<B, true>(tile),
            (false, false) => multiply::<MR, B, false, true>(tile),
            (true, false) => multiply::<MR, B, true, true>(tile),
        }
    }
}

/// Picks the code for the number of rows, so that a low tile costs no more than its rows.
#[inline(always)]
unsafe fn rows<const B: u8, const DIRECT: bool>(tile: &Tile) {
    // SAFETY: passed on.
    unsafe {
        match tile.rows {
            1 => multiply::<1, B, DIRECT, false>(tile),
            2 => multiply::<2, B, DIRECT, false>(tile),
            3 => multiply::<3, B, DIRECT, false>(tile),
            4 => multiply::<4, B, DIRECT, false>(tile),
            5 => multiply::<5, B, DIRECT, false>(tile),
            6 => multiply::<6, B, DIRECT, false>(tile),
            7 => multiply::<7, B, DIRECT, false>(tile),
            8 => multiply::<8, B, DIRECT, false>(tile),
            9 => multiply::<9, B, DIRECT, false>(tile),
            10 => multiply::<10, B, DIRECT, false>(tile),
            11 => multiply::<11, B, DIRECT, false>(tile),
            12 => multiply::<12, B, DIRECT, false>(tile),
            13 => multiply::<13, B, DIRECT, false>(tile),
            _ => multiply::<14, B, DIRECT, false>(tile),
        }
    }
}

/// The body for every row below the count, written out: the compiler gives up on unrolling a loop
/// of this size, and the sums would not be kept in registers.
macro_rules! each_row {
    ($count:expr, |$row:ident| $body:block) => {
        each_row!($count, $row, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    ($count:expr, $row:ident, $body:block, $($number:literal)*) => {
        $(if $number < $count {
            let $row = $number;
            $body
        })*
    };
}

// Shared with the kernel for bf16.
pub(super) use each_row;

/// A tile of `M` rows; B is in format `B`, and packed on the way if `PACK`; A is a panel, or rows
/// if `DIRECT`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
unsafe fn multiply<const M: usize, const B: u8, const DIRECT: bool, const PACK: bool>(tile: &Tile) {
    /// Rows that one register addresses, with the stride in another: once and twice are free.
    const GROUP: usize = 3;
    let mut sums = [[_mm512_setzero_ps(); NV]; M];
    let stride = if DIRECT { tile.a_row_stride.unwrap_or(0) } else { 1 };
    let mut a: [*const f32; MR.div_ceil(GROUP)] =
        std::array::from_fn(|g| tile.a.cast::<f32>().wrapping_add(g * GROUP * stride));
    let mut b = tile.b;
    let mut fetching = Fetching::new(tile.ahead);
    let mut packed = tile.b_packed.cast::<f32>();
    let size = if B == F32 { 4 } else { 2 };
    fetch_tile::<M>(tile);
    for step in 0..tile.depth {
        fetching.step(step);
        // SAFETY: the panels, and what B is packed to, hold `depth` steps of MR and NR lanes, and
        // `M <= MR`; or A has `M` rows of `depth` numbers.
        unsafe {
            let columns: [__m512; NV] = std::array::from_fn(|j| load::<B>(b.add(j * LANES * size)));
            if PACK {
                _mm512_storeu_ps(packed, columns[0]);
                _mm512_storeu_ps(packed.add(LANES), columns[1]);
                packed = packed.wrapping_add(NR);
            }
            each_row!(M, |i| {
                let x = if DIRECT {
                    *a[i / GROUP].wrapping_add(i % GROUP * stride)
                } else {
                    *a[0].add(i)
                };
                let x = _mm512_set1_ps(x);
                sums[i][0] = _mm512_fmadd_ps(x, columns[0], sums[i][0]);
                sums[i][1] = _mm512_fmadd_ps(x, columns[1], sums[i][1]);
            });
        }
        a = a.map(|a| a.wrapping_add(if DIRECT { 1 } else { MR }));
        b = b.wrapping_add(tile.b_step * size);
    }
    // SAFETY: passed on.
    unsafe { store(tile, sums) }
}

/// Fetches the lines of the tile for writing, which happens at the end.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
pub(super) fn fetch_tile<const M: usize>(tile: &Tile) {
    for i in 0..M {
        let row = tile.c.wrapping_add(i * tile.c_stride).cast::<i8>();
        _mm_prefetch::<_MM_HINT_ET0>(row);
        _mm_prefetch::<_MM_HINT_ET0>(row.wrapping_add(64));
    }
}

/// Stores the sums of a tile, or adds them to what is there. They are passed by value: whoever lends
/// them has them in memory, and not in registers, from the beginning.
///
/// # Safety
/// C is as for [`Kernel::tile`], and `M` is `rows` or less.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
pub(super) unsafe fn store<const M: usize>(tile: &Tile, sums: [[__m512; NV]; M]) {
    if tile.cols == NR {
        // SAFETY: passed on; the tile has all columns.
        return unsafe {
            match (tile.accumulate, tile.last.is_some()) {
                (false, false) => store_whole::<M, false, false>(tile, sums),
                (false, true) => store_whole::<M, false, true>(tile, sums),
                (true, false) => store_whole::<M, true, false>(tile, sums),
                (true, true) => store_whole::<M, true, true>(tile, sums),
            }
        };
    }
    let masks: [__mmask16; NV] = std::array::from_fn(|j| mask(tile.cols.saturating_sub(j * LANES)));
    for (i, sums) in sums.iter().enumerate() {
        // SAFETY: passed on; there are so many rows.
        let last = tile.last.map(|last| unsafe { Row::new(&last, i) });
        for j in 0..NV {
            // SAFETY: the masks leave `cols` elements of each row.
            unsafe {
                let c = tile.c.wrapping_add(i * tile.c_stride + j * LANES);
                let old = if tile.accumulate {
                    _mm512_maskz_loadu_ps(masks[j], c)
                } else {
                    _mm512_setzero_ps()
                };
                let sum = _mm512_add_ps(sums[j], old);
                let sum = last.as_ref().map_or(sum, |last| last.of(sum));
                _mm512_mask_storeu_ps(c, masks[j], sum);
            }
        }
    }
}

/// [`store`] for all columns, from registers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
unsafe fn store_whole<const M: usize, const ADD: bool, const LAST: bool>(
    tile: &Tile,
    sums: [[__m512; NV]; M],
) {
    each_row!(M, |i| {
        let c = tile.c.wrapping_add(i * tile.c_stride);
        let [mut low, mut high] = sums[i];
        // SAFETY: a row of the tile has `NR` elements.
        unsafe {
            if ADD {
                low = _mm512_add_ps(low, _mm512_loadu_ps(c));
                high = _mm512_add_ps(high, _mm512_loadu_ps(c.add(LANES)));
            }
            if LAST && let Some(last) = &tile.last {
                let row = Row::new(last, i);
                (low, high) = (row.of(low), row.of(high));
            }
            _mm512_storeu_ps(c, low);
            _mm512_storeu_ps(c.add(LANES), high);
        }
    });
}

/// What becomes of the sums of a row in the end.
struct Row {
    bias: __m512,
    low: __m512,
    high: __m512,
}

impl Row {
    /// # Safety
    /// The tile has a row of this number.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
    unsafe fn new(last: &Last, row: usize) -> Row {
        // SAFETY: passed on.
        let bias = if last.bias.is_null() { 0.0 } else { unsafe { *last.bias.add(row) } };
        let [low, high] = last.clamp;
        Row { bias: _mm512_set1_ps(bias), low: _mm512_set1_ps(low), high: _mm512_set1_ps(high) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
    fn of(&self, sums: __m512) -> __m512 {
        let sums = _mm512_add_ps(sums, self.bias);
        // NaN in the second place stays.
        _mm512_min_ps(self.high, _mm512_max_ps(self.low, sums))
    }
}

/// A vector of B's panel.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
unsafe fn load<const B: u8>(from: *const u8) -> __m512 {
    // SAFETY: the caller vouches for a vector of the format.
    unsafe {
        match B {
            F32 => _mm512_loadu_ps(from.cast()),
            BF16 => widen_bf16(_mm256_loadu_si256(from.cast())),
            _ => _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())),
        }
    }
}

/// The mask of the first `lanes` lanes, at most all.
#[inline(always)]
pub(super) fn mask(lanes: usize) -> __mmask16 {
    if lanes >= LANES { !0 } else { (1 << lanes) - 1 }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
fn widen_bf16(x: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(x)))
}

/// The bits of the nearest bf16, in the low halves; NaN stays NaN.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
fn bf16_bits(x: __m512) -> __m512i {
    let bits = _mm512_castps_si512(x);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let up = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, up));
    let quiet = _mm512_or_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(0x40));
    _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x), quiet)
}

pub(super) struct Simd;

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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
unsafe fn widen(format: Format, from: *const u8, to: *mut f32, count: usize) {
    for i in (0..count).step_by(LANES) {
        let mask = mask(count - i);
        // SAFETY: the mask leaves the elements below `count`.
        unsafe {
            let x = load_masked(format, from, i, mask);
            _mm512_mask_storeu_ps(to.add(i), mask, x);
        }
    }
}

/// Elements from `index` on, under a mask, as f32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
pub(super) unsafe fn load_masked(
    format: Format,
    from: *const u8,
    index: usize,
    mask: __mmask16,
) -> __m512 {
    // SAFETY: the caller vouches for the elements under the mask.
    unsafe {
        match format {
            Format::F32 => _mm512_maskz_loadu_ps(mask, from.cast::<f32>().wrapping_add(index)),
            Format::Bf16 => {
                widen_bf16(_mm256_maskz_loadu_epi16(mask, from.cast::<i16>().wrapping_add(index)))
            }
            _ => _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(
                mask,
                from.cast::<i16>().wrapping_add(index),
            )),
        }
    }
}

/// # Safety
/// As for [`Kernel::narrow`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
unsafe fn narrow(format: Format, from: *const f32, to: *mut u8, count: usize) {
    for i in (0..count).step_by(LANES) {
        let mask = mask(count - i);
        // SAFETY: the mask leaves the elements below `count`.
        unsafe {
            let x = _mm512_maskz_loadu_ps(mask, from.add(i));
            match format {
                Format::F32 => _mm512_mask_storeu_ps(to.cast::<f32>().add(i), mask, x),
                Format::Bf16 => {
                    let bits = _mm512_cvtepi32_epi16(bf16_bits(x));
                    _mm256_mask_storeu_epi16(to.cast::<i16>().add(i), mask, bits);
                }
                _ => {
                    let bits = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x);
                    _mm256_mask_storeu_epi16(to.cast::<i16>().add(i), mask, bits);
                }
            }
        }
    }
}

/// # Safety
/// `data` holds `count` numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
pub(super) unsafe fn round(format: Format, data: *mut f32, count: usize) {
    if format == Format::F32 {
        return;
    }
    for i in (0..count).step_by(LANES) {
        let mask = mask(count - i);
        // SAFETY: the mask leaves the elements below `count`.
        unsafe {
            let x = _mm512_maskz_loadu_ps(mask, data.add(i));
            let rounded = match format {
                Format::Bf16 => _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bf16_bits(x))),
                _ => _mm512_cvtph_ps(_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x)),
            };
            _mm512_mask_storeu_ps(data.add(i), mask, rounded);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
unsafe fn finish_tile(finish: &Finish) {
    // SAFETY: passed on.
    unsafe { generic::finish::<Simd>(finish) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
unsafe fn columns(strip: &Strip) {
    // SAFETY: passed on.
    unsafe {
        match strip.b_format {
            Format::F32 => columns_of::<F32>(strip),
            Format::Bf16 => columns_of::<BF16>(strip),
            _ => columns_of::<F16>(strip),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
unsafe fn columns_of<const B: u8>(s: &Strip) {
    /// Columns, or steps, at a time.
    const AT_ONCE: usize = 4;
    let along_depth = s.b_row_stride == 1 && s.b_col_stride != 1;
    let end = if along_depth { s.cols } else { s.depth };
    let whole = end - end % AT_ONCE;
    // SAFETY: columns and steps below those of the strip; sums that are added to are zero first.
    unsafe {
        if !along_depth {
            s.sums.write_bytes(0, s.rows * s.cols);
        }
        for first in (0..whole).step_by(AT_ONCE) {
            for row in 0..s.rows {
                match along_depth {
                    true => dots::<B, AT_ONCE>(s, row, first),
                    false => add_rows::<B, AT_ONCE>(s, row, first),
                }
            }
        }
        for first in whole..end {
            for row in 0..s.rows {
                match along_depth {
                    true => dots::<B, 1>(s, row, first),
                    false => add_rows::<B, 1>(s, row, first),
                }
            }
        }
    }
}

/// `N` neighboring elements of one row, each the dot product of contiguous vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
unsafe fn dots<const B: u8, const N: usize>(s: &Strip, row: usize, col: usize) {
    /// Elements of B that are fetched ahead of use.
    const AHEAD: usize = 512;
    let format = FORMATS[B as usize];
    let a = s.a.wrapping_add(row * s.depth);
    let mut sums = [_mm512_setzero_ps(); N];
    for step in (0..s.depth).step_by(LANES) {
        let mask = mask(s.depth - step);
        // SAFETY: the masks leave steps below the depth, of a row of A and columns of B.
        unsafe {
            let x = _mm512_maskz_loadu_ps(mask, a.wrapping_add(step));
            for (j, sum) in sums.iter_mut().enumerate() {
                let index = (col + j) * s.b_col_stride + step;
                let ahead = s.b.wrapping_add((index + AHEAD) * format.bytes());
                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                *sum = _mm512_fmadd_ps(x, load_masked(format, s.b, index, mask), *sum);
            }
        }
    }
    for (j, &sum) in sums.iter().enumerate() {
        // SAFETY: one of the row's sums.
        unsafe { *s.sums.add(row * s.cols + col + j) = _mm512_reduce_add_ps(sum) };
    }
}

/// Adds `N` rows of B, each times its element of A, to a row of sums.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
unsafe fn add_rows<const B: u8, const N: usize>(s: &Strip, row: usize, step: usize) {
    let format = FORMATS[B as usize];
    // SAFETY: the row of A has `N` more elements at `step`; the masks leave columns of the strip.
    unsafe {
        let a = s.a.add(row * s.depth + step);
        let a: [__m512; N] = std::array::from_fn(|i| _mm512_set1_ps(*a.add(i)));
        for col in (0..s.cols).step_by(LANES) {
            let mask = mask(s.cols - col);
            let sums = s.sums.add(row * s.cols + col);
            let mut sum = _mm512_maskz_loadu_ps(mask, sums);
            for (i, &a) in a.iter().enumerate() {
                let index = (step + i) * s.b_row_stride + col;
                sum = _mm512_fmadd_ps(a, load_masked(format, s.b, index, mask), sum);
            }
            _mm512_mask_storeu_ps(sums, mask, sum);
        }
    }
}
