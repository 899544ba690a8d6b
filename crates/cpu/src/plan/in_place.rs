//! Which inputs can be updated where they are: the output that an update of an input becomes has
//! the input's own memory then, and what is not updated is not even read.
//!
//! That is right if nothing needs the input once the first update has been made, and if from then
//! on nothing can fail: a failed evaluation leaves the input as it was.

use super::fuse::Unit;
use super::graph::{Graph, Kind, NodeId, Val};
use super::part::Part;

/// Of the pairs of an input and an output those that can be one.
pub(crate) fn find(
    graph: &Graph,
    uses: &[usize],
    units: &[Unit],
    wanted: &[(usize, usize)],
) -> Vec<(usize, usize)> {
    let mut unit_of = vec![usize::MAX; graph.nodes.len()];
    for (index, unit) in units.iter().enumerate() {
        unit.nodes.iter().for_each(|&node| unit_of[node] = index);
    }
    let mut found = vec![];
    let mut first_write = usize::MAX;
    for &(input, output) in wanted {
        let Some((node, update)) = first_update(graph, uses, input, output) else { continue };
        let reads = |reader: NodeId| graph.args(reader).iter().filter(|a| a.node == node).count();
        let before = |reader: NodeId| reads(reader) == 0 || unit_of[reader] < unit_of[update];
        let needed = |reader: &NodeId| uses[*reader] > 0 && *reader != update;
        if reads(update) == 1 && (0..graph.nodes.len()).filter(needed).all(before) {
            found.push((input, output));
            first_write = first_write.min(unit_of[update]);
        }
    }
    if may_fail_after(graph, units, first_write) { vec![] } else { found }
}

/// The node of the input, and the update of all of it that the output comes from, perhaps through
/// further updates of the same memory.
fn first_update(
    graph: &Graph,
    uses: &[usize],
    input: usize,
    output: usize,
) -> Option<(NodeId, NodeId)> {
    let mut node = graph.outputs.get(output)?.node;
    let dtype = graph.nodes[node].dtype;
    loop {
        let base: &Val = match &graph.nodes[node].kind {
            Kind::Update { base, .. } | Kind::UpdateAt { base, .. } => base,
            _ => return None,
        };
        if !graph.is_whole(base) || graph.nodes[base.node].dtype != dtype {
            return None;
        }
        match graph.nodes[base.node].kind {
            Kind::Input(found) => return (found == input).then_some((base.node, node)),
            _ if uses[base.node] == 1 => node = base.node,
            _ => return None,
        }
    }
}

/// Whether a unit from the one with this index on may fail. Bounds that have been found good once
/// are good.
fn may_fail_after(graph: &Graph, units: &[Unit], first: usize) -> bool {
    let mut checked: Vec<(&Part, &[usize])> = vec![];
    for (index, unit) in units.iter().enumerate() {
        for &node in &unit.nodes {
            let (part, dims) = match &graph.nodes[node].kind {
                Kind::Fallback { .. } if index >= first => return true,
                Kind::UpdateAt { part, .. } => (part, &graph.nodes[node].dims),
                Kind::SliceAt { x, part } => (part, &x.view.dims),
                _ => continue,
            };
            let known = checked.iter().any(|(other, of)| part.same(other) && *of == &dims[..]);
            // The first update checks its own bounds before it writes.
            if index > first && !known {
                return true;
            }
            if !known {
                checked.push((part, dims));
            }
        }
    }
    false
}
