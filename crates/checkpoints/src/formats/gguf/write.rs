//! Writing a file.

use super::{ALIGNMENT, MAGIC, Value};
use crate::output::{Planned, Visit, write_data};
use crate::{Encoding, Error};
use std::io::Write;
use std::path::Path;

/// Writes a file of version 3. `visit` is called once for each tensor, in order.
///
/// # Errors
/// If writing fails, a number does not fit its encoding, or `visit` fails.
pub fn write(
    path: &Path,
    out: &mut dyn Write,
    metadata: &[(String, Value)],
    tensors: &[Planned],
    visit: Visit<'_>,
) -> Result<(), Error> {
    let mut header = MAGIC.to_vec();
    header.extend(3_u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut header, key);
        add(&mut header, value);
    }
    let mut offset = 0_u64;
    for tensor in tensors {
        text(&mut header, &tensor.name);
        header.extend((tensor.dims.len() as u32).to_le_bytes());
        for &dim in tensor.dims.iter().rev() {
            header.extend((dim as u64).to_le_bytes());
        }
        let kind: u32 = match tensor.encoding {
            Encoding::F32 => 0,
            Encoding::F16 => 1,
            Encoding::Q8_0 => 8,
            Encoding::BF16 => 30,
            other => {
                let reason = format!("{other} is not written to GGUF files");
                return Err(Error::tensor(path, &tensor.name, reason));
            }
        };
        header.extend(kind.to_le_bytes());
        header.extend(offset.to_le_bytes());
        offset += tensor.size().next_multiple_of(ALIGNMENT);
    }
    header.resize((header.len() as u64).next_multiple_of(ALIGNMENT) as usize, 0);
    out.write_all(&header).map_err(Error::file(path))?;
    write_data(path, out, tensors, ALIGNMENT, visit)
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn add(out: &mut Vec<u8>, value: &Value) {
    let list = |out: &mut Vec<u8>, kind: u32, length: usize| {
        out.extend(9_u32.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend((length as u64).to_le_bytes());
    };
    let mut plain = |kind: u32, bytes: &[u8]| {
        out.extend(kind.to_le_bytes());
        out.extend(bytes);
    };
    match value {
        Value::U8(n) => plain(0, &n.to_le_bytes()),
        Value::I8(n) => plain(1, &n.to_le_bytes()),
        Value::U16(n) => plain(2, &n.to_le_bytes()),
        Value::I16(n) => plain(3, &n.to_le_bytes()),
        Value::U32(n) => plain(4, &n.to_le_bytes()),
        Value::I32(n) => plain(5, &n.to_le_bytes()),
        Value::F32(n) => plain(6, &n.to_le_bytes()),
        Value::Bool(flag) => plain(7, &[u8::from(*flag)]),
        Value::U64(n) => plain(10, &n.to_le_bytes()),
        Value::I64(n) => plain(11, &n.to_le_bytes()),
        Value::F64(n) => plain(12, &n.to_le_bytes()),
        Value::Text(content) => {
            plain(8, &[]);
            text(out, content);
        }
        Value::Texts(texts) => {
            list(out, 8, texts.len());
            texts.iter().for_each(|content| text(out, content));
        }
        Value::Floats(numbers) => {
            list(out, 6, numbers.len());
            out.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
        }
        // As i32, the only kind that the lists in use have, where they fit.
        Value::Integers(numbers) => {
            let narrow: Result<Vec<i32>, _> = numbers.iter().map(|&n| i32::try_from(n)).collect();
            match narrow {
                Ok(narrow) => {
                    list(out, 5, narrow.len());
                    out.extend(narrow.iter().flat_map(|n| n.to_le_bytes()));
                }
                Err(_) => {
                    list(out, 11, numbers.len());
                    out.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
                }
            }
        }
    }
}
