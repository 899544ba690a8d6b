//! How numbers lie in memory, and how one is converted.

use half::{bf16, f16};

/// The memory format of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// IEEE single precision.
    F32,
    /// The upper half of a single: 8 bits of exponent, 7 of fraction.
    Bf16,
    /// IEEE half precision.
    F16,
    /// Signed 32-bit integers.
    I32,
    /// Unsigned bytes.
    U8,
    /// Signed bytes.
    I8,
}

impl Format {
    /// Size of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Format::F32 | Format::I32 => 4,
            Format::Bf16 | Format::F16 => 2,
            Format::U8 | Format::I8 => 1,
        }
    }

    /// Whether elements are floating-point numbers.
    pub const fn is_float(self) -> bool {
        matches!(self, Format::F32 | Format::Bf16 | Format::F16)
    }

    /// The value of this format next to `value`: ties to even for the floating-point formats,
    /// towards zero and saturating for the integers.
    pub fn round(self, value: f32) -> f32 {
        match self {
            Format::F32 => value,
            Format::Bf16 => bf16::from_f32(value).to_f32(),
            Format::F16 => f16::from_f32(value).to_f32(),
            Format::I32 => value as i32 as f32,
            Format::U8 => value as u8 as f32,
            Format::I8 => value as i8 as f32,
        }
    }

    /// Element `index` of the array at `base`, as `f32`.
    ///
    /// # Safety
    /// The element must lie in readable memory, and `base` be aligned for the format.
    pub unsafe fn read(self, base: *const u8, index: usize) -> f32 {
        // SAFETY: the caller vouches for the element.
        unsafe {
            match self {
                Format::F32 => *base.cast::<f32>().add(index),
                Format::Bf16 => (*base.cast::<bf16>().add(index)).to_f32(),
                Format::F16 => (*base.cast::<f16>().add(index)).to_f32(),
                Format::I32 => *base.cast::<i32>().add(index) as f32,
                Format::U8 => *base.add(index) as f32,
                Format::I8 => *base.cast::<i8>().add(index) as f32,
            }
        }
    }

    /// Sets element `index` of the array at `base` to `value`, converted as [`Format::round`] says.
    ///
    /// # Safety
    /// The element must lie in writable memory that nobody else accesses, and `base` be aligned
    /// for the format.
    pub unsafe fn write(self, base: *mut u8, index: usize, value: f32) {
        // SAFETY: the caller vouches for the element.
        unsafe {
            match self {
                Format::F32 => *base.cast::<f32>().add(index) = value,
                Format::Bf16 => *base.cast::<bf16>().add(index) = bf16::from_f32(value),
                Format::F16 => *base.cast::<f16>().add(index) = f16::from_f32(value),
                Format::I32 => *base.cast::<i32>().add(index) = value as i32,
                Format::U8 => *base.add(index) = value as u8,
                Format::I8 => *base.cast::<i8>().add(index) = value as i8,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_nearest_even() {
        // Halfway between two neighbors of bf16, once with an even lower one and once an odd.
        assert_eq!(Format::Bf16.round(1.0 + 1.0 / 256.0), 1.0);
        assert_eq!(Format::Bf16.round(1.0 + 3.0 / 256.0), 1.0 + 2.0 / 128.0);
        assert_eq!(Format::F16.round(1.0 + 1.0 / 2048.0), 1.0);
        assert_eq!(Format::F16.round(1.0 + 3.0 / 2048.0), 1.0 + 2.0 / 1024.0);
        assert_eq!(Format::F16.round(65520.0), f32::INFINITY);
        assert!(Format::Bf16.round(f32::NAN).is_nan());
        assert_eq!(Format::U8.round(-3.0), 0.0);
        assert_eq!(Format::I32.round(-3.7), -3.0);
        assert_eq!((Format::I8.round(-130.0), Format::I8.round(-3.7)), (-128.0, -3.0));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for format in [Format::F32, Format::Bf16, Format::F16, Format::I32, Format::U8] {
            let mut memory = [0u32; 4];
            let base = memory.as_mut_ptr().cast::<u8>();
            for (i, value) in [3.0, 250.0, 0.0, 17.0].into_iter().enumerate() {
                // SAFETY: four elements of at most four bytes fit in the array.
                unsafe { format.write(base, i, value) };
                // SAFETY: as above.
                assert_eq!(unsafe { format.read(base, i) }, value, "{format:?}");
            }
        }
    }
}
