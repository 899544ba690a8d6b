//! As much of Foundation as is asked for. Objects are immutable.

use crate::method;
use standin_objc::{Id, class, new, payload};
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::null_mut;
use std::slice;

#[link(name = "objc")]
unsafe extern "C" {
    fn objc_retain(object: Id) -> Id;
    fn objc_release(object: Id);
    fn objc_autorelease(object: Id) -> Id;
}

/// A reference to an object, released when dropped.
pub struct Owned(pub Id);

// SAFETY: counts are atomic, and the objects that are kept this way are immutable.
unsafe impl Send for Owned {}
// SAFETY: as above.
unsafe impl Sync for Owned {}

impl Owned {
    /// One more reference.
    pub fn retain(object: Id) -> Owned {
        // SAFETY: an object or nil; the runtime checks it.
        Owned(unsafe { objc_retain(object) })
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: the reference that `retain` took.
        unsafe { objc_release(self.0) };
    }
}

/// Gives an object away, as factory methods do: the caller's pool releases it.
pub fn give(object: Id) -> Id {
    // SAFETY: an object with one reference, or nil.
    unsafe { objc_autorelease(object) }
}

pub const STRING: &CStr = c"NSString";
pub const DATA: &CStr = c"NSData";
pub const NUMBER: &CStr = c"NSNumber";
pub const ARRAY: &CStr = c"NSArray";
pub const DICTIONARY: &CStr = c"NSDictionary";
pub const URL: &CStr = c"NSURL";
pub const ERROR: &CStr = c"NSError";

struct Text(CString);
struct Data(Vec<u8>);
struct Number(u64);
struct Array(Vec<Owned>);
struct Dictionary(Vec<(Owned, Owned)>);
struct Url(Owned);
struct Failure {
    domain: Owned,
    code: isize,
    description: Owned,
}

macro_rules! access {
    ($ty:ty, $name:expr, $object:expr) => {
        // SAFETY: the class of this name holds this type; the runtime checks the object, and what
        // is read from it is read while the caller keeps it.
        unsafe { payload::<$ty>($object, $name) }
    };
}

pub fn string(text: &str) -> Id {
    let text = CString::new(text).expect("no text of ours has a zero byte");
    // SAFETY: this class holds texts.
    unsafe { new(class::<Text>(STRING), Text(text)) }
}

pub fn text(object: Id) -> String {
    access!(Text, STRING, object).0.to_string_lossy().into_owned()
}

pub fn bytes<'a>(object: Id) -> &'a [u8] {
    &access!(Data, DATA, object).0
}

pub fn number(object: Id) -> u64 {
    access!(Number, NUMBER, object).0
}

pub fn array(object: Id) -> Vec<Id> {
    access!(Array, ARRAY, object).0.iter().map(|item| item.0).collect()
}

pub fn dictionary(object: Id) -> Vec<(Id, Id)> {
    access!(Dictionary, DICTIONARY, object).0.iter().map(|(k, v)| (k.0, v.0)).collect()
}

pub fn path(object: Id) -> String {
    text(access!(Url, URL, object).0.0)
}

/// Leaves an error object where a failing method is told to.
pub fn fail(error: *mut Id, domain: &str, code: isize, description: &str) -> u8 {
    // SAFETY: where to leave an error is null or valid.
    if let Some(place) = unsafe { error.as_mut() } {
        *place = give(failure(domain, code, description));
    }
    0
}

pub fn failure(domain: &str, code: isize, description: &str) -> Id {
    let (domain, description) = (Owned(string(domain)), Owned(string(description)));
    // SAFETY: this class holds failures.
    unsafe { new(class::<Failure>(ERROR), Failure { domain, code, description }) }
}

unsafe extern "C-unwind" fn string_with(_: Id, _: *const c_void, text: *const c_char) -> Id {
    // SAFETY: the method takes a C string.
    give(string(&unsafe { CStr::from_ptr(text) }.to_string_lossy()))
}

unsafe extern "C-unwind" fn utf8(this: Id, _: *const c_void) -> *const c_char {
    access!(Text, STRING, this).0.as_ptr()
}

