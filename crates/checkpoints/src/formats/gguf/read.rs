//! Reading the header.

use super::{ALIGNMENT, Gguf, MAGIC, Metadata, Value};
use crate::input::Cursor;
use crate::tensors::Gaps;
use crate::{Encoding, Error, Input, TensorInfo, Tensors};
use std::path::Path;

/// The most bytes of metadata and list of tensors. The largest vocabularies take some 20 MB.
const MAX_HEADER: u64 = 1 << 27;

/// The most dimensions of a tensor, as ggml has it.
const MAX_DIMS: u32 = 4;

/// The most bytes of a key or a tensor's name.
const MAX_NAME: u64 = 1 << 16;

/// Reads the header of a file.
///
/// # Errors
/// If it is malformed.
pub fn read(input: Input) -> Result<Gguf, Error> {
    let mut header = Header { path: input.path(), cursor: input.cursor() };
    if header.cursor.array()? != *MAGIC {
        return Err(Error::format(input.path(), "not a GGUF file: it does not begin with `GGUF`"));
    }
    let version = header.cursor.u32()?;
    if !matches!(version, 2 | 3) {
        let reason = if matches!(version.swap_bytes(), 1..=3) {
            "its bytes are in big-endian order, which is not read".to_owned()
        } else {
            format!("version {version} of GGUF; versions 2 and 3 are read")
        };
        return Err(Error::format(input.path(), reason));
    }
    let (tensor_count, value_count) = (header.cursor.u64()?, header.cursor.u64()?);
    let mut metadata = Metadata { path: input.path().to_owned(), ..Metadata::default() };
    // The shortest entry: length and type of an empty key, and one byte.
    header.check_count(value_count, 13, "values")?;
    for _ in 0..value_count {
        let key = header.name("a key")?;
        let value = header.value().map_err(|error| within(&format!("`{key}`"), error))?;
        if metadata.values.insert(key.clone(), value).is_some() {
            return Err(header.refuse(format!("there are two values of `{key}`")));
        }
    }
    let alignment = metadata.size("general.alignment")?.unwrap_or(ALIGNMENT);
    if !alignment.is_power_of_two() || alignment > 1 << 20 {
        let reason = format!("`general.alignment` is {alignment}; it must be a power of two");
        return Err(header.refuse(reason));
    }
    // The shortest entry: an empty name, no dimensions, type and offset.
    header.check_count(tensor_count, 24, "tensors")?;
    let mut infos = vec![];
    for _ in 0..tensor_count {
        infos.push(header.tensor_info()?);
    }
    let data = header.cursor.position().next_multiple_of(alignment);
    for info in &mut infos {
        let refuse = |reason| Error::tensor(input.path(), &info.name, reason);
        if !info.start.is_multiple_of(alignment) {
            let reason = format!("its offset {} is no multiple of {alignment}", info.start);
            return Err(refuse(reason));
        }
        let start = info.start.checked_add(data);
        info.start = start.ok_or_else(|| refuse("its offset is beyond any file".to_owned()))?;
    }
    let mut tensors = Tensors::default();
    tensors.add(input, infos, Gaps::Fewer { from: data, than: alignment })?;
    Ok(Gguf { metadata, tensors })
}

/// An error of the part of a header that is named.
fn within(what: &str, error: Error) -> Error {
    match error {
        Error::Format { path, reason } => {
            Error::Format { path, reason: format!("{what}: {reason}") }
        }
        other => other,
    }
}

struct Header<'a> {
    path: &'a Path,
    cursor: Cursor<'a>,
}

