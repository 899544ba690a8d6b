//! Where numbers go that are read.

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};

/// The place of a parameter's elements.
pub enum Place<'a> {
    /// As they are.
    Fp32(&'a mut [f32]),
    /// Rounded to bf16, as bits.
    Bf16(&'a mut [u16]),
    /// Rounded to fp16, as bits.
    Fp16(&'a mut [u16]),
}

impl<'a> Place<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Place::Fp32(out) => out.len(),
            Place::Bf16(out) | Place::Fp16(out) => out.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Parts of so many elements, but for the last.
    pub(super) fn split(self, part: usize) -> Box<dyn Iterator<Item = Place<'a>> + Send + 'a> {
        match self {
            Place::Fp32(out) => Box::new(out.chunks_mut(part).map(Place::Fp32)),
            Place::Bf16(out) => Box::new(out.chunks_mut(part).map(Place::Bf16)),
            Place::Fp16(out) => Box::new(out.chunks_mut(part).map(Place::Fp16)),
        }
    }

    /// Fills it with what `read` gives; `wide` is memory for that where it is rounded.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn fill<E>(
        &mut self,
        wide: &mut Vec<f32>,
        read: impl FnOnce(&mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Place::Fp32(out) = self {
            return read(out);
        }
        wide.resize(self.len(), 0.0);
        read(wide)?;
        match self {
            Place::Fp32(_) => {}
            Place::Bf16(out) => {
                out.reinterpret_cast_mut::<bf16>().convert_from_f32_slice(wide);
            }
            Place::Fp16(out) => {
                out.reinterpret_cast_mut::<f16>().convert_from_f32_slice(wide);
            }
        }
        Ok(())
    }
}
