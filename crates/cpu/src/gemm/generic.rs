//! The parts of a kernel that one source serves for every instruction set: the compiler turns
//! these loops into the vector instructions of the function that they are inlined into.

use super::description::BiasTo;
use super::kernel::{Finish, Source, Strip};
use crate::element::keep;
use crate::format::Format;
use half::{bf16, f16};

/// The conversions for which an instruction set has its own instructions.
pub(super) trait Convert {
    /// `count` numbers of a floating-point format to f32.
    ///
    /// # Safety
    /// The machine has the instructions, and both ranges are valid.
    unsafe fn widen(format: Format, from: *const u8, to: *mut f32, count: usize);

    /// `count` f32 to a floating-point format.
    ///
    /// # Safety
    /// The machine has the instructions, and both ranges are valid.
    unsafe fn narrow(format: Format, from: *const f32, to: *mut u8, count: usize);

    /// Rounds `count` f32 in place.
    ///
    /// # Safety
    /// The machine has the instructions, and the range is valid.
    unsafe fn round(format: Format, data: *mut f32, count: usize);

    /// `a * b + c` as the instruction set does it best.
    fn multiply_add(a: f32, b: f32, c: f32) -> f32;
}

/// Conversions in plain code.
pub(super) struct Plain;

impl Convert for Plain {
    #[inline(always)]
    unsafe fn widen(format: Format, from: *const u8, to: *mut f32, count: usize) {
        // SAFETY: the caller vouches for both ranges.
        unsafe {
            match format {
                Format::F32 => to.copy_from_nonoverlapping(from.cast(), count),
                Format::Bf16 => (0..count).for_each(|i| *to.add(i) = load::<bf16>(from, i)),
                _ => (0..count).for_each(|i| *to.add(i) = load::<f16>(from, i)),
            }
        }
    }

    #[inline(always)]
    unsafe fn narrow(format: Format, from: *const f32, to: *mut u8, count: usize) {
        // SAFETY: the caller vouches for both ranges.
        unsafe { (0..count).for_each(|i| format.write(to, i, *from.add(i))) }
    }

    #[inline(always)]
    unsafe fn round(format: Format, data: *mut f32, count: usize) {
        // SAFETY: the caller vouches for the range.
        unsafe { (0..count).for_each(|i| *data.add(i) = format.round(*data.add(i))) }
    }

    #[inline(always)]
    fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
        // Without a fused instruction `mul_add` is a call of the mathematics library.
        if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
            a.mul_add(b, c)
        } else {
            a * b + c
        }
    }
}

/// An element that converts to f32.
pub(super) trait Number: Copy {
    fn widened(self) -> f32;
}

impl Number for f32 {
    #[inline(always)]
    fn widened(self) -> f32 {
        self
    }
}

