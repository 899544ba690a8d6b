//! `ane_bridge.h`: names and signatures of an older library, over the same devices.

use crate::blob::{self, Shape};
use crate::device::{Device, Text};
use crate::error::{Error, Result, guarded, last_message};
use crate::modern::{add_file, copy_out};
use crate::pointer::{Out, array, give, handle, take, text, utf8};
use crate::request::{Request, Side};
use std::collections::BTreeMap;
use std::env;
use std::ffi::{c_char, c_int, c_void};
use std::io::Write;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A compiled program with its surfaces.
pub struct ANEKernelHandle {
    request: Request,
    /// Why the last write was refused, until an evaluation has told it.
    refused: Mutex<Option<String>>,
}

/// The variable that names the device, as for `anemone_device_open`.
const DEVICE_VARIABLE: &str = "ANE_BRIDGE_DEVICE";

/// The variable that lets failures be printed, for programs that do not ask for messages.
const VERBOSE_VARIABLE: &str = "ANE_BRIDGE_VERBOSE";

/// Where the weights of [`ane_bridge_compile`] are.
const ONLY_WEIGHT: &str = "@model_path/weights/weight.bin";

static COMPILED: AtomicI32 = AtomicI32::new(0);

/// See `ane_bridge.h`.
#[unsafe(no_mangle)]
pub extern "C" fn ane_bridge_init() -> c_int {
    let opened = told("ane_bridge_init", || device().map(|_| ()));
    if opened.is_some() { 0 } else { -1 }
}

/// See `ane_bridge.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ane_bridge_compile(
    mil_text: *const c_char,
    mil_len: usize,
    weight_data: *const u8,
    weight_len: usize,
    n_inputs: c_int,
    input_sizes: *const usize,
    n_outputs: c_int,
    output_sizes: *const usize,
) -> *mut ANEKernelHandle {
    made("ane_bridge_compile", || {
        let mut files = BTreeMap::new();
        if !weight_data.is_null() {
            // SAFETY: `weight_data` has `weight_len` bytes, as the header asks.
            let data = unsafe { array(weight_data, weight_len, "weight_data") }?;
            add_file(&mut files, ONLY_WEIGHT, data)?;
        } else if weight_len > 0 {
            return Err(Error::argument("`weight_data` is NULL, and `weight_len` is not 0"));
        }
        // SAFETY: `mil_text` has `mil_len` bytes, as the header asks.
        let text = unsafe { array(mil_text.cast::<u8>(), mil_len, "mil_text") }?;
        // SAFETY: the arrays have the numbers of elements that stand before them, as the header
        // asks.
        let inputs = unsafe { sizes(n_inputs, input_sizes, "input") }?;
        // SAFETY: as above.
        let outputs = unsafe { sizes(n_outputs, output_sizes, "output") }?;
        compile(text, files, inputs, outputs)
    })
}

/// See `ane_bridge.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)] // The signature is given.
pub unsafe extern "C" fn ane_bridge_compile_multi_weights(
    mil_text: *const c_char,
    mil_len: usize,
    weight_names: *mut *const c_char,
    weight_datas: *mut *const u8,
    weight_lens: *const usize,
    n_weights: c_int,
    n_inputs: c_int,
    input_sizes: *const usize,
    n_outputs: c_int,
    output_sizes: *const usize,
) -> *mut ANEKernelHandle {
    made("ane_bridge_compile_multi_weights", || {
        let count = length(n_weights, "n_weights")?;
        // SAFETY: the arrays have `n_weights` elements each, as the header asks.
        let names = unsafe { array(weight_names, count, "weight_names") }?;
        // SAFETY: as above.
        let datas = unsafe { array(weight_datas, count, "weight_datas") }?;
        // SAFETY: as above.
        let lens = unsafe { array(weight_lens, count, "weight_lens") }?;
        let mut files = BTreeMap::new();
        for (i, ((&name, &data), &len)) in names.iter().zip(datas).zip(lens).enumerate() {
            // SAFETY: every name is null or a C string, as the header asks.
            let name = unsafe { text(name, &format!("weight_names[{i}]")) }?;
            // SAFETY: every file has as many bytes as its length says, as the header asks.
            let data = unsafe { array(data, len, &format!("weight_datas[{i}]")) }?;
            add_file(&mut files, name, data)?;
        }
        // SAFETY: `mil_text` has `mil_len` bytes, as the header asks.
        let text = unsafe { array(mil_text.cast::<u8>(), mil_len, "mil_text") }?;
        // SAFETY: as in `ane_bridge_compile`.
        let inputs = unsafe { sizes(n_inputs, input_sizes, "input") }?;
        // SAFETY: as in `ane_bridge_compile`.
        let outputs = unsafe { sizes(n_outputs, output_sizes, "output") }?;
        compile(text, files, inputs, outputs)
    })
}

