//! The steps of a plan. Running one allocates nothing, but for the interpreter's.

use super::int_step::IntStep;
use super::integer::{IntegerPack, IntegerStep};
use super::line_step::LineStep;
use super::loop_step::{LoopStep, Own, OwnBytes};
use super::mix_step::MixStep;
use super::part::PartStep;
use super::place::{Location, element_bytes};
use super::products::Pack;
use super::scan::ScanStep;
use super::tables::{GatherStep, ScatterStep};
use super::transfer::Transfer;
use super::view::View;
use crate::gemm::{self, PackedB};
use crate::isa::Isa;
use crate::pool::Packed;
use crate::rows::{self, RowProgram};
use crate::team::{self, Team};
use crate::window::{self, Window};
use interp::Array;
use mil::{DataType, Operation, Tensor, Type, ValueId};
use runtime::Accumulation;
use std::sync::Arc;

/// One step.
pub(crate) enum Step {
    /// A row program, and the one to use instead when results are to be added.
    Rows(Box<RowStep>),
    /// A matrix product.
    Product(Box<ProductStep>),
    /// A matrix product of bytes.
    Integer(Box<IntegerStep>),
    /// A depthwise convolution or a pool.
    Window(Box<WindowStep>),
    /// Rows of tables.
    GatherRows(Box<GatherStep>),
    /// Rows of tables combined with updates.
    Scatter(Box<ScatterStep>),
    /// States that change step by step.
    Scan(Box<ScanStep>),
    /// Elements mixed along an axis.
    Mix(Box<MixStep>),
    /// Something made of every line.
    Lines(Box<LineStep>),
    /// One element of each row.
    Pick { x: Table, indices: Location, output: Location },
    /// Rows added to rows of a table, which is cleared first unless it has a base or the caller
    /// asked for accumulation.
    AddRows {
        table: Table,
        zero_first: bool,
        accumulates: bool,
        indices: Location,
        count: usize,
        updates: Location,
    },
    /// One element added to each row of a table.
    AddPicked { table: Table, indices: Location, updates: Location },
    /// Elements moved from one view to another.
    Move { from: Location, to: Location, transfer: Transfer },
    /// The same from or to a part whose place is computed.
    Part(Box<PartStep>),
    /// Element-wise arithmetic of integers.
    Ints(Box<IntStep>),
    /// An operation of the interpreter.
    Fallback(Box<Fallback>),
    /// Row programs and products, again and again over parts of their operands.
    Loop(Box<LoopStep>),
}

/// A row program.
pub(crate) struct RowStep {
    pub replace: RowProgram,
    /// Adds to the outputs that accumulate, if there are any.
    pub add: Option<RowProgram>,
}

/// A matrix product with its operands.
pub(crate) struct ProductStep {
    pub replace: gemm::Product,
    pub add: Option<gemm::Product>,
    pub a: Location,
    pub b: Right,
    pub c: Location,
    pub bias: Option<Location>,
}

/// A right operand.
#[derive(Clone, Copy)]
pub(crate) enum Right {
    /// Packed when staged; index of the pack.
    Packed(usize),
    At(Location),
}

/// Windows with their operands.
pub(crate) struct WindowStep {
    pub window: Window,
    pub x: Location,
    pub weight: Option<Location>,
    pub bias: Option<Location>,
    pub output: Location,
}

/// A dense matrix, of fp32 but where rows are only gathered.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    pub at: Location,
    pub rows: usize,
    pub width: usize,
}

/// An operation of the interpreter with its operands.
pub(crate) struct Fallback {
    pub operation: Operation,
    /// With nested blocks, the operation as a program of its own.
    pub program: Option<mil::Program>,
    pub types: Vec<Type>,
    pub args: Vec<(ValueId, Location, DataType, View)>,
    pub results: Vec<Option<Location>>,
}

/// What a step runs with.
pub(crate) struct Context<'a> {
    /// Addresses by slot.
    pub pointers: &'a [*mut u8],
    pub packs: &'a [Arc<Packed<Pack, PackedB>>],
    /// Weights of integer products.
    pub integers: &'a [Arc<Packed<IntegerPack, gemm::int8::Weights>>],
    pub team: &'a Team,
    pub isa: Isa,
    pub product_scratch: &'a mut [u8],
    pub row_scratch: &'a mut rows::Scratch,
    pub accumulation: Accumulation,
    /// For the bodies of loops: working memory of every thread, and a team of one.
    pub own: &'a mut [Own],
    pub alone: &'a Team,
}

