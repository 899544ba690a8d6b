//! From recorded operations to passes over blocks of rows.
//!
//! A reduction needs its whole row before anything that depends on it can start, so that the
//! program is cut into passes: pass `n` holds what depends on `n` reductions in a row. Soft-max is
//! three, `max(x)`, then `sum(e = exp(x - max))`, then `e / sum`. Operations run in the last pass
//! that all their users permit, which keeps few values alive from one pass to the next.

use super::axes::{Space, row_stride};
use super::program::RowProgram;
use super::registers::{Draft, Virtual, assign};
use super::{Instr, Operand, Value, copy};
use crate::format::Format;

/// Elements in a tile: with half a dozen registers it stays in the first-level cache.
const TILE: usize = 1024;

/// Rows up to this length are processed as one tile even if there are several passes.
const LONGEST_WHOLE: usize = 2048;

/// The shape of a tile for transposing copies: both sides touch whole cache lines.
const TRANSPOSED: (usize, usize) = (64, 64);

pub(super) fn schedule(
    mut space: Space,
    mut operands: Vec<Operand>,
    code: Vec<Instr>,
) -> RowProgram {
    space.simplify(&mut operands, &code);
    let code = Code::new(&operands, code);
    copy_integers_unchanged(&mut operands, &code.instrs);
    let row_strides: Vec<_> = operands.iter().map(|o| row_stride(&space, o)).collect();
    let (block_rows, tile) = block_shape(&space, &operands, &code);
    let mut program = RowProgram {
        space,
        operands,
        row_strides,
        block_rows,
        tile,
        setup: Vec::new(),
        passes: Vec::new(),
        columns: Vec::new(),
        registers: Default::default(),
        copy: None,
    };
    program.copy = copy::operands(&program, &code.instrs);
    let planner = Planner::new(&program, &code);
    let draft = planner.draft();
    assign(&mut program, draft);
    program
}

/// Rows in a block, and elements of a row in a tile.
fn block_shape(space: &Space, operands: &[Operand], code: &Code) -> (usize, usize) {
    let inner = space.inner.max(1);
    let rows = space.rows().max(1);
    let strided = |o: &Operand| {
        !matches!(o.inner_stride, 0 | 1) && o.outer_strides.last().is_some_and(|&s| s == 1)
    };
    let reduces = code.instrs.iter().any(|i| matches!(i, Instr::Reduce { .. }));
    if operands.iter().any(strided) {
        let (least_rows, tile) = TRANSPOSED;
        if !reduces {
            let block = least_rows.max(TILE / inner);
            return (block.min(rows), tile.min(inner));
        } else if inner <= TILE {
            return (least_rows.max(TILE / inner).min(rows), inner);
        }
    }
    if inner <= TILE || (reduces && inner <= LONGEST_WHOLE) {
        ((TILE / inner).clamp(1, rows), inner)
    } else {
        (1, TILE)
    }
}

/// Integers that are only copied go as their bits, because `f32` cannot hold all of them.
fn copy_integers_unchanged(operands: &mut [Operand], code: &[Instr]) {
    for (index, instr) in code.iter().enumerate() {
        let Instr::Load { operand } = *instr else { continue };
        let users: Vec<&Instr> =
            code.iter().filter(|i| i.inputs().any(|v| v.index() == index)).collect();
        let target = |user: &&Instr| match **user {
            Instr::Store { operand, accumulate: false, .. }
            | Instr::StoreScalar { operand, accumulate: false, .. } => Some(operand),
            // A row of one repeated integer is stored through this.
            _ => None,
        };
        let targets: Option<Vec<usize>> = users.iter().map(target).collect();
        let Some(targets) = targets else { continue };
        let all = targets.iter().chain([&operand]);
        if all.clone().all(|&o| operands[o].format == Format::I32) {
            all.for_each(|&o| operands[o].format = Format::F32);
        }
    }
}

/// The operations with rows and numbers told apart, and dead ones marked.
struct Code {
    instrs: Vec<Instr>,
    is_row: Vec<bool>,
    /// How many reductions come before.
    level: Vec<usize>,
    users: Vec<Vec<usize>>,
}

