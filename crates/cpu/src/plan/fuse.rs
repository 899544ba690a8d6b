//! Fusion: which nodes one kernel computes.
//!
//! Element-wise nodes and row reductions over the same index space become one unit, computed
//! row by row in one pass: `softmax`, a norm with what follows it, the backward of either.
//! A unit never waits for anything that waits for it, which is what every join is checked for.

use super::graph::{Graph, Kind, NodeId, Val};
use super::view::View;

/// What one step of the plan computes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unit {
    /// Members, in graph order.
    pub nodes: Vec<NodeId>,
    pub kind: UnitKind,
}

/// How a unit is computed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum UnitKind {
    /// Row by row over this index space; the last axis is the row.
    Rows(Vec<usize>),
    /// Row by row over this index space, the last member reduced over all rows.
    Columns(Vec<usize>),
    /// One node (or the results of one call) on its own.
    Single,
    /// These units for every index of the leading axes `lead`, one index after the other.
    Loop { lead: Vec<usize>, units: Vec<Unit> },
}

/// Groups the nodes that are needed, in an order in which they can be computed.
pub(crate) fn fuse(graph: &Graph, uses: &[usize]) -> Vec<Unit> {
    let mut fusion = Fusion { graph, units: vec![], unit_of: vec![None; graph.nodes.len()] };
    fusion.claim_columns(uses);
    for node in (0..graph.nodes.len()).filter(|&n| uses[n] > 0) {
        fusion.place(node);
    }
    fusion.ordered()
}

/// The index space of a tensor; a scalar is a row of one.
fn space(dims: &[usize]) -> Vec<usize> {
    if dims.is_empty() { vec![1] } else { dims.to_vec() }
}

/// The space with its rows reduced to one element.
fn reduced(space: &[usize]) -> Vec<usize> {
    let mut dims = space.to_vec();
    if let Some(last) = dims.last_mut() {
        *last = 1;
    }
    dims
}

struct Fusion<'a> {
    graph: &'a Graph,
    units: Vec<Unit>,
    unit_of: Vec<Option<usize>>,
}

