//! Loops: units that run head by head instead of one after the other over all heads.
//!
//! Attention computes scores `[…, S, S]`, weighs them and uses them up again. Unit by unit, each of
//! these tensors goes through memory as a whole. If every unit of such a chain repeats the same
//! computation over the same leading axes (batch and heads), one iteration after the other can run
//! through the whole chain instead: what lies between the units is then the size of one iteration,
//! belongs to one thread, and stays in its cache.

use super::fuse::{Unit, UnitKind};
use super::graph::{Graph, Kind, NodeId, Val};
use super::view::View;

/// Joins units into loops where that saves memory: at least one tensor must live inside of a loop
/// only. `fixed` says of each node whether it must be computed by a unit of its own.
///
/// A loop runs its iterations on different threads, so there must be as many as `threads`.
pub(crate) fn gather(
    graph: &Graph,
    units: Vec<Unit>,
    threads: usize,
    fixed: &dyn Fn(NodeId) -> bool,
) -> Vec<Unit> {
    let mut unit_of = vec![None; graph.nodes.len()];
    for (index, unit) in units.iter().enumerate() {
        unit.nodes.iter().for_each(|&node| unit_of[node] = Some(index));
    }
    let producers = units.iter().map(|unit| producers(graph, &unit_of, unit)).collect();
    let mut gather = Gather { graph, unit_of, producers, loop_of: vec![None; units.len()], units };
    let mut loops = 0;
    for first in 0..gather.units.len() {
        let Some(lead) = gather.lead(first) else { continue };
        let iterations: usize = lead.iter().product();
        let free = gather.loop_of[first].is_none();
        if !free || iterations < threads.max(2) || !gather.is_product(first) {
            continue;
        }
        let members = gather.grow(first, &lead, fixed);
        if gather.keeps_something_inside(&members) {
            members.iter().for_each(|&unit| gather.loop_of[unit] = Some(loops));
            loops += 1;
        }
    }
    gather.ordered(loops)
}

struct Gather<'a> {
    graph: &'a Graph,
    units: Vec<Unit>,
    unit_of: Vec<Option<usize>>,
    /// For every unit those that it reads.
    producers: Vec<Vec<usize>>,
    loop_of: Vec<Option<usize>>,
}

