//! Steps that follow each other in time: what a recurrent layer carries from one to the next.

use super::build::Build;
use super::fuse;
use super::graph::{Graph, NodeId, Val};
use super::loop_step::OwnBytes;
use super::place::{self, Location, Slots, element_bytes};
use super::step::{Context, Step};
use mil::DataType;
use runtime::Error;

/// States that change step by step. The node is `[steps + 1, states, …]` of fp32: the states before
/// the first step and after each.
#[derive(Debug)]
pub(crate) struct Scan {
    pub steps: usize,
    /// What the states are before the first step.
    pub initial: Vec<Val>,
    /// What else is read, dense from its first element on, and how many elements further that is
    /// in the next step.
    pub reads: Vec<(Val, isize)>,
    /// One step, of row programs and products: its inputs are the states before it, then what is
    /// read; its outputs the states after.
    pub body: Graph,
}

/// The step of a plan that runs a scan, one step of it after the other on all threads.
pub(crate) struct ScanStep {
    pub count: usize,
    /// The operands of the body, and how many bytes further they are in the next step.
    moving: Vec<(Location, isize)>,
    arena_bytes: usize,
    pub steps: Vec<Step>,
}

/// Plans the body of a scan.
pub(super) fn build(outer: &Build<'_>, node: NodeId, scan: &Scan) -> Result<ScanStep, Error> {
    let body = &scan.body;
    let states = scan.initial.len();
    let uses = body.uses();
    let units = fuse::fuse(body, &uses);
    let slots = Slots { inputs: states + scan.reads.len(), outputs: states };
    let places = place::place(body, &uses, &units, slots, &vec![false; states], &[]);
    let mut build = Build::new(body, &places, outer.isa, outer.threads, &outer.kernel);
    build.units(&units)?;
    let steps = build.finish().0;

    let dims = &outer.graph.nodes[node].dims;
    let bytes = dims[2..].iter().product::<usize>() * size_of::<f32>();
    let state = |index: usize| {
        let mut location = outer.location(node);
        location.byte_offset += index * bytes;
        (location, (states * bytes) as isize)
    };
    let read = |(val, stride): &(Val, isize)| {
        let width = element_bytes(outer.graph.nodes[val.node].dtype) as isize;
        (outer.at(val), stride * width)
    };
    let before = (0..states).map(state);
    let after = (states..2 * states).map(state);
    Ok(ScanStep {
        count: scan.steps,
        moving: before.chain(scan.reads.iter().map(read)).chain(after).collect(),
        arena_bytes: places.arena_bytes,
        steps,
    })
}

impl ScanStep {
    /// The memory that it needs besides scratch for its steps.
    pub fn own_bytes(&self) -> OwnBytes {
        OwnBytes { arena: self.arena_bytes, pointers: 1 + self.moving.len(), ..OwnBytes::default() }
    }

    /// Runs the steps.
    ///
    /// # Safety
    /// As [`Step::run`].
    pub unsafe fn run(&self, c: &mut Context<'_>) {
        let own = c.own.first_mut().expect("every thread has memory of its own");
        for index in 0..self.count as isize {
            let pointers = own.begin();
            let moved = |&(location, stride): &(Location, isize)| {
                let first = c.pointers[location.slot].wrapping_add(location.byte_offset);
                first.wrapping_offset(index * stride)
            };
            pointers.extend(self.moving.iter().map(moved));
            let mut body = Context {
                pointers,
                packs: &[],
                integers: &[],
                team: c.team,
                isa: c.isa,
                product_scratch: c.product_scratch,
                row_scratch: c.row_scratch,
                accumulation: runtime::Accumulation::Replace,
                own: &mut [],
                alone: c.alone,
            };
            for step in &self.steps {
                // SAFETY: the plan places the states of all steps apart from what is read, and
                // gives the body memory of its own for the rest.
                let result = unsafe { step.run(&mut body) };
                result.expect("row programs and products do not fail");
            }
        }
        own.end();
    }
}

/// The element type of states.
pub(crate) const STATE: DataType = DataType::Fp32;
