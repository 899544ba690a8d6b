//! `anemone.h`: what its functions do, and what they refuse.

mod common;

use anemone_c::modern::*;
use common::*;
use std::ffi::c_void;
use std::path::PathBuf;
use std::{fs, ptr};

const ARGUMENT: i32 = 1;
const PROGRAM: i32 = 2;
const DEVICE: i32 = 3;
const BUSY: i32 = 4;
const SYSTEM: i32 = 5;

const DEVICES: [&str; 4] = ["cpu", "cpu:2", "ane-emulated", "ane-emulated:m2:15"];

fn ready(device_name: &str, text: &str) -> (Owned<anemone_kernel>, Owned<anemone_request>) {
    let kernel = compile(&device(device_name), text);
    let kernel = kernel.unwrap_or_else(|_| panic!("{device_name}: {}", last_error()));
    let request = request(&kernel);
    (kernel, request)
}

fn write_input(request: &Owned<anemone_request>, index: usize, data: &[u16]) -> i32 {
    let (data, bytes) = (data.as_ptr().cast(), size_of_val(data));
    // SAFETY: a live request, and a slice with its size.
    unsafe { anemone_request_write_input(request.0, index, data, bytes) }
}

fn read_output(request: &Owned<anemone_request>, index: usize, data: &mut [u16]) -> i32 {
    let bytes = size_of_val(data);
    // SAFETY: a live request, and a slice with its size.
    unsafe { anemone_request_read_output(request.0, index, data.as_mut_ptr().cast(), bytes) }
}

fn evaluate(request: &Owned<anemone_request>) -> i32 {
    // SAFETY: a live request.
    unsafe { anemone_request_evaluate(request.0) }
}

fn map_input(request: &Owned<anemone_request>) -> (i32, *mut c_void, usize) {
    let (mut data, mut bytes) = (ptr::dangling_mut(), 1);
    // SAFETY: a live request, and places for the results.
    let status = unsafe { anemone_request_map_input(request.0, 0, &mut data, &mut bytes) };
    (status, data, bytes)
}

fn unmap_input(request: &Owned<anemone_request>) -> i32 {
    // SAFETY: a live request.
    unsafe { anemone_request_unmap_input(request.0, 0) }
}

#[test]
fn every_device_computes() {
    for name in DEVICES {
        // Handles live on when what they were made from is freed.
        let (kernel, request) = ready(name, &double());
        drop(kernel);
        assert_eq!(write_input(&request, 0, &halves(COUNT, |i| (i % 9) as f32)), 0);
        assert_eq!(evaluate(&request), 0, "{name}: {}", last_error());
        let mut found = vec![0; COUNT];
        assert_eq!(read_output(&request, 0, &mut found), 0);
        assert_eq!(found, halves(COUNT, |i| 2.0 * (i % 9) as f32), "{name}");
    }
}

#[test]
fn tensors_smaller_than_the_engines_surfaces_need_no_care() {
    // 16 x 32 and 16 x 64 numbers: neither the smallest allocation nor equal ones.
    let (small, large) = ("tensor<fp16, [1, 16, 1, 32]>", "tensor<fp16, [1, 16, 1, 64]>");
    let body = format!(
        "        {small} p = add(x = a, y = a)[name = string(\"p\")];\n        \
         {large} q = add(x = b, y = b)[name = string(\"q\")];"
    );
    let text = program(&format!("{small} a, {large} b"), &body, "p, q");
    let (kernel, request) = ready("ane-emulated", &text);
    for (index, count) in [(0, 512), (1, 1024)] {
        // SAFETY: all zero is a port.
        let mut port: anemone_port = unsafe { std::mem::zeroed() };
        // SAFETY: a live kernel, and a place for the port.
        assert_eq!(unsafe { anemone_kernel_input(kernel.0, index, &mut port) }, 0);
        assert_eq!(port.bytes, 2 * count);
        assert_eq!(write_input(&request, index, &halves(count, |i| i as f32)), 0);
    }
    assert_eq!(evaluate(&request), 0, "{}", last_error());
    let mut found = vec![0; 1024];
    assert_eq!(read_output(&request, 1, &mut found), 0, "{}", last_error());
    assert_eq!(found, halves(1024, |i| 2.0 * i as f32));
}