impl Header<'_> {
    fn refuse(&self, reason: impl ToString) -> Error {
        Error::format(self.path, reason)
    }

    /// Refuses a count that the rest of the file, or of what a header may have, cannot hold.
    fn check_count(&self, count: u64, least: u64, what: &str) -> Result<(), Error> {
        let room = self.cursor.left().min(MAX_HEADER.saturating_sub(self.cursor.position()));
        match count.checked_mul(least) {
            Some(bytes) if bytes <= room => Ok(()),
            _ => {
                let position = self.cursor.position();
                let reason =
                    format!("{count} {what} cannot be in the {room} bytes after byte {position}");
                Err(self.refuse(reason))
            }
        }
    }

    fn bytes(&mut self, length: u64, most: u64, what: &str) -> Result<Vec<u8>, Error> {
        if length > most {
            return Err(self.refuse(format!("{what} has {length} bytes; at most {most} are read")));
        }
        self.check_count(length, 1, "bytes")?;
        self.cursor.bytes(length)
    }

    fn text(&mut self, most: u64, what: &str) -> Result<String, Error> {
        let length = self.cursor.u64()?;
        let bytes = self.bytes(length, most, what)?;
        String::from_utf8(bytes).map_err(|_| self.refuse(format!("{what} is not UTF-8")))
    }

    fn name(&mut self, what: &str) -> Result<String, Error> {
        self.text(MAX_NAME, what)
    }

    fn value(&mut self) -> Result<Value, Error> {
        let kind = self.cursor.u32()?;
        Ok(match kind {
            0 => Value::U8(self.cursor.array::<1>()?[0]),
            1 => Value::I8(self.cursor.array::<1>()?[0] as i8),
            2 => Value::U16(u16::from_le_bytes(self.cursor.array()?)),
            3 => Value::I16(i16::from_le_bytes(self.cursor.array()?)),
            4 => Value::U32(self.cursor.u32()?),
            5 => Value::I32(self.cursor.u32()? as i32),
            6 => Value::F32(f32::from_le_bytes(self.cursor.array()?)),
            7 => match self.cursor.array::<1>()?[0] {
                flag @ (0 | 1) => Value::Bool(flag == 1),
                other => return Err(self.refuse(format!("it is the truth value {other}"))),
            },
            8 => Value::Text(self.text(MAX_HEADER, "it")?),
            9 => self.list()?,
            10 => Value::U64(self.cursor.u64()?),
            11 => Value::I64(self.cursor.u64()? as i64),
            12 => Value::F64(f64::from_le_bytes(self.cursor.array()?)),
            other => return Err(self.refuse(format!("it is of the unknown type {other}"))),
        })
    }

    fn list(&mut self) -> Result<Value, Error> {
        let kind = self.cursor.u32()?;
        let count = self.cursor.u64()?;
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => return Err(self.refuse("it is a list of lists, which is not read")),
            other => return Err(self.refuse(format!("it is a list of the unknown type {other}"))),
        };
        self.check_count(count, width, "elements")?;
        if kind == 8 {
            let texts = (0..count).map(|index| {
                let text = self.text(MAX_HEADER, "it");
                text.map_err(|error| within(&format!("element {index}"), error))
            });
            return Ok(Value::Texts(texts.collect::<Result<_, _>>()?));
        }
        let bytes = self.bytes(count * width, MAX_HEADER, "it")?;
        Ok(match kind {
            0 | 7 => Value::Integers(bytes.into_iter().map(i64::from).collect()),
            1 => Value::Integers(bytes.into_iter().map(|n| i64::from(n as i8)).collect()),
            2 => integers(&bytes, u16::from_le_bytes),
            3 => integers(&bytes, i16::from_le_bytes),
            4 => integers(&bytes, u32::from_le_bytes),
            5 => integers(&bytes, i32::from_le_bytes),
            6 => {
                Value::Floats(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
            }
            12 => {
                let numbers = bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32);
                Value::Floats(numbers.collect())
            }
            // Those beyond i64 have no use in a list.
            _ => integers(&bytes, i64::from_le_bytes),
        })
    }

    fn tensor_info(&mut self) -> Result<TensorInfo, Error> {
        let name = self.name("a tensor's name")?;
        self.described(&name).map_err(|error| match error {
            Error::Format { path, reason } => Error::Tensor { path, name, reason },
            other => other,
        })
    }

    /// What follows a tensor's name.
    fn described(&mut self, name: &str) -> Result<TensorInfo, Error> {
        let count = self.cursor.u32()?;
        if count > MAX_DIMS {
            let reason = format!("it has {count} dimensions; at most {MAX_DIMS} are read");
            return Err(self.refuse(reason));
        }
        let mut dims = vec![];
        for _ in 0..count {
            let dim = self.cursor.u64()?;
            let dim = usize::try_from(dim);
            dims.push(dim.map_err(|_| self.refuse("a dimension is too large"))?);
        }
        dims.reverse();
        let kind = self.cursor.u32()?;
        let encoding = encoding(kind);
        let encoding =
            encoding.ok_or_else(|| self.refuse(format!("its type {kind} is not known")))?;
        let start = self.cursor.u64()?;
        Ok(TensorInfo { name: name.to_owned(), dims, encoding, input: 0, start })
    }
}

fn integers<const N: usize, T: Into<i64>>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Value {
    Value::Integers(bytes.as_chunks().0.iter().map(|bytes| read(*bytes).into()).collect())
}

/// The encoding of a type of ggml.
fn encoding(kind: u32) -> Option<Encoding> {
    let other = |name, block, bytes| Encoding::Other { name, block, bytes };
    Some(match kind {
        0 => Encoding::F32,
        1 => Encoding::F16,
        2 => Encoding::Q4_0,
        3 => other("Q4_1", 32, 20),
        6 => other("Q5_0", 32, 22),
        7 => other("Q5_1", 32, 24),
        8 => Encoding::Q8_0,
        9 => other("Q8_1", 32, 40),
        10 => other("Q2_K", 256, 84),
        11 => other("Q3_K", 256, 110),
        12 => Encoding::Q4_K,
        13 => other("Q5_K", 256, 176),
        14 => Encoding::Q6_K,
        15 => other("Q8_K", 256, 292),
        16 => other("IQ2_XXS", 256, 66),
        17 => other("IQ2_XS", 256, 74),
        18 => other("IQ3_XXS", 256, 98),
        19 => other("IQ1_S", 256, 50),
        20 => other("IQ4_NL", 32, 18),
        21 => other("IQ3_S", 256, 110),
        22 => other("IQ2_S", 256, 82),
        23 => other("IQ4_XS", 256, 136),
        24 => other("I8", 1, 1),
        25 => other("I16", 1, 2),
        26 => other("I32", 1, 4),
        27 => other("I64", 1, 8),
        28 => Encoding::F64,
        29 => other("IQ1_M", 256, 56),
        30 => Encoding::BF16,
        34 => other("TQ1_0", 256, 54),
        35 => other("TQ2_0", 256, 66),
        39 => other("MXFP4", 32, 17),
        _ => return None,
    })
}