/// Fewer elements than this are moved by the calling thread alone.
const SHARED_ELEMENTS: usize = 1 << 15;

impl Context<'_> {
    /// The address of a location. `wrapping_add` needs no proof; the steps that use the address bring
    /// their own.
    pub fn at(&self, location: Location) -> *mut u8 {
        self.pointers[location.slot].wrapping_add(location.byte_offset)
    }

    /// Runs `region` on all threads, or on this one if there is little to do.
    pub fn share(&self, elements: usize, region: &(dyn Fn(usize, usize) + Sync)) {
        if elements < SHARED_ELEMENTS { region(0, 1) } else { self.team.run(region) }
    }
}

/// An address that threads share; what they do there is for the steps to keep apart.
#[derive(Clone, Copy)]
pub(crate) struct Address(pub *mut u8);

// SAFETY: an address is only a number; whoever uses it proves that the use is sound.
unsafe impl Sync for Address {}

impl Address {
    pub fn bytes(&self) -> *mut u8 {
        self.0
    }

    pub fn floats(&self) -> *mut f32 {
        self.0.cast()
    }
}

/// The most that one of the steps needs.
fn most(steps: &[Step], bytes: &dyn Fn(&Step) -> usize) -> usize {
    steps.iter().map(bytes).max().unwrap_or(0)
}

impl Step {
    /// Working memory that a matrix product, or windows, need.
    pub fn product_bytes(&self, threads: usize) -> usize {
        match self {
            Step::Product(p) => {
                let products = p.add.iter().chain([&p.replace]);
                products.map(gemm::Product::scratch_bytes).max().unwrap_or(0)
            }
            Step::Integer(p) => p.product.scratch_bytes(),
            Step::Window(w) => w.window.scratch_bytes(threads),
            Step::Scan(scan) => most(&scan.steps, &|step| step.product_bytes(threads)),
            Step::Lines(step) => step.op.scratch_bytes(step.n) * threads,
            _ => 0,
        }
    }

    /// Working memory that a row program needs.
    pub fn row_bytes(&self, threads: usize) -> usize {
        match self {
            Step::Rows(p) => {
                let programs = p.add.iter().chain([&p.replace]);
                programs.map(|program| program.scratch_bytes(threads)).max().unwrap_or(0)
            }
            Step::Scan(scan) => most(&scan.steps, &|step| step.row_bytes(threads)),
            _ => 0,
        }
    }

    /// Working memory that each thread needs for itself.
    pub fn own_bytes(&self) -> OwnBytes {
        let step = match self {
            Step::Loop(step) => step,
            Step::Scan(scan) => return scan.own_bytes(),
            _ => return OwnBytes::default(),
        };
        OwnBytes {
            arena: step.arena_bytes,
            products: most(&step.steps, &|step| step.product_bytes(1)),
            rows: most(&step.steps, &|step| step.row_bytes(1)),
            pointers: 1 + step.moving.len(),
        }
    }

