//! Rules of matrix products and attention. Nothing is transposed in memory: the products'
//! own flags say which operand is read the other way.

use super::elementwise::select;
use super::reduce::softmax_backward;
use crate::autodiff::step::{Done, Fault, Step};
use mil::{DataType, ValueId};

/// z = x·Wᵀ + b: dx = dz·W, dW = dzᵀ·x, db = Σdz, with the leading axes of x and z as one.
pub(super) fn linear(s: &mut Step) -> Done {
    let dz = s.dz_full()?;
    let (x_dims, z_dims) = (s.dims_of("x")?, s.z_dims()?);
    let (rows, columns) = flat(&z_dims);
    let dz = reshaped(s, dz, &[rows, columns])?;
    if s.wants("x") {
        let weight = s.value("weight")?;
        let dx = s.matmul(dz, weight, (false, false))?;
        let dx = reshaped(s, dx, &x_dims)?;
        s.give("x", dx)?;
    }
    if s.wants("weight") {
        let x = s.value("x")?;
        let (rows, columns) = flat(&x_dims);
        let x = reshaped(s, x, &[rows, columns])?;
        let weight = s.matmul(dz, x, (true, false))?;
        s.give("weight", weight)?;
    }
    if s.wants("bias") {
        // A bias of one element is added to every output.
        let bias_dims = s.dims_of("bias")?;
        let bias = s.sum_to(dz, &[rows, columns], &bias_dims, 1.0)?;
        s.give("bias", bias)?;
    }
    Ok(())
}

/// Rows and columns when all axes but the last are one.
fn flat(dims: &[usize]) -> (usize, usize) {
    match dims.split_last() {
        Some((&last, rest)) => (rest.iter().product(), last),
        None => (1, 1),
    }
}

fn reshaped(s: &mut Step, x: ValueId, dims: &[usize]) -> Result<ValueId, Fault> {
    if s.dims(x) == dims { Ok(x) } else { Ok(s.reshape(x, dims)?) }
}

/// z = X·Y, X = x or xᵀ, Y = y or yᵀ: dX = dz·Yᵀ, dY = Xᵀ·dz, summed over batch axes that were
/// repeated.
pub(super) fn matmul(s: &mut Step) -> Done {
    let dz = s.dz_full()?;
    let (tx, ty) = (s.params().bool("transpose_x")?, s.params().bool("transpose_y")?);
    let (x_dims, y_dims) = (s.dims_of("x")?, s.dims_of("y")?);
    let z_dims = s.z_dims()?;
    let (batch, matrix) = z_dims.split_at(z_dims.len() - 2);
    let (m, n) = (matrix[0], matrix[1]);

    if s.wants("x") {
        let y = s.value("y")?;
        let dx = match tx {
            false => s.matmul(dz, y, (false, !ty))?,
            true => s.matmul(y, dz, (ty, true))?,
        };
        give_product(s, "x", dx, batch, &x_dims)?;
    }
    if s.wants("y") {
        let x = s.value("x")?;
        let (kept, folded) = if tx { (batch.to_vec(), 1) } else { fold(batch, &x_dims, &y_dims) };
        let (mut x, mut dz) = (x, dz);
        if folded != 1 {
            let k = x_dims[x_dims.len() - 1];
            x = reshaped(s, x, &[&kept[..], &[folded * m, k]].concat())?;
            dz = reshaped(s, dz, &[&kept[..], &[folded * m, n]].concat())?;
        }
        let dy = match ty {
            false => s.matmul(x, dz, (!tx, false))?,
            true => s.matmul(dz, x, (true, tx))?,
        };
        give_product(s, "y", dy, &kept, &y_dims)?;
    }
    Ok(())
}

/// The last batch axes, as far as y was repeated over them, may go into the rows of x and z: then
/// the product itself sums over them. Gives the batch axes with 1 for those, and how many
/// entries went into the rows.
fn fold(batch: &[usize], x: &[usize], y: &[usize]) -> (Vec<usize>, usize) {
    let mut kept = batch.to_vec();
    let mut folded = 1;
    if x[..x.len() - 2] != *batch {
        return (kept, folded);
    }
    let y_batch = &y[..y.len() - 2];
    let lead = batch.len() - y_batch.len();
    for axis in (0..batch.len()).rev() {
        if axis >= lead && y_batch[axis - lead] != 1 {
            break;
        }
        folded *= batch[axis];
        kept[axis] = 1;
    }
    (kept, folded)
}

