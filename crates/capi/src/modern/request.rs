//! Requests: surfaces, and evaluating.

use super::{anemone_kernel, anemone_status};
use crate::error::{Error, Result, status};
use crate::pointer::{Out, array, check, give, handle, take};
use crate::request::{Parts, Request, Side, Slot};
use std::ffi::c_void;
use std::ptr;

/// A kernel with surfaces.
pub struct anemone_request(Request);

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_request_new(
    kernel: *const anemone_kernel,
    request: *mut *mut anemone_request,
) -> anemone_status {
    status(|| {
        // SAFETY: `request` is null or writable, as the header asks.
        let mut request = unsafe { Out::new(request, ptr::null_mut(), "request") }?;
        // SAFETY: null, or a kernel that has not been freed, as the header asks.
        let kernel = unsafe { handle(kernel, "kernel") }?;
        request.set(give(anemone_request(kernel.0.request()?)));
        Ok(())
    })
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_request_free(request: *mut anemone_request) {
    status(|| {
        // SAFETY: null, or a request that is not used again, as the header asks.
        drop(unsafe { take(request) });
        Ok(())
    });
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_request_evaluate(request: *mut anemone_request) -> anemone_status {
    // SAFETY: as the header asks of the caller.
    unsafe { with(request, Parts::evaluate) }
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_request_map_input(
    request: *mut anemone_request,
    index: usize,
    data: *mut *mut c_void,
    bytes: *mut usize,
) -> anemone_status {
    status(|| {
        // SAFETY: `data` and `bytes` are null or writable, as the header asks.
        let mut out = unsafe { Mapped::new(data, bytes) }?;
        let map = |slot: &mut Slot| Ok((slot.map_to_write()?.cast(), slot.bytes()));
        // SAFETY: as the header asks of the caller.
        out.set(unsafe { with_slot(request, Side::Input, index, map) }?);
        Ok(())
    })
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_request_unmap_input(
    request: *mut anemone_request,
    index: usize,
) -> anemone_status {
    // SAFETY: as the header asks of the caller.
    status(|| unsafe { with_slot(request, Side::Input, index, Slot::unmap) })
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_request_map_output(
    request: *mut anemone_request,
    index: usize,
    data: *mut *const c_void,
    bytes: *mut usize,
) -> anemone_status {
    status(|| {
        // SAFETY: `data` and `bytes` are null or writable, as the header asks.
        let mut out = unsafe { Mapped::new(data.cast(), bytes) }?;
        let map = |slot: &mut Slot| Ok((slot.map_to_read()?.cast_mut().cast(), slot.bytes()));
        // SAFETY: as the header asks of the caller.
        out.set(unsafe { with_slot(request, Side::Output, index, map) }?);
        Ok(())
    })
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_request_unmap_output(
    request: *mut anemone_request,
    index: usize,
) -> anemone_status {
    // SAFETY: as the header asks of the caller.
    status(|| unsafe { with_slot(request, Side::Output, index, Slot::unmap) })
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_request_write_input(
    request: *mut anemone_request,
    index: usize,
    data: *const c_void,
    bytes: usize,
) -> anemone_status {
    status(|| {
        let write = |slot: &mut Slot| {
            check_whole(slot, bytes)?;
            // SAFETY: `data` has `bytes` bytes, as the header asks.
            slot.write(unsafe { array(data.cast(), bytes, "data") }?)
        };
        // SAFETY: as the header asks of the caller.
        unsafe { with_slot(request, Side::Input, index, write) }
    })
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_request_read_output(
    request: *mut anemone_request,
    index: usize,
    data: *mut c_void,
    bytes: usize,
) -> anemone_status {
    status(|| {
        let read = |slot: &mut Slot| {
            check_whole(slot, bytes)?;
            // SAFETY: `data` has `bytes` bytes, as the header asks.
            unsafe { copy_out(slot, data, bytes) }
        };
        // SAFETY: as the header asks of the caller.
        unsafe { with_slot(request, Side::Output, index, read) }
    })
}

/// A place for a pointer and a size.
struct Mapped(Out<*mut c_void>, Out<usize>);

impl Mapped {
    /// # Safety
    /// `data` and `bytes` are null or writable.
    unsafe fn new(data: *mut *mut c_void, bytes: *mut usize) -> Result<Mapped> {
        // SAFETY: by this function's own condition.
        let data = unsafe { Out::new(data, ptr::null_mut(), "data") }?;
        // SAFETY: by this function's own condition.
        Ok(Mapped(data, unsafe { Out::new(bytes, 0, "bytes") }?))
    }

    fn set(&mut self, (data, bytes): (*mut c_void, usize)) {
        self.0.set(data);
        self.1.set(bytes);
    }
}

/// Copies the first `bytes` bytes of a surface to `data`.
///
/// # Safety
/// If not null, `data` can be written for `bytes` bytes and is no part of the surface.
pub(crate) unsafe fn copy_out(slot: &mut Slot, data: *mut c_void, bytes: usize) -> Result<()> {
    let reading = slot.read(bytes)?;
    if bytes == 0 {
        return Ok(());
    }
    check(data.cast::<u8>(), bytes, "data")?;
    let from = &reading[..bytes];
    // SAFETY: `from` has `bytes` bytes as just cut, and `data` too by this function's condition.
    unsafe { ptr::copy_nonoverlapping(from.as_ptr(), data.cast(), bytes) };
    Ok(())
}

/// A tensor is written and read whole, so that a wrong size cannot go unnoticed.
fn check_whole(slot: &Slot, bytes: usize) -> Result<()> {
    let (name, whole) = (&slot.name, slot.bytes());
    match bytes == whole {
        true => Ok(()),
        false => Err(Error::argument(format!("`{name}` has {whole} bytes, the caller's {bytes}"))),
    }
}

/// # Safety
/// `request` is null or has not been freed.
unsafe fn with(
    request: *mut anemone_request,
    call: impl FnOnce(&mut Parts) -> Result<()>,
) -> anemone_status {
    status(|| {
        // SAFETY: by this function's own condition.
        let request = unsafe { handle(request, "request") }?;
        call(&mut *request.0.lock()?)
    })
}

/// # Safety
/// `request` is null or has not been freed.
unsafe fn with_slot<T>(
    request: *mut anemone_request,
    side: Side,
    index: usize,
    call: impl FnOnce(&mut Slot) -> Result<T>,
) -> Result<T> {
    // SAFETY: by this function's own condition.
    let request = unsafe { handle(request, "request") }?;
    let mut parts = request.0.lock()?;
    call(parts.slot(side, index)?)
}
