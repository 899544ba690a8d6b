//! Rotary positions: every pair of elements of a head turns by an angle that grows with the
//! position, so that a query's product with a key depends on their distance.
//!
//! B batch, S sequence, H heads (of queries or of keys), E head dim.

use super::{Shape, float_input};
use crate::{Architecture, Config, RopeStyle};
use mil::{FunctionBuilder, OpError, ValueId};

/// The tables, in the shape that broadcasts against half a head: `[S, 1, E/2]`, or
/// `[S, 1, E/2, 1]` where pairs are neighbors; with B before it if every text has its own.
pub(super) struct Rotary {
    cos: ValueId,
    sin: ValueId,
    style: RopeStyle,
}

impl Rotary {
    /// Declares the inputs `rope_cos` and `rope_sin`, fp32 `[S, E/2]`, if the model turns anything:
    /// the positions of every sequence.
    pub fn inputs(
        b: &mut FunctionBuilder,
        config: &Config,
        seq: usize,
    ) -> Result<Option<Rotary>, OpError> {
        Rotary::tables(b, config, &[seq])
    }

    /// The same where every sequence has positions of its own, `[B·S, E/2]`.
    pub fn of_each(
        b: &mut FunctionBuilder,
        config: &Config,
        shape: Shape,
    ) -> Result<Option<Rotary>, OpError> {
        Rotary::tables(b, config, &[shape.batch, shape.seq])
    }

    fn tables(
        b: &mut FunctionBuilder,
        config: &Config,
        positions: &[usize],
    ) -> Result<Option<Rotary>, OpError> {
        if config.architecture == Architecture::Gpt2 {
            return Ok(None);
        }
        let pairs = config.head_dim / 2;
        let rows = positions.iter().product();
        let cos = float_input(b, "rope_cos", &[rows, pairs]);
        let sin = float_input(b, "rope_sin", &[rows, pairs]);
        Rotary::of(b, config, positions, cos, sin).map(Some)
    }

    /// Those that these values are, fp32 `[S, E/2]`.
    pub fn of_rows(
        b: &mut FunctionBuilder,
        config: &Config,
        cos: ValueId,
        sin: ValueId,
    ) -> Result<Rotary, OpError> {
        let rows = b.dims(cos)[0];
        Rotary::of(b, config, &[rows], cos, sin)
    }

    fn of(
        b: &mut FunctionBuilder,
        config: &Config,
        positions: &[usize],
        cos: ValueId,
        sin: ValueId,
    ) -> Result<Rotary, OpError> {
        let pairs = config.head_dim / 2;
        let mut dims = positions.to_vec();
        match config.rope {
            RopeStyle::Halves => dims.extend([1, pairs]),
            RopeStyle::Interleaved => dims.extend([1, pairs, 1]),
        }
        let (cos, sin) = (b.reshape(cos, &dims)?, b.reshape(sin, &dims)?);
        Ok(Rotary { cos, sin, style: config.rope })
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
