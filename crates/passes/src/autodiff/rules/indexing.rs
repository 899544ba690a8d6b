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

/// z = slices of x at the indices i spell: dx = zeros with dz added to those slices.
pub(super) fn gather_nd(s: &mut Step) -> Done {
    let dz = s.dz_full()?;
    let dims = s.dims_of("x")?;
    let batch = s.params().int("batch_dims")? as usize;
    let indices = s.value("indices")?;
    let indices = spell_batches(s, indices, batch)?;
    let zeros = s.zeros(s.dtype(dz), &dims)?;
    let mode = s.string("add");
    let inputs = [
        ("data", zeros.into()),
        ("indices", indices.into()),
        ("updates", dz.into()),
        ("mode", mode.into()),
    ];
    let dx = s.op(Op::ScatterNd, "scatter_nd", inputs)?;
    s.give("x", dx)
}

/// Indices that spell the batch axes too, which were given by where they stand.
fn spell_batches(s: &mut Step, indices: ValueId, batch: usize) -> Result<ValueId, Fault> {
    if batch == 0 {
        return Ok(indices);
    }
    let indices = s.cast(indices, DataType::Int32)?;
    let mut lead = s.dims_of("indices")?;
    lead.pop();
    let count: usize = lead.iter().product();
    let mut places = vec![];
    for row in 0..count {
        let mut index = vec![];
        let mut rest = row;
        for &dim in lead.iter().rev() {
            index.insert(0, (rest % dim) as i64);
            rest /= dim;
        }
        places.extend(&index[..batch]);
    }
    lead.push(batch);
    let places = Tensor::int32s(&places).reshaped(&lead).expect("an index for each row");
    let places = s.constant("batches", places);
    Ok(s.concat(&[places, indices], -1)?)
}

/// z = x with u added to (or subtracted from) the slices that i spells: dx = dz, du = ± dz's slices.
pub(super) fn scatter_nd(s: &mut Step) -> Done {
    let mode = s.params().string("mode")?;
    if !matches!(mode.as_str(), "add" | "sub") {
        return Err(s.unsupported(format!("with mode \"{mode}\"")));
    }
    if s.wants("data") {
        let dz = s.dz();
        s.give("data", dz)?;
    }
    if s.wants("updates") {
        let dz = s.dz_full()?;
        let indices = s.value("indices")?;
        let inputs = [("x", dz.into()), ("indices", indices.into())];
        let mut du = s.op(Op::GatherNd, "gather_nd", inputs)?;
        if mode == "sub" {
            du = s.scale(du, -1.0)?;
        }
        s.give("updates", du)?;
    }
    Ok(())
}

/// z = the k elements of x at i: dx = zeros with dz added to the elements at i.
pub(super) fn topk(s: &mut Step) -> Done {
    let values = s.operation.outputs[0];
    let Some(dz) = s.full(values)? else { return Ok(()) };
    let dims = s.dims_of("x")?;
    let p = s.params();
    let (k, axis) = (p.int("k")?, p.axis("axis", dims.len())?);
    let ascending = p.bool("ascending")?;
    let x = s.value("x")?;
    let (k, along, ascending) = (s.int(k), s.int(axis as i64), s.bool(ascending));
    let inputs =
        [("x", x.into()), ("k", k.into()), ("axis", along.into()), ("ascending", ascending.into())];
    let indices = s.operation(Op::Topk, "topk", inputs)?[1];
    let zeros = s.zeros(s.dtype(dz), &dims)?;
    let dx = scatter_add(s, Op::ScatterAlongAxis, zeros, indices, dz, axis)?;
    s.give("x", dx)
}
