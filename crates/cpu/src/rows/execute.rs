//! Running a row program.

use super::kernels::{self, Arg};
use super::memory::{self, Offsets, Window};
use super::program::{Layout, Pass, Place, RowProgram, Scratch, Step};
use super::{Instr, MAX_RANK, reduce};
use crate::isa::Isa;
use crate::team::{Team, split};
use std::ops::Range;
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Programs with less work than this, in operations on elements, run on the calling thread: a team
/// takes longer to start.
const WORTH_A_TEAM: usize = 1 << 15;

/// Rows that are added up before their sum is added to the total, for accuracy.
const ROWS_IN_SUM: usize = 64;

/// Pointers that the threads of a team share.
#[derive(Clone, Copy)]
struct Shared<'a> {
    pointers: &'a [*mut u8],
    scratch: *mut f32,
}

// SAFETY: each thread has its own part of the scratch memory, and the caller of `run` vouches for
// what is behind the pointers.
unsafe impl Sync for Shared<'_> {}

impl RowProgram {
    /// Evaluates the program on the arrays at `pointers`, which operands name by their slot.
    ///
    /// Panics if the machine lacks the instruction set, or the scratch memory is smaller than
    /// [`scratch_bytes`](Self::scratch_bytes) for the team.
    ///
    /// # Safety
    /// For every operand and every index of the program's space, the element must lie in memory that
    /// is valid for reads (loads) or writes (stores) and aligned for its format. No other thread may
    /// write what is read or access what is written meanwhile. Two stores must not go to the same
    /// element, and a store may overlap a load only if both address each shared element at the
    /// same index.
    pub unsafe fn run(&self, team: &Team, isa: Isa, pointers: &[*mut u8], scratch: &mut Scratch) {
        assert!(isa.is_available(), "the machine has no {isa}");
        assert!(scratch.bytes() >= self.scratch_bytes(team.threads()), "scratch memory too small");
        assert!(self.operands.iter().all(|o| o.slot < pointers.len()), "an operand has no pointer");
        let shared = Shared { pointers, scratch: scratch.as_mut_ptr() };
        let used = AtomicUsize::new(1);
        let region = |thread: usize, threads: usize| {
            used.store(threads, Ordering::Relaxed);
            // The whole structure, not the pointers in it, is what may be shared.
            let shared = &shared;
            // SAFETY: every thread has another index, and so other rows or columns and registers;
            // the caller vouches for the rest.
            unsafe { self.run_part(isa, shared, thread, threads) };
        };
        let steps = self.passes.iter().map(|pass| pass.rows.len()).sum::<usize>();
        let rows = self.space.rows();
        let indivisible = rows <= 1 && self.needs_whole_rows();
        if indivisible || rows * self.space.inner * steps < WORTH_A_TEAM {
            region(0, 1);
        } else {
            team.run(&region);
        }
        let threads = used.into_inner();
        // SAFETY: the threads are done, this one alone remains.
        unsafe { self.finish_columns(isa, &shared, threads) };
    }

    /// Whether threads cannot share a row.
    fn needs_whole_rows(&self) -> bool {
        let mut steps = self.passes.iter().flat_map(|pass| pass.scalars.iter().chain(&pass.rows));
        steps.any(|step| matches!(step.instr, Instr::Reduce { .. } | Instr::StoreScalar { .. }))
    }

    /// # Safety
    /// As for `run`; the threads at work at the same time must have different indices.
    unsafe fn run_part(&self, isa: Isa, shared: &Shared<'_>, thread: usize, threads: usize) {
        let rows = self.space.rows();
        if let Some(copy) = self.copy.filter(|_| rows >= threads) {
            let rows = split(rows, threads, thread, 1);
            // SAFETY: the caller vouches for the operands.
            return unsafe { self.copy_rows(isa, copy, shared.pointers, rows) };
        }
        let by_columns = rows < threads && !self.needs_whole_rows();
        let inner = self.space.inner;
        let (rows, columns) = if by_columns {
            (0..rows, split(inner, threads, thread, 64))
        } else {
            (split(rows, threads, thread, 1), 0..inner)
        };
        let layout = self.layout();
        // SAFETY: the scratch memory has room for that many layouts.
        let registers = unsafe { shared.scratch.add(thread * layout.end) };
        let worker =
            Worker { program: self, isa, pointers: shared.pointers, registers, layout, columns };
        // A part of the columns is not adjacent from row to row, as views of blocks must be.
        let block_rows = if by_columns { 1 } else { self.block_rows };
        // SAFETY: the caller vouches for it.
        unsafe { worker.run(rows, block_rows) };
    }

