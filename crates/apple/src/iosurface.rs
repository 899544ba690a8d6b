//! `IOSurface`s as surfaces. The functions are found while running; nothing is linked.

use crate::library::Library;
use crate::objc::{self, Failure, IoSurface, Object};
use objc2::runtime::AnyObject;
use std::ffi::{CStr, c_void};
use std::fmt;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use surface::{Access, Foreign, Surface};

type Reference = *mut IoSurface;

/// Flag of a lock that only reads.
const READ_ONLY: u32 = 1;

/// Functions and constants of the frameworks IOSurface and Core Foundation.
#[derive(Clone, Debug)]
pub(crate) struct Functions {
    create: unsafe extern "C" fn(*const AnyObject) -> Reference,
    base_address: unsafe extern "C" fn(Reference) -> *mut c_void,
    allocated: unsafe extern "C" fn(Reference) -> usize,
    lock: unsafe extern "C" fn(Reference, u32, *mut u32) -> i32,
    unlock: unsafe extern "C" fn(Reference, u32, *mut u32) -> i32,
    release: unsafe extern "C" fn(*const c_void),
    keys: Keys,
}

/// Names of the properties of a new surface.
#[derive(Clone, Debug)]
struct Keys {
    width: Object,
    height: Object,
    bytes_per_element: Object,
    bytes_per_row: Object,
    alloc_size: Object,
    pixel_format: Object,
}

/// What is looked up, for the capability report.
pub(crate) const SYMBOLS: &[&CStr] = &[
    c"IOSurfaceCreate",
    c"IOSurfaceGetBaseAddress",
    c"IOSurfaceGetAllocSize",
    c"IOSurfaceLock",
    c"IOSurfaceUnlock",
    c"kIOSurfaceWidth",
    c"kIOSurfaceHeight",
    c"kIOSurfaceBytesPerElement",
    c"kIOSurfaceBytesPerRow",
    c"kIOSurfaceAllocSize",
    c"kIOSurfacePixelFormat",
];

impl Functions {
    /// Looks the functions up.
    ///
    /// # Errors
    /// If one is missing.
    pub(crate) fn find(iosurface: &Library, foundation: &Library) -> Result<Functions, Failure> {
        let find = |name| iosurface.symbol(name).map_err(Failure::new);
        // SAFETY: the framework's constants are variables that hold a `CFStringRef`, which is an
        // object like any other.
        let key = |name| unsafe { objc::constant(find(name)?.as_ptr()) };
        let release = foundation.symbol(c"CFRelease").map_err(Failure::new)?;
        // SAFETY: the addresses are those of the public functions of these names, whose types in
        // Apple's headers are the ones of the fields.
        unsafe {
            Ok(Functions {
                create: function(find(c"IOSurfaceCreate")?),
                base_address: function(find(c"IOSurfaceGetBaseAddress")?),
                allocated: function(find(c"IOSurfaceGetAllocSize")?),
                lock: function(find(c"IOSurfaceLock")?),
                unlock: function(find(c"IOSurfaceUnlock")?),
                release: function(release),
                keys: Keys {
                    width: key(c"kIOSurfaceWidth")?,
                    height: key(c"kIOSurfaceHeight")?,
                    bytes_per_element: key(c"kIOSurfaceBytesPerElement")?,
                    bytes_per_row: key(c"kIOSurfaceBytesPerRow")?,
                    alloc_size: key(c"kIOSurfaceAllocSize")?,
                    pixel_format: key(c"kIOSurfacePixelFormat")?,
                },
            })
        }
    }
}

/// The address of a function as a function.
///
/// # Safety
/// `F` must be the type of a function pointer, and the address that of a function of this type.
pub(crate) unsafe fn function<F: Copy>(address: NonNull<c_void>) -> F {
    const { assert!(size_of::<F>() == size_of::<NonNull<c_void>>(), "a function pointer") };
    // SAFETY: as the caller promises; the sizes are equal.
    unsafe { std::mem::transmute_copy(&address) }
}

/// An `IOSurface`, released when dropped.
pub(crate) struct SharedSurface {
    reference: NonNull<IoSurface>,
    bytes: usize,
    functions: Arc<Functions>,
}

// SAFETY: the functions of IOSurface may be called from any thread, and locks of one surface nest
// across threads.
unsafe impl Send for SharedSurface {}
// SAFETY: as above.
unsafe impl Sync for SharedSurface {}

impl SharedSurface {
    /// A surface of one row of `bytes` bytes, zero at first.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn create(functions: &Arc<Functions>, bytes: usize) -> Result<Surface, Failure> {
        let keys = &functions.keys;
        let reference = objc::guarded(|| {
            let (size, one) = (objc::ns_number(bytes as u64)?, objc::ns_number(1)?);
            let properties = objc::ns_dictionary(&[
                (keys.width.clone(), size.clone()),
                (keys.height.clone(), one.clone()),
                (keys.bytes_per_element.clone(), one),
                (keys.bytes_per_row.clone(), size.clone()),
                (keys.alloc_size.clone(), size),
                (keys.pixel_format.clone(), objc::ns_number(0)?),
            ])?;
            // SAFETY: an `NSDictionary` is a `CFDictionary`; the result has one reference, ours.
            let reference = unsafe { (functions.create)(&raw const *properties) };
            NonNull::new(reference)
                .ok_or_else(|| Failure::new(format!("no IOSurface of {bytes} bytes")))
        })?;
        let surface = SharedSurface { reference, bytes, functions: functions.clone() };
        // SAFETY: a live surface.
        let allocated = unsafe { (functions.allocated)(surface.reference()) };
        if allocated < bytes {
            let message = format!("an IOSurface of {allocated} bytes instead of {bytes}");
            return Err(Failure::new(message));
        }
        Ok(Surface::from_foreign(Box::new(surface)))
    }

    /// The surface itself, alive as long as this is.
    pub(crate) fn reference(&self) -> Reference {
        self.reference.as_ptr()
    }
}

impl Drop for SharedSurface {
    fn drop(&mut self) {
        // SAFETY: gives back the one reference that `create` took.
        unsafe { (self.functions.release)(self.reference.as_ptr().cast()) };
    }
}

impl fmt::Debug for SharedSurface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IOSurface of {} bytes", self.bytes)
    }
}

// SAFETY: between lock and unlock the base address points to at least as many bytes as were
// allocated, mapped for reading and writing; nobody else has the surface but the engine, which
// writes to it only while a request of ours is evaluated, and that lends it out meanwhile.
unsafe impl Foreign for SharedSurface {
    fn len(&self) -> usize {
        self.bytes
    }

    fn lock(&self, access: Access) -> io::Result<*mut u8> {
        // SAFETY: a live surface, and null for a seed that nobody wants.
        let code =
            unsafe { (self.functions.lock)(self.reference(), flags(access), ptr::null_mut()) };
        if code != 0 {
            return Err(io::Error::other(format!("IOSurfaceLock gives {code:#x}")));
        }
        // SAFETY: a live surface.
        Ok(unsafe { (self.functions.base_address)(self.reference()) }.cast())
    }

    fn unlock(&self, access: Access) {
        // SAFETY: a live surface that this thread's guard, or the one it was sent from, locked.
        // There is nothing to do about a failure, which would be seen by the next lock.
        _ = unsafe { (self.functions.unlock)(self.reference(), flags(access), ptr::null_mut()) };
    }
}

fn flags(access: Access) -> u32 {
    match access {
        Access::Read => READ_ONLY,
        Access::Write => 0,
    }
}
