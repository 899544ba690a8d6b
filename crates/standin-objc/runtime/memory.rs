//! Reference counts and autorelease pools.

use crate::{Object, die};
use std::cell::RefCell;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicIsize, Ordering};

/// Count of a class, which is never freed.
pub const IMMORTAL: isize = isize::MAX / 2;
/// Count of an object that was freed.
pub const FREED: isize = isize::MIN / 2;

/// Objects and blocks that have been made and not freed.
pub static LIVE: AtomicIsize = AtomicIsize::new(0);

/// An entry of a thread's stack of pools: an object to release, or where a pool begins.
#[derive(Clone, Copy)]
enum Entry {
    Begin(usize),
    Release(*mut Object),
}

thread_local! {
    static POOLS: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

/// Aborts if the object was freed.
pub fn check(object: &Object, what: &str) {
    if object.references.load(Ordering::Relaxed) < 0 {
        // SAFETY: classes are never freed.
        let class = unsafe { &*object.isa }.name.to_string_lossy();
        die(&format!("{what}: the {class} was freed before"));
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn objc_retain(object: *mut Object) -> *mut Object {
    // SAFETY: the caller passes an object or nil; headers are never freed.
    if let Some(it) = unsafe { object.as_ref() } {
        check(it, "retain");
        it.references.fetch_add(1, Ordering::Relaxed);
    }
    object
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn objc_release(object: *mut Object) {
    // SAFETY: the caller passes an object or nil; headers are never freed.
    let Some(it) = (unsafe { object.as_ref() }) else { return };
    check(it, "release");
    if it.references.fetch_sub(1, Ordering::AcqRel) == 1 {
        it.references.store(FREED, Ordering::Relaxed);
        LIVE.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: classes are never freed.
        if let Some(destroy) = unsafe { &*it.isa }.destroy {
            destroy(it.payload);
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn objc_autorelease(object: *mut Object) -> *mut Object {
    if !object.is_null() {
        POOLS.with_borrow_mut(|pools| {
            if pools.is_empty() {
                die("an object is autoreleased and no pool is in place: it would leak");
            }
            pools.push(Entry::Release(object));
        });
    }
    object
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn objc_autoreleaseReturnValue(object: *mut Object) -> *mut Object {
    // SAFETY: as the caller promises.
    unsafe { objc_autorelease(object) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn objc_retainAutoreleasedReturnValue(object: *mut Object) -> *mut Object {
    // SAFETY: as the caller promises.
    unsafe { objc_retain(object) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn objc_retainAutorelease(object: *mut Object) -> *mut Object {
    // SAFETY: as the caller promises.
    unsafe { objc_autorelease(objc_retain(object)) }
}

#[unsafe(no_mangle)]
pub extern "C" fn objc_autoreleasePoolPush() -> *mut c_void {
    static NEXT: AtomicIsize = AtomicIsize::new(1);
    let token = NEXT.fetch_add(1, Ordering::Relaxed) as usize;
    POOLS.with_borrow_mut(|pools| pools.push(Entry::Begin(token)));
    null_mut::<c_void>().wrapping_byte_add(token)
}

#[unsafe(no_mangle)]
pub extern "C" fn objc_autoreleasePoolPop(pool: *mut c_void) {
    loop {
        // The borrow ends before the release, which may send messages that autorelease.
        let entry = POOLS.with_borrow_mut(|pools| pools.pop());
        match entry {
            // SAFETY: what was autoreleased is an object that the pool owns a reference to.
            Some(Entry::Release(object)) => unsafe { objc_release(object) },
            Some(Entry::Begin(token)) if token == pool.addr() => return,
            Some(Entry::Begin(_)) | None => die("pools are popped out of order"),
        }
    }
}
