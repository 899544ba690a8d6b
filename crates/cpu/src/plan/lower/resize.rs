//! Images of other sizes: along one axis after the other, elements are picked, or two of them mixed.

use super::Lower;
use crate::plan::graph::{Kind, MapOp, Val};
use crate::plan::place::is_float;
use mil::shape::lines;
use mil::{DataType, Operation, Tensor};
use runtime::Error;
use std::cmp::Reverse;

/// The longest axis that is listed place by place.
const LONGEST: usize = 1 << 24;

impl Lower<'_> {
    /// The result of an op that resizes images, or `None` if it is left to the interpreter.
    pub(super) fn resize(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let x = self.need(operation, "x")?;
        if dims.contains(&0) || dtype.bits() < 8 || dims.iter().any(|&dim| dim > LONGEST) {
            return Ok(None);
        }
        let mut lines = lines(&self.params(operation), &x.view.dims, &dims)?;
        lines.retain(|line| {
            let stays = |(i, tap): (usize, &(usize, usize, f64))| tap.0 == i && tap.2 == 0.0;
            x.view.dims[line.axis] != line.taps.len() || !line.taps.iter().enumerate().all(stays)
        });
        // Axes that shrink come first, and later axes, whose elements are moved one by one, before
        // there are more of them.
        lines.sort_by_key(|line| (line.taps.len() > x.view.dims[line.axis], Reverse(line.axis)));
        let moves = lines.iter().all(|line| line.taps.iter().all(|tap| tap.2 == 0.0));
        if !moves && !is_float(dtype) {
            return Ok(None);
        }
        let mut out = x;
        if !moves && dtype != DataType::Fp32 {
            out = self.f32_map(MapOp::Copy, &[out], &name);
        }
        for line in lines {
            let from = out.view.dims.clone();
            let before = from[..line.axis].iter().product();
            let after = from[line.axis + 1..].iter().product();
            let (n, count) = (from[line.axis], line.taps.len());
            let made = if line.taps.iter().all(|tap| tap.2 == 0.0) {
                let indices: Vec<i64> = line.taps.iter().map(|tap| tap.0 as i64).collect();
                let indices = self.constant_node(&Tensor::int32s(&indices), "places");
                let indices = self.reshaped(&indices, &[1, count]);
                let table = self.dense_as(&out, &[1, before, n, after]);
                self.gathered(table, indices, &name)
            } else {
                let x = self.dense_as(&out, &[before, n, after]);
                let taps = line.taps.iter().map(|&(a, b, share)| (a, b, share as f32)).collect();
                let wide = [before, count, after];
                self.graph.add(Kind::Mix { x, taps }, &wide, DataType::Fp32, &name)
            };
            let mut to = from;
            to[line.axis] = count;
            out = self.reshaped(&made, &to);
        }
        Ok(Some(match self.node_dtype(&out) == dtype {
            true => out,
            false => self.map(MapOp::Copy, &[out], &dims, dtype, &name),
        }))
    }
}
