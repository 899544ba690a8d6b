//! How numbers are encoded, and what they are as f32.
//!
//! Blocks are those of ggml: Q8_0 and Q4_0 have one scale for 32 numbers, Q4_K and Q6_K have
//! 256 numbers with a scale whose parts of 32 or 16 numbers have integer scales of their own.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// How a tensor's numbers are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "the names under which the formats are known")]
pub enum Encoding {
    /// IEEE double precision.
    F64,
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an F32.
    BF16,
    /// 32 integers of 8 bits, and their scale as F16.
    Q8_0,
    /// 32 integers of 4 bits, and their scale as F16.
    Q4_0,
    /// 256 integers of 4 bits in eight parts, each with a scale and an offset of 6 bits.
    Q4_K,
    /// 256 integers of 6 bits in sixteen parts, each with a scale of 8 bits.
    Q6_K,
    /// Integers of 8 bits; the scales, F32, one for each group, are elsewhere in the file.
    Int8 {
        /// Integers that share a scale.
        group: usize,
        /// Where in the file the scales begin.
        scales: u64,
    },
    /// Something else, which is not read.
    Other {
        /// Its name.
        name: &'static str,
        /// Numbers in a block.
        block: usize,
        /// Bytes of a block.
        bytes: usize,
    },
}

/// Why blocks are no numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Undecodable {
    /// The scale of this block is not finite.
    Scale(usize),
    /// This number is too large for f32.
    Number(usize, f64),
    /// The encoding is not one that is read here.
    Encoding,
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Encoding::Int8 { group, .. } => write!(f, "8-bit integers in groups of {group}"),
            Encoding::Other { name, .. } => f.write_str(name),
            other => write!(f, "{other:?}"),
        }
    }
}

impl Encoding {
    /// Numbers and bytes of a block; numbers on their own are blocks of one.
    pub fn block(self) -> (usize, usize) {
        match self {
            Encoding::F64 => (1, 8),
            Encoding::F32 => (1, 4),
            Encoding::F16 | Encoding::BF16 => (1, 2),
            Encoding::Q8_0 => (32, 34),
            Encoding::Q4_0 => (32, 18),
            Encoding::Q4_K => (256, 144),
            Encoding::Q6_K => (256, 210),
            Encoding::Int8 { .. } => (1, 1),
            Encoding::Other { block, bytes, .. } => (block, bytes),
        }
    }

    /// The bytes that a tensor takes, or what is wrong with its dimensions.
    pub fn size(self, dims: &[usize]) -> Result<u64, String> {
        let (block, bytes) = self.block();
        let row = dims.last().copied().unwrap_or(1);
        if !row.is_multiple_of(block) {
            return Err(format!("rows of {row} are no whole blocks of {block}, as {self} needs"));
        }
        let count = dims.iter().try_fold(1_usize, |count, &dim| count.checked_mul(dim));
        // As f32 in memory, too, it must be possible to address it.
        let count = count.filter(|count| count.checked_mul(8).is_some());
        let size = count.and_then(|count| (count / block).checked_mul(bytes));
        size.map(|size| size as u64).ok_or_else(|| format!("dimensions {dims:?} are too large"))
    }

