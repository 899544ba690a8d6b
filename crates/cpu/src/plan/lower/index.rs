//! Gather and scatter: elements or rows of tables at indices. A table is `[B, O, V, N]`, the
//! indices `[B, T]`: of every table of a batch the rows are taken that its indices name.

use super::Lower;
use crate::ints::IntOp;
use crate::plan::graph::{Kind, MapOp, Val};
use crate::plan::tables::Mode;
use mil::{DataType, Op, Operation, Tensor};
use runtime::Error;

impl Lower<'_> {
    /// The result of a gather or scatter, or `None` if it is left to the interpreter.
    pub(super) fn index(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let data = if operation.inputs.contains_key("data") { "data" } else { "x" };
        let x = self.need(operation, data)?;
        let indices = self.need(operation, "indices")?;
        let Some(indices) = self.as_int32(&indices) else { return Ok(None) };
        let params = self.params(operation);
        // Indices that are checked may be an error.
        if params.bool("validate_indices")? || x.view.count() == 0 || indices.view.count() == 0 {
            return Ok(None);
        }
        if self.node_dtype(&x).bits() < 8 {
            return Ok(None);
        }
        let rank = x.view.dims.len();
        if matches!(operation.op, Op::GatherNd | Op::ScatterNd) {
            return self.spelled(operation, x, indices);
        }
        let axis = params.axis("axis", rank)?;
        if let Some(val) = self.summed(operation, &x, &indices, axis)? {
            return Ok(Some(val));
        }
        let (name, dims, _) = self.result(operation)?;
        let along = matches!(operation.op, Op::GatherAlongAxis | Op::ScatterAlongAxis);
        if along {
            let (x, at) = (self.rows(&x, &[axis]), self.rows(&indices, &[axis]));
            let (n, k) = (x.view.dims[rank - 1], at.view.dims[rank - 1]);
            let lines = at.view.count() / k;
            if x.view.count() / n != lines {
                return Ok(None);
            }
            let table = self.dense_as(&x, &[lines, 1, n, 1]);
            let at = self.dense_as(&at, &[lines, k]);
            let out = match operation.op {
                Op::GatherAlongAxis => Some(self.gathered(table, at, &name)),
                _ => {
                    let updates = self.need(operation, "updates")?;
                    let updates = self.rows(&updates, &[axis]);
                    let updates = self.dense_as(&updates, &[lines, 1, k, 1]);
                    self.scattered(operation, table, at, updates)?
                }
            };
            let Some(out) = out else { return Ok(None) };
            let mut wide: Vec<usize> = (0..rank).filter(|&a| a != axis).map(|a| dims[a]).collect();
            wide.push(dims[axis]);
            let out = self.reshaped(&out, &wide);
            return Ok(Some(self.unrowed(out, &[axis], &dims)));
        }
        let batch = match operation.op {
            Op::Gather => self.params(operation).int("batch_dims")? as usize,
            _ => 0,
        };
        let count = |dims: &[usize]| dims.iter().product::<usize>();
        let xs = &x.view.dims;
        let table =
            [count(&xs[..batch]), count(&xs[batch..axis]), xs[axis], count(&xs[axis + 1..])];
        let taken = count(&indices.view.dims[batch..]);
        let x = self.dense_as(&x, &table);
        let at = self.dense_as(&indices, &[table[0], taken]);
        let out = match operation.op {
            Op::Gather => Some(self.gathered(x, at, &name)),
            _ => {
                let updates = self.need(operation, "updates")?;
                let updates = self.dense_as(&updates, &[table[0], table[1], taken, table[3]]);
                self.scattered(operation, x, at, updates)?
            }
        };
        Ok(out.map(|out| self.reshaped(&out, &dims)))
    }

    /// The rows of tables `[B, O, V, N]` at indices `[B, T]`, both dense.
    pub(super) fn gathered(&mut self, table: Val, indices: Val, name: &str) -> Val {
        let mut dims = table.view.dims.clone();
        dims[2] = indices.view.dims[1];
        let dtype = self.node_dtype(&table);
        self.graph.add(Kind::GatherRows { table, indices }, &dims, dtype, name)
    }

    /// Updates `[B, O, T, N]` combined with the rows of tables, or `None` if it is left to the
    /// interpreter.
    fn scattered(
        &mut self,
        operation: &Operation,
        base: Val,
        indices: Val,
        updates: Val,
    ) -> Result<Option<Val>, Error> {
        let (name, _, dtype) = self.result(operation)?;
        let Some(mode) = Mode::of(&self.params(operation).string("mode")?) else { return Ok(None) };
        let dims = base.view.dims.clone();
        // Only the end is rounded.
        let wide = match dtype {
            DataType::Fp16 | DataType::Bf16 => DataType::Fp32,
            DataType::Fp32 | DataType::Int32 => dtype,
            _ => return Ok(None),
        };
        let mut ends = [base, updates];
        if wide != dtype {
            for end in &mut ends {
                *end = self.f32_map(MapOp::Copy, std::slice::from_ref(end), &name);
            }
        }
        let [base, updates] = ends;
        let kind = Kind::Scatter { mode, base, indices, updates };
        let out = self.graph.add(kind, &dims, wide, &name);
        Ok(Some(match wide == dtype {
            true => out,
            false => self.map(MapOp::Copy, &[out], &dims, dtype, &name),
        }))
    }

    /// `gather_nd` and `scatter_nd`: the last axis of the indices spells a place.
    fn spelled(
        &mut self,
        operation: &Operation,
        x: Val,
        indices: Val,
    ) -> Result<Option<Val>, Error> {
        let (name, dims, _) = self.result(operation)?;
        let gathers = operation.op == Op::GatherNd;
        let batch = if gathers { self.params(operation).int("batch_dims")? as usize } else { 0 };
        let (&depth, lead) = indices.view.dims.split_last().expect("the indices are no scalar");
        let (lead, xs) = (lead.to_vec(), x.view.dims.clone());
        let count = |dims: &[usize]| dims.iter().product::<usize>();
        let spelled = &xs[batch..batch + depth];
        let rows = count(spelled);
        if depth == 0 || rows > i32::MAX as usize {
            return Ok(None);
        }
        // The row that each spells: every index counted from the front and moved into its axis.
        let mut place: Option<Val> = None;
        for (axis, &dim) in spelled.iter().enumerate() {
            let last = lead.len();
            let view = indices.view.slice(last, axis, 1, 1).drop_axis(last);
            let index = Val { node: indices.node, view };
            let dtype = DataType::Int32;
            let number = |this: &mut Self, value: i64| {
                this.constant_node(&Tensor::int32s(&[value]).reshaped(&[]).expect("one"), "number")
            };
            let (zero, size) = (number(self, 0), number(self, dim as i64));
            let last = number(self, dim as i64 - 1);
            let step = number(self, count(&spelled[axis + 1..]) as i64);
            let int =
                |this: &mut Self, op, args: &[Val]| this.int_map(op, args, &lead, dtype, &name);
            let behind = int(self, IntOp::Lt, &[index.clone(), zero.clone()]);
            let turned = int(self, IntOp::Add, &[index.clone(), size]);
            let index = int(self, IntOp::Select, &[behind, turned, index]);
            let index = int(self, IntOp::Max, &[index, zero]);
            let index = int(self, IntOp::Min, &[index, last]);
            let index = int(self, IntOp::Mul, &[index, step]);
            place = Some(match place {
                Some(sum) => int(self, IntOp::Add, &[sum, index]),
                None => index,
            });
        }
        let place = place.expect("at least one axis is spelled");
        let batches = count(&xs[..batch]);
        let taken = count(&lead[batch..]);
        let width = count(&xs[batch + depth..]);
        let table = self.dense_as(&x, &[batches, 1, rows, width]);
        let at = self.dense_as(&place, &[batches, taken]);
        let out = if gathers {
            Some(self.gathered(table, at, &name))
        } else {
            let updates = self.need(operation, "updates")?;
            let updates = self.dense_as(&updates, &[1, 1, taken, width]);
            self.scattered(operation, table, at, updates)?
        };
        Ok(out.map(|out| self.reshaped(&out, &dims)))
    }

    /// The forms that training uses, on all threads: rows added to rows, and one element of each row
    /// read or added to.
    fn summed(
        &mut self,
        operation: &Operation,
        x: &Val,
        indices: &Val,
        axis: usize,
    ) -> Result<Option<Val>, Error> {
        let rank = x.view.dims.len();
        if self.node_dtype(x) != DataType::Fp32 {
            return Ok(None);
        }
        match operation.op {
            Op::Scatter if axis == 0 && self.params(operation).string("mode")? == "add" => {
                self.add_rows(operation, x.clone(), indices.clone())
            }
            Op::GatherAlongAxis | Op::ScatterAlongAxis
                if axis + 1 == rank && indices.view.dims[axis] == 1 =>
            {
                self.picked(operation, x.clone(), indices.clone())
            }
            _ => Ok(None),
        }
    }

    fn add_rows(
        &mut self,
        operation: &Operation,
        base: Val,
        indices: Val,
    ) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let updates = self.need(operation, "updates")?;
        if self.node_dtype(&updates) != DataType::Fp32 || base.view.count() == 0 {
            return Ok(None);
        }
        let count = indices.view.count();
        let rows = base.view.dims[0];
        let width = base.view.count() / rows;
        let indices = self.dense_as(&indices, &[count]);
        let updates = self.dense_as(&updates, &[count, width]);
        let is_zero = matches!(&self.graph.nodes[base.node].kind,
            Kind::Constant(tensor) if tensor.bytes().iter().all(|&b| b == 0));
        let base = if is_zero { None } else { Some(self.dense_as(&base, &[rows, width])) };
        let kind = Kind::AddRows { base, indices, updates };
        let out = self.graph.add(kind, &[rows, width], dtype, &name);
        Ok(Some(self.reshaped(&out, &dims)))
    }

    fn picked(
        &mut self,
        operation: &Operation,
        x: Val,
        indices: Val,
    ) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let width = *x.view.dims.last().expect("the axis is the last");
        let count = x.view.count() / width;
        if indices.view.count() != count {
            return Ok(None);
        }
        let x = self.dense_as(&x, &[count, width]);
        let indices = self.dense_as(&indices, &[count]);
        if operation.op == Op::GatherAlongAxis {
            let out = self.graph.add(Kind::Pick { x, indices }, &[count], dtype, &name);
            return Ok(Some(self.reshaped(&out, &dims)));
        }
        if self.params(operation).string("mode")? != "add" {
            return Ok(None);
        }
        let updates = self.need(operation, "updates")?;
        if self.node_dtype(&updates) != DataType::Fp32 {
            return Ok(None);
        }
        let updates = self.dense_as(&updates, &[count]);
        let kind = Kind::AddPicked { base: x, indices, updates };
        let out = self.graph.add(kind, &[count, width], dtype, &name);
        Ok(Some(self.reshaped(&out, &dims)))
    }

    /// The value under these dims and packed.
    pub(super) fn dense_as(&mut self, x: &Val, dims: &[usize]) -> Val {
        let x = self.reshaped(x, dims);
        if x.view.is_packed() { x } else { self.copied(&x) }
    }
}
