//! The loops over cache-sized blocks.
//!
//! A part of C is cut into blocks of rows, those into blocks of columns, and the sum over k into
//! blocks of depth. For each, panels of A and B are packed and the kernel goes over the tiles. If
//! the packed form of all of A's rows, or all of B's columns, fits a budget, it is kept, and
//! packed only when its block is first met.

use super::description::{Description, Operand, Right};
use super::kernel::{Ahead, CACHE_LINE, Finish, Kernel, Source, Tile};
use super::packed::stored_bytes;
use super::product::{B, Memory, regions};
use crate::format::Format;
use std::ops::Range;
use std::ptr::{null, null_mut};

/// Rows and columns of a block, and bytes of a lane of it: A's block takes a quarter of a
/// second-level cache of 2 MB, or half of one of 1 MB; a panel of B is streamed from there, with
/// little more than it through the first level.
const ROWS: usize = 256;
const COLS: usize = 1024;
const LANE_BYTES: usize = 2048;
/// A block of depth has at least this many rows, or C is read and written too often.
const FEWEST_ROWS: usize = 128;
/// What a thread may keep packed of either operand.
const KEPT_BYTES: usize = 16 << 20;

/// The blocks of a product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocking {
    rows: usize,
    cols: usize,
    depth: usize,
    /// The most columns of a part.
    part_cols: usize,
    keep_a: bool,
    keep_b: bool,
    /// Whether sums of several blocks of depth need memory other than C.
    partial_sums: bool,
    /// Whether the kernel may store into C.
    direct: bool,
    /// Whether the kernel reads rows of A as they lie.
    direct_a: bool,
}

/// What of B is packed in the scratch memory: its address and columns.
pub(super) type Ready = Option<(*const u8, Range<usize>)>;

impl Blocking {
    /// Blocks for parts of up to `rows` rows and `cols` columns.
    pub(super) fn new(d: &Description, kernel: &dyn Kernel, rows: usize, cols: usize) -> Blocking {
        let unit = kernel.depth_unit();
        let limit = (LANE_BYTES / kernel.lane_bytes(unit) * unit).min(fetched_rows(d));
        let depth = even(d.k, limit, unit);
        let kept = |lanes: usize| lanes * kernel.lane_bytes(d.k) <= KEPT_BYTES;
        let block_rows = even(rows, ROWS, kernel.mr());
        let direct = d.c.format == Format::F32
            && d.c.col_stride == 1
            && d.bias.is_none()
            && d.c.round.is_none_or(|format| format == Format::F32);
        Blocking {
            rows: block_rows,
            cols: even(cols, COLS, kernel.nr()),
            depth,
            part_cols: cols,
            keep_a: kept(block_rows),
            // Kept only for another block of rows, or another product of the batch.
            keep_b: matches!(d.b, Right::Strided(_))
                && kept(cols.next_multiple_of(kernel.nr()))
                && (rows > block_rows || d.batch.iter().any(|axis| axis.b == 0)),
            partial_sums: depth < d.k && !direct,
            direct,
            direct_a: kernel.takes_rows() && reads_well(&d.a, cols),
        }
    }

    pub(super) fn scratch_bytes(&self, d: &Description, kernel: &dyn Kernel) -> usize {
        self.layout(d, kernel).1
    }

    /// Where the panels of A, those of B, partial sums and the tile start, and the size of all.
    fn layout(&self, d: &Description, kernel: &dyn Kernel) -> ([usize; 4], usize) {
        let size = size_of::<f32>();
        let a_depth = if self.keep_a { d.k } else { self.depth };
        let b = match d.b {
            Right::Packed(format) if format == kernel.panel_format() => 0,
            Right::Strided(_) if self.keep_b => {
                self.part_cols.next_multiple_of(kernel.nr()) * kernel.lane_bytes(d.k)
            }
            _ => self.cols * kernel.lane_bytes(self.depth),
        };
        let partial = if self.partial_sums { self.rows * self.cols * size } else { 0 };
        let tile = kernel.mr() * kernel.nr() * size;
        let a = if self.direct_a { 0 } else { self.rows * kernel.lane_bytes(a_depth) };
        regions([a, b, partial, tile])
    }
}