    /// Converts whole blocks. Numbers that stand on their own may be infinite or none: only those
    /// that arithmetic would make so are refused.
    pub(crate) fn decode(self, bytes: &[u8], out: &mut [f32]) -> Result<(), Undecodable> {
        match self {
            Encoding::F64 => {
                for (index, (value, bytes)) in out.iter_mut().zip(bytes.as_chunks().0).enumerate() {
                    let wide = f64::from_le_bytes(*bytes);
                    *value = wide as f32;
                    if value.is_infinite() && wide.is_finite() {
                        return Err(Undecodable::Number(index, wide));
                    }
                }
            }
            Encoding::F32 => {
                for (value, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *value = f32::from_le_bytes(*bytes);
                }
            }
            Encoding::F16 => {
                // In pieces, so that the vectorized conversion needs no buffer on the heap.
                let mut halves = [f16::ZERO; 256];
                for (values, bytes) in out.chunks_mut(256).zip(bytes.chunks(512)) {
                    let halves = &mut halves[..values.len()];
                    for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks().0) {
                        *half = f16::from_le_bytes(*bytes);
                    }
                    halves.convert_to_f32_slice(values);
                }
            }
            Encoding::BF16 => {
                for (value, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
                }
            }
            Encoding::Q8_0 => return blocks(bytes, out, q8_0),
            Encoding::Q4_0 => return blocks(bytes, out, q4_0),
            Encoding::Q4_K => return blocks(bytes, out, q4_k),
            Encoding::Q6_K => return blocks(bytes, out, q6_k),
            Encoding::Int8 { .. } | Encoding::Other { .. } => return Err(Undecodable::Encoding),
        }
        Ok(())
    }

    /// Appends the bytes of whole blocks. On failure the value that the encoding cannot hold.
    ///
    /// # Panics
    /// If the encoding is not one that is written, or `values` are no whole blocks.
    pub(crate) fn encode(self, values: &[f32], out: &mut Vec<u8>) -> Result<(), f32> {
        match self {
            Encoding::F32 => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Encoding::F16 => {
                let start = out.len();
                for &value in values {
                    let half = f16::from_f32(value);
                    if half.is_infinite() && value.is_finite() {
                        out.truncate(start);
                        return Err(value);
                    }
                    out.extend(half.to_le_bytes());
                }
            }
            Encoding::BF16 => {
                out.extend(values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()));
            }
            Encoding::Q8_0 => {
                let (blocks, rest) = values.as_chunks::<32>();
                assert!(rest.is_empty(), "values of whole blocks");
                for block in blocks {
                    encode_q8_0(block, out)?;
                }
            }
            other => panic!("{other} is not written"),
        }
        Ok(())
    }
}

/// Converts blocks of B bytes and N numbers, until one has a scale that is not finite.
fn blocks<const B: usize, const N: usize>(
    bytes: &[u8],
    out: &mut [f32],
    convert: impl Fn(&[u8; B], &mut [f32; N]) -> bool,
) -> Result<(), Undecodable> {
    let pairs = bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0);
    for (index, (bytes, out)) in pairs.enumerate() {
        if !convert(bytes, out) {
            return Err(Undecodable::Scale(index));
        }
    }
    Ok(())
}

fn scale(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) -> bool {
    let d = scale(block);
    for (value, &q) in out.iter_mut().zip(&block[2..]) {
        *value = d * f32::from(q as i8);
    }
    d.is_finite()
}

/// The scale is that of ggml: the largest magnitude over 127.
fn encode_q8_0(values: &[f32; 32], out: &mut Vec<u8>) -> Result<(), f32> {
    if let Some(&bad) = values.iter().find(|value| !value.is_finite()) {
        return Err(bad);
    }
    let largest = values.iter().fold(0_f32, |most, value| most.max(value.abs()));
    let d = largest / 127.0;
    let half = f16::from_f32(d);
    if half.is_infinite() {
        return Err(largest);
    }
    out.extend(half.to_le_bytes());
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    out.extend(values.iter().map(|value| (value * inverse).round() as i8 as u8));
    Ok(())
}

fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) -> bool {
    let d = scale(block);
    for (i, &q) in block[2..].iter().enumerate() {
        out[i] = d * (f32::from(q & 15) - 8.0);
        out[i + 16] = d * (f32::from(q >> 4) - 8.0);
    }
    d.is_finite()
}

/// Scale, scale of offsets, twelve bytes with the scales and offsets of eight parts, nibbles.
fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) -> bool {
    let (d, d_min) = (scale(block), scale(&block[2..]));
    let (packed, nibbles) = block[4..].split_at(12);
    for (part, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (s, m) = if part < 4 {
            (packed[part] & 63, packed[part + 4] & 63)
        } else {
            // The upper two bits of the later parts are beside the earlier parts' six.
            let low = packed[part + 4];
            (low & 15 | packed[part - 4] >> 6 << 4, low >> 4 | packed[part] >> 6 << 4)
        };
        let (factor, offset) = (d * f32::from(s), d_min * f32::from(m));
        let bytes = &nibbles[part / 2 * 32..][..32];
        for (value, &q) in out.iter_mut().zip(bytes) {
            let q = if part % 2 == 0 { q & 15 } else { q >> 4 };
            *value = factor * f32::from(q) - offset;
        }
    }
    d.is_finite() && d_min.is_finite()
}