/// See `ane_bridge.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ane_bridge_eval(kernel: *mut ANEKernelHandle) -> bool {
    let done = told("ane_bridge_eval", || {
        // SAFETY: null, or a handle that has not been freed, as the header asks.
        let kernel = unsafe { handle(kernel, "kernel") }?;
        if let Some(reason) = kernel.refused().take() {
            return Err(Error::argument(format!("a write before was refused: {reason}")));
        }
        kernel.request.lock()?.evaluate()
    });
    done.is_some()
}

/// See `ane_bridge.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ane_bridge_write_input(
    kernel: *mut ANEKernelHandle,
    idx: c_int,
    data: *const c_void,
    bytes: usize,
) {
    told("ane_bridge_write_input", || {
        // SAFETY: null, or a handle that has not been freed, as the header asks.
        let kernel = unsafe { handle(kernel, "kernel") }?;
        let write = || {
            let index = length(idx, "idx")?;
            let mut parts = kernel.request.lock()?;
            let slot = parts.slot(Side::Input, index)?;
            slot.check_size("written", bytes)?;
            // SAFETY: `data` has `bytes` bytes, as the header asks.
            slot.write(unsafe { array(data.cast(), bytes, "data") }?)
        };
        // Callers get no result here, so the next evaluation must not use what is stale.
        write().inspect_err(|error| *kernel.refused() = Some(error.message.clone()))
    });
}

/// See `ane_bridge.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ane_bridge_read_output(
    kernel: *mut ANEKernelHandle,
    idx: c_int,
    data: *mut c_void,
    bytes: usize,
) {
    told("ane_bridge_read_output", || {
        // SAFETY: null, or a handle that has not been freed, as the header asks.
        let kernel = unsafe { handle(kernel, "kernel") }?;
        let index = length(idx, "idx")?;
        let mut parts = kernel.request.lock()?;
        let slot = parts.slot(Side::Output, index)?;
        // SAFETY: `data` has `bytes` bytes, as the header asks.
        unsafe { copy_out(slot, data, bytes) }
    });
}

/// See `ane_bridge.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ane_bridge_free(kernel: *mut ANEKernelHandle) {
    told("ane_bridge_free", || {
        // SAFETY: null, or a handle that is not used again, as the header asks.
        drop(unsafe { take(kernel) });
        Ok(())
    });
}

/// See `ane_bridge.h`.
#[unsafe(no_mangle)]
pub extern "C" fn ane_bridge_get_compile_count() -> c_int {
    COMPILED.load(Ordering::Relaxed)
}

/// See `ane_bridge.h`.
#[unsafe(no_mangle)]
pub extern "C" fn ane_bridge_reset_compile_count() {
    COMPILED.store(0, Ordering::Relaxed);
}

/// See `ane_bridge.h`.
#[unsafe(no_mangle)]
pub extern "C" fn ane_bridge_last_error() -> *const c_char {
    last_message()
}

/// See `ane_bridge.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ane_bridge_build_weight_blob(
    src: *const f32,
    rows: c_int,
    cols: c_int,
    out_len: *mut usize,
) -> *mut u8 {
    // SAFETY: as the header asks of the caller.
    unsafe { build("ane_bridge_build_weight_blob", src, (rows, cols), out_len, blob::fp16) }
}

/// See `ane_bridge.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ane_bridge_build_weight_blob_transposed(
    src: *const f32,
    rows: c_int,
    cols: c_int,
    out_len: *mut usize,
) -> *mut u8 {
    let name = "ane_bridge_build_weight_blob_transposed";
    // SAFETY: as the header asks of the caller.
    unsafe { build(name, src, (rows, cols), out_len, blob::fp16_transposed) }
}

/// See `ane_bridge.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ane_bridge_build_weight_blob_int8(
    src: *const i8,
    rows: c_int,
    cols: c_int,
    out_len: *mut usize,
) -> *mut u8 {
    // SAFETY: as the header asks of the caller.
    unsafe { build("ane_bridge_build_weight_blob_int8", src, (rows, cols), out_len, blob::int8) }
}

