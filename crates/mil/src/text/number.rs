//! Floating-point numbers in text: C99 hexadecimal, exactly, and decimals.

use std::fmt::Write;

/// Reads a float: hexadecimal (`-0x1.8p-3`), decimal, `inf` or `nan` with an optional sign.
///
/// A hexadecimal number with more digits than a double holds comes back rounded to odd if `odd`,
/// which makes a second rounding to a narrower type exact, and to nearest otherwise.
pub(super) fn parse(text: &str, odd: bool) -> Option<f64> {
    let (negative, magnitude) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let value = match magnitude {
        "inf" | "infinity" => f64::INFINITY,
        "nan" => f64::NAN,
        _ => match magnitude.strip_prefix("0x").or_else(|| magnitude.strip_prefix("0X")) {
            Some(digits) => hexadecimal(digits, odd)?,
            None => {
                let first = magnitude.bytes().next()?;
                // Rust's own parser also knows other spellings of infinity.
                if !(first.is_ascii_digit() || first == b'.') {
                    return None;
                }
                magnitude.parse().ok()?
            }
        },
    };
    Some(if negative { -value } else { value })
}

/// The magnitude after `0x`: `1.8p-3`. A missing exponent counts as 0.
fn hexadecimal(digits: &str, odd: bool) -> Option<f64> {
    let (mantissa, exponent) = match digits.find(['p', 'P']) {
        Some(at) => (&digits[..at], parse_exponent(&digits[at + 1..])?),
        None => (digits, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // The value is `bits` · 2^`exponent`; what does not fit `bits` only leaves a mark in its
    // lowest bit.
    let (mut bits, mut exponent) = (0u64, exponent);
    for (digits, after_point) in [(whole, false), (fraction, true)] {
        for character in digits.chars() {
            let digit = u64::from(character.to_digit(16)?);
            if bits >> 60 == 0 {
                bits = bits << 4 | digit;
                exponent -= if after_point { 4 } else { 0 };
            } else {
                bits |= u64::from(digit != 0);
                exponent += if after_point { 0 } else { 4 };
            }
        }
    }
    Some(assemble(bits, exponent, odd))
}

/// An exponent, held within bounds that keep the arithmetic on it safe; beyond them the value is
/// zero or infinite whatever its digits are, as a text has fewer than 2^32 of those.
fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    const BOUND: i64 = 1 << 40;
    let magnitude = digits.parse::<i64>().unwrap_or(BOUND).min(BOUND);
    Some(if text.starts_with('-') { -magnitude } else { magnitude })
}

/// `bits` · 2^`exponent` as a double.
fn assemble(bits: u64, exponent: i64, odd: bool) -> f64 {
    if bits == 0 {
        return 0.0;
    }
    let shift = i64::from(bits.leading_zeros());
    let (bits, exponent) = (bits << shift, exponent - shift);
    // Now the value is 1.… · 2^top.
    let top = exponent + 63;
    if top > 1023 {
        return if odd { f64::MAX } else { f64::INFINITY };
    }
    // 11 bits do not fit a normal double's mantissa; a subnormal one loses more.
    let lost = 11 + (-1022 - top).max(0);
    if lost > 64 {
        return if odd { f64::from_bits(1) } else { 0.0 };
    }
    let kept = if lost == 64 { 0 } else { bits >> lost };
    let rest = if lost == 64 { bits } else { bits << (64 - lost) };
    const HALF: u64 = 1 << 63;
    let rounded = match odd {
        true => kept | u64::from(rest != 0),
        false => kept + u64::from(rest > HALF || (rest == HALF && kept & 1 == 1)),
    };
    // A mantissa that rounds up to the next power of two carries into the exponent by itself.
    let biased = if top < -1022 { 0 } else { (top + 1022) as u64 };
    f64::from_bits((biased << 52) + rounded)
}

/// Writes a float that is not a NaN as C's `%a` does, subnormals normalized.
pub(super) fn print(out: &mut String, value: f64) {
    if value.is_sign_negative() {
        out.push('-');
    }
    let magnitude = value.abs();
    if magnitude.is_infinite() {
        out.push_str("inf");
        return;
    }
    if magnitude == 0.0 {
        out.push_str("0x0p+0");
        return;
    }
    let bits = magnitude.to_bits();
    let (mantissa, exponent) = match bits >> 52 {
        0 => {
            let shift = bits.leading_zeros() - 11;
            (bits << shift, -1022 - i64::from(shift))
        }
        biased => (bits, biased as i64 - 1023),
    };
    let fraction = mantissa & ((1 << 52) - 1);
    out.push_str("0x1");
    if fraction != 0 {
        let zeros = (fraction.trailing_zeros() / 4) as usize;
        let width = 13 - zeros;
        write!(out, ".{:0width$x}", fraction >> (4 * zeros)).expect("strings take all writes");
    }
    write!(out, "p{exponent:+}").expect("strings take all writes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_exact() {
        let nearest = |text| parse(text, false).unwrap_or(f64::NAN);
        assert_eq!(nearest("0x1.f0a3d8p-1"), f64::from(0x1f0a3d8 as f32) / f64::from(1 << 25));
        assert_eq!(nearest("0x1p-149"), f64::from(f32::from_bits(1)));
        assert_eq!(nearest("-0x1.8p+1"), -3.0);
        assert_eq!(nearest("0x1p-1074"), f64::from_bits(1));
        assert_eq!(nearest("0x1p-1075"), 0.0);
        assert_eq!(nearest("0x1.8p-1075"), f64::from_bits(1));
        assert_eq!(nearest("0x1.fffffffffffff8p+1023"), f64::INFINITY);
        assert_eq!(nearest("0x1.fffffffffffff7p+1023"), f64::MAX);
        assert_eq!(nearest("0x0.00000000000000000000000000000000001p140"), 1.0);
        assert_eq!(nearest("0x100000000000000000000000000000000000p-140"), 1.0);
        assert_eq!(nearest("0x1p99999999999999999999"), f64::INFINITY);
        assert_eq!(nearest("0x1p-99999999999999999999"), 0.0);
        assert_eq!(parse("0x1.00000000000001p0", true), Some(1.0 + f64::EPSILON));
        assert!(nearest("-0x0p+0").is_sign_negative());
        for wrong in ["0x", "0x.", "0x1p", "0x1pz", "0xg", "-", "1.2.3", "infinite", "0x1p+-3"] {
            assert_eq!(parse(wrong, false), None, "{wrong}");
        }
    }

    #[test]
    fn every_power_and_its_neighbors_round_trip() {
        for exponent in 0..2047u64 {
            for mantissa in [0, 1, 0x8_0000_0000_0000, 0xf_ffff_ffff_ffff, 0x1_2345_0000_0000] {
                let value = f64::from_bits(exponent << 52 | mantissa);
                let mut text = String::new();
                print(&mut text, value);
                assert_eq!(parse(&text, false), Some(value), "{text}");
            }
        }
        let mut text = String::new();
        print(&mut text, f64::from(f32::from_bits(3)));
        assert_eq!(text, "0x1.8p-148");
    }
}