unsafe extern "C-unwind" fn data_with(
    _: Id,
    _: *const c_void,
    bytes: *const c_void,
    length: usize,
) -> Id {
    // SAFETY: the method takes as many bytes as it is told.
    let bytes = unsafe { slice::from_raw_parts(bytes.cast::<u8>(), length) }.to_vec();
    // SAFETY: this class holds data.
    give(unsafe { new(class::<Data>(DATA), Data(bytes)) })
}

unsafe extern "C-unwind" fn number_with(_: Id, _: *const c_void, value: u64) -> Id {
    // SAFETY: this class holds numbers.
    give(unsafe { new(class::<Number>(NUMBER), Number(value)) })
}

/// Retains as many objects as it is told.
fn retained(objects: *const Id, count: usize) -> Vec<Owned> {
    // SAFETY: the methods take as many objects as they are told; no object is nil.
    unsafe { slice::from_raw_parts(objects, count) }.iter().map(|id| Owned::retain(*id)).collect()
}

unsafe extern "C-unwind" fn array_with(
    _: Id,
    _: *const c_void,
    objects: *const Id,
    count: usize,
) -> Id {
    // SAFETY: this class holds arrays.
    give(unsafe { new(class::<Array>(ARRAY), Array(retained(objects, count))) })
}

unsafe extern "C-unwind" fn dictionary_with(
    _: Id,
    _: *const c_void,
    values: *const Id,
    keys: *const Id,
    count: usize,
) -> Id {
    let entries = retained(keys, count).into_iter().zip(retained(values, count)).collect();
    // SAFETY: this class holds dictionaries.
    give(unsafe { new(class::<Dictionary>(DICTIONARY), Dictionary(entries)) })
}

unsafe extern "C-unwind" fn url_with(_: Id, _: *const c_void, path: Id, directory: u8) -> Id {
    assert_eq!(directory, 1, "models are directories");
    // SAFETY: this class holds URLs.
    give(unsafe { new(class::<Url>(URL), Url(Owned::retain(path))) })
}

unsafe extern "C-unwind" fn domain(this: Id, _: *const c_void) -> Id {
    access!(Failure, ERROR, this).domain.0
}

unsafe extern "C-unwind" fn code(this: Id, _: *const c_void) -> isize {
    access!(Failure, ERROR, this).code
}

unsafe extern "C-unwind" fn description(this: Id, _: *const c_void) -> Id {
    access!(Failure, ERROR, this).description.0
}

pub fn register() {
    let strings = class::<Text>(STRING);
    method!(strings, STRING, c"stringWithUTF8String:", string_with, fn(*const c_char) -> Id);
    method!(strings, STRING, c"UTF8String", utf8, fn() -> *const c_char);
    let data = class::<Data>(DATA);
    method!(data, DATA, c"dataWithBytes:length:", data_with, fn(*const c_void, usize) -> Id);
    let numbers = class::<Number>(NUMBER);
    method!(numbers, NUMBER, c"numberWithUnsignedLongLong:", number_with, fn(u64) -> Id);
    let arrays = class::<Array>(ARRAY);
    method!(arrays, ARRAY, c"arrayWithObjects:count:", array_with, fn(*const Id, usize) -> Id);
    let maps = class::<Dictionary>(DICTIONARY);
    method!(
        maps,
        DICTIONARY,
        c"dictionaryWithObjects:forKeys:count:",
        dictionary_with,
        fn(*const Id, *const Id, usize) -> Id
    );
    let urls = class::<Url>(URL);
    method!(urls, URL, c"fileURLWithPath:isDirectory:", url_with, fn(Id, u8) -> Id);
    let errors = class::<Failure>(ERROR);
    method!(errors, ERROR, c"domain", domain, fn() -> Id);
    method!(errors, ERROR, c"code", code, fn() -> isize);
    method!(errors, ERROR, c"localizedDescription", description, fn() -> Id);
}

/// Releases an object of Core Foundation, which is an object like any other.
///
/// # Safety
/// The caller gives a reference away.
#[unsafe(no_mangle)]
unsafe extern "C" fn CFRelease(object: Id) {
    assert_ne!(object, null_mut(), "CFRelease aborts on null");
    // SAFETY: as the caller promises; the runtime checks it.
    unsafe { objc_release(object) };
}

/// Where temporary files go.
#[unsafe(no_mangle)]
extern "C" fn NSTemporaryDirectory() -> Id {
    give(string(&std::env::temp_dir().to_string_lossy()))
}