impl Fusion<'_> {
    /// Gives every column reduction the maps that only it needs, so that they are computed on
    /// the way instead of being stored.
    fn claim_columns(&mut self, uses: &[usize]) {
        for node in (0..self.graph.nodes.len()).rev().filter(|&n| uses[n] > 0) {
            let Kind::ReduceColumns(_, arg) = &self.graph.nodes[node].kind else { continue };
            let dims = &self.graph.nodes[arg.node].dims;
            let rows = self.graph.is_whole(arg) && dims.last() == arg.view.dims.last();
            let mut nodes = vec![node];
            let mut index_space = arg.view.dims.clone();
            if rows && self.is_claimable(arg.node, uses, dims) {
                index_space = dims.clone();
                let mut pending = vec![arg.node];
                while let Some(next) = pending.pop() {
                    nodes.push(next);
                    for arg in self.graph.args(next) {
                        let identity = arg.view == View::dense(&index_space);
                        if identity && self.is_claimable(arg.node, uses, &index_space) {
                            pending.push(arg.node);
                        }
                    }
                }
            }
            nodes.sort_unstable();
            for &member in &nodes {
                self.unit_of[member] = Some(self.units.len());
            }
            self.units.push(Unit { nodes, kind: UnitKind::Columns(index_space) });
        }
    }

    fn is_claimable(&self, node: NodeId, uses: &[usize], dims: &[usize]) -> bool {
        let n = &self.graph.nodes[node];
        matches!(n.kind, Kind::Map(..))
            && uses[node] == 1
            && n.dims == dims
            && self.unit_of[node].is_none()
    }

    fn place(&mut self, node: NodeId) {
        if self.unit_of[node].is_some() {
            return;
        }
        let index_space = match &self.graph.nodes[node].kind {
            Kind::Input(_) | Kind::Constant(_) => return,
            Kind::Map(..) => space(&self.graph.nodes[node].dims),
            Kind::Reduce(_, arg) => space(&arg.view.dims),
            Kind::Fallback { call, .. } => return self.place_call(node, *call),
            _ => {
                self.push(node, UnitKind::Single);
                return;
            }
        };
        let mut candidates: Vec<usize> =
            self.graph.args(node).iter().filter_map(|arg| self.unit_of[arg.node]).collect();
        candidates.sort_unstable();
        candidates.dedup();
        // The latest producer first: it is the least likely to be waited for by the others.
        let mut home: Option<usize> = None;
        for &unit in candidates.iter().rev() {
            match home {
                None if self.can_join(node, unit) => {
                    self.units[unit].nodes.push(node);
                    self.unit_of[node] = Some(unit);
                    home = Some(unit);
                }
                Some(home) if self.can_merge(home, unit) => self.merge(home, unit),
                _ => {}
            }
        }
        if home.is_none() {
            self.push(node, UnitKind::Rows(index_space));
        }
    }

    /// All results of a call are one unit.
    fn place_call(&mut self, node: NodeId, call: usize) {
        let sibling = (0..node).rev().find(|&other| {
            matches!(&self.graph.nodes[other].kind, Kind::Fallback { call: c, .. } if *c == call)
                && self.unit_of[other].is_some()
        });
        match sibling.and_then(|s| self.unit_of[s]) {
            Some(unit) => {
                self.units[unit].nodes.push(node);
                self.unit_of[node] = Some(unit);
            }
            None => self.push(node, UnitKind::Single),
        }
    }

    fn push(&mut self, node: NodeId, kind: UnitKind) {
        self.unit_of[node] = Some(self.units.len());
        self.units.push(Unit { nodes: vec![node], kind });
    }

    /// Whether `node` can be computed with a unit's rows.
    fn can_join(&self, node: NodeId, unit: usize) -> bool {
        let UnitKind::Rows(rows) = &self.units[unit].kind else { return false };
        let dims = space(&self.graph.nodes[node].dims);
        let fits = match &self.graph.nodes[node].kind {
            Kind::Map(..) => dims == *rows || dims == reduced(rows),
            Kind::Reduce(_, arg) => space(&arg.view.dims) == *rows,
            _ => false,
        };
        fits && self.graph.args(node).iter().all(|arg| match self.unit_of[arg.node] {
            Some(u) if u == unit => self.is_aligned(arg),
            Some(u) => !self.depends(u, unit),
            None => true,
        })
    }

    /// Whether the value reads its node element for element, rows of one element broadcast.
    fn is_aligned(&self, arg: &Val) -> bool {
        let dims = &self.graph.nodes[arg.node].dims;
        let view = View::dense(dims);
        // The first column has the strides of a broadcast too, but reads less than there is.
        let widens = arg.view.dims.len() == dims.len()
            && dims.iter().zip(&arg.view.dims).all(|(&own, &read)| own == read || own == 1);
        widens && arg.view == view.broadcast(&arg.view.dims) || arg.view == view
    }

    /// Whether two units can be one: the same rows, and no third unit between them.
    fn can_merge(&self, a: usize, b: usize) -> bool {
        if a == b || self.units[a].kind != self.units[b].kind {
            return false;
        }
        if !matches!(self.units[a].kind, UnitKind::Rows(_)) {
            return false;
        }
        let clear = |from: usize, to: usize| {
            // Every producer of `from` other than `to` must not wait for `to`.
            self.producers(from).into_iter().all(|p| p == to || !self.depends(p, to))
        };
        let aligned = |from: usize, to: usize| {
            self.units[from].nodes.iter().all(|&n| {
                let args = self.graph.args(n);
                args.iter().all(|v| self.unit_of[v.node] != Some(to) || self.is_aligned(v))
            })
        };
        clear(a, b) && clear(b, a) && aligned(a, b) && aligned(b, a)
    }

    fn merge(&mut self, into: usize, from: usize) {
        let nodes = std::mem::take(&mut self.units[from].nodes);
        for &node in &nodes {
            self.unit_of[node] = Some(into);
        }
        self.units[into].nodes.extend(nodes);
        self.units[into].nodes.sort_unstable();
    }

    /// The units that a unit reads, itself excluded.
    fn producers(&self, unit: usize) -> Vec<usize> {
        let mut out: Vec<usize> = self.units[unit]
            .nodes
            .iter()
            .flat_map(|&node| self.graph.args(node))
            .filter_map(|arg| self.unit_of[arg.node])
            .filter(|&u| u != unit)
            .collect();
        out.sort_unstable();
        out.dedup();
        out
    }

    /// Whether `unit` waits for `target`, directly or not.
    fn depends(&self, unit: usize, target: usize) -> bool {
        let mut seen = vec![false; self.units.len()];
        let mut pending = vec![unit];
        while let Some(next) = pending.pop() {
            if next == target {
                return true;
            }
            if !std::mem::replace(&mut seen[next], true) {
                pending.extend(self.producers(next));
            }
        }
        false
    }

    /// The units in an order in which each comes after what it reads.
    fn ordered(mut self) -> Vec<Unit> {
        let count = self.units.len();
        let mut order = vec![];
        let mut state = vec![0u8; count];
        // By first member, so that the order stays close to the program's.
        let mut roots: Vec<usize> =
            (0..count).filter(|&u| !self.units[u].nodes.is_empty()).collect();
        roots.sort_by_key(|&u| self.units[u].nodes[0]);
        for root in roots {
            let mut stack = vec![root];
            while let Some(&unit) = stack.last() {
                if state[unit] == 0 {
                    state[unit] = 1;
                    let waiting = self.producers(unit);
                    stack.extend(waiting.into_iter().filter(|&p| state[p] == 0));
                } else {
                    stack.pop();
                    if state[unit] == 1 {
                        state[unit] = 2;
                        order.push(unit);
                    }
                }
            }
        }
        let mut units: Vec<Option<Unit>> = self.units.drain(..).map(Some).collect();
        order.into_iter().filter_map(|u| units[u].take()).collect()
    }
}