/// See `ane_bridge.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ane_bridge_build_weight_blob_quantized(
    src: *const f32,
    rows: c_int,
    cols: c_int,
    out_scale: *mut f32,
    out_len: *mut usize,
) -> *mut u8 {
    let quantize = |matrix: &[f32], shape| {
        // SAFETY: `out_scale` is null or writable, as the header asks.
        let mut out_scale = unsafe { Out::new(out_scale, 0.0, "out_scale") }?;
        let (file, scale) = blob::quantized(matrix, shape)?;
        out_scale.set(scale);
        Ok(file)
    };
    let name = "ane_bridge_build_weight_blob_quantized";
    // SAFETY: as the header asks of the caller.
    unsafe { build(name, src, (rows, cols), out_len, quantize) }
}

/// See `ane_bridge.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ane_bridge_free_blob(blob: *mut c_void) {
    // SAFETY: C's `free` has not freed it, as the header asks.
    told("ane_bridge_free_blob", || unsafe { blob::release(blob.cast()) });
}

/// Builds a blob from a matrix of C.
///
/// # Safety
/// `src` is null or has `rows * cols` elements, `out_len` is null or writable.
unsafe fn build<T>(
    function: &str,
    src: *const T,
    (rows, cols): (c_int, c_int),
    out_len: *mut usize,
    make: impl FnOnce(&[T], Shape) -> Result<Vec<u8>>,
) -> *mut u8 {
    let built = told(function, || {
        // SAFETY: by this function's own condition.
        let mut out_len = unsafe { Out::new(out_len, 0, "out_len") }?;
        let shape = Shape::new(rows, cols, size_of::<f32>())?;
        // SAFETY: by this function's own condition; numbers have no invalid bit patterns.
        let matrix = unsafe { array(src, shape.count(), "src") }?;
        let file = make(matrix, shape)?;
        let memory = blob::hand_over(&file)?;
        out_len.set(file.len());
        Ok(memory)
    });
    built.unwrap_or(ptr::null_mut())
}

fn compile(
    text: &[u8],
    files: BTreeMap<String, Arc<[u8]>>,
    inputs: &[usize],
    outputs: &[usize],
) -> Result<ANEKernelHandle> {
    let text = utf8(text, "mil_text")?;
    let weights = mil::Weights::in_memory(files);
    let source = Text { text, file: "program", weights: &weights, function: None };
    let mut kernel = device()?.compile(&source)?;
    kernel.sort_ports();
    let request = kernel.request_of_sizes(inputs, outputs)?;
    let more = |count: i32| Some(count.saturating_add(1));
    // Never fails, because the closure always gives a number.
    let _ = COMPILED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    Ok(ANEKernelHandle { request, refused: Mutex::new(None) })
}

/// The device of all kernels, opened by the first who needs it.
fn device() -> Result<Arc<Device>> {
    static DEVICE: Mutex<Option<Arc<Device>>> = Mutex::new(None);
    let mut device = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = &*device {
        return Ok(device.clone());
    }
    let name = env::var(DEVICE_VARIABLE).unwrap_or_default();
    let name = if name.is_empty() { "ane-emulated" } else { &name };
    let opened = Arc::new(Device::open(name)?);
    Ok(device.insert(opened).clone())
}

/// The sizes of surfaces.
///
/// # Safety
/// `sizes` is null or has `count` elements that stay as they are while `'a` lasts.
unsafe fn sizes<'a>(count: c_int, sizes: *const usize, kind: &str) -> Result<&'a [usize]> {
    let count = length(count, &format!("n_{kind}s"))?;
    // SAFETY: by this function's own condition.
    unsafe { array(sizes, count, &format!("{kind}_sizes")) }
}

fn length(count: c_int, what: &str) -> Result<usize> {
    usize::try_from(count).map_err(|_| Error::argument(format!("`{what}` is negative: {count}")))
}

/// [`guarded`], printing the error where the user wants that.
fn told<T>(function: &str, call: impl FnOnce() -> Result<T>) -> Option<T> {
    match guarded(call) {
        Ok(value) => Some(value),
        Err(error) => {
            if env::var_os(VERBOSE_VARIABLE).is_some_and(|value| !value.is_empty()) {
                // Nobody is left to tell where even this fails.
                let _ = writeln!(std::io::stderr(), "{function}: {error}");
            }
            None
        }
    }
}

/// [`told`], for what gives a handle.
fn made<T>(function: &str, call: impl FnOnce() -> Result<T>) -> *mut T {
    told(function, call).map_or(ptr::null_mut(), give)
}

impl ANEKernelHandle {
    fn refused(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
