//! Rewrites that save a pass over memory around matrix products.

use super::graph::{Graph, Kind, MapOp, NodeId, Val};
use crate::rows::{Binary, Unary};
use mil::DataType;

/// A product whose only reader converts it is stored converted: the rounding to the product's
/// own type happens in registers.
pub(crate) fn convert_in_products(graph: &mut Graph) {
    let uses = graph.uses();
    for node in 0..graph.nodes.len() {
        let Kind::Map(MapOp::Copy, args) = &graph.nodes[node].kind else { continue };
        let source = args[0].node;
        let narrow = graph.nodes[source].dtype;
        let same_elements = graph.is_whole(&args[0])
            && graph.nodes[node].dims.iter().product::<usize>() == args[0].view.count();
        let widens = graph.nodes[node].dtype == DataType::Fp32;
        if uses[node] == 0 || uses[source] != 1 || !same_elements || !widens {
            continue;
        }
        let Kind::Product(product) = &graph.nodes[source].kind else { continue };
        if product.round.is_some() || graph.nodes[node].dims.len() < 2 {
            continue;
        }
        // The reader may see the same elements under merged batch axes; the product keeps its own.
        if graph.nodes[node].dims != graph.nodes[source].dims {
            continue;
        }
        let kind = std::mem::replace(&mut graph.nodes[source].kind, Kind::Input(usize::MAX));
        let Kind::Product(mut product) = kind else { unreachable!("matched above") };
        product.round = (narrow != DataType::Fp32).then_some(narrow);
        graph.nodes[node].kind = Kind::Product(product);
    }
}

/// What a factor reads if it reads a conversion of an input: packing converts on the way. Gives
/// the source and the element type to round to.
pub(crate) fn through_conversion(graph: &Graph, factor: &Val) -> (Val, Option<DataType>) {
    let mut node: NodeId = factor.node;
    let mut round = None;
    while let Kind::Map(MapOp::Copy, args) = &graph.nodes[node].kind {
        let source = &args[0];
        let from_input =
            matches!(graph.nodes[source.node].kind, Kind::Input(_) | Kind::Constant(_));
        let is_half = |dtype| matches!(dtype, DataType::Bf16 | DataType::Fp16);
        let (from, to) = (graph.nodes[source.node].dtype, graph.nodes[node].dtype);
        let narrows = from == DataType::Fp32 && is_half(to);
        // The numbers stay as they are.
        let widens = is_half(from) && to == DataType::Fp32;
        if !(from_input && graph.is_whole(source) && (narrows || widens)) {
            break;
        }
        round = narrows.then_some(to);
        node = source.node;
    }
    (Val { node, view: factor.view.clone() }, round)
}

/// Windows whose only readers keep their results between constants do that themselves: `relu`,
/// `relu6` and `clip` behind a depthwise convolution need no pass of their own. Rounding to the
/// element type keeps order, so that it does not matter which comes first, as long as the type has
/// the constants.
pub(crate) fn clamp_in_windows(graph: &mut Graph) {
    let uses = graph.uses();
    for node in 0..graph.nodes.len() {
        let Some((source, low, high)) = clamped(graph, node) else { continue };
        let same = graph.nodes[node].dims.iter().product::<usize>()
            == graph.nodes[source].dims.iter().product::<usize>()
            && graph.nodes[node].dtype == graph.nodes[source].dtype;
        if uses[node] == 0 || uses[source] != 1 || !same {
            continue;
        }
        if !matches!(graph.nodes[source].kind, Kind::Window(_)) {
            continue;
        }
        let kind = std::mem::replace(&mut graph.nodes[source].kind, Kind::Input(usize::MAX));
        let Kind::Window(mut windows) = kind else { unreachable!("matched above") };
        windows.window.clamp(low, high);
        graph.nodes[node].kind = Kind::Window(windows);
    }
}

/// If the node keeps the whole of another one between two numbers: which node, and the numbers.
fn clamped(graph: &Graph, node: NodeId) -> Option<(NodeId, f32, f32)> {
    let (x, low, high) = match &graph.nodes[node].kind {
        Kind::Map(MapOp::Unary(Unary::Relu), args) => (&args[0], 0.0, f32::INFINITY),
        Kind::Map(MapOp::Binary(op @ (Binary::Max | Binary::Min)), args) => {
            let number = scalar(graph, &args[1])?;
            match op {
                Binary::Max => (&args[0], number, f32::INFINITY),
                _ => (&args[0], f32::NEG_INFINITY, number),
            }
        }
        _ => return None,
    };
    graph.is_whole(x).then_some((x.node, low, high))
}

/// The number that a value is everywhere, if it is a constant of one.
fn scalar(graph: &Graph, val: &Val) -> Option<f32> {
    match &graph.nodes[val.node].kind {
        Kind::Constant(tensor) if tensor.count() == 1 => Some(tensor.to_f64s()[0] as f32),
        _ => None,
    }
}