#[test]
fn ports_and_placement_are_told() {
    for name in DEVICES {
        let (kernel, _) = ready(name, &double());
        // SAFETY: all zero is a port and a placement.
        let (mut port, mut placed): (anemone_port, anemone_placement) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let mut index = 9;
        // SAFETY: a live kernel, C strings, and places for the results; dims has rank elements.
        let dims = unsafe {
            assert_eq!(anemone_kernel_input_count(kernel.0), 1);
            assert_eq!(anemone_kernel_output_count(kernel.0), 1);
            assert_eq!(anemone_kernel_input(kernel.0, 0, &mut port), 0);
            assert_eq!(anemone_kernel_find_output(kernel.0, c"y".as_ptr(), &mut index), 0);
            assert_eq!(anemone_kernel_placement_count(kernel.0), 1);
            assert_eq!(anemone_kernel_placement(kernel.0, 0, &mut placed), 0);
            std::slice::from_raw_parts(port.dims, port.rank)
        };
        assert_eq!((string(port.name).as_str(), dims), ("x", &[1, 64, 1, 256][..]));
        assert_eq!(string(anemone_dtype_name(port.dtype)), "fp16");
        assert_eq!((port.bytes, index), (BYTES, 0));
        assert_eq!((string(placed.value), string(placed.op)), ("y".into(), "add".into()));
        let place = string(placed.place);
        assert!(place.contains(if name.starts_with("cpu") { "cpu" } else { "ane-emulated" }));
    }
}

#[test]
fn what_does_not_exist_is_named() {
    let (kernel, request) = ready("cpu", &double());
    // SAFETY: all zero is a port and a placement.
    let (mut port, mut placed): (anemone_port, anemone_placement) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let mut index = 9;
    // SAFETY: a live kernel, C strings, and places for the results.
    unsafe {
        assert_eq!(anemone_kernel_output(kernel.0, 1, &mut port), ARGUMENT);
        assert_eq!(last_error(), "no output 1; the kernel has 1 output");
        assert_eq!((port.rank, port.dims.is_null(), port.name.is_null()), (0, true, false));
        assert_eq!(anemone_kernel_placement(kernel.0, usize::MAX, &mut placed), ARGUMENT);
        assert_eq!(anemone_kernel_find_input(kernel.0, c"y".as_ptr(), &mut index), ARGUMENT);
    }
    assert_eq!(last_error(), "no input is called `y`; the kernel has x");
    assert_eq!(index, usize::MAX);
    assert_eq!(write_input(&request, 1, &[0; COUNT]), ARGUMENT);
    assert_eq!(read_output(&request, usize::MAX, &mut []), ARGUMENT);
    assert_eq!(string(anemone_dtype_name(-1)), "unknown");
}

#[test]
fn sizes_must_be_those_of_the_tensor() {
    for name in DEVICES {
        let (_, request) = ready(name, &double());
        for count in [0, 1, COUNT - 1, COUNT + 1] {
            let mut data = halves(count, |_| 5.0);
            assert_eq!(write_input(&request, 0, &data), ARGUMENT);
            let message = format!("`x` has {BYTES} bytes, the caller's {}", 2 * count);
            assert_eq!(last_error(), message);
            assert_eq!(read_output(&request, 0, &mut data), ARGUMENT);
            assert_eq!(data, halves(count, |_| 5.0));
        }
        assert_eq!(evaluate(&request), 0);
        let mut found = vec![9; COUNT];
        assert_eq!(read_output(&request, 0, &mut found), 0);
        assert!(found.iter().all(|&v| v == 0), "nothing was written");
    }
}

