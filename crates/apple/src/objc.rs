//! Objects, and the few classes of Foundation that the routes need.

use crate::iosurface::function;
use crate::library::Library;
use objc2::encode::{Encoding, RefEncode};
use objc2::msg_send;
use objc2::rc::{Retained, autoreleasepool};
use objc2::runtime::{AnyClass, AnyObject};
use std::ffi::{CStr, CString, c_char, c_void};
use std::fmt;
use std::panic::{AssertUnwindSafe, UnwindSafe};
use std::ptr;

/// What a framework said when it failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The error's domain and code.
    pub(crate) origin: Option<(String, isize)>,
    /// The error's description, or our words where there was no error object.
    pub(crate) description: String,
}

impl Failure {
    pub(crate) fn new(description: impl Into<String>) -> Failure {
        Failure { origin: None, description: description.into() }
    }

    /// The engine's own status, which the description of an error carries as `status=0x1d`.
    pub(crate) fn status(&self) -> Option<u32> {
        let (_, rest) = self.description.split_once("status=0x")?;
        let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        u32::from_str_radix(&rest[..end], 16).ok()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some((domain, code)) => write!(f, "{domain} error {code}: {}", self.description),
            None => f.write_str(&self.description),
        }
    }
}

/// An object that is kept alive.
#[derive(Clone, Debug)]
pub(crate) struct Object(Retained<AnyObject>);

// SAFETY: counting references is atomic. The objects of this crate are immutable (strings, data,
// collections), or ones that their framework itself uses from several threads (`_ANEClient` and
// models, behind Core ML), or used by one thread at a time, which a `&mut` sees to (requests).
unsafe impl Send for Object {}
// SAFETY: as above.
unsafe impl Sync for Object {}

impl std::ops::Deref for Object {
    type Target = AnyObject;

    fn deref(&self) -> &AnyObject {
        &self.0
    }
}

impl Object {
    /// What a factory method gave.
    pub(crate) fn some(object: Option<Retained<AnyObject>>, what: &str) -> Result<Object, Failure> {
        object.map(Object).ok_or_else(|| Failure::new(format!("{what} is nil")))
    }
}

/// `IOSurfaceRef` points to one.
#[repr(C)]
pub(crate) struct IoSurface {
    _opaque: [u8; 0],
}

// SAFETY: the encoding that the runtime gives to a pointer to `struct __IOSurface`.
unsafe impl RefEncode for IoSurface {
    const ENCODING_REF: Encoding = Encoding::Pointer(&Encoding::Struct("__IOSurface", &[]));
}

/// Runs what sends messages: what is autoreleased is released at its end, and an exception is a
/// failure where exceptions can be caught (feature `exceptions`; without it they end the process).
pub(crate) fn guarded<R>(f: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
    autoreleasepool(|_| caught(AssertUnwindSafe(f)))
}

#[cfg(feature = "exceptions")]
fn caught<R>(f: AssertUnwindSafe<impl FnOnce() -> Result<R, Failure>>) -> Result<R, Failure> {
    match objc2::exception::catch(unwind_safe(f)) {
        Ok(result) => result,
        Err(Some(exception)) => Err(Failure::new(format!("exception: {exception}"))),
        Err(None) => Err(Failure::new("exception: nil")),
    }
}

#[cfg(not(feature = "exceptions"))]
fn caught<R>(f: AssertUnwindSafe<impl FnOnce() -> Result<R, Failure>>) -> Result<R, Failure> {
    unwind_safe(f)()
}

/// Keeps the wrapper whole in the closure, which would otherwise capture what is in it alone.
fn unwind_safe<R>(f: AssertUnwindSafe<impl FnOnce() -> R>) -> impl FnOnce() -> R + UnwindSafe {
    f
}

/// A class by name.
pub(crate) fn class(name: &CStr) -> Result<&'static AnyClass, Failure> {
    AnyClass::get(name)
        .ok_or_else(|| Failure::new(format!("there is no class {}", name.to_string_lossy())))
}

/// A call that fills an error object and says whether it succeeded.
pub(crate) fn checked(call: impl FnOnce(*mut *mut AnyObject) -> bool) -> Result<(), Failure> {
    let mut error: *mut AnyObject = ptr::null_mut();
    if call(&raw mut error) {
        return Ok(());
    }
    // SAFETY: a method that fails leaves nil or an error object, which the pool keeps alive.
    match unsafe { error.as_ref() } {
        Some(error) => Err(failure(error)),
        None => Err(Failure::new("it failed and gave no reason")),
    }
}

