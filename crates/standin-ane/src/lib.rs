//! Stand-ins for what leads to the Neural Engine on macOS: a small Foundation, IOSurface on shared
//! memory, the private classes with the methods of `apple::interface`, and `e5rt`'s C functions.
//! Behind them is the emulator, so that what computes through the messages of the crate `apple`
//! gives what the emulator gives.
//!
//! Tests open the library (`libanemone_standin_ane.so`) by its path, as the real frameworks are
//! opened; its initialiser registers the classes with the stand-in runtime.
//!
//! It holds what we believe of Apple's classes. A wrong belief passes its tests.
#![cfg(not(target_vendor = "apple"))]

mod e5rt;
mod engine;
mod foundation;
mod iosurface;
mod private;

/// Runs when the library is opened.
extern "C" fn start() {
    foundation::register();
    iosurface::register();
    private::register();
}

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

/// The types of a method, from the table that the routes check classes against.
///
/// # Panics
/// If the table has no such method: then nothing of ours sends it.
fn types(class: &std::ffi::CStr, selector: &std::ffi::CStr) -> (bool, std::ffi::CString) {
    let mut methods = apple::interface::METHODS.iter();
    let method = methods.find(|m| m.class == class && m.selector == selector);
    let method = method.unwrap_or_else(|| panic!("the table has no {class:?} {selector:?}"));
    (method.of_class, method.types())
}

/// Adds a method whose types are those of the table. The implementation takes receiver, selector
/// and those arguments.
macro_rules! method {
    ($class:expr, $name:expr, $selector:literal, $implementation:expr, fn($($argument:ty),*) $(-> $result:ty)?) => {{
        let (of_class, types) = crate::types($name, $selector);
        let implementation: unsafe extern "C-unwind" fn(
            standin_objc::Id, *const std::ffi::c_void $(, $argument)*
        ) $(-> $result)? = $implementation;
        // SAFETY: the class is the one of this name; the implementation has the types of the
        // table, as far as pointers, integers and flags go. It is called with them only.
        unsafe {
            let implementation: standin_objc::Implementation = std::mem::transmute(implementation);
            standin_objc::method($class, of_class, $selector, &types, implementation);
        }
    }};
}
use method;
