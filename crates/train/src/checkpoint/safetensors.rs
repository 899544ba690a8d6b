//! The safetensors format: written as a stream, read tensor by tensor, never whole in memory.

use super::{Error, Tensor, file_error, format_error};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The longest header that is read, as in the format's own library.
const MAX_HEADER: u64 = 100_000_000;

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

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The type's name in the file, such as `F32`.
    pub dtype: String,
    /// The dimensions.
    pub dims: Vec<usize>,
    /// Where its bytes begin in the file.
    start: u64,
}

impl TensorInfo {
    fn describe(&self) -> String {
        format!("{} {:?}", self.dtype, self.dims)
    }
}

/// A file of tensors: its header is in memory, its data are not.
#[derive(Debug)]
pub struct SafeTensors {
    path: PathBuf,
    file: File,
    tensors: BTreeMap<String, TensorInfo>,
}

impl SafeTensors {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// If the file cannot be read or its header is not valid.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut file = File::open(path).map_err(file_error(path))?;
        let size = file.metadata().map_err(file_error(path))?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length)
            .map_err(|_| format_error(path, "too short for a safetensors file"))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER || length > size.saturating_sub(8) {
            let reason = format!("a header of {length} bytes does not fit a file of {size}");
            return Err(format_error(path, reason));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(file_error(path))?;
        let header: BTreeMap<String, Value> = serde_json::from_slice(&header)
            .map_err(|error| format_error(path, format!("header: {error}")))?;
        let mut tensors = BTreeMap::new();
        for (name, value) in header {
            if name == "__metadata__" {
                continue;
            }
            let info = tensor_info(&value, size - 8 - length)
                .map_err(|reason| format_error(path, format!("tensor `{name}`: {reason}")))?;
            tensors.insert(name, TensorInfo { start: info.start + 8 + length, ..info });
        }
        Ok(Self { path: path.to_owned(), file, tensors })
    }

    /// Its tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// Reads an f32 tensor of the dimensions given.
    ///
    /// # Errors
    /// If there is none of this name, its type or dimensions differ, or the file cannot be read.
    ///
    /// # Panics
    /// If `out` does not have as many values as the dimensions say.
    pub fn read(&mut self, name: &str, dims: &[usize], out: &mut [f32]) -> Result<(), Error> {
        let path = &self.path;
        let info = self
            .tensors
            .get(name)
            .ok_or_else(|| Error::NoTensor { path: path.clone(), name: name.to_owned() })?;
        if info.dtype != "F32" || info.dims != dims {
            return Err(Error::Shape {
                path: path.clone(),
                name: name.to_owned(),
                expected: format!("F32 {dims:?}"),
                found: info.describe(),
            });
        }
        assert_eq!(out.len(), dims.iter().product::<usize>(), "room for `{name}`");
        self.file.seek(SeekFrom::Start(info.start)).map_err(file_error(path))?;
        let mut bytes = vec![0; 4 * BLOCK.min(out.len())];
        for block in out.chunks_mut(BLOCK) {
            let bytes = &mut bytes[..4 * block.len()];
            self.file.read_exact(bytes).map_err(file_error(path))?;
            for (value, bytes) in block.iter_mut().zip(bytes.as_chunks().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        Ok(())
    }
}

/// Checks one entry of a header; its start is relative to the data.
fn tensor_info(value: &Value, room: u64) -> Result<TensorInfo, String> {
    let dtype = value["dtype"].as_str().ok_or("no `dtype`")?.to_owned();
    let dims: Vec<usize> = serde_json::from_value(value["shape"].clone())
        .map_err(|_| "`shape` is not a list of sizes")?;
    let [start, end]: [u64; 2] = serde_json::from_value(value["data_offsets"].clone())
        .map_err(|_| "`data_offsets` is not a pair of positions")?;
    if start > end || end > room {
        return Err(format!("bytes {start}..{end} are not within the {room} bytes of data"));
    }
    let width = match dtype.as_str() {
        "F64" | "I64" | "U64" => 8,
        "F32" | "I32" | "U32" => 4,
        "F16" | "BF16" | "I16" | "U16" => 2,
        "I8" | "U8" | "BOOL" | "F8_E4M3" | "F8_E5M2" => 1,
        _ => return Err(format!("unknown type `{dtype}`")),
    };
    let bytes = dims.iter().try_fold(width, |size: u64, &dim| size.checked_mul(dim as u64));
    if bytes != Some(end - start) {
        return Err(format!("{} bytes do not fit {dtype} {dims:?}", end - start));
    }
    Ok(TensorInfo { dtype, dims, start })
}
