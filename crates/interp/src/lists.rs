//! Lists: their elements are shared, so that writing one copies no other.

use crate::Array;
use crate::value::List;
use mil::{DataType, OpError, Params, Type};
use std::sync::Arc;

/// A list of so many elements.
pub(crate) fn make(p: &Params, ty: &Type, max: usize) -> Result<List, OpError> {
    let element = match ty {
        Type::List { element, .. } => element.as_tensor().cloned(),
        _ => None,
    };
    let element = element.ok_or_else(|| p.error("a list holds tensors"))?;
    let length = p.int("init_length")?;
    let mut list = List { element, fixed: !p.bool("dynamic_length")?, items: vec![] };
    let length = usize::try_from(length).map_err(|_| p.error(format!("`init_length` is {length}")));
    grow(p, &mut list, length?, max)?;
    Ok(list)
}

/// Makes sure that there are so many elements.
fn grow(p: &Params, list: &mut List, length: usize, max: usize) -> Result<(), OpError> {
    let each = list.element.fixed_dims().and_then(|d| mil::element_count(&d)).unwrap_or(1);
    match length.checked_mul(each.max(1)) {
        Some(count) if count <= max => {
            if list.items.len() < length {
                list.items.resize(length, None);
            }
            Ok(())
        }
        _ => Err(p.error(format!(
            "a list of {length} elements of type {} would be larger than {max} elements",
            list.element
        ))),
    }
}

/// Puts an element in its place; a list of dynamic length grows as far as it must.
pub(crate) fn write(
    p: &Params,
    list: &mut List,
    index: i64,
    value: Array,
    max: usize,
) -> Result<(), OpError> {
    let length = list.items.len();
    let outside = || p.error(format!("index {index} is outside a list of {length} elements"));
    let at = usize::try_from(index).map_err(|_| outside())?;
    if at >= length {
        if list.fixed {
            return Err(outside());
        }
        grow(p, list, at.saturating_add(1), max)?;
    }
    list.items[at] = Some(Arc::new(value));
    Ok(())
}

/// An element.
pub(crate) fn read(p: &Params, list: &List, index: i64) -> Result<Array, OpError> {
    let length = list.items.len();
    let item = usize::try_from(index).ok().and_then(|at| list.items.get(at));
    match item {
        None => Err(p.error(format!("index {index} is outside a list of {length} elements"))),
        Some(Some(array)) => Ok((**array).clone()),
        Some(None) => match list.element.fixed_dims() {
            Some(dims) => Ok(zeros(list.element.dtype, &dims)),
            None => Err(p.error(format!(
                "element {index} was not written, and the sizes in {} are open",
                list.element
            ))),
        },
    }
}

/// Elements along a new first axis.
pub(crate) fn gather(
    p: &Params,
    list: &List,
    indices: &[i64],
    max: usize,
) -> Result<Array, OpError> {
    let items: Vec<Array> = indices.iter().map(|&i| read(p, list, i)).collect::<Result<_, _>>()?;
    let dims = match items.first() {
        Some(first) => first.dims().to_vec(),
        None => list
            .element
            .fixed_dims()
            .ok_or_else(|| p.error("no elements are gathered, so their sizes are not known"))?,
    };
    if let Some(other) = items.iter().find(|item| item.dims() != dims) {
        let other = other.dims();
        return Err(p.error(format!("elements of shapes {dims:?} and {other:?} do not stack")));
    }
    let each = mil::element_count(&dims).unwrap_or(usize::MAX);
    if each.checked_mul(items.len()).is_none_or(|count| count > max) {
        return Err(p.error(format!("the result would have more than {max} elements")));
    }
    let mut whole = vec![items.len()];
    whole.extend(&dims);
    let dtype = list.element.dtype;
    Ok(match dtype.is_float() {
        true => Array::floats(dtype, &whole, items.iter().flat_map(Array::to_f64s).collect()),
        false => Array::ints(dtype, &whole, items.iter().flat_map(Array::to_i64s).collect()),
    })
}

/// Writes the slices of `value` along its first axis.
pub(crate) fn scatter(
    p: &Params,
    list: &mut List,
    indices: &[i64],
    value: &Array,
    max: usize,
) -> Result<(), OpError> {
    let Some((&count, dims)) = value.dims().split_first() else {
        return Err(p.error("`value` must not be a scalar"));
    };
    if count != indices.len() {
        let places = indices.len();
        return Err(p.error(format!("`value` has {count} slices for {places} indices")));
    }
    let each: usize = dims.iter().product();
    for (i, &index) in indices.iter().enumerate() {
        write(p, list, index, value.pick(dims, i * each..(i + 1) * each), max)?;
    }
    Ok(())
}

fn zeros(dtype: DataType, dims: &[usize]) -> Array {
    let count = dims.iter().product();
    match dtype.is_float() {
        true => Array::floats(dtype, dims, vec![0.0; count]),
        false => Array::ints(dtype, dims, vec![0; count]),
    }
}
