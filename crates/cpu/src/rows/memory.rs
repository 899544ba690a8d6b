//! Moving blocks of rows between memory and registers.

use crate::element::{Bf16, Element, F16};
use crate::format::Format;
use crate::isa::Isa;
use std::slice;

/// Part of an operand: `len` elements from `start` on of each of `rows` rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'a> {
    /// The element with all indices zero.
    pub base: *mut u8,
    pub format: Format,
    pub offsets: Offsets<'a>,
    pub rows: usize,
    pub inner_stride: isize,
    pub start: usize,
    pub len: usize,
}

/// Where rows start, in elements.
#[derive(Clone, Copy, Debug)]
pub(super) enum Offsets<'a> {
    /// At equal distances.
    Even { first: isize, stride: isize },
    /// Anywhere.
    Listed(&'a [isize]),
}

impl Window<'_> {
    fn offset(&self, row: usize) -> isize {
        match self.offsets {
            Offsets::Even { first, stride } => first + stride * row as isize,
            Offsets::Listed(offsets) => offsets[row],
        }
    }

    /// Whether each row starts one element behind the last.
    fn is_transposed(&self) -> bool {
        self.rows > 1
            && match self.offsets {
                Offsets::Even { stride, .. } => stride == 1,
                Offsets::Listed(o) => o[..self.rows].windows(2).all(|w| w[1] - w[0] == 1),
            }
    }

    /// The same elements as one row if they are one contiguous range.
    fn flattened(mut self) -> Self {
        if let Offsets::Even { stride, .. } = self.offsets
            && self.inner_stride == 1
            && stride == self.len as isize
        {
            self.len *= self.rows;
            self.rows = 1;
        }
        self
    }

    /// The address of the first element of an `F32` window.
    pub fn first(&self) -> *mut f32 {
        // SAFETY: who makes a window vouches for its elements.
        unsafe { self.row(0) }
    }

    /// The address of element `start` of a row.
    ///
    /// # Safety
    /// It must be within the operand.
    #[inline(always)]
    unsafe fn row<T>(&self, row: usize) -> *mut T {
        let element = self.offset(row) + self.start as isize * self.inner_stride;
        // SAFETY: the caller vouches for the element.
        unsafe { self.base.cast::<T>().offset(element) }
    }
}

