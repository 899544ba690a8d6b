//! The form in which a row program is run.

use super::axes::Space;
use super::{Instr, Operand};

/// Row programs are measured in elements of scratch memory; this many fill a cache line.
pub(super) const LINE: usize = 16;

/// A fused chain of operations on rows, ready to run. See the [module](super).
#[derive(Clone, Debug)]
pub struct RowProgram {
    pub(super) space: Space,
    pub(super) operands: Vec<Operand>,
    /// For each operand the distance between rows, if it is the same everywhere.
    pub(super) row_strides: Vec<Option<isize>>,
    /// The most rows in a block.
    pub(super) block_rows: usize,
    /// The most elements of a row in a tile.
    pub(super) tile: usize,
    /// What does not depend on the row and is computed once.
    pub(super) setup: Vec<Step>,
    /// The passes over a block of rows.
    pub(super) passes: Vec<Pass>,
    /// The reductions of all rows to one.
    pub(super) columns: Vec<Columns>,
    pub(super) registers: Registers,
    /// The operands that are read and written if all it does is copy rows.
    pub(super) copy: Option<[usize; 2]>,
}

/// One pass over the tiles of a block of rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Pass {
    /// What is done once for a block: one number for each row.
    pub scalars: Vec<Step>,
    /// What is done for each tile.
    pub rows: Vec<Step>,
}

/// An instruction with its places. The values named in the instruction are not used any more.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub instr: Instr,
    pub to: Place,
    pub from: [Place; 3],
}

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Nowhere,
    /// A register of rows: a tile of each row of the block, one behind the other.
    Tile(usize),
    /// A register of a whole row, of a program with one row in a block.
    Row(usize),
    /// Directly in the memory of an operand.
    View(usize),
    /// One number for each row of the block.
    Scalar(usize),
    /// One number for all rows.
    Uniform(usize),
    /// The row to which a reduction of all rows adds.
    Column(usize),
}

impl Place {
    /// Whether the value is a row.
    pub fn is_row(self) -> bool {
        matches!(self, Place::Tile(_) | Place::Row(_) | Place::View(_))
    }
}

/// A reduction of all rows to one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    pub op: super::Reduction,
    pub operand: usize,
    pub accumulate: bool,
}

/// How many registers of each kind a program has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Registers {
    pub tiles: usize,
    pub rows: usize,
    pub views: usize,
    pub scalars: usize,
}

/// Where a thread's registers start, in elements of its scratch memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub tile_size: usize,
    pub row_size: usize,
    pub scalar_size: usize,
    pub rows: usize,
    pub scalars: usize,
    /// Two rows for each reduction of columns.
    pub columns: usize,
    /// Offsets of the block's rows for each operand, of the size of two elements each.
    pub offsets: usize,
    /// Pointers, of the size of two elements.
    pub views: usize,
    pub end: usize,
}

impl RowProgram {
    /// The outer axes that were left after merging.
    pub fn outer(&self) -> &[usize] {
        &self.space.outer
    }

    /// The length of a row after merging.
    pub fn inner(&self) -> usize {
        self.space.inner
    }

    /// The arrays that it reads and writes, as their axes were merged.
    pub fn operands(&self) -> &[Operand] {
        &self.operands
    }

    /// How many values it computes for each element of a row: loads and stores are not counted.
    pub fn operations(&self) -> usize {
        let steps = self.passes.iter().flat_map(|pass| &pass.rows);
        let moves = |instr: &Instr| {
            matches!(instr, Instr::Load { .. } | Instr::Expand { .. }) || instr.is_store()
        };
        steps.filter(|step| !moves(&step.instr)).count() + self.columns.len()
    }

    /// Bytes of the elements that it reads and writes, each counted once for an array.
    pub fn bytes(&self) -> usize {
        let bytes = |operand: &Operand| {
            let axes = self.space.outer.iter().zip(&operand.outer_strides);
            let rows: usize =
                axes.filter(|(_, stride)| **stride != 0).map(|(&count, _)| count).product();
            let inner = if operand.inner_stride == 0 { 1 } else { self.space.inner };
            rows * inner * operand.format.bytes()
        };
        self.operands.iter().map(bytes).sum()
    }

    /// How much scratch memory a run on a team of `threads` needs.
    pub fn scratch_bytes(&self, threads: usize) -> usize {
        self.layout().end * threads.max(1) * size_of::<f32>()
    }

    pub(super) fn layout(&self) -> Layout {
        let registers = &self.registers;
        // Not a multiple of a page, or all registers would compete for the same cache sets.
        let padded = |elements: usize| elements.next_multiple_of(LINE) + 5 * LINE;
        let tile_size = padded(self.tile * self.block_rows);
        let row_size = padded(self.space.inner);
        let scalar_size = self.block_rows.next_multiple_of(LINE);
        let rows = registers.tiles * tile_size;
        let scalars = rows + registers.rows * row_size;
        let columns = scalars + registers.scalars * scalar_size;
        let offsets = columns + self.columns.len() * 2 * row_size;
        let views = offsets + self.operands.len() * 2 * scalar_size;
        let end = (views + 2 * registers.views).next_multiple_of(LINE) + LINE;
        Layout { tile_size, row_size, scalar_size, rows, scalars, columns, offsets, views, end }
    }
}

/// Memory for the intermediate values of row programs. It holds nothing between runs, so that one
/// can serve many programs.
#[derive(Debug, Default)]
pub struct Scratch {
    lines: Vec<Line>,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [f32; LINE]);

impl Scratch {
    /// Scratch memory of `bytes` bytes.
    pub fn new(bytes: usize) -> Scratch {
        let mut scratch = Scratch::default();
        scratch.reserve(bytes);
        scratch
    }

    /// Makes it at least `bytes` bytes large.
    pub fn reserve(&mut self, bytes: usize) {
        let lines = bytes.div_ceil(size_of::<Line>());
        if lines > self.lines.len() {
            self.lines.resize(lines, Line([0.0; LINE]));
        }
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.lines.as_mut_ptr().cast()
    }
}
