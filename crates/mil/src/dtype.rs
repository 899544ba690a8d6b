//! Element types, as Core ML's `MIL.proto` lists them.

use std::fmt;

/// The element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // The names are the documentation.
pub enum DataType {
    Bool,
    String,
    Fp16,
    Fp32,
    Fp64,
    Bf16,
    Int4,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint1,
    Uint2,
    Uint3,
    Uint4,
    Uint6,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Fp8E4M3Fn,
    Fp8E5M2,
}

use DataType::*;

/// Every element type with its spelling in the text dialect and its width in bits.
/// A string has no fixed width; a bool takes a byte in memory.
const TABLE: &[(DataType, &str, usize)] = &[
    (Bool, "bool", 8),
    (String, "string", 0),
    (Fp16, "fp16", 16),
    (Fp32, "fp32", 32),
    (Fp64, "fp64", 64),
    (Bf16, "bf16", 16),
    (Int4, "int4", 4),
    (Int8, "int8", 8),
    (Int16, "int16", 16),
    (Int32, "int32", 32),
    (Int64, "int64", 64),
    (Uint1, "uint1", 1),
    (Uint2, "uint2", 2),
    (Uint3, "uint3", 3),
    (Uint4, "uint4", 4),
    (Uint6, "uint6", 6),
    (Uint8, "uint8", 8),
    (Uint16, "uint16", 16),
    (Uint32, "uint32", 32),
    (Uint64, "uint64", 64),
    (Fp8E4M3Fn, "fp8e4m3fn", 8),
    (Fp8E5M2, "fp8e5m2", 8),
];

impl DataType {
    /// All element types.
    pub fn all() -> impl Iterator<Item = DataType> {
        TABLE.iter().map(|row| row.0)
    }

    /// The spelling in the text dialect, such as `fp16`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The element type with this spelling.
    pub fn from_name(name: &str) -> Option<DataType> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Width of one element in bits; 0 for strings.
    pub fn bits(self) -> usize {
        self.row().2
    }

    /// Bytes that `count` elements take when packed without gaps, or `None` if that overflows.
    pub fn packed_bytes(self, count: usize) -> Option<usize> {
        count.checked_mul(self.bits()).map(|bits| bits.div_ceil(8))
    }

    /// Whether this is a floating-point type.
    pub fn is_float(self) -> bool {
        matches!(self, Fp16 | Fp32 | Fp64 | Bf16 | Fp8E4M3Fn | Fp8E5M2)
    }

    /// Whether this is a signed or unsigned integer type (bool is not).
    pub fn is_int(self) -> bool {
        !self.is_float() && !matches!(self, Bool | String)
    }

    /// Whether this is an unsigned integer type.
    pub fn is_unsigned(self) -> bool {
        matches!(self, Uint1 | Uint2 | Uint3 | Uint4 | Uint6 | Uint8 | Uint16 | Uint32 | Uint64)
    }

    /// The smallest and largest value of an integer type (the upper end of `uint64` is clamped
    /// to `i64::MAX`), or `None` for other types.
    pub fn int_range(self) -> Option<(i64, i64)> {
        if !self.is_int() {
            return None;
        }
        let bits = self.bits() as u32;
        Some(if self.is_unsigned() {
            (0, if bits >= 63 { i64::MAX } else { (1i64 << bits) - 1 })
        } else {
            let high = i64::MAX >> (64 - bits);
            (-high - 1, high)
        })
    }

    fn row(self) -> &'static (DataType, &'static str, usize) {
        TABLE.iter().find(|row| row.0 == self).expect("every element type has a row")
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