#[test]
fn mapped_memory_is_the_surface_until_it_is_unmapped() {
    for name in DEVICES {
        let (_, request) = ready(name, &double());
        assert_eq!(unmap_input(&request), ARGUMENT, "nothing is mapped yet");
        let (status, data, bytes) = map_input(&request);
        assert_eq!((status, bytes), (0, BYTES));
        // SAFETY: mapped memory of this size, of whole pages.
        let input = unsafe { std::slice::from_raw_parts_mut(data.cast::<u16>(), COUNT) };
        input.copy_from_slice(&halves(COUNT, |i| (i % 5) as f32));

        assert_eq!(map_input(&request), (BUSY, ptr::null_mut(), 0));
        assert_eq!(evaluate(&request), BUSY);
        assert_eq!(last_error(), "`x` is mapped; unmap it before evaluating");
        assert_eq!(write_input(&request, 0, &[0; COUNT]), BUSY);
        assert_eq!(unmap_input(&request), 0);
        assert_eq!(evaluate(&request), 0, "{}", last_error());

        let (mut data, mut bytes) = (ptr::null(), 0);
        // SAFETY: a live request, and places for the results; then mapped memory of this size.
        let found = unsafe {
            assert_eq!(anemone_request_map_output(request.0, 0, &mut data, &mut bytes), 0);
            assert_eq!(bytes, BYTES);
            std::slice::from_raw_parts(data.cast::<u16>(), COUNT).to_vec()
        };
        assert_eq!(found, halves(COUNT, |i| 2.0 * (i % 5) as f32), "{name}");
        assert_eq!(read_output(&request, 0, &mut vec![0; COUNT]), BUSY);
        // Freed while it is mapped, which is allowed.
    }
}

#[test]
fn devices_of_nonsense_are_refused() {
    for (name, status) in [
        ("", ARGUMENT),
        ("gpu", ARGUMENT),
        ("cpu:", ARGUMENT),
        ("cpu:0", ARGUMENT),
        ("cpu:1000000", ARGUMENT),
        ("cpu:99999999999999999999", ARGUMENT),
        ("ane-emulated:m9", ARGUMENT),
        ("ane-emulated:m4:new", ARGUMENT),
    ] {
        let mut device = ptr::dangling_mut();
        // SAFETY: a C string, and a place for the handle.
        let found = unsafe { anemone_device_open(c(name).as_ptr(), &mut device) };
        assert_eq!((found, device.is_null()), (status, true), "{name}");
        assert!(!last_error().is_empty());
    }
}

#[test]
fn null_is_an_error_everywhere() {
    let (kernel, request) = ready("cpu", &double());
    let no = ptr::null_mut::<u8>();
    // SAFETY: null is checked for; everything else is live.
    unsafe {
        assert_eq!(anemone_device_open(no.cast(), no.cast()), ARGUMENT);
        assert_eq!(anemone_device_open(no.cast(), &mut ptr::null_mut()), ARGUMENT);
        assert_eq!(last_error(), "`name` is NULL");
        assert_eq!(string(anemone_device_description(no.cast())), "");
        anemone_device_free(no.cast());
        assert_eq!(anemone_weights_new(no.cast(), no.cast()), ARGUMENT);
        assert_eq!(anemone_weights_add(no.cast(), c"a".as_ptr(), no.cast(), 0), ARGUMENT);
        anemone_weights_free(no.cast());
        let (k, r) = (&mut ptr::null_mut(), &mut ptr::null_mut());
        let null = ptr::null();
        assert_eq!(anemone_compile_text(null, no.cast(), 0, null.cast(), null.cast(), k), ARGUMENT);
        assert_eq!(anemone_compile_file(null, no.cast(), null.cast(), null.cast(), k), ARGUMENT);
        let cpu = device("cpu");
        let compile = |mil: *const u8, bytes, k| {
            anemone_compile_text(cpu.0, mil.cast(), bytes, ptr::null(), ptr::null(), k)
        };
        assert_eq!(compile(ptr::null(), 5, k), ARGUMENT);
        assert_eq!(compile(ptr::null(), 0, k), PROGRAM, "no text is an empty one");
        assert_eq!(compile(double().as_ptr(), usize::MAX, k), ARGUMENT);
        assert_eq!(compile(double().as_ptr(), double().len(), no.cast()), ARGUMENT);
        anemone_kernel_free(no.cast());
        assert_eq!(anemone_kernel_input_count(no.cast()), 0);
        assert_eq!(anemone_kernel_placement_count(no.cast()), 0);
        assert_eq!(anemone_kernel_input(no.cast(), 0, no.cast()), ARGUMENT);
        assert_eq!(anemone_kernel_input(kernel.0, 0, no.cast()), ARGUMENT);
        assert_eq!(anemone_kernel_find_input(kernel.0, no.cast(), &mut 0), ARGUMENT);
        assert_eq!(anemone_kernel_find_input(kernel.0, c"x".as_ptr(), no.cast()), ARGUMENT);
        assert_eq!(anemone_request_new(no.cast(), r), ARGUMENT);
        assert_eq!(anemone_request_new(kernel.0, no.cast()), ARGUMENT);
        anemone_request_free(no.cast());
        assert_eq!(anemone_request_evaluate(no.cast()), ARGUMENT);
        assert_eq!(anemone_request_map_input(request.0, 0, no.cast(), &mut 0), ARGUMENT);
        let (status, ..) = map_input(&request);
        assert_eq!(status, 0, "what failed has mapped nothing");
        assert_eq!(unmap_input(&request), 0);
        assert_eq!(anemone_request_write_input(request.0, 0, no.cast(), BYTES), ARGUMENT);
        assert_eq!(anemone_request_read_output(request.0, 0, no.cast(), BYTES), ARGUMENT);
        assert_eq!(anemone_fp32_to_fp16(no.cast(), no.cast(), 1), ARGUMENT);
        assert_eq!(anemone_fp32_to_fp16(&1.0, no.cast(), 1), ARGUMENT);
        assert_eq!(anemone_fp16_to_fp32(no.cast(), no.cast(), 0), 0);
        assert_eq!(anemone_fp16_to_fp32(&1, no.cast(), usize::MAX), ARGUMENT);
    }
}

