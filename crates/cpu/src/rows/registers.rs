//! Giving registers to the values of a scheduled program.

use super::Instr;
use super::program::{Columns, Pass, Place, Registers, RowProgram, Step};
use crate::format::Format;

/// What kind of register a value wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Virtual {
    /// A row that is computed once and stays.
    Kept,
    /// A row.
    Row,
    /// One number for each row.
    Scalar,
    /// One number for all rows.
    Uniform,
}

/// A program with operations in their final order and as many registers as it likes.
pub(super) struct Draft {
    setup: Vec<DraftStep>,
    passes: Vec<DraftPass>,
    registers: Vec<Virtual>,
    /// Where each recorded value is from now on.
    kept: Vec<Option<usize>>,
    /// Where each recorded value is during one pass.
    reloaded: Vec<Option<(usize, usize)>>,
}

#[derive(Clone, Default)]
struct DraftPass {
    scalars: Vec<DraftStep>,
    rows: Vec<DraftStep>,
}

#[derive(Clone)]
struct DraftStep {
    instr: Instr,
    to: Option<usize>,
    from: [Option<usize>; 3],
}

impl Draft {
    pub fn new(passes: usize, values: usize) -> Draft {
        Draft {
            setup: Vec::new(),
            passes: vec![DraftPass::default(); passes],
            registers: Vec::new(),
            kept: vec![None; values],
            reloaded: vec![None; values],
        }
    }

    /// Adds an operation that is done once, before all passes.
    pub fn once(&mut self, index: usize, instr: Instr, to: Virtual) {
        let step = self.step(0, index, instr, to);
        self.setup.push(step);
    }

    /// Adds an operation that is done once for each block of rows.
    pub fn scalar(&mut self, pass: usize, index: usize, instr: Instr) {
        let step = self.step(pass, index, instr, Virtual::Scalar);
        self.passes[pass].scalars.push(step);
    }

    /// Adds an operation on tiles.
    pub fn row(&mut self, pass: usize, index: usize, instr: Instr) {
        let kind =
            if matches!(instr, Instr::Reduce { .. }) { Virtual::Scalar } else { Virtual::Row };
        let step = self.step(pass, index, instr, kind);
        self.passes[pass].rows.push(step);
    }

    /// Adds a load of rows, unless the row is there: from now on if `keep`, otherwise in this pass.
    pub fn load(&mut self, pass: usize, index: usize, instr: Instr, keep: bool) {
        if self.find(pass, index).is_some() {
            return;
        }
        let step = self.step(pass, index, instr, Virtual::Row);
        if !keep {
            self.reloaded[index] = self.kept[index].take().map(|register| (pass, register));
        }
        self.passes[pass].rows.push(step);
    }

    fn step(&mut self, pass: usize, index: usize, instr: Instr, kind: Virtual) -> DraftStep {
        let mut from = [None; 3];
        for (from, input) in from.iter_mut().zip(instr.inputs()) {
            let found = self.find(pass, input.index());
            *from = Some(found.expect("inputs come before their users"));
        }
        let to = (!instr.is_store()).then(|| {
            self.registers.push(kind);
            self.registers.len() - 1
        });
        self.kept[index] = to;
        DraftStep { instr, to, from }
    }

    fn find(&self, pass: usize, value: usize) -> Option<usize> {
        self.kept[value].or_else(|| {
            self.reloaded[value].filter(|&(when, _)| when == pass).map(|(_, register)| register)
        })
    }
}

/// When a register is written and last read, in passes and in positions among all row steps.
#[derive(Clone, Copy, Default)]
struct Life {
    first_pass: usize,
    last_pass: usize,
    last: usize,
}

/// Registers of one kind, given out and taken back.
#[derive(Default)]
struct Pool {
    free: Vec<usize>,
    count: usize,
}

impl Pool {
    fn take(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count - 1
        })
    }
}

/// Gives every value of the draft its place, and completes the program.
pub(super) fn assign(program: &mut RowProgram, draft: Draft) {
    let lives = lives(&draft);
    let mut assignment = Assignment {
        places: vec![Place::Nowhere; draft.registers.len()],
        first_store: first_store(&draft),
        draft: &draft,
        lives,
        tiles: Pool::default(),
        rows: Pool::default(),
        views: 0,
        scalars: 0,
    };
    for step in &draft.setup {
        let step = assignment.step(program, step, 0);
        program.setup.push(step);
    }
    let mut position = 0;
    for (index, pass) in draft.passes.iter().enumerate() {
        let mut finished = Pass::default();
        for step in &pass.scalars {
            finished.scalars.push(assignment.step(program, step, position));
        }
        for step in &pass.rows {
            finished.rows.push(assignment.step(program, step, position));
            assignment.release_tiles(step, position);
            position += 1;
        }
        assignment.release_rows(index);
        program.passes.push(finished);
    }
    program.registers = Registers {
        tiles: assignment.tiles.count,
        rows: assignment.rows.count,
        views: assignment.views,
        scalars: assignment.scalars,
    };
}

