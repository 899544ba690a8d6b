//! Constants: the values that stand in a program's text or in its weight files.

use crate::round::to_odd_f32;
use crate::{DataType, TensorType, Type};
use half::{bf16, f16};
use std::sync::Arc;

/// A constant of any type.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// A tensor whose elements are in the program.
    Tensor(Tensor),
    /// A tensor whose elements are in a weight file (`BLOBFILE`).
    Blob(BlobRef),
    /// `(a, b, …)`.
    Tuple(Vec<Literal>),
    /// A list; `ty` is the type of the whole list.
    List {
        /// The list's type, needed where it is empty.
        ty: Type,
        /// Its elements.
        items: Vec<Literal>,
    },
    /// `{{key, value}, …}` in file order; `ty` is the type of the whole dictionary.
    Dict {
        /// The dictionary's type, needed where it is empty.
        ty: Type,
        /// Its entries.
        entries: Vec<(Literal, Literal)>,
    },
}

/// Where a tensor's elements are: `offset` is the byte position of the record's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlobRef {
    /// Element type.
    pub dtype: DataType,
    /// Dimensions.
    pub dims: Vec<usize>,
    /// Path as written, normally beginning with `@model_path/`.
    pub path: String,
    /// Byte position of the record's 64-byte metadata in the file.
    pub offset: u64,
}

/// A tensor constant: row-major, little-endian, sub-byte elements packed from the low bit up.
/// Equality is bit for bit, so a NaN equals itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    dtype: DataType,
    dims: Vec<usize>,
    data: Data,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Data {
    /// Not `Arc<[u8]>`, which a vector would have to be copied into.
    Bytes(Arc<Vec<u8>>),
    Strings(Arc<[String]>),
}

/// Why a tensor constant cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The element count does not fit the shape.
    #[error("{dtype} of shape {dims:?} takes {expected} {unit}, found {found}")]
    Size {
        /// Element type.
        dtype: DataType,
        /// Dimensions.
        dims: Vec<usize>,
        /// `bytes` or `elements`.
        unit: &'static str,
        /// What the shape asks for.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// The shape has more elements than memory can address.
    #[error("shape {0:?} has too many elements")]
    Huge(Vec<usize>),
    /// Strings were given for a number type or the other way round.
    #[error("{0} cannot hold these elements")]
    Kind(DataType),
}

impl Tensor {
    /// A tensor from packed little-endian bytes. Not for strings.
    pub fn from_bytes(
        dtype: DataType,
        dims: &[usize],
        bytes: impl Into<Vec<u8>>,
    ) -> Result<Tensor, TensorError> {
        if dtype == DataType::String {
            return Err(TensorError::Kind(dtype));
        }
        let bytes = bytes.into();
        let expected = element_count(dims)
            .and_then(|n| dtype.packed_bytes(n))
            .ok_or_else(|| TensorError::Huge(dims.to_vec()))?;
        if bytes.len() != expected {
            return Err(size_error(dtype, dims, "bytes", expected, bytes.len()));
        }
        Ok(Tensor { dtype, dims: dims.to_vec(), data: Data::Bytes(Arc::new(bytes)) })
    }

    /// A string tensor.
    pub fn from_strings(dims: &[usize], strings: Vec<String>) -> Result<Tensor, TensorError> {
        check_count(DataType::String, dims, strings.len())?;
        let data = Data::Strings(strings.into());
        Ok(Tensor { dtype: DataType::String, dims: dims.to_vec(), data })
    }

    /// A float tensor; every element is rounded to `dtype` (to nearest, ties to even).
    pub fn from_f64s(
        dtype: DataType,
        dims: &[usize],
        values: &[f64],
    ) -> Result<Tensor, TensorError> {
        check_count(dtype, dims, values.len())?;
        let mut bytes = Vec::with_capacity(values.len() * dtype.bits() / 8);
        for &v in values {
            match dtype {
                DataType::Fp16 => bytes.extend(f16::from_f32(to_odd_f32(v)).to_le_bytes()),
                DataType::Bf16 => bytes.extend(bf16::from_f32(to_odd_f32(v)).to_le_bytes()),
                DataType::Fp32 => bytes.extend((v as f32).to_le_bytes()),
                DataType::Fp64 => bytes.extend(v.to_le_bytes()),
                DataType::Fp8E4M3Fn | DataType::Fp8E5M2 => bytes.push(crate::fp8::encode(dtype, v)),
                _ => return Err(TensorError::Kind(dtype)),
            }
        }
        Tensor::from_bytes(dtype, dims, bytes)
    }

    /// An integer or bool tensor; every element keeps its low bits.
    pub fn from_i64s(
        dtype: DataType,
        dims: &[usize],
        values: &[i64],
    ) -> Result<Tensor, TensorError> {
        check_count(dtype, dims, values.len())?;
        if dtype == DataType::Bool {
            let bytes: Vec<u8> = values.iter().map(|&v| u8::from(v != 0)).collect();
            return Tensor::from_bytes(dtype, dims, bytes);
        }
        if !dtype.is_int() {
            return Err(TensorError::Kind(dtype));
        }
        let bits = dtype.bits();
        let mut bytes = vec![0u8; dtype.packed_bytes(values.len()).unwrap_or(0)];
        for (i, &v) in values.iter().enumerate() {
            if bits >= 8 {
                let width = bits / 8;
                bytes[i * width..][..width].copy_from_slice(&v.to_le_bytes()[..width]);
            } else {
                for bit in 0..bits {
                    let at = i * bits + bit;
                    bytes[at / 8] |= (((v >> bit) & 1) as u8) << (at % 8);
                }
            }
        }
        Tensor::from_bytes(dtype, dims, bytes)
    }

