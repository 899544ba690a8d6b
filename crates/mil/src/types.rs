//! The types of values: tensors, and the containers MIL builds from them.

use crate::DataType;
use std::fmt;

/// One dimension of a tensor type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Known when the program is written.
    Fixed(usize),
    /// Known only when the program runs; printed as `?`.
    Unknown,
}

/// The shape in a tensor type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// One entry per axis; empty for a scalar.
    Ranked(Vec<Dim>),
    /// Even the rank is unknown; printed as `tensor<T, ?>`.
    Unranked,
}

/// Element type and shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Element type.
    pub dtype: DataType,
    /// Shape, possibly with unknown dimensions.
    pub shape: Shape,
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// `tensor<fp16, [1, 64, 1, 256]>`; a scalar has rank 0.
    Tensor(TensorType),
    /// `list<T, n>`; `?` for a length that is not known.
    List {
        /// Type of every element.
        element: Box<Type>,
        /// Number of elements, if known.
        len: Option<usize>,
    },
    /// `tuple<A, B>`.
    Tuple(Vec<Type>),
    /// `dict<K, V>`.
    Dict(Box<Type>, Box<Type>),
    /// `state<T>`: persists from one evaluation to the next.
    State(Box<Type>),
}

impl TensorType {
    /// A tensor type whose dimensions are all known.
    pub fn fixed(dtype: DataType, dims: &[usize]) -> TensorType {
        TensorType { dtype, shape: Shape::Ranked(dims.iter().map(|&d| Dim::Fixed(d)).collect()) }
    }

    /// A rank-0 tensor type.
    pub fn scalar(dtype: DataType) -> TensorType {
        TensorType::fixed(dtype, &[])
    }

    /// The dimensions, if every one is known.
    pub fn fixed_dims(&self) -> Option<Vec<usize>> {
        self.dims()?.iter().map(|d| d.fixed()).collect()
    }

    /// The dimensions, if the rank is known.
    pub fn dims(&self) -> Option<&[Dim]> {
        match &self.shape {
            Shape::Ranked(dims) => Some(dims),
            Shape::Unranked => None,
        }
    }

    /// The rank, if known.
    pub fn rank(&self) -> Option<usize> {
        self.dims().map(<[Dim]>::len)
    }

    /// Whether one value can have both types: equal element type, and no dimension that is known
    /// in both and differs.
    pub fn compatible(&self, other: &TensorType) -> bool {
        self.dtype == other.dtype
            && match (self.dims(), other.dims()) {
                (Some(a), Some(b)) => {
                    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.compatible(*b))
                }
                _ => true,
            }
    }
}

impl Dim {
    /// The size, if known.
    pub fn fixed(self) -> Option<usize> {
        match self {
            Dim::Fixed(n) => Some(n),
            Dim::Unknown => None,
        }
    }

    /// Whether the two can be the same size.
    pub fn compatible(self, other: Dim) -> bool {
        self == other || self == Dim::Unknown || other == Dim::Unknown
    }
}

impl Type {
    /// A tensor type whose dimensions are all known.
    pub fn tensor(dtype: DataType, dims: &[usize]) -> Type {
        Type::Tensor(TensorType::fixed(dtype, dims))
    }

    /// A rank-0 tensor type.
    pub fn scalar(dtype: DataType) -> Type {
        Type::Tensor(TensorType::scalar(dtype))
    }

    /// The tensor type, if this is one.
    pub fn as_tensor(&self) -> Option<&TensorType> {
        match self {
            Type::Tensor(t) => Some(t),
            _ => None,
        }
    }

    /// Whether one value can have both types; see [`TensorType::compatible`].
    pub fn compatible(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::Tensor(a), Type::Tensor(b)) => a.compatible(b),
            (Type::List { element: a, len: n }, Type::List { element: b, len: m }) => {
                a.compatible(b) && (n.is_none() || m.is_none() || n == m)
            }
            (Type::Tuple(a), Type::Tuple(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.compatible(b))
            }
            (Type::Dict(ka, va), Type::Dict(kb, vb)) => ka.compatible(kb) && va.compatible(vb),
            (Type::State(a), Type::State(b)) => a.compatible(b),
            _ => false,
        }
    }
}

impl From<TensorType> for Type {
    fn from(t: TensorType) -> Type {
        Type::Tensor(t)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(n) => write!(f, "{n}"),
            Dim::Unknown => f.write_str("?"),
        }
    }
}

/// The 1.3 spelling: a scalar is its bare element type.
impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shape {
            Shape::Ranked(dims) if dims.is_empty() => write!(f, "{}", self.dtype),
            Shape::Ranked(dims) => {
                write!(f, "tensor<{}, [", self.dtype)?;
                write_list(f, dims)?;
                f.write_str("]>")
            }
            Shape::Unranked => write!(f, "tensor<{}, ?>", self.dtype),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Tensor(t) => t.fmt(f),
            Type::List { element, len: Some(n) } => write!(f, "list<{element}, {n}>"),
            Type::List { element, len: None } => write!(f, "list<{element}, ?>"),
            Type::Tuple(items) => {
                f.write_str("tuple<")?;
                write_list(f, items)?;
                f.write_str(">")
            }
            Type::Dict(k, v) => write!(f, "dict<{k}, {v}>"),
            Type::State(t) => write!(f, "state<{t}>"),
        }
    }
}

fn write_list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
    }
    Ok(())
}