impl Gather<'_> {
    /// The axes over which a unit repeats itself: all but the last two.
    fn lead(&self, unit: usize) -> Option<Vec<usize>> {
        let unit = &self.units[unit];
        let dims = match &unit.kind {
            UnitKind::Rows(space) => space,
            UnitKind::Single => match &self.graph.nodes[unit.nodes[0]].kind {
                Kind::Product(_) => &self.graph.nodes[unit.nodes[0]].dims,
                _ => return None,
            },
            _ => return None,
        };
        let lead = &dims[..dims.len().checked_sub(2)?];
        (lead.iter().product::<usize>() > 1).then(|| lead.to_vec())
    }

    fn is_product(&self, unit: usize) -> bool {
        matches!(self.graph.nodes[self.units[unit].nodes[0]].kind, Kind::Product(_))
    }

    /// The units that can run with `first` in one loop and are connected with it, in order.
    fn grow(&self, first: usize, lead: &[usize], fixed: &dyn Fn(NodeId) -> bool) -> Vec<usize> {
        let count = self.units.len();
        let mut member = vec![false; count];
        // Units that wait for a member and are none themselves: nothing that waits for them can
        // be a member, or the loop would have to run before and after them.
        let mut after = vec![false; count];
        for unit in first..count {
            let producers = &self.producers[unit];
            let late = producers.iter().any(|&p| after[p]);
            let fits = !late
                && self.loop_of[unit].is_none()
                && self.lead(unit).is_some_and(|own| own == lead)
                && self.units[unit].nodes.iter().all(|&n| !fixed(n) && self.fits(n, lead, &member));
            member[unit] = fits;
            after[unit] = !fits && (late || producers.iter().any(|&p| member[p]));
        }
        // Of those, the ones that pass tensors to each other.
        let mut connected = vec![first];
        let mut next = 0;
        while let Some(&unit) = connected.get(next) {
            next += 1;
            for other in (first..count).filter(|&u| member[u]) {
                let linked =
                    self.producers[other].contains(&unit) || self.producers[unit].contains(&other);
                if linked && !connected.contains(&other) {
                    connected.push(other);
                }
            }
        }
        connected.sort_unstable();
        connected
    }

    /// Whether iteration i of a node reads of the members nothing but their iteration i.
    fn fits(&self, node: NodeId, lead: &[usize], member: &[bool]) -> bool {
        let (l, dims) = (lead.len(), &self.graph.nodes[node].dims);
        let has_lead = |dims: &[usize]| dims.len() == l + 2 && dims[..l] == *lead;
        has_lead(dims)
            && self.graph.args(node).iter().all(|arg| {
                let own = self.unit_of[arg.node].is_some_and(|unit| member[unit]);
                match arg.view.dims.len() {
                    0 => !own,
                    _ => has_lead(&arg.view.dims) && (!own || self.is_aligned(arg, l)),
                }
            })
    }

    /// Whether a view's iteration i lies within its node's iteration i, and has its place.
    fn is_aligned(&self, arg: &Val, lead: usize) -> bool {
        let dims = &self.graph.nodes[arg.node].dims;
        let dense = View::dense(dims);
        let same = |axis: usize| dims[axis] == 1 || arg.view.strides[axis] == dense.strides[axis];
        let trailing = arg.view.dims[lead..].iter().zip(&arg.view.strides[lead..]);
        let last = trailing.clone().map(|(&d, &s)| (d as isize - 1) * s).sum::<isize>();
        let slice: usize = dims[lead..].iter().product();
        (0..lead).all(same)
            && trailing.clone().all(|(_, &stride)| stride >= 0)
            && arg.view.offset >= 0
            && arg.view.offset + last < slice as isize
    }

    /// Whether a tensor that is no output is computed and used up by these units.
    fn keeps_something_inside(&self, members: &[usize]) -> bool {
        let inside = |unit: Option<usize>| unit.is_some_and(|unit| members.contains(&unit));
        let mut read = vec![false; self.graph.nodes.len()];
        let mut left = vec![false; self.graph.nodes.len()];
        for (node, unit) in self.unit_of.iter().enumerate().filter(|(_, unit)| unit.is_some()) {
            for arg in self.graph.args(node) {
                let away = self.unit_of[arg.node] != *unit;
                read[arg.node] |= away && inside(*unit);
                left[arg.node] |= !inside(*unit);
            }
        }
        self.graph.outputs.iter().for_each(|output| left[output.node] = true);
        let mut nodes = members.iter().flat_map(|&unit| &self.units[unit].nodes);
        nodes.any(|&node| read[node] && !left[node])
    }

    /// All units with loops in the place of their members, each after what it reads.
    fn ordered(mut self, loops: usize) -> Vec<Unit> {
        let count = self.units.len();
        // Loop number l waits for what its members wait for.
        let id = |unit: usize| self.loop_of[unit].map_or(unit, |l| count + l);
        let mut waiting = vec![vec![]; count + loops];
        for unit in 0..count {
            let producers = self.producers[unit].iter().copied().map(id);
            waiting[id(unit)].extend(producers.filter(|&p| p != id(unit)));
        }
        let (mut state, mut order) = (vec![0u8; count + loops], vec![]);
        for root in (0..count).map(id) {
            let mut stack = vec![root];
            while let Some(&next) = stack.last() {
                if state[next] == 0 {
                    state[next] = 1;
                    stack.extend(waiting[next].iter().copied().filter(|&p| state[p] == 0));
                } else {
                    stack.pop();
                    if std::mem::replace(&mut state[next], 2) == 1 {
                        order.push(next);
                    }
                }
            }
        }
        let loop_of = std::mem::take(&mut self.loop_of);
        let leads: Vec<Option<Vec<usize>>> = (0..count).map(|unit| self.lead(unit)).collect();
        let mut units: Vec<Option<Unit>> = self.units.into_iter().map(Some).collect();
        let joined = |members: Vec<Unit>, lead: Vec<usize>| {
            let mut nodes: Vec<NodeId> = members.iter().flat_map(|u| u.nodes.clone()).collect();
            nodes.sort_unstable();
            Unit { nodes, kind: UnitKind::Loop { lead, units: members } }
        };
        let mut out = vec![];
        for next in order {
            if next < count {
                out.extend(units[next].take());
                continue;
            }
            let members: Vec<usize> =
                (0..count).filter(|&unit| loop_of[unit] == Some(next - count)).collect();
            let lead = leads[members[0]].clone().expect("members of a loop have leading axes");
            out.push(joined(members.iter().filter_map(|&u| units[u].take()).collect(), lead));
        }
        out
    }
}

/// The units that a unit reads.
fn producers(graph: &Graph, unit_of: &[Option<usize>], unit: &Unit) -> Vec<usize> {
    let own = unit_of[unit.nodes[0]];
    let args = unit.nodes.iter().flat_map(|&node| graph.args(node));
    let read = args.map(|arg| unit_of[arg.node]).filter(|&unit| unit != own);
    let mut units: Vec<usize> = read.flatten().collect();
    units.sort_unstable();
    units.dedup();
    units
}
