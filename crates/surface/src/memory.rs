//! The mapping behind a surface.

use std::io;
use std::ptr;

/// A mapping, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Memory {
    address: *mut u8,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone and may be used from any thread; what reads
// and writes it is ordered by the surface's guards.
unsafe impl Send for Memory {}
// SAFETY: as above; a shared `Memory` only gives out its address.
unsafe impl Sync for Memory {}

/// From this many bytes a mapping asks for large pages, which are of this size on most machines:
/// weights are read in strides that would need an address translation at every step.
#[cfg(target_os = "linux")]
const LARGE: usize = 2 << 20;

impl Memory {
    /// A mapping of `len` zero bytes.
    pub(crate) fn new(len: usize) -> io::Result<Memory> {
        if len == 0 {
            // Page-aligned like every mapping, and never dereferenced.
            return Ok(Memory { address: ptr::without_provenance_mut(1 << 16), len });
        }
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
        // SAFETY: a new mapping at an address of the system's choice touches no other memory.
        let address = unsafe {
            libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        #[cfg(target_os = "linux")]
        if len >= LARGE {
            // SAFETY: advice about the mapping just made; a refusal changes nothing.
            unsafe { libc::madvise(address, len, libc::MADV_HUGEPAGE) };
        }
        Ok(Memory { address: address.cast(), len })
    }

    pub(crate) fn address(&self) -> *mut u8 {
        self.address
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: `address` and `len` are a mapping made in `new`, unmapped only here.
            unsafe { libc::munmap(self.address.cast(), self.len) };
        }
    }
}