    /// Combines the threads' rows of reduced columns, and stores them.
    ///
    /// # Safety
    /// As for `run`; no other thread may be at work.
    unsafe fn finish_columns(&self, isa: Isa, shared: &Shared<'_>, threads: usize) {
        let layout = self.layout();
        for (index, columns) in self.columns.iter().enumerate() {
            let inner = self.space.inner;
            let total = |thread: usize| {
                let offset = thread * layout.end + layout.columns;
                // SAFETY: the thread's totals are in its part of the scratch memory.
                unsafe { shared.scratch.add(offset + (2 * index + 1) * layout.row_size) }
            };
            // SAFETY: the totals of different threads are `inner` elements each that do not overlap.
            let to = unsafe { slice::from_raw_parts_mut(total(0), inner) };
            for thread in 1..threads {
                // SAFETY: as above.
                let part = unsafe { slice::from_raw_parts(total(thread), inner) };
                reduce::columns(isa, columns.op, to, part);
            }
            let operand = &self.operands[columns.operand];
            let window = Window {
                // SAFETY: the caller vouches for the operand.
                base: unsafe { shared.pointers[operand.slot].add(operand.byte_offset) },
                format: operand.format,
                offsets: Offsets::Even { first: 0, stride: 0 },
                rows: 1,
                inner_stride: operand.inner_stride,
                start: 0,
                len: inner,
            };
            // SAFETY: as above.
            unsafe {
                if columns.accumulate {
                    memory::add(isa, window, to.as_ptr(), inner);
                } else {
                    memory::store(isa, window, to.as_ptr(), inner);
                }
            }
        }
    }
}

/// What one thread does.
struct Worker<'a> {
    program: &'a RowProgram,
    isa: Isa,
    pointers: &'a [*mut u8],
    registers: *mut f32,
    layout: Layout,
    /// The elements of each row that are this thread's.
    columns: Range<usize>,
}

/// The tile that is processed: some rows, and a range of their elements.
#[derive(Clone, Copy)]
struct Tile {
    row: usize,
    rows: usize,
    start: usize,
    len: usize,
    /// Whether this is the first of its rows.
    first: bool,
}

