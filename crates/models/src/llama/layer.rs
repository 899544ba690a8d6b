//! One layer over whole sequences: attention, then the feed-forward part.

use super::attention::{heads, hide_the_future, project_heads, scores};
use super::ffn::feed_forward;
use super::parts::LayerParameters;
use super::rotary::Rotary;
use super::{Layout, Shape, begin, channel_first, float_input};
use crate::{Config, Error};
use mil::{DataType, Function};

/// The function `layer`.
///
/// Token-major inputs, fp32: `x` `[B, S, D]`; `rope_cos` and `rope_sin` `[S, E/2]`; the parameters
/// `attn_norm` `[D]`, `wq` `[H·E, D]`, `wk` and `wv` `[K·E, D]`, `wo` `[D, H·E]`, with `qk_norm`
/// also `q_norm` and `k_norm` `[E]`, then `ffn_norm` `[D]`, `w_gate` and `w_up` `[F, D]`, `w_down`
/// `[D, F]`. Output `y` fp32 `[B, S, D]`.
///
/// Channel-first, `x` and `y` are fp32 `[1, D, 1, T]`, and the rotations are no inputs but constants
/// of the function. The parameters are the same.
pub fn layer(
    config: &Config,
    shape: Shape,
    layout: Layout,
    compute: DataType,
) -> Result<Function, Error> {
    match layout {
        Layout::TokenMajor => token_major(config, shape, compute),
        Layout::ChannelFirst => channel_first::layer(config, shape, compute),
    }
}

fn token_major(config: &Config, shape: Shape, compute: DataType) -> Result<Function, Error> {
    let mut b = begin("layer", config, compute)?;
    shape.check(config)?;
    let x = float_input(&mut b, "x", &[shape.batch, shape.seq, config.dim]);
    let rotary = Rotary::inputs(&mut b, config, shape.seq)?;
    let weights = LayerParameters::inputs(&mut b, config);

    let heads = heads(&mut b, config, shape, compute, x, &rotary, &weights)?;
    let k = b.cast(heads.k, compute)?;
    let scores = scores(&mut b, config, heads.q, k, "scores")?; // [B, K, G, S, S]
    let scores = hide_the_future(&mut b, scores, shape.seq)?;
    let attention = b.softmax(scores, -1)?;
    b.rename(attention, "attention");
    let attention = b.cast(attention, compute)?;
    let gathered = b.matmul(attention, heads.v, (false, false))?; // [B, K, G, S, E]
    let x = project_heads(&mut b, config, shape, x, gathered, weights.get("wo"))?;

    let y = feed_forward(&mut b, config, compute, x, &weights)?;
    b.rename(y, "y");
    Ok(b.finish(&[y]))
}
