//! Rules of operations that move elements without computing.

use crate::autodiff::step::{Done, Fault, Step};
use mil::shape::{SliceAxis, resolve_slice};
use mil::{DataType, Op, Operand, ValueId};

/// z = x under another shape: dx = dz under x's shape.
pub(super) fn reshape(s: &mut Step) -> Done {
    let dims = s.dims_of("x")?;
    let dz = s.dz();
    // What does not vary at all need not be spread out first.
    let dx = if s.dims(dz).iter().all(|&d| d == 1) {
        let ones = vec![1; dims.len()];
        s.reshape(dz, &ones)?
    } else {
        let dz = s.dz_full()?;
        s.reshape(dz, &dims)?
    };
    s.give("x", dx)
}

/// z axis i = x axis `perm[i]`: dx axis `perm[i]` = dz axis i.
pub(super) fn transpose(s: &mut Step) -> Done {
    let dz = s.dz();
    let rank = s.z_dims()?.len();
    let perm = s.params().need_ints("perm")?;
    let mut inverse = vec![0; rank];
    for (i, &axis) in perm.iter().enumerate() {
        let axis = if axis < 0 { axis + rank as i64 } else { axis };
        inverse[axis as usize] = i;
    }
    let dx = s.transpose(dz, &inverse)?;
    s.give("x", dx)
}

/// z = x with `reps` copies along each axis: dx = Σdz over the copies.
pub(super) fn tile(s: &mut Step) -> Done {
    let dz = s.dz_full()?;
    let (dims, z_dims) = (s.dims_of("x")?, s.z_dims()?);
    // Each repeated axis becomes two, copies and x's own, unless x's own is 1.
    let (mut split, mut copies) = (vec![], vec![]);
    for (&d, &z) in dims.iter().zip(&z_dims) {
        if d == z {
            split.push(d);
            continue;
        }
        copies.push(split.len() as i64);
        split.push(z.checked_div(d).unwrap_or(1));
        if d != 1 {
            split.push(d);
        }
    }
    let mut dx = dz;
    if split != z_dims {
        dx = s.reshape(dx, &split)?;
    }
    if !copies.is_empty() {
        dx = s.reduce(Op::ReduceSum, dx, &copies, true)?;
    }
    if s.dims(dx) != dims {
        dx = s.reshape(dx, &dims)?;
    }
    s.give("x", dx)
}

/// z = x with constants around: dx = the part of dz that x went to. With copies of x around, dx is
/// Aᵀ·dz along each axis, A being the matrix of what was copied where.
pub(super) fn pad(s: &mut Step) -> Done {
    let mode = s.params().string("mode")?;
    let dz = s.dz_full()?;
    let dims = s.dims_of("x")?;
    let amounts = s.params().need_ints("pad")?;
    let first = dims.len() - amounts.len() / 2;
    if mode != "constant" {
        let mut g = dz;
        for (pair, axis) in amounts.chunks_exact(2).zip(first..) {
            let (n, size) = (dims[axis], s.dims(g)[axis]);
            if n == size {
                continue;
            }
            let mut copies = vec![0.0; size * n];
            for i in 0..size {
                let last = n as i64 - 1;
                let at = i as i64 - pair[0];
                let from = match mode.as_str() {
                    "reflect" if at > last => 2 * last - at,
                    "reflect" => at.abs(),
                    _ => at.clamp(0, last),
                };
                copies[i * n + from as usize] = 1.0;
            }
            g = super::images::along(s, g, axis, n, &copies)?;
        }
        return s.give("x", g);
    }
    let begin = |axis: usize| if axis < first { 0 } else { amounts[2 * (axis - first)].max(0) };
    let begin: Vec<usize> = (0..dims.len()).map(|axis| begin(axis) as usize).collect();
    let dx = cut(s, dz, &begin, &dims)?;
    s.give("x", dx)
}

/// z = x with `axes` in opposite order: dx = dz with them in opposite order.
pub(super) fn reverse(s: &mut Step) -> Done {
    let dz = s.dz_full()?;
    let rank = s.z_dims()?.len();
    let axes = s.params().axes("axes", rank)?.unwrap_or_else(|| (0..rank).collect());
    let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
    let dx = reversed(s, dz, &axes)?;
    s.give("x", dx)
}