#[test]
fn programs_that_are_wrong_are_told_with_their_place() {
    for name in DEVICES {
        let device = device(name);
        let text = double().replace("add(x = x", "add(x = q");
        assert_eq!(compile(&device, &text).err(), Some(PROGRAM));
        assert!(last_error().starts_with("program:"), "{}", last_error());
        assert!(last_error().contains('q'), "{}", last_error());
        let text = double();
        let whole = text.trim_end().len();
        for length in (0..whole).step_by(11).chain([whole - 1]) {
            assert_eq!(compile(&device, &text[..length]).err(), Some(PROGRAM), "{length} bytes");
        }
    }
    // What the language allows and the engine does not.
    let text = double().replace("fp16", "fp64");
    assert_eq!(compile(&device("ane-emulated"), &text).err(), Some(DEVICE), "{}", last_error());
    // What no memory holds.
    let huge = double().replace("256", "1152921504606846976");
    assert!(compile(&device("cpu"), &huge).is_err());
}

#[test]
fn functions_are_chosen_by_name() {
    let text = double();
    let second = text[text.find("    func").expect("a function")..].replace("main", "other");
    let both = format!("{}\n{second}", text.trim_end().trim_end_matches('}'));
    for (name, function, status) in [
        ("cpu", None, 0),
        ("cpu", Some("other"), 0),
        ("cpu", Some("third"), ARGUMENT),
        ("ane-emulated", Some("main"), 0),
        ("ane-emulated", Some("other"), ARGUMENT),
    ] {
        let (device, mut kernel) = (device(name), ptr::null_mut());
        let chosen = function.map(c);
        let function_name = chosen.as_ref().map_or(ptr::null(), |f| f.as_ptr());
        let (mil, bytes) = (both.as_ptr().cast(), both.len());
        // SAFETY: a live device, a text with its length, a C string or null, and a place.
        let found = unsafe {
            anemone_compile_text(device.0, mil, bytes, ptr::null(), function_name, &mut kernel)
        };
        let _kernel = Owned(kernel, anemone_kernel_free);
        assert_eq!(found, status, "{name}, {function:?}: {}", last_error());
    }
}

/// A folder that is removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("capi-{name}"));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("weights")).expect("a folder can be made");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Compiles a file, and if that succeeds evaluates it with ones and gives the first number.
fn compile_file(device_name: &str, path: &str, weights: Option<&str>) -> Result<u16, i32> {
    let (device, path) = (device(device_name), c(path));
    let mut files = Owned(ptr::null_mut(), anemone_weights_free);
    if let Some(folder) = weights {
        // SAFETY: a C string, and a place for the handle.
        match unsafe { anemone_weights_new(c(folder).as_ptr(), &mut files.0) } {
            0 => {}
            status => return Err(status),
        }
    }
    let mut kernel = ptr::null_mut();
    let function = ptr::null();
    // SAFETY: live handles or null, a C string, and a place for the handle.
    match unsafe { anemone_compile_file(device.0, path.as_ptr(), files.0, function, &mut kernel) } {
        0 => {}
        status => return Err(status),
    }
    let request = request(&Owned(kernel, anemone_kernel_free));
    assert_eq!(write_input(&request, 0, &halves(COUNT, |_| 1.0)), 0);
    assert_eq!(evaluate(&request), 0, "{}", last_error());
    let mut found = vec![0; COUNT];
    assert_eq!(read_output(&request, 0, &mut found), 0);
    Ok(found[0])
}

