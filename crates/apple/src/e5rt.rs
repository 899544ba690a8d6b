//! The third route: Espresso's C interface, `e5rt`.
//!
//! **Nothing of this has met the real library.** Names, order of arguments and meanings are those
//! that others report of programs that work (see `Functions`); that binding a surface needs no
//! copy is read off the names that Apple's own frameworks call. It is never chosen unless asked
//! for. Every function returns 0 for success; the return type is reported as 64 bits wide by some
//! and 32 by others, so only the low half is looked at.

use crate::iosurface::{SharedSurface, function};
use crate::library::Library;
use crate::objc::{Failure, IoSurface};
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::Arc;

/// Bit of the Neural Engine among the kinds of devices to compile for.
const NEURAL_ENGINE: u64 = 4;

type Raw = *mut c_void;
type Out = *mut Raw;
type Text = *const c_char;

macro_rules! functions {
    ($($field:ident = $name:literal ($($argument:ty),*);)*) => {
        /// The functions that are used, about a tenth of what the library exports.
        #[derive(Debug)]
        pub(crate) struct Functions {
            $($field: unsafe extern "C" fn($($argument),*) -> i32,)*
            last_error: Option<unsafe extern "C" fn() -> Text>,
        }

        /// What is looked up, for the capability report.
        pub(crate) const SYMBOLS: &[&CStr] = &[$($name),*];

        impl Functions {
            /// Looks the functions up.
            ///
            /// # Errors
            /// If one is missing.
            pub(crate) fn find(library: &Library) -> Result<Functions, Failure> {
                // SAFETY: the addresses are those of functions of these names, whose types are
                // taken from programs that call them.
                unsafe {
                    Ok(Functions {
                        $($field: function(library.symbol($name).map_err(Failure::new)?),)*
                        last_error: library
                            .symbol(c"e5rt_get_last_error_message")
                            .ok()
                            .map(|address| function(address)),
                    })
                }
            }
        }
    };
}

functions! {
    config_create = c"e5rt_e5_compiler_config_options_create" (Out);
    config_set_cache = c"e5rt_e5_compiler_config_options_set_cache_bundle_location" (Raw, Text);
    config_release = c"e5rt_e5_compiler_config_options_release" (Out);
    compiler_create = c"e5rt_e5_compiler_create_with_config" (Out, Raw);
    compiler_release = c"e5rt_e5_compiler_release" (Out);
    options_create = c"e5rt_e5_compiler_options_create" (Out);
    options_set_devices = c"e5rt_e5_compiler_options_set_compute_device_types_mask" (Raw, u64);
    options_release = c"e5rt_e5_compiler_options_release" (Out);
    compile = c"e5rt_e5_compiler_compile" (Raw, Text, Raw, Out);
    library_release = c"e5rt_program_library_release" (Out);
    retain_function = c"e5rt_program_library_retain_program_function" (Raw, Text, Out);
    function_release = c"e5rt_program_function_release" (Out);
    op_options_create =
        c"e5rt_precompiled_compute_op_create_options_create_with_program_function" (Out, Raw);
    op_options_set_name =
        c"e5rt_precompiled_compute_op_create_options_set_operation_name" (Raw, Text);
    op_options_set_buffers =
        c"e5rt_precompiled_compute_op_create_options_set_allocate_intermediate_buffers" (Raw, u64);
    op_options_release = c"e5rt_precompiled_compute_op_create_options_release" (Out);
    op_create =
        c"e5rt_execution_stream_operation_create_precompiled_compute_operation_with_options"
        (Out, Raw);
    op_release = c"e5rt_execution_stream_operation_release" (Out);
    op_input = c"e5rt_execution_stream_operation_retain_input_port" (Raw, Text, Out);
    op_output = c"e5rt_execution_stream_operation_retain_output_port" (Raw, Text, Out);
    port_release = c"e5rt_io_port_release" (Out);
    port_bind = c"e5rt_io_port_bind_buffer_object" (Raw, Raw);
    buffer_create = c"e5rt_buffer_object_create_from_iosurface" (Out, *mut IoSurface);
    buffer_release = c"e5rt_buffer_object_release" (Out);
    stream_create = c"e5rt_execution_stream_create" (Out);
    stream_release = c"e5rt_execution_stream_release" (Out);
    op_prepare = c"e5rt_execution_stream_operation_prepare_op_for_encode" (Raw);
    stream_encode = c"e5rt_execution_stream_encode_operation" (Raw, Raw);
    stream_execute = c"e5rt_execution_stream_execute_sync" (Raw);
    stream_reset = c"e5rt_execution_stream_reset" (Raw);
}

/// An object of the library, released when dropped.
#[derive(Debug)]
struct Handle {
    raw: Raw,
    release: unsafe extern "C" fn(Out) -> i32,
}

// SAFETY: what is reported not to bear several threads is running one stream from two of them;
// a stream belongs to one `Bound`, and everything else is only released.
unsafe impl Send for Handle {}
// SAFETY: as above; a shared handle only gives out its address.
unsafe impl Sync for Handle {}

