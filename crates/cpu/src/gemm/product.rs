//! A planned product: which path, which blocks, which thread does what.

use super::block::{self, Blocking};
use super::buffer::{ALIGNMENT, whole_lines};
use super::description::{Bias, Description, Error, Operand, Output, Right};
use super::kernel::Kernel;
use super::packed::PackedB;
use super::thin;
use crate::isa::Isa;
use crate::team::{Team, split};
use std::ops::Range;

/// A product ready to run, any number of times.
#[derive(Debug)]
pub struct Product {
    /// As it is computed: batch axes merged, and A and B exchanged if `exchanged`.
    description: Description,
    /// Whether `Cᵀ = Bᵀ · Aᵀ` is computed instead, so that few columns become few rows.
    exchanged: bool,
    kernel: &'static dyn Kernel,
    path: Path,
    /// Parts that the work is cut into, at most as many as threads.
    parts: usize,
    thread_bytes: usize,
    batch: usize,
}

#[derive(Debug)]
enum Path {
    /// Nothing to compute.
    Empty,
    /// Few rows: straight from B, divided along the columns of the whole batch.
    Thin,
    /// Blocks, the parts forming a grid over C, for every product of the batch.
    Grid { rows: usize, cols: usize, blocking: Blocking },
    /// Blocks, divided along the rows of the whole batch.
    Flat { blocking: Blocking },
}

/// The right operand of one run.
#[derive(Clone, Copy, Debug)]
pub enum B<'a> {
    /// The matrix that [`Right::Strided`] describes.
    Strided(*const u8),
    /// A packed matrix, for [`Right::Packed`].
    Packed(&'a PackedB),
}

/// The memory of one run.
#[derive(Clone, Copy)]
pub(super) struct Memory<'a> {
    pub a: *const u8,
    pub b: B<'a>,
    pub c: *mut u8,
    /// Null if there is none.
    pub bias: *const u8,
    /// Scratch of the running thread.
    pub scratch: *mut u8,
}

// SAFETY: threads write disjoint parts of C and scratch memory of their own, and the rest is only
// read; the caller of `Product::run` vouches for the memory itself.
unsafe impl Sync for Memory<'_> {}

/// Multiplications that are worth waking another thread.
const WORK_PER_PART: usize = 64 * 1024;

impl Product {
    /// Plans `description` for teams of up to `threads` threads.
    pub fn new(isa: Isa, threads: usize, description: &Description) -> Result<Product, Error> {
        description.check()?;
        let [left, right] = description.factors();
        let kernel = super::kernel(isa, left, right);
        let mut d = description.simplified();
        let mut exchanged = false;
        if let Some(other) = d.exchanged().filter(|other| !thin::serves(&d) && thin::serves(other))
        {
            (d, exchanged) = (other, true);
        }
        let batch = d.batch.iter().map(|axis| axis.count).product::<usize>();
        let work = batch.saturating_mul(d.m).saturating_mul(d.n).saturating_mul(d.k.max(1));
        let parts = (work / WORK_PER_PART).clamp(1, threads.max(1));
        let mut product = Product {
            path: Path::Empty,
            thread_bytes: 0,
            description: d,
            exchanged,
            kernel,
            parts,
            batch,
        };
        if work > 0 {
            (product.path, product.thread_bytes) = product.choose();
        }
        Ok(product)
    }

    fn choose(&self) -> (Path, usize) {
        let (d, parts) = (&self.description, self.parts);
        if thin::serves(d) {
            return (Path::Thin, thin::scratch_bytes(d));
        }
        let units = self.batch * d.m.div_ceil(self.kernel.mr());
        if self.batch > 1 && units >= 4 * parts {
            let blocking = Blocking::new(d, self.kernel, d.m, d.n);
            let bytes = blocking.scratch_bytes(d, self.kernel);
            return (Path::Flat { blocking }, bytes);
        }
        let (rows, cols) = grid(d, self.kernel, parts);
        let max_cols = split(d.n, cols, 0, self.kernel.nr()).len();
        let blocking = Blocking::new(d, self.kernel, d.m.div_ceil(rows), max_cols);
        let bytes = blocking.scratch_bytes(d, self.kernel);
        (Path::Grid { rows, cols, blocking }, bytes)
    }