impl Worker<'_> {
    /// # Safety
    /// As for `RowProgram::run`; the registers must be this thread's own.
    unsafe fn run(&self, rows: Range<usize>, block_rows: usize) {
        let program = self.program;
        for index in 0..program.columns.len() {
            let identity = reduce::identity(program.columns[index].op);
            for level in 0..2 {
                self.column(index, level, 0..program.space.inner).fill(identity);
            }
        }
        if rows.is_empty() || (self.columns.is_empty() && program.space.inner > 0) {
            return;
        }
        let whole = Tile {
            row: rows.start,
            rows: block_rows,
            start: self.columns.start,
            len: self.columns.len().min(program.tile),
            first: true,
        };
        for step in &program.setup {
            // SAFETY: as for this function. Operands are the same in all rows here.
            unsafe { self.step(step, &whole) };
        }
        let mut summed = 0;
        for row in rows.clone().step_by(block_rows) {
            let block = Tile { row, rows: block_rows.min(rows.end - row), ..whole };
            self.list_offsets(row, block.rows);
            for pass in &program.passes {
                // SAFETY: as for this function.
                unsafe { self.pass(pass, block) };
            }
            summed += block.rows;
            if summed >= ROWS_IN_SUM {
                self.flush_columns();
                summed = 0;
            }
        }
        self.flush_columns();
    }

    unsafe fn pass(&self, pass: &Pass, block: Tile) {
        for step in &pass.scalars {
            // SAFETY: as for `run`.
            unsafe { self.step(step, &block) };
        }
        let mut start = self.columns.start;
        // Rows without elements have one empty tile, which makes reductions start.
        loop {
            let len = (self.columns.end - start).min(self.program.tile);
            let tile = Tile { start, len, first: start == self.columns.start, ..block };
            for step in &pass.rows {
                // SAFETY: as for `run`.
                unsafe { self.step(step, &tile) };
            }
            start += len;
            if start >= self.columns.end {
                break;
            }
        }
    }

    /// # Safety
    /// As for `run`; earlier steps must have been done for this tile.
    unsafe fn step(&self, step: &Step, tile: &Tile) {
        let isa = self.isa;
        let [a, b, c] = step.from;
        if let (Instr::Load { operand }, Place::View(_)) = (step.instr, step.to) {
            return self.view(operand, step.to, tile);
        }
        let arg = |place: Place| self.arg(place, step.to, tile);
        let to = || self.target(step.to, tile);
        match step.instr {
            Instr::Load { operand } => {
                let rows = if let Place::Uniform(_) = step.to { 1 } else { tile.rows };
                let window = self.window(operand, step.to.is_row(), &Tile { rows, ..*tile });
                // SAFETY: as for this function.
                unsafe { memory::load(isa, to(), window) };
            }
            Instr::Const(number) => to().fill(number),
            Instr::Unary { op, .. } => kernels::unary(isa, op, to(), arg(a).values),
            Instr::Binary { op, .. } => kernels::binary(isa, op, to(), arg(a), arg(b)),
            // The inputs of a selection are in the order `c, a, b`.
            Instr::Select { .. } => {
                let condition = arg(a);
                kernels::select(isa, to(), condition, arg(b), arg(c));
            }
            Instr::Clamp { low, high, .. } => {
                kernels::clamp(isa, to(), arg(a).values, low, high);
            }
            Instr::Round { to: kind, .. } => kernels::round(isa, kind, to(), arg(a).values),
            Instr::Expand { .. } => kernels::expand(to(), arg(a)),
            Instr::Reduce { op, .. } => {
                let rows = self.rows(a, tile);
                reduce::rows(isa, op, to(), rows, tile.len, tile.first);
            }
            Instr::ColumnReduce { op, .. } => {
                let Place::Column(index) = step.to else { unreachable!("assigned so") };
                let columns = tile.start..tile.start + tile.len;
                reduce::columns(isa, op, self.column(index, 0, columns), self.rows(a, tile));
            }
            Instr::Store { operand, accumulate, .. } => {
                let window = self.window(operand, true, tile);
                let from = self.register(a, tile);
                // SAFETY: as for this function.
                unsafe { self.write(window, from, tile.len, accumulate) };
            }
            Instr::StoreScalar { operand, accumulate, .. } => {
                let mut window = self.window(operand, true, tile);
                (window.start, window.len) = (0, 1);
                let from = self.register(a, tile);
                let stride = matches!(a, Place::Scalar(_)) as usize;
                // SAFETY: as for this function.
                unsafe { self.write(window, from, stride, accumulate) };
            }
        }
    }

    unsafe fn write(&self, window: Window<'_>, from: *const f32, stride: usize, accumulate: bool) {
        // SAFETY: as for `run`.
        unsafe {
            if accumulate {
                memory::add(self.isa, window, from, stride);
            } else {
                memory::store(self.isa, window, from, stride);
            }
        }
    }

    /// Points a view to the operand's rows.
    fn view(&self, operand: usize, view: Place, tile: &Tile) {
        let Place::View(index) = view else { unreachable!("only views are pointed") };
        let window = self.window(operand, true, tile);
        let pointer = window.first();
        // SAFETY: the register is this thread's own, and large enough and aligned for a pointer.
        unsafe {
            self.registers.add(self.layout.views + 2 * index).cast::<*mut f32>().write(pointer)
        };
    }

    /// The tile of an operand; with `as_rows` false, one number for each row of the block.
    fn window(&self, operand: usize, as_rows: bool, tile: &Tile) -> Window<'_> {
        let o = &self.program.operands[operand];
        let offsets = match self.program.row_strides[operand] {
            Some(stride) => Offsets::Even { first: stride * tile.row as isize, stride },
            None => {
                // SAFETY: `list_offsets` has written that many offsets for the block.
                let listed = unsafe { slice::from_raw_parts(self.offsets(operand), tile.rows) };
                Offsets::Listed(listed)
            }
        };
        // SAFETY: the caller of `run` vouches for the operand's elements.
        let base = unsafe { self.pointers[o.slot].add(o.byte_offset) };
        let mut window = Window {
            base,
            format: o.format,
            offsets,
            rows: tile.rows,
            inner_stride: o.inner_stride,
            start: tile.start,
            len: tile.len,
        };
        if !as_rows {
            (window.start, window.len) = (0, 1);
            if let Offsets::Even { first, stride } = offsets {
                // Evenly spaced numbers are one strided row.
                window.offsets = Offsets::Even { first, stride: 0 };
                (window.rows, window.len, window.inner_stride) = (1, tile.rows, stride);
            }
        }
        window
    }

    fn offsets(&self, operand: usize) -> *mut isize {
        // SAFETY: each operand has room for an offset, of the size of two elements, for each row.
        unsafe {
            let offset = self.layout.offsets + 2 * operand * self.layout.scalar_size;
            self.registers.add(offset).cast()
        }
    }

    /// Writes down where the rows of a block start in operands without an even distance.
    fn list_offsets(&self, first: usize, rows: usize) {
        let space = &self.program.space.outer;
        for (number, operand) in self.program.operands.iter().enumerate() {
            if self.program.row_strides[number].is_some() {
                continue;
            }
            let mut index = [0; MAX_RANK];
            let mut rest = first;
            let mut offset = 0;
            for axis in (0..space.len()).rev() {
                index[axis] = rest % space[axis];
                rest /= space[axis];
                offset += operand.outer_strides[axis] * index[axis] as isize;
            }
            // SAFETY: there is room for the rows of a block, in this thread's own memory.
            let list = unsafe { slice::from_raw_parts_mut(self.offsets(number), rows) };
            for entry in list {
                *entry = offset;
                for axis in (0..space.len()).rev() {
                    index[axis] += 1;
                    offset += operand.outer_strides[axis];
                    if index[axis] < space[axis] {
                        break;
                    }
                    offset -= operand.outer_strides[axis] * space[axis] as isize;
                    index[axis] = 0;
                }
            }
        }
    }

    /// The address of a register.
    fn register(&self, place: Place, tile: &Tile) -> *mut f32 {
        let layout = &self.layout;
        let offset = match place {
            Place::Tile(index) => index * layout.tile_size,
            Place::Row(index) => {
                layout.rows + index * layout.row_size + (tile.start - self.columns.start)
            }
            Place::Scalar(index) | Place::Uniform(index) => {
                layout.scalars + index * layout.scalar_size
            }
            Place::View(index) => {
                // SAFETY: the view was pointed when its load was met.
                return unsafe { *self.registers.add(layout.views + 2 * index).cast::<*mut f32>() };
            }
            Place::Nowhere | Place::Column(_) => unreachable!("not a register"),
        };
        // SAFETY: the layout has this offset.
        unsafe { self.registers.add(offset) }
    }

    fn len(&self, place: Place, tile: &Tile) -> usize {
        match place {
            Place::Uniform(_) => 1,
            Place::Scalar(_) => tile.rows,
            _ => tile.rows * tile.len,
        }
    }

    /// The register that a step writes.
    #[allow(clippy::mut_from_ref)]
    fn target(&self, place: Place, tile: &Tile) -> &mut [f32] {
        // SAFETY: the register has this length, belongs to this thread, and differs from those
        // that the step reads.
        unsafe { slice::from_raw_parts_mut(self.register(place, tile), self.len(place, tile)) }
    }

    /// A register that a step reads.
    fn rows(&self, place: Place, tile: &Tile) -> &[f32] {
        // SAFETY: the register has this length, or the view's operand that many elements in a
        // row, and nothing writes to it while the step lasts.
        unsafe { slice::from_raw_parts(self.register(place, tile), self.len(place, tile)) }
    }

    /// A register that a step reads to write to `to`.
    fn arg(&self, place: Place, to: Place, tile: &Tile) -> Arg<'_> {
        let values = self.rows(place, tile);
        let repeat = match (place, to) {
            (Place::Uniform(_), _) => self.len(to, tile),
            (Place::Scalar(_), Place::Scalar(_)) => 1,
            (Place::Scalar(_), _) => tile.len,
            _ => 1,
        };
        Arg { values, repeat: repeat.max(1) }
    }

    /// Part of a row of reduced columns: the running sum (level 0) or the total (level 1).
    #[allow(clippy::mut_from_ref)]
    fn column(&self, index: usize, level: usize, columns: Range<usize>) -> &mut [f32] {
        let offset = self.layout.columns + (2 * index + level) * self.layout.row_size;
        // SAFETY: the layout has two rows for each reduction, and they are borrowed one at a time.
        unsafe {
            let start = self.registers.add(offset + columns.start);
            slice::from_raw_parts_mut(start, columns.len())
        }
    }

    fn flush_columns(&self) {
        for (index, columns) in self.program.columns.iter().enumerate() {
            let sum = self.column(index, 0, self.columns.clone());
            reduce::columns(self.isa, columns.op, self.column(index, 1, self.columns.clone()), sum);
            sum.fill(reduce::identity(columns.op));
        }
    }
}
