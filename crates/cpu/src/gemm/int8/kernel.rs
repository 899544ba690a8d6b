//! What a kernel does for the driver.

use super::super::kernel::Kernel as FloatKernel;
use crate::format::Format;

/// Columns of a tile and lanes of a panel, for every kernel.
pub(super) const NR: usize = 32;
/// Steps of k that a dot-product instruction takes at once.
pub(super) const GROUP: usize = 4;
/// Bytes of a panel for one group of k.
pub(super) const PANEL_STEP: usize = NR * GROUP;

/// One instruction set's way of multiplying bytes.
///
/// The left operand lies in rows, the right one in panels of [`NR`] columns: for each group of
/// four steps of k, the four bytes of every column. Both are zero past the end of k.
///
/// # Safety
/// Methods write only what their argument describes, and read no more than it describes.
pub(super) unsafe trait Kernel: Sync {
    /// Instruction set and tile, such as `avx512-vnni-14x32`.
    fn name(&self) -> &'static str;

    /// Rows of a tile.
    fn mr(&self) -> usize;

    /// Whether activations come as s8; otherwise as u8.
    fn takes_signed(&self) -> bool;

    /// Computes the sums of one tile.
    ///
    /// # Safety
    /// The machine has the instructions; rows, panel and sums are as [`Tile`] says.
    unsafe fn tile(&self, tile: &Tile);

    /// Scales sums, and stores them in C.
    ///
    /// # Safety
    /// The machine has the instructions; every pointer of `finish` is valid for its rows and
    /// columns.
    unsafe fn finish(&self, finish: &Finish<'_>);

    /// Makes a panel of a matrix with contiguous rows of bytes.
    ///
    /// # Safety
    /// The machine has the instructions; `rows` is readable and the panel holds its groups.
    unsafe fn interleave(&self, rows: &Rows, panel: *mut u8);

    /// Makes two panels, so many bytes apart, of rows of 2 · [`NR`] bytes.
    ///
    /// # Safety
    /// As for [`Kernel::interleave`], with two panels.
    unsafe fn interleave_two(&self, rows: &Rows, panel: *mut u8, apart: usize) {
        for i in 0..2 {
            let half = Rows { base: rows.base.wrapping_add(i * NR), lanes: NR, ..*rows };
            // SAFETY: passed on; half of the lanes, and one of the panels.
            unsafe { self.interleave(&half, panel.add(i * apart)) };
        }
    }

    /// Quantizes a row of numbers and gives its scale: 0 for a row of (nearly) nothing, and NaN
    /// for one that is not finite. Every byte is exchanged with `flip`.
    ///
    /// # Safety
    /// The machine has the instructions; both ranges hold `count` elements.
    unsafe fn quantize_row(&self, from: *const f32, to: *mut u8, count: usize, flip: u8) -> f32;

    /// Raises `maxima` to the magnitudes of `depth` steps of a panel of numbers.
    ///
    /// # Safety
    /// The machine has the instructions; `from` holds `depth` steps of [`NR`] numbers.
    unsafe fn maxima(&self, from: *const f32, depth: usize, maxima: &mut [u32; NR]);

    /// Quantizes `depth` steps of a panel of numbers into groups, and adds to the sums of columns.
    ///
    /// # Safety
    /// As for [`Kernel::maxima`]; `to` has room for all groups.
    unsafe fn quantize_panel(&self, panel: &Panel, sums: &mut [i32; NR]);
}

/// One tile of sums.
// The kernels for x86 alone tell the sides apart and fetch ahead.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
pub(super) struct Tile {
    /// Rows of `groups` groups.
    pub a: *const u8,
    /// Bytes from one row to the next.
    pub a_stride: usize,
    /// A panel of `groups` groups.
    pub b: *const u8,
    /// Room for `rows` rows of [`NR`] sums.
    pub sums: *mut i32,
    pub rows: usize,
    pub groups: usize,
    /// Whether the rows are the weights and the panel the activations.
    pub left: bool,
    /// Memory that soon will be read, and how much of it for each group.
    pub ahead: *const u8,
    pub ahead_step: usize,
}

/// The way of a tile of sums into C.
pub(super) struct Finish<'a> {
    /// Rows of [`NR`] sums.
    pub sums: *const i32,
    pub rows: usize,
    pub cols: usize,
    /// Whether channels are rows, otherwise columns.
    pub left: bool,
    /// Of the first channel on: scales, sums of weights (both at least [`NR`] or `rows`).
    pub scales: *const f32,
    pub weight_sums: *const i32,
    /// A number per channel, or null.
    pub bias: *const u8,
    pub bias_format: Format,
    /// The zero point of the activations as the kernel sees them.
    pub zero: i32,
    /// One scale for all rows, or one for each if `row_scales` is not null.
    pub scale: f32,
    pub row_scales: *const f32,
    pub output: &'a super::Output,
    pub c: *mut u8,
    /// Converts numbers to 16 bits.
    pub float: &'static dyn FloatKernel,
}

/// Contiguous rows of bytes, one for each step of k.
pub(super) struct Rows {
    pub base: *const u8,
    pub stride: usize,
    pub lanes: usize,
    pub depth: usize,
    /// Exchanged with every byte.
    pub flip: u8,
}

/// Some steps of a panel of weights as numbers.
pub(super) struct Panel<'a> {
    pub from: *const f32,
    pub depth: usize,
    /// What numbers of a column are multiplied with.
    pub inverse: &'a [f32; NR],
    /// Groups of the panel; a lane and a group are so many groups of bytes apart.
    pub to: *mut u32,
    pub lane_stride: usize,
    pub group_stride: usize,
}
