//! The kernel for AVX-512 with VNNI, whose `vpdpbusd` multiplies 64 pairs of bytes at once.

use super::generic::{self, shared_methods};
use super::kernel::{Finish, GROUP, Kernel, NR, PANEL_STEP, Panel, Rows, Tile};
use super::product::Requantize;
use super::x86;
use crate::format::Format;
use std::arch::x86_64::*;

const MR: usize = 14;
const LANES: usize = 16;

/// Only reached through [`super::kernels`], which checks the machine.
pub(super) struct Vnni;
pub(super) static KERNEL: Vnni = Vnni;

// SAFETY: `tile` reads `groups` groups of `rows` rows and of the panel and writes the sums; the
// other methods keep to what their arguments describe.
unsafe impl Kernel for Vnni {
    fn name(&self) -> &'static str {
        "avx512-vnni-14x32"
    }

    fn mr(&self) -> usize {
        MR
    }

    fn takes_signed(&self) -> bool {
        false
    }

    unsafe fn tile(&self, tile: &Tile) {
        // SAFETY: the caller vouches for the tile and the instructions.
        unsafe {
            match (tile.rows, tile.left) {
                (1, false) => row(tile),
                (_, false) => rows::<false>(tile),
                (_, true) => rows::<true>(tile),
            }
        }
    }

    unsafe fn interleave_two(&self, rows: &Rows, panel: *mut u8, apart: usize) {
        // SAFETY: passed on.
        unsafe { interleave_two(rows, panel, apart) }
    }

    shared_methods!(finish, x86::interleave, #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma")]);
}

/// [`generic::finish`] in registers; what is rare is left to that.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma")]
unsafe fn finish(f: &Finish<'_>) {
    let output = f.output;
    let plain = output.format == Format::F32
        && output.round.is_none_or(|format| format == Format::F32)
        && !output.accumulate;
    if f.cols != NR || !(plain || output.requantize.is_some()) {
        // SAFETY: passed on.
        return unsafe { generic::finish(f) };
    }
    let mut bias = [0f32; NR];
    if !f.bias.is_null() {
        let channels = if f.left { f.rows } else { f.cols };
        for (i, bias) in bias.iter_mut().enumerate().take(channels) {
            // SAFETY: one number per channel.
            *bias = unsafe { f.bias_format.read(f.bias, i) };
        }
    }
    // SAFETY: passed on; the tile has all columns.
    unsafe {
        match (f.left, &output.requantize) {
            (true, None) => finish_whole::<true, false>(f, &bias),
            (false, None) => finish_whole::<false, false>(f, &bias),
            (true, Some(_)) => finish_whole::<true, true>(f, &bias),
            (false, Some(_)) => finish_whole::<false, true>(f, &bias),
        }
    }
}

/// [`finish`] for all columns, to f32, or to `BYTES`; channels are rows if `LEFT`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma")]
unsafe fn finish_whole<const LEFT: bool, const BYTES: bool>(f: &Finish<'_>, bias: &[f32; NR]) {
    let output = f.output;
    let quantize = output.requantize.unwrap_or(Requantize { inverse: 1.0, zero: 0 });
    let (low, high) = quantize.bounds(output.format);
    let (low, high) = (_mm512_set1_ps(low), _mm512_set1_ps(high));
    let (inverse, zero) = (_mm512_set1_ps(quantize.inverse), _mm512_set1_epi32(quantize.zero));
    for row in 0..f.rows {
        let scale = match f.row_scales.is_null() {
            true => f.scale,
            // SAFETY: one scale for each row.
            false => unsafe { *f.row_scales.add(row) },
        };
        for j in (0..NR).step_by(LANES) {
            // SAFETY: sums of the row, what belongs to its channels, and the row of C, which all
            // have so many elements.
            unsafe {
                let (factor, offset, bias) = if LEFT {
                    let offset = f.zero.wrapping_mul(*f.weight_sums.add(row));
                    let factor = _mm512_set1_ps(*f.scales.add(row) * scale);
                    (factor, _mm512_set1_epi32(offset), _mm512_set1_ps(bias[row]))
                } else {
                    let sums = _mm512_loadu_si512(f.weight_sums.add(j).cast());
                    let factor = _mm512_loadu_ps(f.scales.add(j));
                    (
                        _mm512_mul_ps(factor, _mm512_set1_ps(scale)),
                        _mm512_mullo_epi32(_mm512_set1_epi32(f.zero), sums),
                        _mm512_loadu_ps(bias.as_ptr().add(j)),
                    )
                };
                let sum = _mm512_loadu_si512(f.sums.add(row * NR + j).cast());
                let value = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, offset));
                let mut value = _mm512_add_ps(_mm512_mul_ps(value, factor), bias);
                if output.relu {
                    let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(value, _mm512_setzero_ps());
                    value = _mm512_mask_mov_ps(value, below, _mm512_setzero_ps());
                }
                let at = f.c.add((row * output.row_stride + j) * output.format.bytes());
                if !BYTES {
                    _mm512_storeu_ps(at.cast(), value);
                    continue;
                }
                let clipped = _mm512_max_ps(_mm512_mul_ps(value, inverse), low);
                // To nearest even: nobody changes that mode.
                let integer = _mm512_cvtps_epi32(_mm512_min_ps(clipped, high));
                let number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(value, value);
                let bytes = _mm512_maskz_cvtepi32_epi8(number, _mm512_add_epi32(integer, zero));
                _mm_storeu_si128(at.cast(), bytes);
            }
        }
    }
}

