//! Gather and scatter in the forms that training uses: rows of a table (embedding) and one
//! element of each row (the target's logit). Other forms are left to the interpreter.

use super::Lower;
use crate::plan::graph::{Kind, Val};
use mil::{DataType, Op, Operation};
use runtime::Error;

impl Lower<'_> {
    /// The result of a gather or scatter, or `None` if it is left to the interpreter.
    pub(super) fn index(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let data = if operation.inputs.contains_key("data") { "data" } else { "x" };
        let x = self.need(operation, data)?;
        let indices = self.need(operation, "indices")?;
        let rank = x.view.dims.len();
        let params = self.params(operation);
        let axis = params.axis("axis", rank)?;
        let validate = params.bool("validate_indices")?;
        let plain =
            self.node_dtype(&indices) == DataType::Int32 && !validate && x.view.dims[axis] > 0;
        if !plain {
            return Ok(None);
        }
        // Rows are moved as bytes, whatever they mean.
        if operation.op == Op::Gather && axis == 0 && params.int("batch_dims")? == 0 {
            return match self.node_dtype(&x).bits() {
                0..8 => Ok(None),
                _ => self.gather_rows(operation, x, indices),
            };
        }
        if self.node_dtype(&x) != DataType::Fp32 {
            return Ok(None);
        }
        match operation.op {
            Op::Scatter if axis == 0 && params.string("mode")? == "add" => {
                self.add_rows(operation, x, indices)
            }
            Op::GatherAlongAxis | Op::ScatterAlongAxis
                if axis + 1 == rank && indices.view.dims[axis] == 1 =>
            {
                self.picked(operation, x, indices)
            }
            _ => Ok(None),
        }
    }

    fn gather_rows(
        &mut self,
        operation: &Operation,
        table: Val,
        indices: Val,
    ) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let count = indices.view.count();
        let rows = table.view.dims[0];
        let width = table.view.count() / rows;
        let table = self.dense_as(&table, &[rows, width]);
        let indices = self.dense_as(&indices, &[count]);
        let kind = Kind::GatherRows { table, indices };
        let out = self.graph.add(kind, &[count, width], dtype, &name);
        Ok(Some(self.reshaped(&out, &dims)))
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
