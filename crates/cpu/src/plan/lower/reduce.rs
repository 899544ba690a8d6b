//! Reductions, softmax and layer norm, over whichever axes, as maps and row reductions.

use super::Lower;
use super::elementwise::is_mapped;
use crate::plan::graph::{Kind, MapOp, Val};
use crate::plan::place::is_float;
use crate::rows::{Binary, Reduction, Unary};
use mil::{DataType, Op, Operation};
use runtime::Error;

/// The most channels around each that are added up one by one.
const LARGEST_WINDOW: i64 = 64;

impl Lower<'_> {
    /// The result of a reducing op, or `None` if it is left to the interpreter.
    pub(super) fn reduction(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let x = self.need(operation, "x")?;
        let rank = x.view.dims.len();
        if !is_float(self.node_dtype(&x)) {
            return self.exact_reduction(operation);
        }
        if x.view.count() == 0 || rank == 0 {
            return Ok(None);
        }
        let params = self.params(operation);
        let axes = match operation.op {
            Op::Softmax => vec![params.axis("axis", rank)?],
            Op::InstanceNorm => (2..rank).collect(),
            Op::L2Norm => (rank - 3..rank).collect(),
            _ => params.axes("axes", rank)?.unwrap_or_else(|| (0..rank).collect()),
        };
        if axes.is_empty() {
            return Ok(None);
        }
        match operation.op {
            Op::ReduceSum => {
                let sum = self.reduce(Reduction::Sum, &x, &axes, &name);
                Ok(Some(self.finish(sum, None, &dims, dtype, &name)))
            }
            Op::ReduceMean => {
                let count: usize = axes.iter().map(|&a| x.view.dims[a]).product();
                let sum = self.reduce(Reduction::Sum, &x, &axes, &name);
                Ok(Some(self.finish(sum, Some(1.0 / count as f64), &dims, dtype, &name)))
            }
            Op::ReduceMax | Op::ReduceMin => {
                let max = operation.op == Op::ReduceMax;
                let reduction = if max { Reduction::Max } else { Reduction::Min };
                let out = self.reduce(reduction, &x, &axes, &name);
                Ok(Some(self.finish(out, None, &dims, dtype, &name)))
            }
            Op::ReduceLogSumExp => {
                let rows = self.rows(&x, &axes);
                let (max, exp) = self.shifted_exp(&rows, &name);
                let sum = self.row_reduce(Reduction::Sum, &exp, &name);
                let log = self.f32_map(MapOp::Unary(Unary::Log), &[sum], &name);
                let out = self.f32_map(MapOp::Binary(Binary::Add), &[log, max], &name);
                Ok(Some(self.finish(out, None, &dims, dtype, &name)))
            }
            Op::Softmax => {
                let rows = self.rows(&x, &axes);
                let out = self.softmax(&rows, dtype, &name);
                Ok(Some(self.unrowed(out, &axes, &dims)))
            }
            Op::LayerNorm => self.layer_norm(operation, &x, &axes).map(Some),
            Op::InstanceNorm => self.instance_norm(operation, &x, &axes),
            Op::L2Norm => self.l2_norm(operation, &x, &axes).map(Some),
            Op::ReduceL1Norm => {
                let size = self.f32_map(MapOp::Unary(Unary::Abs), &[x], &name);
                let sum = self.reduce(Reduction::Sum, &size, &axes, &name);
                Ok(Some(self.finish(sum, None, &dims, dtype, &name)))
            }
            Op::ReduceL2Norm | Op::ReduceSumSquare => {
                let square = self.f32_map(MapOp::Unary(Unary::Square), &[x], &name);
                let mut sum = self.reduce(Reduction::Sum, &square, &axes, &name);
                if operation.op == Op::ReduceL2Norm {
                    sum = self.f32_map(MapOp::Unary(Unary::Sqrt), &[sum], &name);
                }
                Ok(Some(self.finish(sum, None, &dims, dtype, &name)))
            }
            Op::ReduceLogSum => {
                let sum = self.reduce(Reduction::Sum, &x, &axes, &name);
                let log = self.f32_map(MapOp::Unary(Unary::Log), &[sum], &name);
                Ok(Some(self.finish(log, None, &dims, dtype, &name)))
            }
            _ => Ok(None),
        }
    }

    /// Softmax along the last axis.
    pub(super) fn softmax(&mut self, rows: &Val, dtype: DataType, name: &str) -> Val {
        let (_, exp) = self.shifted_exp(rows, name);
        let sum = self.row_reduce(Reduction::Sum, &exp, name);
        let recip = self.f32_map(MapOp::Unary(Unary::Recip), &[sum], name);
        let dims = rows.view.dims.clone();
        self.map(MapOp::Binary(Binary::Mul), &[exp, recip], &dims, dtype, name)
    }

    /// The maximum of each row, and exp(row − maximum).
    fn shifted_exp(&mut self, rows: &Val, name: &str) -> (Val, Val) {
        let max = self.row_reduce(Reduction::Max, rows, name);
        let shifted = self.f32_map(MapOp::Binary(Binary::Sub), &[rows.clone(), max.clone()], name);
        let exp = self.f32_map(MapOp::Unary(Unary::Exp), &[shifted], name);
        (max, exp)
    }

    /// (x − mean)/√(variance + ε)·gamma + beta, the mean taken over `axes`.
    fn layer_norm(&mut self, operation: &Operation, x: &Val, axes: &[usize]) -> Result<Val, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let epsilon = self.params(operation).float("epsilon")?;
        let rows = self.rows(x, axes);
        let wide = rows.view.dims.clone();
        let mut out = self.standardized(rows, epsilon, &name);
        for (parameter, op) in [("gamma", Binary::Mul), ("beta", Binary::Add)] {
            if let Some(gain) = self.arg(operation, parameter)? {
                let flat = self.reshaped(&gain, &[gain.view.count()]);
                out = self.f32_map(MapOp::Binary(op), &[out, flat], &name);
            }
        }
        if dtype != DataType::Fp32 {
            out = self.map(MapOp::Copy, &[out], &wide, dtype, &name);
        }
        Ok(self.unrowed(out, axes, &dims))
    }

    /// (x − mean)/√(variance + ε) of every row.
    fn standardized(&mut self, rows: Val, epsilon: f64, name: &str) -> Val {
        let n = rows.view.dims.last().copied().unwrap_or(1) as f64;
        let over_n = self.scalar(1.0 / n);
        let epsilon = self.scalar(epsilon);
        let binary = MapOp::Binary;
        let sum = self.row_reduce(Reduction::Sum, &rows, name);
        let mean = self.f32_map(binary(Binary::Mul), &[sum, over_n.clone()], name);
        let centered = self.f32_map(binary(Binary::Sub), &[rows, mean], name);
        let square =
            self.f32_map(MapOp::Unary(Unary::Square), std::slice::from_ref(&centered), name);
        let sum = self.row_reduce(Reduction::Sum, &square, name);
        let variance = self.f32_map(binary(Binary::Mul), &[sum, over_n], name);
        let shifted = self.f32_map(binary(Binary::Add), &[variance, epsilon], name);
        let rsqrt = self.f32_map(MapOp::Unary(Unary::Rsqrt), &[shifted], name);
        self.f32_map(binary(Binary::Mul), &[centered, rsqrt], name)
    }

    /// The same over the pixels of every channel, whose gamma and beta are axis 1.
    fn instance_norm(
        &mut self,
        operation: &Operation,
        x: &Val,
        axes: &[usize],
    ) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let epsilon = self.params(operation).float("epsilon")?;
        let rows = self.rows(x, axes);
        let wide = rows.view.dims.clone();
        let mut out = self.standardized(rows, epsilon, &name);
        for (parameter, op) in [("gamma", Binary::Mul), ("beta", Binary::Add)] {
            if self.params(operation).has(parameter) {
                let Some(gain) = self.per_channel(operation, parameter, &wide)? else {
                    return Ok(None);
                };
                out = self.f32_map(MapOp::Binary(op), &[out, gain], &name);
            }
        }
        if dtype != DataType::Fp32 {
            out = self.map(MapOp::Copy, &[out], &wide, dtype, &name);
        }
        Ok(Some(self.reshaped(&out, &dims)))
    }

    /// x/√(Σx² + ε) over `axes`, the last three.
    fn l2_norm(&mut self, operation: &Operation, x: &Val, axes: &[usize]) -> Result<Val, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let epsilon = self.params(operation).float("epsilon")?;
        let rows = self.rows(x, axes);
        let wide = rows.view.dims.clone();
        let square = self.f32_map(MapOp::Unary(Unary::Square), std::slice::from_ref(&rows), &name);
        let sum = self.row_reduce(Reduction::Sum, &square, &name);
        let epsilon = self.scalar(epsilon);
        let shifted = self.f32_map(MapOp::Binary(Binary::Add), &[sum, epsilon], &name);
        let rsqrt = self.f32_map(MapOp::Unary(Unary::Rsqrt), &[shifted], &name);
        let out = self.map(MapOp::Binary(Binary::Mul), &[rows, rsqrt], &wide, dtype, &name);
        Ok(self.reshaped(&out, &dims))
    }

    /// x/(k + alpha/size·Σx²)^beta with the sum over channels (axis 1) around each, or `None` if it is
    /// left to the interpreter.
    pub(super) fn local_response_norm(
        &mut self,
        operation: &Operation,
    ) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let x = self.need(operation, "x")?;
        let params = self.params(operation);
        let (size, alpha, beta, k) = (
            params.int("size")?,
            params.float("alpha")?,
            params.float("beta")?,
            params.float("k")?,
        );
        if !is_mapped(dtype) || x.view.count() == 0 || !(1..=LARGEST_WINDOW).contains(&size) {
            return Ok(None);
        }
        let (size, channels) = (size as usize, x.view.dims[1]);
        let square = self.f32_map(MapOp::Unary(Unary::Square), std::slice::from_ref(&x), &name);
        let mut margins = vec![(0, 0); x.view.dims.len() - 1];
        margins[0] = (size / 2, (size - 1) / 2);
        let wide = self.padded(&square, &margins, 0.0, &name);
        let shifted =
            |by: usize| Val { node: wide.node, view: wide.view.slice(1, by, 1, channels) };
        let mut sum = shifted(0);
        for by in 1..size {
            sum = self.two(Binary::Add, sum, shifted(by), &name);
        }
        let numbers = [alpha / size as f64, k, -beta].map(|number| self.scalar(number));
        let [share, k, exponent] = numbers;
        let scaled = self.two(Binary::Mul, sum, share, &name);
        let base = self.two(Binary::Add, scaled, k, &name);
        let factor = self.two(Binary::Pow, base, exponent, &name);
        Ok(Some(self.map(MapOp::Binary(Binary::Mul), &[x, factor], &dims, dtype, &name)))
    }

    /// (x − mean)/√(variance + ε)·gamma + beta with vectors for the channels, axis 1; `None` if it
    /// is left to the interpreter.
    pub(super) fn batch_norm(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let x = self.need(operation, "x")?;
        if !is_mapped(dtype) || !is_mapped(self.node_dtype(&x)) {
            return Ok(None);
        }
        let mut vectors = vec![];
        for parameter in ["mean", "variance", "gamma", "beta"] {
            let vector = self.per_channel(operation, parameter, &dims)?;
            if vector.is_none() && self.params(operation).has(parameter) {
                return Ok(None);
            }
            vectors.push(vector);
        }
        let [Some(mean), Some(variance), gamma, beta] = &vectors[..] else { return Ok(None) };
        let epsilon = self.params(operation).float("epsilon")?;
        let epsilon = self.scalar(epsilon);
        let binary = MapOp::Binary;
        let shifted = self.f32_map(binary(Binary::Add), &[variance.clone(), epsilon], &name);
        let mut gain = self.f32_map(MapOp::Unary(Unary::Rsqrt), &[shifted], &name);
        if let Some(gamma) = gamma {
            gain = self.f32_map(binary(Binary::Mul), &[gain, gamma.clone()], &name);
        }
        let centered = self.f32_map(binary(Binary::Sub), &[x, mean.clone()], &name);
        let Some(beta) = beta else {
            let out = self.map(binary(Binary::Mul), &[centered, gain], &dims, dtype, &name);
            return Ok(Some(out));
        };
        let scaled = self.f32_map(binary(Binary::Mul), &[centered, gain], &name);
        Ok(Some(self.map(binary(Binary::Add), &[scaled, beta.clone()], &dims, dtype, &name)))
    }

    /// A reduction over `axes`: `[…kept, 1]` in fp32.
    fn reduce(&mut self, op: Reduction, x: &Val, axes: &[usize], name: &str) -> Val {
        let rank = x.view.dims.len();
        let reduced: usize = axes.iter().map(|&a| x.view.dims[a]).product();
        let is_leading = axes.iter().enumerate().all(|(i, &a)| i == a) && axes.len() < rank;
        let kept = &x.view.dims[axes.len().min(rank)..];
        if is_leading && reduced > 1 {
            // Sums down the columns read the rows in order instead of jumping between them.
            let n = kept.iter().product();
            let flat = self.reshaped(x, &[reduced, n]);
            let dtype = DataType::Fp32;
            return self.graph.add(Kind::ReduceColumns(op, flat), &[n], dtype, name);
        }
        let last = x.view.dims[rank - 1];
        if axes.len() == 1 && axes[0] + 1 < rank && reduced <= 16 && last >= 16 {
            // A short axis in the middle: the slices along it, combined.
            return self.combine_slices(op, x, axes[0], name);
        }
        let rows = self.rows(x, axes);
        self.row_reduce(op, &rows, name)
    }

    fn combine_slices(&mut self, op: Reduction, x: &Val, axis: usize, name: &str) -> Val {
        let combine = match op {
            Reduction::Sum => Binary::Add,
            Reduction::Max => Binary::Max,
            Reduction::Min => Binary::Min,
        };
        let slice = |i| Val { node: x.node, view: x.view.slice(axis, i, 1, 1) };
        let mut out = slice(0);
        for i in 1..x.view.dims[axis] {
            out = self.f32_map(MapOp::Binary(combine), &[out, slice(i)], name);
        }
        out
    }

    /// The reduction of every row to one element.
    fn row_reduce(&mut self, op: Reduction, rows: &Val, name: &str) -> Val {
        let mut dims = rows.view.dims.clone();
        if let Some(last) = dims.last_mut() {
            *last = 1;
        }
        self.graph.add(Kind::Reduce(op, rows.clone()), &dims, DataType::Fp32, name)
    }

    /// x as rows over `axes`: the other axes first, then one axis that runs over `axes`.
    pub(super) fn rows(&mut self, x: &Val, axes: &[usize]) -> Val {
        let rank = x.view.dims.len();
        let kept: Vec<usize> = (0..rank).filter(|a| !axes.contains(a)).collect();
        let perm: Vec<usize> = kept.iter().chain(axes).copied().collect();
        let moved = Val { node: x.node, view: x.view.permute(&perm) };
        let mut dims: Vec<usize> = kept.iter().map(|&a| x.view.dims[a]).collect();
        dims.push(axes.iter().map(|&a| x.view.dims[a]).product());
        self.reshaped(&moved, &dims)
    }

    /// The opposite of [`Self::rows`] for a result that is as large as x: dims of x.
    pub(super) fn unrowed(&mut self, rows: Val, axes: &[usize], dims: &[usize]) -> Val {
        let rank = dims.len();
        let kept: Vec<usize> = (0..rank).filter(|a| !axes.contains(a)).collect();
        let order: Vec<usize> = kept.iter().chain(axes).copied().collect();
        let moved_dims: Vec<usize> = order.iter().map(|&a| dims[a]).collect();
        let wide = self.reshaped(&rows, &moved_dims);
        let mut back = vec![0; rank];
        for (position, &axis) in order.iter().enumerate() {
            back[axis] = position;
        }
        Val { node: wide.node, view: wide.view.permute(&back) }
    }

    /// Scales a reduced value, gives it its type and its dims.
    fn finish(
        &mut self,
        x: Val,
        scale: Option<f64>,
        dims: &[usize],
        dtype: DataType,
        name: &str,
    ) -> Val {
        let mut out = x;
        let wide = out.view.dims.clone();
        if let Some(scale) = scale {
            let scale = self.scalar(scale);
            out = self.map(MapOp::Binary(Binary::Mul), &[out, scale], &wide, dtype, name);
        } else if self.node_dtype(&out) != dtype {
            out = self.map(MapOp::Copy, &[out], &wide, dtype, name);
        }
        self.reshaped(&out, dims)
    }
}