    /// The kernel's name.
    pub fn kernel_name(&self) -> &'static str {
        self.kernel.name()
    }

    /// Number of products, and m, n and k of each, as they were simplified.
    pub fn dims(&self) -> [usize; 4] {
        let d = &self.description;
        let (m, n) = if self.exchanged { (d.n, d.m) } else { (d.m, d.n) };
        [self.batch, m, n, d.k]
    }

    /// Bytes of both operands and of the result; those of a broadcast operand count every time.
    pub fn bytes(&self) -> usize {
        let d = &self.description;
        let b = match d.b {
            Right::Strided(operand) => operand.format,
            Right::Packed(storage) => storage,
        };
        let c = d.m * d.n * d.c.format.bytes() * if d.c.accumulate { 2 } else { 1 };
        self.batch * (d.m * d.k * d.a.format.bytes() + d.k * d.n * b.bytes() + c)
    }

    /// Bytes of scratch memory that a run needs.
    pub fn scratch_bytes(&self) -> usize {
        self.parts * self.thread_bytes + ALIGNMENT
    }

    /// Computes the product. Allocates nothing.
    ///
    /// # Safety
    /// Every element that the description reaches from `a`, `b`, `c` and `bias` must be in valid
    /// memory, aligned for its format; C must overlap none of the others, have no two elements in
    /// the same place, and be accessed by nobody else meanwhile; the others must not change.
    ///
    /// # Panics
    /// If `scratch` is too small, or `b` or `bias` are not what the description says.
    pub unsafe fn run(
        &self,
        team: &Team,
        a: *const u8,
        b: B<'_>,
        c: *mut u8,
        bias: Option<*const u8>,
        scratch: &mut [u8],
    ) {
        assert!(scratch.len() >= self.scratch_bytes(), "the product's scratch memory is too small");
        assert_eq!(bias.is_some(), self.description.bias.is_some(), "bias differs from the plan");
        self.check_b(b);
        let (a, b) = match b {
            B::Strided(b) if self.exchanged => (b, B::Strided(a)),
            _ => (a, b),
        };
        let scratch = scratch.as_mut_ptr();
        let scratch = scratch.wrapping_add(scratch.align_offset(ALIGNMENT));
        let memory = Memory { a, b, c, bias: bias.unwrap_or(std::ptr::null()), scratch };
        if self.parts == 1 {
            // SAFETY: the caller vouches for the memory, and the scratch has room for one part.
            return unsafe { self.work(0, memory) };
        }
        let memory = &memory;
        team.run(&|index, threads| {
            let scratch = memory.scratch.wrapping_add(index * self.thread_bytes);
            for part in (index..self.parts).step_by(threads) {
                // SAFETY: as above; `index <= part`, which is below the number of parts, so the
                // scratch is within the slice, and no other thread has this index.
                unsafe { self.work(part, Memory { scratch, ..*memory }) }
            }
        });
    }

    fn check_b(&self, b: B<'_>) {
        match (b, self.description.b) {
            (B::Strided(_), Right::Strided(_)) => {}
            (B::Packed(packed), Right::Packed(storage)) => {
                let found = (packed.k(), packed.n(), packed.storage(), packed.kernel().name());
                let expected =
                    (self.description.k, self.description.n, storage, self.kernel.name());
                assert_eq!(found, expected, "the packed operand differs from the plan");
            }
            _ => panic!("the right operand's kind differs from the plan"),
        }
    }

    /// # Safety
    /// As for [`Product::run`], and `memory.scratch` has `thread_bytes` bytes of its own.
    unsafe fn work(&self, part: usize, memory: Memory<'_>) {
        let d = &self.description;
        match &self.path {
            Path::Empty => {}
            Path::Thin => {
                let range = split(self.batch * d.n, self.parts, part, 64);
                each(range, d.n, |batch, cols| {
                    // SAFETY: passed on; the columns of the parts are disjoint.
                    unsafe { thin::compute(d, self.kernel, &memory.at(d, batch), cols) }
                });
            }
            Path::Grid { rows, cols, blocking } => {
                let nr = self.kernel.nr();
                let (row_part, col_part) = (part / cols, part % cols);
                let (rows, cols) =
                    (split(d.m, *rows, row_part, 1), split(d.n, *cols, col_part, nr));
                let mut ready = None;
                for batch in 0..self.batch {
                    let memory = memory.at(d, batch);
                    let (rows, cols) = (rows.clone(), cols.clone());
                    // SAFETY: passed on; the blocks of the parts are disjoint.
                    unsafe {
                        block::compute(d, self.kernel, blocking, &memory, rows, cols, &mut ready);
                    }
                }
            }
            Path::Flat { blocking } => {
                let mr = self.kernel.mr();
                let units = d.m.div_ceil(mr);
                let mut ready = None;
                each(split(self.batch * units, self.parts, part, 1), units, |batch, units| {
                    let rows = units.start * mr..(units.end * mr).min(d.m);
                    let memory = memory.at(d, batch);
                    // SAFETY: passed on; the rows of the parts are disjoint.
                    unsafe {
                        block::compute(d, self.kernel, blocking, &memory, rows, 0..d.n, &mut ready);
                    }
                });
            }
        }
    }
}

