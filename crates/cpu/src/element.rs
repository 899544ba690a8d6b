//! Conversions of elements that the compiler vectorizes, unlike those of a library that asks at run
//! time what the machine can do.

/// How an element is stored, as bits.
pub(crate) trait Element: Copy {
    /// Its value.
    fn widen(self) -> f32;
    /// The nearest element.
    fn narrow(value: f32) -> Self;
}

#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Bf16(u16);

#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct F16(u16);

impl Element for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(value: f32) -> f32 {
        value
    }
}

impl Element for Bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits((self.0 as u32) << 16)
    }

    #[inline(always)]
    fn narrow(value: f32) -> Bf16 {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        // Rounding must not carry a NaN over to infinity: it is cut and made quiet.
        let nan = (bits >> 16) | 0x40;
        Bf16(if bits & 0x7fff_ffff > 0x7f80_0000 { nan as u16 } else { rounded as u16 })
    }
}

impl Element for F16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        let magnitude = (self.0 as u32 & 0x7fff) << 13;
        // The exponent's bias differs by 112; the product also normalizes subnormal numbers.
        let finite = (f32::from_bits(magnitude) * f32::from_bits(239 << 23)).to_bits();
        let special = magnitude | 0x7f80_0000;
        let sign = (self.0 as u32 & 0x8000) << 16;
        f32::from_bits(sign | if magnitude < 0x7c00 << 13 { finite } else { special })
    }

    #[inline(always)]
    fn narrow(value: f32) -> F16 {
        let bits = value.to_bits();
        let magnitude = bits & 0x7fff_ffff;
        let odd = (magnitude >> 13) & 1;
        let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + odd) >> 13;
        // One unit in the last place of numbers near one half is the smallest subnormal: the sum
        // rounds to it.
        let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(126 << 23);
        let special = if magnitude > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
        let small = if magnitude < 113 << 23 { subnormal } else { normal };
        let result = if magnitude < 143 << 23 { small } else { special };
        F16((result | (bits >> 16) & 0x8000) as u16)
    }
}

impl Element for i32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self as f32
    }

    #[inline(always)]
    fn narrow(value: f32) -> i32 {
        value as i32
    }
}

impl Element for u8 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self as f32
    }

    #[inline(always)]
    fn narrow(value: f32) -> u8 {
        value as u8
    }
}

impl Element for i8 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self as f32
    }

    #[inline(always)]
    fn narrow(value: f32) -> i8 {
        value as i8
    }
}

/// The nearest `bf16`.
#[inline(always)]
pub(crate) fn round_bf16(value: f32) -> f32 {
    Bf16::narrow(value).widen()
}

/// The nearest half.
#[inline(always)]
pub(crate) fn round_f16(value: f32) -> f32 {
    F16::narrow(value).widen()
}

/// The number between the two that is nearest; NaN stays.
#[inline(always)]
pub(crate) fn keep(value: f32, low: f32, high: f32) -> f32 {
    let value = if value < low { low } else { value };
    if value > high { high } else { value }
}