/// z = all values joined: each value's part of dz. Interleaved, value i has every n-th slice
/// from i.
pub(super) fn concat(s: &mut Step) -> Done {
    let dz = s.dz_full()?;
    let z_dims = s.z_dims()?;
    let axis = s.params().axis("axis", z_dims.len())?;
    let interleave = s.params().bool("interleave")?;
    let operands = s.operation.inputs.get("values").map_or(&[][..], |arg| arg.operands());
    // A scalar counts as a vector of one.
    let along = |dims: &[usize]| dims.get(axis).copied().unwrap_or(1);
    let mut sizes = vec![];
    for operand in operands {
        sizes.push(match operand {
            Operand::Value(id) => along(&s.forward_dims(*id)?),
            Operand::Literal(literal) => {
                match literal.ty().as_tensor().and_then(|t| t.fixed_dims()) {
                    Some(dims) => along(&dims),
                    None => return Err(s.unsupported("of values without a shape")),
                }
            }
        });
    }
    let wanted = |s: &Step, operand: &Operand| match operand {
        Operand::Value(id) => Some(*id).filter(|&id| s.wants_value(id)),
        Operand::Literal(_) => None,
    };
    if interleave {
        // […, size·n, …] is […, size, n, …], and value i is column i.
        let n = operands.len();
        let mut pairs = z_dims.clone();
        pairs.splice(axis..=axis, [z_dims[axis] / n, n]);
        let pairs = s.reshape(dz, &pairs)?;
        for (i, operand) in operands.iter().enumerate() {
            let Some(id) = wanted(s, operand) else { continue };
            let (mut begin, mut size) = (vec![0; z_dims.len() + 1], s.dims(pairs));
            begin[axis + 1] = i;
            size[axis + 1] = 1;
            let column = cut(s, pairs, &begin, &size)?;
            give_part(s, id, column)?;
        }
        return Ok(());
    }
    if operands.len() > 1 && operands.iter().all(|operand| wanted(s, operand).is_some()) {
        let parts = s.split(dz, &sizes, axis as i64)?;
        for (operand, part) in operands.iter().zip(parts) {
            if let Some(id) = wanted(s, operand) {
                give_part(s, id, part)?;
            }
        }
        return Ok(());
    }
    let mut from = 0;
    for (operand, size) in operands.iter().zip(sizes) {
        if let Some(id) = wanted(s, operand) {
            let (mut begin, mut dims) = (vec![0; z_dims.len()], z_dims.clone());
            begin[axis] = from;
            dims[axis] = size;
            let part = cut(s, dz, &begin, &dims)?;
            give_part(s, id, part)?;
        }
        from += size;
    }
    Ok(())
}

/// Gives a joined value its part, under the value's own shape.
fn give_part(s: &mut Step, id: ValueId, part: ValueId) -> Done {
    let dims = s.forward_dims(id)?;
    let part = if s.dims(part) == dims { part } else { s.reshape(part, &dims)? };
    s.give_value(id, part)
}

/// zᵢ = the i-th part of x: dx = all dzᵢ joined, 0 for a part that nothing depends on.
pub(super) fn split(s: &mut Step) -> Done {
    let dims = s.dims_of("x")?;
    let axis = s.params().axis("axis", dims.len())?;
    let outputs = &s.operation.outputs;
    let mut parts = vec![];
    for &id in outputs {
        parts.push((s.full(id)?, s.forward_dims(id)?));
    }
    let reached: Vec<usize> = (0..parts.len()).filter(|&i| parts[i].0.is_some()).collect();
    let dx = if let ([only], true) = (&reached[..], parts.len() > 1) {
        let mut begin = vec![0; dims.len()];
        begin[axis] = parts[..*only].iter().map(|(_, dims)| dims[axis]).sum();
        let part = parts[*only].0.expect("it was reached");
        paste(s, part, &begin, &dims)?
    } else {
        let mut values = vec![];
        for (part, part_dims) in &parts {
            let dtype = s.params().ty("x")?.dtype;
            values.push(match part {
                Some(part) => *part,
                None => s.zeros(dtype, part_dims)?,
            });
        }
        s.concat(&values, axis as i64)?
    };
    s.give("x", dx)
}

