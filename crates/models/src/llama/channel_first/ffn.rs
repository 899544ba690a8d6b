//! The feed-forward part: SwiGLU.
//!
//! D dim, F hidden, T tokens.

use super::norm::rms_norm;
use super::{as_channels, as_rows, product};
use crate::Config;
use crate::llama::parts::{LayerParameters, residual};
use mil::{DataType, FunctionBuilder, Op, OpError, ValueId};

/// x + w_down·(silu(w_gate·h) · w_up·h) with h the normalized x; x: `[1, D, 1, T]` fp32.
pub(super) fn feed_forward(
    b: &mut FunctionBuilder,
    config: &Config,
    compute: DataType,
    x: ValueId,
    weights: &LayerParameters,
) -> Result<ValueId, OpError> {
    let h = rms_norm(b, config, x, weights.get("ffn_norm"))?;
    let h = b.cast(h, compute)?;
    b.rename(h, "ffn_in");
    let h = as_rows(b, h)?;
    let gate = product(b, weights, "w_gate", h, compute)?;
    let gate = as_channels(b, gate)?; // [1, F, 1, T]
    b.rename(gate, "gate");
    let up = product(b, weights, "w_up", h, compute)?;
    let up = as_channels(b, up)?;
    b.rename(up, "up");

    // `sigmoid` ran on every engine that was tried; of `silu` that is not known.
    let sigmoid = b.unary(Op::Sigmoid, gate)?;
    let silu = b.mul(gate, sigmoid)?;
    let gated = b.mul(silu, up)?;
    let gated = as_rows(b, gated)?;
    let down = product(b, weights, "w_down", gated, compute)?; // [1, 1, D, T]
    let down = as_channels(b, down)?;
    residual(b, x, down)
}
