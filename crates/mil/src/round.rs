//! Rounding to the 16-bit floats.

/// The single-precision float nearest to `value` in the direction that keeps a further rounding
/// exact: where `value` is between two floats, the one with an odd mantissa.
///
/// Rounding to nearest twice can differ from rounding once; rounding to odd first cannot, as long
/// as the second type has two bits less.
pub(crate) fn to_odd_f32(value: f64) -> f32 {
    let nearest = value as f32;
    let back = f64::from(nearest);
    if back == value || value.is_nan() || nearest.to_bits() & 1 == 1 {
        return nearest;
    }
    // The neighbor on the other side of `value`; next to an even mantissa, it is odd.
    let bits = nearest.to_bits();
    f32::from_bits(if back.abs() < value.abs() { bits + 1 } else { bits - 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn the_second_rounding_is_exact() {
        // Half a step above one, and a little more: rounds up although a double's low bits say so.
        let value = 1.0 + 2f64.powi(-11) + 2f64.powi(-50);
        assert_eq!(f16::from_f32(to_odd_f32(value)), f16::from_f64(1.0 + 2f64.powi(-10)));
        let value = -1.0 - 2f64.powi(-8) - 2f64.powi(-50);
        assert_eq!(bf16::from_f32(to_odd_f32(value)), bf16::from_f32(-1.0 - 2f32.powi(-7)));
        assert_eq!(to_odd_f32(1e-60), f32::from_bits(1));
        assert_eq!(to_odd_f32(-1e-60), -f32::from_bits(1));
        assert_eq!(to_odd_f32(1e60), f32::MAX);
        assert_eq!(f16::from_f32(to_odd_f32(65520.0)), f16::INFINITY);
        assert_eq!(f16::from_f32(to_odd_f32(65519.999)), f16::MAX);
    }
}
