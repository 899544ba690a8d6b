//! The two 8-bit float formats (OCP 8-bit Floating Point Specification, revision 1.0).

use crate::DataType;

/// Exponent bits, mantissa bits and bias of a format.
fn layout(dtype: DataType) -> (u32, u32, i32) {
    match dtype {
        DataType::Fp8E5M2 => (5, 2, 15),
        _ => (4, 3, 7),
    }
}

/// The value of one byte.
pub(crate) fn decode(dtype: DataType, byte: u8) -> f64 {
    let (exponent_bits, mantissa_bits, bias) = layout(dtype);
    let sign = if byte & 0x80 != 0 { -1.0 } else { 1.0 };
    let exponent = i32::from(byte & 0x7f) >> mantissa_bits;
    let mantissa = f64::from(byte & ((1 << mantissa_bits) - 1));
    let top = (1 << exponent_bits) - 1;
    if dtype == DataType::Fp8E5M2 && exponent == top {
        return if mantissa == 0.0 { sign * f64::INFINITY } else { f64::NAN };
    }
    if dtype == DataType::Fp8E4M3Fn && byte & 0x7f == 0x7f {
        return f64::NAN;
    }
    let unit = 2f64.powi(1 - bias - mantissa_bits as i32);
    match exponent {
        0 => sign * mantissa * unit,
        _ => sign * (mantissa + f64::from(1u32 << mantissa_bits)) * unit * 2f64.powi(exponent - 1),
    }
}

/// The byte nearest to a value, ties to even; beyond the range E5M2 gives infinity, E4M3FN NaN.
pub(crate) fn encode(dtype: DataType, value: f64) -> u8 {
    let sign = if value.is_sign_negative() { 0x80 } else { 0 };
    let magnitude = value.abs();
    let finite = |b: &u8| decode(dtype, *b).is_finite();
    let last = (0..0x80u8).rev().find(finite).expect("both formats have finite values");
    let top = decode(dtype, last);
    // Half a step above the largest finite value is where rounding leaves the range.
    let step = top - decode(dtype, last - 1);
    if value.is_nan() || magnitude >= top + step / 2.0 {
        let infinite = dtype == DataType::Fp8E5M2 && !value.is_nan();
        return sign | if infinite { 0x7c } else { 0x7f };
    }
    let below = (0..=last).rev().find(|&b| decode(dtype, b) <= magnitude).unwrap_or(0);
    if below == last {
        return sign | last;
    }
    let (low, high) = (decode(dtype, below), decode(dtype, below + 1));
    let up = magnitude - low > high - magnitude
        || (magnitude - low == high - magnitude && below % 2 == 1);
    sign | (below + u8::from(up))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_a_round_trip() {
        for dtype in [DataType::Fp8E4M3Fn, DataType::Fp8E5M2] {
            for byte in 0..=255u8 {
                let value = decode(dtype, byte);
                let back = encode(dtype, value);
                assert!(value.is_nan() && decode(dtype, back).is_nan() || back == byte);
            }
        }
        assert_eq!(decode(DataType::Fp8E4M3Fn, 0x7e), 448.0);
        assert_eq!(decode(DataType::Fp8E5M2, 0x7b), 57344.0);
    }
}