/// The most rows of B that may be fetched ahead of their panel's packing without displacing one
/// another: rows a large power of two apart compete for the same few places of the second cache.
fn fetched_rows(d: &Description) -> usize {
    /// Bytes after which addresses share a place of the cache, and the lines that have room there,
    /// less those left to others: 2 MB in 16 ways, or 1 MB in 8.
    const WAY: usize = 128 << 10;
    const LINES: usize = 8;
    let Right::Strided(b) = d.b else { return usize::MAX };
    let stride = b.row_stride * b.format.bytes();
    if b.col_stride != 1 || stride == 0 {
        return usize::MAX;
    }
    let apart = 1 << stride.trailing_zeros().min(WAY.trailing_zeros());
    (WAY / apart * LINES).max(FEWEST_ROWS)
}

/// Whether rows of A can be read where they lie, with less work than packing them: if a row is not
/// read often, and rows do not compete for the same places of the first cache.
fn reads_well(a: &Operand, cols: usize) -> bool {
    /// Columns from which packing pays.
    const PACKED_COLS: usize = 512;
    /// Rows so far apart share two sets of places, or one.
    const COMPETING: usize = 2048;
    let plain = a.format == Format::F32 && a.round.is_none_or(|format| format == Format::F32);
    let competing = (a.row_stride * size_of::<f32>()).is_multiple_of(COMPETING);
    plain && a.col_stride == 1 && cols <= PACKED_COLS && !competing
}

/// The size of the blocks that cut `total` into as few as `limit` allows, all nearly the same.
fn even(total: usize, limit: usize, granularity: usize) -> usize {
    let total = total.max(1);
    total.div_ceil(total.div_ceil(limit)).next_multiple_of(granularity)
}

/// Computes rows `rows` and columns `cols` of one product; `cols` starts at a panel. `ready` is
/// kept between calls with the same scratch.
///
/// # Safety
/// As for `Product::run`; nobody else has this part of C or the scratch.
pub(super) unsafe fn compute(
    d: &Description,
    kernel: &dyn Kernel,
    blocking: &Blocking,
    memory: &Memory<'_>,
    rows: Range<usize>,
    cols: Range<usize>,
    ready: &mut Ready,
) {
    let regions = blocking.layout(d, kernel).0.map(|at| memory.scratch.wrapping_add(at));
    let work = Work { d, kernel, blocking, memory, regions, part: cols.clone() };
    let b_ready = match memory.b {
        B::Strided(base) if blocking.keep_b => {
            let now = Some((base, cols.clone()));
            let same = *ready == now;
            *ready = now;
            same
        }
        _ => false,
    };
    for (i, row) in rows.clone().step_by(blocking.rows).enumerate() {
        let row_block = row..(row + blocking.rows).min(rows.end);
        for (j, col) in cols.clone().step_by(blocking.cols).enumerate() {
            let col_block = col..(col + blocking.cols).min(cols.end);
            // One pass even without depth: the result is zero then, or the bias.
            for first in (0..d.k.max(1)).step_by(blocking.depth) {
                let depth = first..(first + blocking.depth).min(d.k);
                let pack_b = !(b_ready || blocking.keep_b && i > 0);
                let pack_a = !(blocking.keep_a && j > 0);
                // SAFETY: passed on; the blocks are within the part, and what is not packed now
                // was packed in an earlier pass.
                unsafe {
                    work.pass(row_block.clone(), col_block.clone(), depth, pack_a, pack_b);
                }
            }
        }
    }
}

struct Work<'a> {
    d: &'a Description,
    kernel: &'a dyn Kernel,
    blocking: &'a Blocking,
    memory: &'a Memory<'a>,
    /// Panels of A, panels of B, partial sums, tile.
    regions: [*mut u8; 4],
    /// The columns of the part.
    part: Range<usize>,
}