    /// Runs the step.
    ///
    /// # Safety
    /// Every slot's memory must hold what the plan places there, inputs and packed operands as
    /// the plan's ports declare them, and nothing else may use it meanwhile.
    pub unsafe fn run(&self, c: &mut Context<'_>) -> Result<(), String> {
        let at = |location| c.at(location);
        let adding = c.accumulation == Accumulation::Add;
        match self {
            Step::Rows(p) => {
                let program = p.add.as_ref().filter(|_| adding).unwrap_or(&p.replace);
                // SAFETY: the plan keeps every operand of the program within its node's memory,
                // and nodes that live together do not overlap.
                unsafe { program.run(c.team, c.isa, c.pointers, c.row_scratch) };
            }
            Step::Product(p) => {
                let product = p.add.as_ref().filter(|_| adding).unwrap_or(&p.replace);
                let packed = match p.b {
                    Right::Packed(index) => Some(c.packs[index].read()),
                    Right::At(_) => None,
                };
                let b = match (&packed, p.b) {
                    (Some(packed), _) => gemm::B::Packed(packed),
                    (None, Right::At(location)) => gemm::B::Strided(at(location)),
                    (None, Right::Packed(_)) => unreachable!("packed operands were taken above"),
                };
                let bias = p.bias.map(|location| at(location).cast_const());
                // SAFETY: as above; the description was made from the operands' own views.
                unsafe { product.run(c.team, at(p.a), b, at(p.c), bias, c.product_scratch) };
            }
            Step::Integer(p) => {
                let weights = &c.integers[p.weights].read();
                let (x, to, bias) = (at(p.x), at(p.c), p.bias.map(|bias| at(bias).cast_const()));
                // SAFETY: the plan places operands and result of these shapes there, apart.
                unsafe { p.product.run(c.team, x, weights, to, bias, c.product_scratch) };
            }
            Step::Window(w) => {
                let floats = |location: Option<Location>| {
                    location.map(|location| at(location).cast_const().cast::<f32>())
                };
                let operands = window::Operands {
                    x: at(w.x).cast_const(),
                    weights: floats(w.weight),
                    bias: floats(w.bias),
                    out: at(w.output),
                };
                // SAFETY: the plan places operands and result of these shapes there, apart.
                unsafe { w.window.run(c.team, c.isa, operands, c.product_scratch) };
            }
            Step::GatherRows(step) => {
                // SAFETY: as for the caller.
                unsafe { step.run(c) };
            }
            Step::Scatter(step) => {
                // SAFETY: as for the caller.
                unsafe { step.run(c) };
            }
            Step::Scan(step) => {
                // SAFETY: as for the caller.
                unsafe { step.run(c) };
            }
            Step::Mix(step) => {
                // SAFETY: as for the caller.
                unsafe { step.run(c) };
            }
            Step::Lines(step) => {
                // SAFETY: as for the caller.
                unsafe { step.run(c) };
            }
            Step::Pick { x, indices, output } => {
                // SAFETY: the plan places as many indices and results as x has rows; every
                // element read is inside its row.
                unsafe {
                    for i in 0..x.rows {
                        let column = x.column(*at(*indices).cast::<i32>().add(i));
                        let value = *at(x.at).cast::<f32>().add(i * x.width + column);
                        *at(*output).cast::<f32>().add(i) = value;
                    }
                }
            }
            Step::AddRows { table, zero_first, accumulates, indices, count, updates } => {
                let clear = *zero_first && !(adding && *accumulates);
                let (data, updates) = (Address(at(table.at)), Address(at(*updates)));
                // SAFETY: the plan places `count` indices at this location.
                let indices =
                    unsafe { std::slice::from_raw_parts(at(*indices).cast::<i32>(), *count) };
                let work = if clear { table.rows.max(*count) } else { *count };
                // Every thread has rows of the table to itself and takes the updates in order, so
                // that sums do not depend on the number of threads.
                c.share(work * table.width, &|index, parts| {
                    let own = team::split(table.rows, parts, index, 1);
                    let len = own.len() * table.width;
                    // SAFETY: the plan places the whole table and `count` rows of updates at these
                    // locations, which do not overlap; the rows are this thread's alone.
                    unsafe {
                        let first = data.floats().add(own.start * table.width);
                        let data = std::slice::from_raw_parts_mut(first, len);
                        if clear {
                            data.fill(0.0);
                        }
                        for (i, &index) in indices.iter().enumerate() {
                            let row = table.row(index);
                            if !own.contains(&row) {
                                continue;
                            }
                            let from = updates.floats().add(i * table.width);
                            let from = std::slice::from_raw_parts(from, table.width);
                            let to = &mut data[(row - own.start) * table.width..][..table.width];
                            for (to, from) in to.iter_mut().zip(from) {
                                *to += from;
                            }
                        }
                    }
                });
            }
            Step::AddPicked { table, indices, updates } => {
                // SAFETY: the plan places as many indices and updates as the table has rows;
                // every element written is inside its row.
                unsafe {
                    for i in 0..table.rows {
                        let column = table.column(*at(*indices).cast::<i32>().add(i));
                        let update = *at(*updates).cast::<f32>().add(i);
                        *at(table.at).cast::<f32>().add(i * table.width + column) += update;
                    }
                }
            }
            Step::Move { from, to, transfer } => {
                // SAFETY: both views stay inside their node's memory, and the nodes are apart.
                unsafe { transfer.run(c.team, at(*from), at(*to)) };
            }
            Step::Part(step) => {
                // SAFETY: as for the caller.
                unsafe { step.run(c)? };
            }
            Step::Ints(step) => {
                // SAFETY: as for the caller.
                unsafe { step.run(c) };
            }
            Step::Fallback(fallback) => {
                // SAFETY: as for the caller.
                unsafe { fallback.run(c.pointers)? };
            }
            Step::Loop(step) => {
                // SAFETY: as for the caller.
                unsafe { step.run(c) };
            }
        }
        Ok(())
    }
}

impl Table {
    /// The row that an index names: from the end if negative, clamped to the table, as the
    /// interpreter does.
    fn row(&self, index: i32) -> usize {
        clamp(index, self.rows)
    }

