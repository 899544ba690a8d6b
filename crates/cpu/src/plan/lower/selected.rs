//! Tensors that are filled with a number, or made by selecting elements.

use super::Lower;
use super::elementwise::is_mapped;
use crate::ints::{self, IntOp};
use crate::plan::graph::{MapOp, Val};
use mil::{DataType, Op, Operation, Tensor};
use runtime::Error;

/// The largest mask that is made for a program.
const LARGEST_MASK: usize = 1 << 24;

impl Lower<'_> {
    /// The result of such an op, or `None` if it is left to the interpreter.
    pub(super) fn selected(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        match operation.op {
            Op::Fill | Op::FillLike => {
                let value = match self.arg(operation, "value")? {
                    Some(value) => value,
                    None => self.scalar(0.0),
                };
                if self.node_dtype(&value) != dtype || value.view.count() != 1 {
                    return Ok(None);
                }
                let scalar = self.reshaped(&value, &[]);
                Ok(Some(Val { node: scalar.node, view: scalar.view.broadcast(&dims) }))
            }
            Op::BandPart => {
                let x = self.need(operation, "x")?;
                let params = self.params(operation);
                let (lower, upper) = (params.int("lower")?, params.int("upper")?);
                let (&[m, n], true) = (&dims[dims.len() - 2..], dtype.bits() >= 8) else {
                    return Ok(None);
                };
                if m * n > LARGEST_MASK {
                    return Ok(None);
                }
                let inside = |at: usize| {
                    let (row, column) = ((at / n) as i64, (at % n) as i64);
                    let below = lower < 0 || row - column <= lower;
                    i64::from(below && (upper < 0 || column - row <= upper))
                };
                let mask: Vec<i64> = (0..m * n).map(inside).collect();
                let Ok(mask) = Tensor::from_i64s(DataType::Bool, &[m, n], &mask) else {
                    return Ok(None);
                };
                let mask = self.constant_node(&mask, "band");
                let zero = self.number(dtype, 0);
                Ok(zero.and_then(|zero| self.select([mask, x, zero], &dims, dtype, &name)))
            }
            Op::ReverseSequence => self.reverse_sequence(operation),
            _ => self.one_hot(operation),
        }
    }

    /// Of every row of a batch the first elements in the opposite order, if it is known how many.
    fn reverse_sequence(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let x = self.need(operation, "x")?;
        let params = self.params(operation);
        let rank = dims.len();
        let (seq, batch) = (params.axis("seq_axis", rank)?, params.axis("batch_axis", rank)?);
        if !params.is_known("lengths") || seq == batch || x.view.count() == 0 || dtype.bits() < 8 {
            return Ok(None);
        }
        let (lengths, size) = (params.need_ints("lengths")?, dims[seq] as i64);
        if lengths.iter().any(|length| !(0..=size).contains(length)) || size > i64::from(i32::MAX) {
            return Ok(None);
        }
        let place = |length: i64, at: i64| if at < length { length - 1 - at } else { at };
        let places: Vec<i64> =
            lengths.iter().flat_map(|&n| (0..size).map(move |at| place(n, at))).collect();
        let places = self.constant_node(&Tensor::int32s(&places), "places");
        let places = self.reshaped(&places, &[dims[batch], dims[seq]]);
        let mut order = vec![batch, seq];
        order.extend((0..rank).filter(|axis| ![batch, seq].contains(axis)));
        let turned = Val { node: x.node, view: x.view.permute(&order) };
        let width = x.view.count() / (dims[batch] * dims[seq]);
        let table = self.dense_as(&turned, &[dims[batch], 1, dims[seq], width]);
        let out = self.gathered(table, places, &name);
        let out = self.reshaped(&out, &turned.view.dims);
        let mut back = vec![0; rank];
        order.iter().enumerate().for_each(|(position, &axis)| back[axis] = position);
        Ok(Some(Val { node: out.node, view: out.view.permute(&back) }))
    }

    fn one_hot(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let indices = self.need(operation, "indices")?;
        if !ints::is_integer(self.node_dtype(&indices)) {
            return Ok(None);
        }
        let axis = self.params(operation).axis("axis", dims.len())?;
        let count = dims[axis];
        let Ok(last) = i64::try_from(count) else { return Ok(None) };
        if count > LARGEST_MASK {
            return Ok(None);
        }
        let mut along = vec![1; dims.len()];
        along[axis] = count;
        let places = Tensor::int32s(&(0..last).collect::<Vec<_>>());
        let places = self.constant_node(&places, "places");
        let places = self.reshaped(&places, &along);
        let at = Val { node: indices.node, view: indices.view.insert_axis(axis) };
        let hot = self.int_map(IntOp::Eq, &[at, places], &dims, DataType::Bool, &name);
        let mut ends = vec![];
        for (parameter, default) in [("on_value", 1), ("off_value", 0)] {
            ends.push(match self.arg(operation, parameter)? {
                Some(value) if value.view.count() == 1 && self.node_dtype(&value) == dtype => {
                    self.reshaped(&value, &[])
                }
                Some(_) => return Ok(None),
                None => match self.number(dtype, default) {
                    Some(number) => number,
                    None => return Ok(None),
                },
            });
        }
        let off = ends.pop().expect("two were pushed");
        let on = ends.pop().expect("two were pushed");
        Ok(self.select([hot, on, off], &dims, dtype, &name))
    }

    /// A scalar of this type.
    fn number(&mut self, dtype: DataType, value: i64) -> Option<Val> {
        let tensor = match dtype.is_float() {
            true => Tensor::float(dtype, value as f64),
            false => Tensor::from_i64s(dtype, &[], &[value]).ok()?,
        };
        Some(self.constant_node(&tensor, "number"))
    }

    /// The second where the first holds, else the third.
    fn select(
        &mut self,
        values: [Val; 3],
        dims: &[usize],
        dtype: DataType,
        name: &str,
    ) -> Option<Val> {
        if is_mapped(dtype) {
            return Some(self.map(MapOp::Select, &values, dims, dtype, name));
        }
        ints::is_integer(dtype).then(|| self.int_map(IntOp::Select, &values, dims, dtype, name))
    }
}
