//! Memory that starts at a cache line.

use surface::{Surface, Writing};

/// The alignment of panels and scratch memory.
pub(crate) const ALIGNMENT: usize = 64;

/// From this many bytes a buffer is a mapping of large pages. What is read in strides needs an
/// address translation at every step otherwise.
const LARGE: usize = 2 << 20;

/// Zeroed bytes that start at a multiple of 64.
#[derive(Default)]
pub struct AlignedBytes {
    memory: Memory,
    len: usize,
}

enum Memory {
    Lines(Vec<Line>),
    Pages(Writing),
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; ALIGNMENT]);

/// The memory cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl Default for Memory {
    fn default() -> Memory {
        Memory::Lines(vec![])
    }
}

impl Memory {
    fn new(len: usize) -> Result<Memory, OutOfMemory> {
        if len >= LARGE {
            let pages = Surface::new(len).and_then(|surface| surface.write());
            return pages.map(Memory::Pages).map_err(|_| OutOfMemory);
        }
        let count = len.div_ceil(ALIGNMENT);
        let mut lines = vec![];
        lines.try_reserve_exact(count).map_err(|_| OutOfMemory)?;
        lines.resize(count, Line([0; ALIGNMENT]));
        Ok(Memory::Lines(lines))
    }
}

impl AlignedBytes {
    /// `len` zero bytes.
    ///
    /// # Panics
    /// If the memory cannot be had.
    pub fn new(len: usize) -> AlignedBytes {
        let memory = Memory::new(len).unwrap_or_else(|OutOfMemory| panic!("no {len} bytes left"));
        AlignedBytes { memory, len }
    }

    /// Makes it at least `len` bytes; what it held is lost if it grows, and all bytes are zero.
    ///
    /// # Errors
    /// If the memory cannot be had; nothing has changed then.
    pub fn grow(&mut self, len: usize) -> Result<(), OutOfMemory> {
        if len > self.len {
            *self = AlignedBytes { memory: Memory::new(len)?, len };
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
        match &self.memory {
            // SAFETY: the lines hold at least `len` initialized bytes, one after the other.
            Memory::Lines(lines) => unsafe {
                std::slice::from_raw_parts(lines.as_ptr().cast(), self.len)
            },
            Memory::Pages(pages) => pages,
        }
    }
}

impl std::ops::DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            // SAFETY: as above, and the lines are borrowed mutably.
            Memory::Lines(lines) => unsafe {
                std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), self.len)
            },
            Memory::Pages(pages) => pages,
        }
    }
}

/// `bytes` rounded up to whole cache lines.
pub(crate) fn whole_lines(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}
