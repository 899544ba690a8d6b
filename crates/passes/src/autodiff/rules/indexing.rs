//! Rules of gathers and scatters, which are each other's reverse.

use crate::autodiff::step::{Done, Fault, Step};
use mil::{DataType, Op, Tensor, ValueId};

/// z = slices of x at i: dx = zeros with dz added to the slices at i.
pub(super) fn gather(s: &mut Step) -> Done {
    let dz = s.dz_full()?;
    let dims = s.dims_of("x")?;
    let axis = s.params().axis("axis", dims.len())?;
    let batch = s.params().int("batch_dims")?;
    let batch = if batch < 0 { batch + s.dims_of("indices")?.len() as i64 } else { batch } as usize;
    let indices = s.value("indices")?;
    let dx = if batch == 0 {
        let zeros = s.zeros(s.dtype(dz), &dims)?;
        scatter_add(s, Op::Scatter, zeros, indices, dz, axis)?
    } else {
        batched_gather(s, dz, indices, axis, batch)?
    };
    s.give("x", dx)
}

/// Batch entry b's slice i is slice b·n + i of a tensor where batch and gathered axis are one:
/// dz goes there with the gathered axes in front, and the sum is put back in x's order.
fn batched_gather(
    s: &mut Step,
    dz: ValueId,
    indices: ValueId,
    axis: usize,
    batch: usize,
) -> Result<ValueId, Fault> {
    let (dims, index_dims) = (s.dims_of("x")?, s.dims_of("indices")?);
    let batches: usize = dims[..batch].iter().product();
    let n = dims[axis];
    let before: usize = dims[batch..axis].iter().product();
    let after: usize = dims[axis + 1..].iter().product();
    let taken: usize = index_dims[batch..].iter().product();

    let indices = s.cast(indices, DataType::Int32)?;
    let indices = s.reshape(indices, &[batches, taken])?;
    let (zero, size) = (s.int(0), s.int(n as i64));
    let negative = s.binary(Op::Less, indices, zero)?;
    let wrapped = s.add(indices, size)?;
    let indices = super::elementwise::select(s, negative, wrapped, indices)?;
    let starts: Vec<i64> = (0..batches).map(|b| (b * n) as i64).collect();
    let starts = Tensor::int32s(&starts).reshaped(&[batches, 1]).expect("one start for each batch");
    let starts = s.constant("starts", starts);
    let indices = s.add(indices, starts)?;
    let indices = s.reshape(indices, &[batches * taken])?;

    let mut updates = s.reshape(dz, &[batches, before, taken, after])?;
    if before != 1 {
        updates = s.transpose(updates, &[0, 2, 1, 3])?;
    }
    let updates = s.reshape(updates, &[batches * taken, before, after])?;
    let zeros = s.zeros(s.dtype(dz), &[batches * n, before, after])?;
    let mut sum = scatter_add(s, Op::Scatter, zeros, indices, updates, 0)?;
    if before != 1 {
        sum = s.reshape(sum, &[batches, n, before, after])?;
        sum = s.transpose(sum, &[0, 2, 1, 3])?;
    }
    Ok(s.reshape(sum, &dims)?)
}

/// z = elements of x at i: dx = zeros with dz added to the elements at i.
pub(super) fn gather_along_axis(s: &mut Step) -> Done {
    let dz = s.dz_full()?;
    let dims = s.dims_of("x")?;
    let axis = s.params().axis("axis", dims.len())?;
    let indices = s.value("indices")?;
    let zeros = s.zeros(s.dtype(dz), &dims)?;
    let dx = scatter_add(s, Op::ScatterAlongAxis, zeros, indices, dz, axis)?;
    s.give("x", dx)
}

/// z = x with u added to (or subtracted from) the slices at i: dx = dz, du = ± dz's slices at i.
pub(super) fn scatter(s: &mut Step) -> Done {
    scatter_rule(s, Op::Gather)
}

/// z = x with u added to (or subtracted from) the elements at i: dx = dz, du = ± dz's elements
/// at i.
pub(super) fn scatter_along_axis(s: &mut Step) -> Done {
    scatter_rule(s, Op::GatherAlongAxis)
}

fn scatter_rule(s: &mut Step, read: Op) -> Done {
    let mode = s.params().string("mode")?;
    let sign = match mode.as_str() {
        "add" => 1.0,
        "sub" => -1.0,
        // The others would have to know which of two equal indices came last or won.
        _ => return Err(s.unsupported(format!("with mode \"{mode}\""))),
    };
    if s.wants("data") {
        let dz = s.dz();
        s.give("data", dz)?;
    }
    if s.wants("updates") {
        let dz = s.dz_full()?;
        let rank = s.dims_of("data")?.len();
        let axis = s.params().axis("axis", rank)?;
        let (indices, axis) = (s.value("indices")?, s.int(axis as i64));
        let inputs = [("x", dz.into()), ("indices", indices.into()), ("axis", axis.into())];
        let mut du = s.op(read, read.name(), inputs)?;
        if sign != 1.0 {
            du = s.scale(du, sign)?;
        }
        s.give("updates", du)?;
    }
    Ok(())
}

fn scatter_add(
    s: &mut Step,
    op: Op,
    data: ValueId,
    indices: ValueId,
    updates: ValueId,
    axis: usize,
) -> Result<ValueId, Fault> {
    let (axis, mode) = (s.int(axis as i64), s.string("add"));
    let inputs = [
        ("data", data.into()),
        ("indices", indices.into()),
        ("updates", updates.into()),
        ("axis", axis.into()),
        ("mode", mode.into()),
    ];
    Ok(s.op(op, op.name(), inputs)?)
}