fn lives(draft: &Draft) -> Vec<Life> {
    let mut lives = vec![Life::default(); draft.registers.len()];
    let mut position = 0;
    for (index, pass) in draft.passes.iter().enumerate() {
        for step in &pass.rows {
            if let Some(to) = step.to {
                lives[to] = Life { first_pass: index, last_pass: index, last: position };
            }
            for &register in step.from.iter().flatten() {
                lives[register].last_pass = index;
                lives[register].last = position;
            }
            position += 1;
        }
    }
    lives
}

/// The position and the instruction of the first store of rows.
fn first_store(draft: &Draft) -> Option<(usize, Instr)> {
    let steps = draft.passes.iter().flat_map(|pass| &pass.rows);
    let mut stores = steps.enumerate().filter(|(_, s)| matches!(s.instr, Instr::Store { .. }));
    stores.next().map(|(position, step)| (position, step.instr))
}

struct Assignment<'a> {
    places: Vec<Place>,
    first_store: Option<(usize, Instr)>,
    draft: &'a Draft,
    lives: Vec<Life>,
    tiles: Pool,
    rows: Pool,
    views: usize,
    scalars: usize,
}

impl Assignment<'_> {
    fn step(&mut self, program: &mut RowProgram, step: &DraftStep, position: usize) -> Step {
        let from = step.from.map(|f| f.map_or(Place::Nowhere, |register| self.places[register]));
        let to = match step.to {
            Some(register) => {
                let place = self.place(program, step, register, position);
                self.places[register] = place;
                place
            }
            None => match step.instr {
                Instr::ColumnReduce { op, operand, accumulate, .. } => {
                    program.columns.push(Columns { op, operand, accumulate });
                    Place::Column(program.columns.len() - 1)
                }
                _ => Place::Nowhere,
            },
        };
        Step { instr: step.instr, to, from }
    }

    fn place(
        &mut self,
        program: &RowProgram,
        step: &DraftStep,
        register: usize,
        position: usize,
    ) -> Place {
        let life = self.lives[register];
        match self.draft.registers[register] {
            Virtual::Kept => Place::Tile(self.tiles.take()),
            Virtual::Scalar | Virtual::Uniform => {
                self.scalars += 1;
                match self.draft.registers[register] {
                    Virtual::Scalar => Place::Scalar(self.scalars - 1),
                    _ => Place::Uniform(self.scalars - 1),
                }
            }
            Virtual::Row if self.can_view(program, step, life, position) => {
                self.views += 1;
                Place::View(self.views - 1)
            }
            Virtual::Row => {
                let one_tile = program.tile >= program.space.inner;
                if one_tile || life.last_pass == life.first_pass {
                    Place::Tile(self.tiles.take())
                } else {
                    Place::Row(self.rows.take())
                }
            }
        }
    }

    /// Whether a load can be left out, its users reading the operand itself: it must have the form
    /// of a register, and keep its contents as long as they are needed.
    fn can_view(&self, program: &RowProgram, step: &DraftStep, life: Life, at: usize) -> bool {
        let Instr::Load { operand } = step.instr else { return false };
        let o = &program.operands[operand];
        let inner = program.space.inner;
        let rows_adjoin = program.tile >= inner
            && program.row_strides[operand].is_some_and(|stride| stride == inner as isize);
        let fits = o.format == Format::F32
            && o.inner_stride == 1
            && (program.block_rows == 1 || rows_adjoin);
        let unchanged = match self.first_store {
            None => true,
            Some((position, Instr::Store { operand, accumulate, .. })) => {
                // A plain store of the loaded row itself may overlap it.
                let copies = program.operands[operand].format == Format::F32 && !accumulate;
                at < position && (life.last < position || life.last == position && copies)
            }
            Some(_) => false,
        };
        fits && unchanged
    }

    fn release_tiles(&mut self, step: &DraftStep, position: usize) {
        let mut released = step.from;
        for i in 0..released.len() {
            let Some(register) = released[i] else { continue };
            // The same register may be read twice.
            released[i + 1..].iter_mut().filter(|r| **r == Some(register)).for_each(|r| *r = None);
            let ended = self.lives[register].last == position;
            if let Place::Tile(tile) = self.places[register]
                && ended
                && self.draft.registers[register] == Virtual::Row
            {
                self.tiles.free.push(tile);
            }
        }
    }

    fn release_rows(&mut self, pass: usize) {
        for (place, life) in self.places.iter().zip(&self.lives) {
            if let Place::Row(row) = *place
                && life.last_pass == pass
            {
                self.rows.free.push(row);
            }
        }
    }
}
