//! IOSurface on shared memory. A surface is an object; its locks are guards of the memory, so that
//! an evaluation over a surface that somebody has locked is an error.

use crate::foundation::{dictionary, number, string, text};
use standin_objc::{Fault, Id, class, new, payload};
use std::ffi::{CStr, c_void};
use std::ptr::null_mut;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, Ordering};
use surface::{Reading, Surface, Writing};

const CLASS: &CStr = c"IOSurface";
/// What allocations are multiples of.
const PAGE: usize = 16384;
/// What a lock gives that cannot be had.
const CANNOT_LOCK: i32 = -536_870_187; // kIOReturnCannotLock
const READ_ONLY: u32 = 1;

struct Memory {
    surface: Surface,
    /// Locks to read, and to write.
    locks: Mutex<(Vec<Reading>, Vec<Writing>)>,
}

macro_rules! constants {
    ($($name:ident)*) => {
        $(#[unsafe(no_mangle)]
        #[allow(non_upper_case_globals)] // Apple's name.
        static $name: AtomicPtr<c_void> = AtomicPtr::new(null_mut());)*

        /// Fills the constants, which live for ever.
        pub fn register() {
            $($name.store(string(stringify!($name)), Ordering::Release);)*
        }
    };
}

constants! {
    kIOSurfaceWidth
    kIOSurfaceHeight
    kIOSurfaceBytesPerElement
    kIOSurfaceBytesPerRow
    kIOSurfaceAllocSize
    kIOSurfacePixelFormat
}

fn memory<'a>(surface: Id) -> &'a Memory {
    // SAFETY: this class holds memory; the runtime checks the object, which the caller keeps.
    unsafe { payload::<Memory>(surface, CLASS) }
}

/// The memory of a surface, for the engine.
pub fn surface(object: Id) -> Surface {
    memory(object).surface.clone()
}

/// Makes a surface of these properties; null if they do not go together.
#[unsafe(no_mangle)]
extern "C" fn IOSurfaceCreate(properties: Id) -> Id {
    if Fault::NoSurface.strikes().is_some() {
        return null_mut();
    }
    let entries = dictionary(properties);
    let value = |name: &str| {
        let entry = entries.iter().find(|(key, _)| text(*key) == name);
        entry.map(|(_, value)| number(*value) as usize)
    };
    let size = value("kIOSurfaceAllocSize");
    let row = value("kIOSurfaceBytesPerRow");
    let one_row = value("kIOSurfaceHeight") == Some(1)
        && value("kIOSurfaceBytesPerElement") == Some(1)
        && value("kIOSurfacePixelFormat") == Some(0)
        && value("kIOSurfaceWidth") == row
        && row == size;
    let surface = size.filter(|size| one_row && *size > 0).map(Surface::new);
    let Some(Ok(surface)) = surface else { return null_mut() };
    // SAFETY: this class holds memory.
    unsafe { new(class::<Memory>(CLASS), Memory { surface, locks: Mutex::default() }) }
}

#[unsafe(no_mangle)]
extern "C" fn IOSurfaceGetAllocSize(surface: Id) -> usize {
    memory(surface).surface.len().next_multiple_of(PAGE)
}

/// The address of the first byte. Null unless it is locked, where the real one may give any.
#[unsafe(no_mangle)]
extern "C" fn IOSurfaceGetBaseAddress(surface: Id) -> *mut c_void {
    let mut locks = memory(surface).locks.lock().expect("no lock panics");
    match &mut *locks {
        (_, writers) if !writers.is_empty() => writers[0].as_mut_ptr().cast(),
        (readers, _) if !readers.is_empty() => readers[0].as_ptr().cast_mut().cast(),
        _ => null_mut(),
    }
}

#[unsafe(no_mangle)]
extern "C" fn IOSurfaceLock(surface: Id, flags: u32, seed: *mut u32) -> i32 {
    assert!(seed.is_null(), "nobody here wants a seed");
    if Fault::Lock.strikes().is_some() {
        return CANNOT_LOCK;
    }
    let memory = memory(surface);
    let mut locks = memory.locks.lock().expect("no lock panics");
    let locked = match flags {
        READ_ONLY => memory.surface.read().map(|lock| locks.0.push(lock)),
        0 => memory.surface.write().map(|lock| locks.1.push(lock)),
        _ => return CANNOT_LOCK,
    };
    if locked.is_ok() { 0 } else { CANNOT_LOCK }
}

#[unsafe(no_mangle)]
extern "C" fn IOSurfaceUnlock(surface: Id, flags: u32, _seed: *mut u32) -> i32 {
    let mut locks = memory(surface).locks.lock().expect("no lock panics");
    let ended = match flags {
        READ_ONLY => locks.0.pop().is_some(),
        _ => locks.1.pop().is_some(),
    };
    assert!(ended, "a surface is unlocked that was not locked this way");
    0
}