/// z = x from `begin` in steps of `stride`: dx = dz at those places, 0 elsewhere.
pub(super) fn slice(s: &mut Step) -> Done {
    let dz = s.dz_full()?;
    let (dims, z_dims) = (s.dims_of("x")?, s.z_dims()?);
    let known = |name| !s.params().has(name) || s.params().is_known(name);
    let dx = if ["begin", "end", "stride", "size"].into_iter().all(known) {
        let axes = resolve_slice(&s.params(), &dims)?;
        put_back(s, dz, &axes, &dims)?
    } else if s.operation.op == Op::SliceBySize {
        let (zeros, begin) = (s.zeros(s.dtype(dz), &dims)?, s.value("begin")?);
        let begin = s.cast(begin, DataType::Int32)?;
        let size: Vec<i64> = z_dims.iter().map(|&d| d as i64).collect();
        let size = s.ints(&size);
        let end = s.add(begin, size)?;
        let inputs = [
            ("x", zeros.into()),
            ("update", dz.into()),
            ("begin", begin.into()),
            ("end", end.into()),
        ];
        s.op(Op::SliceUpdate, "slice_update", inputs)?
    } else {
        return Err(s.unsupported("with bounds known only at run time"));
    };
    s.give("x", dx)
}

/// z = x with a slice replaced by u: dx = dz with 0 there, du = that slice of dz.
pub(super) fn slice_update(s: &mut Step) -> Done {
    let dz = s.dz_full()?;
    let mut same: Vec<(&str, ValueId)> = vec![];
    for name in ["begin", "end", "stride", "begin_mask", "end_mask", "squeeze_mask"] {
        if let Some(id) = s.value_opt(name)? {
            same.push((name, id));
        }
    }
    let bounds = || same.iter().map(|&(name, id)| (name, id.into()));
    let update_dims = s.dims_of("update")?;
    if s.wants("x") {
        let zeros = s.zeros(s.dtype(dz), &update_dims)?;
        let inputs = [("x", dz.into()), ("update", zeros.into())].into_iter().chain(bounds());
        let dx = s.op(Op::SliceUpdate, "slice_update", inputs)?;
        s.give("x", dx)?;
    }
    if s.wants("update") {
        let plain = !["stride", "begin_mask", "squeeze_mask"].iter().any(|name| s.has(name));
        let du = if s.params().is_known("begin") && s.params().is_known("end") {
            let inputs = [("x", dz.into())].into_iter().chain(bounds());
            s.op(Op::SliceByIndex, "slice_by_index", inputs)?
        } else if plain {
            let begin = s.value("begin")?;
            let size: Vec<i64> = update_dims.iter().map(|&d| d as i64).collect();
            let size = s.ints(&size);
            let inputs = [("x", dz.into()), ("begin", begin.into()), ("size", size.into())];
            s.op(Op::SliceBySize, "slice_by_size", inputs)?
        } else {
            return Err(s.unsupported("with strides or masks and bounds known only at run time"));
        };
        let du = if s.dims(du) == update_dims { du } else { s.reshape(du, &update_dims)? };
        s.give("update", du)?;
    }
    Ok(())
}

/// `g`, of the slice's shape, at its places in zeros of these dimensions.
fn put_back(
    s: &mut Step,
    g: ValueId,
    axes: &[SliceAxis],
    dims: &[usize],
) -> Result<ValueId, Fault> {
    let sizes: Vec<usize> = axes.iter().map(|axis| axis.size).collect();
    let mut g = if s.dims(g) == sizes { g } else { s.reshape(g, &sizes)? };
    if sizes.contains(&0) {
        return s.zeros(s.dtype(g), dims);
    }
    let backwards: Vec<i64> =
        (0..axes.len()).filter(|&i| axes[i].stride < 0).map(|i| i as i64).collect();
    if !backwards.is_empty() {
        g = reversed(s, g, &backwards)?;
    }
    let mut begin = vec![];
    for (i, axis) in axes.iter().enumerate() {
        let step = axis.stride.unsigned_abs() as usize;
        let back = if axis.stride < 0 { (axis.size - 1) * step } else { 0 };
        begin.push(axis.begin - back);
        if step > 1 && axis.size > 1 {
            g = spaced(s, g, i, step, dims[i] - begin[i])?;
        }
    }
    paste(s, g, &begin, dims)
}

/// `g` with `step` − 1 zeros after every element along `axis`, but no longer than `limit`.
fn spaced(
    s: &mut Step,
    g: ValueId,
    axis: usize,
    step: usize,
    limit: usize,
) -> Result<ValueId, Fault> {
    let dims = s.dims(g);
    let mut pairs = dims.clone();
    pairs.insert(axis + 1, 1);
    let g = s.reshape(g, &pairs)?;
    pairs[axis + 1] = step;
    let begin = vec![0; pairs.len()];
    let g = paste(s, g, &begin, &pairs)?;
    let mut spaced = dims;
    spaced[axis] *= step;
    let g = s.reshape(g, &spaced)?;
    spaced[axis] = spaced[axis].min(limit);
    let begin = vec![0; spaced.len()];
    cut(s, g, &begin, &spaced)
}