impl Number for bf16 {
    #[inline(always)]
    fn widened(self) -> f32 {
        // Not `to_f32`, which treats NaN apart and so keeps loops from becoming vectors.
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

impl Number for f16 {
    #[inline(always)]
    fn widened(self) -> f32 {
        self.to_f32()
    }
}

/// # Safety
/// Element `index` of the array at `base` is readable and aligned.
#[inline(always)]
unsafe fn load<T: Number>(base: *const u8, index: usize) -> f32 {
    // SAFETY: the caller vouches for the element.
    unsafe { (*base.cast::<T>().add(index)).widened() }
}

/// [`super::kernel::Kernel::pack`] into f32 panels.
///
/// # Safety
/// As for [`super::kernel::Kernel::pack`].
#[inline(always)]
pub(super) unsafe fn pack<C: Convert>(source: &Source, width: usize, panel: *mut f32) {
    // SAFETY: the caller vouches for source and panel.
    unsafe {
        if source.lane_stride == 1 {
            let bytes = source.depth_stride * source.format.bytes();
            for step in 0..source.depth {
                let to = panel.add(step * width);
                C::widen(source.format, source.base.add(step * bytes), to, source.lanes);
                to.add(source.lanes).write_bytes(0, width - source.lanes);
            }
        } else {
            match source.format {
                Format::F32 => pack_lanes::<f32>(source, width, panel),
                Format::Bf16 => pack_lanes::<bf16>(source, width, panel),
                _ => pack_lanes::<f16>(source, width, panel),
            }
        }
        if let Some(format) = source.round.filter(|&f| f != source.format) {
            C::round(format, panel, source.depth * width);
        }
    }
}

/// Packs a panel whose lanes are not neighbors in memory, in blocks of steps so that the cache
/// lines read and written stay near.
#[inline(always)]
unsafe fn pack_lanes<T: Number>(source: &Source, width: usize, panel: *mut f32) {
    const STEPS: usize = 16;
    for first in (0..source.depth).step_by(STEPS) {
        let steps = first..(first + STEPS).min(source.depth);
        for lane in 0..width {
            for step in steps.clone() {
                let from = lane * source.lane_stride + step * source.depth_stride;
                // SAFETY: the caller vouches for lanes below `source.lanes` and for the panel.
                unsafe {
                    let value =
                        if lane < source.lanes { load::<T>(source.base, from) } else { 0.0 };
                    *panel.add(step * width + lane) = value;
                }
            }
        }
    }
}

/// [`super::kernel::Kernel::finish`].
///
/// # Safety
/// As for [`super::kernel::Kernel::finish`].
#[inline(always)]
pub(super) unsafe fn finish<C: Convert>(finish: &Finish) {
    /// Columns at a time, so that bias and old values fit on the stack.
    const COLS: usize = 64;
    let f = finish;
    for first in (0..f.cols).step_by(COLS) {
        let cols = COLS.min(f.cols - first);
        let mut bias = [0.0f32; COLS];
        let by_columns = !f.bias.is_null() && f.bias_to == BiasTo::Columns;
        if by_columns {
            // SAFETY: the bias has `f.cols` elements.
            unsafe {
                let from = f.bias.add(first * f.bias_format.bytes());
                C::widen(f.bias_format, from, bias.as_mut_ptr(), cols);
            }
        }
        for row in 0..f.rows {
            // SAFETY: row and columns are within what the caller vouches for, and the regions are
            // distinct memory.
            unsafe {
                let sums = f.sums.add(row * f.sums_stride + first);
                if !f.earlier.is_null() {
                    let earlier = f.earlier.add(row * f.earlier_stride + first);
                    (0..cols).for_each(|j| *sums.add(j) += *earlier.add(j));
                }
                if by_columns {
                    (0..cols).for_each(|j| *sums.add(j) += bias[j]);
                } else if !f.bias.is_null() {
                    let bias = f.bias_format.read(f.bias, row);
                    (0..cols).for_each(|j| *sums.add(j) += bias);
                }
                if let Some(format) = f.round.filter(|&r| r != f.c_format || f.accumulate) {
                    C::round(format, sums, cols);
                }
                if let Some([low, high]) = f.clamp {
                    (0..cols).for_each(|j| *sums.add(j) = keep(*sums.add(j), low, high));
                }
                let at = row * f.c_row_stride + first * f.c_col_stride;
                let c = f.c.add(at * f.c_format.bytes());
                store::<C>(f, sums, c, cols);
            }
        }
    }
}

/// Stores `cols` finished sums at `c`.
#[inline(always)]
unsafe fn store<C: Convert>(f: &Finish, sums: *mut f32, c: *mut u8, cols: usize) {
    // SAFETY: the caller vouches for `cols` sums and as many elements of C.
    unsafe {
        if f.c_col_stride != 1 {
            for j in 0..cols {
                let at = j * f.c_col_stride;
                let old = if f.accumulate { f.c_format.read(c, at) } else { 0.0 };
                f.c_format.write(c, at, *sums.add(j) + old);
            }
            return;
        }
        if f.accumulate {
            let mut old = [0.0f32; 64];
            C::widen(f.c_format, c, old.as_mut_ptr(), cols);
            (0..cols).for_each(|j| *sums.add(j) += old[j]);
        }
        C::narrow(f.c_format, sums, c, cols);
    }
}

/// [`super::kernel::Kernel::strip`].
///
/// # Safety
/// As for [`super::kernel::Kernel::strip`].
#[inline(always)]
pub(super) unsafe fn strip<C: Convert>(strip: &Strip) {
    // SAFETY: the caller vouches for all that `strip` describes.
    unsafe {
        match strip.b_format {
            Format::F32 => strip_of::<C, f32>(strip),
            Format::Bf16 => strip_of::<C, bf16>(strip),
            _ => strip_of::<C, f16>(strip),
        }
    }
}

#[inline(always)]
unsafe fn strip_of<C: Convert, T: Number>(s: &Strip) {
    let b = s.b.cast::<T>();
    // SAFETY: rows, columns and steps below are within what the caller vouches for.
    unsafe {
        if s.b_row_stride == 1 && s.b_col_stride != 1 {
            let mut col = 0;
            while col + 4 <= s.cols {
                for row in 0..s.rows {
                    dots::<C, T, 4>(s, row, col, b);
                }
                col += 4;
            }
            for col in col..s.cols {
                for row in 0..s.rows {
                    dots::<C, T, 1>(s, row, col, b);
                }
            }
            return;
        }
        s.sums.write_bytes(0, s.rows * s.cols);
        let mut step = 0;
        while step + 4 <= s.depth {
            for row in 0..s.rows {
                add_rows::<C, T, 4>(s, row, step, b);
            }
            step += 4;
        }
        for step in step..s.depth {
            for row in 0..s.rows {
                add_rows::<C, T, 1>(s, row, step, b);
            }
        }
    }
}

/// `N` neighboring elements of one row, each the dot product of contiguous vectors.
#[inline(always)]
unsafe fn dots<C: Convert, T: Number, const N: usize>(
    s: &Strip,
    row: usize,
    col: usize,
    b: *const T,
) {
    const LANES: usize = 16;
    let mut sums = [[0.0f32; LANES]; N];
    // SAFETY: `row` has `depth` contiguous elements in A, and so has each of the `N` columns.
    unsafe {
        let a = s.a.add(row * s.depth);
        let b = b.add(col * s.b_col_stride);
        let whole = s.depth - s.depth % LANES;
        for step in (0..whole).step_by(LANES) {
            for (j, sums) in sums.iter_mut().enumerate() {
                let b = b.add(j * s.b_col_stride + step);
                for (lane, sum) in sums.iter_mut().enumerate() {
                    let x = *a.add(step + lane);
                    *sum = C::multiply_add(x, (*b.add(lane)).widened(), *sum);
                }
            }
        }
        for (j, sums) in sums.iter_mut().enumerate() {
            for step in whole..s.depth {
                let y = (*b.add(j * s.b_col_stride + step)).widened();
                sums[step - whole] = C::multiply_add(*a.add(step), y, sums[step - whole]);
            }
            *s.sums.add(row * s.cols + col + j) = total(sums);
        }
    }
}

/// The sum of all lanes, halving.
#[inline(always)]
fn total(lanes: &mut [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    lanes[0]
}

/// Adds `N` rows of B, each times its element of A, to a row of sums.
#[inline(always)]
unsafe fn add_rows<C: Convert, T: Number, const N: usize>(
    s: &Strip,
    row: usize,
    step: usize,
    b: *const T,
) {
    // SAFETY: the row of A has `N` more elements at `step`, and each row of B `cols` contiguous
    // elements; the sums are memory of their own.
    unsafe {
        let a: [f32; N] = std::array::from_fn(|i| *s.a.add(row * s.depth + step + i));
        let b: [*const T; N] = std::array::from_fn(|i| b.add((step + i) * s.b_row_stride));
        let sums = s.sums.add(row * s.cols);
        for j in 0..s.cols {
            let mut sum = *sums.add(j);
            for i in 0..N {
                sum = C::multiply_add(a[i], (*b[i].add(j)).widened(), sum);
            }
            *sums.add(j) = sum;
        }
    }
}