/// The panels of one operand for one pass: the first, and the distance between them.
#[derive(Clone, Copy)]
struct Panels {
    first: *const u8,
    pitch: usize,
    format: Format,
}

/// A panel of B as a tile finds it.
#[derive(Clone, Copy)]
struct Steps {
    first: *const u8,
    format: Format,
    /// Elements from one step to the next.
    apart: usize,
    /// Where the tile packs it, or null.
    pack: *mut u8,
}

impl Work<'_> {
    /// Multiplies one block of depth of one block of C.
    ///
    /// # Safety
    /// As for [`compute`]; if not packed now, the panels must be.
    unsafe fn pass(
        &self,
        rows: Range<usize>,
        cols: Range<usize>,
        depth: Range<usize>,
        pack_a: bool,
        pack_b: bool,
    ) {
        let (mr, nr) = (self.kernel.mr(), self.kernel.nr());
        // SAFETY: passed on.
        let a = unsafe { self.a_panels(&rows, &depth, pack_a) };
        let a_row_stride = self.blocking.direct_a.then_some(self.d.a.row_stride);
        // SAFETY: passed on.
        let b = unsafe { self.b_panels(&rows, &cols, &depth) };
        // While the tiles of one panel of B are computed, the next panel is fetched.
        let tiles = rows.len().div_ceil(mr).max(1);
        let panel_lines =
            (nr * stored_bytes(self.kernel, b.format, depth.len())).div_ceil(CACHE_LINE);
        for (j, col) in cols.clone().step_by(nr).enumerate() {
            let panel_cols = col..(col + nr).min(cols.end);
            let panel = b.first.wrapping_add(j * b.pitch);
            let packed = Steps { first: panel, format: b.format, apart: nr, pack: null_mut() };
            let [first, others] = match pack_b {
                // A panel is packed just before it is used, or by its first tile, so that the
                // others find it in the nearest cache.
                // SAFETY: the panel lies in the region of B's panels.
                true => unsafe { self.b_panel(&panel_cols, &depth, rows.len() >= mr, packed) },
                false => [packed; 2],
            };
            let next = pack_b.then(|| self.b_source(col + nr, &depth)).flatten();
            for (i, row) in rows.clone().step_by(mr).enumerate() {
                let b_steps = if i == 0 { first } else { others };
                let steps = depth.len();
                let ahead = match &next {
                    Some(source) => Ahead::source(source, nr, i, tiles, steps),
                    None => Ahead::lines(panel.wrapping_add(b.pitch), panel_lines, i, tiles, steps),
                };
                let tile = Tile {
                    depth: depth.len(),
                    a: a.first.wrapping_add(i * a.pitch),
                    a_row_stride,
                    b: b_steps.first,
                    b_format: b_steps.format,
                    b_step: b_steps.apart,
                    b_packed: b_steps.pack,
                    c: null_mut(),
                    c_stride: 0,
                    rows: mr.min(rows.end - row),
                    cols: panel_cols.len(),
                    accumulate: depth.start > 0,
                    ahead,
                };
                let in_block = (row - rows.start) * self.blocking.cols + (col - cols.start);
                // SAFETY: the panels are those of this tile, which lies within the block.
                unsafe { self.tile(tile, row, col, in_block, depth.end == self.d.k) };
            }
        }
    }

    /// Computes one tile at `(row, col)` of C.
    ///
    /// # Safety
    /// As for [`compute`], with a tile that lacks only its destination.
    unsafe fn tile(&self, mut tile: Tile, row: usize, col: usize, in_block: usize, last: bool) {
        let d = self.d;
        let c = self.memory.c;
        let at = (row * d.c.row_stride + col * d.c.col_stride) * d.c.format.bytes();
        let c = c.wrapping_add(at);
        let partial = self.regions[2].cast::<f32>().wrapping_add(in_block);
        if self.blocking.direct {
            (tile.c, tile.c_stride) = (c.cast(), d.c.row_stride);
            tile.accumulate |= d.c.accumulate;
        } else if !last {
            (tile.c, tile.c_stride) = (partial, self.blocking.cols);
        } else {
            (tile.c, tile.c_stride) = (self.regions[3].cast(), self.kernel.nr());
        }
        let later = tile.accumulate;
        if !self.blocking.direct && last {
            tile.accumulate = false;
        }
        // SAFETY: the destination has room for the tile: C itself, the partial sums of the block,
        // or the memory of one tile.
        unsafe { self.kernel.tile(&tile) };
        if self.blocking.direct || !last {
            return;
        }
        let bias_format = d.bias.unwrap_or(d.c.format);
        let bias_at = if d.bias.is_some() { col * bias_format.bytes() } else { 0 };
        let finish = Finish {
            sums: tile.c,
            sums_stride: tile.c_stride,
            earlier: if later { partial } else { null() },
            earlier_stride: self.blocking.cols,
            bias: self.memory.bias.wrapping_add(bias_at),
            bias_format,
            round: d.c.round,
            accumulate: d.c.accumulate,
            c,
            c_format: d.c.format,
            c_row_stride: d.c.row_stride,
            c_col_stride: d.c.col_stride,
            rows: tile.rows,
            cols: tile.cols,
        };
        // SAFETY: sums, partial sums, bias and C hold the rows and columns of the tile.
        unsafe { self.kernel.finish(&finish) };
    }

    /// The panels of A for `rows`, packed if `pack`.
    ///
    /// # Safety
    /// As for [`compute`].
    unsafe fn a_panels(&self, rows: &Range<usize>, depth: &Range<usize>, pack: bool) -> Panels {
        let mr = self.kernel.mr();
        if self.blocking.direct_a {
            let size = size_of::<f32>();
            let at = (rows.start * self.d.a.row_stride + depth.start) * size;
            let (first, pitch) = (self.memory.a.wrapping_add(at), mr * self.d.a.row_stride * size);
            return Panels { first, pitch, format: self.kernel.panel_format() };
        }
        let (pitch, offset) = match self.blocking.keep_a {
            true => (self.d.k, depth.start),
            false => (depth.len(), 0),
        };
        let (pitch, offset) =
            (mr * self.kernel.lane_bytes(pitch), mr * self.kernel.lane_bytes(offset));
        let first = self.regions[0].wrapping_add(offset);
        if pack {
            let a = self.d.a;
            let lanes = Lanes { operand: a, lane: a.row_stride, step: a.col_stride };
            // SAFETY: the region has room for the panels of a block of rows.
            unsafe { self.pack(lanes, self.memory.a, rows, depth, mr, first, pitch) };
        }
        Panels { first, pitch, format: self.kernel.panel_format() }
    }

    /// The panels of B for `cols`; those of a strided operand may still have to be packed.
    ///
    /// # Safety
    /// As for [`compute`].
    unsafe fn b_panels(
        &self,
        rows: &Range<usize>,
        cols: &Range<usize>,
        depth: &Range<usize>,
    ) -> Panels {
        let nr = self.kernel.nr();
        let scratch = self.regions[1];
        let block_pitch = nr * self.kernel.lane_bytes(depth.len());
        let own = self.kernel.panel_format();
        let in_block = Panels { first: scratch, pitch: block_pitch, format: own };
        let B::Packed(packed) = self.memory.b else {
            if !self.blocking.keep_b {
                return in_block;
            }
            let pitch = nr * self.kernel.lane_bytes(self.d.k);
            let panel = (cols.start - self.part.start) / nr;
            let offset = panel * pitch + nr * self.kernel.lane_bytes(depth.start);
            return Panels { first: scratch.wrapping_add(offset), pitch, ..in_block };
        };
        let format = packed.storage();
        let offset = nr * stored_bytes(self.kernel, format, depth.start);
        let pitch = packed.panel_bytes();
        let first = packed.panels().wrapping_add(cols.start / nr * pitch + offset);
        // Widening costs a pass over the block, which pays if the block is used often.
        if format == own || rows.len() <= 2 * self.kernel.mr() {
            return Panels { first, pitch, format };
        }
        for panel in 0..cols.len().div_ceil(nr) {
            let to = scratch.wrapping_add(panel * block_pitch).cast();
            let from = first.wrapping_add(panel * pitch);
            // SAFETY: a panel of the packed operand, and room for it in the region.
            unsafe { self.kernel.widen(format, from, to, nr * depth.len()) };
        }
        in_block
    }

    /// A panel of a strided B as its first tile finds it, and as the others do: `packed`, or where
    /// it lies in memory. `whole_tile` is whether the first has all rows.
    ///
    /// # Safety
    /// As for [`compute`], and `packed` has room for the panel.
    unsafe fn b_panel(
        &self,
        cols: &Range<usize>,
        depth: &Range<usize>,
        whole_tile: bool,
        packed: Steps,
    ) -> [Steps; 2] {
        let nr = self.kernel.nr();
        let (B::Strided(base), Right::Strided(b)) = (self.memory.b, self.d.b) else {
            return [packed; 2];
        };
        let plain = b.col_stride == 1 && b.round.is_none_or(|format| format == b.format);
        if plain && cols.len() == nr && self.kernel.takes_rows() {
            let at = (depth.start * b.row_stride + cols.start) * b.format.bytes();
            let first = base.wrapping_add(at);
            let lying = Steps { first, format: b.format, apart: b.row_stride, pack: null_mut() };
            // Narrow rows, near each other, are as good as a panel.
            if b.format == packed.format && b.row_stride <= 4 * nr && !self.blocking.keep_b {
                return [lying; 2];
            }
            if whole_tile {
                return [Steps { pack: packed.first.cast_mut(), ..lying }, packed];
            }
        }
        let lanes = Lanes { operand: b, lane: b.col_stride, step: b.row_stride };
        // SAFETY: passed on.
        unsafe { self.pack(lanes, base, cols, depth, nr, packed.first.cast_mut(), 0) };
        [packed; 2]
    }

    /// What the panel at column `col` of a strided B is packed from, if there is one.
    fn b_source(&self, col: usize, depth: &Range<usize>) -> Option<Source> {
        let (B::Strided(base), Right::Strided(b)) = (self.memory.b, self.d.b) else { return None };
        let lanes = self.part.end.checked_sub(col).filter(|&left| left > 0)?;
        let at = (col * b.col_stride + depth.start * b.row_stride) * b.format.bytes();
        Some(Source {
            base: base.wrapping_add(at),
            format: b.format,
            lane_stride: b.col_stride,
            depth_stride: b.row_stride,
            lanes: lanes.min(self.kernel.nr()),
            depth: depth.len(),
            round: b.round,
        })
    }

    /// Packs lanes `range` of an operand into panels of `width` lanes from `first` on.
    ///
    /// # Safety
    /// The operand is readable at `base`, and the panels are writable.
    #[expect(clippy::too_many_arguments, reason = "all of them differ between A and B")]
    unsafe fn pack(
        &self,
        lanes: Lanes,
        base: *const u8,
        range: &Range<usize>,
        depth: &Range<usize>,
        width: usize,
        first: *mut u8,
        pitch: usize,
    ) {
        let Lanes { operand, lane, step } = lanes;
        for (i, start) in range.clone().step_by(width).enumerate() {
            let at = (start * lane + depth.start * step) * operand.format.bytes();
            let source = Source {
                base: base.wrapping_add(at),
                format: operand.format,
                lane_stride: lane,
                depth_stride: step,
                lanes: width.min(range.end - start),
                depth: depth.len(),
                round: operand.round,
            };
            // SAFETY: passed on.
            unsafe { self.kernel.pack(&source, width, first.wrapping_add(i * pitch)) };
        }
    }
}

/// An operand seen from its panels.
struct Lanes {
    operand: Operand,
    /// Distance between lanes.
    lane: usize,
    /// Distance between steps of k.
    step: usize,
}
