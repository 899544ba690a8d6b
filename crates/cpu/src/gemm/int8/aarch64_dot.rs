//! The kernel for NEON with FEAT_DotProd, whose SDOT adds four products of signed bytes to each of
//! four sums.

use super::generic::{self, shared_methods};
use super::kernel::{Finish, GROUP, Kernel, NR, PANEL_STEP, Panel, Rows, Tile};
use std::arch::aarch64::*;
use std::arch::asm;

/// Three rows of sums take 24 of the 32 registers.
const MR: usize = 3;
const LANES: usize = 4;
/// Vectors across a tile.
const NV: usize = NR / LANES;

/// Only reached through [`super::kernels`], which checks the machine.
pub(super) struct Dot;
pub(super) static KERNEL: Dot = Dot;

// SAFETY: `tile` reads `groups` groups of `rows` rows and of the panel and writes the sums; the
// other methods keep to what their arguments describe.
unsafe impl Kernel for Dot {
    fn name(&self) -> &'static str {
        "neon-dot-3x32"
    }

    fn mr(&self) -> usize {
        MR
    }

    fn takes_signed(&self) -> bool {
        true
    }

    unsafe fn tile(&self, tile: &Tile) {
        // SAFETY: the caller vouches for the tile and the instructions.
        unsafe {
            match tile.rows {
                1 => multiply::<1>(tile),
                2 => multiply::<2>(tile),
                _ => multiply::<3>(tile),
            }
        }
    }

    shared_methods!(generic::finish, generic::interleave);
}

/// Multiplies a group of every row with one of all columns. Written out: the compiler gives up on
/// unrolling loops of this size, and the sums would not stay in registers.
macro_rules! add_products {
    ($sums:ident, $rows:ident, $b:ident, $($vector:literal)*) => {
        $(
            let columns = vld1q_u8($b.add(LANES * GROUP * $vector));
            $sums[0][$vector] = dot($sums[0][$vector], $rows[0], columns);
            if M > 1 {
                $sums[1 % M][$vector] = dot($sums[1 % M][$vector], $rows[1 % M], columns);
            }
            if M > 2 {
                $sums[2 % M][$vector] = dot($sums[2 % M][$vector], $rows[2 % M], columns);
            }
        )*
    };
}

/// A tile of `M` rows.
#[target_feature(enable = "neon,dotprod")]
unsafe fn multiply<const M: usize>(tile: &Tile) {
    let mut sums = [[vdupq_n_s32(0); NV]; M];
    let (mut a, mut b) = (tile.a, tile.b);
    for _ in 0..tile.groups {
        // SAFETY: the panel holds `groups` groups, and so do the `M` rows.
        unsafe {
            let rows: [uint8x16_t; M] = std::array::from_fn(|i| {
                let group = a.add(i * tile.a_stride).cast::<u32>().read_unaligned();
                vreinterpretq_u8_u32(vdupq_n_u32(group))
            });
            add_products!(sums, rows, b, 0 1 2 3 4 5 6 7);
            a = a.add(GROUP);
            b = b.add(PANEL_STEP);
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        for (j, &sum) in sums.iter().enumerate() {
            // SAFETY: there is room for `rows` rows of sums.
            unsafe { vst1q_s32(tile.sums.add(i * NR + j * LANES), sum) };
        }
    }
}

/// SDOT, whose intrinsic is not stable yet.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot(mut sums: int32x4_t, row: uint8x16_t, columns: uint8x16_t) -> int32x4_t {
    // SAFETY: only registers are read and written.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {row:v}.16b, {columns:v}.16b",
            sums = inout(vreg) sums,
            row = in(vreg) row,
            columns = in(vreg) columns,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}
