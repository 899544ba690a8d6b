//! Rows of tables: read at indices, or combined with updates there.

use super::place::Location;
use super::step::{Address, Context, clamp};
use crate::team;

/// How an update changes what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Update,
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
}

impl Mode {
    /// By its name in programs.
    pub fn of(name: &str) -> Option<Mode> {
        Some(match name {
            "update" => Mode::Update,
            "add" => Mode::Add,
            "sub" => Mode::Sub,
            "mul" => Mode::Mul,
            "div" => Mode::Div,
            "max" => Mode::Max,
            "min" => Mode::Min,
            _ => return None,
        })
    }

    /// NaN wins, unlike in `f32::max`.
    fn floats(self, old: f32, new: f32) -> f32 {
        match self {
            Mode::Update => new,
            Mode::Add => old + new,
            Mode::Sub => old - new,
            Mode::Mul => old * new,
            Mode::Div => old / new,
            Mode::Max if new > old || new.is_nan() => new,
            Mode::Min if new < old || new.is_nan() => new,
            Mode::Max | Mode::Min => old,
        }
    }

    fn ints(self, old: i32, new: i32) -> i32 {
        match self {
            Mode::Update => new,
            Mode::Add => old.wrapping_add(new),
            Mode::Sub => old.wrapping_sub(new),
            Mode::Mul => old.wrapping_mul(new),
            // The least integer over −1 wraps; a division by 0 gives 0.
            Mode::Div if new == 0 => 0,
            Mode::Div => old.wrapping_div(new),
            Mode::Max => old.max(new),
            Mode::Min => old.min(new),
        }
    }

    /// Combines a row of fp32 with an update.
    pub fn float_row(self, row: &mut [f32], update: &[f32]) {
        row.iter_mut().zip(update).for_each(|(old, &new)| *old = self.floats(*old, new));
    }

    /// The same of int32.
    pub fn int_row(self, row: &mut [i32], update: &[i32]) {
        row.iter_mut().zip(update).for_each(|(old, &new)| *old = self.ints(*old, new));
    }
}

/// Dense tables of which `outer` share their indices, and of these again `batch`.
#[derive(Clone, Copy)]
pub(crate) struct Tables {
    pub at: Location,
    pub batch: usize,
    pub outer: usize,
    pub rows: usize,
    pub width: usize,
}

/// Rows of tables at `count` indices each.
pub(crate) struct GatherStep {
    pub tables: Tables,
    pub row_bytes: usize,
    pub indices: Location,
    pub count: usize,
    pub output: Location,
}

/// Rows of tables of fp32, or int32 if `integers`, combined with updates at `count` indices each.
pub(crate) struct ScatterStep {
    pub mode: Mode,
    pub tables: Tables,
    pub integers: bool,
    pub indices: Location,
    pub count: usize,
    pub updates: Location,
}

impl GatherStep {
    /// Runs the step.
    ///
    /// # Safety
    /// As [`Step::run`](super::step::Step::run).
    pub unsafe fn run(&self, c: &Context<'_>) {
        let Tables { batch, outer, rows, width, .. } = self.tables;
        let (count, row_bytes) = (self.count, self.row_bytes);
        let (from, to) = (Address(c.at(self.tables.at)), Address(c.at(self.output)));
        let indices = c.at(self.indices).cast::<i32>();
        // SAFETY: the plan places so many indices at this location.
        let indices = unsafe { std::slice::from_raw_parts(indices, batch * count) };
        let all = batch * outer * count;
        c.share(all * width, &|index, parts| {
            for i in team::split(all, parts, index, 1) {
                let (table, which) = (i / count, i % count);
                let row = clamp(indices[table / outer * count + which], rows);
                // SAFETY: every row read is inside its table, and the plan places as many
                // rows of their bytes at the output, each written by one thread.
                unsafe {
                    let from = from.bytes().add((table * rows + row) * row_bytes);
                    let to = to.bytes().add(i * row_bytes);
                    match row_bytes {
                        4 => *to.cast::<[u8; 4]>() = *from.cast::<[u8; 4]>(),
                        2 => *to.cast::<[u8; 2]>() = *from.cast::<[u8; 2]>(),
                        _ => std::ptr::copy_nonoverlapping(from, to, row_bytes),
                    }
                }
            }
        });
    }
}

impl ScatterStep {
    /// Runs the step.
    ///
    /// # Safety
    /// As [`Step::run`](super::step::Step::run).
    pub unsafe fn run(&self, c: &Context<'_>) {
        let Tables { batch, outer, rows, width, .. } = self.tables;
        let count = self.count;
        let (data, updates) = (Address(c.at(self.tables.at)), Address(c.at(self.updates)));
        let indices = c.at(self.indices).cast::<i32>();
        // SAFETY: the plan places so many indices at this location.
        let indices = unsafe { std::slice::from_raw_parts(indices, batch * count) };
        // A table is one thread's, which takes its updates in order.
        c.share(batch * outer * count * width, &|index, parts| {
            for table in team::split(batch * outer, parts, index, 1) {
                for which in 0..count {
                    let row = clamp(indices[table / outer * count + which], rows);
                    let to = (table * rows + row) * width;
                    let from = (table * count + which) * width;
                    // SAFETY: the plan places all tables and updates at these locations,
                    // which do not overlap; numbers of both types have 4 bytes.
                    unsafe {
                        let to = data.floats().add(to);
                        let from = updates.floats().add(from);
                        if self.integers {
                            self.mode.int_row(
                                std::slice::from_raw_parts_mut(to.cast(), width),
                                std::slice::from_raw_parts(from.cast(), width),
                            );
                        } else {
                            self.mode.float_row(
                                std::slice::from_raw_parts_mut(to, width),
                                std::slice::from_raw_parts(from, width),
                            );
                        }
                    }
                }
            }
        });
    }
}
