//! Row programs for units of maps and reductions.

use super::fuse::{Unit, UnitKind};
use super::graph::{Graph, Kind, MapOp, NodeId, Val};
use super::integer::Quantization;
use super::place::{Places, element_bytes, format};
use super::step::RowStep;
use super::view::View;
use crate::format::Format;
use crate::rows::{self, Binary, Rounding, RowBuilder, RowProgram};
use mil::DataType;
use std::collections::HashMap;

/// The programs of a unit: one that replaces its outputs, and one that adds to those that
/// accumulate, if any do.
pub(crate) fn unit(graph: &Graph, places: &Places, unit: &Unit) -> RowStep {
    let space = match &unit.kind {
        UnitKind::Rows(space) | UnitKind::Columns(space) => space,
        _ => unreachable!("other units are no row programs"),
    };
    let accumulates = unit
        .nodes
        .iter()
        .any(|&node| places.of[node].as_ref().is_some_and(|place| place.accumulates));
    RowStep {
        replace: program(graph, places, unit, space, false),
        add: accumulates.then(|| program(graph, places, unit, space, true)),
    }
}

/// A copy of a value into part of a node's memory, given by its strides and offset there.
pub(crate) fn copy(
    graph: &Graph,
    places: &Places,
    from: &Val,
    to: NodeId,
    view: &View,
) -> RowProgram {
    let space = scalar_as_row(&view.dims);
    let mut emit = Emit::new(graph, places, &space);
    let value = emit.load(from);
    let place = places.of[to].as_ref().expect("the target is stored");
    let mut strides = view.strides.clone();
    if view.dims.is_empty() {
        strides = vec![1];
    }
    let scale = element_bytes(graph.nodes[to].dtype);
    let byte_offset = place.location.byte_offset + view.offset as usize * scale;
    let target = operand(place.location.slot, byte_offset, native(graph, to), &strides);
    emit.builder.store(target, value);
    emit.builder.finish()
}

fn program(
    graph: &Graph,
    places: &Places,
    unit: &Unit,
    space: &[usize],
    accumulate: bool,
) -> RowProgram {
    let space = scalar_as_row(space);
    let mut emit = Emit::new(graph, places, &space);
    for &node in &unit.nodes {
        emit.node(node, accumulate);
    }
    emit.builder.finish()
}

fn scalar_as_row(dims: &[usize]) -> Vec<usize> {
    if dims.is_empty() { vec![1] } else { dims.to_vec() }
}

fn native(graph: &Graph, node: NodeId) -> Format {
    format(graph.nodes[node].dtype).expect("maps only touch native element types")
}

/// An operand whose last stride is the row's.
fn operand(slot: usize, byte_offset: usize, format: Format, strides: &[isize]) -> rows::Operand {
    let (&inner_stride, outer) = strides.split_last().expect("a space has at least one axis");
    rows::Operand { slot, byte_offset, format, outer_strides: outer.to_vec(), inner_stride }
}

struct Emit<'a> {
    graph: &'a Graph,
    places: &'a Places,
    space: Vec<usize>,
    builder: RowBuilder,
    /// What the members computed so far are in the program.
    values: HashMap<NodeId, rows::Value>,
}