/// Lower four bits, upper two bits, scales of sixteen parts, scale.
fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) -> bool {
    let (low, rest) = block.split_at(128);
    let (high, rest) = rest.split_at(64);
    let (scales, d) = rest.split_at(16);
    let d = scale(d);
    for (row, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        // Each half of the block has four rows of 32.
        let (half, row_of_half) = (row / 4, row % 4);
        let low = &low[half * 64 + row_of_half % 2 * 32..][..32];
        let high = &high[half * 32..][..32];
        for (i, value) in out.iter_mut().enumerate() {
            let four = if row_of_half < 2 { low[i] & 15 } else { low[i] >> 4 };
            let two = high[i] >> (2 * row_of_half) & 3;
            let factor = d * f32::from(scales[row * 2 + i / 16] as i8);
            *value = factor * (f32::from(four | two << 4) - 32.0);
        }
    }
    d.is_finite()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_reads_back_within_its_precision(
            values in proptest::collection::vec(-3e4_f32..3e4, 64),
        ) {
            let most = values.iter().fold(0_f32, |most, value| most.max(value.abs()));
            let cases = [
                (Encoding::F32, 0.0, 0.0),
                // Half a unit in the last place: 2⁻¹¹ and 2⁻⁸ of the value.
                (Encoding::F16, 0.0, 2_f32.powi(-11)),
                (Encoding::BF16, 0.0, 2_f32.powi(-8)),
                // Half a step, and the rounding of the scale 127 times.
                (Encoding::Q8_0, most * (0.5 / 127.0 + 2_f32.powi(-11)) * 1.0001, 0.0),
            ];
            for (encoding, absolute, relative) in cases {
                let mut bytes = vec![];
                encoding.encode(&values, &mut bytes).expect("the values fit");
                prop_assert_eq!(bytes.len() as u64, encoding.size(&[2, 32]).expect("whole blocks"));
                let mut back = vec![0.0; 64];
                encoding.decode(&bytes, &mut back).expect("the scales are finite");
                for (old, new) in values.iter().zip(back) {
                    let tolerance = absolute + relative * old.abs() + 1e-7;
                    prop_assert!((old - new).abs() <= tolerance, "{encoding}: {old} and {new}");
                }
            }
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_given_back() {
        let mut values = [1.0; 32];
        values[7] = 1e6;
        let mut out = vec![];
        assert_eq!(Encoding::F16.encode(&values, &mut out), Err(1e6));
        values[7] = f32::INFINITY;
        assert_eq!(Encoding::Q8_0.encode(&values, &mut out), Err(f32::INFINITY));
        values[7] = 1e30;
        assert_eq!(Encoding::Q8_0.encode(&values, &mut out), Err(1e30));
    }

    #[test]
    fn a_number_beyond_single_precision_is_found_with_its_index() {
        let bytes = |numbers: [f64; 3]| numbers.map(f64::to_le_bytes).concat();
        let mut out = [0.0; 3];
        let decoded = Encoding::F64.decode(&bytes([1.0, 1e300, 2.0]), &mut out);
        assert_eq!(decoded, Err(Undecodable::Number(1, 1e300)));
        // What is infinite in the file stays so.
        let decoded = Encoding::F64.decode(&bytes([1.0, f64::INFINITY, 2.0]), &mut out);
        assert_eq!((decoded, out), (Ok(()), [1.0, f32::INFINITY, 2.0]));
    }

    #[test]
    fn a_scale_that_is_not_finite_is_found_with_its_block() {
        for encoding in [Encoding::Q8_0, Encoding::Q4_0, Encoding::Q4_K, Encoding::Q6_K] {
            let (numbers, size) = encoding.block();
            let mut bytes = vec![0; 3 * size];
            let mut out = vec![0.0; 3 * numbers];
            assert_eq!(encoding.decode(&bytes, &mut out), Ok(()));
            let at = size + if encoding == Encoding::Q6_K { size - 2 } else { 0 };
            bytes[at..at + 2].copy_from_slice(&f16::NAN.to_le_bytes());
            assert_eq!(encoding.decode(&bytes, &mut out), Err(Undecodable::Scale(1)), "{encoding}");
        }
    }
}
