//! The loops over cache-sized blocks.
//!
//! A part of C is cut into blocks of rows, those into blocks of columns, and the sum over k into
//! blocks of depth. For each, panels of A and B are packed and the kernel goes over the tiles. If
//! the packed form of all of A's rows, or all of B's columns, fits a budget, it is kept, and
//! packed only when its block is first met.

use super::ahead::{Ahead, Share};
use super::description::{Bias, BiasTo, Description, Operand, Right};
use super::kernel::{Finish, Kernel, Last, Source, Tile};
use super::packed::stored_bytes;
use super::product::{B, Memory, regions};
use crate::format::Format;
use std::ops::Range;
use std::ptr::{null, null_mut};

/// The most of a block: rows, and bytes of a lane.
#[derive(Clone, Copy)]
struct Most {
    rows: usize,
    lane_bytes: usize,
}

/// If B is read again for every block of rows from a cache: the block of A takes a sixth of a
/// second-level cache of 2 MB, or a third of one of 1 MB. Blocks are deep, so that C is written
/// once or twice.
const NEAR: Most = Most { rows: 84, lane_bytes: 4096 };
/// If B is packed already, or comes from memory for every block of rows: as few of those as that
/// cache allows.
const FAR: Most = Most { rows: 256, lane_bytes: 3072 };
/// The most columns of a block.
const COLS: usize = 1024;
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
        let kept = |lanes: usize| lanes * kernel.lane_bytes(d.k) <= KEPT_BYTES;
        let near = matches!(d.b, Right::Strided(_)) && kept(cols.next_multiple_of(kernel.nr()));
        let most = if near { NEAR } else { FAR };
        let depth = even(d.k, most.lane_bytes / kernel.lane_bytes(unit) * unit, unit);
        let block_rows = even(rows, most.rows, kernel.mr());
        let plain = d.bias.is_none() && d.clamp.is_none();
        let direct = d.c.format == Format::F32
            && d.c.col_stride == 1
            && (plain || kernel.finishes() && finishes(d))
            && d.c.round.is_none_or(|format| format == Format::F32);
        Blocking {
            rows: block_rows,
            cols: even(cols, COLS, kernel.nr()),
            depth,
            part_cols: cols,
            keep_a: kept(block_rows),
            // Kept only for another block of rows, or another product of the batch.
            keep_b: near && (rows > block_rows || d.batch.iter().any(|axis| axis.b == 0)),
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
            Right::Strided(_) => kernel.nr() * kernel.lane_bytes(self.depth),
            Right::Packed(_) => self.cols * kernel.lane_bytes(self.depth),
        };
        let partial = if self.partial_sums { self.rows * self.cols * size } else { 0 };
        let tile = kernel.mr() * kernel.nr() * size;
        let a = if self.direct_a { 0 } else { self.rows * kernel.lane_bytes(a_depth) };
        regions([a, b, partial, tile])
    }
}

