//! What the kernels of x86 have in common.

use super::generic;
use super::kernel::{GROUP, NR, PANEL_STEP, Rows};
use std::arch::x86_64::*;

/// [`super::kernel::Kernel::interleave`] with shuffles; what is not whole is left to plain code.
///
/// # Safety
/// As for that, and the machine has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn interleave(rows: &Rows, panel: *mut u8) {
    let whole = if rows.lanes == NR { rows.depth / GROUP } else { 0 };
    let flip = _mm256_set1_epi8(rows.flip as i8);
    for group in 0..whole {
        // SAFETY: four rows of as many bytes as a vector has, and a group of the panel.
        unsafe {
            let from = rows.base.add(group * GROUP * rows.stride);
            let line = |step: usize| {
                let x = _mm256_loadu_si256(from.add(step * rows.stride).cast());
                _mm256_xor_si256(x, flip)
            };
            let (a, b, c, d) = (line(0), line(1), line(2), line(3));
            // Pairs of steps, then all four; both within halves of 16 columns.
            let (low, high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
            let (next_low, next_high) = (_mm256_unpacklo_epi8(c, d), _mm256_unpackhi_epi8(c, d));
            let quads = [
                _mm256_unpacklo_epi16(low, next_low),
                _mm256_unpackhi_epi16(low, next_low),
                _mm256_unpacklo_epi16(high, next_high),
                _mm256_unpackhi_epi16(high, next_high),
            ];
            let to = panel.add(group * PANEL_STEP).cast::<__m256i>();
            let first = |i: usize| _mm256_permute2x128_si256::<0x20>(quads[i], quads[i + 1]);
            let second = |i: usize| _mm256_permute2x128_si256::<0x31>(quads[i], quads[i + 1]);
            _mm256_storeu_si256(to, first(0));
            _mm256_storeu_si256(to.add(1), first(2));
            _mm256_storeu_si256(to.add(2), second(0));
            _mm256_storeu_si256(to.add(3), second(2));
        }
    }
    let done = whole * GROUP;
    let rest = Rows {
        base: rows.base.wrapping_add(done * rows.stride),
        depth: rows.depth - done,
        ..*rows
    };
    // SAFETY: the rows and groups that are left.
    unsafe { generic::interleave(&rest, panel.add(whole * PANEL_STEP)) }
}
