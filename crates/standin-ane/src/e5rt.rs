//! `e5rt` as far as the route calls it. Its objects are objects of the runtime, so that they are
//! checked and counted.

use crate::engine::compile;
use crate::iosurface;
use ane::target::Route;
use ane::{Evaluation, Model};
use standin_objc::{Fault, Id, class, new, payload};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::{Arc, Mutex};
use surface::Surface;

type Out = *mut Id;
type Text = *const c_char;

const CLASS: &CStr = c"e5rt object";
/// The Neural Engine, and nothing else.
const NEURAL_ENGINE: u64 = 4;
const FAILED: i32 = 11;

enum Object {
    Config(Mutex<bool>),
    Compiler,
    Options(Mutex<u64>),
    Library(Arc<dyn Model>),
    Function(Arc<dyn Model>),
    OpOptions(Arc<dyn Model>),
    Operation { model: Arc<dyn Model>, ports: Ports },
    Port { ports: Ports, name: String },
    Buffer(Surface),
    Stream(Mutex<Vec<Box<dyn Evaluation>>>),
}

/// Surfaces that are bound, by the name of their port.
type Ports = Arc<Mutex<BTreeMap<String, Surface>>>;

#[link(name = "objc")]
unsafe extern "C" {
    fn objc_release(object: Id);
}

fn object<'a>(raw: Id) -> &'a Object {
    // SAFETY: this class holds these; the runtime checks the object, which the caller keeps.
    unsafe { payload::<Object>(raw, CLASS) }
}

/// Gives a new object to the caller, unless a fault strikes.
fn give(out: Out, object: Object) -> i32 {
    if Fault::E5rt.strikes().is_some() {
        return FAILED;
    }
    // SAFETY: the caller gives a place for a handle; this class holds these objects.
    unsafe { *out = new(class::<Object>(CLASS), object) };
    0
}

fn text(raw: Text) -> String {
    // SAFETY: the caller gives a C string.
    unsafe { CStr::from_ptr(raw) }.to_string_lossy().into_owned()
}

macro_rules! wrong {
    () => {
        panic!("an e5rt function is given an object of another kind")
    };
}

macro_rules! release {
    ($($name:ident)*) => {
        $(#[unsafe(no_mangle)]
        extern "C" fn $name(handle: Out) -> i32 {
            // SAFETY: the caller gives a handle away, by its address.
            unsafe {
                objc_release(*handle);
                *handle = null_mut();
            }
            0
        })*
    };
}

