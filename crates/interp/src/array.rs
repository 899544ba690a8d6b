//! The values that the interpreter computes with.

use mil::{DataType, Tensor};

/// A tensor in a form that is easy to read: floats as f64, integers as i64, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    dtype: DataType,
    dims: Vec<usize>,
    data: Data,
}

/// An array's elements.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Of a float type.
    Float(Vec<f64>),
    /// Of an integer type; bools are 0 and 1.
    Int(Vec<i64>),
    /// Strings.
    Strings(Vec<String>),
}

impl Array {
    /// An array of floats, not rounded.
    ///
    /// # Panics
    /// If the number of elements is not that of the shape.
    pub fn floats(dtype: DataType, dims: &[usize], values: Vec<f64>) -> Array {
        assert_eq!(dims.iter().product::<usize>(), values.len(), "one element for each index");
        Array { dtype, dims: dims.to_vec(), data: Data::Float(values) }
    }

    /// An array of integers or bools.
    ///
    /// # Panics
    /// If the number of elements is not that of the shape.
    pub fn ints(dtype: DataType, dims: &[usize], values: Vec<i64>) -> Array {
        assert_eq!(dims.iter().product::<usize>(), values.len(), "one element for each index");
        Array { dtype, dims: dims.to_vec(), data: Data::Int(values) }
    }

    /// The elements of a constant.
    pub fn from_tensor(tensor: &Tensor) -> Array {
        let (dtype, dims) = (tensor.dtype(), tensor.dims().to_vec());
        let data = if dtype == DataType::String {
            Data::Strings(tensor.strings().to_vec())
        } else if dtype.is_float() {
            Data::Float(tensor.to_f64s())
        } else {
            Data::Int(tensor.to_i64s())
        };
        Array { dtype, dims, data }
    }

    /// The array as a constant: floats are rounded to the element type.
    pub fn to_tensor(&self) -> Tensor {
        let made = match &self.data {
            Data::Float(values) => Tensor::from_f64s(self.dtype, &self.dims, values),
            Data::Int(values) => Tensor::from_i64s(self.dtype, &self.dims, values),
            Data::Strings(values) => Tensor::from_strings(&self.dims, values.clone()),
        };
        made.expect("an array holds as many elements as its shape, of its type's kind")
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

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The elements as floats, whatever their type; none for strings.
    pub fn to_f64s(&self) -> Vec<f64> {
        match &self.data {
            Data::Float(values) => values.clone(),
            Data::Int(values) => values.iter().map(|&v| v as f64).collect(),
            Data::Strings(_) => vec![],
        }
    }

    /// The elements as integers, floats truncated towards zero; none for strings.
    pub fn to_i64s(&self) -> Vec<i64> {
        match &self.data {
            Data::Float(values) => values.iter().map(|&v| v as i64).collect(),
            Data::Int(values) => values.clone(),
            Data::Strings(_) => vec![],
        }
    }

    /// The same elements under other dims.
    ///
    /// # Panics
    /// If the number of elements differs.
    pub fn with_dims(mut self, dims: &[usize]) -> Array {
        assert_eq!(dims.iter().product::<usize>(), self.count(), "a reshape keeps every element");
        self.dims = dims.to_vec();
        self
    }

    /// The elements at these row-major positions, as an array of these dims.
    pub(crate) fn pick(&self, dims: &[usize], positions: impl Iterator<Item = usize>) -> Array {
        let data = match &self.data {
            Data::Float(values) => Data::Float(positions.map(|p| values[p]).collect()),
            Data::Int(values) => Data::Int(positions.map(|p| values[p]).collect()),
            Data::Strings(values) => Data::Strings(positions.map(|p| values[p].clone()).collect()),
        };
        Array { dtype: self.dtype, dims: dims.to_vec(), data }
    }

    /// The elements converted to another type: float to integer truncates towards zero, integers
    /// keep their low bits, to bool is `x ≠ 0`. Floats are not rounded.
    pub fn cast(&self, dtype: DataType) -> Array {
        let data = match (&self.data, dtype.is_float()) {
            (Data::Strings(_), _) => self.data.clone(),
            (_, true) => Data::Float(self.to_f64s()),
            (Data::Float(values), false) if dtype == DataType::Bool => {
                Data::Int(values.iter().map(|&v| i64::from(v != 0.0)).collect())
            }
            (_, false) => Data::Int(self.to_i64s().iter().map(|&v| wrap(dtype, v)).collect()),
        };
        Array { dtype, dims: self.dims.clone(), data }
    }

    /// Every float rounded to the element type; integers kept to its bits.
    pub fn rounded(&self) -> Array {
        match &self.data {
            Data::Float(_) if self.dtype == DataType::Fp64 => self.clone(),
            Data::Float(_) => Array::from_tensor(&self.to_tensor()),
            _ => self.cast(self.dtype),
        }
    }
}

/// The low bits of `value`, as the integer type reads them.
pub(crate) fn wrap(dtype: DataType, value: i64) -> i64 {
    if dtype == DataType::Bool {
        return i64::from(value != 0);
    }
    let unused = 64 - dtype.bits() as u32;
    match dtype.is_unsigned() {
        true => (((value as u64) << unused) >> unused) as i64,
        false => (value << unused) >> unused,
    }
}
