//! What the real runtime does not have: making classes in one call, faults, and counts.

use crate::memory::{IMMORTAL, LIVE, check};
use crate::{Class, Implementation, Method, Object, Shared, die, lock, sel_registerName, text, with};
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering};

fn class(
    name: &CStr,
    isa: *const Class,
    superclass: *const Class,
    destroy: Option<extern "C" fn(*mut c_void)>,
) -> *mut Class {
    let object = Object { isa, references: AtomicIsize::new(IMMORTAL), payload: null_mut() };
    let (name, methods) = (name.to_owned(), Mutex::default());
    let is_meta = isa.is_null();
    Box::leak(Box::new(Class { object, name, superclass, is_meta, destroy, methods }))
}

/// Makes a class without a superclass, or gives the one of this name. `destroy` frees the payload
/// of its instances.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn standin_class(
    name: *const c_char,
    destroy: Option<extern "C" fn(*mut c_void)>,
) -> *mut Class {
    // SAFETY: the caller passes a C string.
    let name = unsafe { text(name) };
    with(|state| {
        let known = state.classes.entry(name.to_owned()).or_insert_with(|| {
            let meta = class(name, null(), null(), None);
            Shared(class(name, meta, null(), destroy).cast_const())
        });
        known.0.cast_mut()
    })
}

/// Adds a method to a class, or to its metaclass.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn standin_method(
    class: *const Class,
    of_class: bool,
    selector: *const c_char,
    types: *const c_char,
    implementation: Implementation,
) {
    // SAFETY: the caller passes a class and C strings; a class's `isa` is its metaclass.
    unsafe {
        let class = if of_class { &*(*class).object.isa } else { &*class };
        let types = Mutex::new(leak(text(types)));
        let selector = sel_registerName(selector);
        let method = Box::leak(Box::new(Method { selector, implementation, types }));
        lock(&class.methods).push(method);
    }
}

fn leak(text: &CStr) -> &'static CStr {
    Box::leak(text.to_owned().into_boxed_c_str())
}

/// An instance that holds `payload`, with one reference.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn standin_new(class: *const Class, payload: *mut c_void) -> *mut Object {
    LIVE.fetch_add(1, Ordering::Relaxed);
    Box::leak(Box::new(Object { isa: class, references: AtomicIsize::new(1), payload }))
}

/// The payload of an instance of a class of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn standin_payload(
    object: *const Object,
    name: *const c_char,
) -> *mut c_void {
    // SAFETY: the caller passes a C string.
    let name = unsafe { text(name) };
    // SAFETY: the caller passes an object or nil; headers are never freed.
    let Some(object) = (unsafe { object.as_ref() }) else {
        die(&format!("nil is used as {}", name.to_string_lossy()))
    };
    check(object, "its contents are used");
    // SAFETY: classes are never freed.
    let class = unsafe { &*object.isa };
    if class.name.as_c_str() != name {
        die(&format!("{:?} is used as {name:?}", class.name));
    }
    object.payload
}

/// Objects and blocks that have been made and not freed.
#[unsafe(no_mangle)]
pub extern "C" fn standin_live() -> isize {
    LIVE.load(Ordering::Relaxed)
}

/// Makes a class, or a method of it, missing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn standin_hide(class: *const c_char, selector: *const c_char) {
    // SAFETY: the caller passes C strings; the selector may be null.
    let (class, selector) = unsafe {
        let selector = (!selector.is_null()).then(|| text(selector).to_owned());
        (text(class).to_owned(), selector)
    };
    with(|state| match selector {
        None => state.hidden_classes.push(class),
        Some(selector) => state.hidden_methods.push((class, selector)),
    });
}

/// Ends what [`standin_hide`] began.
#[unsafe(no_mangle)]
pub extern "C" fn standin_show_all() {
    with(|state| {
        state.hidden_classes.clear();
        state.hidden_methods.clear();
    });
}

/// Gives a method other types, and the caller the ones it had.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn standin_retype(
    class: *const c_char,
    selector: *const c_char,
    types: *const c_char,
) -> *const c_char {
    // SAFETY: the caller passes C strings.
    unsafe {
        let class = crate::objc_getClass(class);
        if class.is_null() {
            die("there is no such class to change");
        }
        let method = crate::class_getInstanceMethod(class, sel_registerName(selector));
        if method.is_null() {
            die("there is no such method to change");
        }
        std::mem::replace(&mut *lock(&(*method).types), leak(text(types))).as_ptr()
    }
}

static SESSION: AtomicU64 = AtomicU64::new(0);

/// Number of the session.
#[unsafe(no_mangle)]
pub extern "C" fn standin_session() -> u64 {
    SESSION.load(Ordering::Relaxed)
}

/// Begins the next session.
#[unsafe(no_mangle)]
pub extern "C" fn standin_next_session() -> u64 {
    SESSION.fetch_add(1, Ordering::Relaxed) + 1
}

/// Lets the fault `name` happen the next `times` times, with a value that is not 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn standin_fault(name: *const c_char, value: u64, times: u64) {
    // SAFETY: the caller passes a C string.
    let name = unsafe { text(name) }.to_owned();
    with(|state| state.faults.insert(name, (value, times)));
}

/// Whether the fault is to happen now: its value, or 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn standin_fault_strikes(name: *const c_char) -> u64 {
    // SAFETY: the caller passes a C string.
    let name = unsafe { text(name) };
    with(|state| match state.faults.get_mut(name) {
        Some((value, times)) if *times > 0 => {
            *times -= 1;
            *value
        }
        _ => 0,
    })
}

/// Ends what [`standin_fault`] began.
#[unsafe(no_mangle)]
pub extern "C" fn standin_no_faults() {
    with(|state| state.faults.clear());
}

/// Calls `each` with every message to a private class since the last call, in order.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn standin_take_log(
    each: extern "C" fn(*mut c_void, *const c_char),
    context: *mut c_void,
) {
    for line in with(|state| std::mem::take(&mut state.log)) {
        let line = CString::new(line).unwrap_or_else(|_| die("a name has a zero byte"));
        each(context, line.as_ptr());
    }
}
