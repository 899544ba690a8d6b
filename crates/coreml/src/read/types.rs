//! Types of values.

use crate::proto::{self, dimension, value_type};
use mil::shape::MAX_RANK;
use mil::{DataType, Dim, Shape, TensorType, Type};

/// Types and constants that contain one another deeper than this are refused.
pub(crate) const MAX_DEPTH: usize = 64;

/// The numbers of element types in `MIL.proto`.
const CODES: [(DataType, i32); 22] = [
    (DataType::Bool, 1),
    (DataType::String, 2),
    (DataType::Fp16, 10),
    (DataType::Fp32, 11),
    (DataType::Fp64, 12),
    (DataType::Bf16, 13),
    (DataType::Int8, 21),
    (DataType::Int16, 22),
    (DataType::Int32, 23),
    (DataType::Int64, 24),
    (DataType::Int4, 25),
    (DataType::Uint8, 31),
    (DataType::Uint16, 32),
    (DataType::Uint32, 33),
    (DataType::Uint64, 34),
    (DataType::Uint4, 35),
    (DataType::Uint2, 36),
    (DataType::Uint1, 37),
    (DataType::Uint6, 38),
    (DataType::Uint3, 39),
    (DataType::Fp8E4M3Fn, 40),
    (DataType::Fp8E5M2, 41),
];

/// The number of an element type.
pub(crate) fn code(dtype: DataType) -> i32 {
    let row = CODES.iter().find(|(d, _)| *d == dtype);
    row.expect("every element type has a number").1
}

/// The type that a message stands for, or what is wrong with it.
pub(crate) fn ty(message: Option<&proto::ValueType>, depth: usize) -> Result<Type, String> {
    if depth > MAX_DEPTH {
        return Err(format!("a type nests more than {MAX_DEPTH} deep"));
    }
    let inner = |message: &Option<Box<proto::ValueType>>| ty(message.as_deref(), depth + 1);
    match message.and_then(|message| message.kind.as_ref()) {
        None => Err("a type is missing".into()),
        Some(value_type::Kind::Tensor(tensor)) => Ok(Type::Tensor(tensor_type(tensor)?)),
        Some(value_type::Kind::List(list)) => {
            let element = Box::new(inner(&list.ty)?);
            let len = match list.length.as_ref().map(dim).transpose()? {
                Some(Dim::Fixed(n)) => Some(n),
                Some(Dim::Unknown) | None => None,
            };
            Ok(Type::List { element, len })
        }
        Some(value_type::Kind::Tuple(tuple)) => {
            let items = tuple.types.iter().map(|item| ty(Some(item), depth + 1));
            Ok(Type::Tuple(items.collect::<Result<_, _>>()?))
        }
        Some(value_type::Kind::Dictionary(dictionary)) => {
            let key = Box::new(inner(&dictionary.key)?);
            Ok(Type::Dict(key, Box::new(inner(&dictionary.value)?)))
        }
        Some(value_type::Kind::State(state)) => Ok(Type::State(Box::new(inner(&state.wrapped)?))),
    }
}

fn tensor_type(message: &proto::TensorType) -> Result<TensorType, String> {
    let code = message.data_type;
    let dtype = CODES.iter().find(|(_, c)| *c == code).map(|(dtype, _)| *dtype);
    let dtype = dtype.ok_or_else(|| format!("{code} is not the number of an element type"))?;
    let dims = &message.dimensions;
    let rank = if dims.is_empty() { message.rank } else { dims.len() as i64 };
    if is_variadic(dims) || rank < 0 {
        return Ok(TensorType { dtype, shape: Shape::Unranked });
    }
    if rank > MAX_RANK as i64 {
        return Err(format!("a tensor has rank {rank}; at most {MAX_RANK} are supported"));
    }
    let dims = match dims.is_empty() {
        // A rank without dimensions.
        true => vec![Dim::Unknown; rank as usize],
        false => dims.iter().map(dim).collect::<Result<_, _>>()?,
    };
    Ok(TensorType { dtype, shape: Shape::Ranked(dims) })
}

/// Whether one of them stands for any number of dimensions: then the rank is not known.
fn is_variadic(dims: &[proto::Dimension]) -> bool {
    let variadic = |dim: &proto::Dimension| matches!(&dim.kind, Some(dimension::Kind::Unknown(unknown)) if unknown.variadic);
    dims.iter().any(variadic)
}

fn dim(message: &proto::Dimension) -> Result<Dim, String> {
    match &message.kind {
        Some(dimension::Kind::Constant(constant)) => {
            let size = usize::try_from(constant.size);
            size.map(Dim::Fixed).map_err(|_| format!("dimension {} is too large", constant.size))
        }
        Some(dimension::Kind::Unknown(_)) | None => Ok(Dim::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_type_has_its_own_number() {
        for dtype in DataType::all() {
            assert_eq!(CODES.iter().filter(|(d, _)| *d == dtype).count(), 1, "{dtype}");
            assert_eq!(CODES.iter().filter(|(_, c)| *c == code(dtype)).count(), 1, "{dtype}");
        }
    }
}
