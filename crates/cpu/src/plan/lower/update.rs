//! Parts of tensors that are replaced, or that begin where a tensor says.

use super::Lower;
use crate::plan::graph::{Kind, Val};
use crate::plan::part::{Bound, Bounds, Part};
use crate::plan::view::View;
use mil::{Op, Operation, Params};
use runtime::Error;

impl Lower<'_> {
    /// x with a part replaced, or `None` if it is left to the interpreter.
    pub(super) fn slice_update(
        &mut self,
        operation: &Operation,
        x: &Val,
    ) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let update = self.need(operation, "update")?;
        if dtype.bits() < 8 {
            return Ok(None);
        }
        if is_known(&self.params(operation)) {
            let axes = mil::shape::resolve_slice(&self.params(operation), &dims)?;
            let mut part = View::dense(&dims);
            for (axis, slice) in axes.iter().enumerate() {
                part = part.slice(axis, slice.begin, slice.stride, slice.size);
            }
            if part.count() == 0 {
                return Ok(Some(x.clone()));
            }
            let dropped = (0..axes.len()).filter(|&axis| axes[axis].dropped);
            let update = undropped(update, dropped);
            let base = x.clone();
            return Ok(Some(self.graph.add(
                Kind::Update { base, update, part },
                &dims,
                dtype,
                &name,
            )));
        }
        let squeezed = self.params(operation).bools("squeeze_mask")?.unwrap_or_default();
        let update = undropped(update, (0..squeezed.len()).filter(|&axis| squeezed[axis]));
        let sizes = update.view.dims.clone();
        let Some(part) = self.part(operation, sizes)? else { return Ok(None) };
        let (base, part) = (x.clone(), Box::new(part));
        Ok(Some(self.graph.add(Kind::UpdateAt { base, update, part }, &dims, dtype, &name)))
    }

    /// A slice whose bounds are computed, or `None` if it is left to the interpreter.
    pub(super) fn slice_at(
        &mut self,
        operation: &Operation,
        x: &Val,
    ) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        if dtype.bits() < 8 {
            return Ok(None);
        }
        let mut sizes = dims.clone();
        if operation.op == Op::SliceByIndex {
            let squeezed = self.params(operation).bools("squeeze_mask")?.unwrap_or_default();
            (0..squeezed.len())
                .filter(|&axis| squeezed[axis])
                .for_each(|axis| sizes.insert(axis, 1));
        }
        let Some(part) = self.part(operation, sizes.clone())? else { return Ok(None) };
        let (x, part) = (x.clone(), Box::new(part));
        let out = self.graph.add(Kind::SliceAt { x, part }, &sizes, dtype, &name);
        Ok(Some(self.reshaped(&out, &dims)))
    }

    /// The part that an operation's arguments name.
    fn part(&mut self, operation: &Operation, sizes: Vec<usize>) -> Result<Option<Part>, Error> {
        let by_size = operation.op == Op::SliceBySize;
        let last_name = if by_size { "size" } else { "end" };
        let params = self.params(operation);
        let rank = sizes.len();
        let strides = match params.has("stride") {
            true if !params.is_known("stride") => return Ok(None),
            true => params.need_ints("stride")?,
            false => vec![1; rank],
        };
        let mask = |name: &str| match by_size {
            true => Ok(vec![false; rank]),
            false => Ok::<_, Error>(params.bools(name)?.unwrap_or_else(|| vec![false; rank])),
        };
        let (begins, ends) = (mask("begin_mask")?, mask("end_mask")?);
        let squeezes = mask("squeeze_mask")?;
        let known = |name: &str| match params.is_known(name) {
            true => params.need_ints(name).map(Some),
            false => Ok(None),
        };
        let (first, last) = (known("begin")?, known(last_name)?);
        let mut axes = vec![];
        for axis in 0..rank {
            let begin = first.as_ref().map_or(Bound::Begin, |first| Bound::Known(first[axis]));
            let end = last.as_ref().map_or(Bound::Last, |last| Bound::Known(last[axis]));
            axes.push(if by_size {
                Bounds::Sized { begin, size: end }
            } else if squeezes[axis] {
                Bounds::One(if begins[axis] { Bound::Known(0) } else { begin })
            } else {
                let begin = Some(begin).filter(|_| !begins[axis]);
                let end = Some(end).filter(|_| !ends[axis]);
                Bounds::Between { begin, end, stride: strides[axis] }
            });
        }
        let mut vector = |name: &str, computed: bool| -> Result<Option<Option<Val>>, Error> {
            if !computed {
                return Ok(Some(None));
            }
            let val = self.need(operation, name)?;
            Ok(self.as_int32(&val).map(|val| Some(self.dense_as(&val, &[rank]))))
        };
        let begin = vector("begin", first.is_none())?;
        let last = vector(last_name, last.is_none())?;
        Ok(begin.zip(last).map(|(begin, last)| Part { axes, sizes, begin, last }))
    }
}

/// Whether everything that says where a part lies is known.
pub(super) fn is_known(params: &Params) -> bool {
    let last = if params.operation.op == Op::SliceBySize { "size" } else { "end" };
    ["begin", last, "stride"].into_iter().all(|name| !params.has(name) || params.is_known(name))
}

/// The update with the axes that the slice drops, in order.
fn undropped(update: Val, dropped: impl Iterator<Item = usize>) -> Val {
    let view = dropped.fold(update.view, |view, axis| view.insert_axis(axis));
    Val { node: update.node, view }
}
