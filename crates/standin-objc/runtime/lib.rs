//! The runtime itself: classes, selectors, messages, reference counts, autorelease pools and
//! blocks, as far as `objc2` and `block2` ask for them when they look methods up (`objc_msg_lookup`).
//!
//! It is stricter than the real one, because it is there to find mistakes: an unknown selector,
//! a message to a freed object, a release too many and an object autoreleased without a pool
//! abort the process with a message. The header of a freed object is kept for ever, so that its
//! use is always seen.
#![allow(non_snake_case, non_upper_case_globals, clippy::missing_safety_doc)]

mod block;
mod memory;
mod standin;

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_uint, c_void};
use std::ptr::null;
use std::sync::{Mutex, MutexGuard};

/// What every object and every class begins with.
#[repr(C)]
pub struct Object {
    isa: *const Class,
    /// Reference count, [`memory::FREED`] afterwards, [`memory::IMMORTAL`] for classes.
    references: std::sync::atomic::AtomicIsize,
    /// What the class keeps in its instances; the class's `destroy` frees it.
    payload: *mut c_void,
}

#[repr(C)]
pub struct Class {
    object: Object,
    name: CString,
    superclass: *const Class,
    is_meta: bool,
    destroy: Option<extern "C" fn(*mut c_void)>,
    methods: Mutex<Vec<*const Method>>,
}

/// A method. Never freed.
pub struct Method {
    selector: Selector,
    implementation: Implementation,
    types: Mutex<&'static CStr>,
}

/// A selector is the address of its name; equal names have equal addresses.
type Selector = *const c_char;
type Implementation = unsafe extern "C-unwind" fn();

/// A class of the table below. Classes are never freed and are changed under their lock only.
#[derive(Clone, Copy)]
struct Shared<T>(*const T);

// SAFETY: what is behind the pointer is never freed and has locks around what changes.
unsafe impl<T> Send for Shared<T> {}

#[derive(Default)]
struct State {
    classes: HashMap<CString, Shared<Class>>,
    selectors: HashMap<CString, Shared<c_char>>,
    /// Names of classes that are to be missing.
    hidden_classes: Vec<CString>,
    /// Selectors that are to be missing, with the class.
    hidden_methods: Vec<(CString, CString)>,
    /// Faults by name: their value, and how often they are still to happen.
    faults: HashMap<CString, (u64, u64)>,
    /// Messages to classes whose name begins with `_`.
    log: Vec<String>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

/// The state, made at its first use.
fn with<R>(f: impl FnOnce(&mut State) -> R) -> R {
    f(lock(&STATE).get_or_insert_with(State::default))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|_| die("the runtime failed before"))
}

fn die(message: &str) -> ! {
    eprintln!("stand-in Objective-C runtime: {message}");
    std::process::abort()
}

unsafe fn text<'a>(name: *const c_char) -> &'a CStr {
    if name.is_null() {
        die("a name is null");
    }
    // SAFETY: not null, and callers pass C strings.
    unsafe { CStr::from_ptr(name) }
}

// --- Selectors ---

