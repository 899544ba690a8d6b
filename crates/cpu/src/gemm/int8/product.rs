//! A planned integer product: which thread does what.

use super::super::buffer::ALIGNMENT;
use super::super::kernel::Kernel as FloatKernel;
use super::super::product::regions;
use super::kernel::{GROUP, Kernel, NR, PANEL_STEP};
use super::part::Part;
use super::weights::{Side, Weights};
use crate::format::Format;
use crate::isa::Isa;
use crate::team::{Team, split};

/// One product, or a batch of them with the same weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A and rows of B.
    pub k: usize,
    /// How often, each with other activations and another C.
    pub batch: usize,
    /// Which operand the weights are; the other is the activations.
    pub weights: Side,
    /// The activations: A, or B.
    pub activations: Activations,
    /// C.
    pub output: Output,
    /// The format of a vector with a contiguous number for each channel, which is added.
    pub bias: Option<Format>,
}

/// The matrix that is quantized, or is about to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activations {
    /// `I8` or `U8`; or `F32`, `Bf16` or `F16`, on the left only: then every row is quantized by
    /// itself when the product is run, to s8 with `scale = max|x| / 127`.
    pub format: Format,
    /// Distance between rows, in elements.
    pub row_stride: usize,
    /// Distance between columns.
    pub col_stride: usize,
    /// Distance between matrices of the batch.
    pub batch_stride: usize,
    /// The integer that stands for 0, and the value of one; for integers only.
    pub zero: i32,
    /// As above.
    pub scale: f32,
}

/// What becomes of a sum: scaled, the bias added, `relu` if wanted, and then either rounded or
/// quantized.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Output {
    /// `F32`, `Bf16` or `F16`; `I8` or `U8` if quantized.
    pub format: Format,
    /// Distance between rows, in elements; columns are contiguous.
    pub row_stride: usize,
    /// Distance between matrices of the batch.
    pub batch_stride: usize,
    /// Negative numbers become 0.
    pub relu: bool,
    /// Rounds numbers to this format first.
    pub round: Option<Format>,
    /// Adds to what is there.
    pub accumulate: bool,
    /// Quantizes.
    pub requantize: Option<Requantize>,
}

/// From a number to a byte: `x · inverse`, rounded to nearest even, plus `zero`, saturated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Requantize {
    /// One over the scale.
    pub inverse: f32,
    /// What 0 becomes.
    pub zero: i32,
}

impl Requantize {
    /// What scaled numbers are clipped to.
    pub(super) fn bounds(&self, format: Format) -> (f32, f32) {
        let (low, high) = if format == Format::I8 { (-128, 127) } else { (0, 255) };
        ((low - self.zero) as f32, (high - self.zero) as f32)
    }
}

/// Why an integer product cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The sum could leave 32 bits.
    #[error("sums of {0} products of bytes do not fit in 32 bits, at most {max} do", max = super::MAX_DEPTH)]
    Depth(usize),
    /// A format that does not belong there.
    #[error("the {what} of an integer product cannot be {format:?}")]
    Format {
        /// Which operand.
        what: &'static str,
        /// Its format.
        format: Format,
    },
    /// A zero point that is none of the format's integers.
    #[error("a zero point of {0} is not among the bytes")]
    Zero(i32),
}

/// An integer product ready to run, any number of times.
#[derive(Debug)]
pub struct Product {
    pub(super) description: Description,
    pub(super) kernel: &'static dyn Kernel,
    pub(super) float: &'static dyn FloatKernel,
    /// Parts along the rows and the columns of C.
    grid: (usize, usize),
    /// Rows of A that are prepared at a time.
    pub(super) block: usize,
    thread_bytes: usize,
}

/// Multiplications that are worth waking another thread.
const WORK_PER_PART: usize = 128 * 1024;
/// What the prepared rows of A may take: part of a second-level cache.
const BLOCK_BYTES: usize = 512 << 10;

/// The memory of one run.
#[derive(Clone, Copy)]
pub(super) struct Memory<'a> {
    pub activations: *const u8,
    pub weights: &'a Weights,
    pub c: *mut u8,
    /// Null if there is none.
    pub bias: *const u8,
    scratch: *mut u8,
}

