//! What the tests share: messages, and small programs that the engine takes.
#![allow(dead_code)] // Not every test uses all of it.

use anemone_c::bridge::*;
use anemone_c::modern::*;
use std::ffi::{CStr, CString, c_char};
use std::ptr;

/// The thread's last message.
pub fn last_error() -> String {
    // SAFETY: a C string of this thread, copied before its next call.
    unsafe { CStr::from_ptr(anemone_last_error()) }.to_string_lossy().into_owned()
}

pub fn string(pointer: *const c_char) -> String {
    // SAFETY: every string that the library gives is one.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

pub fn c(text: &str) -> CString {
    CString::new(text).expect("the test's text has no NUL")
}

/// The head that the engine's compiler asks for, and the function `main`.
pub fn program(inputs: &str, body: &str, outputs: &str) -> String {
    format!(
        "program(1.3)\n[buildInfo = dict<string, string>({{{{\"coremlc-version\", \"3505.4.1\"}}, \
         {{\"coremltools-version\", \"9.0\"}}}})]\n{{\n    func main<ios18>({inputs}) {{\n{body}\n    \
         }} -> ({outputs});\n}}\n"
    )
}

/// Elements of [`TENSOR`]: its 32768 bytes are enough for the engine.
pub const COUNT: usize = 64 * 256;
pub const BYTES: usize = COUNT * 2;
pub const TENSOR: &str = "tensor<fp16, [1, 64, 1, 256]>";

/// y = x + x.
pub fn double() -> String {
    let body = format!("        {TENSOR} y = add(x = x, y = x)[name = string(\"y\")];");
    program(&format!("{TENSOR} x"), &body, "y")
}

/// y = Wx with an fp16 matrix of 64 x 64 in a file.
pub fn linear(path: &str) -> String {
    let body = format!(
        r#"        tensor<fp16, [64, 64, 1, 1]> w = const()[name = string("w"), val = tensor<fp16, [64, 64, 1, 1]>(BLOBFILE(path = string("{path}"), offset = uint64(64)))];
        string valid = const()[name = string("valid"), val = string("valid")];
        tensor<int32, [2]> ones = const()[name = string("ones"), val = tensor<int32, [2]>([1, 1])];
        tensor<int32, [4]> none = const()[name = string("none"), val = tensor<int32, [4]>([0, 0, 0, 0])];
        int32 groups = const()[name = string("groups"), val = int32(1)];
        {TENSOR} y = conv(dilations = ones, groups = groups, pad = none, pad_type = valid, strides = ones, weight = w, x = x)[name = string("y")];"#
    );
    program(&format!("{TENSOR} x"), &body, "y")
}

/// A device; freed with [`Owned`].
pub fn device(name: &str) -> Owned<anemone_device> {
    let mut device = ptr::null_mut();
    // SAFETY: a C string, and a place for the handle.
    let status = unsafe { anemone_device_open(c(name).as_ptr(), &mut device) };
    assert_eq!(status, 0, "{}", last_error());
    Owned(device, anemone_device_free)
}

/// Compiles `main` of a text without weights.
pub fn compile(device: &Owned<anemone_device>, text: &str) -> Result<Owned<anemone_kernel>, i32> {
    let mut kernel = ptr::null_mut();
    // SAFETY: a live device, a text with its length, and a place for the handle.
    let status = unsafe {
        anemone_compile_text(
            device.0,
            text.as_ptr().cast(),
            text.len(),
            ptr::null(),
            ptr::null(),
            &mut kernel,
        )
    };
    assert_eq!(status == 0, !kernel.is_null(), "a handle exactly on success");
    if status == 0 { Ok(Owned(kernel, anemone_kernel_free)) } else { Err(status) }
}

pub fn request(kernel: &Owned<anemone_kernel>) -> Owned<anemone_request> {
    let mut request = ptr::null_mut();
    // SAFETY: a live kernel, and a place for the handle.
    let status = unsafe { anemone_request_new(kernel.0, &mut request) };
    assert_eq!(status, 0, "{}", last_error());
    Owned(request, anemone_request_free)
}

/// Compiles through the bridge.
pub fn bridge(text: &str, inputs: &[usize], outputs: &[usize]) -> Option<Owned<ANEKernelHandle>> {
    // SAFETY: every array has the length that stands before it.
    let kernel = unsafe {
        ane_bridge_compile(
            text.as_ptr().cast(),
            text.len(),
            ptr::null(),
            0,
            inputs.len() as i32,
            inputs.as_ptr(),
            outputs.len() as i32,
            outputs.as_ptr(),
        )
    };
    (!kernel.is_null()).then_some(Owned(kernel, ane_bridge_free))
}

/// Copies the whole of a slice to an input.
pub fn write<T>(kernel: &Owned<ANEKernelHandle>, idx: i32, data: &[T]) {
    // SAFETY: a live handle, and a slice with its size.
    unsafe { ane_bridge_write_input(kernel.0, idx, data.as_ptr().cast(), size_of_val(data)) }
}

/// Copies from an output to the whole of a slice.
pub fn read<T>(kernel: &Owned<ANEKernelHandle>, idx: i32, data: &mut [T]) {
    let bytes = size_of_val(data);
    // SAFETY: a live handle, and a slice with its size.
    unsafe { ane_bridge_read_output(kernel.0, idx, data.as_mut_ptr().cast(), bytes) }
}

pub fn eval(kernel: &Owned<ANEKernelHandle>) -> bool {
    // SAFETY: a live handle.
    unsafe { ane_bridge_eval(kernel.0) }
}

/// The bits of numbers in fp16.
pub fn halves(count: usize, number: impl Fn(usize) -> f32) -> Vec<u16> {
    (0..count).map(|i| half::f16::from_f32(number(i)).to_bits()).collect()
}

/// A handle that is freed when the test ends.
pub struct Owned<T>(pub *mut T, pub unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the handle came from the function that belongs to this one, and is freed once.
        unsafe { self.1(self.0) };
    }
}
