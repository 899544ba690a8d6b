//! The mapping behind a surface.

use std::io;
use std::ptr;

/// A shared mapping, unmapped when dropped.
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

impl Memory {
    /// A mapping of `len` zero bytes.
    pub(crate) fn new(len: usize) -> io::Result<Memory> {
        if len == 0 {
            // Page-aligned like every mapping, and never dereferenced.
            return Ok(Memory { address: ptr::without_provenance_mut(1 << 16), len });
        }
        let file = backing_file(len)?;
        let (flags, fd) = match &file {
            Some(file) => (libc::MAP_SHARED, std::os::fd::AsRawFd::as_raw_fd(file)),
            None => (libc::MAP_SHARED | libc::MAP_ANON, -1),
        };
        // SAFETY: a new mapping at an address of the system's choice touches no other memory.
        // It outlives the descriptor, which is closed when `file` is dropped.
        let address = unsafe {
            libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0)
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
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

#[cfg(target_os = "linux")]
fn backing_file(len: usize) -> io::Result<Option<std::fs::File>> {
    use std::os::fd::FromRawFd;
    // SAFETY: the name is a C string; the call has no other requirement.
    let fd = unsafe { libc::memfd_create(c"anemone-surface".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just made and has no other owner.
    let file = unsafe { std::fs::File::from_raw_fd(fd) };
    file.set_len(len as u64)?;
    Ok(Some(file))
}

#[cfg(not(target_os = "linux"))]
fn backing_file(_: usize) -> io::Result<Option<std::fs::File>> {
    Ok(None)
}
