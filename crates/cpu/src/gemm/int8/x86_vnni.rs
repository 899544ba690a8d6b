//! The kernel for AVX-512 with VNNI, whose `vpdpbusd` multiplies 64 pairs of bytes at once.

use super::generic::{self, shared_methods};
use super::kernel::{Finish, GROUP, Kernel, NR, PANEL_STEP, Panel, Rows, Tile};
use super::x86;
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

    shared_methods!(x86::interleave, #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma")]);
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
    for (i, sums) in sums.iter().enumerate() {
        for (j, &sum) in sums.iter().enumerate() {
            // SAFETY: there is room for `rows` rows of sums.
            unsafe { _mm512_storeu_si512(tile.sums.add(i * NR + j * LANES).cast(), sum) };
        }
    }
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