/// [`Kernel::interleave_two`] with whole cache lines; what is left of the depth is plain code's.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn interleave_two(rows: &Rows, panel: *mut u8, apart: usize) {
    let flip = _mm512_set1_epi8(rows.flip as i8);
    let whole = rows.depth / GROUP;
    for group in 0..whole {
        // SAFETY: four rows of 64 bytes, and a group of either panel.
        unsafe {
            let from = rows.base.add(group * GROUP * rows.stride);
            let line = |step: usize| {
                let x = _mm512_loadu_si512(from.add(step * rows.stride).cast());
                _mm512_xor_si512(x, flip)
            };
            let (a, b, c, d) = (line(0), line(1), line(2), line(3));
            // Pairs of steps, then all four: fours of columns within quarters of 16.
            let (low, high) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
            let (next_low, next_high) = (_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d));
            let q0 = _mm512_unpacklo_epi16(low, next_low);
            let q1 = _mm512_unpackhi_epi16(low, next_low);
            let q2 = _mm512_unpacklo_epi16(high, next_high);
            let q3 = _mm512_unpackhi_epi16(high, next_high);
            // Quarters 0 and 1 of all four are the first panel, 2 and 3 the second.
            let (front, front_next) =
                (_mm512_shuffle_i32x4::<0x44>(q0, q1), _mm512_shuffle_i32x4::<0x44>(q2, q3));
            let (back, back_next) =
                (_mm512_shuffle_i32x4::<0xee>(q0, q1), _mm512_shuffle_i32x4::<0xee>(q2, q3));
            let to = panel.add(group * PANEL_STEP);
            for (to, x, y) in [(to, front, front_next), (to.add(apart), back, back_next)] {
                let to = to.cast::<__m512i>();
                _mm512_storeu_si512(to, _mm512_shuffle_i32x4::<0x88>(x, y));
                _mm512_storeu_si512(to.add(1), _mm512_shuffle_i32x4::<0xdd>(x, y));
            }
        }
    }
    let done = whole * GROUP;
    for i in 0..2 {
        let base = rows.base.wrapping_add(done * rows.stride + i * NR);
        let rest = Rows { base, depth: rows.depth - done, lanes: NR, ..*rows };
        // SAFETY: the rows and groups that are left.
        unsafe { generic::interleave(&rest, panel.add(i * apart + whole * PANEL_STEP)) };
    }
}

/// Picks the code for the number of rows.
#[inline(always)]
unsafe fn rows<const LEFT: bool>(tile: &Tile) {
    // SAFETY: passed on.
    unsafe {
        match tile.rows {
            1 => multiply::<1, LEFT>(tile),
            2 => multiply::<2, LEFT>(tile),
            3 => multiply::<3, LEFT>(tile),
            4 => multiply::<4, LEFT>(tile),
            5 => multiply::<5, LEFT>(tile),
            6 => multiply::<6, LEFT>(tile),
            7 => multiply::<7, LEFT>(tile),
            8 => multiply::<8, LEFT>(tile),
            9 => multiply::<9, LEFT>(tile),
            10 => multiply::<10, LEFT>(tile),
            11 => multiply::<11, LEFT>(tile),
            12 => multiply::<12, LEFT>(tile),
            13 => multiply::<13, LEFT>(tile),
            _ => multiply::<14, LEFT>(tile),
        }
    }
}

