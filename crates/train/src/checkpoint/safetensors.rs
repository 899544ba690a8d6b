//! The safetensors format: written as a stream, read tensor by tensor, never whole in memory.

use super::{Error, Tensor};
use checkpoints::{Encoding, Input, TensorInfo, Tensors, formats::safetensors};
use serde_json::{Map, json};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Values converted at a time.
const BLOCK: usize = 1 << 14;

/// Writes tensors, all f32.
pub(super) fn write(out: &mut dyn Write, tensors: &[(String, &Tensor<'_>)]) -> std::io::Result<()> {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut offset = 0_u64;
    for (name, tensor) in tensors {
        let end = offset + 4 * tensor.data.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let info = json!({ "dtype": "F32", "shape": tensor.dims, "data_offsets": [offset, end] });
        if header.insert(name.clone(), info).is_some() {
            return Err(std::io::Error::other(format!("two tensors are named `{name}`")));
        }
        offset = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    // Data begin at a multiple of 64 bytes, for those who map the file into memory.
    let padded = (header.len() + 8).next_multiple_of(64) - 8;
    header.resize(padded, b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    let mut bytes = Vec::with_capacity(4 * BLOCK);
    for (_, tensor) in tensors {
        for block in tensor.data.iter().flat_map(|piece| piece.chunks(BLOCK)) {
            bytes.clear();
            bytes.extend(block.iter().flat_map(|value| value.to_le_bytes()));
            out.write_all(&bytes)?;
        }
    }
    Ok(())
}

/// A file of tensors: its header is in memory, its data are not.
#[derive(Debug)]
pub struct SafeTensors {
    path: PathBuf,
    tensors: Tensors,
}

impl SafeTensors {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// If the file cannot be read or its header is not valid.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let tensors = safetensors::read(Input::open(path)?)?;
        Ok(Self { path: path.to_owned(), tensors })
    }

    /// The tensor of a name.
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// Reads an f32 tensor of the dimensions given.
    ///
    /// # Errors
    /// If there is none of this name, its type or dimensions differ, or the file cannot be read.
    ///
    /// # Panics
    /// If `out` does not have as many values as the dimensions say.
    pub fn read(&self, name: &str, dims: &[usize], out: &mut [f32]) -> Result<(), Error> {
        let path = &self.path;
        let info = self
            .get(name)
            .ok_or_else(|| Error::NoTensor { path: path.clone(), name: name.to_owned() })?;
        if info.encoding != Encoding::F32 || info.dims != dims {
            return Err(Error::Shape {
                path: path.clone(),
                name: name.to_owned(),
                expected: format!("F32 {dims:?}"),
                found: info.describe(),
            });
        }
        assert_eq!(out.len(), dims.iter().product::<usize>(), "room for `{name}`");
        Ok(self.tensors.read(info, 0, out)?)
    }
}
