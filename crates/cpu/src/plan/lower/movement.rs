//! Ops that only move elements: views where strides can say it, copies where they cannot.

use super::Lower;
use super::update::is_known;
use crate::plan::graph::{Kind, Val};
use crate::plan::view::View;
use mil::{Op, Operation, Tensor};
use runtime::Error;

impl Lower<'_> {
    /// The results of a movement op, or `None` if it is left to the interpreter.
    pub(super) fn movement(&mut self, operation: &Operation) -> Result<Option<Vec<Val>>, Error> {
        match operation.op {
            Op::Concat => return self.concat(operation),
            Op::Stack => return self.stack(operation),
            _ => {}
        }
        let x = self.need(operation, "x")?;
        let with = |view: View| Some(vec![Val { node: x.node, view }]);
        let rank = x.view.dims.len();
        Ok(match operation.op {
            Op::Identity => with(x.view.clone()),
            Op::Transpose => {
                let perm = self.params(operation).need_ints("perm")?;
                let perm: Vec<usize> = perm
                    .iter()
                    .map(|&p| if p < 0 { p + rank as i64 } else { p } as usize)
                    .collect();
                with(x.view.permute(&perm))
            }
            Op::Reshape | Op::ExpandDims | Op::Squeeze | Op::ReshapeLike | Op::Flatten2d => {
                let dims = self.result(operation)?.1;
                Some(vec![self.reshaped(&x, &dims)])
            }
            Op::SliceUpdate => self.slice_update(operation, &x)?.map(|v| vec![v]),
            Op::SliceByIndex | Op::SliceBySize if !is_known(&self.params(operation)) => {
                self.slice_at(operation, &x)?.map(|v| vec![v])
            }
            Op::SliceByIndex | Op::SliceBySize => {
                let axes = mil::shape::resolve_slice(&self.params(operation), &x.view.dims)?;
                let mut view = x.view.clone();
                for (axis, slice) in axes.iter().enumerate() {
                    view = view.slice(axis, slice.begin, slice.stride, slice.size);
                }
                for axis in (0..axes.len()).rev().filter(|&a| axes[a].dropped) {
                    view = view.drop_axis(axis);
                }
                with(view)
            }
            Op::Reverse => {
                let axes = self.params(operation).axes("axes", rank)?;
                let mut view = x.view.clone();
                for axis in axes.unwrap_or_else(|| (0..rank).collect()) {
                    let size = view.dims[axis];
                    view = view.slice(axis, size.saturating_sub(1), -1, size);
                }
                with(view)
            }
            Op::Split => {
                let axis = self.params(operation).axis("axis", rank)?;
                let mut begin = 0;
                let mut parts = vec![];
                for &id in &operation.outputs {
                    let size = self.fixed_dims(id)?[axis];
                    parts.push(Val { node: x.node, view: x.view.slice(axis, begin, 1, size) });
                    begin += size;
                }
                Some(parts)
            }
            Op::Tile => {
                let dims = self.result(operation)?.1;
                Some(vec![self.tile(&x, &dims)])
            }
            Op::Pad => self.pad(operation, &x)?.map(|v| vec![v]),
            _ => None,
        })
    }

    /// The value under other dims, copied if its layout does not allow a view.
    pub(super) fn reshaped(&mut self, x: &Val, dims: &[usize]) -> Val {
        match x.view.reshape(dims) {
            Some(view) => Val { node: x.node, view },
            None => {
                let copy = self.copied(x);
                let view = copy.view.reshape(dims).expect("a dense view takes any shape");
                Val { node: copy.node, view }
            }
        }
    }

    /// A dense copy. Axes of size 1 take no part, so that the copy has as few axes as can be.
    pub(super) fn copied(&mut self, x: &Val) -> Val {
        let name = self.graph.nodes[x.node].name.clone();
        // Of a constant it is made now, unless that repeats elements.
        if let Kind::Constant(whole) = &self.graph.nodes[x.node].kind
            && x.view.count() <= whole.count()
            && let Some(tensor) = self.materialized(x)
        {
            return self.constant_node(&tensor, &name);
        }
        let mut view = x.view.clone();
        for axis in (0..view.dims.len()).rev().filter(|&a| x.view.dims[a] == 1) {
            view = view.drop_axis(axis);
        }
        let from = Val { node: x.node, view };
        let copy = self.graph.copy(from, &name);
        let view = copy.view.reshape(&x.view.dims).expect("a dense view takes any shape");
        Val { node: copy.node, view }
    }

    /// The elements of a value that is a constant.
    pub(super) fn materialized(&self, val: &Val) -> Option<Tensor> {
        let Kind::Constant(tensor) = &self.graph.nodes[val.node].kind else { return None };
        let width = tensor.dtype().bits() / 8;
        if width == 0 || !tensor.dtype().bits().is_multiple_of(8) {
            return None;
        }
        if val.view.is_dense() && val.view.count() == tensor.count() {
            return tensor.clone().reshaped(&val.view.dims).ok();
        }
        let mut bytes = Vec::with_capacity(val.view.count() * width);
        let walk = crate::plan::walk::Walk::new(&val.view.dims, [&val.view.strides]);
        let [step] = walk.line().1;
        walk.lines(0..walk.count(), |[first], count| {
            for i in 0..count as isize {
                let at = (val.view.offset + first + i * step) as usize * width;
                bytes.extend_from_slice(&tensor.bytes()[at..at + width]);
            }
        });
        Tensor::from_bytes(tensor.dtype(), &val.view.dims, bytes).ok()
    }

    /// Repetition is a broadcast over an axis put before each repeated one.
    fn tile(&mut self, x: &Val, dims: &[usize]) -> Val {
        let mut view = x.view.clone();
        let mut wide = vec![];
        for axis in (0..dims.len()).rev() {
            let size = x.view.dims[axis];
            wide.insert(0, size);
            if size != dims[axis] {
                view = view.insert_axis(axis);
                wide.insert(0, dims[axis].checked_div(size).unwrap_or(0));
            }
        }
        let spread = Val { node: x.node, view: view.broadcast(&wide) };
        self.reshaped(&spread, dims)
    }

    /// Values joined along a new axis, along which each has one element.
    fn stack(&mut self, operation: &Operation) -> Result<Option<Vec<Val>>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let axis = self.params(operation).axis("axis", dims.len())?;
        let Some(values) = operation.inputs.get("values") else { return Ok(None) };
        let mut parts = vec![];
        for operand in values.operands() {
            let value = self.operand(operand)?;
            let view = value.view.insert_axis(axis);
            parts.push(Val { node: value.node, view });
        }
        Ok(Some(vec![self.graph.add(Kind::Concat(parts, axis), &dims, dtype, &name)]))
    }

    fn concat(&mut self, operation: &Operation) -> Result<Option<Vec<Val>>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let params = self.params(operation);
        let axis = params.axis("axis", dims.len())?;
        let interleave = params.bool("interleave")?;
        let Some(values) = operation.inputs.get("values") else { return Ok(None) };
        let mut parts = vec![];
        for operand in values.operands() {
            let part = self.operand(operand)?;
            let part = if part.view.dims.is_empty() { self.reshaped(&part, &[1]) } else { part };
            parts.push(part);
        }
        if interleave {
            // Element after element: along an axis of its own behind the one that is joined.
            let mut wide = parts[0].view.dims.clone();
            wide.insert(axis + 1, parts.len());
            let apart = |part: &Val| Val { node: part.node, view: part.view.insert_axis(axis + 1) };
            let parts: Vec<Val> = parts.iter().map(apart).collect();
            if parts.iter().any(|part| part.view.dims[axis] != wide[axis]) {
                return Ok(None);
            }
            let out = self.graph.add(Kind::Concat(parts, axis + 1), &wide, dtype, &name);
            return Ok(Some(vec![self.reshaped(&out, &dims)]));
        }
        Ok(Some(vec![self.graph.add(Kind::Concat(parts, axis), &dims, dtype, &name)]))
    }

    /// Constant padding: the operand joined with constants along each padded axis.
    fn pad(&mut self, operation: &Operation, x: &Val) -> Result<Option<Val>, Error> {
        let params = self.params(operation);
        if !params.is_known("pad") || self.node_dtype(x).bits() < 8 {
            return Ok(None);
        }
        let (pad, mode) = (params.need_ints("pad")?, params.string("mode")?);
        if pad.iter().any(|&p| p < 0) {
            return Ok(None);
        }
        let amounts: Vec<(usize, usize)> =
            pad.chunks_exact(2).map(|p| (p[0] as usize, p[1] as usize)).collect();
        let name = self.name(operation.output());
        if mode == "constant" {
            let fill = params.float("constant_val")?;
            return Ok(Some(self.padded(x, &amounts, fill, &name)));
        }
        Ok(self.extended(x, &amounts, mode == "reflect", &name))
    }

    /// x with the last axes extended by (before, after) of its own elements: mirrored at the first
    /// and last ones, or these repeated. `None` if an axis has not as many.
    fn extended(
        &mut self,
        x: &Val,
        amounts: &[(usize, usize)],
        mirrored: bool,
        name: &str,
    ) -> Option<Val> {
        let (dtype, first) = (self.node_dtype(x), x.view.dims.len() - amounts.len());
        let mut out = x.clone();
        for (axis, &(before, after)) in (first..).zip(amounts) {
            let n = out.view.dims[axis];
            if before + after == 0 {
                continue;
            }
            if n == 0 || mirrored && before.max(after) >= n {
                return None;
            }
            let view = &out.view;
            let mut dims = view.dims.clone();
            let ends = if mirrored {
                [
                    view.slice(axis, before, -1, before),
                    view.slice(axis, n.saturating_sub(2), -1, after),
                ]
            } else {
                [(0, before), (n - 1, after)].map(|(at, count)| {
                    dims[axis] = count;
                    view.slice(axis, at, 1, 1).broadcast(&dims)
                })
            };
            let views = [&ends[0], view, &ends[1]].into_iter().filter(|view| view.dims[axis] > 0);
            let parts = views.map(|view| Val { node: out.node, view: view.clone() }).collect();
            dims[axis] = n + before + after;
            out = self.graph.add(Kind::Concat(parts, axis), &dims, dtype, name);
        }
        Some(out)
    }

    /// x with the last axes extended by (before, after) each.
    pub(super) fn padded(
        &mut self,
        x: &Val,
        amounts: &[(usize, usize)],
        fill: f64,
        name: &str,
    ) -> Val {
        let dtype = self.node_dtype(x);
        let first = x.view.dims.len() - amounts.len();
        let mut out = x.clone();
        for (i, &(before, after)) in amounts.iter().enumerate() {
            let axis = first + i;
            let mut parts = vec![out.clone()];
            for (amount, at_front) in [(before, true), (after, false)] {
                if amount == 0 {
                    continue;
                }
                let tensor = match dtype.is_float() {
                    true => Ok(mil::Tensor::float(dtype, fill)),
                    false => mil::Tensor::from_i64s(dtype, &[], &[fill as i64]),
                };
                let tensor = tensor.expect("a number of this type");
                let constant = self.constant_node(&tensor, "padding");
                let mut dims = out.view.dims.clone();
                dims[axis] = amount;
                let view = constant.view.broadcast(&dims);
                let at = if at_front { 0 } else { parts.len() };
                parts.insert(at, Val { node: constant.node, view });
            }
            if parts.len() > 1 {
                let mut dims = out.view.dims.clone();
                dims[axis] += before + after;
                out = self.graph.add(Kind::Concat(parts, axis), &dims, dtype, name);
            }
        }
        out
    }
}
