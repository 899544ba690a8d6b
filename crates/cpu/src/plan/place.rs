//! Where every node's elements are: in the arena, in a port's surface, in a constant, or inside
//! the tensor they are about to be joined into.

use super::fuse::{Unit, UnitKind};
use super::graph::{Graph, Kind, NodeId, Val};
use super::memory::{self, Interval};
use super::view::View;
use crate::format::Format;
use crate::rows::MAX_RANK;
use mil::DataType;

/// Pointers that a step is given: the arena, then inputs, outputs, constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub slot: usize,
    pub byte_offset: usize,
}

/// A node's memory: strides over the node's dims, in elements.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub location: Location,
    pub strides: Vec<isize>,
    /// Whether what is stored is added to what is there when the caller asks for accumulation.
    pub accumulates: bool,
}

/// The result of placing: one entry per node; `None` for nodes that are never stored.
#[derive(Debug)]
pub(crate) struct Places {
    pub of: Vec<Option<Place>>,
    pub arena_bytes: usize,
}

/// Slot of the arena.
pub(crate) const ARENA: usize = 0;

/// Slots of the pointer table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    pub inputs: usize,
    pub outputs: usize,
}

impl Slots {
    pub fn input(self, index: usize) -> usize {
        1 + index
    }

    pub fn output(self, index: usize) -> usize {
        1 + self.inputs + index
    }

    pub fn constant(self, index: usize) -> usize {
        1 + self.inputs + self.outputs + index
    }
}

/// The memory format of an element type, `None` for one that native steps do not touch.
pub(crate) fn format(dtype: DataType) -> Option<Format> {
    Some(match dtype {
        DataType::Fp32 => Format::F32,
        DataType::Bf16 => Format::Bf16,
        DataType::Fp16 => Format::F16,
        DataType::Int32 => Format::I32,
        DataType::Bool | DataType::Uint8 => Format::U8,
        DataType::Int8 => Format::I8,
        _ => return None,
    })
}

/// Whether matrix products and windows compute with elements of this type.
pub(crate) fn is_float(dtype: DataType) -> bool {
    format(dtype).is_some_and(Format::is_float)
}

/// Whether row programs copy tensors of this type and rank. They compute in f32, which does not
/// hold every integer.
pub(crate) fn is_copied_in_rows(dtype: DataType, rank: usize) -> bool {
    dtype != DataType::Int32 && format(dtype).is_some() && rank <= MAX_RANK
}

/// Bytes of one element in memory; types of less than a byte take one.
pub(crate) fn element_bytes(dtype: DataType) -> usize {
    dtype.bits().div_ceil(8)
}

/// Makes every output a node of its own that can be stored in its surface: one that is not an
/// input, not a constant, the whole of its node, no other output, and, where it accumulates,
/// read by nothing else.
pub(crate) fn separate_outputs(graph: &mut Graph, accumulates: &[bool]) {
    for (index, &accumulates) in accumulates.iter().enumerate() {
        let output = graph.outputs[index].clone();
        let node = &graph.nodes[output.node];
        let uses = graph.uses()[output.node];
        let accumulable = matches!(
            node.kind,
            Kind::Map(..)
                | Kind::Reduce(..)
                | Kind::ReduceColumns(..)
                | Kind::Product(_)
                | Kind::AddRows { base: None, .. }
        );
        let fits = !matches!(node.kind, Kind::Input(_) | Kind::Constant(_))
            && graph.is_whole(&output)
            && !graph.outputs[..index].iter().any(|o| o.node == output.node)
            && (!accumulates || (uses == 1 && accumulable));
        if !fits {
            let name = node.name.clone();
            graph.outputs[index] = graph.copy(output, &name);
        }
    }
}

/// Places every node that is stored. Pairs of an input and an output `in_place` are one memory.
pub(crate) fn place(
    graph: &Graph,
    uses: &[usize],
    units: &[Unit],
    slots: Slots,
    accumulates: &[bool],
    in_place: &[(usize, usize)],
) -> Places {
    let count = graph.nodes.len();
    let mut unit_of = vec![None; count];
    for (index, unit) in units.iter().enumerate() {
        for &node in &unit.nodes {
            unit_of[node] = Some(index);
        }
    }
    let stored = stored_nodes(graph, units, &unit_of);
    let mut homes: Vec<Home> =
        (0..count).map(|node| if stored[node] { Home::Own } else { Home::Nowhere }).collect();
    let mut constants = 0;
    for (node, home) in homes.iter_mut().enumerate().filter(|(n, _)| uses[*n] > 0) {
        match graph.nodes[node].kind {
            Kind::Input(index) => {
                // An input that is updated where it is has the memory of its output.
                let own = in_place.iter().find(|pair| pair.0 == index);
                let slot = own.map_or(slots.input(index), |pair| slots.output(pair.1));
                *home = Home::Slot(slot);
            }
            Kind::Constant(_) => {
                *home = Home::Slot(slots.constant(constants));
                constants += 1;
            }
            _ => {}
        }
    }
    for (index, output) in graph.outputs.iter().enumerate() {
        homes[output.node] = Home::Slot(slots.output(index));
    }
    for node in 0..count {
        share(graph, uses, node, &mut homes);
    }
    let life = lifetimes(graph, units, &unit_of, &homes);
    let own: Vec<NodeId> = (0..count).filter(|&n| homes[n] == Home::Own).collect();
    let intervals: Vec<Interval> = own
        .iter()
        .map(|&node| Interval {
            first: life[node].0,
            last: life[node].1,
            bytes: bytes(graph, node),
        })
        .collect();
    let (offsets, arena_bytes) = memory::assign(&intervals);

    let mut of: Vec<Option<Place>> = vec![None; count];
    for (&node, &byte_offset) in own.iter().zip(&offsets) {
        of[node] = Some(dense(graph, node, Location { slot: ARENA, byte_offset }));
    }
    for node in 0..count {
        if let Home::Slot(slot) = homes[node] {
            of[node] = Some(dense(graph, node, Location { slot, byte_offset: 0 }));
        }
    }
    for (index, output) in graph.outputs.iter().enumerate() {
        if let Some(place) = &mut of[output.node] {
            place.accumulates = accumulates[index];
        }
    }
    // What is inside or on top of another node comes after that node has its place; such chains
    // end because each link goes to a later node.
    for node in (0..count).rev() {
        if let Home::Inside { host, view } = &homes[node] {
            let Some(place) = of[*host].clone() else { continue };
            let scale = element_bytes(graph.nodes[node].dtype);
            let mut location = place.location;
            location.byte_offset += view.offset as usize * scale;
            let strides = view.strides.clone();
            of[node] = Some(Place { location, strides, accumulates: false });
        }
    }
    Places { of, arena_bytes }
}