/// The body for every row below the count, written out so that the sums stay in registers.
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

/// Adds the products of four bytes of a row with those of sixteen columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn dot<const LEFT: bool>(sum: __m512i, row: __m512i, columns: __m512i) -> __m512i {
    // The first factor is unsigned: the activations.
    if LEFT {
        _mm512_dpbusd_epi32(sum, columns, row)
    } else {
        _mm512_dpbusd_epi32(sum, row, columns)
    }
}

/// A tile of `M` rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn multiply<const M: usize, const LEFT: bool>(tile: &Tile) {
    /// Rows that one register addresses, with the stride in another: once and twice are free.
    const SHARED: usize = 3;
    let mut sums = [[_mm512_setzero_si512(); 2]; M];
    let stride = tile.a_stride;
    let mut a: [*const u8; MR.div_ceil(SHARED)] =
        std::array::from_fn(|g| tile.a.wrapping_add(g * SHARED * stride));
    let (mut b, mut ahead) = (tile.b, tile.ahead);
    for _ in 0..tile.groups {
        // SAFETY: the panel holds `groups` groups, and so do the `M` rows. Fetching cannot fault.
        unsafe {
            // Rows of weights come from the second cache already, panels from farther away.
            match LEFT {
                true => _mm_prefetch::<_MM_HINT_T0>(ahead.cast()),
                false => _mm_prefetch::<_MM_HINT_T1>(ahead.cast()),
            }
            let columns: [__m512i; 2] =
                std::array::from_fn(|j| _mm512_loadu_si512(b.add(j * LANES * GROUP).cast()));
            each_row!(M, |i| {
                let x = a[i / SHARED].wrapping_add(i % SHARED * stride);
                let x = _mm512_set1_epi32(x.cast::<i32>().read_unaligned());
                sums[i][0] = dot::<LEFT>(sums[i][0], x, columns[0]);
                sums[i][1] = dot::<LEFT>(sums[i][1], x, columns[1]);
            });
        }
        a = a.map(|a| a.wrapping_add(GROUP));
        b = b.wrapping_add(PANEL_STEP);
        ahead = ahead.wrapping_add(tile.ahead_step);
    }
    each_row!(M, |i| {
        // SAFETY: there is room for `rows` rows of sums.
        unsafe {
            _mm512_storeu_si512(tile.sums.add(i * NR).cast(), sums[i][0]);
            _mm512_storeu_si512(tile.sums.add(i * NR + LANES).cast(), sums[i][1]);
        }
    });
}

/// A single row, which is bound by reading the panel: with several sums for each column, so that
/// none waits for the one before.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn row(tile: &Tile) {
    const CHAINS: usize = 4;
    /// Bytes of the panels, which lie one after the other, that are fetched ahead.
    const AHEAD: usize = 4096;
    let mut sums = [[_mm512_setzero_si512(); 2]; CHAINS];
    let whole = tile.groups - tile.groups % CHAINS;
    // SAFETY: groups below those of row and panel; fetching cannot fault.
    unsafe {
        for first in (0..whole).step_by(CHAINS) {
            for (chain, sums) in sums.iter_mut().enumerate() {
                step(tile, first + chain, sums);
                let ahead = tile.b.wrapping_add((first + chain) * PANEL_STEP + AHEAD);
                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(64).cast());
            }
        }
        for group in whole..tile.groups {
            step(tile, group, &mut sums[0]);
        }
        let total = sums
            .into_iter()
            .reduce(|a, b| [_mm512_add_epi32(a[0], b[0]), _mm512_add_epi32(a[1], b[1])]);
        for (j, sum) in total.expect("several chains").into_iter().enumerate() {
            _mm512_storeu_si512(tile.sums.add(j * LANES).cast(), sum);
        }
    }
}

/// # Safety
/// `group` is below the tile's.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn step(tile: &Tile, group: usize, sums: &mut [__m512i; 2]) {
    // SAFETY: the caller vouches for the group.
    unsafe {
        let x = tile.a.add(group * GROUP).cast::<i32>().read_unaligned();
        let x = _mm512_set1_epi32(x);
        let b = tile.b.add(group * PANEL_STEP);
        for (j, sum) in sums.iter_mut().enumerate() {
            let columns = _mm512_loadu_si512(b.add(j * LANES * GROUP).cast());
            *sum = _mm512_dpbusd_epi32(*sum, x, columns);
        }
    }
}