// SAFETY: threads write disjoint parts of C and scratch memory of their own, and the rest is only
// read; the caller of `Product::run` vouches for the memory itself.
unsafe impl Sync for Memory<'_> {}

impl Product {
    /// Plans `description` for teams of up to `threads` threads.
    ///
    /// # Errors
    /// If sums could overflow, or formats do not belong where they are.
    pub fn new(isa: Isa, threads: usize, description: &Description) -> Result<Product, Error> {
        Product::with_kernel(super::kernel(isa), isa, threads, description)
    }

    pub(super) fn with_kernel(
        kernel: &'static dyn Kernel,
        isa: Isa,
        threads: usize,
        description: &Description,
    ) -> Result<Product, Error> {
        let d = description;
        d.check()?;
        let row_bytes = d.k.next_multiple_of(GROUP);
        let work = [d.m, d.n, d.k, d.batch].iter().fold(1usize, |w, &n| w.saturating_mul(n));
        let parts = (work / WORK_PER_PART).clamp(1, threads.max(1));
        let mut product = Product {
            grid: d.grid(kernel.mr(), parts),
            block: (BLOCK_BYTES / row_bytes.max(1)).max(1).next_multiple_of(kernel.mr()),
            kernel,
            float: super::float_kernel(isa),
            description: d.clone(),
            thread_bytes: 0,
        };
        product.block = product.block.min(d.m.div_ceil(product.grid.0)).max(1);
        product.thread_bytes = product.layout().1;
        Ok(product)
    }

    /// Where prepared activations, scales of rows, a row of numbers and the sums of a tile start,
    /// and the size of all.
    fn layout(&self) -> ([usize; 4], usize) {
        let d = &self.description;
        let groups = d.k.div_ceil(GROUP);
        let sums = self.kernel.mr() * NR * size_of::<i32>();
        match d.weights {
            Side::Left => regions([2 * groups * PANEL_STEP, 0, 0, sums]),
            Side::Right => {
                let numbers = if d.activations.format.is_float() { d.k } else { 0 };
                regions([self.block * groups * GROUP, self.block * 4, numbers * 4, sums])
            }
        }
    }

    /// The kernel's name.
    pub fn kernel_name(&self) -> &'static str {
        self.kernel.name()
    }

    /// Shape and kernel; operations, two for each multiplication and its sum; bytes of operands and
    /// result, each counted once.
    pub fn cost(&self) -> (String, usize, usize) {
        let d = &self.description;
        let shape = format!("{}x {}x{}x{}", d.batch, d.m, d.n, d.k);
        let channels = if d.weights == Side::Left { d.m } else { d.n };
        let rows = d.m + d.n - channels;
        let bytes = d.batch * rows * d.k * d.activations.format.bytes()
            + channels * d.k
            + d.batch * d.m * d.n * d.output.format.bytes();
        (format!("{shape} {}", self.kernel_name()), 2 * d.batch * d.m * d.n * d.k, bytes)
    }

    /// Bytes of scratch memory that a run needs.
    pub fn scratch_bytes(&self) -> usize {
        self.grid.0 * self.grid.1 * self.thread_bytes + ALIGNMENT
    }

    /// Computes the product. Allocates nothing.
    ///
    /// # Safety
    /// Every element that the description reaches from `activations`, `c` and `bias` must be in
    /// valid memory, aligned for its format; C must overlap none of the others and be accessed by
    /// nobody else meanwhile; the others must not change.
    ///
    /// # Panics
    /// If `scratch` is too small, or `weights` or `bias` are not what the description says.
    pub unsafe fn run(
        &self,
        team: &Team,
        activations: *const u8,
        weights: &Weights,
        c: *mut u8,
        bias: Option<*const u8>,
        scratch: &mut [u8],
    ) {
        let d = &self.description;
        assert!(scratch.len() >= self.scratch_bytes(), "the product's scratch memory is too small");
        assert_eq!(bias.is_some(), d.bias.is_some(), "bias differs from the plan");
        let found = (weights.k(), weights.channels(), weights.side(), weights.kernel().name());
        let channels = if d.weights == Side::Left { d.m } else { d.n };
        let expected = (d.k, channels, d.weights, self.kernel.name());
        assert_eq!(found, expected, "the weights differ from the plan");
        let scratch = scratch.as_mut_ptr();
        let scratch = scratch.wrapping_add(scratch.align_offset(ALIGNMENT));
        let bias = bias.unwrap_or(std::ptr::null());
        let memory = Memory { activations, weights, c, bias, scratch };
        let parts = self.grid.0 * self.grid.1;
        if parts == 1 {
            // SAFETY: the caller vouches for the memory, and the scratch has room for one part.
            return unsafe { self.work(0, memory) };
        }
        let memory = &memory;
        team.run(&|index, threads| {
            let scratch = memory.scratch.wrapping_add(index * self.thread_bytes);
            for part in (index..parts).step_by(threads) {
                // SAFETY: as above; `index <= part`, which is below the number of parts, so the
                // scratch is within the slice, and no other thread has this index.
                unsafe { self.work(part, Memory { scratch, ..*memory }) }
            }
        });
    }

    /// # Safety
    /// As for [`Product::run`], and `memory.scratch` has `thread_bytes` bytes of its own.
    unsafe fn work(&self, part: usize, memory: Memory<'_>) {
        let d = &self.description;
        let (rows, cols) = self.grid;
        let rows = split(d.m, rows, part / self.grid.1, 1);
        let cols = split(d.n, cols, part % self.grid.1, NR);
        for batch in 0..d.batch {
            let a = batch * d.activations.batch_stride * d.activations.format.bytes();
            let c = batch * d.output.batch_stride * d.output.format.bytes();
            let memory = Memory {
                activations: memory.activations.wrapping_add(a),
                c: memory.c.wrapping_add(c),
                ..memory
            };
            let regions = self.layout().0.map(|at| memory.scratch.wrapping_add(at));
            let part = Part { product: self, memory, regions };
            // SAFETY: passed on; the blocks of the parts are disjoint.
            unsafe {
                match d.weights {
                    Side::Left => part.planes(rows.clone(), cols.clone()),
                    Side::Right => part.rows(rows.clone(), cols.clone()),
                }
            }
        }
    }
}