/// What an `NSError` says.
pub(crate) fn failure(error: &AnyObject) -> Failure {
    // SAFETY: methods of every `NSError` with the types of the interface table.
    unsafe {
        let domain: Option<Retained<AnyObject>> = msg_send![error, domain];
        let code: isize = msg_send![error, code];
        let description: Option<Retained<AnyObject>> = msg_send![error, localizedDescription];
        let text = |object: Option<Retained<AnyObject>>| object.map(|o| string(&o));
        Failure {
            origin: Some((text(domain).unwrap_or_default(), code)),
            description: text(description).unwrap_or_default(),
        }
    }
}

/// The contents of an `NSString`.
pub(crate) fn string(object: &AnyObject) -> String {
    // SAFETY: a method of every `NSString`; the C string lives as long as the pool, which the
    // callers are in.
    unsafe {
        let text: *const c_char = msg_send![object, UTF8String];
        if text.is_null() {
            return String::new();
        }
        CStr::from_ptr(text).to_string_lossy().into_owned()
    }
}

/// An `NSString`.
pub(crate) fn ns_string(text: &str) -> Result<Object, Failure> {
    let text = CString::new(text).map_err(|_| Failure::new("a string holds a zero byte"))?;
    let class = class(c"NSString")?;
    // SAFETY: the method takes a C string and gives a string or nil.
    Object::some(unsafe { msg_send![class, stringWithUTF8String: text.as_ptr()] }, "a string")
}

/// An `NSData` with a copy of the bytes.
pub(crate) fn ns_data(bytes: &[u8]) -> Result<Object, Failure> {
    let (class, address) = (class(c"NSData")?, bytes.as_ptr().cast::<c_void>());
    // SAFETY: the method copies as many bytes as it is told that there are.
    let data = unsafe { msg_send![class, dataWithBytes: address, length: bytes.len()] };
    Object::some(data, "data")
}

/// An `NSNumber`.
pub(crate) fn ns_number(value: u64) -> Result<Object, Failure> {
    let class = class(c"NSNumber")?;
    // SAFETY: the method takes an unsigned 64-bit number.
    let number = unsafe { msg_send![class, numberWithUnsignedLongLong: value] };
    Object::some(number, "a number")
}

/// An `NSArray`.
pub(crate) fn ns_array(objects: &[Object]) -> Result<Object, Failure> {
    let class = class(c"NSArray")?;
    let pointers: Vec<*const AnyObject> = objects.iter().map(|o| Retained::as_ptr(&o.0)).collect();
    // SAFETY: as many objects as the method is told; the array retains them.
    let array =
        unsafe { msg_send![class, arrayWithObjects: pointers.as_ptr(), count: pointers.len()] };
    Object::some(array, "an array")
}

/// An `NSDictionary`.
pub(crate) fn ns_dictionary(entries: &[(Object, Object)]) -> Result<Object, Failure> {
    let class = class(c"NSDictionary")?;
    let pointers = |pick: fn(&(Object, Object)) -> &Object| {
        entries.iter().map(|e| Retained::as_ptr(&pick(e).0)).collect::<Vec<*const AnyObject>>()
    };
    let (keys, values) = (pointers(|e| &e.0), pointers(|e| &e.1));
    // SAFETY: as many keys and values as the method is told; the dictionary copies the keys and
    // retains the values.
    let dictionary = unsafe {
        msg_send![
            class,
            dictionaryWithObjects: values.as_ptr(),
            forKeys: keys.as_ptr(),
            count: keys.len()
        ]
    };
    Object::some(dictionary, "a dictionary")
}

/// A file `NSURL` of a directory.
pub(crate) fn ns_url(path: &str) -> Result<Object, Failure> {
    let (class, path) = (class(c"NSURL")?, ns_string(path)?);
    // SAFETY: the method takes a string and a flag.
    let url = unsafe { msg_send![class, fileURLWithPath: &*path, isDirectory: true] };
    Object::some(url, "a URL")
}

/// A constant of a framework: an `NSString` or what can stand for one.
///
/// # Safety
/// The address must be that of a variable that holds a constant object, or nil.
pub(crate) unsafe fn constant(address: *const c_void) -> Result<Object, Failure> {
    // SAFETY: as the caller promises.
    Object::some(unsafe { Retained::retain(address.cast::<*mut AnyObject>().read()) }, "a constant")
}

/// Where temporary files go; the frameworks look there too.
pub(crate) fn temporary_directory(foundation: &Library) -> Result<String, Failure> {
    let address = foundation.symbol(c"NSTemporaryDirectory").map_err(Failure::new)?;
    // SAFETY: the address is that of the public function of this name, which takes nothing and
    // gives a string or nil.
    let path = unsafe {
        let get: unsafe extern "C" fn() -> *mut AnyObject = function(address);
        Object::some(Retained::retain(get()), "the temporary directory")?
    };
    Ok(string(&path))
}
