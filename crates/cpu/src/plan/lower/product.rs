//! Matrix products: linear layers, `matmul`, attention.

use super::Lower;
use super::quantized::Candidate;
use crate::gemm::BiasTo;
use crate::plan::graph::{Bias, Kind, MapOp, Product, Val};
use crate::plan::place::is_float;
use crate::plan::view::View;
use crate::rows::Binary;
use mil::{DataType, Op, Operation};
use runtime::Error;

/// Whether products can read the layout: their strides count forwards.
fn is_readable(view: &View) -> bool {
    view.strides.iter().all(|&s| s >= 0)
}

impl Lower<'_> {
    /// The result of `linear` or `matmul`, or `None` if it is left to the interpreter.
    pub(super) fn product(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let x = self.need(operation, "x")?;
        let is_linear = operation.op == Op::Linear;
        let y = self.need(operation, if is_linear { "weight" } else { "y" })?;
        if ![&x, &y].into_iter().all(|v| is_float(self.node_dtype(v))) {
            return Ok(None);
        }
        if is_linear {
            let (n, k) = (y.view.dims[0], y.view.dims[1]);
            let bias = self.arg(operation, "bias")?;
            if bias.as_ref().is_some_and(|bias| !is_float(self.node_dtype(bias))) {
                return Ok(None);
            }
            let rows = dims[..dims.len() - 1].iter().product();
            let candidate = Candidate { operation, x: &x, weight: "weight", channels: 0 };
            if let Some(bytes) = self.as_bytes(&candidate) {
                let out = self.integer_linear(bytes, bias, [rows, n, k], dtype, &name);
                return Ok(Some(self.reshaped(&out, &dims)));
            }
            let flat = self.reshaped(&x, &[rows, k]);
            let weight = Val { node: y.node, view: y.view.permute(&[1, 0]) };
            let out = self.matrix_product(flat, weight, bias, &[rows, n], dtype, &name);
            return Ok(Some(self.reshaped(&out, &dims)));
        }
        if x.view.dims.len() < 2 || y.view.dims.len() < 2 {
            return Ok(None);
        }
        let params = self.params(operation);
        let (flip_x, flip_y) = (params.bool("transpose_x")?, params.bool("transpose_y")?);
        if y.view.dims.len() == 2 && !flip_x {
            let channels = usize::from(!flip_y);
            let candidate = Candidate { operation, x: &x, weight: "y", channels };
            if let Some(bytes) = self.as_bytes(&candidate) {
                let (n, k) = (y.view.dims[channels], y.view.dims[1 - channels]);
                let rows = dims[..dims.len() - 1].iter().product();
                let out = self.integer_linear(bytes, None, [rows, n, k], dtype, &name);
                return Ok(Some(self.reshaped(&out, &dims)));
            }
        }
        let flipped = |v: Val, flip: bool| {
            let rank = v.view.dims.len();
            let mut perm: Vec<usize> = (0..rank).collect();
            if flip {
                perm.swap(rank - 2, rank - 1);
            }
            Val { node: v.node, view: v.view.permute(&perm) }
        };
        let (a, b) = (flipped(x, flip_x), flipped(y, flip_y));
        Ok(Some(self.matrix_product(a, b, None, &dims, dtype, &name)))
    }

    /// a·b + bias with batch axes broadcast to those of `dims`.
    pub(super) fn matrix_product(
        &mut self,
        a: Val,
        b: Val,
        bias: Option<Val>,
        dims: &[usize],
        dtype: DataType,
        name: &str,
    ) -> Val {
        if a.view.dims.last() == Some(&0) {
            // A sum of nothing.
            let none = bias.unwrap_or_else(|| self.scalar(0.0));
            return self.map(MapOp::Copy, &[none], dims, dtype, name);
        }
        let batch = &dims[..dims.len() - 2];
        let (a, b) = (self.factor(a, batch), self.factor(b, batch));
        // A bias is read element after element.
        let bias = bias.map(|bias| Bias {
            val: if bias.view.is_packed() { bias } else { self.copied(&bias) },
            to: BiasTo::Columns,
        });
        let product =
            Product { a, b, bias, clamp: None, round_a: None, round_b: None, round: None };
        self.graph.add(Kind::Product(Box::new(product)), dims, dtype, name)
    }

    /// The operand with the product's batch axes, in a layout that products read.
    fn factor(&mut self, x: Val, batch: &[usize]) -> Val {
        let x = if is_readable(&x.view) { x } else { self.copied(&x) };
        let rank = x.view.dims.len();
        let wide: Vec<usize> = batch.iter().chain(&x.view.dims[rank - 2..]).copied().collect();
        let mut view = x.view.broadcast(&wide);
        // Broadcasting clears the strides of axes of size 1, which the matrix axes may be; any
        // stride is as good there.
        let last = wide.len() - 1;
        view.strides[last] = x.view.strides[rank - 1];
        view.strides[last - 1] = x.view.strides[rank - 2];
        Val { node: x.node, view }
    }

    /// softmax(query·keyᵀ/√E + mask)·value.
    pub(super) fn attention(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let query = self.need(operation, "query")?;
        let key = self.need(operation, "key")?;
        let value = self.need(operation, "value")?;
        let mask = self.arg(operation, "attn_mask")?;
        let factors = [&query, &key, &value].into_iter().chain(&mask);
        let fits = |d| is_float(d) || d == DataType::Bool;
        if !factors.map(|v| self.node_dtype(v)).all(fits) {
            return Ok(None);
        }
        let rank = dims.len();
        let (queries, width) = (query.view.dims[rank - 2], query.view.dims[rank - 1]);
        let keys = key.view.dims[rank - 2];
        let mut wide = dims[..rank - 2].to_vec();
        wide.extend([queries, keys]);
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank - 2, rank - 1);
        let key = Val { node: key.node, view: key.view.permute(&perm) };
        let scores = self.matrix_product(query, key, None, &wide, DataType::Fp32, &name);
        let scale = self.scalar(1.0 / (width as f64).sqrt());
        let mut scores = self.f32_map(MapOp::Binary(Binary::Mul), &[scores, scale], &name);
        if let Some(mask) = mask {
            scores = if self.node_dtype(&mask) == DataType::Bool {
                let hidden = self.scalar(f64::NEG_INFINITY);
                self.map(MapOp::Select, &[mask, scores, hidden], &wide, DataType::Fp32, &name)
            } else {
                self.f32_map(MapOp::Binary(Binary::Add), &[scores, mask], &name)
            };
        }
        let weights = self.softmax(&scores, DataType::Fp32, &name);
        Ok(Some(self.matrix_product(weights, value, None, &dims, dtype, &name)))
    }
}