    fn column(&self, index: i32) -> usize {
        clamp(index, self.width)
    }
}

/// An index counted from the end if it is negative, and moved into an axis.
pub(super) fn clamp(index: i32, len: usize) -> usize {
    let index = index as isize;
    let index = if index < 0 { index + len as isize } else { index };
    index.clamp(0, len as isize - 1) as usize
}

impl Fallback {
    /// # Safety
    /// As [`Step::run`].
    unsafe fn run(&self, pointers: &[*mut u8]) -> Result<(), String> {
        let mut arrays: Vec<(ValueId, Array)> = vec![];
        for (id, location, dtype, view) in &self.args {
            let width = element_bytes(*dtype);
            let base = pointers[location.slot].wrapping_add(location.byte_offset);
            let mut bytes = Vec::with_capacity(view.count() * width);
            // The location is that of the first element already.
            for index in walk(&View { offset: 0, ..view.clone() }) {
                // SAFETY: the view stays inside its node's memory.
                let element = unsafe {
                    std::slice::from_raw_parts(base.offset(index * width as isize), width)
                };
                bytes.extend_from_slice(element);
            }
            let tensor =
                Tensor::from_bytes(*dtype, &view.dims, bytes).map_err(|e| e.to_string())?;
            arrays.push((*id, Array::from_tensor(&tensor)));
        }
        let types = ArgTypes(
            arrays
                .iter()
                .map(|(id, array)| (*id, Type::tensor(array.dtype(), array.dims())))
                .collect(),
        );
        let argument = |id: ValueId| {
            let found = arrays.iter().find(|(other, _)| *other == id);
            found.expect("every operand of the operation is listed").1.clone()
        };
        let results = match &self.program {
            None => interp::apply(&self.operation, &types, &argument, &self.types)
                .map_err(|e| e.to_string())?,
            Some(program) => self.alone(program, &arrays)?,
        };
        for ((location, array), ty) in self.results.iter().zip(results).zip(&self.types) {
            let Some(location) = location else { continue };
            let tensor = array.to_tensor();
            // What a block gives was declared by whoever wrote the program.
            if Type::Tensor(tensor.ty()) != *ty {
                let (op, found) = (self.operation.op.name(), tensor.ty());
                return Err(format!("{op}: expected a result of type {ty}, found {found}"));
            }
            let base = pointers[location.slot].wrapping_add(location.byte_offset);
            // SAFETY: the node's memory holds a tensor of this type, densely.
            unsafe {
                std::ptr::copy_nonoverlapping(tensor.bytes().as_ptr(), base, tensor.bytes().len());
            }
        }
        Ok(())
    }
}

impl Fallback {
    /// The results of an operation with nested blocks.
    fn alone(
        &self,
        program: &mil::Program,
        arrays: &[(ValueId, Array)],
    ) -> Result<Vec<Array>, String> {
        let function = &program.functions[0];
        let named =
            |(id, array): &(ValueId, Array)| (function.value(*id).name.clone(), array.clone());
        let inputs = arrays.iter().map(named).collect();
        let options = interp::Options::default();
        let found = interp::evaluate(program, &function.name, &inputs, &options);
        let mut found = found.map_err(|e| e.to_string())?.outputs;
        let result = |id: &ValueId| {
            let name = &function.value(*id).name;
            found.remove(name).ok_or_else(|| format!("`{name}` is not a tensor"))
        };
        self.operation.outputs.iter().map(result).collect()
    }
}

/// The types of an operation's operands; their values are passed apart.
struct ArgTypes(Vec<(ValueId, Type)>);

impl mil::Env for ArgTypes {
    fn ty(&self, id: ValueId) -> &Type {
        let found = self.0.iter().find(|(other, _)| *other == id);
        &found.expect("every operand of the operation is listed").1
    }

    fn constant(&self, _: ValueId) -> Option<Tensor> {
        None
    }
}

/// The storage indices of a view's elements, in order. It holds no counters of its own, so that
/// walking needs no memory.
fn walk(view: &View) -> impl Iterator<Item = isize> + '_ {
    let (&inner, outer) = view.dims.split_last().unwrap_or((&1, &[]));
    let stride = view.strides.last().copied().unwrap_or(0);
    let rows = view.count().checked_div(inner).unwrap_or(0);
    (0..rows).flat_map(move |row| {
        let mut left = row;
        let mut at = view.offset;
        for (&dim, &stride) in outer.iter().zip(&view.strides).rev() {
            at += (left % dim) as isize * stride;
            left /= dim;
        }
        (0..inner as isize).map(move |i| at + i * stride)
    })
}
