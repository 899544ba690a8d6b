//! NumPy's file for one array: a magic number, a header that is a Python dictionary, the elements.

use anyhow::{Context, bail};
use mil::{DataType, Tensor};
use std::io::Read;

const MAGIC: &[u8] = b"\x93NUMPY";

/// No honest header is longer; structured types, which have long ones, are not supported.
const LONGEST_HEADER: usize = 1 << 16;

/// Element types with NumPy's names for them. NumPy has no bf16.
const TYPES: [(DataType, &str); 12] = [
    (DataType::Bool, "b1"),
    (DataType::Fp16, "f2"),
    (DataType::Fp32, "f4"),
    (DataType::Fp64, "f8"),
    (DataType::Int8, "i1"),
    (DataType::Int16, "i2"),
    (DataType::Int32, "i4"),
    (DataType::Int64, "i8"),
    (DataType::Uint8, "u1"),
    (DataType::Uint16, "u2"),
    (DataType::Uint32, "u4"),
    (DataType::Uint64, "u8"),
];

/// What a header says.
#[derive(Debug, PartialEq)]
struct Header {
    dtype: DataType,
    big_endian: bool,
    fortran: bool,
    dims: Vec<usize>,
}

/// Whether the format has this element type.
pub fn holds(dtype: DataType) -> bool {
    TYPES.iter().any(|(d, _)| *d == dtype)
}

/// Reads an array of which there are `size` bytes, header included.
pub fn read(file: &mut impl Read, size: u64) -> anyhow::Result<Tensor> {
    let mut start = [0; 8];
    file.read_exact(&mut start).context("it is too short to be an array")?;
    if !start.starts_with(MAGIC) {
        bail!("it is not a NumPy array");
    }
    let (length, width) = match start[6] {
        1 => {
            let mut length = [0; 2];
            file.read_exact(&mut length).context("the header is cut off")?;
            (usize::from(u16::from_le_bytes(length)), 2)
        }
        2 | 3 => {
            let mut length = [0; 4];
            file.read_exact(&mut length).context("the header is cut off")?;
            (u32::from_le_bytes(length) as usize, 4)
        }
        version => bail!("NumPy format version {version} is not supported"),
    };
    if length > LONGEST_HEADER {
        bail!("its header claims {length} bytes; more than {LONGEST_HEADER} are not supported");
    }
    let mut header = vec![0; length];
    file.read_exact(&mut header).context("the header is cut off")?;
    let header = std::str::from_utf8(&header).context("the header is not text")?;
    let header = parse(header)?;
    let count = mil::element_count(&header.dims);
    let bytes = count.and_then(|n| header.dtype.packed_bytes(n));
    let Some(bytes) = bytes.filter(|&b| b <= isize::MAX as usize) else {
        bail!("shape {:?} has too many elements", header.dims);
    };
    // Checked before the memory is asked for.
    let found = size.saturating_sub((start.len() + width + length) as u64);
    if found != bytes as u64 {
        let Header { dtype, dims, .. } = header;
        bail!("{dtype} of shape {dims:?} takes {bytes} bytes, found {found}");
    }
    let mut data = vec![];
    file.take(bytes as u64).read_to_end(&mut data)?;
    let element = header.dtype.bits() / 8;
    if header.big_endian {
        data.chunks_exact_mut(element).for_each(<[u8]>::reverse);
    }
    if header.fortran && header.dims.len() > 1 && !data.is_empty() {
        data = row_major(&data, element, &header.dims);
    }
    if header.dtype == DataType::Bool {
        data.iter_mut().for_each(|b| *b = u8::from(*b != 0));
    }
    Ok(Tensor::from_bytes(header.dtype, &header.dims, data)?)
}

