//! Making classes and objects: what the runtime offers to the stand-in frameworks.

use std::ffi::{CStr, c_char, c_void};

/// An object.
pub type Id = *mut c_void;
/// A class.
pub type Class = *mut c_void;
/// A method's code; cast from its real type.
pub type Implementation = unsafe extern "C-unwind" fn();

#[link(name = "objc")]
unsafe extern "C" {
    fn standin_class(name: *const c_char, destroy: Option<extern "C" fn(*mut c_void)>) -> Class;
    fn standin_method(
        class: Class,
        of_class: bool,
        selector: *const c_char,
        types: *const c_char,
        implementation: Implementation,
    );
    fn standin_new(class: Class, payload: *mut c_void) -> Id;
    fn standin_payload(object: *const c_void, class: *const c_char) -> *mut c_void;
    pub(crate) fn standin_live() -> isize;
    pub(crate) fn standin_hide(class: *const c_char, selector: *const c_char);
    pub(crate) fn standin_show_all();
    pub(crate) fn standin_retype(
        class: *const c_char,
        selector: *const c_char,
        types: *const c_char,
    ) -> *const c_char;
    pub(crate) fn standin_fault(name: *const c_char, value: u64, times: u64);
    pub(crate) fn standin_fault_strikes(name: *const c_char) -> u64;
    pub(crate) fn standin_no_faults();
    pub(crate) fn standin_next_session() -> u64;
    fn standin_session() -> u64;
    pub(crate) fn standin_take_log(
        each: extern "C" fn(*mut c_void, *const c_char),
        context: *mut c_void,
    );
}

/// Number of the test session, which stands for a process of its own.
pub fn session() -> u64 {
    // SAFETY: takes nothing.
    unsafe { standin_session() }
}

/// Makes a class whose instances hold a boxed `T`, or gives the one of this name.
pub fn class<T: 'static>(name: &CStr) -> Class {
    extern "C" fn destroy<T>(payload: *mut c_void) {
        // SAFETY: `new` boxed a `T` for every instance, and the runtime destroys it once.
        drop(unsafe { Box::from_raw(payload.cast::<T>()) });
    }
    // SAFETY: a C string, and a function that frees what `new` makes.
    unsafe { standin_class(name.as_ptr(), Some(destroy::<T>)) }
}

/// Adds a method to a class, or to its metaclass.
///
/// # Safety
/// `class` must come from [`fn@class`], and the implementation must take a receiver, a selector
/// and what `types` says, and return what it says.
pub unsafe fn method(
    class: Class,
    of_class: bool,
    selector: &CStr,
    types: &CStr,
    implementation: Implementation,
) {
    // SAFETY: as the caller promises, and C strings.
    unsafe { standin_method(class, of_class, selector.as_ptr(), types.as_ptr(), implementation) }
}

/// An instance with one reference.
///
/// # Safety
/// `class` must come from [`fn@class`] with the same `T`.
pub unsafe fn new<T: 'static>(class: Class, payload: T) -> Id {
    // SAFETY: the class destroys a boxed `T`.
    unsafe { standin_new(class, Box::into_raw(Box::new(payload)).cast()) }
}

/// What an instance of the class `name` holds. Aborts if it is nil, freed, or of another class.
///
/// # Safety
/// The class must hold a `T`, and the object must live as long as the reference.
pub unsafe fn payload<'a, T: 'static>(object: Id, name: &CStr) -> &'a T {
    // SAFETY: the runtime checks that the object is one of the class, which holds a `T`.
    unsafe { &*standin_payload(object, name.as_ptr()).cast::<T>() }
}
