//! Tensors made from parameters and shapes, selections by value, and what else deals with indices.

use super::movement::{joined, with_zero};
use crate::evaluate::Context;
use crate::index::{indices, position};
use crate::{Array, Data};
use mil::{DataType, OpError};
use std::cmp::Ordering;

pub(super) fn one_hot(c: &Context) -> Result<Array, OpError> {
    let at = c.need("indices")?;
    let dims = c.result_dims()?.remove(0);
    let axis = c.params.axis("axis", dims.len())?;
    let (on, off) = (c.get("on_value")?, c.get("off_value")?);
    let dtype = on.as_ref().or(off.as_ref()).map_or(DataType::Int32, Array::dtype);
    let number = |value: Option<Array>, default: i64| match value {
        Some(value) => value.with_dims(&[1]),
        None => Array::ints(DataType::Int32, &[1], vec![default]).cast(dtype),
    };
    let values = joined(&[number(off, 0), number(on, 1)]);
    let hot = at.to_i64s();
    let which = |mut index: Vec<usize>| {
        let place = index.remove(axis);
        usize::from(hot[position(at.dims(), &index)] == place as i64)
    };
    Ok(values.pick(&dims, indices(&dims).map(which)))
}

/// For every line along `axis`, the positions of its elements; lines in row-major order.
fn lines(dims: &[usize], axis: usize) -> impl Iterator<Item = Vec<usize>> {
    let n = dims[axis];
    let inner: usize = dims[axis + 1..].iter().product();
    let outer: usize = dims[..axis].iter().product();
    (0..outer * inner).map(move |line| {
        let first = line / inner * n * inner + line % inner;
        (0..n).map(|i| first + i * inner).collect()
    })
}

/// The elements along an axis in order: for each position the index along the axis of what belongs
/// there. Equal elements keep their order; NaN comes last.
fn sorted(c: &Context, x: &Array, axis: usize) -> Result<Vec<usize>, OpError> {
    let ascending = c.params.bool("ascending")?;
    let in_order = |order: Ordering| if ascending { order } else { order.reverse() };
    let compare = |a: usize, b: usize| match x.data() {
        Data::Float(v) => match (v[a].is_nan(), v[b].is_nan()) {
            (false, false) => in_order(v[a].partial_cmp(&v[b]).unwrap_or(Ordering::Equal)),
            (a, b) => a.cmp(&b),
        },
        Data::Int(v) => in_order(v[a].cmp(&v[b])),
        Data::Strings(v) => in_order(v[a].cmp(&v[b])),
    };
    let mut order = vec![0; x.count()];
    for line in lines(x.dims(), axis) {
        let mut along: Vec<usize> = (0..line.len()).collect();
        along.sort_by(|&a, &b| compare(line[a], line[b]));
        for (&to, from) in line.iter().zip(along) {
            order[to] = from;
        }
    }
    Ok(order)
}

pub(super) fn argsort(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let axis = c.params.axis("axis", x.dims().len())?;
    let order = sorted(c, &x, axis)?.into_iter().map(|i| i as i64).collect();
    Ok(Array::ints(DataType::Int32, x.dims(), order))
}

/// The values, and where they were if that is wanted.
pub(super) fn topk(c: &Context) -> Result<Vec<Array>, OpError> {
    let x = c.need("x")?;
    let axis = c.params.axis("axis", x.dims().len())?;
    let dims = c.result_dims()?.remove(0);
    let order = sorted(c, &x, axis)?;
    let taken: Vec<usize> = indices(&dims).map(|index| order[position(x.dims(), &index)]).collect();
    let from = |(mut index, &along): (Vec<usize>, &usize)| {
        index[axis] = along;
        position(x.dims(), &index)
    };
    let mut results = vec![x.pick(&dims, indices(&dims).zip(&taken).map(from))];
    if c.params.bool("return_indices")? {
        let dtype = c.params.dtype("output_indices_dtype")?;
        results.push(Array::ints(dtype, &dims, taken.into_iter().map(|i| i as i64).collect()));
    }
    Ok(results)
}

pub(super) fn non_zero(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let is_set = |i: usize| match x.data() {
        Data::Float(v) => v[i] != 0.0,
        Data::Int(v) => v[i] != 0,
        Data::Strings(_) => false,
    };
    let mut found = vec![];
    let mut rows = 0;
    for (i, index) in indices(x.dims()).enumerate() {
        if is_set(i) {
            rows += 1;
            found.extend(index.into_iter().map(|i| i as i64));
        }
    }
    Ok(Array::ints(DataType::Int32, &[rows, x.dims().len()], found))
}

