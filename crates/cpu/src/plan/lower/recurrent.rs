//! Recurrent layers: one matrix product for all that is seen, and a scan for what is kept.

use super::Lower;
use crate::plan::graph::{Graph, Kind, MapOp, Val};
use crate::plan::place::{self, is_float};
use crate::plan::scan::{STATE, Scan};
use crate::plan::view::View;
use crate::rows::{Binary, Unary};
use mil::{DataType, Op, Operation, Tensor};
use runtime::Error;

/// One direction of a layer.
struct Way {
    /// Sums of what is seen, `[S, B, gates · H]`, with biases that no gate multiplies.
    seen: Val,
    /// `[H, gates · H]`, fp32.
    kept: Val,
    /// Biases of what is kept, and weights of the old cell: `[1, n · H]`.
    bias: Option<Val>,
    peephole: Option<Val>,
    initial: Vec<Val>,
    backward: bool,
}

impl Lower<'_> {
    /// The results of `lstm`, `gru` or `rnn`, or `None` if they are left to the interpreter.
    pub(super) fn recurrent(&mut self, operation: &Operation) -> Result<Option<Vec<Val>>, Error> {
        let x = self.need(operation, "x")?;
        let hidden = self.need(operation, "weight_hh")?.view.dims[1];
        let dtype = self.node_dtype(&x);
        let &[steps, batch, inputs] = &x.view.dims[..] else { return Ok(None) };
        if !is_float(dtype) || [steps, batch, inputs, hidden].contains(&0) {
            return Ok(None);
        }
        let name = self.name(operation.outputs[0]);
        let (direction, sequence) = {
            let params = self.params(operation);
            (params.string("direction")?, params.bool("output_sequence")?)
        };
        // Suffix of the weights, whether it runs backward, and whether its outputs are then put
        // back into the order of time.
        let ways = match direction.as_str() {
            "forward" => vec![("", false, false)],
            "reverse" => vec![("", true, false)],
            _ => vec![("", false, false), ("_back", true, true)],
        };
        let (mut outs, mut lasts, mut cells) = (vec![], vec![], vec![]);
        for (index, (suffix, backward, aligned)) in ways.into_iter().enumerate() {
            let way = self.way(operation, &x, suffix, index * hidden, backward)?;
            let states = way.initial.len();
            let node = self.scan(operation, way, [steps, batch, hidden], &name)?;
            let state = |which: usize| Val {
                node: node.node,
                view: node.view.slice(1, which, 1, 1).drop_axis(1),
            };
            let at = |val: Val, begin: usize, stride: i64, size: usize| Val {
                node: val.node,
                view: val.view.slice(0, begin, stride, size),
            };
            let last = |val: Val| {
                let val = at(val, steps, 1, 1);
                Val { node: val.node, view: val.view.drop_axis(0) }
            };
            outs.push(match (sequence, aligned) {
                (false, _) => at(state(0), steps, 1, 1),
                (true, false) => at(state(0), 1, 1, steps),
                (true, true) => at(state(0), steps, -1, steps),
            });
            lasts.push(last(state(0)));
            if states > 1 {
                cells.push(last(state(1)));
            }
        }
        let mut results = vec![];
        for parts in [outs, lasts, cells].into_iter().filter(|parts| !parts.is_empty()) {
            results.push(self.side_by_side(parts, dtype, &name));
        }
        Ok(Some(results))
    }

    /// States of both ways in one row, in the layer's type.
    fn side_by_side(&mut self, mut parts: Vec<Val>, dtype: DataType, name: &str) -> Val {
        let mut out = parts.swap_remove(0);
        let mut dims = out.view.dims.clone();
        if let Some(back) = parts.pop() {
            let axis = dims.len() - 1;
            dims[axis] += back.view.dims[axis];
            out = self.graph.add(Kind::Concat(vec![out, back], axis), &dims, STATE, name);
        }
        if dtype == STATE { out } else { self.map(MapOp::Copy, &[out], &dims, dtype, name) }
    }

    /// What one direction reads. Its states are the columns from `offset` on.
    fn way(
        &mut self,
        operation: &Operation,
        x: &Val,
        suffix: &str,
        offset: usize,
        backward: bool,
    ) -> Result<Way, Error> {
        let named = |this: &mut Self, name: &str| {
            let name = format!("{name}{suffix}");
            match operation.op.spec().param(&name) {
                Some(_) => this.arg(operation, &name),
                None => Ok(None),
            }
        };
        let seen = self.need(operation, &format!("weight_ih{suffix}"))?;
        let kept = self.need(operation, &format!("weight_hh{suffix}"))?;
        let (bias, input_bias) = (named(self, "bias")?, named(self, "input_bias")?);
        let peephole = named(self, "peephole")?;
        let (rows, hidden) = (kept.view.dims[0], kept.view.dims[1]);
        let (steps, batch) = (x.view.dims[0], x.view.dims[1]);
        let name = self.name(operation.outputs[0]);

        // A gate may multiply what is kept, bias and all.
        let apart = operation.op == Op::Gru;
        let added = if apart { input_bias } else { bias.clone() };
        let flat = self.reshaped(x, &[steps * batch, x.view.dims[2]]);
        let weight = Val { node: seen.node, view: seen.view.permute(&[1, 0]) };
        let dims = [steps * batch, rows];
        let seen = self.matrix_product(flat, weight, added, &dims, STATE, &name);
        let seen = self.reshaped(&seen, &[steps, batch, rows]);

        let row = |this: &mut Self, val: Option<Val>| {
            val.map(|val| {
                let wide = [1, val.view.count()];
                let val = this.in_f32(&val);
                this.dense_as(&val, &wide)
            })
        };
        let bias = row(self, bias.filter(|_| apart));
        let peephole = row(self, peephole);
        let mut initial = vec![self.need(operation, "initial_h")?];
        if operation.op == Op::Lstm {
            initial.push(self.need(operation, "initial_c")?);
        }
        for state in &mut initial {
            state.view = state.view.slice(1, offset, 1, hidden);
        }
        let kept = self.in_f32(&kept);
        let kept = self.dense_as(&kept, &[rows, hidden]);
        Ok(Way { seen, kept, bias, peephole, initial, backward })
    }

    /// The value in fp32; of a constant it is made now.
    fn in_f32(&mut self, val: &Val) -> Val {
        if self.node_dtype(val) == DataType::Fp32 {
            return val.clone();
        }
        if let Some(tensor) = self.materialized(val)
            && let Ok(wide) = Tensor::from_f64s(DataType::Fp32, tensor.dims(), &tensor.to_f64s())
        {
            return self.constant_node(&wide, "weight");
        }
        self.f32_map(MapOp::Copy, std::slice::from_ref(val), "weight")
    }

    /// The states of one direction: `[steps + 1, states, B, H]`.
    fn scan(
        &mut self,
        operation: &Operation,
        way: Way,
        [steps, batch, hidden]: [usize; 3],
        name: &str,
    ) -> Result<Val, Error> {
        let Way { seen, kept, bias, peephole, initial, backward } = way;
        let rows = seen.view.dims[2];
        let states = initial.len();
        let step = seen.view.strides[0];
        let (begin, stride) = if backward { (steps - 1, -step) } else { (0, step) };
        let seen = Val { node: seen.node, view: seen.view.slice(0, begin, 1, 1) };
        let mut reads = vec![(seen, stride), (kept, 0)];
        let (has_bias, has_peephole) = (bias.is_some(), peephole.is_some());
        reads.extend(bias.into_iter().chain(peephole).map(|row| (row, 0)));

        // The body is a graph of its own.
        let outer = std::mem::take(&mut self.graph);
        let input = |this: &mut Self, dims: &[usize]| {
            let index = this.graph.nodes.len();
            this.graph.add(Kind::Input(index), dims, STATE, name)
        };
        let before: Vec<Val> = (0..states).map(|_| input(self, &[batch, hidden])).collect();
        let seen = input(self, &[batch, rows]);
        let kept = input(self, &[rows, hidden]);
        let bias = has_bias.then(|| input(self, &[1, rows]));
        let peephole = has_peephole.then(|| input(self, &[1, 3 * hidden]));
        let cell = Cell { operation, hidden, seen, kept, bias, peephole, name };
        let after = match operation.op {
            Op::Lstm => self.lstm(&cell, &before),
            Op::Gru => self.gru(&cell, &before),
            _ => self.rnn(&cell, &before),
        };
        if let Ok(after) = &after {
            self.graph.outputs = after.clone();
            place::separate_outputs(&mut self.graph, &vec![false; states]);
        }
        let body: Graph = std::mem::replace(&mut self.graph, outer);
        after?;

        let dims = [steps + 1, states, batch, hidden];
        let scan = Scan { steps, initial, reads, body };
        Ok(self.graph.add(Kind::Scan(Box::new(scan)), &dims, STATE, name))
    }

    /// i, f, o and z; i and f look at the old cell, o at the new one.
    fn lstm(&mut self, cell: &Cell, before: &[Val]) -> Result<Vec<Val>, Error> {
        let params = self.params(cell.operation);
        let clip = match params.has("clip") {
            true => Some(params.float("clip")?.abs()),
            false => None,
        };
        let (h, old, name) = (&before[0], &before[1], cell.name);
        let kept = self.kept(cell, h, 0..4);
        let gate = |this: &mut Self, which: usize, looks: Option<&Val>, function: &str| {
            let mut sum = this.gate(cell, &kept, which);
            if let (Some(peephole), Some(seen)) = (&cell.peephole, looks) {
                let weight = cell.part(peephole, which);
                let looked = this.two(Binary::Mul, seen.clone(), weight, name);
                sum = this.two(Binary::Add, sum, looked, name);
            }
            this.named(cell, function, sum)
        };
        let i = gate(self, 0, Some(old), "recurrent_activation")?;
        let f = gate(self, 1, Some(old), "recurrent_activation")?;
        let z = gate(self, 3, None, "cell_activation")?;
        let remembered = self.two(Binary::Mul, f, old.clone(), name);
        let added = self.two(Binary::Mul, i, z, name);
        let mut new = self.two(Binary::Add, remembered, added, name);
        if let Some(clip) = clip {
            let (low, high) = (self.scalar(-clip), self.scalar(clip));
            let above = self.two(Binary::Min, new, high, name);
            new = self.two(Binary::Max, above, low, name);
        }
        let o = gate(self, 2, Some(&new), "recurrent_activation")?;
        let shown = self.named(cell, "activation", new.clone())?;
        Ok(vec![self.two(Binary::Mul, o, shown, name), new])
    }

    /// r, o and z.
    fn gru(&mut self, cell: &Cell, before: &[Val]) -> Result<Vec<Val>, Error> {
        let (h, name) = (&before[0], cell.name);
        let after = self.params(cell.operation).bool("reset_after")?;
        let kept = self.kept(cell, h, 0..3);
        let r = self.gate(cell, &kept, 0);
        let r = self.named(cell, "recurrent_activation", r)?;
        let seen = cell.part(&cell.seen, 1);
        let kept_o = if after {
            let kept = self.biased(cell, cell.part(&kept, 1), 1);
            self.two(Binary::Mul, r, kept, name)
        } else {
            let reset = self.two(Binary::Mul, r, h.clone(), name);
            let kept = self.kept(cell, &reset, 1..2);
            self.biased(cell, kept, 1)
        };
        let o = self.two(Binary::Add, seen, kept_o, name);
        let o = self.named(cell, "activation", o)?;
        let z = self.gate(cell, &kept, 2);
        let z = self.named(cell, "recurrent_activation", z)?;
        let one = self.scalar(1.0);
        let dims = z.view.dims.clone();
        let rest = self.map(MapOp::Binary(Binary::Sub), &[one, z.clone()], &dims, STATE, name);
        let new = self.two(Binary::Mul, rest, o, name);
        let old = self.two(Binary::Mul, z, h.clone(), name);
        Ok(vec![self.two(Binary::Add, new, old, name)])
    }

    fn rnn(&mut self, cell: &Cell, before: &[Val]) -> Result<Vec<Val>, Error> {
        let kept = self.kept(cell, &before[0], 0..1);
        let sum = self.gate(cell, &kept, 0);
        Ok(vec![self.named(cell, "activation", sum)?])
    }

    /// h times the weights of some gates.
    fn kept(&mut self, cell: &Cell, h: &Val, gates: std::ops::Range<usize>) -> Val {
        let (n, batch) = (cell.hidden, h.view.dims[0]);
        let rows = cell.kept.view.slice(0, gates.start * n, 1, gates.len() * n);
        let weight = Val { node: cell.kept.node, view: rows.permute(&[1, 0]) };
        let dims = [batch, gates.len() * n];
        self.matrix_product(h.clone(), weight, None, &dims, STATE, cell.name)
    }

    /// What a gate is a function of: what is seen, what is kept, and the bias.
    fn gate(&mut self, cell: &Cell, kept: &Val, which: usize) -> Val {
        let (seen, kept) = (cell.part(&cell.seen, which), cell.part(kept, which));
        let sum = self.two(Binary::Add, seen, kept, cell.name);
        self.biased(cell, sum, which)
    }

    fn biased(&mut self, cell: &Cell, x: Val, which: usize) -> Val {
        match &cell.bias {
            Some(bias) => self.two(Binary::Add, x, cell.part(bias, which), cell.name),
            None => x,
        }
    }

    /// The activation that a parameter names.
    fn named(&mut self, cell: &Cell, parameter: &str, x: Val) -> Result<Val, Error> {
        let function = self.params(cell.operation).string(parameter)?.to_lowercase();
        let name = cell.name;
        Ok(match function.as_str() {
            "tanh" | "scaled_tanh" => self.one(Unary::Tanh, x, name),
            "sigmoid" => self.one(Unary::Sigmoid, x, name),
            "relu" => self.one(Unary::Relu, x, name),
            "hard_sigmoid" | "sigmoid_hard" => {
                let [slope, half] = [0.2, 0.5].map(|number| self.scalar(number));
                let [low, high] = [0.0, 1.0].map(|number| self.scalar(number));
                let line = self.two(Binary::Mul, x, slope, name);
                let line = self.two(Binary::Add, line, half, name);
                let line = self.two(Binary::Max, line, low, name);
                self.two(Binary::Min, line, high, name)
            }
            _ => x,
        })
    }
}

/// What a cell is made of, within a body.
struct Cell<'a> {
    operation: &'a Operation,
    hidden: usize,
    seen: Val,
    kept: Val,
    bias: Option<Val>,
    peephole: Option<Val>,
    name: &'a str,
}

impl Cell<'_> {
    /// A gate's columns.
    fn part(&self, of: &Val, which: usize) -> Val {
        let view: View = of.view.slice(1, which * self.hidden, 1, self.hidden);
        Val { node: of.node, view }
    }
}