/// The file for an array. Scalars are written as shape `[1]`.
pub fn bytes(tensor: &Tensor) -> anyhow::Result<Vec<u8>> {
    let dtype = tensor.dtype();
    let Some((_, name)) = TYPES.iter().find(|(d, _)| *d == dtype) else {
        bail!("{dtype} cannot be written to .npz");
    };
    let order = if dtype.bits() == 8 { '|' } else { '<' };
    let shape = match tensor.dims() {
        [] => "1,".to_owned(),
        [one] => format!("{one},"),
        dims => dims.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
    };
    let mut header =
        format!("{{'descr': '{order}{name}', 'fortran_order': False, 'shape': ({shape}), }}");
    // The elements begin at a multiple of 64 bytes, and a newline ends the header.
    let before = MAGIC.len() + 4;
    let length = (before + header.len() + 1).next_multiple_of(64) - before;
    header.extend(std::iter::repeat_n(' ', length - header.len() - 1));
    header.push('\n');
    let mut out = Vec::with_capacity(before + length + tensor.bytes().len());
    out.extend(MAGIC);
    out.extend([1, 0]);
    out.extend(u16::try_from(length).context("the shape has too many axes")?.to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(tensor.bytes());
    Ok(out)
}

/// The elements of a column-major array in row-major order.
fn row_major(data: &[u8], element: usize, dims: &[usize]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut index = vec![0; dims.len()];
    for _ in 0..data.len() / element {
        // The first axis is the densest.
        let at = index.iter().zip(dims).rev().fold(0, |at, (i, dim)| at * dim + i);
        out.extend(&data[at * element..][..element]);
        for (i, &dim) in index.iter_mut().zip(dims).rev() {
            *i += 1;
            if *i < dim {
                break;
            }
            *i = 0;
        }
    }
    out
}

/// Reads the dictionary: `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
fn parse(text: &str) -> anyhow::Result<Header> {
    let mut rest = Scanner(text);
    let (mut kind, mut fortran, mut dims) = (None, None, None);
    rest.expect("{")?;
    while !rest.take("}") {
        let key = rest.string()?;
        rest.expect(":")?;
        match key {
            "descr" => kind = Some(rest.string().context("structured arrays are not supported")?),
            "fortran_order" => fortran = Some(rest.bool()?),
            "shape" => dims = Some(rest.tuple()?),
            _ => bail!("the header has the unknown key `{key}`"),
        }
        if !rest.take(",") {
            rest.expect("}")?;
            break;
        }
    }
    let (Some(kind), Some(fortran), Some(dims)) = (kind, fortran, dims) else {
        bail!("the header needs `descr`, `fortran_order` and `shape`");
    };
    let (big_endian, name) = match kind.split_at_checked(1) {
        Some((">", name)) => (true, name),
        Some(("<" | "|" | "=", name)) => (false, name),
        _ => (false, kind),
    };
    match TYPES.iter().find(|(_, n)| *n == name) {
        Some(&(dtype, _)) => Ok(Header { dtype, big_endian, fortran, dims }),
        None => bail!("elements of type `{kind}` are not supported"),
    }
}

/// The rest of a header.
struct Scanner<'a>(&'a str);

impl<'a> Scanner<'a> {
    fn take(&mut self, token: &str) -> bool {
        self.0 = self.0.trim_start();
        match self.0.strip_prefix(token) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> anyhow::Result<()> {
        if self.take(token) {
            return Ok(());
        }
        let found: String = self.0.chars().take(16).collect();
        bail!("the header is damaged: expected `{token}`, found `{}`", found.escape_debug())
    }

    fn string(&mut self) -> anyhow::Result<&'a str> {
        let quote = if self.take("\"") {
            '"'
        } else {
            self.expect("'")?;
            '\''
        };
        let Some((string, rest)) = self.0.split_once(quote) else {
            bail!("the header is damaged: a string has no end");
        };
        self.0 = rest;
        Ok(string)
    }

    fn bool(&mut self) -> anyhow::Result<bool> {
        if self.take("True") {
            return Ok(true);
        }
        self.expect("False").map(|()| false)
    }

