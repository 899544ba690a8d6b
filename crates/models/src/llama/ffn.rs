//! The feed-forward part: gated, as SwiGLU and with other activations, or plain.
//!
//! B batch, S sequence, D dim, F hidden.

use super::parts::{LayerParameters, activate, residual};
use crate::{Architecture, Config};
use mil::{DataType, FunctionBuilder, OpError, ValueId};

/// x + (f(h·w_gateᵀ) · h·w_upᵀ)·w_downᵀ with h the normalized x and f the activation, or, without a
/// gate, x + f(h·w_up)·w_down; x: `[B, S, D]` fp32.
pub(super) fn feed_forward(
    b: &mut FunctionBuilder,
    config: &Config,
    compute: DataType,
    x: ValueId,
    weights: &LayerParameters,
) -> Result<ValueId, OpError> {
    let h = weights.norm(b, config, x, "ffn_norm")?;
    let h = b.cast(h, compute)?;
    let inner = match config.architecture {
        Architecture::Llama => {
            let gate = weights.project(b, h, "w_gate", compute)?; // [B, S, F]
            let up = weights.project(b, h, "w_up", compute)?; // [B, S, F]
            let gate = activate(b, config, gate)?;
            b.mul(gate, up)?
        }
        Architecture::Gpt2 => {
            let up = weights.project(b, h, "w_up", compute)?; // [B, S, F]
            activate(b, config, up)?
        }
    };
    let down = weights.project(b, inner, "w_down", compute)?; // [B, S, D]
    residual(b, x, down)
}
