//! The feed-forward part: SwiGLU.
//!
//! B batch, S sequence, D dim, F hidden.

use super::parts::{LayerParameters, project, residual, rms_norm};
use crate::Config;
use mil::{DataType, FunctionBuilder, Op, OpError, ValueId};

/// x + (silu(h·w_gateᵀ) · h·w_upᵀ)·w_downᵀ with h the normalized x; x: `[B, S, D]` fp32.
pub(super) fn feed_forward(
    b: &mut FunctionBuilder,
    config: &Config,
    compute: DataType,
    x: ValueId,
    weights: &LayerParameters,
) -> Result<ValueId, OpError> {
    let h = rms_norm(b, x, weights.get("ffn_norm"), config.norm_eps)?;
    let h = b.cast(h, compute)?;
    let gate = project(b, h, weights.get("w_gate"), compute)?; // [B, S, F]
    let up = project(b, h, weights.get("w_up"), compute)?; // [B, S, F]
    let gate = b.unary(Op::Silu, gate)?;
    let gated = b.mul(gate, up)?;
    let down = project(b, gated, weights.get("w_down"), compute)?; // [B, S, D]
    residual(b, x, down)
}
