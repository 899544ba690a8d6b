//! What a kernel does for the driver.

use super::ahead::Ahead;
use super::description::BiasTo;
use crate::format::Format;

/// One instruction set's way of multiplying: a tile of C in registers, fed by packed panels.
///
/// A panel of A holds `mr` rows, a panel of B `nr` columns ("lanes"); in both the lanes of one
/// step of k are neighbors, and lanes past the end of the matrix are zero. The kernel packs its
/// panels itself and says how large they are, so that one with another panel format, such as
/// pairs of bf16 for a dot-product instruction, needs no other driver.
///
/// # Safety
/// `tile` writes only the `rows × cols` elements of C that it is given, `pack` and `unpack` only
/// the panel, and every method stays within the memory that its argument describes.
pub(super) unsafe trait Kernel: Sync {
    /// Instruction set, panel format and tile, such as `avx512-f32-14x32`.
    fn name(&self) -> &'static str;

    /// Rows of a tile.
    fn mr(&self) -> usize;

    /// Columns of a tile.
    fn nr(&self) -> usize;

    /// The format of the numbers in panels, to which packing rounds.
    fn panel_format(&self) -> Format {
        Format::F32
    }

    /// Steps of k that lie together in a panel; a part of a panel starts at a multiple of it.
    fn depth_unit(&self) -> usize {
        1
    }

    /// Bytes of `depth` steps of one lane of a panel; linear for multiples of
    /// [`Kernel::depth_unit`].
    fn lane_bytes(&self, depth: usize) -> usize {
        depth * size_of::<f32>()
    }

    /// Whether `tile` also takes operands that are not packed: rows of A, of contiguous f32, and
    /// steps of B as they lie in memory, in any format, which it packs on the way if asked.
    fn takes_rows(&self) -> bool {
        false
    }

    /// Whether `tile` knows what to do last, see [`Tile::last`].
    fn finishes(&self) -> bool {
        false
    }

    /// Computes one tile.
    ///
    /// # Safety
    /// The machine has the kernel's instructions; the panels hold `depth` steps of `mr` and `nr`
    /// lanes, or A holds `rows` rows of `depth` numbers if it is no panel; `b_packed` is null, or
    /// has room for a panel and the tile is whole; C holds `rows` rows of `cols` elements. Nobody
    /// else accesses what is written.
    unsafe fn tile(&self, tile: &Tile);

    /// Packs one panel of `width` lanes, `mr` or `nr`.
    ///
    /// # Safety
    /// The machine has the kernel's instructions; `source` describes readable memory; `panel`
    /// holds `depth` steps of `width` lanes that nobody else accesses; `lanes <= width`.
    unsafe fn pack(&self, source: &Source, width: usize, panel: *mut u8);

    /// Converts `count` contiguous numbers of a floating-point format to f32.
    ///
    /// # Safety
    /// The machine has the kernel's instructions; both ranges are valid and do not overlap.
    unsafe fn widen(&self, format: Format, from: *const u8, to: *mut f32, count: usize);

    /// Converts `count` contiguous f32 to a floating-point format, to nearest even.
    ///
    /// # Safety
    /// As for [`Kernel::widen`].
    unsafe fn narrow(&self, format: Format, from: *const f32, to: *mut u8, count: usize);

    /// Adds bias and partial sums to a tile, rounds it and stores it.
    ///
    /// # Safety
    /// The machine has the kernel's instructions, and all pointers of `finish` are valid for the
    /// rows and columns it names.
    unsafe fn finish(&self, finish: &Finish);

    /// Computes columns of a product of a few rows straight from B.
    ///
    /// # Safety
    /// The machine has the kernel's instructions, and all pointers of `strip` are valid for the
    /// rows, columns and depth it names.
    unsafe fn strip(&self, strip: &Strip);
}

/// One tile: `C (+)= A panel · B panel`, in f32 with contiguous rows.
// The AVX-512 kernels alone read A unpacked, finish rows and fetch ahead.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
pub(super) struct Tile {
    pub depth: usize,
    pub a: *const u8,
    /// Distance between rows of A if it is not packed, in elements.
    pub a_row_stride: Option<usize>,
    pub b: *const u8,
    /// Format of B's panel: the kernel's own, or a narrow one that it widens on the way.
    pub b_format: Format,
    /// Elements from one step of B to the next: `nr` in a panel, more in memory.
    pub b_step: usize,
    /// Where a whole tile packs B on the way, in the kernel's format, or null.
    pub b_packed: *mut u8,
    pub c: *mut f32,
    pub c_stride: usize,
    pub rows: usize,
    pub cols: usize,
    pub accumulate: bool,
    /// What becomes of the sums in the end.
    pub last: Option<Last>,
    /// What soon will be read; a kernel may fetch it meanwhile.
    pub ahead: [Ahead; 3],
}

/// What becomes of the sums of a tile before they are stored.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
pub(super) struct Last {
    /// A number for each row that is added, or null.
    pub bias: *const f32,
    /// What the sums are kept between.
    pub clamp: [f32; 2],
}

/// What a panel is packed from.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub base: *const u8,
    pub format: Format,
    /// Distance between lanes, in elements.
    pub lane_stride: usize,
    /// Distance between steps of k, in elements.
    pub depth_stride: usize,
    pub lanes: usize,
    pub depth: usize,
    pub round: Option<Format>,
}

/// The way of a tile of sums into C.
pub(super) struct Finish {
    /// The sums; changed on the way.
    pub sums: *mut f32,
    pub sums_stride: usize,
    /// Sums of earlier blocks of k, or null.
    pub earlier: *const f32,
    pub earlier_stride: usize,
    /// Numbers that are added, those of the first row or column first, or null.
    pub bias: *const u8,
    pub bias_format: Format,
    pub bias_to: BiasTo,
    pub clamp: Option<[f32; 2]>,
    pub round: Option<Format>,
    pub accumulate: bool,
    pub c: *mut u8,
    pub c_format: Format,
    pub c_row_stride: usize,
    pub c_col_stride: usize,
    pub rows: usize,
    pub cols: usize,
}

/// Some columns of a product of a few rows.
pub(super) struct Strip {
    /// `rows` rows of `depth` contiguous f32.
    pub a: *const f32,
    /// The first column of B.
    pub b: *const u8,
    pub b_format: Format,
    /// One of the two strides is 1.
    pub b_row_stride: usize,
    pub b_col_stride: usize,
    /// `rows` rows of `cols` contiguous f32, replaced.
    pub sums: *mut f32,
    pub rows: usize,
    pub cols: usize,
    pub depth: usize,
}
