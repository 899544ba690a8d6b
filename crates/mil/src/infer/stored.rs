//! Weights in a compressed form: lookup tables and masks.

use super::{elementwise, tensor};
use crate::{DataType, Dim, OpError, Params, TensorType, element_count};

pub(super) fn cast(p: &Params) -> Result<TensorType, OpError> {
    let source = p.ty("source_val")?;
    let dtype = p.dtype("output_dtype")?;
    match dtype.is_float() && dtype.bits() >= 16 {
        true => Ok(TensorType { dtype, shape: source.shape }),
        false => Err(p.error(format!("`output_dtype` is {dtype}; it must be a float type"))),
    }
}

pub(super) fn lut_to_dense(p: &Params) -> Result<TensorType, OpError> {
    let (indices, lut) = (p.ty("indices")?, p.ty("lut")?);
    if !p.has("shape") {
        let dims = palettized(p, "indices", &indices, indices.dtype, &lut)?;
        return Ok(tensor(lut.dtype, dims));
    }
    if p.has("vector_axis") {
        return Err(p.error("`vector_axis` goes with indices that have a shape of their own"));
    }
    if indices.dtype != DataType::Uint8 {
        let found = indices.dtype;
        return Err(p.error(format!("`indices` is {found}; with `shape` they are packed in uint8")));
    }
    let entries = match lut.dims() {
        Some([Dim::Fixed(n)]) if matches!(n, 2 | 4 | 16 | 64 | 256) => *n,
        _ => {
            return Err(p.error(format!(
                "`lut` is {lut}; it must be a vector of 2, 4, 16, 64 or 256 elements"
            )));
        }
    };
    let bits = entries.trailing_zeros() as usize;
    let dims = packed(p, "indices", &indices, bits)?;
    Ok(TensorType::fixed(lut.dtype, &dims))
}

pub(super) fn sparse_to_dense(p: &Params) -> Result<TensorType, OpError> {
    let (data, mask) = (p.ty("nonzero_data")?, p.ty("mask")?);
    vector(p, "nonzero_data", &data)?;
    let wanted = if p.has("shape") { DataType::Uint8 } else { DataType::Uint1 };
    if mask.dtype != wanted {
        let with = if p.has("shape") { "with" } else { "without" };
        return Err(p.error(format!("`mask` is {}; {with} `shape` it is {wanted}", mask.dtype)));
    }
    match p.has("shape") {
        true => Ok(TensorType::fixed(data.dtype, &packed(p, "mask", &mask, 1)?)),
        false => {
            fits(p, "nonzero_data", &data, "mask", &mask)?;
            Ok(TensorType { dtype: data.dtype, shape: mask.shape })
        }
    }
}

/// The mask and the entries.
pub(super) fn lut_to_sparse(p: &Params) -> Result<[TensorType; 2], OpError> {
    let (mask, data) = (p.ty("indices_mask")?, p.ty("indices_nonzero_data")?);
    let lut = p.ty("lut")?;
    vector(p, "indices_nonzero_data", &data)?;
    fits(p, "indices_nonzero_data", &data, "indices_mask", &mask)?;
    let dims = palettized(p, "indices_mask", &mask, data.dtype, &lut)?;
    let length = lut.dims().and_then(|d| d.last()?.fixed());
    let count = data.dims().and_then(|d| d.first()?.fixed());
    let huge = || p.error("there are too many elements");
    let count = match length.zip(count) {
        Some((length, count)) => Dim::Fixed(length.checked_mul(count).ok_or_else(huge)?),
        None => Dim::Unknown,
    };
    Ok([tensor(mask.dtype, dims), tensor(lut.dtype, vec![count])])
}

/// The mask and the scaled elements.
pub(super) fn sparse_blockwise(p: &Params) -> Result<[TensorType; 2], OpError> {
    let (mask, data) = (p.ty("data_mask")?, p.ty("nonzero_data")?);
    vector(p, "nonzero_data", &data)?;
    fits(p, "nonzero_data", &data, "data_mask", &mask)?;
    let whole = TensorType { dtype: data.dtype, shape: mask.shape.clone() };
    let scaled = elementwise::blocks(p, "data_mask", &whole)?;
    Ok([mask, TensorType { dtype: scaled.dtype, shape: data.shape }])
}

