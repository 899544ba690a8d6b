//! `ane_bridge.h`: what its functions do, and what they refuse.

mod common;

use anemone_c::bridge::*;
use anemone_c::modern::anemone_last_error_code;
use common::*;
use std::ffi::{c_char, c_int};
use std::ptr;

#[test]
fn writes_beyond_a_surface_are_refused_and_not_evaluated() {
    let kernel = bridge(&double(), &[BYTES], &[BYTES]).expect("it compiles");
    write(&kernel, 0, &halves(COUNT, |_| 1.5));
    assert!(eval(&kernel), "{}", last_error());

    write(&kernel, 0, &halves(COUNT + 1, |_| 7.0));
    assert_eq!(last_error(), "`x` has 32768 bytes, 32770 cannot be written");
    assert!(!eval(&kernel));
    let told = "a write before was refused: `x` has 32768 bytes, 32770 cannot be written";
    assert_eq!(last_error(), told);

    // Nothing was written, and having been told, the caller may go on.
    assert!(eval(&kernel), "{}", last_error());
    let mut found = vec![0; COUNT];
    read(&kernel, 0, &mut found);
    assert_eq!(found, halves(COUNT, |_| 3.0));
}

#[test]
fn reads_beyond_a_surface_leave_the_memory_alone() {
    let kernel = bridge(&double(), &[BYTES], &[BYTES]).expect("it compiles");
    assert!(eval(&kernel), "{}", last_error());
    let mut found = vec![77u16; COUNT + 8];
    read(&kernel, 0, &mut found);
    assert_eq!(last_error(), "`y` has 32768 bytes, 32784 cannot be read");
    assert!(found.iter().all(|&v| v == 77));
    read(&kernel, 0, &mut found[..COUNT]);
    assert!(found[..COUNT].iter().all(|&v| v == 0) && found[COUNT..].iter().all(|&v| v == 77));
}

#[test]
fn parts_are_written_from_the_first_byte() {
    let kernel = bridge(&double(), &[BYTES], &[BYTES]).expect("it compiles");
    write(&kernel, 0, &halves(COUNT, |_| 1.0));
    write(&kernel, 0, &halves(3, |i| 2.0 + i as f32));
    assert!(eval(&kernel), "{}", last_error());
    let mut found = vec![0; 5];
    read(&kernel, 0, &mut found);
    assert_eq!(found, halves(5, |i| [4.0, 6.0, 8.0, 2.0, 2.0][i]));
}

#[test]
fn indices_are_the_order_of_names() {
    let inputs = ["a2", "b", "a10"].map(|name| format!("{TENSOR} {name}")).join(", ");
    let body = format!(
        "        {TENSOR} z = sub(x = a2, y = b)[name = string(\"z\")];\n        \
         {TENSOR} c = mul(x = a10, y = b)[name = string(\"c\")];"
    );
    let text = program(&inputs, &body, "z, c");
    let kernel = bridge(&text, &[BYTES; 3], &[BYTES; 2]).expect("it compiles");
    for (idx, value) in [(0, 10.0), (1, 2.0), (2, 5.0)] {
        write(&kernel, idx, &halves(COUNT, |_| value));
    }
    assert!(eval(&kernel), "{}", last_error());
    let outputs = [0, 1].map(|idx| {
        let mut found = vec![0; 1];
        read(&kernel, idx, &mut found);
        found[0]
    });
    // a10 = 10, a2 = 2, b = 5; c is before z.
    assert_eq!(outputs.to_vec(), halves(2, |i| [50.0, -3.0][i]));
}

#[test]
fn indices_that_do_not_exist_are_refused() {
    let kernel = bridge(&double(), &[BYTES], &[BYTES]).expect("it compiles");
    for (idx, message) in [
        (1, "no input 1; the program has 1 input"),
        (c_int::MAX, "no input 2147483647; the program has 1 input"),
        (-1, "`idx` is negative: -1"),
    ] {
        write(&kernel, idx, &[0u8; 2]);
        assert_eq!(last_error(), message);
        assert!(!eval(&kernel));
        let mut found = [9u8; 2];
        read(&kernel, idx, &mut found);
        assert_eq!((last_error(), found), (message.replace("input", "output"), [9; 2]));
    }
}

