//! Rotary positions with the rotations as constants.
//!
//! H heads (of queries or of keys), E head dim, T tokens.

use crate::llama::Shape;
use crate::{Config, RopeStyle, rope_tables};
use mil::{DataType, FunctionBuilder, OpError, Tensor, ValueId};

/// The tables, `[1, 1, E/2, T]` in the compute type: row i turns pair i, column b·S + s by its
/// angle at position s.
pub(super) struct Rotary {
    cos: ValueId,
    sin: ValueId,
    style: RopeStyle,
}

impl Rotary {
    /// Writes the tables as constants.
    pub fn constants(
        b: &mut FunctionBuilder,
        config: &Config,
        shape: Shape,
        compute: DataType,
    ) -> Rotary {
        let (pairs, tokens) = (config.head_dim / 2, shape.tokens());
        let tables = rope_tables(config, 0, shape.seq);
        let mut constant = |name: &str, table: &[f32]| {
            let cell = |i: usize| f64::from(table[i % tokens % shape.seq * pairs + i / tokens]);
            let cells: Vec<f64> = (0..pairs * tokens).map(cell).collect();
            let tensor = Tensor::from_f64s(compute, &[1, 1, pairs, tokens], &cells);
            b.constant(name, tensor.expect("as many elements as the shape has"))
        };
        let (cos, sin) = (constant("rope_cos", &tables.cos), constant("rope_sin", &tables.sin));
        Rotary { cos, sin, style: config.rope }
    }

    /// x turned by its positions; x: `[1, H, E, T]` in the compute type.
    pub fn turn(&self, b: &mut FunctionBuilder, x: ValueId) -> Result<ValueId, OpError> {
        let dims = b.dims(x);
        let (heads, pairs, tokens) = (dims[1], dims[2] / 2, dims[3]);
        match self.style {
            RopeStyle::Halves => {
                let parts = b.split(x, &[pairs, pairs], 2)?;
                let (y1, y2) = self.turn_parts(b, parts[0], parts[1])?;
                b.concat(&[y1, y2], 2)
            }
            RopeStyle::Interleaved => {
                let x = b.reshape(x, &[1, heads * pairs, 2, tokens])?;
                let parts = b.split(x, &[1, 1], 2)?;
                let by_head = [1, heads, pairs, tokens];
                let (x1, x2) = (b.reshape(parts[0], &by_head)?, b.reshape(parts[1], &by_head)?);
                let (y1, y2) = self.turn_parts(b, x1, x2)?;
                let by_pair = [1, heads * pairs, 1, tokens];
                let (y1, y2) = (b.reshape(y1, &by_pair)?, b.reshape(y2, &by_pair)?);
                let y = b.concat(&[y1, y2], 2)?;
                b.reshape(y, &dims)
            }
        }
    }

    /// (x₁, x₂) ↦ (x₁·cos − x₂·sin, x₂·cos + x₁·sin); each `[1, H, E/2, T]`.
    fn turn_parts(
        &self,
        b: &mut FunctionBuilder,
        x1: ValueId,
        x2: ValueId,
    ) -> Result<(ValueId, ValueId), OpError> {
        let (x1_cos, x2_sin) = (b.mul(x1, self.cos)?, b.mul(x2, self.sin)?);
        let (x2_cos, x1_sin) = (b.mul(x2, self.cos)?, b.mul(x1, self.sin)?);
        Ok((b.sub(x1_cos, x2_sin)?, b.add(x2_cos, x1_sin)?))
    }
}