/// The part of x of size `dims` from `begin`.
pub(super) fn cut(
    s: &mut Step,
    x: ValueId,
    begin: &[usize],
    dims: &[usize],
) -> Result<ValueId, Fault> {
    if s.dims(x) == dims {
        return Ok(x);
    }
    let begin: Vec<i64> = begin.iter().map(|&b| b as i64).collect();
    let size: Vec<i64> = dims.iter().map(|&d| d as i64).collect();
    let (begin, size) = (s.ints(&begin), s.ints(&size));
    let inputs = [("x", x.into()), ("begin", begin.into()), ("size", size.into())];
    Ok(s.op(Op::SliceBySize, "slice", inputs)?)
}

/// x from `begin` in zeros of size `dims`.
pub(super) fn paste(
    s: &mut Step,
    x: ValueId,
    begin: &[usize],
    dims: &[usize],
) -> Result<ValueId, Fault> {
    paste_with(s, x, begin, dims, 0.0)
}

/// x from `begin` in a tensor of size `dims` that is `value` elsewhere.
pub(super) fn paste_with(
    s: &mut Step,
    x: ValueId,
    begin: &[usize],
    dims: &[usize],
    value: f64,
) -> Result<ValueId, Fault> {
    let now = s.dims(x);
    if now == dims {
        return Ok(x);
    }
    let ends = begin.iter().zip(&now).zip(dims);
    let ends = ends.flat_map(|((&b, &n), &d)| [b as i64, d as i64 - b as i64 - n as i64]);
    let amounts: Vec<i64> = ends.collect();
    let value = s.number(x, value);
    let (amounts, mode) = (s.ints(&amounts), s.string("constant"));
    let inputs = [
        ("x", x.into()),
        ("pad", amounts.into()),
        ("mode", mode.into()),
        ("constant_val", value.into()),
    ];
    Ok(s.op(Op::Pad, "pad", inputs)?)
}

fn reversed(s: &mut Step, x: ValueId, axes: &[i64]) -> Result<ValueId, Fault> {
    let axes = s.ints(axes);
    Ok(s.op(Op::Reverse, "reverse", [("x", x.into()), ("axes", axes.into())])?)
}

/// z = values along a new axis: dvalue = dz's slice where it stands.
pub(super) fn stack(s: &mut Step) -> Done {
    let dz = s.dz_full()?;
    let z_dims = s.z_dims()?;
    let axis = s.params().axis("axis", z_dims.len())?;
    let operands = s.operation.inputs.get("values").map_or(&[][..], |arg| arg.operands());
    for (i, operand) in operands.iter().enumerate() {
        let Operand::Value(id) = operand else { continue };
        if !s.wants_value(*id) {
            continue;
        }
        let (mut begin, mut size) = (vec![0; z_dims.len()], z_dims.clone());
        begin[axis] = i;
        size[axis] = 1;
        let slice = cut(s, dz, &begin, &size)?;
        let dims = s.forward_dims(*id)?;
        let slice = s.reshape(slice, &dims)?;
        s.give_value(*id, slice)?;
    }
    Ok(())
}

/// z = x within a band, 0 elsewhere: dx = dz within the band, 0 elsewhere.
pub(super) fn band_part(s: &mut Step) -> Done {
    let dz = s.dz_full()?;
    let (lower, upper) = (s.params().int("lower")?, s.params().int("upper")?);
    let (lower, upper) = (s.int(lower), s.int(upper));
    let inputs = [("x", dz.into()), ("lower", lower.into()), ("upper", upper.into())];
    let dx = s.op(Op::BandPart, "band_part", inputs)?;
    s.give("x", dx)
}

/// z = x with the first elements of each sequence in opposite order: dx = dz in the same way.
pub(super) fn reverse_sequence(s: &mut Step) -> Done {
    let dz = s.dz_full()?;
    let (seq, batch) = (s.params().int("seq_axis")?, s.params().int("batch_axis")?);
    let lengths = s.value("lengths")?;
    let (seq, batch) = (s.int(seq), s.int(batch));
    let inputs = [
        ("x", dz.into()),
        ("lengths", lengths.into()),
        ("seq_axis", seq.into()),
        ("batch_axis", batch.into()),
    ];
    let dx = s.op(Op::ReverseSequence, "reverse_sequence", inputs)?;
    s.give("x", dx)
}