#[test]
fn sizes_that_the_engine_refuses_fail_when_evaluating() {
    let two = format!("{TENSOR} a, {TENSOR} b");
    let body = format!("        {TENSOR} y = add(x = a, y = b)[name = string(\"y\")];");
    let text = program(&two, &body, "y");
    for (inputs, outputs) in
        [([BYTES, 2 * BYTES], [BYTES]), ([BYTES; 2], [BYTES - 2]), ([16; 2], [BYTES])]
    {
        let kernel = bridge(&text, &inputs, &outputs).expect("it compiles");
        assert!(!eval(&kernel), "{inputs:?} {outputs:?}");
        assert_eq!(anemone_last_error_code(), 0x1d, "{}", last_error());
    }
    let kernel = bridge(&text, &[2 * BYTES; 2], &[3 * BYTES]).expect("it compiles");
    assert!(eval(&kernel), "more than needed is fine: {}", last_error());
}

#[test]
fn counts_and_sizes_of_nonsense_are_refused() {
    let text = double();
    assert!(bridge(&text, &[BYTES; 2], &[BYTES]).is_none());
    assert_eq!(last_error(), "the program has 1 inputs, the caller gives sizes for 2");
    assert!(bridge(&text, &[BYTES], &[]).is_none());
    assert!(bridge(&text, &[usize::MAX], &[BYTES]).is_none());
    assert!(last_error().contains("cannot allocate"), "{}", last_error());
    let (mil, sizes) = (text.as_ptr().cast::<c_char>(), [BYTES].as_ptr());
    let weight = text.as_ptr();
    type Arguments =
        (*const c_char, usize, *const u8, usize, c_int, *const usize, c_int, *const usize);
    let none = ptr::null();
    let calls: [(Arguments, &str); 7] = [
        ((ptr::null(), text.len(), none, 0, 1, sizes, 1, sizes), "`mil_text` is NULL"),
        ((mil, usize::MAX, none, 0, 1, sizes, 1, sizes), "`mil_text` cannot have"),
        ((mil, text.len(), none, 4, 1, sizes, 1, sizes), "`weight_data` is NULL"),
        ((mil, text.len(), weight, usize::MAX, 1, sizes, 1, sizes), "`weight_data` cannot have"),
        ((mil, text.len(), none, 0, -1, sizes, 1, sizes), "`n_inputs` is negative: -1"),
        ((mil, text.len(), none, 0, 1, ptr::null(), 1, sizes), "`input_sizes` is NULL"),
        ((mil, text.len(), none, 0, 1, sizes, 1, ptr::null()), "`output_sizes` is NULL"),
    ];
    for ((mil, mil_len, w, w_len, n_in, ins, n_out, outs), message) in calls {
        // SAFETY: pointers are null, or to as many elements as are said, or the size is one that
        // is refused before anything is read.
        let kernel = unsafe { ane_bridge_compile(mil, mil_len, w, w_len, n_in, ins, n_out, outs) };
        assert!(kernel.is_null());
        assert!(last_error().starts_with(message), "{message}: {}", last_error());
    }
}

#[test]
fn null_handles_are_errors() {
    let no_kernel: *mut ANEKernelHandle = ptr::null_mut();
    let mut byte = [1u8];
    // SAFETY: null is checked for; the memory has the size that is said.
    unsafe {
        assert!(!ane_bridge_eval(no_kernel));
        assert_eq!(last_error(), "`kernel` is NULL");
        ane_bridge_write_input(no_kernel, 0, byte.as_ptr().cast(), 1);
        ane_bridge_read_output(no_kernel, 0, byte.as_mut_ptr().cast(), 1);
        ane_bridge_free(no_kernel);
        ane_bridge_free_blob(ptr::null_mut());
    }
    let kernel = bridge(&double(), &[BYTES], &[BYTES]).expect("it compiles");
    // SAFETY: null is checked for.
    unsafe {
        ane_bridge_write_input(kernel.0, 0, ptr::null(), 2);
        assert_eq!(last_error(), "`data` is NULL");
        ane_bridge_read_output(kernel.0, 0, ptr::null_mut(), 2);
        // Nothing to copy needs no memory.
        assert!(!eval(&kernel), "the write was refused");
        ane_bridge_write_input(kernel.0, 0, ptr::null(), 0);
        ane_bridge_read_output(kernel.0, 0, ptr::null_mut(), 0);
        assert!(eval(&kernel));
    }
}

