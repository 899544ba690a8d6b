//! `.safetensors`: a JSON header and the tensors' bytes.

use super::Tensors;
use anyhow::{Context, bail};
use mil::{DataType, Tensor};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use std::io::{Read, Write};

/// Element types with their names in the format.
const TYPES: [(DataType, Dtype); 15] = [
    (DataType::Bool, Dtype::BOOL),
    (DataType::Fp16, Dtype::F16),
    (DataType::Bf16, Dtype::BF16),
    (DataType::Fp32, Dtype::F32),
    (DataType::Fp64, Dtype::F64),
    (DataType::Int8, Dtype::I8),
    (DataType::Int16, Dtype::I16),
    (DataType::Int32, Dtype::I32),
    (DataType::Int64, Dtype::I64),
    (DataType::Uint8, Dtype::U8),
    (DataType::Uint16, Dtype::U16),
    (DataType::Uint32, Dtype::U32),
    (DataType::Uint64, Dtype::U64),
    (DataType::Fp8E4M3Fn, Dtype::F8_E4M3),
    (DataType::Fp8E5M2, Dtype::F8_E5M2),
];

/// Whether the format has this element type.
pub fn holds(dtype: DataType) -> bool {
    TYPES.iter().any(|(d, _)| *d == dtype)
}

/// Reads every tensor of a file.
pub fn read(mut file: impl Read) -> anyhow::Result<Tensors> {
    let mut bytes = vec![];
    file.read_to_end(&mut bytes)?;
    let file = SafeTensors::deserialize(&bytes).context("not a .safetensors file")?;
    let mut tensors = Tensors::new();
    for (name, view) in file.iter() {
        let found = view.dtype();
        let Some(&(dtype, _)) = TYPES.iter().find(|(_, d)| *d == found) else {
            bail!("tensor `{name}`: elements of type {found:?} are not supported");
        };
        let mut data = view.data().to_vec();
        if dtype == DataType::Bool {
            data.iter_mut().for_each(|b| *b = u8::from(*b != 0));
        }
        let tensor = Tensor::from_bytes(dtype, view.shape(), data);
        tensors.insert(name.to_owned(), tensor.with_context(|| format!("tensor `{name}`"))?);
    }
    Ok(tensors)
}

/// Writes a file. Scalars are written as shape `[1]`.
pub fn write(file: &mut impl Write, tensors: &Tensors) -> anyhow::Result<()> {
    let mut views = vec![];
    for (name, tensor) in tensors {
        let dtype = tensor.dtype();
        let Some(&(_, kind)) = TYPES.iter().find(|(d, _)| *d == dtype) else {
            bail!("`{name}`: {dtype} cannot be written to .safetensors");
        };
        let dims = if tensor.dims().is_empty() { vec![1] } else { tensor.dims().to_vec() };
        views.push((name.as_str(), TensorView::new(kind, dims, tensor.bytes())?));
    }
    file.write_all(&serialize(views, None)?)?;
    Ok(())
}
