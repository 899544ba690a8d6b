//! Weight files that the bridge builds, as the reader of weight files sees them.

mod common;

use anemone_c::bridge::*;
use common::last_error;
use half::f16;
use mil::{BlobRef, DataType, Tensor, Weights};
use std::ffi::c_int;
use std::ptr;

/// A blob's bytes, and the blob freed.
fn taken(blob: *mut u8, length: usize) -> Vec<u8> {
    assert!(!blob.is_null(), "{}", last_error());
    // SAFETY: a blob of this size.
    let bytes = unsafe { std::slice::from_raw_parts(blob, length) }.to_vec();
    // SAFETY: a blob, freed once.
    unsafe { ane_bridge_free_blob(blob.cast()) };
    bytes
}

/// The tensor that a program finds in a blob at offset 64.
fn load(bytes: &[u8], dtype: DataType, dims: &[usize]) -> Tensor {
    let path = "@model_path/weights/weight.bin".to_owned();
    let weights = Weights::in_memory([(&path, bytes)]);
    let blob = BlobRef { dtype, dims: dims.to_vec(), path, offset: 64 };
    weights.load(&blob).expect("a well-formed weight file")
}

/// Checks header and record byte by byte: 64 bytes of header with the number of records and the
/// version, then the record with mark, code of the type, size and position.
fn check_head(bytes: &[u8], code: u32, data: usize) {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
    assert_eq!((word(0), word(4)), (1, 2), "one record, version 2");
    assert!(bytes[8..64].iter().all(|&b| b == 0));
    let record = [64, 68, 72, 76, 80, 84].map(word);
    assert_eq!(record, [0xDEAD_BEEF, code, data as u32, 0, 128, 0]);
    assert!(bytes[88..128].iter().all(|&b| b == 0));
    assert_eq!(bytes.len(), (128 + data).next_multiple_of(64));
}

const MATRIX: [f32; 6] = [0.5, -1.0, 2.0, 65504.0, 1e9, 0.1];

#[test]
fn fp16_blobs_hold_the_matrix_or_its_transpose() {
    let mut length = 0;
    // SAFETY: the matrix has 2 x 3 numbers.
    let blob = unsafe { ane_bridge_build_weight_blob(MATRIX.as_ptr(), 2, 3, &mut length) };
    let bytes = taken(blob, length);
    check_head(&bytes, 1, 12);
    let rounded = MATRIX.map(|v| f64::from(f16::from_f32(v).to_f32()));
    assert_eq!(load(&bytes, DataType::Fp16, &[2, 3]).to_f64s(), rounded);
    assert_eq!(rounded[4], f64::INFINITY);

    // SAFETY: as above.
    let blob =
        unsafe { ane_bridge_build_weight_blob_transposed(MATRIX.as_ptr(), 2, 3, &mut length) };
    let bytes = taken(blob, length);
    check_head(&bytes, 1, 12);
    let turned = [0, 3, 1, 4, 2, 5].map(|i| rounded[i]);
    assert_eq!(load(&bytes, DataType::Fp16, &[3, 2]).to_f64s(), turned);
}

#[test]
fn int8_blobs_are_whole_files_with_the_right_type() {
    let matrix = [-128i8, -1, 0, 1, 127, 5];
    let mut length = 0;
    // SAFETY: the matrix has 3 x 2 numbers.
    let blob = unsafe { ane_bridge_build_weight_blob_int8(matrix.as_ptr(), 3, 2, &mut length) };
    let bytes = taken(blob, length);
    check_head(&bytes, 4, 6);
    assert_eq!(load(&bytes, DataType::Int8, &[3, 2]).to_i64s(), matrix.map(i64::from));
}

fn quantized(matrix: &[f32]) -> (Vec<i64>, f32) {
    let (mut length, mut scale) = (0, 0.0);
    let cols = matrix.len() as c_int;
    // SAFETY: the matrix has 1 x cols numbers.
    let blob = unsafe {
        ane_bridge_build_weight_blob_quantized(matrix.as_ptr(), 1, cols, &mut scale, &mut length)
    };
    let bytes = taken(blob, length);
    check_head(&bytes, 4, matrix.len());
    (load(&bytes, DataType::Int8, &[1, matrix.len()]).to_i64s(), scale)
}

