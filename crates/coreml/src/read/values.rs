//! Constants.

use super::types::{MAX_DEPTH, ty};
use crate::proto::{self, immediate_value, tensor_value, value};
use mil::{BlobRef, DataType, Literal, Tensor, TensorType, Type, element_count};

/// The constant that a message stands for, or what is wrong with it.
pub(crate) fn literal(message: &proto::Value, depth: usize) -> Result<Literal, String> {
    if depth > MAX_DEPTH {
        return Err(format!("a constant nests more than {MAX_DEPTH} deep"));
    }
    let declared = ty(message.ty.as_ref(), depth)?;
    match &message.kind {
        None => Err(format!("a constant of type {declared} has no value")),
        Some(value::Kind::Blob(blob)) => {
            let (dtype, dims) = shape(&declared)?;
            if dtype == DataType::String {
                return Err("strings cannot be in a weight file".into());
            }
            let path = blob.file_name.clone();
            Ok(Literal::Blob(BlobRef { dtype, dims, path, offset: blob.offset }))
        }
        Some(value::Kind::Immediate(immediate)) => match (&immediate.kind, declared) {
            (None, declared) => Err(format!("a constant of type {declared} has no value")),
            (Some(immediate_value::Kind::Tensor(message)), declared) => {
                let (dtype, dims) = shape(&declared)?;
                tensor(message, dtype, &dims).map(Literal::Tensor)
            }
            (Some(immediate_value::Kind::Tuple(list)), Type::Tuple(types)) => {
                let items = items(list, depth)?;
                let fits = items.len() == types.len()
                    && items.iter().zip(&types).all(|(item, ty)| item.ty().compatible(ty));
                match fits {
                    true => Ok(Literal::Tuple(items)),
                    false => Err(mismatch(&Type::Tuple(types), &Literal::Tuple(items).ty())),
                }
            }
            (Some(immediate_value::Kind::List(list)), Type::List { element, len }) => {
                let items = items(list, depth)?;
                if let Some(item) = items.iter().find(|item| !item.ty().compatible(&element)) {
                    return Err(mismatch(&element, &item.ty()));
                }
                match len {
                    Some(len) if len != items.len() => {
                        Err(format!("a list of {len} items has {}", items.len()))
                    }
                    _ => Ok(Literal::List { ty: Type::List { element, len }, items }),
                }
            }
            (Some(immediate_value::Kind::Dictionary(dictionary)), Type::Dict(key, value)) => {
                let mut entries = vec![];
                for pair in &dictionary.values {
                    entries.push((
                        part(pair.key.as_ref(), &key, depth)?,
                        part(pair.value.as_ref(), &value, depth)?,
                    ));
                }
                Ok(Literal::Dict { ty: Type::Dict(key, value), entries })
            }
            (Some(kind), declared) => {
                let found = match kind {
                    immediate_value::Kind::Tensor(_) => "a tensor",
                    immediate_value::Kind::Tuple(_) => "a tuple",
                    immediate_value::Kind::List(_) => "a list",
                    immediate_value::Kind::Dictionary(_) => "a dictionary",
                };
                Err(format!("expected a constant of type {declared}, found {found}"))
            }
        },
    }
}

fn items(list: &proto::ValueList, depth: usize) -> Result<Vec<Literal>, String> {
    list.values.iter().map(|item| literal(item, depth + 1)).collect()
}

/// A key or a value of a dictionary.
fn part(message: Option<&proto::Value>, ty: &Type, depth: usize) -> Result<Literal, String> {
    let message = message.ok_or("an entry of a dictionary has no key or no value")?;
    let literal = literal(message, depth + 1)?;
    match literal.ty().compatible(ty) {
        true => Ok(literal),
        false => Err(mismatch(ty, &literal.ty())),
    }
}

fn mismatch(expected: &Type, found: &Type) -> String {
    format!("expected a constant of type {expected}, found one of {found}")
}

/// The element type and dims of a constant, which must be a tensor of a known shape.
fn shape(ty: &Type) -> Result<(DataType, Vec<usize>), String> {
    let fixed = |ty: &TensorType| Some((ty.dtype, ty.fixed_dims()?));
    let (dtype, dims) = ty
        .as_tensor()
        .and_then(fixed)
        .ok_or_else(|| format!("expected the type of a tensor whose shape is known, found {ty}"))?;
    match element_count(&dims).and_then(|count| dtype.packed_bytes(count)) {
        Some(_) => Ok((dtype, dims)),
        None => Err(format!("shape {dims:?} has too many elements")),
    }
}