/// Cuts a range over `batch * inner` elements at the products' borders.
fn each(range: Range<usize>, inner: usize, mut f: impl FnMut(usize, Range<usize>)) {
    let mut start = range.start;
    while start < range.end {
        let batch = start / inner;
        let end = range.end.min((batch + 1) * inner);
        f(batch, start - batch * inner..end - batch * inner);
        start = end;
    }
}

/// How many parts along the rows and along the columns of C: the fewest multiplications and
/// packed elements for the part that has the most.
fn grid(d: &Description, kernel: &dyn Kernel, parts: usize) -> (usize, usize) {
    /// Multiplications in the time that packing one element takes.
    const PACKING: usize = 24;
    let cost = |&(rows, cols): &(usize, usize)| {
        let m = d.m.div_ceil(rows);
        let n = split(d.n, cols, 0, kernel.nr()).len().next_multiple_of(kernel.nr());
        let packed = m + if matches!(d.b, Right::Packed(_)) { 0 } else { n };
        m * n + PACKING * packed
    };
    let grids =
        (1..=parts).filter(|rows| parts.is_multiple_of(*rows)).map(|rows| (rows, parts / rows));
    grids.min_by_key(cost).expect("one row of parts is always possible")
}

impl Memory<'_> {
    /// The memory of product `index` of the batch.
    fn at(self, d: &Description, mut index: usize) -> Self {
        let (mut a, mut b, mut c) = (0, 0, 0);
        for axis in d.batch.iter().rev() {
            let i = index % axis.count;
            index /= axis.count;
            a += i * axis.a;
            b += i * axis.b;
            c += i * axis.c;
        }
        let b = match (self.b, d.b) {
            (B::Strided(base), Right::Strided(operand)) => {
                B::Strided(base.wrapping_add(b * operand.format.bytes()))
            }
            (b, _) => b,
        };
        Memory {
            a: self.a.wrapping_add(a * d.a.format.bytes()),
            b,
            c: self.c.wrapping_add(c * d.c.format.bytes()),
            ..self
        }
    }
}

impl Description {
    /// The same as `Cᵀ = Bᵀ · Aᵀ`, if that can be said.
    fn exchanged(&self) -> Option<Description> {
        let Right::Strided(b) = self.b else { return None };
        let mut d = self.clone();
        (d.m, d.n) = (self.n, self.m);
        (d.a, d.b) = (b.transposed(), Right::Strided(self.a.transposed()));
        d.bias = self.bias.map(Bias::transposed);
        d.c = Output { row_stride: self.c.col_stride, col_stride: self.c.row_stride, ..self.c };
        d.batch.iter_mut().for_each(|axis| std::mem::swap(&mut axis.a, &mut axis.b));
        Some(d)
    }
}

impl Operand {
    fn transposed(self) -> Operand {
        Operand { row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}

impl std::fmt::Debug for dyn Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes of consecutive regions, each starting at a cache line.
pub(super) fn regions<const N: usize>(bytes: [usize; N]) -> ([usize; N], usize) {
    let mut end = 0;
    let starts = bytes.map(|bytes| {
        let start = end;
        end += whole_lines(bytes);
        start
    });
    (starts, end)
}