#[test]
fn quantizing_takes_the_largest_magnitude_for_127() {
    // Halves go away from zero.
    let (levels, scale) = quantized(&[254.0, -254.0, 1.0, -1.0, 2.9, 0.0]);
    assert_eq!((levels.as_slice(), scale), (&[127, -127, 1, -1, 1, 0][..], 2.0));
    let (levels, scale) = quantized(&[0.0, -0.0]);
    assert_eq!((levels.as_slice(), scale), (&[0, 0][..], 1.0));
    // What is too small for a normal scale must not leave the range either.
    let tiny = f32::from_bits(100);
    let (levels, scale) = quantized(&[tiny, -tiny, 0.0]);
    assert!(scale > 0.0 && levels.iter().all(|level| level.abs() <= 127), "{levels:?} {scale}");
    let (levels, scale) = quantized(&[f32::MAX, f32::MIN]);
    assert!(scale.is_finite());
    assert_eq!(levels, [127, -127]);
}

#[test]
fn numbers_that_no_int8_stands_for_are_refused() {
    for (bad, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (-f32::INFINITY, "-inf")] {
        let matrix = [0.0, 1.0, 2.0, bad];
        let (mut length, mut scale) = (7, 7.0);
        // SAFETY: the matrix has 2 x 2 numbers.
        let blob = unsafe {
            ane_bridge_build_weight_blob_quantized(matrix.as_ptr(), 2, 2, &mut scale, &mut length)
        };
        assert!(blob.is_null());
        assert_eq!((length, scale), (0, 0.0));
        let message = format!("row 1, column 1 is {shown}, which no int8 stands for");
        assert_eq!(last_error(), message);
    }
}

#[test]
fn shapes_of_nonsense_are_refused() {
    let build = |src, rows, cols, length| {
        // SAFETY: null is checked for, and shapes that do not fit are refused before anything is
        // read.
        let blob = unsafe { ane_bridge_build_weight_blob(src, rows, cols, length) };
        assert!(blob.is_null(), "{rows} x {cols}");
        last_error()
    };
    let matrix = MATRIX.as_ptr();
    let mut length = 5;
    assert_eq!(build(matrix, 0, 3, &mut length), "`rows` is 0; expected 1 or more");
    assert_eq!(build(matrix, 2, -3, &mut length), "`cols` is -3; expected 1 or more");
    assert_eq!(
        build(matrix, c_int::MAX, c_int::MAX, &mut length),
        "no memory has 2147483647 x 2147483647 numbers"
    );
    assert_eq!(build(ptr::null(), 2, 3, &mut length), "`src` is NULL");
    assert_eq!(length, 0, "no blob, no length");
    assert_eq!(build(matrix, 2, 3, ptr::null_mut()), "`out_len` is NULL");
}

#[test]
fn a_blob_is_freed_once() {
    let mut length = 0;
    // SAFETY: the matrix has 2 x 3 numbers.
    let blob = unsafe { ane_bridge_build_weight_blob(MATRIX.as_ptr(), 2, 3, &mut length) };
    let mut own = 0u8;
    // SAFETY: what is not a live blob is not touched.
    unsafe {
        ane_bridge_free_blob((&raw mut own).cast());
        assert_eq!(last_error(), "this is not a blob, or it has been freed already");
        ane_bridge_free_blob(blob.wrapping_add(1).cast());
        assert_eq!(last_error(), "this is not a blob, or it has been freed already");
        ane_bridge_free_blob(blob.cast());
    }
}

#[test]
fn a_blob_can_be_freed_by_the_c_library() {
    let mut length = 0;
    // SAFETY: the matrix has 2 x 3 numbers.
    let blob = unsafe { ane_bridge_build_weight_blob(MATRIX.as_ptr(), 2, 3, &mut length) };
    assert!(!blob.is_null());
    // SAFETY: the header says that blobs may be freed so.
    unsafe { libc::free(blob.cast()) };
}
