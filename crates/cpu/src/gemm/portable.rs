//! The kernel of every machine: arrays that the compiler keeps in whatever registers there are.

use super::generic::{self, Convert, Plain};
use super::kernel::{Finish, Kernel, Source, Strip, Tile};
use crate::format::Format;

/// Twice the registers of SSE2 hold twice the rows.
const MR: usize = if cfg!(target_arch = "aarch64") { 8 } else { 4 };
const NR: usize = 8;

pub(super) struct Portable;
pub(super) static KERNEL: Portable = Portable;

// SAFETY: `tile` stores `rows × cols` elements and reads `depth` steps of both panels; the other
// methods are the generic ones, which keep to what their arguments describe.
unsafe impl Kernel for Portable {
    fn name(&self) -> &'static str {
        if MR == 8 { "portable-f32-8x8" } else { "portable-f32-4x8" }
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
                Format::F32 => multiply(tile, |b| *b.cast()),
                format => multiply(tile, |b| {
                    let mut wide = [0.0; NR];
                    Plain::widen(format, b, wide.as_mut_ptr(), NR);
                    wide
                }),
            }
        }
    }

    unsafe fn pack(&self, source: &Source, width: usize, panel: *mut u8) {
        // SAFETY: the caller vouches for source and panel.
        unsafe { generic::pack::<Plain>(source, width, panel.cast()) }
    }

    unsafe fn widen(&self, format: Format, from: *const u8, to: *mut f32, count: usize) {
        // SAFETY: the caller vouches for both ranges.
        unsafe { Plain::widen(format, from, to, count) }
    }

    unsafe fn narrow(&self, format: Format, from: *const f32, to: *mut u8, count: usize) {
        // SAFETY: the caller vouches for both ranges.
        unsafe { Plain::narrow(format, from, to, count) }
    }

    unsafe fn finish(&self, finish: &Finish) {
        // SAFETY: the caller vouches for what `finish` describes.
        unsafe { generic::finish::<Plain>(finish) }
    }

    unsafe fn strip(&self, strip: &Strip) {
        // SAFETY: the caller vouches for what `strip` describes.
        unsafe { generic::strip::<Plain>(strip) }
    }
}

/// # Safety
/// As for [`Kernel::tile`]; `load` reads one step of B's panel.
#[inline(always)]
unsafe fn multiply(tile: &Tile, load: impl Fn(*const u8) -> [f32; NR]) {
    let mut sums = [[0.0f32; NR]; MR];
    let (mut a, mut b) = (tile.a.cast::<f32>(), tile.b);
    for _ in 0..tile.depth {
        // SAFETY: the panels hold `depth` steps of MR and NR lanes.
        unsafe {
            let columns = load(b);
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = *a.add(i);
                for (sum, y) in sums.iter_mut().zip(columns) {
                    *sum = Plain::multiply_add(x, y, *sum);
                }
            }
            a = a.add(MR);
            b = b.wrapping_add(tile.b_step * tile.b_format.bytes());
        }
    }
    for (i, sums) in sums.iter().enumerate().take(tile.rows) {
        for (j, &sum) in sums.iter().enumerate().take(tile.cols) {
            // SAFETY: C holds `rows` rows of `cols` elements.
            unsafe {
                let c = tile.c.add(i * tile.c_stride + j);
                *c = if tile.accumulate { *c + sum } else { sum };
            }
        }
    }
}