/// Loads a window to a dense `[rows, len]` register.
///
/// # Safety
/// The window's elements must be readable, aligned for their format, and not overlap `to`.
pub(super) unsafe fn load(isa: Isa, to: &mut [f32], window: Window<'_>) {
    if to.is_empty() {
        return;
    }
    let window = &window.flattened();
    // SAFETY: as for this function.
    dispatch!(isa, load_body, load_body, (to: &mut [f32], window: &Window<'_>));
}

/// Stores the rows at `from`, which are `from_stride` elements apart, to a window.
///
/// # Safety
/// The window's elements must be writable, aligned for their format, and in no other thread's
/// hands; `from` must hold `len` elements for each row. Where both overlap, the format must be
/// `F32`, and each element must lie on itself.
pub(super) unsafe fn store(isa: Isa, window: Window<'_>, from: *const f32, from_stride: usize) {
    if window.rows == 0 || window.len == 0 {
        return;
    }
    let flat = from_stride == window.len;
    let window = &if flat { window.flattened() } else { window };
    // SAFETY: as for this function.
    dispatch!(
        isa,
        store_body,
        store_body,
        (window: &Window<'_>, from: *const f32, from_stride: usize)
    );
}

/// Adds a dense `[rows, len]` register to a window of `F32` elements.
///
/// # Safety
/// As for [`store`], without overlap.
pub(super) unsafe fn add(isa: Isa, window: Window<'_>, from: *const f32, from_stride: usize) {
    if window.rows == 0 || window.len == 0 {
        return;
    }
    let window = &window;
    // SAFETY: as for this function.
    dispatch!(
        isa,
        add_body,
        add_body,
        (window: &Window<'_>, from: *const f32, from_stride: usize)
    );
}

#[inline(always)]
unsafe fn load_body(to: &mut [f32], window: &Window<'_>) {
    // SAFETY: as for `load`; the format says what the elements are.
    unsafe {
        match window.format {
            Format::F32 => load_as::<f32>(to, window),
            Format::Bf16 => load_as::<Bf16>(to, window),
            Format::F16 => load_as::<F16>(to, window),
            Format::I32 => load_as::<i32>(to, window),
            Format::U8 => load_as::<u8>(to, window),
            Format::I8 => load_as::<i8>(to, window),
        }
    }
}

#[inline(always)]
unsafe fn load_as<T: Element>(to: &mut [f32], window: &Window<'_>) {
    let (len, stride) = (window.len, window.inner_stride);
    if stride == 1 {
        for (row, to) in to.chunks_exact_mut(len).enumerate() {
            // SAFETY: the caller vouches for the elements of the window.
            let from = unsafe { slice::from_raw_parts(window.row::<T>(row), len) };
            for (to, from) in to.iter_mut().zip(from) {
                *to = from.widen();
            }
        }
    } else if window.is_transposed() {
        assert_eq!(to.len(), window.rows * len);
        // SAFETY: as above; the rows' elements `i` adjoin.
        let from = unsafe { window.row::<T>(0) };
        // Four elements of a row at a time, which are one vector to write.
        let fours = len / 4 * 4;
        for i in (0..fours).step_by(4) {
            for row in 0..window.rows {
                for k in 0..4 {
                    // SAFETY: as above, and `row * len + i + k` is below the asserted length.
                    unsafe {
                        let value = *from.offset((i + k) as isize * stride + row as isize);
                        *to.get_unchecked_mut(row * len + i + k) = value.widen();
                    }
                }
            }
        }
        for i in fours..len {
            for row in 0..window.rows {
                // SAFETY: as above.
                let value = unsafe { *from.offset(i as isize * stride + row as isize) };
                to[row * len + i] = value.widen();
            }
        }
    } else {
        for (row, to) in to.chunks_exact_mut(len).enumerate() {
            // SAFETY: as above.
            let from = unsafe { window.row::<T>(row) };
            for (i, to) in to.iter_mut().enumerate() {
                // SAFETY: as above.
                *to = unsafe { *from.offset(i as isize * stride) }.widen();
            }
        }
    }
}

#[inline(always)]
unsafe fn store_body(window: &Window<'_>, from: *const f32, from_stride: usize) {
    // SAFETY: as for `store`; the format says what the elements are.
    unsafe {
        match window.format {
            Format::F32 if window.inner_stride == 1 => {
                for row in 0..window.rows {
                    // The source may be the destination.
                    let from = from.add(row * from_stride);
                    window.row::<f32>(row).copy_from(from, window.len);
                }
            }
            Format::F32 => store_as::<f32>(window, from, from_stride),
            Format::Bf16 => store_as::<Bf16>(window, from, from_stride),
            Format::F16 => store_as::<F16>(window, from, from_stride),
            Format::I32 => store_as::<i32>(window, from, from_stride),
            Format::U8 => store_as::<u8>(window, from, from_stride),
            Format::I8 => store_as::<i8>(window, from, from_stride),
        }
    }
}

#[inline(always)]
unsafe fn store_as<T: Element>(window: &Window<'_>, from: *const f32, from_stride: usize) {
    let (len, stride) = (window.len, window.inner_stride);
    if stride == 1 {
        for row in 0..window.rows {
            // SAFETY: the caller vouches for both sides, which do not overlap: only `F32` may, and
            // its contiguous rows are not stored here.
            let (to, from) = unsafe {
                (
                    slice::from_raw_parts_mut(window.row::<T>(row), len),
                    slice::from_raw_parts(from.add(row * from_stride), len),
                )
            };
            for (to, from) in to.iter_mut().zip(from) {
                *to = T::narrow(*from);
            }
        }
    } else if window.is_transposed() {
        for i in 0..len {
            for row in 0..window.rows {
                // SAFETY: the caller vouches for both elements; the rows' elements `i` adjoin.
                unsafe {
                    let value = *from.add(row * from_stride + i);
                    *window.row::<T>(0).offset(i as isize * stride + row as isize) =
                        T::narrow(value);
                }
            }
        }
    } else {
        for row in 0..window.rows {
            // SAFETY: as above.
            let to = unsafe { window.row::<T>(row) };
            for i in 0..len {
                // SAFETY: as above.
                unsafe {
                    let value = *from.add(row * from_stride + i);
                    *to.offset(i as isize * stride) = T::narrow(value);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn add_body(window: &Window<'_>, from: *const f32, from_stride: usize) {
    for row in 0..window.rows {
        // SAFETY: the caller vouches for both sides, which do not overlap.
        let (to, from) = unsafe {
            let from = slice::from_raw_parts(from.add(row * from_stride), window.len);
            (window.row::<f32>(row), from)
        };
        if window.inner_stride == 1 {
            // SAFETY: as above.
            let to = unsafe { slice::from_raw_parts_mut(to, window.len) };
            for (to, from) in to.iter_mut().zip(from) {
                *to += from;
            }
        } else {
            for (i, from) in from.iter().enumerate() {
                // SAFETY: as above.
                unsafe { *to.offset(i as isize * window.inner_stride) += from };
            }
        }
    }
}