release! {
    e5rt_e5_compiler_config_options_release
    e5rt_e5_compiler_release
    e5rt_e5_compiler_options_release
    e5rt_program_library_release
    e5rt_program_function_release
    e5rt_precompiled_compute_op_create_options_release
    e5rt_execution_stream_operation_release
    e5rt_io_port_release
    e5rt_buffer_object_release
    e5rt_execution_stream_release
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_get_last_error_message() -> Text {
    c"a fault was asked for, or the compiler refuses the program".as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_e5_compiler_config_options_create(out: Out) -> i32 {
    give(out, Object::Config(Mutex::new(false)))
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_e5_compiler_config_options_set_cache_bundle_location(
    config: Id,
    location: Text,
) -> i32 {
    let Object::Config(cached) = object(config) else { wrong!() };
    *cached.lock().expect("nothing panics") = Path::new(&text(location)).is_dir();
    0
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_e5_compiler_create_with_config(out: Out, config: Id) -> i32 {
    let Object::Config(cached) = object(config) else { wrong!() };
    if !*cached.lock().expect("nothing panics") {
        return FAILED;
    }
    give(out, Object::Compiler)
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_e5_compiler_options_create(out: Out) -> i32 {
    give(out, Object::Options(Mutex::new(7)))
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_e5_compiler_options_set_compute_device_types_mask(
    options: Id,
    mask: u64,
) -> i32 {
    let Object::Options(devices) = object(options) else { wrong!() };
    *devices.lock().expect("nothing panics") = mask;
    0
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_e5_compiler_compile(compiler: Id, path: Text, options: Id, out: Out) -> i32 {
    let (Object::Compiler, Object::Options(devices)) = (object(compiler), object(options)) else {
        wrong!()
    };
    let path = text(path);
    let directory = path.strip_suffix("/model.mil").map(Path::new);
    let wanted = *devices.lock().expect("nothing panics") == NEURAL_ENGINE;
    let Some(directory) = directory.filter(|_| wanted) else { return FAILED };
    match compile(Route::E5rt, directory) {
        Ok(model) => give(out, Object::Library(model)),
        Err(_) => FAILED,
    }
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_program_library_retain_program_function(
    library: Id,
    name: Text,
    out: Out,
) -> i32 {
    let Object::Library(model) = object(library) else { wrong!() };
    if text(name) != "main" {
        return FAILED;
    }
    give(out, Object::Function(model.clone()))
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_precompiled_compute_op_create_options_create_with_program_function(
    out: Out,
    function: Id,
) -> i32 {
    let Object::Function(model) = object(function) else { wrong!() };
    give(out, Object::OpOptions(model.clone()))
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_precompiled_compute_op_create_options_set_operation_name(
    options: Id,
    name: Text,
) -> i32 {
    let Object::OpOptions(_) = object(options) else { wrong!() };
    if text(name).is_empty() { FAILED } else { 0 }
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_precompiled_compute_op_create_options_set_allocate_intermediate_buffers(
    options: Id,
    allocate: u64,
) -> i32 {
    let Object::OpOptions(_) = object(options) else { wrong!() };
    if allocate == 1 { 0 } else { FAILED }
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_execution_stream_operation_create_precompiled_compute_operation_with_options(
    out: Out,
    options: Id,
) -> i32 {
    let Object::OpOptions(model) = object(options) else { wrong!() };
    give(out, Object::Operation { model: model.clone(), ports: Ports::default() })
}

fn retain_port(operation: Id, name: Text, out: Out, of: fn(&dyn Model) -> &[runtime::Port]) -> i32 {
    let Object::Operation { model, ports } = object(operation) else { wrong!() };
    let name = text(name);
    if !of(model.as_ref()).iter().any(|port| port.name == name) {
        return FAILED;
    }
    give(out, Object::Port { ports: ports.clone(), name })
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_execution_stream_operation_retain_input_port(
    operation: Id,
    name: Text,
    out: Out,
) -> i32 {
    retain_port(operation, name, out, |model| model.inputs())
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_execution_stream_operation_retain_output_port(
    operation: Id,
    name: Text,
    out: Out,
) -> i32 {
    retain_port(operation, name, out, |model| model.outputs())
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_buffer_object_create_from_iosurface(out: Out, surface: Id) -> i32 {
    give(out, Object::Buffer(iosurface::surface(surface)))
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_io_port_bind_buffer_object(port: Id, buffer: Id) -> i32 {
    let (Object::Port { ports, name }, Object::Buffer(surface)) = (object(port), object(buffer))
    else {
        wrong!()
    };
    ports.lock().expect("nothing panics").insert(name.clone(), surface.clone());
    0
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_execution_stream_create(out: Out) -> i32 {
    give(out, Object::Stream(Mutex::default()))
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_execution_stream_operation_prepare_op_for_encode(operation: Id) -> i32 {
    let Object::Operation { model, ports } = object(operation) else { wrong!() };
    let bound = ports.lock().expect("nothing panics").len();
    if bound == model.inputs().len() + model.outputs().len() { 0 } else { FAILED }
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_execution_stream_encode_operation(stream: Id, operation: Id) -> i32 {
    let (Object::Stream(encoded), Object::Operation { model, ports }) =
        (object(stream), object(operation))
    else {
        wrong!()
    };
    let ports = ports.lock().expect("nothing panics");
    let pick = |wanted: &[runtime::Port]| -> Vec<Surface> {
        wanted.iter().filter_map(|port| ports.get(&port.name).cloned()).collect()
    };
    let (inputs, outputs) = (pick(model.inputs()), pick(model.outputs()));
    let Ok(evaluation) = model.clone().bind(&inputs, &outputs) else { return FAILED };
    encoded.lock().expect("nothing panics").push(evaluation);
    0
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_execution_stream_execute_sync(stream: Id) -> i32 {
    let Object::Stream(encoded) = object(stream) else { wrong!() };
    if Fault::E5rt.strikes().is_some() {
        return FAILED;
    }
    let mut encoded = encoded.lock().expect("no evaluation panics");
    let done = encoded.iter_mut().try_for_each(|evaluation| evaluation.evaluate());
    if done.is_ok() { 0 } else { FAILED }
}

#[unsafe(no_mangle)]
extern "C" fn e5rt_execution_stream_reset(stream: Id) -> i32 {
    let Object::Stream(encoded) = object(stream) else { wrong!() };
    encoded.lock().expect("nothing panics").clear();
    0
}
