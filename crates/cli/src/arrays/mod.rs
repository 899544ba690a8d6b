//! Named tensors in files: `.npz` and `.safetensors`.

mod npy;
mod npz;
mod safetensors;

use anyhow::{Context, bail};
use interp::Array;
use mil::{AtomicFile, DataType, Tensor};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::path::Path;

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// NumPy's archive of arrays.
    Npz,
    /// Hugging Face's.
    Safetensors,
}

impl Format {
    /// The format that a file's extension names.
    pub fn of(path: &Path) -> anyhow::Result<Format> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("npz") => Ok(Format::Npz),
            Some("safetensors") => Ok(Format::Safetensors),
            _ => bail!("`{}`: expected a .npz or .safetensors file", path.display()),
        }
    }
}

/// Reads every tensor of a file.
pub fn read(path: &Path) -> anyhow::Result<Tensors> {
    let format = Format::of(path)?;
    let read = || {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            bail!("expected a file, found a folder");
        }
        read_from(BufReader::new(file), format)
    };
    read().with_context(|| format!("cannot read `{}`", path.display()))
}

fn read_from(file: impl Read + Seek, format: Format) -> anyhow::Result<Tensors> {
    match format {
        Format::Npz => npz::read(file),
        Format::Safetensors => safetensors::read(file),
    }
}

/// Writes tensors to a file, which takes its name when it is complete.
pub fn write(path: &Path, tensors: &Tensors) -> anyhow::Result<()> {
    let format = Format::of(path)?;
    let write = || {
        let mut file = AtomicFile::create(path)?;
        write_to(&mut file, format, tensors)?;
        Ok::<(), anyhow::Error>(file.commit()?)
    };
    write().with_context(|| format!("cannot write `{}`", path.display()))
}

fn write_to(
    file: &mut (impl Write + Seek),
    format: Format,
    tensors: &Tensors,
) -> anyhow::Result<()> {
    let holds = match format {
        Format::Npz => npy::holds,
        Format::Safetensors => safetensors::holds,
    };
    let tensors = tensors.iter().map(|(name, tensor)| {
        let held = holds(tensor.dtype());
        (name.clone(), if held { tensor.clone() } else { widened(tensor) })
    });
    let tensors = tensors.collect();
    match format {
        Format::Npz => npz::write(file, &tensors),
        Format::Safetensors => safetensors::write(file, &tensors),
    }
}

/// The same values in an element type that every format has; strings stay as they are.
fn widened(tensor: &Tensor) -> Tensor {
    let wider = match tensor.dtype() {
        DataType::Bf16 | DataType::Fp8E4M3Fn | DataType::Fp8E5M2 => DataType::Fp32,
        DataType::Int4 => DataType::Int8,
        dtype if dtype.is_unsigned() => DataType::Uint8,
        _ => return tensor.clone(),
    };
    Array::from_tensor(tensor).cast(wider).to_tensor()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn types_that_a_format_lacks_are_widened() {
        for dtype in DataType::all().filter(|d| *d != DataType::String) {
            let tensor = if dtype.is_float() {
                Tensor::from_f64s(dtype, &[3], &[-1.5, 0.25, 3.0]).unwrap()
            } else {
                Tensor::from_i64s(dtype, &[3], &[-1, 0, 3]).unwrap()
            };
            let tensors = Tensors::from([("t".to_owned(), tensor.clone())]);
            for format in [Format::Npz, Format::Safetensors] {
                let mut file = Cursor::new(vec![]);
                write_to(&mut file, format, &tensors).unwrap();
                file.set_position(0);
                let found = &read_from(file, format).unwrap()["t"];
                assert_eq!(found.to_f64s(), tensor.to_f64s(), "{dtype} in {format:?}");
                let same = found.dtype() == dtype;
                assert_eq!(same, found.dtype().bits() == dtype.bits(), "{dtype} in {format:?}");
            }
        }
        let tensors = Tensors::from([("s".to_owned(), Tensor::string("text"))]);
        for format in [Format::Npz, Format::Safetensors] {
            let error = write_to(&mut Cursor::new(vec![]), format, &tensors).unwrap_err();
            assert!(format!("{error:#}").starts_with("`s`: string cannot"), "{error:#}");
        }
    }
}
