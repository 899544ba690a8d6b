//! Rotary positions: every pair of elements of a head turns by an angle that grows with the
//! position, so that a query's product with a key depends on their distance.
//!
//! B batch, S sequence, H heads (of queries or of keys), E head dim.

use super::float_input;
use crate::{Architecture, Config, RopeStyle};
use mil::{FunctionBuilder, OpError, ValueId};

/// The tables, in the shape that broadcasts against half a head: `[S, 1, E/2]`, or
/// `[S, 1, E/2, 1]` where pairs are neighbors.
pub(super) struct Rotary {
    cos: ValueId,
    sin: ValueId,
    style: RopeStyle,
}

impl Rotary {
    /// Declares the inputs `rope_cos` and `rope_sin`, fp32 `[S, E/2]`, if the model turns anything.
    pub fn inputs(
        b: &mut FunctionBuilder,
        config: &Config,
        seq: usize,
    ) -> Result<Option<Rotary>, OpError> {
        if config.architecture == Architecture::Gpt2 {
            return Ok(None);
        }
        let pairs = config.head_dim / 2;
        let dims: &[usize] = match config.rope {
            RopeStyle::Halves => &[seq, 1, pairs],
            RopeStyle::Interleaved => &[seq, 1, pairs, 1],
        };
        let cos = float_input(b, "rope_cos", &[seq, pairs]);
        let sin = float_input(b, "rope_sin", &[seq, pairs]);
        let (cos, sin) = (b.reshape(cos, dims)?, b.reshape(sin, dims)?);
        Ok(Some(Rotary { cos, sin, style: config.rope }))
    }

    /// x turned by its positions; x: `[B, S, H, E]` fp32.
    pub fn turn(&self, b: &mut FunctionBuilder, x: ValueId) -> Result<ValueId, OpError> {
        let dims = b.dims(x);
        let pairs = dims[3] / 2;
        match self.style {
            RopeStyle::Halves => self.turn_parts(b, x, pairs),
            RopeStyle::Interleaved => {
                let x = b.reshape(x, &[dims[0], dims[1], dims[2], pairs, 2])?;
                let x = self.turn_parts(b, x, 1)?;
                b.reshape(x, &dims)
            }
        }
    }

    /// (x₁, x₂) ↦ (x₁·cos − x₂·sin, x₂·cos + x₁·sin), where the last axis is x₁ and then x₂, each
    /// `width` long.
    fn turn_parts(
        &self,
        b: &mut FunctionBuilder,
        x: ValueId,
        width: usize,
    ) -> Result<ValueId, OpError> {
        let parts = b.split(x, &[width, width], -1)?;
        let (x1, x2) = (parts[0], parts[1]);
        let (x1_cos, x2_sin) = (b.mul(x1, self.cos)?, b.mul(x2, self.sin)?);
        let (x2_cos, x1_sin) = (b.mul(x2, self.cos)?, b.mul(x1, self.sin)?);
        let (y1, y2) = (b.sub(x1_cos, x2_sin)?, b.add(x2_cos, x1_sin)?);
        b.concat(&[y1, y2], -1)
    }
}
