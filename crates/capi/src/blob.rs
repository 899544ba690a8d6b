//! Weight files of one tensor, in memory that C frees.

use crate::error::{Error, Result, Status};
use half::f16;
use half::slice::HalfFloatSliceExt;
use mil::{BlobWriter, DataType, Tensor};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rows and columns of a matrix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    rows: usize,
    cols: usize,
}

impl Shape {
    /// A shape that C gives, with elements of at most `element` bytes.
    pub(crate) fn new(rows: i32, cols: i32, element: usize) -> Result<Shape> {
        let size = |name: &str, value: i32| match usize::try_from(value) {
            Ok(size) if size > 0 => Ok(size),
            _ => Err(Error::argument(format!("`{name}` is {value}; expected 1 or more"))),
        };
        let shape = Shape { rows: size("rows", rows)?, cols: size("cols", cols)? };
        let bytes = shape.rows.checked_mul(shape.cols).and_then(|n| n.checked_mul(element));
        match bytes.filter(|&bytes| bytes < isize::MAX as usize / 2) {
            Some(_) => Ok(shape),
            None => Err(Error::argument(format!("no memory has {rows} x {cols} numbers"))),
        }
    }

    /// Number of elements.
    pub(crate) fn count(self) -> usize {
        self.rows * self.cols
    }

    fn transposed(self) -> Shape {
        Shape { rows: self.cols, cols: self.rows }
    }
}

/// A file with the matrix in fp16.
pub(crate) fn fp16(matrix: &[f32], shape: Shape) -> Result<Vec<u8>> {
    let mut numbers = empty::<f16>(shape.count())?;
    numbers.resize(shape.count(), f16::ZERO);
    numbers.convert_from_f32_slice(matrix);
    fp16_file(&numbers, shape)
}

/// A file with the transposed matrix in fp16, `cols` rows of `rows` elements.
pub(crate) fn fp16_transposed(matrix: &[f32], shape: Shape) -> Result<Vec<u8>> {
    let mut numbers = empty::<f16>(shape.count())?;
    for col in 0..shape.cols {
        let column = matrix.iter().skip(col).step_by(shape.cols);
        numbers.extend(column.map(|&value| f16::from_f32(value)));
    }
    fp16_file(&numbers, shape.transposed())
}

/// A file with the matrix in int8.
pub(crate) fn int8(matrix: &[i8], shape: Shape) -> Result<Vec<u8>> {
    let mut bytes = empty(shape.count())?;
    bytes.extend(matrix.iter().map(|&value| value.to_ne_bytes()[0]));
    file(DataType::Int8, shape, bytes)
}

/// A file with the matrix in int8 and what its elements are multiplied by to give the matrix
/// again: the largest magnitude becomes 127, or the scale is 1 if all are 0.
pub(crate) fn quantized(matrix: &[f32], shape: Shape) -> Result<(Vec<u8>, f32)> {
    if let Some(at) = matrix.iter().position(|value| !value.is_finite()) {
        let (row, col, value) = (at / shape.cols, at % shape.cols, matrix[at]);
        let message = format!("row {row}, column {col} is {value}, which no int8 stands for");
        return Err(Error::argument(message));
    }
    let largest = matrix.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    // Where the quotient is subnormal it may be 0, or so coarse that what is divided by it leaves
    // the range; so small a matrix is scaled by the smallest normal number.
    let scale = if largest == 0.0 { 1.0 } else { (largest / 127.0).max(f32::MIN_POSITIVE) };
    let mut bytes = empty(shape.count())?;
    let level = |value: f32| (value / scale).round().clamp(-127.0, 127.0) as i8;
    bytes.extend(matrix.iter().map(|&value| level(value).to_ne_bytes()[0]));
    Ok((file(DataType::Int8, shape, bytes)?, scale))
}

fn fp16_file(numbers: &[f16], shape: Shape) -> Result<Vec<u8>> {
    let mut bytes = empty(numbers.len() * 2)?;
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    file(DataType::Fp16, shape, bytes)
}

fn file(dtype: DataType, shape: Shape, bytes: Vec<u8>) -> Result<Vec<u8>> {
    let tensor = Tensor::from_bytes(dtype, &[shape.rows, shape.cols], bytes);
    let tensor = tensor.map_err(|error| Error::argument(error.to_string()))?;
    let mut writer = BlobWriter::in_memory();
    writer.push(&tensor)?;
    Ok(writer.into_bytes()?)
}

/// Room for `count` elements, or an error where the system has none.
fn empty<T>(count: usize) -> Result<Vec<T>> {
    let mut room = vec![];
    match room.try_reserve_exact(count) {
        Ok(()) => Ok(room),
        Err(_) => Err(no_memory(count.saturating_mul(size_of::<T>()))),
    }
}

fn no_memory(bytes: usize) -> Error {
    Error::new(Status::System, format!("cannot allocate {bytes} bytes"))
}

/// Copies bytes to memory that both [`release`] and C's `free` can free.
pub(crate) fn hand_over(bytes: &[u8]) -> Result<*mut u8> {
    // SAFETY: `malloc` has no requirements.
    let memory: *mut u8 = unsafe { libc::malloc(bytes.len().max(1)) }.cast();
    if memory.is_null() {
        return Err(no_memory(bytes.len()));
    }
    // SAFETY: `malloc` gave at least that many bytes, which nothing else has a pointer to.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory, bytes.len()) };
    live().insert(memory.addr());
    Ok(memory)
}

/// Frees memory of [`hand_over`].
///
/// # Errors
/// If the address is not one that was handed over and not yet released; nothing is freed then.
///
/// # Safety
/// The memory has not been freed by C's `free`.
pub(crate) unsafe fn release(memory: *mut u8) -> Result<()> {
    if memory.is_null() {
        return Ok(());
    }
    if !live().remove(&memory.addr()) {
        return Err(Error::argument("this is not a blob, or it has been freed already"));
    }
    // SAFETY: `hand_over` allocated it with `malloc`, and it was not released before, or it would
    // not have been in the list; that C has not freed it is this function's own condition.
    unsafe { libc::free(memory.cast()) };
    Ok(())
}

/// Addresses that have been handed over and not released.
fn live() -> MutexGuard<'static, BTreeSet<usize>> {
    static LIVE: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}
