//! The feed-forward part, gated: SwiGLU, or with another activation.
//!
//! B batch, S sequence, D dim, F hidden.

use super::parts::{LayerParameters, activate, residual, rms_norm};
use crate::Config;
use mil::{DataType, FunctionBuilder, OpError, ValueId};

/// x + (f(h·w_gateᵀ) · h·w_upᵀ)·w_downᵀ with h the normalized x and f the activation; x: `[B, S, D]`
/// fp32.
pub(super) fn feed_forward(
    b: &mut FunctionBuilder,
    config: &Config,
    compute: DataType,
    x: ValueId,
    weights: &LayerParameters,
) -> Result<ValueId, OpError> {
    let h = rms_norm(b, config, x, weights.get("ffn_norm"))?;
    let h = b.cast(h, compute)?;
    let gate = weights.project(b, h, "w_gate", compute)?; // [B, S, F]
    let up = weights.project(b, h, "w_up", compute)?; // [B, S, F]
    let gate = activate(b, config, gate)?;
    let gated = b.mul(gate, up)?;
    let down = weights.project(b, gated, "w_down", compute)?; // [B, S, D]
    residual(b, x, down)
}
