//! Kernels for AVX2, and for AVX-512 without VNNI. `vpmaddubsw` saturates where two products of
//! bytes leave 16 bits, so bytes are widened and `vpmaddwd` multiplies, which is exact: bytes at
//! even places of k and those at odd places apart, each with a shift or a mask.

use super::generic::{self, shared_methods};
use super::kernel::{Finish, GROUP, Kernel, NR, PANEL_STEP, Panel, Rows, Tile};
use super::x86;
use std::arch::x86_64::*;

/// A kernel of `$mr` rows and `$nv` vectors.
macro_rules! widening_kernel {
    ($type:ident, $instance:ident, $module:ident, $name:literal, $features:literal, $mr:literal,
     $nv:literal, $vector:ty, $zero:ident, $load:ident, $store:ident, $set:ident, $add:ident,
     $madd:ident, $left:ident, $right:ident, $arithmetic:ident, $set16:ident, $and:ident) => {
        /// Only reached through [`super::kernels`], which checks the machine.
        pub(super) struct $type;
        pub(super) static $instance: $type = $type;

        // SAFETY: `tile` reads `groups` groups of `rows` rows and of the panel and writes the
        // sums; the other methods keep to what their arguments describe.
        unsafe impl Kernel for $type {
            fn name(&self) -> &'static str {
                $name
            }

            fn mr(&self) -> usize {
                $mr
            }

            fn takes_signed(&self) -> bool {
                false
            }

            unsafe fn tile(&self, tile: &Tile) {
                // SAFETY: the caller vouches for the tile and the instructions.
                unsafe {
                    match (tile.rows, tile.left) {
                        (1, false) => $module::multiply::<1, false>(tile),
                        (2, false) => $module::multiply::<2, false>(tile),
                        (3, false) => $module::multiply::<3, false>(tile),
                        (_, false) => $module::multiply::<4, false>(tile),
                        (1, true) => $module::multiply::<1, true>(tile),
                        (2, true) => $module::multiply::<2, true>(tile),
                        (3, true) => $module::multiply::<3, true>(tile),
                        (_, true) => $module::multiply::<4, true>(tile),
                    }
                }
            }

            shared_methods!(generic::finish, x86::interleave, #[target_feature(enable = $features)]);
        }

        mod $module {
            use super::*;

            /// The bytes at even places of 16-bit lanes, and those at odd places, widened.
            #[inline]
            #[target_feature(enable = $features)]
            fn halves<const SIGNED: bool>(x: $vector) -> [$vector; 2] {
                if SIGNED {
                    [$arithmetic::<8>($left::<8>(x)), $arithmetic::<8>(x)]
                } else {
                    [$and(x, $set16(0xff)), $right::<8>(x)]
                }
            }

            /// A tile of `M` rows; activations are unsigned, weights signed.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn multiply<const M: usize, const LEFT: bool>(tile: &Tile) {
                /// Vectors at a time, so that sums, columns and a row fit in the registers.
                const AT_ONCE: usize = 2;
                let lanes = size_of::<$vector>() / GROUP;
                for first in (0..$nv).step_by(AT_ONCE) {
                    let mut sums = [[$zero(); AT_ONCE]; M];
                    for group in 0..tile.groups {
                        // SAFETY: a group of the panel, and of each of the `M` rows.
                        unsafe {
                            let b = tile.b.add(group * PANEL_STEP + first * lanes * GROUP);
                            let columns: [[$vector; 2]; AT_ONCE] = std::array::from_fn(|j| {
                                let x = $load(b.add(j * lanes * GROUP).cast());
                                if LEFT { halves::<false>(x) } else { halves::<true>(x) }
                            });
                            for (i, sums) in sums.iter_mut().enumerate() {
                                let a = tile.a.add(i * tile.a_stride + group * GROUP);
                                let x = $set(a.cast::<i32>().read_unaligned());
                                let x = if LEFT { halves::<true>(x) } else { halves::<false>(x) };
                                for j in 0..AT_ONCE {
                                    let even = $madd(x[0], columns[j][0]);
                                    let odd = $madd(x[1], columns[j][1]);
                                    sums[j] = $add(sums[j], $add(even, odd));
                                }
                            }
                        }
                    }
                    for (i, sums) in sums.iter().enumerate() {
                        for (j, &sum) in sums.iter().enumerate() {
                            let at = i * NR + (first + j) * lanes;
                            // SAFETY: there is room for `rows` rows of sums.
                            unsafe { $store(tile.sums.add(at).cast(), sum) };
                        }
                    }
                }
            }
        }
    };
}

widening_kernel!(
    Avx2,
    AVX2,
    avx2,
    "avx2-madd-4x32",
    "avx2,fma,f16c",
    4,
    4,
    __m256i,
    _mm256_setzero_si256,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    _mm256_set1_epi32,
    _mm256_add_epi32,
    _mm256_madd_epi16,
    _mm256_slli_epi16,
    _mm256_srli_epi16,
    _mm256_srai_epi16,
    _mm256_set1_epi16,
    _mm256_and_si256
);

widening_kernel!(
    Avx512,
    AVX512,
    avx512,
    "avx512-madd-4x32",
    "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma",
    4,
    2,
    __m512i,
    _mm512_setzero_si512,
    _mm512_loadu_si512,
    _mm512_storeu_si512,
    _mm512_set1_epi32,
    _mm512_add_epi32,
    _mm512_madd_epi16,
    _mm512_slli_epi16,
    _mm512_srli_epi16,
    _mm512_srai_epi16,
    _mm512_set1_epi16,
    _mm512_and_si512
);