impl<'a> Emit<'a> {
    fn new(graph: &'a Graph, places: &'a Places, space: &[usize]) -> Emit<'a> {
        let (&inner, outer) = space.split_last().expect("a space has at least one axis");
        let builder = RowBuilder::new(outer, inner);
        Emit { graph, places, space: space.to_vec(), builder, values: HashMap::new() }
    }

    fn node(&mut self, node: NodeId, accumulate: bool) {
        let graph = self.graph;
        let n = &graph.nodes[node];
        let place = self.places.of[node].clone();
        let adds = accumulate && place.as_ref().is_some_and(|p| p.accumulates);
        let value = match &n.kind {
            Kind::Map(op, args) => {
                let args: Vec<rows::Value> = args.iter().map(|arg| self.argument(arg)).collect();
                match op {
                    MapOp::Copy => args[0],
                    MapOp::Unary(op) => self.builder.unary(*op, args[0]),
                    MapOp::Binary(op) => self.builder.binary(*op, args[0], args[1]),
                    MapOp::Select => self.builder.select(args[0], args[1], args[2]),
                    MapOp::Quantize(q) => self.quantize(*q, n.dtype, args[0]),
                    MapOp::Dequantize(q) => {
                        let x = self.with(Binary::Sub, args[0], q.zero as f32);
                        self.with(Binary::Mul, x, q.scale)
                    }
                }
            }
            Kind::Reduce(op, arg) => {
                let value = self.argument(arg);
                self.builder.reduce(*op, value)
            }
            Kind::ReduceColumns(op, arg) => {
                let value = self.argument(arg);
                let place = place.expect("a column reduction is stored");
                let location = place.location;
                let target = operand(
                    location.slot,
                    location.byte_offset,
                    native(graph, node),
                    &place.strides,
                );
                self.builder.column_reduce(*op, value, target, adds);
                return;
            }
            _ => unreachable!("a unit of rows holds maps and reductions"),
        };
        let value = match n.dtype {
            DataType::Bf16 => self.builder.round(Rounding::Bf16, value),
            DataType::Fp16 => self.builder.round(Rounding::F16, value),
            DataType::Bool => self.builder.round(Rounding::Bool, value),
            _ => value,
        };
        self.values.insert(node, value);
        if let Some(place) = place {
            let mut strides = place.strides;
            if strides.is_empty() {
                strides = vec![1];
            }
            let target = operand(
                place.location.slot,
                place.location.byte_offset,
                native(graph, node),
                &strides,
            );
            let is_scalar = scalar_as_row(&n.dims) != self.space;
            match (is_scalar, adds) {
                (false, false) => self.builder.store(target, value),
                (false, true) => self.builder.accumulate(target, value),
                (true, false) => self.builder.store_scalar(target, value),
                (true, true) => self.builder.accumulate_scalar(target, value),
            }
        }
    }

    /// Clipped first, which changes nothing but that the rest is exact.
    fn quantize(&mut self, q: Quantization, dtype: DataType, x: rows::Value) -> rows::Value {
        /// Adding 1.5·2²³ leaves no room for a fraction: the sum rounds to nearest even.
        const MAGIC: f32 = 12_582_912.0;
        let (low, high) = dtype.int_range().expect("quantized numbers are integers");
        let steps = self.with(Binary::Div, x, q.scale);
        let x = self.with(Binary::Max, steps, (low as i32 - q.zero) as f32);
        let x = self.with(Binary::Min, x, (high as i32 - q.zero) as f32);
        let x = self.with(Binary::Add, x, MAGIC);
        let x = self.with(Binary::Sub, x, MAGIC);
        let x = self.with(Binary::Add, x, q.zero as f32);
        // What is no number is stored as 0, and whatever reads the bytes on the way reads that.
        let is_number = self.builder.binary(Binary::Eq, steps, steps);
        let zero = self.builder.constant(0.0);
        self.builder.select(is_number, x, zero)
    }

    fn with(&mut self, op: Binary, x: rows::Value, constant: f32) -> rows::Value {
        let constant = self.builder.constant(constant);
        self.builder.binary(op, x, constant)
    }

    fn argument(&mut self, arg: &Val) -> rows::Value {
        match self.values.get(&arg.node) {
            Some(&value) => value,
            None => self.load(arg),
        }
    }

    /// Loads a value from memory, broadcast to the program's space.
    fn load(&mut self, arg: &Val) -> rows::Value {
        let node = &self.graph.nodes[arg.node];
        if let Kind::Constant(tensor) = &node.kind
            && tensor.count() == 1
            && node.dtype.is_float()
        {
            return self.builder.constant(tensor.to_f64s()[0] as f32);
        }
        let place = self.places.of[arg.node].as_ref().expect("what is loaded is stored");
        // A view of a column reduction's `[R, N]` argument has other axes than the space that its
        // maps are computed over, but both are the same elements in the same order.
        let view = if arg.view.dims.len() == self.space.len() || arg.view.dims.is_empty() {
            arg.view.broadcast(&self.space)
        } else {
            arg.view.reshape(&self.space).expect("the space only merges axes")
        };
        let scale = element_bytes(node.dtype) as isize;
        let byte_offset = (place.location.byte_offset as isize + view.offset * scale) as usize;
        let format = format(node.dtype).expect("maps only touch native element types");
        self.builder.load(operand(place.location.slot, byte_offset, format, &view.strides))
    }
}