impl Description {
    fn check(&self) -> Result<(), Error> {
        if self.k > super::MAX_DEPTH {
            return Err(Error::Depth(self.k));
        }
        let (a, c) = (&self.activations, &self.output);
        let is_byte = |format| matches!(format, Format::I8 | Format::U8);
        let numbers = a.format.is_float() && self.weights == Side::Right;
        if !numbers && !is_byte(a.format) {
            return Err(Error::Format { what: "activations", format: a.format });
        }
        let fits = if c.requantize.is_some() {
            is_byte(c.format) && !c.accumulate
        } else {
            c.format.is_float()
        };
        if !fits {
            return Err(Error::Format { what: "result", format: c.format });
        }
        for (what, format) in [("rounding", c.round), ("bias", self.bias)] {
            if let Some(format) = format.filter(|format| !format.is_float()) {
                return Err(Error::Format { what, format });
            }
        }
        let zeros = [(a.format, a.zero), (c.format, c.requantize.map_or(0, |q| q.zero))];
        for (format, zero) in zeros {
            let (low, high) = if format == Format::U8 { (0, 255) } else { (-128, 127) };
            if !(low..=high).contains(&zero) {
                return Err(Error::Zero(zero));
            }
        }
        Ok(())
    }

    /// How many parts along the rows and along the columns of C: the least work for the part that
    /// has the most.
    fn grid(&self, mr: usize, parts: usize) -> (usize, usize) {
        /// Multiplications in the time that preparing one byte takes.
        const PREPARING: usize = 32;
        let cost = |&(rows, cols): &(usize, usize)| {
            let m = self.m.div_ceil(rows);
            let n = split(self.n, cols, 0, NR).len().next_multiple_of(NR);
            let prepared = if self.weights == Side::Left { n } else { m };
            m.next_multiple_of(mr.min(m.max(1))) * n + PREPARING * prepared
        };
        let grids = (1..=parts).filter(|rows| parts.is_multiple_of(*rows));
        let grids = grids.map(|rows| (rows, parts / rows));
        grids.min_by_key(cost).expect("one row of parts is always possible")
    }
}

impl std::fmt::Debug for dyn Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
