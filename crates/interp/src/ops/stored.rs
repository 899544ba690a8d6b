//! Weights in a compressed form: lookup tables and masks.

use crate::Array;
use crate::evaluate::Context;
use crate::index::{indices, position};
use mil::{DataType, OpError, Tensor};

pub(super) fn cast(c: &Context) -> Result<Array, OpError> {
    Ok(c.need("source_val")?.cast(c.params.dtype("output_dtype")?))
}

pub(super) fn lut_to_dense(c: &Context) -> Result<Array, OpError> {
    let (stored, lut) = (c.need("indices")?, c.need("lut")?);
    let dims = c.result_dims()?.remove(0);
    if !c.params.has("shape") {
        let table = Table::new(c, lut, stored.dims().len())?;
        let entries = stored.to_i64s();
        let found = indices(&dims).map(|index| {
            let at = table.narrow(&index);
            table.position(stored.dims(), &at, entries[position(stored.dims(), &at)], &index)
        });
        return Ok(table.lut.pick(&dims, found));
    }
    let bits = lut.count().trailing_zeros();
    let dtype = match bits {
        1 => DataType::Uint1,
        2 => DataType::Uint2,
        4 => DataType::Uint4,
        6 => DataType::Uint6,
        _ => DataType::Uint8,
    };
    let entries = unpacked(c, &stored, dtype, dims.iter().product())?;
    Ok(lut.pick(&dims, entries.into_iter().map(|entry| entry as usize)))
}

pub(super) fn sparse_to_dense(c: &Context) -> Result<Array, OpError> {
    let (data, mask) = (c.need("nonzero_data")?, c.need("mask")?);
    let dims = c.result_dims()?.remove(0);
    let mask = match c.params.has("shape") {
        true => unpacked(c, &mask, DataType::Uint1, dims.iter().product())?,
        false => mask.to_i64s(),
    };
    spread(c, &data, &mask, &dims)
}

/// The mask and the entries of a table at the indices that it keeps.
pub(super) fn lut_to_sparse(c: &Context) -> Result<Vec<Array>, OpError> {
    let (mask, data) = (c.need("indices_mask")?, c.need("indices_nonzero_data")?);
    let table = Table::new(c, c.need("lut")?, mask.dims().len())?;
    let dims = c.result_dims()?.remove(0);
    let bits = mask.to_i64s();
    let entries = spread(c, &data, &bits, mask.dims())?.to_i64s();
    let (mut kept, mut found) = (vec![], vec![]);
    for index in indices(&dims) {
        let at = table.narrow(&index);
        let from = position(mask.dims(), &at);
        kept.push(bits[from]);
        if kept.last() == Some(&1) {
            found.push(table.position(mask.dims(), &at, entries[from], &index));
        }
    }
    let values = table.lut.pick(&[found.len()], found.into_iter());
    Ok(vec![Array::ints(mask.dtype(), &dims, kept), values])
}

/// The mask and what it keeps, scaled by the scale of the block in which it would be.
pub(super) fn sparse_blockwise(c: &Context) -> Result<Vec<Array>, OpError> {
    let (mask, data, scale) = (c.need("data_mask")?, c.need("nonzero_data")?, c.need("scale")?);
    // The dense tensor has the type of the data, so zeros stand where the mask keeps nothing.
    let dense = spread(c, &data, &mask.to_i64s(), mask.dims())?;
    let scaled = super::quantized::in_blocks(c, &dense, &scale)?.to_f64s();
    let kept = scaled.into_iter().zip(mask.to_i64s()).filter(|(_, bit)| *bit != 0);
    let kept: Vec<f64> = kept.map(|(value, _)| value).collect();
    Ok(vec![mask, Array::floats(scale.dtype(), &[kept.len()], kept)])
}

/// So many elements that are packed in bytes.
fn unpacked(
    c: &Context,
    bytes: &Array,
    dtype: DataType,
    count: usize,
) -> Result<Vec<i64>, OpError> {
    let bytes: Vec<u8> = bytes.to_i64s().into_iter().map(|b| b as u8).collect();
    let tensor = Tensor::from_bytes(dtype, &[count], bytes);
    Ok(tensor.map_err(|e| c.params.error(e.to_string()))?.to_i64s())
}

/// The data in order where the mask has a bit, zeros elsewhere.
fn spread(c: &Context, data: &Array, mask: &[i64], dims: &[usize]) -> Result<Array, OpError> {
    let set = mask.iter().filter(|&&bit| bit != 0).count();
    if set != data.count() {
        let count = data.count();
        return Err(c.params.error(format!("the mask has {set} bits for {count} elements")));
    }
    let mut next = 0;
    // The filling stands after the last element.
    let from = |&bit: &i64| {
        next += usize::from(bit != 0);
        if bit != 0 { next - 1 } else { set }
    };
    Ok(super::movement::with_zero(data).pick(dims, mask.iter().map(from)))
}

/// A lookup table: several tables of entries, each of which holds one or more elements.
struct Table {
    lut: Array,
    /// How many elements an entry holds, and the axis along which they go.
    length: usize,
    axis: usize,
}

impl Table {
    fn new(c: &Context, lut: Array, rank: usize) -> Result<Table, OpError> {
        let length = lut.dims().last().copied().unwrap_or(1);
        let axis = match c.params.has("vector_axis") {
            true => c.params.axis("vector_axis", rank)?,
            false => 0,
        };
        Ok(Table { lut, length, axis })
    }

    /// Where the entry of an element of the result is.
    fn narrow(&self, index: &[usize]) -> Vec<usize> {
        let mut at = index.to_vec();
        at[self.axis] /= self.length;
        at
    }

    /// The position in the table of an element of the result, whose entry is at `at`.
    fn position(&self, dims: &[usize], at: &[usize], entry: i64, index: &[usize]) -> usize {
        let groups = self.lut.dims();
        let mut path: Vec<usize> =
            at.iter().zip(dims).zip(groups).map(|((i, dim), groups)| i * groups / dim).collect();
        path.push(entry as usize);
        path.push(index[self.axis] % self.length);
        position(groups, &path)
    }
}