pub(super) fn range_1d(c: &Context) -> Result<Array, OpError> {
    let dims = c.result_dims()?.remove(0);
    let (start, step) = (c.need("start")?, c.need("step")?);
    if start.dtype().is_float() {
        let (start, step) = (start.to_f64s()[0], step.to_f64s()[0]);
        let values = (0..dims[0]).map(|i| start + i as f64 * step).collect();
        return Ok(Array::floats(c.need("start")?.dtype(), &dims, values));
    }
    let (first, step) = (start.to_i64s()[0], step.to_i64s()[0]);
    let values = (0..dims[0]).map(|i| first.wrapping_add((i as i64).wrapping_mul(step))).collect();
    Ok(Array::ints(start.dtype(), &dims, values))
}

/// `fill` and `fill_like`.
pub(super) fn fill(c: &Context) -> Result<Array, OpError> {
    let dims = c.result_dims()?.remove(0);
    let zero = || Array::floats(DataType::Fp32, &[], vec![0.0]);
    let value = c.get("value")?.unwrap_or_else(zero);
    let count = dims.iter().product();
    Ok(value.pick(&dims, std::iter::repeat_n(0, count)))
}

pub(super) fn shape(c: &Context) -> Result<Array, OpError> {
    let dims: Vec<i64> = c.need("x")?.dims().iter().map(|&d| d as i64).collect();
    Ok(Array::ints(DataType::Int32, &[dims.len()], dims))
}

pub(super) fn stack(c: &Context) -> Result<Array, OpError> {
    let dims = c.result_dims()?.remove(0);
    let axis = c.params.axis("axis", dims.len())?;
    let values = c.tuple("values")?;
    let each = values[0].count();
    let from = |mut index: Vec<usize>| {
        let which = index.remove(axis);
        which * each + position(values[which].dims(), &index)
    };
    Ok(joined(&values).pick(&dims, indices(&dims).map(from)))
}

pub(super) fn band_part(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let (lower, upper) = (c.params.int("lower")?, c.params.int("upper")?);
    let rank = x.dims().len();
    let filled = x.count();
    let from = |(i, index): (usize, Vec<usize>)| {
        let (m, n) = (index[rank - 2] as i64, index[rank - 1] as i64);
        let inside = (lower < 0 || m - n <= lower) && (upper < 0 || n - m <= upper);
        if inside { i } else { filled }
    };
    Ok(with_zero(&x).pick(x.dims(), indices(x.dims()).enumerate().map(from)))
}

pub(super) fn reverse_sequence(c: &Context) -> Result<Array, OpError> {
    let (x, lengths) = (c.need("x")?, c.need("lengths")?.to_i64s());
    let rank = x.dims().len();
    let (seq, batch) = (c.params.axis("seq_axis", rank)?, c.params.axis("batch_axis", rank)?);
    let size = x.dims()[seq];
    let length = |&n: &i64| {
        let error =
            || c.params.error(format!("`lengths` holds {n}, axis {seq} has {size} elements"));
        usize::try_from(n).ok().filter(|&n| n <= size).ok_or_else(error)
    };
    let lengths: Vec<usize> = lengths.iter().map(length).collect::<Result<_, _>>()?;
    let from = |mut index: Vec<usize>| {
        let length = lengths[index[batch]];
        if index[seq] < length {
            index[seq] = length - 1 - index[seq];
        }
        position(x.dims(), &index)
    };
    Ok(x.pick(x.dims(), indices(x.dims()).map(from)))
}

/// z[n, c, h, u] = Σ_w x[n, c, h, w]·y[n, w, h, u]; n may be missing, n and h broadcast.
pub(super) fn einsum(c: &Context) -> Result<Array, OpError> {
    let values = c.tuple("values")?;
    let [x, y] = &values[..] else { return Err(c.params.error("`values` must hold two tensors")) };
    let dims = c.result_dims()?.remove(0);
    let rank = dims.len();
    let inner = x.dims()[rank - 1];
    let at = |array: &Array, index: &[usize]| {
        let clamped = index.iter().zip(array.dims()).map(|(&i, &dim)| if dim == 1 { 0 } else { i });
        position(array.dims(), &clamped.collect::<Vec<_>>())
    };
    let term = |index: &[usize], w: usize| {
        let (mut a, mut b) = (index.to_vec(), index.to_vec());
        a[rank - 1] = w;
        b[rank - 3] = w;
        (at(x, &a), at(y, &b))
    };
    if x.dtype().is_float() {
        let (v, u) = (x.to_f64s(), y.to_f64s());
        let sum = |index: Vec<usize>| {
            (0..inner).fold(0.0, |sum, w| {
                let (i, j) = term(&index, w);
                c.add_product(sum, v[i], u[j])
            })
        };
        return Ok(Array::floats(x.dtype(), &dims, indices(&dims).map(sum).collect()));
    }
    let (v, u) = (x.to_i64s(), y.to_i64s());
    let sum = |index: Vec<usize>| {
        (0..inner).fold(0i64, |sum, w| {
            let (i, j) = term(&index, w);
            sum.wrapping_add(v[i].wrapping_mul(u[j]))
        })
    };
    Ok(Array::ints(x.dtype(), &dims, indices(&dims).map(sum).collect()))
}