impl Handle {
    fn new(
        release: unsafe extern "C" fn(Out) -> i32,
        create: impl FnOnce(Out) -> Result<(), Failure>,
    ) -> Result<Handle, Failure> {
        let mut raw = null_mut();
        create(&raw mut raw)?;
        if raw.is_null() {
            return Err(Failure::new("an e5rt object is null"));
        }
        Ok(Handle { raw, release })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the object came from a function that gives a reference, released only here;
        // the release functions take the address of the handle.
        _ = unsafe { (self.release)(&raw mut self.raw) };
    }
}

/// A compiled program: the function `main`.
#[derive(Debug)]
pub(crate) struct Program {
    function: Handle,
    _library: Handle,
    functions: Arc<Functions>,
}

/// An operation with its surfaces, and the stream that runs it. The fields are released in order.
#[derive(Debug)]
pub(crate) struct Bound {
    stream: Handle,
    operation: Handle,
    _buffers: Vec<Handle>,
    functions: Arc<Functions>,
}

impl Functions {
    /// The meaning of a function's result.
    fn check(&self, name: &str, code: i32) -> Result<(), Failure> {
        if code == 0 {
            return Ok(());
        }
        let message = self.last_error.and_then(|last_error| {
            // SAFETY: takes nothing, and gives null or a C string, as Apple's own callers print.
            unsafe {
                let message = last_error();
                (!message.is_null()).then(|| CStr::from_ptr(message).to_string_lossy())
            }
        });
        let message = message.unwrap_or("it gave no reason".into());
        let description = format!("{name}: {message}");
        Err(Failure { origin: Some(("e5rt".to_owned(), code as isize)), description })
    }
}

/// Calls a function of the table and gives its name to an error.
macro_rules! call {
    ($functions:expr, $field:ident ($($argument:expr),*)) => {{
        // SAFETY: handles that are alive, C strings, and places for a handle, in the order that
        // is reported to work.
        let code = unsafe { ($functions.$field)($($argument),*) };
        $functions.check(stringify!($field), code)
    }};
}

impl Program {
    /// Compiles `model.mil` in a directory, in which the compiler keeps its files too.
    pub(crate) fn compile(f: &Arc<Functions>, directory: &Path) -> Result<Program, Failure> {
        let cache = text(directory)?;
        let config = Handle::new(f.config_release, |out| call!(f, config_create(out)))?;
        call!(f, config_set_cache(config.raw, cache.as_ptr()))?;
        let compiler =
            Handle::new(f.compiler_release, |out| call!(f, compiler_create(out, config.raw)))?;
        let options = Handle::new(f.options_release, |out| call!(f, options_create(out)))?;
        call!(f, options_set_devices(options.raw, NEURAL_ENGINE))?;
        let path = text(&directory.join("model.mil"))?;
        let library = Handle::new(f.library_release, |out| {
            call!(f, compile(compiler.raw, path.as_ptr(), options.raw, out))
        })?;
        let function = Handle::new(f.function_release, |out| {
            call!(f, retain_function(library.raw, c"main".as_ptr(), out))
        })?;
        Ok(Program { function, _library: library, functions: f.clone() })
    }

    /// An operation over these surfaces, each with its port's name.
    pub(crate) fn bind(
        &self,
        inputs: &[(&str, &SharedSurface)],
        outputs: &[(&str, &SharedSurface)],
    ) -> Result<Bound, Failure> {
        let f = &self.functions;
        let options = Handle::new(f.op_options_release, |out| {
            call!(f, op_options_create(out, self.function.raw))
        })?;
        call!(f, op_options_set_name(options.raw, c"main".as_ptr()))?;
        call!(f, op_options_set_buffers(options.raw, 1))?;
        let operation = Handle::new(f.op_release, |out| call!(f, op_create(out, options.raw)))?;
        let mut buffers = vec![];
        for (is_input, ports) in [(true, inputs), (false, outputs)] {
            for (name, surface) in ports {
                let name = CString::new(*name).map_err(|_| Failure::new("a zero byte"))?;
                let port = Handle::new(f.port_release, |out| match is_input {
                    true => call!(f, op_input(operation.raw, name.as_ptr(), out)),
                    false => call!(f, op_output(operation.raw, name.as_ptr(), out)),
                })?;
                let buffer = Handle::new(f.buffer_release, |out| {
                    call!(f, buffer_create(out, surface.reference()))
                })?;
                call!(f, port_bind(port.raw, buffer.raw))?;
                buffers.push(buffer);
            }
        }
        let stream = Handle::new(f.stream_release, |out| call!(f, stream_create(out)))?;
        Ok(Bound { stream, operation, _buffers: buffers, functions: f.clone() })
    }
}

impl Bound {
    /// Runs the operation to its end.
    pub(crate) fn evaluate(&mut self) -> Result<(), Failure> {
        let f = &self.functions;
        call!(f, op_prepare(self.operation.raw))?;
        call!(f, stream_encode(self.stream.raw, self.operation.raw))?;
        let done = call!(f, stream_execute(self.stream.raw));
        // A stream keeps what was encoded; the next evaluation encodes anew, after a failure too.
        let reset = call!(f, stream_reset(self.stream.raw));
        done.and(reset)
    }
}

fn text(path: &Path) -> Result<CString, Failure> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Failure::new("a path has a zero byte"))
}