#[test]
fn every_truncated_program_is_an_error() {
    let text = double();
    let whole = text.trim_end().len();
    for length in (0..whole).step_by(7).chain([whole - 1]) {
        assert!(bridge(&text[..length], &[BYTES], &[BYTES]).is_none(), "{length} bytes");
        assert!(!last_error().is_empty());
    }
    let bytes = [0xff, 0xfe, 0, 1];
    let sizes = [BYTES];
    // SAFETY: every array has the length that is said.
    let kernel = unsafe {
        let (mil, size) = (bytes.as_ptr().cast(), sizes.as_ptr());
        ane_bridge_compile(mil, 4, ptr::null(), 0, 1, size, 1, size)
    };
    assert!(kernel.is_null());
    assert_eq!(last_error(), "`mil_text` is not text: byte 0 is not UTF-8");
}

/// Compiles [`linear`] of `path` with these files.
fn with_weights(path: &str, files: &[(&str, &[u8])]) -> Option<Owned<ANEKernelHandle>> {
    let text = linear(path);
    let names: Vec<_> = files.iter().map(|(name, _)| c(name)).collect();
    let mut names: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let mut datas: Vec<_> = files.iter().map(|(_, data)| data.as_ptr()).collect();
    let lens: Vec<_> = files.iter().map(|(_, data)| data.len()).collect();
    let size = [BYTES];
    // SAFETY: every array has the length that is said.
    let kernel = unsafe {
        ane_bridge_compile_multi_weights(
            text.as_ptr().cast(),
            text.len(),
            names.as_mut_ptr(),
            datas.as_mut_ptr(),
            lens.as_ptr(),
            files.len() as c_int,
            1,
            size.as_ptr(),
            1,
            size.as_ptr(),
        )
    };
    (!kernel.is_null()).then_some(Owned(kernel, ane_bridge_free))
}

#[test]
fn weights_come_from_any_number_of_files() {
    // Three times the identity.
    let matrix: Vec<f32> = (0..64 * 64).map(|i| if i % 65 == 0 { 3.0 } else { 0.0 }).collect();
    let mut length = 0;
    // SAFETY: the matrix has 64 x 64 numbers.
    let blob = unsafe { ane_bridge_build_weight_blob(matrix.as_ptr(), 64, 64, &mut length) };
    assert!(!blob.is_null(), "{}", last_error());
    // SAFETY: a blob of this size.
    let bytes = unsafe { std::slice::from_raw_parts(blob, length) }.to_vec();
    // SAFETY: a blob, freed once.
    unsafe { ane_bridge_free_blob(blob.cast()) };

    let (path, other) = ("@model_path/weights/wq.bin", "@model_path/weights/other.bin");
    let kernel = with_weights(path, &[(other, b"not a weight file"), (path, &bytes)]);
    let kernel = kernel.unwrap_or_else(|| panic!("{}", last_error()));
    write(&kernel, 0, &halves(COUNT, |i| (i % 7) as f32));
    assert!(eval(&kernel), "{}", last_error());
    let mut found = vec![0; COUNT];
    read(&kernel, 0, &mut found);
    assert_eq!(found, halves(COUNT, |i| 3.0 * (i % 7) as f32));

    assert!(with_weights(path, &[(other, &bytes)]).is_none());
    assert_eq!(last_error(), format!("weight file `{path}`: there is no such file"));
    assert!(with_weights(path, &[(path, &bytes), (path, &bytes)]).is_none());
    assert_eq!(last_error(), format!("weight file `{path}` is there already"));
    assert!(with_weights(path, &[(path, &bytes[..200])]).is_none());
    assert!(last_error().contains("8192 bytes"), "{}", last_error());
    for name in ["../w.bin", "@model_path/../w.bin", "/etc/w.bin", "@model_path//w.bin", "", "a\\b"]
    {
        assert!(with_weights(path, &[(path, &bytes), (name, &bytes)]).is_none(), "{name}");
        assert!(last_error().starts_with(&format!("weight file `{name}`: ")), "{}", last_error());
    }
}

#[test]
fn a_handle_is_for_one_thread_at_a_time() {
    let kernel = bridge(&double(), &[BYTES], &[BYTES]).expect("it compiles");
    let address = kernel.0.expose_provenance();
    // Calls of many threads at once either do what they say or say that another thread is there.
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                let kernel = std::ptr::with_exposed_provenance_mut::<ANEKernelHandle>(address);
                for _ in 0..50 {
                    // SAFETY: the handle lives until all threads have ended.
                    if !unsafe { ane_bridge_eval(kernel) } {
                        assert_eq!(last_error(), "another thread is using this request");
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("the thread ends");
    }
    assert!(eval(&kernel), "{}", last_error());
}
