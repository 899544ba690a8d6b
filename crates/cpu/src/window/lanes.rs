//! A register of floats, for each instruction set. Loops over arrays would do, but that the compiler
//! then keeps the sums of windows in memory.

/// Some floats side by side.
pub(super) trait Lanes: Copy {
    /// How many; divides [`super::plane::LANES`].
    const COUNT: usize;

    /// # Safety
    /// The machine has the instructions, as for all the others, and there are so many floats.
    unsafe fn load(from: *const f32) -> Self;

    /// # Safety
    /// There is room for so many floats.
    unsafe fn store(self, to: *mut f32);

    /// # Safety
    /// The machine has the instructions.
    unsafe fn all(value: f32) -> Self;

    /// `self · factor + sum`.
    ///
    /// # Safety
    /// The machine has the instructions.
    unsafe fn multiply_add(self, factor: Self, sum: Self) -> Self;

    /// The larger of the two; NaN wins.
    ///
    /// # Safety
    /// The machine has the instructions.
    unsafe fn larger(self, other: Self) -> Self;
}

/// Without a known instruction set.
impl Lanes for [f32; 4] {
    const COUNT: usize = 4;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: passed on.
        unsafe { *from.cast() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: passed on.
        unsafe { *to.cast() = self }
    }

    #[inline(always)]
    unsafe fn all(value: f32) -> Self {
        [value; 4]
    }

    #[inline(always)]
    unsafe fn multiply_add(self, factor: Self, sum: Self) -> Self {
        std::array::from_fn(|i| self[i] * factor[i] + sum[i])
    }

    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        let larger = |x: f32, y: f32| if x > y || x.is_nan() { x } else { y };
        std::array::from_fn(|i| larger(self[i], other[i]))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    impl Lanes for __m512 {
        const COUNT: usize = 16;

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: passed on.
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: passed on.
            unsafe { _mm512_storeu_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn all(value: f32) -> Self {
            // SAFETY: passed on.
            unsafe { _mm512_set1_ps(value) }
        }

        #[inline(always)]
        unsafe fn multiply_add(self, factor: Self, sum: Self) -> Self {
            // SAFETY: passed on.
            unsafe { _mm512_fmadd_ps(self, factor, sum) }
        }

        #[inline(always)]
        unsafe fn larger(self, other: Self) -> Self {
            // SAFETY: passed on.
            unsafe {
                let larger = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self, other);
                let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self, self);
                _mm512_mask_mov_ps(other, larger | nan, self)
            }
        }
    }

    impl Lanes for __m256 {
        const COUNT: usize = 8;

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: passed on.
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: passed on.
            unsafe { _mm256_storeu_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn all(value: f32) -> Self {
            // SAFETY: passed on.
            unsafe { _mm256_set1_ps(value) }
        }

        #[inline(always)]
        unsafe fn multiply_add(self, factor: Self, sum: Self) -> Self {
            // SAFETY: passed on.
            unsafe { _mm256_fmadd_ps(self, factor, sum) }
        }

        #[inline(always)]
        unsafe fn larger(self, other: Self) -> Self {
            // SAFETY: passed on.
            unsafe {
                let larger = _mm256_cmp_ps::<_CMP_GT_OQ>(self, other);
                let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(self, self);
                _mm256_blendv_ps(other, self, _mm256_or_ps(larger, nan))
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use super::Lanes;
    use std::arch::aarch64::*;

    impl Lanes for float32x4_t {
        const COUNT: usize = 4;

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: passed on.
            unsafe { vld1q_f32(from) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: passed on.
            unsafe { vst1q_f32(to, self) }
        }

        #[inline(always)]
        unsafe fn all(value: f32) -> Self {
            // SAFETY: every machine of this kind has the instruction.
            unsafe { vdupq_n_f32(value) }
        }

        #[inline(always)]
        unsafe fn multiply_add(self, factor: Self, sum: Self) -> Self {
            // SAFETY: as above.
            unsafe { vfmaq_f32(sum, self, factor) }
        }

        #[inline(always)]
        unsafe fn larger(self, other: Self) -> Self {
            // SAFETY: as above; NaN is the larger one by definition.
            unsafe { vmaxq_f32(self, other) }
        }
    }
}