/// A tensor. Every element type has its own place in the message; others are accepted as long as
/// the elements fit.
fn tensor(message: &proto::TensorValue, dtype: DataType, dims: &[usize]) -> Result<Tensor, String> {
    use tensor_value::Kind;
    let wrong = |found: &str| format!("expected elements of type {dtype}, found {found}");
    let made = match &message.kind {
        // Nothing at all is how some writers leave out what is empty.
        None if dtype == DataType::String => Tensor::from_strings(dims, vec![]),
        None => Tensor::from_bytes(dtype, dims, vec![]),
        Some(Kind::Strings(list)) if dtype == DataType::String => {
            Tensor::from_strings(dims, list.values.clone())
        }
        _ if dtype == DataType::String => return Err(wrong("numbers")),
        Some(Kind::Strings(_)) => return Err(wrong("strings")),
        Some(Kind::Floats(list)) if dtype == DataType::Fp32 => {
            let bytes: Vec<u8> = list.values.iter().flat_map(|v| v.to_le_bytes()).collect();
            Tensor::from_bytes(dtype, dims, bytes)
        }
        Some(Kind::Doubles(list)) if dtype == DataType::Fp64 => {
            let bytes: Vec<u8> = list.values.iter().flat_map(|v| v.to_le_bytes()).collect();
            Tensor::from_bytes(dtype, dims, bytes)
        }
        Some(Kind::Floats(list)) if dtype.is_float() => {
            let values: Vec<f64> = list.values.iter().map(|&v| f64::from(v)).collect();
            Tensor::from_f64s(dtype, dims, &values)
        }
        Some(Kind::Doubles(list)) if dtype.is_float() => {
            Tensor::from_f64s(dtype, dims, &list.values)
        }
        Some(Kind::Floats(_) | Kind::Doubles(_)) => return Err(wrong("floats")),
        Some(Kind::Bools(list)) if dtype == DataType::Bool => {
            let bytes: Vec<u8> = list.values.iter().map(|&v| u8::from(v)).collect();
            Tensor::from_bytes(dtype, dims, bytes)
        }
        Some(Kind::Bools(_)) => return Err(wrong("bools")),
        Some(Kind::Ints(list)) if dtype.is_int() => {
            let values: Vec<i64> = list.values.iter().map(|&v| i64::from(v)).collect();
            ints(dtype, dims, &values)?
        }
        Some(Kind::LongInts(list)) if dtype.is_int() => ints(dtype, dims, &list.values)?,
        Some(Kind::Ints(_) | Kind::LongInts(_)) => return Err(wrong("integers")),
        Some(Kind::Bytes(raw)) => return packed(&raw.values, dtype, dims),
    };
    made.map_err(|error| error.to_string())
}

fn ints(
    dtype: DataType,
    dims: &[usize],
    values: &[i64],
) -> Result<Result<Tensor, mil::TensorError>, String> {
    // An unsigned 64-bit number comes as the signed one of the same bits.
    let any = dtype == DataType::Uint64 || dtype == DataType::Int64;
    if let Some((low, high)) = dtype.int_range().filter(|_| !any)
        && let Some(value) = values.iter().find(|v| !(low..=high).contains(v))
    {
        return Err(format!("{value} is out of range for {dtype}"));
    }
    Ok(Tensor::from_i64s(dtype, dims, values))
}

/// A tensor of packed bytes. Bits behind the last element mean nothing, and are cleared so that
/// equal tensors are equal.
fn packed(bytes: &[u8], dtype: DataType, dims: &[usize]) -> Result<Tensor, String> {
    let used = element_count(dims).map_or(0, |n| n % 8 * dtype.bits() % 8);
    let made = match bytes {
        [rest @ .., last] if used != 0 && last >> used != 0 => {
            let mut clean = rest.to_vec();
            clean.push(last & ((1 << used) - 1));
            Tensor::from_bytes(dtype, dims, clean)
        }
        _ if dtype == DataType::Bool => {
            let clean: Vec<u8> = bytes.iter().map(|&b| u8::from(b != 0)).collect();
            Tensor::from_bytes(dtype, dims, clean)
        }
        _ => Tensor::from_bytes(dtype, dims, bytes),
    };
    made.map_err(|error| error.to_string())
}