    fn tuple(&mut self) -> anyhow::Result<Vec<usize>> {
        let mut dims = vec![];
        self.expect("(")?;
        while !self.take(")") {
            self.0 = self.0.trim_start();
            let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
            let (number, rest) = self.0.split_at(end);
            let dim = number.parse().ok().with_context(|| {
                let found: String = self.0.chars().take(24).collect();
                format!("the shape is damaged: expected a size, found `{}`", found.escape_debug())
            })?;
            dims.push(dim);
            // Python 2 wrote `2L`.
            self.0 = rest.strip_prefix('L').unwrap_or(rest);
            if !self.take(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(dims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let length = header.len() as u16;
        [MAGIC, &[1, 0], &length.to_le_bytes(), header.as_bytes(), data].concat()
    }

    fn read_all(bytes: &[u8]) -> anyhow::Result<Tensor> {
        read(&mut &*bytes, bytes.len() as u64)
    }

    #[test]
    fn every_type_survives_writing_and_reading() {
        for (dtype, _) in TYPES {
            for dims in [&[2usize, 3][..], &[6], &[1, 6, 1], &[0, 4]] {
                let count: usize = dims.iter().product();
                let bytes: Vec<u8> = (0..count * dtype.bits() / 8).map(|i| i as u8 % 2).collect();
                let tensor = Tensor::from_bytes(dtype, dims, bytes).unwrap();
                let written = super::bytes(&tensor).unwrap();
                assert_eq!((written.len() - tensor.bytes().len()) % 64, 0);
                assert_eq!(read_all(&written).unwrap(), tensor);
            }
        }
        let scalar = super::bytes(&Tensor::int32(7)).unwrap();
        assert_eq!(read_all(&scalar).unwrap(), Tensor::int32s(&[7]));
        let bf16 = Tensor::float(DataType::Bf16, 1.0);
        assert!(super::bytes(&bf16).unwrap_err().to_string().contains("bf16"));
    }

    #[test]
    fn other_orders_are_turned() {
        let header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3)}";
        let columns: Vec<u8> = [0i16, 3, 1, 4, 2, 5].iter().flat_map(|v| v.to_be_bytes()).collect();
        let tensor = read_all(&file(header, &columns)).unwrap();
        assert_eq!(tensor.dims(), [2, 3]);
        assert_eq!(tensor.to_i64s(), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn damaged_files_are_errors() {
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
        let whole = file(good, &[0; 8]);
        assert!(read_all(&whole).is_ok());
        for end in 0..whole.len() {
            assert!(read_all(&whole[..end]).is_err(), "cut off at {end}");
        }
        let message = |header: &str| format!("{:#}", read_all(&file(header, &[0; 8])).unwrap_err());
        for (from, to, expected) in [
            ("(2,)", "(3,)", "takes 12 bytes, found 8"),
            ("(2,)", "(99999999999, 99999999999)", "too many elements"),
            ("(2,)", "(9223372036854775807, 4)", "too many elements"),
            ("(2,)", "(99999999999999999999999,)", "the shape is damaged"),
            ("(2,)", "(-1,)", "the shape is damaged"),
            ("(2,)", "2", "expected `(`"),
            ("'<f4'", "'<c8'", "elements of type `<c8` are not supported"),
            ("'<f4'", "'O'", "elements of type `O`"),
            ("'<f4'", "[('a', '<f4')]", "structured arrays are not supported"),
            ("'<f4'", "'<f4", "expected"),
            ("'shape'", "'form'", "unknown key `form`"),
            ("'shape': (2,), ", "", "needs `descr`"),
            ("False", "Maybe", "expected `False`, found `Maybe"),
        ] {
            let found = message(&good.replace(from, to));
            assert!(found.contains(expected), "{found}");
        }
        let mut long = whole.clone();
        (long[6], long[8], long[9], long[10], long[11]) = (2, 255, 255, 255, 255);
        assert!(read_all(&long).unwrap_err().to_string().contains("claims 4294967295 bytes"));
    }
}
