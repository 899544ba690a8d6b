//! Pointers from C, checked as far as they can be: not null, aligned, of a size that memory can
//! have. That they point to what the header asks for is the caller's promise.

use crate::error::{Error, Result};
use std::ffi::{CStr, c_char};

/// The object behind a handle.
///
/// # Safety
/// If not null, `pointer` came from [`give`] and has not been taken back while `'a` lasts.
pub(crate) unsafe fn handle<'a, T>(pointer: *const T, what: &str) -> Result<&'a T> {
    // SAFETY: null, or a live object by this function's own condition.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(what))
}

/// Hands an object to C, which gives it back through [`take`].
pub(crate) fn give<T>(object: T) -> *mut T {
    Box::into_raw(Box::new(object))
}

/// Takes an object back from C; null is nothing.
///
/// # Safety
/// If not null, `pointer` came from [`give`], is not in use and is not used afterwards.
pub(crate) unsafe fn take<T>(pointer: *mut T) -> Option<Box<T>> {
    // SAFETY: by this function's own condition the box of `give` is owned by nobody else.
    (!pointer.is_null()).then(|| unsafe { Box::from_raw(pointer) })
}

/// A string.
///
/// # Safety
/// If not null, `pointer` is a C string that does not change while `'a` lasts.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, what: &str) -> Result<&'a str> {
    // SAFETY: as for the caller.
    unsafe { optional_text(pointer, what) }?.ok_or_else(|| null(what))
}

/// A string, or nothing for null.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn optional_text<'a>(
    pointer: *const c_char,
    what: &str,
) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not null, so a C string by this function's own condition.
    utf8(unsafe { CStr::from_ptr(pointer) }.to_bytes(), what).map(Some)
}

/// Bytes as text.
pub(crate) fn utf8<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        Error::argument(format!("`{what}` is not text: byte {at} is not UTF-8"))
    })
}

/// An array of `len` elements; null is an empty one if `len` is 0.
///
/// # Safety
/// If `len` is not 0 and `pointer` not null, it points to `len` elements that do not change while
/// `'a` lasts, and `T` has no invalid bit patterns.
pub(crate) unsafe fn array<'a, T>(pointer: *const T, len: usize, what: &str) -> Result<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    check(pointer, len, what)?;
    // SAFETY: not null, aligned and of a possible size, as checked; the rest is this function's
    // own condition.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// Checks that there can be an array of `len` elements at `pointer`.
pub(crate) fn check<T>(pointer: *const T, len: usize, what: &str) -> Result<()> {
    if pointer.is_null() {
        return Err(null(what));
    }
    if !pointer.is_aligned() {
        let align = align_of::<T>();
        return Err(Error::argument(format!("`{what}` is not aligned to {align} bytes")));
    }
    match len.checked_mul(size_of::<T>()).filter(|&bytes| bytes <= isize::MAX as usize) {
        Some(_) => Ok(()),
        None => Err(Error::argument(format!("`{what}` cannot have {len} elements"))),
    }
}

/// A place for a result.
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// The place at `pointer`, which first gets `initial`, so that it holds something whatever
    /// happens.
    ///
    /// # Safety
    /// If not null, `pointer` can be written until the `Out` is dropped.
    pub(crate) unsafe fn new(pointer: *mut T, initial: T, what: &str) -> Result<Out<T>> {
        check(pointer, 1, what)?;
        let mut out = Out(pointer);
        out.set(initial);
        Ok(out)
    }

    /// Writes the result. What was there is not dropped; C has no drop.
    pub(crate) fn set(&mut self, value: T) {
        // SAFETY: not null and aligned, as checked in `new`, and writable by its condition.
        unsafe { self.0.write(value) };
    }
}

fn null(what: &str) -> Error {
    Error::argument(format!("`{what}` is NULL"))
}
