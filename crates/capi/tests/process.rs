//! What belongs to the whole process: counts, the engine's budget, and which blobs are live.

mod common;

use anemone_c::bridge::*;
use common::*;

#[test]
fn compilations_are_counted_and_limited() {
    assert_eq!(ane_bridge_init(), 0, "{}", last_error());
    assert_eq!(ane_bridge_init(), 0, "a second time does nothing");
    assert_eq!(ane_bridge_get_compile_count(), 0);
    assert!(bridge("program", &[BYTES], &[BYTES]).is_none());
    assert_eq!(ane_bridge_get_compile_count(), 0, "what is refused does not count");

    // The engine's in-memory route leaks; after 119 programs nothing compiles any more.
    let text = double();
    let compile = || bridge(&text, &[BYTES], &[BYTES]);
    for number in 1..=119 {
        assert!(compile().is_some(), "program {number}: {}", last_error());
        assert_eq!(ane_bridge_get_compile_count(), number);
    }
    ane_bridge_reset_compile_count();
    assert_eq!(ane_bridge_get_compile_count(), 0);
    assert!(compile().is_none());
    assert!(last_error().contains("has compiled 119 programs"), "{}", last_error());

    // The modern interface has the same engine, and opening it again changes nothing.
    const NEW_PROCESS: i32 = 6;
    for _ in 0..2 {
        let device = device("ane-emulated:m4");
        assert_eq!(common::compile(&device, &text).err(), Some(NEW_PROCESS));
    }
    let other = device("ane-emulated:m1");
    assert!(common::compile(&other, &text).is_ok(), "{}", last_error());
}

#[test]
fn a_blob_that_is_freed_twice_is_left_alone() {
    let matrix = [1.0f32; 4];
    let mut length = 0;
    // SAFETY: the matrix has 2 x 2 numbers.
    let blob = unsafe { ane_bridge_build_weight_blob(matrix.as_ptr(), 2, 2, &mut length) };
    assert!(!blob.is_null(), "{}", last_error());
    // SAFETY: no other blob is made in this process, so the address stays that of no blob.
    unsafe {
        ane_bridge_free_blob(blob.cast());
        assert_eq!(last_error(), "");
        ane_bridge_free_blob(blob.cast());
    }
    assert_eq!(last_error(), "this is not a blob, or it has been freed already");
}
