//! Memory that something else owns, seen as a surface.

use crate::{Error, Lent, Storage};
use std::any::Any;
use std::fmt;
use std::io;

/// What a guard does with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads; others may read too.
    Read,
    /// Reads and writes; nobody else has access.
    Write,
}

/// Memory that a system framework allocated, such as an `IOSurface`.
///
/// # Safety
/// From a successful [`Foreign::lock`] to the [`Foreign::unlock`] that goes with it, the address
/// that `lock` gave must point to [`Foreign::len`] initialised bytes that may be read, and for
/// [`Access::Write`] written, by this process from any thread. The length never changes, and
/// nothing but holders of this surface's guards touches the bytes meanwhile.
pub unsafe trait Foreign: Any + Send + Sync + fmt::Debug {
    /// Bytes that may be used.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the bytes visible to the processor and gives their address. May be called several
    /// times for reading.
    ///
    /// # Errors
    /// If the owner refuses.
    fn lock(&self, access: Access) -> io::Result<*mut u8>;

    /// Ends one [`Foreign::lock`] of the same kind.
    fn unlock(&self, access: Access);
}

/// A use of a surface together with the address of its bytes.
#[derive(Debug)]
pub(crate) struct View {
    lent: Lent,
    address: *mut u8,
}

// SAFETY: an address is a number; what is done with it is ordered by the guard that holds this,
// and foreign memory may be used from any thread as `Foreign` demands.
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

/// What surfaces promise of their first byte: a cache line, which no element type exceeds.
const ALIGNMENT: usize = 64;

impl View {
    /// Locks foreign memory; own memory is always there.
    pub(crate) fn new(lent: Lent) -> Result<View, Error> {
        let address = match &lent.inner.storage {
            Storage::Own(memory) => memory.address(),
            Storage::Foreign(owner) => {
                let address = owner.lock(lent.access).map_err(Error::Lock)?;
                if address.is_null() || address.align_offset(ALIGNMENT) != 0 {
                    owner.unlock(lent.access);
                    let message = format!("its memory is at {address:p}, not aligned to 64 bytes");
                    return Err(Error::Lock(io::Error::other(message)));
                }
                address
            }
        };
        Ok(View { lent, address })
    }

    pub(crate) fn address(&self) -> *mut u8 {
        self.address
    }

    pub(crate) fn len(&self) -> usize {
        match &self.lent.inner.storage {
            Storage::Own(memory) => memory.len(),
            Storage::Foreign(owner) => owner.len(),
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Storage::Foreign(owner) = &self.lent.inner.storage {
            owner.unlock(self.lent.access);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Surface;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicU8;

    /// A page of a vector, which counts its locks and may refuse them.
    #[derive(Debug)]
    struct Page {
        bytes: Vec<AtomicU8>,
        offset: usize,
        log: Mutex<Vec<String>>,
        refuses: bool,
    }

    // SAFETY: the vector is never resized, and its `offset` leaves 16 bytes.
    unsafe impl Foreign for Page {
        fn len(&self) -> usize {
            16
        }

        fn lock(&self, access: Access) -> io::Result<*mut u8> {
            if self.refuses {
                return Err(io::Error::other("no"));
            }
            self.log.lock().unwrap().push(format!("lock {access:?}"));
            let bytes = self.bytes.as_ptr().cast::<u8>();
            Ok(bytes.wrapping_add(bytes.align_offset(64) + self.offset).cast_mut())
        }

        fn unlock(&self, access: Access) {
            self.log.lock().unwrap().push(format!("unlock {access:?}"));
        }
    }

    fn page(offset: usize, refuses: bool) -> Surface {
        let (bytes, log) = ((0..256).map(|_| AtomicU8::new(0)).collect(), Mutex::default());
        Surface::from_foreign(Box::new(Page { bytes, offset, log, refuses }))
    }

    fn log(surface: &Surface) -> Vec<String> {
        surface.foreign::<Page>().unwrap().log.lock().unwrap().clone()
    }

    #[test]
    fn foreign_memory_is_locked_exactly_as_long_as_a_guard_lives() {
        let surface = page(0, false);
        surface.write().unwrap().as_mut_slice::<f32>()[3] = 2.5;
        let (a, b) = (surface.read().unwrap(), surface.read().unwrap());
        assert_eq!(a.as_slice::<f32>(), [0.0, 0.0, 0.0, 2.5]);
        drop((a, b));
        let read = ["lock Read", "lock Read", "unlock Read", "unlock Read"];
        assert_eq!(log(&surface), [&["lock Write", "unlock Write"][..], &read].concat());
    }

    #[test]
    fn lending_excludes_guards_and_locks_nothing() {
        let surface = page(0, false);
        let lent = surface.lend(Access::Write).unwrap();
        assert!(matches!(surface.read(), Err(Error::Busy)));
        assert!(matches!(surface.lend(Access::Read), Err(Error::Busy)));
        drop(lent);
        let lent = surface.lend(Access::Read).unwrap();
        assert!(matches!(surface.write(), Err(Error::Busy)));
        drop(surface.read().unwrap());
        drop(lent);
        assert_eq!(log(&surface), ["lock Read", "unlock Read"]);
    }

    #[test]
    fn memory_that_cannot_be_used_is_an_error_and_leaves_the_surface_free() {
        let refusing = page(0, true);
        assert!(matches!(refusing.read(), Err(Error::Lock(_))));
        refusing.lend(Access::Write).unwrap();
        let skewed = page(4, false);
        let error = skewed.write().unwrap_err();
        assert!(error.to_string().contains("not aligned"), "{error}");
        assert_eq!(log(&skewed), ["lock Write", "unlock Write"]);
        skewed.lend(Access::Write).unwrap();
    }

    #[test]
    fn own_memory_has_no_foreign_owner() {
        assert!(Surface::new(8).unwrap().foreign::<Page>().is_none());
    }
}