/// Where a node's elements are to be.
#[derive(Clone, Debug, PartialEq)]
enum Home {
    Nowhere,
    Own,
    Slot(usize),
    /// In this part of a later node's memory.
    Inside {
        host: NodeId,
        view: View,
    },
}

/// Which nodes have memory: those read by another unit or by a step of their own, and outputs.
fn stored_nodes(graph: &Graph, units: &[Unit], unit_of: &[Option<usize>]) -> Vec<bool> {
    let mut stored = vec![false; graph.nodes.len()];
    for (index, unit) in units.iter().enumerate() {
        for &node in &unit.nodes {
            let ends_unit = matches!(graph.nodes[node].kind, Kind::ReduceColumns(..));
            stored[node] |= unit.kind == UnitKind::Single || ends_unit;
            for arg in graph.args(node) {
                stored[arg.node] |= unit_of[arg.node] != Some(index);
            }
        }
    }
    for output in &graph.outputs {
        stored[output.node] = true;
    }
    stored
}

/// Puts the parts of a concatenation straight where they are wanted, and the base of an update
/// where the update is.
fn share(graph: &Graph, uses: &[usize], node: NodeId, homes: &mut [Home]) {
    if uses[node] == 0 {
        return;
    }
    let movable = |val: &Val, homes: &[Home]| {
        uses[val.node] == 1
            && graph.is_whole(val)
            && homes[val.node] == Home::Own
            && graph.nodes[val.node].dtype == graph.nodes[node].dtype
    };
    match &graph.nodes[node].kind {
        Kind::Concat(parts, axis) => {
            let mut begin = 0;
            for part in parts {
                let size = part.view.dims.get(*axis).copied().unwrap_or(1);
                let kind = &graph.nodes[part.node].kind;
                let strided = matches!(kind, Kind::Map(..) | Kind::Product(_));
                if strided && movable(part, homes) {
                    let dims = &graph.nodes[node].dims;
                    if let Some(view) = inside(graph, part, dims, (*axis, begin)) {
                        homes[part.node] = Home::Inside { host: node, view };
                    }
                }
                begin += size;
            }
        }
        Kind::AddPicked { base, .. }
        | Kind::AddRows { base: Some(base), .. }
        | Kind::Scatter { base, .. }
        | Kind::Update { base, .. }
        | Kind::UpdateAt { base, .. } => {
            let dims = &graph.nodes[base.node].dims;
            if movable(base, homes) {
                let view = View::dense(dims);
                homes[base.node] = Home::Inside { host: node, view };
            }
        }
        _ => {}
    }
}

/// Where a part of a concatenation to these dims, which begins at an element of an axis, lies in it:
/// over the dims of the part's own node, of which it is the whole, if strides can express that.
pub(super) fn inside(
    graph: &Graph,
    part: &Val,
    dims: &[usize],
    (axis, begin): (usize, usize),
) -> Option<View> {
    let size = *part.view.dims.get(axis)?;
    let view = View::dense(dims).slice(axis, begin, 1, size);
    let own = &graph.nodes[part.node].dims;
    if part.view.dims == *own { Some(view) } else { view.reshape(own) }
}

/// For every node the first and the last step that touches its memory.
fn lifetimes(
    graph: &Graph,
    units: &[Unit],
    unit_of: &[Option<usize>],
    homes: &[Home],
) -> Vec<(usize, usize)> {
    let mut life = vec![(usize::MAX, 0); graph.nodes.len()];
    // Memory inside another node's is that node's.
    let owner = |mut node: NodeId| {
        while let Home::Inside { host, .. } = &homes[node] {
            node = *host;
        }
        node
    };
    for (step, unit) in units.iter().enumerate() {
        for &node in &unit.nodes {
            let mut touch = |node: NodeId| {
                let entry = &mut life[owner(node)];
                *entry = (entry.0.min(step), entry.1.max(step));
            };
            touch(node);
            for arg in graph.args(node) {
                if unit_of[arg.node].is_some() {
                    touch(arg.node);
                }
            }
        }
    }
    life
}

fn bytes(graph: &Graph, node: NodeId) -> usize {
    let node = &graph.nodes[node];
    node.dims.iter().product::<usize>() * element_bytes(node.dtype)
}

fn dense(graph: &Graph, node: NodeId, location: Location) -> Place {
    let strides = View::dense(&graph.nodes[node].dims).strides;
    Place { location, strides, accumulates: false }
}
