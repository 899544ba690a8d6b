//! Memory that starts at a cache line.

use std::collections::TryReserveError;

/// The alignment of panels and scratch memory.
pub(crate) const ALIGNMENT: usize = 64;

/// Zeroed bytes that start at a multiple of 64.
#[derive(Default)]
pub struct AlignedBytes {
    lines: Vec<Line>,
    len: usize,
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; ALIGNMENT]);

impl AlignedBytes {
    /// `len` zero bytes.
    pub fn new(len: usize) -> AlignedBytes {
        AlignedBytes { lines: vec![Line([0; ALIGNMENT]); len.div_ceil(ALIGNMENT)], len }
    }

    /// Grows to at least `len` bytes; what is added is zero.
    ///
    /// # Errors
    /// If the memory cannot be had; nothing has changed then.
    pub fn grow(&mut self, len: usize) -> Result<(), TryReserveError> {
        if len > self.len {
            let lines = len.div_ceil(ALIGNMENT);
            self.lines.try_reserve_exact(lines - self.lines.len())?;
            self.lines.resize(lines, Line([0; ALIGNMENT]));
            self.len = len;
        }
        Ok(())
    }
}

impl std::fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBytes({})", self.len)
    }
}

impl std::ops::Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the lines hold at least `len` initialized bytes, one after the other.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl std::ops::DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the lines are borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

/// `bytes` rounded up to whole cache lines.
pub(crate) fn whole_lines(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}