    /// A rank-0 float.
    pub fn float(dtype: DataType, value: f64) -> Tensor {
        Tensor::from_f64s(dtype, &[], &[value]).expect("one element for a scalar of a float type")
    }

    /// A rank-0 `int32`.
    pub fn int32(value: i32) -> Tensor {
        let data = Data::Bytes(Arc::new(value.to_le_bytes().to_vec()));
        Tensor { dtype: DataType::Int32, dims: vec![], data }
    }

    /// A rank-1 `int32`.
    pub fn int32s(values: &[i64]) -> Tensor {
        Tensor::from_i64s(DataType::Int32, &[values.len()], values).expect("the count is the shape")
    }

    /// A rank-0 `bool`.
    pub fn bool(value: bool) -> Tensor {
        let data = Data::Bytes(Arc::new(vec![u8::from(value)]));
        Tensor { dtype: DataType::Bool, dims: vec![], data }
    }

    /// A rank-0 `string`.
    pub fn string(value: &str) -> Tensor {
        let data = Data::Strings(Arc::from([value.to_owned()]));
        Tensor { dtype: DataType::String, dims: vec![], data }
    }

    /// Element type.
    pub fn dtype(&self) -> DataType {
        self.dtype
    }

    /// Dimensions.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.dims.iter().product()
    }

    /// Type of the tensor.
    pub fn ty(&self) -> TensorType {
        TensorType::fixed(self.dtype, &self.dims)
    }

    /// The packed bytes; empty for strings.
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Bytes(bytes) => bytes,
            Data::Strings(_) => &[],
        }
    }

    /// The strings; empty for numbers.
    pub fn strings(&self) -> &[String] {
        match &self.data {
            Data::Bytes(_) => &[],
            Data::Strings(strings) => strings,
        }
    }

    /// Every element as a float, exactly (integers beyond 2^53 are rounded). Empty for strings.
    pub fn to_f64s(&self) -> Vec<f64> {
        let b = self.bytes();
        match self.dtype {
            DataType::Fp16 => words(b).map(|w| f16::from_le_bytes(w).to_f64()).collect(),
            DataType::Bf16 => words(b).map(|w| bf16::from_le_bytes(w).to_f64()).collect(),
            DataType::Fp32 => words(b).map(|w| f64::from(f32::from_le_bytes(w))).collect(),
            DataType::Fp64 => words(b).map(f64::from_le_bytes).collect(),
            DataType::Fp8E4M3Fn | DataType::Fp8E5M2 => {
                b.iter().map(|&byte| crate::fp8::decode(self.dtype, byte)).collect()
            }
            _ => self.to_i64s().into_iter().map(|v| v as f64).collect(),
        }
    }

    /// Every element as an integer; floats are truncated towards zero, `uint64` wraps.
    /// Empty for strings.
    pub fn to_i64s(&self) -> Vec<i64> {
        if self.dtype.is_float() {
            return self.to_f64s().into_iter().map(|v| v as i64).collect();
        }
        let (b, bits) = (self.bytes(), self.dtype.bits());
        if self.dtype == DataType::String {
            return vec![];
        }
        (0..self.count())
            .map(|i| {
                let mut raw = 0u64;
                if bits >= 8 {
                    let width = bits / 8;
                    for (k, &byte) in b[i * width..][..width].iter().enumerate() {
                        raw |= u64::from(byte) << (8 * k);
                    }
                } else {
                    for bit in 0..bits {
                        let at = i * bits + bit;
                        raw |= u64::from(b[at / 8] >> (at % 8) & 1) << bit;
                    }
                }
                let unused = 64 - bits as u32;
                match self.dtype.is_unsigned() || self.dtype == DataType::Bool {
                    true => raw as i64,
                    false => ((raw << unused) as i64) >> unused,
                }
            })
            .collect()
    }

    /// The same elements under another shape with as many elements.
    pub fn reshaped(mut self, dims: &[usize]) -> Result<Tensor, TensorError> {
        check_count(self.dtype, dims, self.count())?;
        self.dims = dims.to_vec();
        Ok(self)
    }
}

impl Literal {
    /// The type of the constant.
    pub fn ty(&self) -> Type {
        match self {
            Literal::Tensor(t) => Type::Tensor(t.ty()),
            Literal::Blob(b) => Type::tensor(b.dtype, &b.dims),
            Literal::Tuple(items) => Type::Tuple(items.iter().map(Literal::ty).collect()),
            Literal::List { ty, .. } | Literal::Dict { ty, .. } => ty.clone(),
        }
    }

    /// The tensor, if its elements are in the program.
    pub fn as_tensor(&self) -> Option<&Tensor> {
        match self {
            Literal::Tensor(t) => Some(t),
            _ => None,
        }
    }
}

impl From<Tensor> for Literal {
    fn from(t: Tensor) -> Literal {
        Literal::Tensor(t)
    }
}

/// The number of elements of a shape, or `None` if that overflows.
pub fn element_count(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

fn check_count(dtype: DataType, dims: &[usize], found: usize) -> Result<(), TensorError> {
    let expected = element_count(dims).ok_or_else(|| TensorError::Huge(dims.to_vec()))?;
    if expected == found {
        return Ok(());
    }
    Err(size_error(dtype, dims, "elements", expected, found))
}

fn size_error(
    dtype: DataType,
    dims: &[usize],
    unit: &'static str,
    expected: usize,
    found: usize,
) -> TensorError {
    TensorError::Size { dtype, dims: dims.to_vec(), unit, expected, found }
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}