/// Gives an operand its part of a product with these batch axes.
fn give_product(s: &mut Step, operand: &str, g: ValueId, batch: &[usize], dims: &[usize]) -> Done {
    let space = [batch, &dims[dims.len() - 2..]].concat();
    let g = reshaped(s, g, &space)?;
    let g = s.sum_to(g, &space, dims, 1.0)?;
    s.give(operand, g)
}

/// z = P·v, P = softmax(S), S = q·kᵀ/√E + mask: with dP = dz·vᵀ and dS = P·(dP − ΣdP·P):
/// dq = dS·k/√E, dk = dSᵀ·q/√E, dv = Pᵀ·dz, dmask = dS.
pub(super) fn attention(s: &mut Step) -> Done {
    let dz = s.dz_full()?;
    let (q, k) = (s.value("query")?, s.value("key")?);
    let (q_dims, k_dims) = (s.dims_of("query")?, s.dims_of("key")?);
    let v_dims = s.dims_of("value")?;
    let dtype = s.dtype(q);
    let width = q_dims.last().copied().unwrap_or(1);
    let scale = 1.0 / (width as f64).sqrt();

    let scores = s.matmul(q, k, (false, true))?;
    let mut scores = s.scale(scores, scale)?;
    if let Some(mask) = s.value_opt("attn_mask")? {
        scores = if s.dtype(mask) == DataType::Bool {
            let hidden = s.float(dtype, if dtype == DataType::Fp16 { -65504.0 } else { -1e38 });
            select(s, mask, scores, hidden)?
        } else {
            let mask = s.cast(mask, dtype)?;
            s.add(scores, mask)?
        };
    }
    let p = s.softmax(scores, -1)?;
    let space = s.dims(p);
    let batch = space[..space.len() - 2].to_vec();

    if s.wants("value") {
        let dv = s.matmul(p, dz, (true, false))?;
        give_product(s, "value", dv, &batch, &v_dims)?;
    }
    if !["query", "key", "attn_mask"].iter().any(|operand| s.wants(operand)) {
        return Ok(());
    }
    let v = s.value("value")?;
    let dp = s.matmul(dz, v, (false, true))?;
    let ds = softmax_backward(s, p, dp, -1)?;
    if s.wants("attn_mask") {
        let mask_dims = s.dims_of("attn_mask")?;
        let dmask = s.sum_to(ds, &space, &mask_dims, 1.0)?;
        s.give("attn_mask", dmask)?;
    }
    if !s.wants("query") && !s.wants("key") {
        return Ok(());
    }
    let ds = s.scale(ds, scale)?;
    if s.wants("query") {
        let dq = s.matmul(ds, k, (false, false))?;
        give_product(s, "query", dq, &batch, &q_dims)?;
    }
    if s.wants("key") {
        let dk = s.matmul(ds, q, (true, false))?;
        give_product(s, "key", dk, &batch, &k_dims)?;
    }
    Ok(())
}

/// z[n, c, h, u] = Σ_w x[n, c, h, w]·y[n, w, h, u]. With h before the matrix it is a product for each
/// n and h: dX = dZ·Yᵀ, dY = Xᵀ·dZ, summed over n and h where they were repeated.
pub(super) fn einsum(s: &mut Step) -> Done {
    let operands = s.operation.inputs.get("values").map_or(&[][..], |arg| arg.operands());
    let &[mil::Operand::Value(x), mil::Operand::Value(y)] = operands else {
        return Err(s.unsupported("of constants"));
    };
    let rank = s.params().einsum_rank()?;
    // …, c, h, w to …, h, c, w: its own reverse.
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 3, rank - 2);
    let dz = s.dz_full()?;
    let dz = s.transpose(dz, &perm)?;
    for (wanted, other, is_x) in [(x, y, true), (y, x, false)] {
        if !s.wants_value(wanted) {
            continue;
        }
        let other = s.forward_value(other)?;
        let other = s.transpose(other, &perm)?;
        let product = match is_x {
            true => s.matmul(dz, other, (false, true))?,
            false => s.matmul(other, dz, (true, false))?,
        };
        let product = s.transpose(product, &perm)?;
        let (space, dims) = (s.dims(product), s.forward_dims(wanted)?);
        let sum = s.sum_to(product, &space, &dims, 1.0)?;
        s.give_value(wanted, sum)?;
    }
    Ok(())
}