/// Whether steps of B are so far apart that they compete for the same few places of a cache, so
/// that a panel cannot be fetched as a whole before it is packed.
fn competing(b: &Operand) -> bool {
    /// Rows apart by a multiple of this many bytes share a 32nd of a second cache, or less.
    const COMPETING: usize = 4096;
    let stride = b.row_stride * b.format.bytes();
    b.col_stride == 1 && stride != 0 && stride.is_multiple_of(COMPETING)
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

/// Whether a kernel that finishes tiles can do what is wanted in the end.
fn finishes(d: &Description) -> bool {
    let row = Bias { format: Format::F32, to: BiasTo::Rows };
    !d.c.accumulate && d.bias.is_none_or(|bias| bias == row)
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
    let competing = matches!(&d.b, Right::Strided(b) if competing(b));
    let work = Work { d, kernel, blocking, memory, regions, part: cols.clone(), competing };
    let b_ready = match memory.b {
        B::Strided(base) if blocking.keep_b => {
            let now = Some((base, cols.clone()));
            let same = *ready == now;
            *ready = now;
            same
        }
        _ => false,
    };
    let strided = matches!(memory.b, B::Strided(_));
    for (i, row) in rows.clone().step_by(blocking.rows).enumerate() {
        let row_block = row..(row + blocking.rows).min(rows.end);
        for (j, col) in cols.clone().step_by(blocking.cols).enumerate() {
            let col_block = col..(col + blocking.cols).min(cols.end);
            // One pass even without depth: the result is zero then, or the bias.
            for first in (0..d.k.max(1)).step_by(blocking.depth) {
                let depth = first..(first + blocking.depth).min(d.k);
                let pack_b = strided && !(b_ready || blocking.keep_b && i > 0);
                let pack_a = !(blocking.keep_a && j > 0);
                let next_a = work.next_a([&rows, &cols], [&row_block, &col_block], &depth);
                // SAFETY: passed on; the blocks are within the part, and what is not packed now
                // was packed in an earlier pass.
                unsafe {
                    work.pass(row_block.clone(), col_block.clone(), depth, pack_a, pack_b, next_a);
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
    /// Whether steps of B compete for places of the cache.
    competing: bool,
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
        next_a: Option<Source>,
    ) {
        let (mr, nr) = (self.kernel.mr(), self.kernel.nr());
        // SAFETY: passed on.
        let a = unsafe { self.a_panels(&rows, &depth, pack_a) };
        let a_row_stride = self.blocking.direct_a.then_some(self.d.a.row_stride);
        // SAFETY: passed on.
        let b = unsafe { self.b_panels(&rows, &cols, &depth) };
        // While tiles are computed, the next panel of B and the next block of A are fetched.
        let tiles = rows.len().div_ceil(mr).max(1);
        let all_tiles = tiles * cols.len().div_ceil(nr);
        let panel_bytes = nr * stored_bytes(self.kernel, b.format, depth.len());
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
            let soon = self.soon(panel, b.pitch, &panel_cols, &depth, pack_b);
            for (i, row) in rows.clone().step_by(mr).enumerate() {
                let b_steps = if i == 0 { first } else { others };
                let share = |part, parts| Share { part, parts, steps: depth.len() };
                let [next_b, room] = soon.share(share(i, tiles), panel_bytes);
                let next_a = match &next_a {
                    Some(source) => Ahead::source(source, share(j * tiles + i, all_tiles)),
                    None => Ahead::nothing(),
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
                    last: None,
                    ahead: [next_b, room, next_a],
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
            let bias = self.memory.bias.cast::<f32>();
            let bias = if bias.is_null() { bias } else { bias.wrapping_add(row) };
            let clamp = d.clamp.unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
            let finishes = last && (d.bias.is_some() || d.clamp.is_some());
            tile.last = finishes.then_some(Last { bias, clamp });
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
        let (bias_format, bias_to) =
            d.bias.map_or((d.c.format, BiasTo::Columns), |bias| (bias.format, bias.to));
        let finish = Finish {
            sums: tile.c,
            sums_stride: tile.c_stride,
            earlier: if later { partial } else { null() },
            earlier_stride: self.blocking.cols,
            bias: self.memory.bias.wrapping_add(d.bias.map_or(0, |bias| bias.at(row, col))),
            bias_format,
            bias_to,
            clamp: d.clamp,
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
        // A panel that is not kept makes room for the next, and finds its place in the cache.
        let only = Panels { first: scratch, pitch: 0, format: own };
        let in_block = Panels { first: scratch, pitch: block_pitch, format: own };
        let B::Packed(packed) = self.memory.b else {
            if !self.blocking.keep_b {
                return only;
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

    /// What of B is fetched during the tiles of the panel `panel`, which holds columns `cols`.
    fn soon(
        &self,
        panel: *const u8,
        pitch: usize,
        cols: &Range<usize>,
        depth: &Range<usize>,
        pack_b: bool,
    ) -> Soon {
        let next = panel.wrapping_add(pitch);
        if !pack_b {
            return Soon { source: None, competing: false, panel: Some(next) };
        }
        let col = if self.competing { cols.start } else { cols.start + self.kernel.nr() };
        Soon {
            source: self.b_source(col, depth),
            competing: self.competing,
            panel: self.blocking.keep_b.then_some(next),
        }
    }

    /// What A's panels are packed from in the pass after this one, unless they are packed already.
    fn next_a(
        &self,
        [rows, cols]: [&Range<usize>; 2],
        [row_block, col_block]: [&Range<usize>; 2],
        depth: &Range<usize>,
    ) -> Option<Source> {
        let Blocking { keep_a, .. } = *self.blocking;
        let (last_depth, last_col) = (depth.end == self.d.k, col_block.end == cols.end);
        let first_col = col_block.start == cols.start;
        let (next_rows, next_depth) = match (last_depth, last_col) {
            (false, _) if keep_a && !first_col => return None,
            (false, _) => (row_block.start, depth.end),
            (true, false) if keep_a => return None,
            (true, false) => (row_block.start, 0),
            (true, true) => (row_block.end, 0),
        };
        let a = self.d.a;
        let lanes = self.blocking.rows.min(rows.end.checked_sub(next_rows)?);
        let at = (next_rows * a.row_stride + next_depth * a.col_stride) * a.format.bytes();
        (lanes > 0).then(|| Source {
            base: self.memory.a.wrapping_add(at),
            format: a.format,
            lane_stride: a.row_stride,
            depth_stride: a.col_stride,
            lanes,
            depth: self.blocking.depth.min(self.d.k - next_depth),
            round: a.round,
        })
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
        /// Steps of neighboring lanes that the nearest cache holds for all panels of a block.
        const TOGETHER: usize = 64;
        let Lanes { operand, lane, step } = lanes;
        // Neighboring lanes share cache lines, so all panels are packed from some steps, and then
        // from the next.
        let together = if lane == 1 { TOGETHER } else { depth.len().max(1) };
        for first_step in depth.clone().step_by(together) {
            let offset = width * self.kernel.lane_bytes(first_step - depth.start);
            for (i, start) in range.clone().step_by(width).enumerate() {
                let at = (start * lane + first_step * step) * operand.format.bytes();
                let source = Source {
                    base: base.wrapping_add(at),
                    format: operand.format,
                    lane_stride: lane,
                    depth_stride: step,
                    lanes: width.min(range.end - start),
                    depth: together.min(depth.end - first_step),
                    round: operand.round,
                };
                let panel = first.wrapping_add(i * pitch + offset);
                // SAFETY: passed on; the steps lie in the panel.
                unsafe { self.kernel.pack(&source, width, panel) };
            }
        }
    }
}

/// What of B is fetched during the tiles of a panel.
struct Soon {
    /// What the next panel is packed from, or this one if steps are `competing`.
    source: Option<Source>,
    competing: bool,
    /// The next panel, to be read or to be written.
    panel: Option<*const u8>,
}

impl Soon {
    /// The share of one tile; a panel has `panel_bytes`.
    fn share(&self, share: Share, panel_bytes: usize) -> [Ahead; 2] {
        let source = match &self.source {
            Some(source) if !self.competing => Ahead::source(source, share),
            Some(source) if share.part == 0 => Ahead::own(source),
            _ => Ahead::nothing(),
        };
        let panel = self.panel.map_or(Ahead::nothing(), |at| Ahead::bytes(at, panel_bytes, share));
        [source, panel]
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
