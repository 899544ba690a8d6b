//! Rewrites that save a pass over memory around matrix products.

use super::graph::{Bias, Graph, Kind, MapOp, NodeId, Val};
use super::place::is_float;
use crate::element::keep;
use crate::gemm::BiasTo;
use crate::rows::{Binary, Unary};
use mil::DataType;
use runtime::Products;

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
        take(graph, source, node, |kind| {
            let Kind::Product(product) = kind else { unreachable!("matched above") };
            product.round = (narrow != DataType::Fp32).then_some(narrow);
        });
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

/// Products and windows whose only readers add a number to every channel, or keep results between
/// constants, do so themselves: the bias of a convolution, and `relu`, `relu6` and `clip` behind it,
/// need no pass of their own. Rounding to the element type keeps order, so that it does not matter
/// which comes first.
///
/// Products that may become those of bytes are left alone, which keep results in other ways.
pub(crate) fn finish_on_the_way(graph: &mut Graph, products: Products) {
    let uses = graph.uses();
    for node in (0..graph.nodes.len()).filter(|&node| uses[node] > 0) {
        if let Some((source, bias)) = biased(graph, node).filter(|found| uses[found.0] == 1) {
            take(graph, source, node, |kind| {
                let Kind::Product(product) = kind else { unreachable!("it was one") };
                product.bias = Some(bias);
            });
        }
        let Some((source, low, high)) = clamped(graph, node) else { continue };
        let same = graph.nodes[node].dtype == graph.nodes[source].dtype;
        if uses[source] != 1 || !same {
            continue;
        }
        match graph.nodes[source].kind {
            Kind::Window(_) => take(graph, source, node, |kind| {
                let Kind::Window(windows) = kind else { unreachable!("just matched") };
                windows.window.clamp(low, high);
            }),
            Kind::Product(_) if products == Products::Native => take(graph, source, node, |kind| {
                let Kind::Product(product) = kind else { unreachable!("just matched") };
                let [least, most] = product.clamp.unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
                product.clamp = Some([keep(least, low, high), keep(most, low, high)]);
            }),
            _ => {}
        }
    }
}

/// Lets a node compute what another one does, changed a little, of which it reads the whole.
fn take(graph: &mut Graph, from: NodeId, node: NodeId, change: impl FnOnce(&mut Kind)) {
    let mut kind = std::mem::replace(&mut graph.nodes[from].kind, Kind::Taken(node));
    change(&mut kind);
    graph.nodes[node].kind = kind;
    // Readers have views of their own.
    graph.nodes[node].dims = graph.nodes[from].dims.clone();
}

/// If the node adds a number to every row of a product: the product's node, and the numbers.
fn biased(graph: &Graph, node: NodeId) -> Option<(NodeId, Bias)> {
    let Kind::Map(MapOp::Binary(Binary::Add), args) = &graph.nodes[node].kind else { return None };
    let of = |x: &Val, y: &Val| {
        let source = &graph.nodes[x.node];
        let Kind::Product(product) = &source.kind else { return None };
        let plain = product.bias.is_none() && product.clamp.is_none() && product.round.is_none();
        let wide = source.dtype == DataType::Fp32;
        let floats = is_float(graph.nodes[y.node].dtype) && is_float(graph.nodes[node].dtype);
        if !(plain && wide && floats && graph.is_whole(x)) {
            return None;
        }
        let mut view = y.view.reshape(&source.dims)?;
        let rows = source.dims.len() - 2;
        let fits =
            view.dims.iter().zip(&view.strides).enumerate().all(|(axis, (&dim, &stride))| {
                dim == 1 || stride == if axis == rows { 1 } else { 0 }
            });
        // Numbers of a single row would rather stay with what else is done.
        let fits = fits && view.dims[rows] > 1;
        view.dims[rows + 1] = 1;
        fits.then_some((x.node, Bias { val: Val { node: y.node, view }, to: BiasTo::Rows }))
    };
    of(&args[0], &args[1]).or_else(|| of(&args[1], &args[0]))
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
        // NaN would have to be the result, not be passed over.
        Kind::Constant(tensor) if tensor.count() == 1 => {
            Some(tensor.to_f64s()[0] as f32).filter(|number| !number.is_nan())
        }
        _ => None,
    }
}
