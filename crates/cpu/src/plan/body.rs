//! The body of a loop: what one iteration computes, planned as a small function of its own.
//!
//! Iterations differ only in where their operands begin. So the body has a pointer for each operand
//! that comes from outside or leaves, and the loop moves these by the strides of its axes.

use super::build::Build;
use super::fuse::{Unit, UnitKind};
use super::graph::{Bias, Graph, Kind, Node, NodeId, Product, Val};
use super::loop_step::{LoopStep, Moving};
use super::place::{self, Slots, element_bytes};
use super::view::View;
use runtime::Error;
use std::collections::HashMap;

/// The loop over the axes `lead` of some units.
pub(super) fn build(outer: &Build<'_>, lead: &[usize], units: &[Unit]) -> Result<LoopStep, Error> {
    let mut body = Body { outer, lead: lead.len(), graph: Graph::default(), inner: HashMap::new() };
    let inputs = body.copy(units);
    let (outputs, strides) = body.outputs(units);
    let Body { graph, inner, .. } = body;

    let uses = graph.uses();
    let units: Vec<Unit> = units.iter().map(|unit| trimmed(unit, lead.len(), &inner)).collect();
    let slots = Slots { inputs: inputs.len(), outputs: outputs.len() };
    let mut places = place::place(&graph, &uses, &units, slots, &vec![false; outputs.len()], &[]);
    for (output, strides) in graph.outputs.iter().zip(strides) {
        places.of[output.node].as_mut().expect("an output is stored").strides = strides;
    }
    let mut build = Build::new(&graph, &places, outer.isa, 1, &outer.kernel);
    build.units(&units)?;
    let steps = build.finish().0;
    Ok(LoopStep {
        counts: lead.to_vec(),
        moving: inputs.into_iter().chain(outputs).collect(),
        arena_bytes: places.arena_bytes,
        steps,
    })
}

/// A unit of the body.
fn trimmed(unit: &Unit, lead: usize, inner: &HashMap<NodeId, NodeId>) -> Unit {
    let nodes = unit.nodes.iter().map(|node| inner[node]).collect();
    let kind = match &unit.kind {
        UnitKind::Rows(space) => UnitKind::Rows(space[lead..].to_vec()),
        other => other.clone(),
    };
    Unit { nodes, kind }
}

struct Body<'a> {
    outer: &'a Build<'a>,
    /// Number of leading axes.
    lead: usize,
    graph: Graph,
    /// Nodes of the body by those they stand for.
    inner: HashMap<NodeId, NodeId>,
}

impl Body<'_> {
    /// Copies the units' nodes without their leading axes, and gives what is read from outside.
    fn copy(&mut self, units: &[Unit]) -> Vec<Moving> {
        let mut members: Vec<NodeId> = units.iter().flat_map(|unit| unit.nodes.clone()).collect();
        members.sort_unstable();
        let mut inputs: Vec<(NodeId, View, NodeId)> = vec![];
        // Inputs come first, in the order of their slots.
        for &node in &members {
            let product = matches!(self.outer.graph.nodes[node].kind, Kind::Product(_));
            for arg in self.outer.graph.args(node) {
                let known = |(n, v, _): &(NodeId, View, NodeId)| *n == arg.node && *v == arg.view;
                let inside = members.binary_search(&arg.node).is_ok();
                // A product reads even a number from memory.
                let number = !product && self.scalar(arg);
                if inside || number || inputs.iter().any(known) {
                    continue;
                }
                let kind = Kind::Input(inputs.len());
                let input = self.add(kind, arg.node, self.trim(&arg.view).dims);
                inputs.push((arg.node, arg.view.clone(), input));
            }
        }
        let find = |arg: &Val| {
            inputs.iter().find(|(n, v, _)| *n == arg.node && *v == arg.view).map(|found| found.2)
        };
        for &node in &members {
            let n = &self.outer.graph.nodes[node];
            let mut arg = |val: &Val| {
                let view = self.trim(&val.view);
                if let Some(&node) = self.inner.get(&val.node) {
                    return Val { node, view };
                }
                let node = match find(val) {
                    Some(input) => input,
                    None => {
                        let Kind::Constant(tensor) = &self.outer.graph.nodes[val.node].kind else {
                            unreachable!("what is neither inside nor an input is a number")
                        };
                        self.add(Kind::Constant(tensor.clone()), val.node, vec![])
                    }
                };
                // The loop's pointer has the offset already.
                Val { node, view: View { offset: 0, ..view } }
            };
            let kind = match &n.kind {
                Kind::Map(op, args) => Kind::Map(*op, args.iter().map(&mut arg).collect()),
                Kind::Reduce(op, x) => Kind::Reduce(*op, arg(x)),
                Kind::Product(p) => Kind::Product(Box::new(Product {
                    a: arg(&p.a),
                    b: arg(&p.b),
                    bias: p.bias.as_ref().map(|bias| Bias { val: arg(&bias.val), ..*bias }),
                    ..**p
                })),
                _ => unreachable!("loops are made of row programs and products"),
            };
            let new = self.add(kind, node, n.dims[self.lead..].to_vec());
            self.inner.insert(node, new);
        }
        inputs.into_iter().map(|(node, view, _)| self.moving(&Val { node, view })).collect()
    }

    /// Declares what is read outside as outputs of the body, and gives their places and strides.
    fn outputs(&mut self, units: &[Unit]) -> (Vec<Moving>, Vec<Vec<isize>>) {
        let (mut moving, mut strides) = (vec![], vec![]);
        for node in units.iter().flat_map(|unit| &unit.nodes) {
            let Some(place) = &self.outer.places.of[*node] else { continue };
            let inner = self.inner[node];
            let view = View::dense(&self.graph.nodes[inner].dims);
            self.graph.outputs.push(Val { node: inner, view });
            let bytes = element_bytes(self.outer.graph.nodes[*node].dtype) as isize;
            moving.push(Moving {
                location: place.location,
                strides: place.strides[..self.lead].iter().map(|s| s * bytes).collect(),
            });
            strides.push(place.strides[self.lead..].to_vec());
        }
        (moving, strides)
    }

    /// Whether a value is a number that row programs know.
    fn scalar(&self, val: &Val) -> bool {
        let node = &self.outer.graph.nodes[val.node];
        matches!(&node.kind, Kind::Constant(tensor) if tensor.count() == 1 && node.dtype.is_float())
    }

    fn moving(&self, val: &Val) -> Moving {
        let bytes = element_bytes(self.outer.graph.nodes[val.node].dtype) as isize;
        let lead = self.lead.min(val.view.strides.len());
        let mut strides: Vec<isize> = val.view.strides[..lead].iter().map(|s| s * bytes).collect();
        strides.resize(self.lead, 0);
        Moving { location: self.outer.at(val), strides }
    }

    fn trim(&self, view: &View) -> View {
        let lead = self.lead.min(view.dims.len());
        View {
            dims: view.dims[lead..].to_vec(),
            strides: view.strides[lead..].to_vec(),
            offset: view.offset,
        }
    }

    fn add(&mut self, kind: Kind, like: NodeId, dims: Vec<usize>) -> NodeId {
        let Node { dtype, name, .. } = &self.outer.graph.nodes[like];
        self.graph.nodes.push(Node { kind, dims, dtype: *dtype, name: name.clone() });
        self.graph.nodes.len() - 1
    }
}
