//! `anemone.h`: devices, weights, kernels, requests.
#![allow(non_camel_case_types)] // The names are those of the header.

mod kernel;
mod request;

pub use kernel::*;
pub(crate) use request::copy_out;
pub use request::*;

use crate::error::{self, Status, status};
use crate::pointer::{Out, array, give, handle, optional_text, take, text};
use crate::{device, error::Error};
use half::f16;
use std::collections::BTreeMap;
use std::ffi::{c_char, c_void};
use std::path::Path;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

/// 0, or what went wrong.
pub type anemone_status = i32;

/// A device.
pub struct anemone_device(device::Device);

/// Weight files.
pub struct anemone_weights(Mutex<Files>);

/// Where weight files are.
pub(crate) enum Files {
    Folder(mil::Weights),
    Memory(BTreeMap<String, Arc<[u8]>>),
}

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// See `anemone.h`.
#[unsafe(no_mangle)]
pub extern "C" fn anemone_version() -> *const c_char {
    VERSION.as_ptr().cast()
}

/// See `anemone.h`.
#[unsafe(no_mangle)]
pub extern "C" fn anemone_last_error() -> *const c_char {
    error::last_message()
}

/// See `anemone.h`.
#[unsafe(no_mangle)]
pub extern "C" fn anemone_last_error_code() -> u32 {
    error::last_code()
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_device_open(
    name: *const c_char,
    device: *mut *mut anemone_device,
) -> anemone_status {
    status(|| {
        // SAFETY: `device` is null or writable, as the header asks.
        let mut device = unsafe { Out::new(device, ptr::null_mut(), "device") }?;
        // SAFETY: `name` is null or a C string, as the header asks.
        let name = unsafe { text(name, "name") }?;
        device.set(give(anemone_device(device::Device::open(name)?)));
        Ok(())
    })
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_device_free(device: *mut anemone_device) {
    status(|| {
        // SAFETY: null, or a device that is not used again, as the header asks.
        drop(unsafe { take(device) });
        Ok(())
    });
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_device_description(
    device: *const anemone_device,
) -> *const c_char {
    // SAFETY: null, or a device that has not been freed, as the header asks.
    let device = error::guarded(|| unsafe { handle(device, "device") });
    device.map_or(c"".as_ptr(), |device| device.0.description.as_ptr())
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_weights_new(
    folder: *const c_char,
    weights: *mut *mut anemone_weights,
) -> anemone_status {
    status(|| {
        // SAFETY: `weights` is null or writable, as the header asks.
        let mut weights = unsafe { Out::new(weights, ptr::null_mut(), "weights") }?;
        // SAFETY: `folder` is null or a C string, as the header asks.
        let files = match unsafe { optional_text(folder, "folder") }? {
            None => Files::Memory(BTreeMap::new()),
            Some(folder) if !Path::new(folder).is_dir() => {
                return Err(Error::new(Status::System, format!("`{folder}` is not a folder")));
            }
            Some(folder) => Files::Folder(mil::Weights::in_dir(folder)),
        };
        weights.set(give(anemone_weights(Mutex::new(files))));
        Ok(())
    })
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_weights_add(
    weights: *mut anemone_weights,
    path: *const c_char,
    data: *const c_void,
    bytes: usize,
) -> anemone_status {
    status(|| {
        // SAFETY: null, or weights that have not been freed, as the header asks.
        let weights = unsafe { handle(weights, "weights") }?;
        // SAFETY: `path` is null or a C string, as the header asks.
        let path = unsafe { text(path, "path") }?;
        // SAFETY: `data` has `bytes` bytes, as the header asks.
        let data = unsafe { array(data.cast::<u8>(), bytes, "data") }?;
        match &mut *weights.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Files::Folder(_) => Err(Error::argument("these weights are the files of a folder")),
            Files::Memory(files) => add_file(files, path, data),
        }
    })
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_weights_free(weights: *mut anemone_weights) {
    status(|| {
        // SAFETY: null, or weights that are not used again, as the header asks.
        drop(unsafe { take(weights) });
        Ok(())
    });
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_fp32_to_fp16(
    from: *const f32,
    to: *mut u16,
    count: usize,
) -> anemone_status {
    // SAFETY: `from` can be read and `to` written, `count` elements each and apart from each
    // other, as the header asks.
    unsafe { convert(from, to, count, |value| f16::from_f32(value).to_bits()) }
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_fp16_to_fp32(
    from: *const u16,
    to: *mut f32,
    count: usize,
) -> anemone_status {
    // SAFETY: as in `anemone_fp32_to_fp16`.
    unsafe { convert(from, to, count, |bits| f16::from_bits(bits).to_f32()) }
}

/// Converts `count` numbers.
///
/// # Safety
/// If not null, `from` can be read and `to` written, `count` elements each and apart from each
/// other.
unsafe fn convert<T: Copy, U>(
    from: *const T,
    to: *mut U,
    count: usize,
    one: impl Fn(T) -> U,
) -> anemone_status {
    status(|| {
        if count == 0 {
            return Ok(());
        }
        // SAFETY: by this function's own condition.
        let from = unsafe { array(from, count, "from") }?;
        crate::pointer::check(to, count, "to")?;
        for (i, &value) in from.iter().enumerate() {
            // SAFETY: `to` is not null and aligned, as checked, and has `count` elements.
            unsafe { to.add(i).write(one(value)) };
        }
        Ok(())
    })
}

/// Adds a copy of a weight file, if its path is one that a program may use and is new.
pub(crate) fn add_file(
    files: &mut BTreeMap<String, Arc<[u8]>>,
    path: &str,
    data: &[u8],
) -> error::Result<()> {
    let below = mil::weight_path(path).map_err(|error| Error::argument(error.to_string()))?;
    if files.contains_key(below) {
        return Err(Error::argument(format!("weight file `{path}` is there already")));
    }
    files.insert(below.to_owned(), data.into());
    Ok(())
}

impl anemone_weights {
    /// As programs are compiled with them.
    fn snapshot(&self) -> mil::Weights {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Files::Folder(weights) => weights.clone(),
            Files::Memory(files) => mil::Weights::in_memory(files.clone()),
        }
    }
}
