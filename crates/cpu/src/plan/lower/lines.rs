//! Ops along an axis that are no row programs.

use super::Lower;
use crate::ints::IntOp;
use crate::lines::{self, LineOp, Reduction};
use crate::plan::graph::{Kind, Val};
use mil::{DataType, Op, Operation};
use runtime::Error;

impl Lower<'_> {
    /// The results of an op along an axis, or `None` if it is left to the interpreter.
    pub(super) fn along(&mut self, operation: &Operation) -> Result<Option<Vec<Val>>, Error> {
        let x = self.need(operation, "x")?;
        let rank = x.view.dims.len();
        if rank == 0 || x.view.count() == 0 || !lines::is_element(self.node_dtype(&x)) {
            return Ok(None);
        }
        let params = self.params(operation);
        let axis = params.axis("axis", rank)?;
        // Indices are int32.
        if x.view.dims[axis] > i32::MAX as usize {
            return Ok(None);
        }
        let id = operation.outputs[0];
        let (name, dims) = (self.name(id), self.fixed_dims(id)?);
        match operation.op {
            Op::ReduceArgmax | Op::ReduceArgmin => {
                let to = params.dtype("output_dtype")?;
                let op = LineOp::Arg { largest: operation.op == Op::ReduceArgmax };
                let index = self.lines(op, &x, &[axis], 1, DataType::Int32, &name);
                let index = self.indices_as(index, to, &name);
                Ok(index.map(|index| vec![self.reshaped(&index, &dims)]))
            }
            Op::Cumsum => {
                let (exclusive, reverse) = (params.bool("exclusive")?, params.bool("reverse")?);
                let (op, n) = (LineOp::Running { exclusive, reverse }, x.view.dims[axis]);
                let sums = self.lines(op, &x, &[axis], n, self.node_dtype(&x), &name);
                Ok(Some(vec![self.unrowed(sums, &[axis], &dims)]))
            }
            _ => {
                let (ascending, n) = (params.bool("ascending")?, x.view.dims[axis]);
                let k = dims[axis];
                let (mut wanted, mut to) = (true, DataType::Int32);
                if operation.op == Op::Topk {
                    wanted = params.bool("return_indices")?;
                    to = params.dtype("output_indices_dtype")?;
                }
                let op = LineOp::Order { ascending };
                let order = self.lines(op, &x, &[axis], k, DataType::Int32, &name);
                let mut results = vec![];
                if operation.op == Op::Topk {
                    let rows = self.rows(&x, &[axis]);
                    let count = rows.view.count() / n;
                    let table = self.dense_as(&rows, &[count, 1, n, 1]);
                    let indices = self.dense_as(&order, &[count, k]);
                    let values = self.gathered(table, indices, &name);
                    let values = self.reshaped(&values, &order.view.dims);
                    results.push(self.unrowed(values, &[axis], &dims));
                }
                if wanted {
                    let Some(order) = self.indices_as(order, to, &name) else { return Ok(None) };
                    results.push(self.unrowed(order, &[axis], &dims));
                }
                Ok(Some(results))
            }
        }
    }

    /// A reduction of integers, or a product of floats, or `None` if it is none of both.
    pub(super) fn exact_reduction(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let x = self.need(operation, "x")?;
        let rank = x.view.dims.len();
        let reduction = match operation.op {
            Op::ReduceProd => Reduction::Product,
            _ if !dtype.is_int() => return Ok(None),
            Op::ReduceSum => Reduction::Sum,
            Op::ReduceMean => Reduction::Mean,
            Op::ReduceMax => Reduction::Max,
            Op::ReduceMin => Reduction::Min,
            Op::ReduceL1Norm => Reduction::Magnitudes,
            Op::ReduceSumSquare => Reduction::Squares,
            _ => return Ok(None),
        };
        if rank == 0 || x.view.count() == 0 || !lines::is_element(dtype) {
            return Ok(None);
        }
        let axes = self.params(operation).axes("axes", rank)?;
        let axes = axes.unwrap_or_else(|| (0..rank).collect());
        let out = self.lines(LineOp::Reduce(reduction), &x, &axes, 1, dtype, &name);
        Ok(Some(self.reshaped(&out, &dims)))
    }

    /// What `op` makes of every line along `axes`: k elements, in the last axis of the result.
    fn lines(
        &mut self,
        op: LineOp,
        x: &Val,
        axes: &[usize],
        k: usize,
        dtype: DataType,
        name: &str,
    ) -> Val {
        let rows = self.rows(x, axes);
        let mut dims = rows.view.dims.clone();
        *dims.last_mut().expect("rows have an axis") = k;
        self.graph.add(Kind::Lines(op, rows), &dims, dtype, name)
    }

    /// Indices in another type, `None` for one that is not written here.
    fn indices_as(&mut self, x: Val, to: DataType, name: &str) -> Option<Val> {
        if to == DataType::Int32 {
            return Some(x);
        }
        let dims = x.view.dims.clone();
        crate::ints::is_integer(to).then(|| self.int_map(IntOp::Convert, &[x], &dims, to, name))
    }
}