impl Code {
    fn new(operands: &[Operand], recorded: Vec<Instr>) -> Code {
        let mut code =
            Code { instrs: Vec::new(), is_row: Vec::new(), level: Vec::new(), users: Vec::new() };
        let live = live(&recorded);
        let mut renamed: Vec<Value> = Vec::new();
        for (instr, live) in recorded.into_iter().zip(live) {
            // Nothing refers to what is dead.
            let value = if live { code.add(operands, instr, &renamed) } else { Value(0) };
            renamed.push(value);
        }
        code
    }

    fn add(&mut self, operands: &[Operand], mut instr: Instr, renamed: &[Value]) -> Value {
        rename(&mut instr, |value| renamed[value.index()]);
        let any_row = instr.inputs().any(|v| self.is_row[v.index()]);
        let is_row = match instr {
            Instr::Load { operand } => operands[operand].inner_stride != 0,
            Instr::Expand { .. } => true,
            Instr::Reduce { .. } => false,
            _ => any_row,
        };
        match &mut instr {
            Instr::Store { a, .. } | Instr::ColumnReduce { a, .. } | Instr::Reduce { a, .. } => {
                *a = self.expanded(*a);
            }
            Instr::Select { c, .. } if any_row => *c = self.expanded(*c),
            _ => {}
        }
        self.push(instr, is_row)
    }

    fn expanded(&mut self, a: Value) -> Value {
        if self.is_row[a.index()] { a } else { self.push(Instr::Expand { a }, true) }
    }

    fn push(&mut self, instr: Instr, is_row: bool) -> Value {
        let index = self.instrs.len();
        let mut level = 0;
        for input in instr.inputs() {
            let after = matches!(self.instrs[input.index()], Instr::Reduce { .. }) as usize;
            level = level.max(self.level[input.index()] + after);
            self.users[input.index()].push(index);
        }
        self.instrs.push(instr);
        self.is_row.push(is_row);
        self.level.push(level);
        self.users.push(Vec::new());
        Value(index as u32)
    }
}

fn live(code: &[Instr]) -> Vec<bool> {
    let mut live: Vec<bool> = code.iter().map(Instr::is_store).collect();
    for index in (0..code.len()).rev() {
        if live[index] {
            code[index].inputs().for_each(|input| live[input.index()] = true);
        }
    }
    live
}

fn rename(instr: &mut Instr, name: impl Fn(Value) -> Value) {
    match instr {
        Instr::Load { .. } | Instr::Const(_) => {}
        Instr::Unary { a, .. }
        | Instr::Clamp { a, .. }
        | Instr::Round { a, .. }
        | Instr::Reduce { a, .. }
        | Instr::Expand { a }
        | Instr::Store { a, .. }
        | Instr::StoreScalar { a, .. }
        | Instr::ColumnReduce { a, .. } => *a = name(*a),
        Instr::Binary { a, b, .. } => {
            *a = name(*a);
            *b = name(*b);
        }
        Instr::Select { c, a, b } => {
            *c = name(*c);
            *a = name(*a);
            *b = name(*b);
        }
    }
}

/// Decides in which pass each operation runs.
struct Planner<'a> {
    program: &'a RowProgram,
    code: &'a Code,
    /// Whether the value is the same for all rows and computed once.
    once: Vec<bool>,
    /// The pass of each operation.
    pass: Vec<usize>,
    /// The first pass that stores rows.
    first_store: usize,
}