#[test]
fn files_are_compiled_with_the_weights_beside_them() {
    let folder = Folder::new("files");
    let path = |name: &str| folder.0.join(name).display().to_string();
    let mut writer = mil::BlobWriter::create(path("weights/w.bin")).expect("a file can be made");
    let ones = mil::Tensor::from_f64s(mil::DataType::Fp16, &[64, 64], &[1.0; 64 * 64]);
    writer.push(&ones.expect("a tensor")).expect("fp16 can be stored");
    writer.commit().expect("the file can be completed");
    fs::write(path("model.mil"), linear("@model_path/weights/w.bin")).expect("a file");
    fs::create_dir(path("elsewhere")).expect("a folder");
    fs::write(path("latin1.mil"), b"program(1.3) // \xe9").expect("a file");

    let sum = halves(1, |_| 64.0)[0];
    for device in ["cpu", "ane-emulated"] {
        assert_eq!(compile_file(device, &path("model.mil"), None), Ok(sum), "{}", last_error());
        assert_eq!(compile_file(device, &path(""), None), Ok(sum), "a folder with model.mil");
        assert_eq!(compile_file(device, &path("model.mil"), Some(&path(""))), Ok(sum));
        let elsewhere = compile_file(device, &path("model.mil"), Some(&path("elsewhere")));
        assert_eq!(elsewhere, Err(PROGRAM), "{}", last_error());
    }
    assert_eq!(compile_file("cpu", &path("absent.mil"), None), Err(SYSTEM));
    assert!(last_error().contains("absent.mil"), "{}", last_error());
    assert_eq!(compile_file("cpu", &path("elsewhere"), None), Err(SYSTEM));
    assert_eq!(compile_file("cpu", &path("latin1.mil"), None), Err(PROGRAM), "{}", last_error());
    assert_eq!(compile_file("cpu", &path("model.mil"), Some(&path("absent"))), Err(SYSTEM));
}

#[test]
fn weights_of_a_folder_take_no_files_and_memory_takes_each_once() {
    let (mut folder, mut memory) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: C strings or null, memory of the size that is said, and places for the handles.
    unsafe {
        assert_eq!(anemone_weights_new(c".".as_ptr(), &mut folder), 0);
        assert_eq!(anemone_weights_add(folder, c"a".as_ptr(), [1u8].as_ptr().cast(), 1), ARGUMENT);
        assert_eq!(anemone_weights_new(ptr::null(), &mut memory), 0);
        assert_eq!(anemone_weights_add(memory, c"a/b".as_ptr(), ptr::null(), 0), 0);
        let again = c"@model_path/a/b";
        assert_eq!(anemone_weights_add(memory, again.as_ptr(), ptr::null(), 0), ARGUMENT);
        assert_eq!(last_error(), "weight file `@model_path/a/b` is there already");
        assert_eq!(anemone_weights_add(memory, c"../a".as_ptr(), ptr::null(), 0), ARGUMENT);
        let invalid = [0xc3u8, 0];
        assert_eq!(anemone_weights_add(memory, invalid.as_ptr().cast(), ptr::null(), 0), ARGUMENT);
        anemone_weights_free(folder);
        anemone_weights_free(memory);
    }
}

#[test]
fn numbers_are_converted_as_ieee_says() {
    let from = [0.0f32, -0.0, 1.0, 65504.0, 65520.0, 1e-8, 2049.0, f32::NEG_INFINITY];
    let mut to = [7u16; 9];
    // SAFETY: both have at least 8 elements.
    assert_eq!(unsafe { anemone_fp32_to_fp16(from.as_ptr(), to.as_mut_ptr(), 8) }, 0);
    assert_eq!(to, [0, 0x8000, 0x3c00, 0x7bff, 0x7c00, 0, 0x6800, 0xfc00, 7]);
    let mut back = [7.0f32; 8];
    // SAFETY: both have at least 7 elements.
    assert_eq!(unsafe { anemone_fp16_to_fp32(to.as_ptr(), back.as_mut_ptr(), 7) }, 0);
    assert_eq!(back, [0.0, 0.0, 1.0, 65504.0, f32::INFINITY, 0.0, 2048.0, 7.0]);
}
