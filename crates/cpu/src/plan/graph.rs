//! The planner's own graph: every node computes one dense tensor; the edges are views of nodes.
//!
//! There are few kinds of node. Softmax, norms, attention and convolution are written as maps,
//! row reductions and products, and it is fusion that makes one kernel of them again.

use super::integer::{IntegerProduct, Quantization};
use super::part::Part;
use super::scan::Scan;
use super::tables::Mode;
use super::view::View;
use crate::gemm::BiasTo;
use crate::ints::IntOp;
use crate::lines::LineOp;
use crate::rows::{Binary, Reduction, Unary};
use crate::window::Window;
use mil::{DataType, Operation, Tensor};

/// Index of a node.
pub(crate) type NodeId = usize;

/// A value: some elements of a node, in some order.
#[derive(Clone, Debug)]
pub(crate) struct Val {
    pub node: NodeId,
    pub view: View,
}

/// A node and the tensor it computes.
#[derive(Debug)]
pub(crate) struct Node {
    pub kind: Kind,
    pub dims: Vec<usize>,
    pub dtype: DataType,
    /// The program's value that it stands for or helps to compute.
    pub name: String,
}

/// What a node does.
#[derive(Debug)]
pub(crate) enum Kind {
    /// An input of the function, by index.
    Input(usize),
    /// Nothing: another node does what this one did, and more.
    Taken(NodeId),
    /// A constant.
    Constant(Tensor),
    /// An element-wise function; every argument's view has the node's dims.
    Map(MapOp, Vec<Val>),
    /// Reduction over the argument's last axis; the node's last axis is 1.
    Reduce(Reduction, Val),
    /// Reduction over the argument's first axis (the argument is `[R, N]`, the node `[N]`).
    ReduceColumns(Reduction, Val),
    /// a `[…, m, k]` times b `[…, k, n]`, and what is done with the sums on the way.
    Product(Box<Product>),
    /// The same of bytes, with constant weights; the node's elements are C's in order.
    Integer(Box<IntegerProduct>),
    /// Windows over single channels; all values are dense.
    Window(Box<WindowNode>),
    /// Arguments joined along an axis; of a single one, a copy.
    Concat(Vec<Val>, usize),
    /// An element-wise function of integers; every argument's view has the node's dims.
    Ints(IntOp, Vec<Val>),
    /// `base` with `update` in the place of a part of it, which is a view of the node.
    Update { base: Val, update: Val, part: View },
    /// The same with a part whose place is computed.
    UpdateAt { base: Val, update: Val, part: Box<Part> },
    /// A part of x whose place is computed.
    SliceAt { x: Val, part: Box<Part> },
    /// What is made of every line, the last axis of the argument, into the last axis of the node.
    Lines(LineOp, Val),
    /// States that change step by step.
    Scan(Box<Scan>),
    /// Of x `[A, n, B]`, fp32, along the middle axis: for each result the mixture of two elements.
    Mix { x: Val, taps: Vec<(usize, usize, f32)> },
    /// Of every table `[B, O, V, N]` the rows at the indices `[B, T]`; the node is `[B, O, T, N]`.
    GatherRows { table: Val, indices: Val },
    /// `base` `[B, O, V, N]` with the rows at the indices `[B, T]` combined with the updates
    /// `[B, O, T, N]`.
    Scatter { mode: Mode, base: Val, indices: Val, updates: Val },
    /// For each row, the element at its index: x `[T, N]`, indices `[T]`, node `[T]`.
    Pick { x: Val, indices: Val },
    /// `base` `[V, N]` (zeros if absent) with the rows of `updates` `[T, N]` added at `indices`.
    AddRows { base: Option<Val>, indices: Val, updates: Val },
    /// `base` `[T, N]` with `updates` `[T]` added, in each row at its index.
    AddPicked { base: Val, indices: Val, updates: Val },
    /// Result `result` of an operation that the interpreter evaluates.
    Fallback { call: usize, result: usize },
}

/// Element-wise functions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum MapOp {
    /// The argument itself, perhaps in another element type or order.
    Copy,
    Unary(Unary),
    Binary(Binary),
    /// The second argument where the first is not zero, else the third.
    Select,
    /// Numbers to bytes: `x / scale`, rounded to nearest even, plus the zero point, saturated.
    Quantize(Quantization),
    /// Bytes to numbers.
    Dequantize(Quantization),
}

/// A matrix product. Batch axes broadcast: each view has the node's batch dims.
#[derive(Debug)]
pub(crate) struct Product {
    pub a: Val,
    pub b: Val,
    pub bias: Option<Bias>,
    /// What results are kept between, after rounding.
    pub clamp: Option<[f32; 2]>,
    /// Types to round the operands to as they are read.
    pub round_a: Option<DataType>,
    pub round_b: Option<DataType>,
    /// Round to this type before storing as the node's type.
    pub round: Option<DataType>,
}