impl<'a> Planner<'a> {
    fn new(program: &'a RowProgram, code: &'a Code) -> Planner<'a> {
        let count = code.instrs.len();
        let mut planner =
            Planner { program, code, once: Vec::new(), pass: code.level.clone(), first_store: 0 };
        for index in 0..count {
            let once = planner.is_computed_once(index);
            planner.once.push(once);
        }
        // A row is computed as late as its users permit; the users come behind it.
        for index in (0..count).rev() {
            let instr = &code.instrs[index];
            let fixed = instr.is_store() || matches!(instr, Instr::Reduce { .. });
            if code.is_row[index] && !fixed {
                let latest = code.users[index].iter().map(|&user| planner.pass[user]).min();
                planner.pass[index] = latest.expect("dead operations were left out");
            }
        }
        let stores = (0..count).filter(|&i| matches!(code.instrs[i], Instr::Store { .. }));
        planner.first_store = stores.map(|i| planner.pass[i]).min().unwrap_or(usize::MAX);
        planner
    }

    fn one_tile(&self) -> bool {
        self.program.tile >= self.program.space.inner
    }

    fn is_computed_once(&self, index: usize) -> bool {
        let instr = &self.code.instrs[index];
        let constant = match *instr {
            Instr::Const(_) => true,
            Instr::Load { operand } => {
                self.program.row_strides[operand] == Some(0) || self.program.space.rows() == 1
            }
            Instr::Reduce { .. } => false,
            _ => !instr.is_store() && instr.inputs().all(|input| self.once[input.index()]),
        };
        // Rows of which only a tile is in a register cannot wait there.
        constant && (self.one_tile() || !self.code.is_row[index])
    }

    fn draft(&self) -> Draft {
        let passes = self.pass.iter().max().map_or(0, |last| last + 1);
        let mut draft = Draft::new(passes, self.code.instrs.len());
        let is_load = |i: &usize| matches!(self.code.instrs[*i], Instr::Load { .. });
        let (loads, others): (Vec<_>, Vec<_>) = (0..self.code.instrs.len()).partition(is_load);
        for &index in loads.iter().chain(&others).filter(|&&i| self.once[i]) {
            let to = if self.code.is_row[index] { Virtual::Kept } else { Virtual::Uniform };
            draft.once(index, self.code.instrs[index], to);
        }
        for pass in 0..passes {
            let scalar = |i: &&usize| {
                let i = **i;
                self.pass[i] == pass && !self.once[i] && !self.code.is_row[i] && !self.takes_rows(i)
            };
            for &index in loads.iter().chain(&others).filter(scalar) {
                draft.scalar(pass, index, self.code.instrs[index]);
            }
            self.draft_rows(pass, &mut draft);
        }
        draft
    }

    /// Whether it belongs to the tiles although it makes no row.
    fn takes_rows(&self, index: usize) -> bool {
        use Instr::*;
        matches!(self.code.instrs[index], Store { .. } | ColumnReduce { .. } | Reduce { .. })
    }

    fn draft_rows(&self, pass: usize, draft: &mut Draft) {
        let mine = |i: usize| self.pass[i] == pass && !self.once[i];
        // Loads go in front of the first store, whatever the order in which they were recorded.
        let store = |&i: &usize| mine(i) && matches!(self.code.instrs[i], Instr::Store { .. });
        let first_store = (0..self.code.instrs.len()).find(store);
        for index in 0..self.code.instrs.len() {
            if !mine(index) || !(self.code.is_row[index] || self.takes_rows(index)) {
                continue;
            }
            if matches!(self.code.instrs[index], Instr::Load { .. }) {
                continue;
            }
            if first_store == Some(index) {
                let later = (index..self.code.instrs.len()).filter(|&i| mine(i));
                later.for_each(|user| self.draft_loads(pass, user, draft));
                // What a later pass reads must be read before this store as well.
                for load in 0..self.code.instrs.len() {
                    if self.must_persist(load) && pass == self.first_store {
                        draft.load(pass, load, self.code.instrs[load], true);
                    }
                }
            }
            self.draft_loads(pass, index, draft);
            draft.row(pass, index, self.code.instrs[index]);
        }
    }

    /// Loads the rows that an operation reads, unless that is done already.
    fn draft_loads(&self, pass: usize, user: usize, draft: &mut Draft) {
        for input in self.code.instrs[user].inputs() {
            let load = input.index();
            let instr = self.code.instrs[load];
            if !matches!(instr, Instr::Load { .. }) || self.once[load] || !self.code.is_row[load] {
                continue;
            }
            // A row that is one tile stays in its register; a longer one is cheaper to load again
            // than to keep, unless a store may have changed it.
            draft.load(pass, load, instr, self.one_tile() || self.must_persist(load));
        }
    }

    /// Whether a load is used in a pass behind the first that stores.
    fn must_persist(&self, load: usize) -> bool {
        matches!(self.code.instrs[load], Instr::Load { .. })
            && self.code.is_row[load]
            && !self.once[load]
            && self.code.users[load].iter().any(|&user| self.pass[user] > self.first_store)
    }
}
