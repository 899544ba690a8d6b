//! One layer over whole sequences: attention, then the feed-forward part.

use super::attention::{causal_mask, heads, project_heads, scores};
use super::ffn::feed_forward;
use super::parts::LayerParameters;
use super::rotary::Rotary;
use super::{Layout, Shape, begin, channel_first, float_input};
use crate::{Config, Error};
use mil::{DataType, Function};

/// The function `layer`.
///
/// Token-major inputs, fp32: `x` `[B, S, D]`; `rope_cos` and `rope_sin` `[S, E/2]`; the parameters
/// `attn_norm` `[D]`, `wq` `[H·E, D]`, `wk` and `wv` `[K·E, D]`, `wo` `[D, H·E]`, with
/// `attention_bias` also `bq` `[H·E]`, `bk` and `bv` `[K·E]` and perhaps `bo` `[D]`, with `qk_norm`
/// also `q_norm` and `k_norm` `[E]`, then `ffn_norm` `[D]`, `w_gate` and `w_up` `[F, D]`, `w_down`
/// `[D, F]`, with `mlp_bias` also `b_gate` and `b_up` `[F]` and `b_down` `[D]`. Output `y` fp32
/// `[B, S, D]`.
///
/// Of GPT-2 there are no rotations, and the parameters are `attn_norm` and `attn_norm_bias` `[D]`,
/// `w_qkv` `[D, 3·D]`, `b_qkv` `[3·D]`, `wo` `[D, D]`, `bo` `[D]`, `ffn_norm` and `ffn_norm_bias`
/// `[D]`, `w_up` `[D, F]`, `b_up` `[F]`, `w_down` `[F, D]`, `b_down` `[D]`.
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
        Layout::TokenMajor => token_major(Seen::Causal, config, shape, compute),
        Layout::ChannelFirst => channel_first::layer(config, shape, compute),
    }
}

/// The function `masked_layer`: what `layer` gives token-major, but that what a position sees is an
/// input, for sequences in which samples are packed behind each other.
///
/// Inputs, fp32: `x`, `rope_cos` and `rope_sin` as of `layer`; `mask` `[B, 1, 1, S, S]`, added to the
/// scores of the position of the row against those of the columns, which
/// [`fill_mask`](crate::fill_mask) fills; then the parameters. Output `y` fp32 `[B, S, D]`.
pub fn masked_layer(config: &Config, shape: Shape, compute: DataType) -> Result<Function, Error> {
    token_major(Seen::Input, config, shape, compute)
}

/// Where a layer has from what each position sees.
#[derive(Clone, Copy)]
enum Seen {
    /// A constant: itself and those before.
    Causal,
    /// The input `mask`.
    Input,
}

fn token_major(
    seen: Seen,
    config: &Config,
    shape: Shape,
    compute: DataType,
) -> Result<Function, Error> {
    let name = match seen {
        Seen::Causal => "layer",
        Seen::Input => "masked_layer",
    };
    let mut b = begin(name, config, compute)?;
    shape.check(config)?;
    let Shape { batch, seq } = shape;
    let x = float_input(&mut b, "x", &[batch, seq, config.dim]);
    let rotary = Rotary::inputs(&mut b, config, seq)?;
    let mask = match seen {
        Seen::Causal => causal_mask(&mut b, config, seq),
        Seen::Input => float_input(&mut b, "mask", &[batch, 1, 1, seq, seq]),
    };
    let weights = LayerParameters::inputs(&mut b, config);

    let heads = heads(&mut b, config, shape, compute, x, rotary.as_ref(), &weights)?;
    let k = b.cast(heads.k, compute)?;
    let scores = scores(&mut b, config, heads.q, k, "scores")?; // [B, K, G, S, S]
    let scores = b.add(scores, mask)?;
    let attention = b.softmax(scores, -1)?;
    b.rename(attention, "attention");
    let attention = b.cast(attention, compute)?;
    let gathered = b.matmul(attention, heads.v, (false, false))?; // [B, K, G, S, E]
    let x = project_heads(&mut b, config, shape, x, gathered, &weights)?;

    let y = feed_forward(&mut b, config, compute, x, &weights)?;
    b.rename(y, "y");
    Ok(b.finish(&[y]))
}