/// Numbers that a product adds to its sums.
#[derive(Clone, Debug)]
pub(crate) struct Bias {
    /// `[n]`, or for rows `[…, m, 1]`, which does not vary over batch axes; without gaps.
    pub val: Val,
    pub to: BiasTo,
}

/// A depthwise convolution or a pool.
#[derive(Debug)]
pub(crate) struct WindowNode {
    pub window: Window,
    pub x: Val,
    /// fp32, a row of taps for every result.
    pub weight: Option<Val>,
    /// fp32, one for every result.
    pub bias: Option<Val>,
}

/// An operation for the interpreter.
#[derive(Debug)]
pub(crate) struct Call {
    pub operation: Operation,
    /// With nested blocks, the operation as a program of its own.
    pub program: Option<mil::Program>,
    /// Operands by value id.
    pub args: Vec<(mil::ValueId, Val)>,
    /// Result types.
    pub types: Vec<mil::Type>,
}

/// The graph; nodes stand after what they read.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub nodes: Vec<Node>,
    pub calls: Vec<Call>,
    /// The function's outputs.
    pub outputs: Vec<Val>,
}

impl Graph {
    /// Adds a node and gives it as a value.
    pub fn add(&mut self, kind: Kind, dims: &[usize], dtype: DataType, name: &str) -> Val {
        self.nodes.push(Node { kind, dims: dims.to_vec(), dtype, name: name.to_owned() });
        Val { node: self.nodes.len() - 1, view: View::dense(dims) }
    }

    /// Adds a dense copy of a value.
    pub fn copy(&mut self, val: Val, name: &str) -> Val {
        let dims = val.view.dims.clone();
        let dtype = self.nodes[val.node].dtype;
        // Row programs know the element types that are computed with, and so many axes; others
        // are moved as bytes.
        let kind = if super::place::is_copied_in_rows(dtype, dims.len()) {
            Kind::Map(MapOp::Copy, vec![val])
        } else {
            Kind::Concat(vec![val], 0)
        };
        self.add(kind, &dims, dtype, name)
    }

    /// Whether the value is the whole of its node in order.
    pub fn is_whole(&self, val: &Val) -> bool {
        val.view.is_dense()
            && val.view.count() == self.nodes[val.node].dims.iter().product::<usize>()
    }

    /// The node that does now what a node did.
    pub fn who(&self, mut node: NodeId) -> NodeId {
        while let Kind::Taken(by) = self.nodes[node].kind {
            node = by;
        }
        node
    }

    /// The values that a node reads.
    pub fn args(&self, node: NodeId) -> Vec<&Val> {
        match &self.nodes[node].kind {
            Kind::Input(_) | Kind::Taken(_) | Kind::Constant(_) => vec![],
            Kind::Map(_, args) | Kind::Concat(args, _) | Kind::Ints(_, args) => {
                args.iter().collect()
            }
            Kind::Update { base, update, .. } => vec![base, update],
            Kind::UpdateAt { base, update, part } => {
                [base, update].into_iter().chain(&part.begin).chain(&part.last).collect()
            }
            Kind::SliceAt { x, part } => {
                [x].into_iter().chain(&part.begin).chain(&part.last).collect()
            }
            Kind::Reduce(_, x)
            | Kind::ReduceColumns(_, x)
            | Kind::Lines(_, x)
            | Kind::Mix { x, .. } => {
                vec![x]
            }
            Kind::Product(p) => {
                [&p.a, &p.b].into_iter().chain(p.bias.as_ref().map(|bias| &bias.val)).collect()
            }
            Kind::Integer(p) => [&p.x].into_iter().chain(&p.bias).collect(),
            Kind::Window(w) => [&w.x].into_iter().chain(&w.weight).chain(&w.bias).collect(),
            Kind::Scan(scan) => {
                scan.initial.iter().chain(scan.reads.iter().map(|(val, _)| val)).collect()
            }
            Kind::GatherRows { table, indices } => vec![table, indices],
            Kind::Pick { x, indices } => vec![x, indices],
            Kind::AddRows { base, indices, updates } => {
                base.iter().chain([indices, updates]).collect()
            }
            Kind::AddPicked { base, indices, updates }
            | Kind::Scatter { base, indices, updates, .. } => vec![base, indices, updates],
            Kind::Fallback { call, .. } => self.calls[*call].args.iter().map(|a| &a.1).collect(),
        }
    }

    /// How many nodes and outputs read each node; 0 for one that nothing needs.
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.nodes.len()];
        for output in &self.outputs {
            uses[output.node] += 1;
        }
        for node in (0..self.nodes.len()).rev() {
            if uses[node] > 0 {
                for arg in self.args(node) {
                    uses[arg.node] += 1;
                }
            }
        }
        uses
    }
}
