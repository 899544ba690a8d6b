//! A right operand packed ahead.

use super::buffer::AlignedBytes;
use super::description::{Error, Operand};
use super::kernel::{Kernel, Source};
use crate::format::Format;
use crate::isa::Isa;
use crate::team::{Team, split};

/// A matrix `[k, n]` in the panels of a kernel, for any number of products.
///
/// Panels are stored as the kernel wants them, or in half the memory as `Bf16` or `F16`, which the
/// kernel widens while it multiplies; a matrix whose numbers are of that format anyway loses
/// nothing.
pub struct PackedB {
    kernel: &'static dyn Kernel,
    k: usize,
    n: usize,
    storage: Format,
    panels: AlignedBytes,
}

/// Steps of k that are narrowed at a time.
const STEPS: usize = 32;
/// The widest panel of any kernel.
const MAX_NR: usize = 64;

impl PackedB {
    /// Room for a matrix of `k` rows and `n` columns; zero until [`PackedB::pack`] fills it.
    ///
    /// The panels are for products whose left operand has numbers of the format `left`, see
    /// [`Operand::numbers`](super::Operand::numbers).
    pub fn new(
        isa: Isa,
        left: Format,
        k: usize,
        n: usize,
        storage: Format,
    ) -> Result<PackedB, Error> {
        if !storage.is_float() {
            return Err(Error::Format { what: "storage of the packed operand", format: storage });
        }
        let kernel = super::kernel(isa, left, storage);
        let mut packed = PackedB { kernel, k, n, storage, panels: AlignedBytes::default() };
        packed.panels = AlignedBytes::new(n.div_ceil(kernel.nr()) * packed.panel_bytes());
        Ok(packed)
    }

    /// Packs the matrix at `base`, replacing the one before. Allocates nothing.
    ///
    /// # Safety
    /// `base` must be readable, and aligned for its format, wherever `operand` reaches for `k`
    /// rows and `n` columns, and nobody may write there meanwhile.
    ///
    /// # Panics
    /// If `operand` is in an integer format.
    pub unsafe fn pack(&mut self, team: &Team, base: *const u8, operand: &Operand) {
        assert!(operand.format.is_float(), "packed matrices are floating-point");
        let nr = self.kernel.nr();
        let count = self.n.div_ceil(nr);
        let bytes = self.panel_bytes();
        let panels = Shared(self.panels.as_mut_ptr(), base);
        let this = &*self;
        team.run(&|index, threads| {
            let Shared(panels, base) = { &panels };
            for panel in split(count, threads, index, 1) {
                let first = panel * nr;
                let source = Source {
                    base: base.wrapping_add(first * operand.col_stride * operand.format.bytes()),
                    format: operand.format,
                    lane_stride: operand.col_stride,
                    depth_stride: operand.row_stride,
                    lanes: nr.min(this.n - first),
                    depth: this.k,
                    round: operand.round,
                };
                // SAFETY: the caller vouches for the source; this panel lies in the buffer, which
                // is borrowed mutably, and no other thread has it.
                unsafe { this.pack_panel(&source, panels.add(panel * bytes)) }
            }
        });
    }

    /// # Safety
    /// `source` is readable and `panel` the writable memory of one panel.
    unsafe fn pack_panel(&self, source: &Source, panel: *mut u8) {
        let nr = self.kernel.nr();
        if self.storage == self.kernel.panel_format() {
            // SAFETY: passed on; the kernel of an available instruction set.
            return unsafe { self.kernel.pack(source, nr, panel) };
        }
        let mut wide = Wide([0.0; STEPS * MAX_NR]);
        let bytes = self.storage.bytes();
        for first in (0..self.k).step_by(STEPS) {
            let depth = STEPS.min(self.k - first);
            let from = first * source.depth_stride * source.format.bytes();
            let part = Source { base: source.base.wrapping_add(from), depth, ..*source };
            let wide = wide.0.as_mut_ptr();
            // SAFETY: `part` is a part of the source, `wide` has room for `depth * nr` numbers,
            // and so has the panel from step `first`.
            unsafe {
                self.kernel.pack(&part, nr, wide.cast());
                self.kernel.narrow(self.storage, wide, panel.add(first * nr * bytes), depth * nr);
            }
        }
    }

    /// Rows.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The format that the panels are stored in.
    pub fn storage(&self) -> Format {
        self.storage
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.panels.len()
    }

    pub(super) fn kernel(&self) -> &'static dyn Kernel {
        self.kernel
    }

    /// Bytes from one panel to the next.
    pub(super) fn panel_bytes(&self) -> usize {
        self.kernel.nr() * stored_bytes(self.kernel, self.storage, self.k)
    }

    pub(super) fn panels(&self) -> *const u8 {
        self.panels.as_ptr()
    }
}

/// Bytes of `depth` steps of one lane of a panel in `storage`.
pub(super) fn stored_bytes(kernel: &dyn Kernel, storage: Format, depth: usize) -> usize {
    if storage == kernel.panel_format() {
        kernel.lane_bytes(depth)
    } else {
        storage.bytes() * depth
    }
}

#[repr(align(64))]
struct Wide([f32; STEPS * MAX_NR]);

/// Destination and source of a packing.
struct Shared(*mut u8, *const u8);

// SAFETY: every thread writes panels of its own, and all only read the source.
unsafe impl Sync for Shared {}

impl std::fmt::Debug for PackedB {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let PackedB { k, n, storage, kernel, .. } = self;
        write!(f, "PackedB([{k}, {n}] as {storage:?} for {})", kernel.name())
    }
}
