//! Running a loop: every iteration through all steps of the body, on whichever thread is free.

use super::place::Location;
use super::step::{Context, Step};
use crate::gemm::{AlignedBytes, OutOfMemory};
use crate::rows;
use runtime::Accumulation;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A loop whose iterations different threads compute.
pub(crate) struct LoopStep {
    /// How often along each axis.
    pub counts: Vec<usize>,
    /// The operands of the body, whose slots are these after the one of the thread's own arena.
    pub moving: Vec<Moving>,
    pub arena_bytes: usize,
    /// Steps of one iteration, for one thread.
    pub steps: Vec<Step>,
}

/// An operand that moves with the iterations.
pub(crate) struct Moving {
    /// Where it is in the first.
    pub location: Location,
    /// How many bytes further it is for the next index of each axis.
    pub strides: Vec<isize>,
}

/// How much working memory of its own a thread needs for the bodies of loops.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnBytes {
    pub arena: usize,
    pub products: usize,
    pub rows: usize,
    /// Number of pointers.
    pub pointers: usize,
}

impl OwnBytes {
    /// What is enough for both.
    pub fn max(self, other: OwnBytes) -> OwnBytes {
        OwnBytes {
            arena: self.arena.max(other.arena),
            products: self.products.max(other.products),
            rows: self.rows.max(other.rows),
            pointers: self.pointers.max(other.pointers),
        }
    }

    /// Bytes of one thread.
    pub fn total(self) -> usize {
        self.arena + self.products + self.rows + self.pointers * size_of::<*mut u8>()
    }
}

/// Working memory of one thread for the bodies of loops.
#[derive(Default)]
pub(crate) struct Own {
    arena: AlignedBytes,
    products: AlignedBytes,
    rows: rows::Scratch,
    /// Empty outside of loops, kept for its capacity.
    pointers: Vec<*mut u8>,
}

// SAFETY: `pointers` is empty outside of loops.
unsafe impl Send for Own {}

impl Own {
    /// Makes it at least as large.
    pub fn grow(&mut self, bytes: OwnBytes) -> Result<(), OutOfMemory> {
        self.arena.grow(bytes.arena)?;
        self.products.grow(bytes.products)?;
        self.rows.reserve(bytes.rows);
        self.pointers.try_reserve(bytes.pointers).map_err(|_| OutOfMemory)
    }

    /// The table of pointers with nothing but the arena.
    pub fn begin(&mut self) -> &mut Vec<*mut u8> {
        self.pointers.clear();
        self.pointers.push(self.arena.as_mut_ptr());
        &mut self.pointers
    }

    /// Leaves the table empty.
    pub fn end(&mut self) {
        self.pointers.clear();
    }
}

/// What the threads of a loop share: the table of pointers, and their own memory by index.
struct Common<'a> {
    pointers: &'a [*mut u8],
    own: *mut Own,
}

// SAFETY: every thread uses the memory of its own index; what is behind the pointers is for the
// loop to keep apart.
unsafe impl Sync for Common<'_> {}

impl LoopStep {
    /// # Safety
    /// As [`Step::run`].
    pub unsafe fn run(&self, c: &mut Context<'_>) {
        assert!(c.own.len() >= c.team.threads(), "every thread needs memory of its own");
        let iterations: usize = self.counts.iter().product();
        let common = Common { pointers: c.pointers, own: c.own.as_mut_ptr() };
        let (isa, alone) = (c.isa, c.alone);
        // Taken one by one: a thread that other programs hold up does not hold up the loop.
        let next = AtomicUsize::new(0);
        c.team.run(&|index, _| {
            let common = &common;
            // SAFETY: there are as many as threads, and no other thread has this index.
            let own = unsafe { &mut *common.own.add(index) };
            loop {
                let iteration = next.fetch_add(1, Ordering::Relaxed);
                if iteration >= iterations {
                    break;
                }
                let moved =
                    self.moving.iter().map(|m| m.at(common.pointers, &self.counts, iteration));
                own.begin().extend(moved);
                let mut body = Context {
                    pointers: &own.pointers,
                    packs: &[],
                    integers: &[],
                    team: alone,
                    isa,
                    product_scratch: &mut own.products,
                    row_scratch: &mut own.rows,
                    accumulation: Accumulation::Replace,
                    own: &mut [],
                    alone,
                };
                for step in &self.steps {
                    // SAFETY: the plan gives every iteration parts of the operands that no other
                    // writes, and memory of the thread's own for the rest.
                    let result = unsafe { step.run(&mut body) };
                    result.expect("row programs and products do not fail");
                }
            }
            own.end();
        });
    }
}

impl Moving {
    /// Where the operand is in an iteration.
    fn at(&self, pointers: &[*mut u8], counts: &[usize], mut iteration: usize) -> *mut u8 {
        let mut at = self.location.byte_offset as isize;
        for (&count, &stride) in counts.iter().zip(&self.strides).rev() {
            at += (iteration % count) as isize * stride;
            iteration /= count;
        }
        pointers[self.location.slot].wrapping_offset(at)
    }
}
