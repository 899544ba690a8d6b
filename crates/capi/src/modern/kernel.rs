//! Compiling, and what can be asked of a compiled program.

use super::{anemone_device, anemone_status, anemone_weights};
use crate::device::{Described, Kernel, Text};
use crate::error::{Error, Result, Status, guarded, status};
use crate::pointer::{Out, array, give, handle, optional_text, take, text, utf8};
use mil::DataType;
use std::ffi::c_char;
use std::path::{Path, PathBuf};
use std::{fs, ptr};

/// A compiled program.
pub struct anemone_kernel(pub(super) Kernel);

/// An input or output of a kernel. Name and dimensions live as long as the kernel.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct anemone_port {
    /// Name in the program.
    pub name: *const c_char,
    /// Element type: one of `ANEMONE_FP16` and its like.
    pub dtype: i32,
    /// Number of dimensions.
    pub rank: usize,
    /// The dimensions, `rank` of them.
    pub dims: *const usize,
    /// Bytes of the tensor, row-major and packed.
    pub bytes: usize,
}

/// Where an operation runs. The strings live as long as the kernel.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct anemone_placement {
    /// The operation's first result.
    pub value: *const c_char,
    /// The op's name.
    pub op: *const c_char,
    /// The device's word for the place.
    pub place: *const c_char,
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_compile_text(
    device: *const anemone_device,
    mil: *const c_char,
    mil_bytes: usize,
    weights: *const anemone_weights,
    function: *const c_char,
    kernel: *mut *mut anemone_kernel,
) -> anemone_status {
    status(|| {
        // SAFETY: `kernel` is null or writable, as the header asks.
        let mut kernel = unsafe { Out::new(kernel, ptr::null_mut(), "kernel") }?;
        // SAFETY: null, or a device that has not been freed, as the header asks.
        let device = unsafe { handle(device, "device") }?;
        // SAFETY: `mil` has `mil_bytes` bytes, as the header asks.
        let bytes = unsafe { array(mil.cast::<u8>(), mil_bytes, "mil") }?;
        // SAFETY: `weights` is null, or has not been freed, as the header asks.
        let weights = unsafe { weights.as_ref() };
        // SAFETY: `function` is null or a C string, as the header asks.
        let function = unsafe { optional_text(function, "function") }?;
        let weights = weights.map_or_else(mil::Weights::default, |w| w.snapshot());
        let text = utf8(bytes, "mil")?;
        let source = Text { text, file: "program", weights: &weights, function };
        kernel.set(give(anemone_kernel(device.0.compile(&source)?)));
        Ok(())
    })
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_compile_file(
    device: *const anemone_device,
    path: *const c_char,
    weights: *const anemone_weights,
    function: *const c_char,
    kernel: *mut *mut anemone_kernel,
) -> anemone_status {
    status(|| {
        // SAFETY: `kernel` is null or writable, as the header asks.
        let mut kernel = unsafe { Out::new(kernel, ptr::null_mut(), "kernel") }?;
        // SAFETY: null, or a device that has not been freed, as the header asks.
        let device = unsafe { handle(device, "device") }?;
        // SAFETY: `path` is null or a C string, as the header asks.
        let path = unsafe { text(path, "path") }?;
        // SAFETY: `weights` is null, or has not been freed, as the header asks.
        let weights = unsafe { weights.as_ref() };
        // SAFETY: `function` is null or a C string, as the header asks.
        let function = unsafe { optional_text(function, "function") }?;
        let file = program_file(Path::new(path));
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let beside = || mil::Weights::in_dir(folder.unwrap_or(Path::new(".")));
        let weights = weights.map_or_else(beside, |w| w.snapshot());
        let name = file.display().to_string();
        let system = |error| Error::new(Status::System, format!("`{name}`: {error}"));
        let bytes = fs::read(&file).map_err(system)?;
        let text = utf8(&bytes, &name).map_err(|e| Error::program(e.message))?;
        let source = Text { text, file: &name, weights: &weights, function };
        kernel.set(give(anemone_kernel(device.0.compile(&source)?)));
        Ok(())
    })
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_kernel_free(kernel: *mut anemone_kernel) {
    status(|| {
        // SAFETY: null, or a kernel that is not used again, as the header asks.
        drop(unsafe { take(kernel) });
        Ok(())
    });
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_kernel_input_count(kernel: *const anemone_kernel) -> usize {
    // SAFETY: as the header asks of the caller.
    unsafe { count(kernel, |kernel| kernel.inputs.len()) }
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_kernel_output_count(kernel: *const anemone_kernel) -> usize {
    // SAFETY: as the header asks of the caller.
    unsafe { count(kernel, |kernel| kernel.outputs.len()) }
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_kernel_input(
    kernel: *const anemone_kernel,
    index: usize,
    port: *mut anemone_port,
) -> anemone_status {
    // SAFETY: as the header asks of the caller.
    unsafe { describe(kernel, index, port, "input", |kernel| &kernel.inputs) }
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_kernel_output(
    kernel: *const anemone_kernel,
    index: usize,
    port: *mut anemone_port,
) -> anemone_status {
    // SAFETY: as the header asks of the caller.
    unsafe { describe(kernel, index, port, "output", |kernel| &kernel.outputs) }
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_kernel_find_input(
    kernel: *const anemone_kernel,
    name: *const c_char,
    index: *mut usize,
) -> anemone_status {
    // SAFETY: as the header asks of the caller.
    unsafe { find(kernel, name, index, "input", |kernel| &kernel.inputs) }
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_kernel_find_output(
    kernel: *const anemone_kernel,
    name: *const c_char,
    index: *mut usize,
) -> anemone_status {
    // SAFETY: as the header asks of the caller.
    unsafe { find(kernel, name, index, "output", |kernel| &kernel.outputs) }
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_kernel_placement_count(kernel: *const anemone_kernel) -> usize {
    // SAFETY: as the header asks of the caller.
    unsafe { count(kernel, |kernel| kernel.placement.len()) }
}

/// See `anemone.h`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn anemone_kernel_placement(
    kernel: *const anemone_kernel,
    index: usize,
    placement: *mut anemone_placement,
) -> anemone_status {
    status(|| {
        let empty = c"".as_ptr();
        let nothing = anemone_placement { value: empty, op: empty, place: empty };
        // SAFETY: `placement` is null or writable, as the header asks.
        let mut out = unsafe { Out::new(placement, nothing, "placement") }?;
        // SAFETY: null, or a kernel that has not been freed, as the header asks.
        let kernel = unsafe { handle(kernel, "kernel") }?;
        let placed = pick(&kernel.0.placement, index, "operation")?;
        out.set(anemone_placement {
            value: placed.value.as_ptr(),
            op: placed.op.as_ptr(),
            place: placed.place.as_ptr(),
        });
        Ok(())
    })
}

/// See `anemone.h`.
#[unsafe(no_mangle)]
pub extern "C" fn anemone_dtype_name(dtype: i32) -> *const c_char {
    let row = DTYPES.iter().find(|row| row.1 == dtype);
    row.map_or(c"unknown", |row| row.2).as_ptr()
}

/// Element types with their numbers in the header, which are those of weight files where these
/// have one.
const DTYPES: [(DataType, i32, &std::ffi::CStr); 21] = [
    (DataType::Fp16, 1, c"fp16"),
    (DataType::Fp32, 2, c"fp32"),
    (DataType::Uint8, 3, c"uint8"),
    (DataType::Int8, 4, c"int8"),
    (DataType::Bf16, 5, c"bf16"),
    (DataType::Int16, 6, c"int16"),
    (DataType::Uint16, 7, c"uint16"),
    (DataType::Int4, 8, c"int4"),
    (DataType::Uint1, 9, c"uint1"),
    (DataType::Uint2, 10, c"uint2"),
    (DataType::Uint4, 11, c"uint4"),
    (DataType::Uint3, 12, c"uint3"),
    (DataType::Uint6, 13, c"uint6"),
    (DataType::Int32, 14, c"int32"),
    (DataType::Uint32, 15, c"uint32"),
    (DataType::Fp8E4M3Fn, 16, c"fp8e4m3fn"),
    (DataType::Fp8E5M2, 17, c"fp8e5m2"),
    (DataType::Bool, 32, c"bool"),
    (DataType::Fp64, 33, c"fp64"),
    (DataType::Int64, 34, c"int64"),
    (DataType::Uint64, 35, c"uint64"),
];

/// The number of an element type; 0 for strings, which no surface holds.
fn number(dtype: DataType) -> i32 {
    DTYPES.iter().find(|row| row.0 == dtype).map_or(0, |row| row.1)
}

/// The file of text that a path means: itself, or the one in a `.mlmodelc` folder.
fn program_file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("model.mil") } else { path.to_owned() }
}

fn pick<'a, T>(items: &'a [T], index: usize, kind: &str) -> Result<&'a T> {
    items.get(index).ok_or_else(|| {
        let (count, plural) = (items.len(), if items.len() == 1 { "" } else { "s" });
        Error::argument(format!("no {kind} {index}; the kernel has {count} {kind}{plural}"))
    })
}

/// # Safety
/// `kernel` is null or has not been freed.
unsafe fn count(kernel: *const anemone_kernel, of: impl Fn(&Kernel) -> usize) -> usize {
    // SAFETY: by this function's own condition.
    let kernel = guarded(|| unsafe { handle(kernel, "kernel") });
    kernel.map_or(0, |kernel| of(&kernel.0))
}

/// # Safety
/// `kernel` is null or has not been freed; `port` is null or writable.
unsafe fn describe(
    kernel: *const anemone_kernel,
    index: usize,
    port: *mut anemone_port,
    kind: &str,
    ports: impl Fn(&Kernel) -> &[Described],
) -> anemone_status {
    status(|| {
        let (name, dims) = (c"".as_ptr(), ptr::null());
        let nothing = anemone_port { name, dtype: 0, rank: 0, dims, bytes: 0 };
        // SAFETY: by this function's own condition.
        let mut out = unsafe { Out::new(port, nothing, "port") }?;
        // SAFETY: by this function's own condition.
        let kernel = unsafe { handle(kernel, "kernel") }?;
        let Described { name, port } = pick(ports(&kernel.0), index, kind)?;
        out.set(anemone_port {
            name: name.as_ptr(),
            dtype: number(port.ty.dtype),
            rank: port.dims.len(),
            dims: port.dims.as_ptr(),
            bytes: port.bytes,
        });
        Ok(())
    })
}

/// # Safety
/// `kernel` is null or has not been freed; `name` is null or a C string; `index` is null or
/// writable.
unsafe fn find(
    kernel: *const anemone_kernel,
    name: *const c_char,
    index: *mut usize,
    kind: &str,
    ports: impl Fn(&Kernel) -> &[Described],
) -> anemone_status {
    status(|| {
        // SAFETY: by this function's own condition.
        let mut index = unsafe { Out::new(index, usize::MAX, "index") }?;
        // SAFETY: by this function's own condition.
        let kernel = unsafe { handle(kernel, "kernel") }?;
        // SAFETY: by this function's own condition.
        let name = unsafe { text(name, "name") }?;
        let ports = ports(&kernel.0);
        let found = ports.iter().position(|described| described.port.name == name);
        index.set(found.ok_or_else(|| {
            let known: Vec<&str> = ports.iter().map(|d| d.port.name.as_str()).collect();
            let known = known.join(", ");
            Error::argument(format!("no {kind} is called `{name}`; the kernel has {known}"))
        })?);
        Ok(())
    })
}