fn vector(p: &Params, name: &str, ty: &TensorType) -> Result<(), OpError> {
    match ty.rank() {
        None | Some(1) => Ok(()),
        Some(_) => Err(p.error(format!("`{name}` is {ty}; it must be a vector"))),
    }
}

/// No more elements than the mask has places.
fn fits(
    p: &Params,
    name: &str,
    data: &TensorType,
    mask_name: &str,
    mask: &TensorType,
) -> Result<(), OpError> {
    let count = |ty: &TensorType| ty.fixed_dims().and_then(|d| element_count(&d));
    match count(data).zip(count(mask)) {
        Some((kept, places)) if kept > places => {
            Err(p
                .error(format!("`{name}` has {kept} elements, `{mask_name}` only {places} places")))
        }
        _ => Ok(()),
    }
}

/// The dims in `shape` of a tensor whose elements of so many bits are packed in bytes.
fn packed(p: &Params, name: &str, bytes: &TensorType, bits: usize) -> Result<Vec<usize>, OpError> {
    let shape = p.need_ints("shape")?;
    let dims: Option<Vec<usize>> = shape.iter().map(|&d| usize::try_from(d).ok()).collect();
    let needed = dims.as_ref().and_then(|d| element_count(d)?.checked_mul(bits));
    let Some((dims, needed)) = dims.zip(needed) else {
        return Err(p.error(format!("`shape` is {shape:?}")));
    };
    let needed = needed.div_ceil(8);
    match bytes.dims() {
        Some([found]) if found.compatible(Dim::Fixed(needed)) => Ok(dims),
        _ => Err(p.error(format!("`{name}` is {bytes}; shape {shape:?} takes {needed} bytes"))),
    }
}

/// The dims of what a table gives for indices of these dims and this type: the table has two axes
/// more, one for its entries and one for what an entry holds.
fn palettized(
    p: &Params,
    name: &str,
    indices: &TensorType,
    dtype: DataType,
    lut: &TensorType,
) -> Result<Vec<Dim>, OpError> {
    let (Some(dims), Some(table)) = (indices.dims(), lut.dims()) else {
        return Err(p.error(format!("the ranks of `{name}` and `lut` must be known")));
    };
    if dims.is_empty() || table.len() != dims.len() + 2 {
        return Err(p.error(format!("`lut` is {lut}; it must have two axes more than {indices}")));
    }
    for (axis, (dim, groups)) in dims.iter().zip(table).enumerate() {
        let (Some(dim), Some(groups)) = (dim.fixed(), groups.fixed()) else { continue };
        if groups == 0 || dim % groups != 0 {
            return Err(p.error(format!(
                "axis {axis} of `{name}` has {dim} elements, which are not {groups} equal groups"
            )));
        }
    }
    let entries = 1usize << dtype.bits();
    if !table[dims.len()].compatible(Dim::Fixed(entries)) {
        return Err(p.error(format!(
            "`lut` is {lut}; with indices of {dtype} it must have {entries} entries"
        )));
    }
    let mut out = dims.to_vec();
    let length = table[dims.len() + 1];
    if p.has("vector_axis") {
        let axis = p.axis("vector_axis", dims.len())?;
        out[axis] = match (out[axis].fixed(), length.fixed()) {
            (Some(n), Some(length)) => match n.checked_mul(length) {
                Some(n) => Dim::Fixed(n),
                None => return Err(p.error("there are too many elements")),
            },
            _ => Dim::Unknown,
        };
    } else if !length.compatible(Dim::Fixed(1)) {
        return Err(p.error(format!(
            "`lut` is {lut}: its entries hold {length} elements, so `vector_axis` is needed"
        )));
    }
    Ok(out)
}