#[unsafe(no_mangle)]
pub unsafe extern "C" fn sel_registerName(name: *const c_char) -> Selector {
    // SAFETY: the caller passes a C string.
    let name = unsafe { text(name) };
    with(|state| {
        let make = || Shared(Box::leak(name.to_owned().into_boxed_c_str()).as_ptr());
        state.selectors.entry(name.to_owned()).or_insert_with(make).0
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn sel_getName(selector: Selector) -> *const c_char {
    selector
}

#[unsafe(no_mangle)]
pub extern "C" fn sel_isEqual(a: Selector, b: Selector) -> u8 {
    u8::from(a == b)
}

// --- Classes ---

#[unsafe(no_mangle)]
pub unsafe extern "C" fn objc_getClass(name: *const c_char) -> *const Class {
    // SAFETY: the caller passes a C string.
    let name = unsafe { text(name) };
    with(|state| {
        if state.hidden_classes.iter().any(|hidden| hidden.as_c_str() == name) {
            return null();
        }
        state.classes.get(name).map_or(null(), |class| class.0)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn objc_lookUpClass(name: *const c_char) -> *const Class {
    // SAFETY: as the caller promises.
    unsafe { objc_getClass(name) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn object_getClass(object: *const Object) -> *const Class {
    if object.is_null() {
        return null();
    }
    // SAFETY: the caller passes an object or a class; headers are never freed.
    let object = unsafe { &*object };
    memory::check(object, "its class is asked for");
    object.isa
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn class_getName(class: *const Class) -> *const c_char {
    // SAFETY: the caller passes a class; classes are never freed.
    unsafe { &*class }.name.as_ptr()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn class_getSuperclass(class: *const Class) -> *const Class {
    // SAFETY: the caller passes a class; classes are never freed.
    unsafe { &*class }.superclass
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn class_isMetaClass(class: *const Class) -> u8 {
    // SAFETY: the caller passes a class; classes are never freed.
    u8::from(unsafe { &*class }.is_meta)
}

// --- Methods ---

#[unsafe(no_mangle)]
pub unsafe extern "C" fn class_getInstanceMethod(
    class: *const Class,
    selector: Selector,
) -> *const Method {
    // SAFETY: the caller passes a class; classes are never freed.
    let class = unsafe { &*class };
    // SAFETY: selectors are names that live for ever.
    let name = unsafe { text(selector) };
    let hidden = with(|state| {
        let mut hidden = state.hidden_methods.iter();
        hidden.any(|(c, s)| c.as_c_str() == class.name.as_c_str() && s.as_c_str() == name)
    });
    if hidden {
        return null();
    }
    // SAFETY: methods are never freed.
    let is = |method: &&*const Method| unsafe { &***method }.selector == selector;
    if let Some(method) = lock(&class.methods).iter().find(is) {
        return *method;
    }
    if class.superclass.is_null() {
        return null();
    }
    // SAFETY: a superclass is a class.
    unsafe { class_getInstanceMethod(class.superclass, selector) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn class_getClassMethod(
    class: *const Class,
    selector: Selector,
) -> *const Method {
    // SAFETY: the caller passes a class, whose `isa` is its metaclass.
    unsafe { class_getInstanceMethod((*class).object.isa, selector) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn class_respondsToSelector(class: *const Class, selector: Selector) -> u8 {
    // SAFETY: as the caller promises.
    u8::from(!unsafe { class_getInstanceMethod(class, selector) }.is_null())
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn method_getName(method: *const Method) -> Selector {
    // SAFETY: methods are never freed.
    unsafe { &*method }.selector
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn method_getTypeEncoding(method: *const Method) -> *const c_char {
    // SAFETY: methods are never freed.
    lock(&unsafe { &*method }.types).as_ptr()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn method_getNumberOfArguments(method: *const Method) -> c_uint {
    // SAFETY: methods are never freed.
    let selector = unsafe { text((*method).selector) };
    2 + selector.to_bytes().iter().filter(|byte| **byte == b':').count() as c_uint
}

// --- Messages ---

#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn objc_msg_lookup(
    receiver: *mut Object,
    selector: Selector,
) -> Option<Implementation> {
    // SAFETY: selectors are names that live for ever.
    let name = unsafe { text(selector) }.to_string_lossy();
    if receiver.is_null() {
        die(&format!("`{name}` is sent to nil, which code of ours never does on purpose"));
    }
    // SAFETY: the receiver is an object or a class; headers are never freed.
    let object = unsafe { &*receiver };
    memory::check(object, &name);
    // SAFETY: an object's class is never freed.
    let class = unsafe { &*object.isa };
    let of = class.name.to_string_lossy();
    if of.starts_with('_') {
        let sign = if class.is_meta { '+' } else { '-' };
        with(|state| state.log.push(format!("{sign}[{of} {name}]")));
    }
    // SAFETY: `class` is a class.
    let method = unsafe { class_getInstanceMethod(class, selector) };
    if method.is_null() {
        die(&format!("{of} does not understand `{name}`"));
    }
    // SAFETY: not null, and methods are never freed.
    Some(unsafe { &*method }.implementation)
}

/// What `objc2` links but this project never reaches: exceptions and sending to a superclass.
macro_rules! unreached {
    ($($name:ident),* $(,)?) => {
        $(#[unsafe(no_mangle)]
        pub extern "C" fn $name() -> ! {
            die(concat!(stringify!($name), " is not part of the stand-in"))
        })*
    };
}

unreached!(
    objc_msg_lookup_super,
    objc_exception_throw,
    method_copyReturnType,
    method_copyArgumentType,
);

