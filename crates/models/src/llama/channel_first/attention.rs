//! Causal attention in which the G query heads of a key and value head are stacked as rows, so
//! that keys and values are never repeated.
//!
//! B batch, S sequence, T = B·S tokens, D dim, H heads, K kv heads, G = H/K, E head dim.

use super::norm::{head_norm, rms_norm};
use super::rotary::Rotary;
use super::{as_channels, as_rows, product};
use crate::Config;
use crate::llama::Shape;
use crate::llama::parts::{LayerParameters, residual};
use crate::mask::first_seen;
use mil::{DataType, FunctionBuilder, OpError, Tensor, ValueId};

/// x plus what the heads gathered, through `wo`; x: `[1, D, 1, T]` fp32.
pub(super) fn attend(
    b: &mut FunctionBuilder,
    config: &Config,
    shape: Shape,
    compute: DataType,
    x: ValueId,
    weights: &LayerParameters,
) -> Result<ValueId, OpError> {
    let normalized = rms_norm(b, config, x, weights.get("attn_norm"))?;
    let normalized = b.cast(normalized, compute)?;
    b.rename(normalized, "attn_in");
    let rows = as_rows(b, normalized)?;
    let rotary = Rotary::constants(b, config, shape, compute);

    let q = product(b, weights, "wq", rows, compute)?; // [1, 1, H·E, T]
    let norm = weights.optional("q_norm").map(|weight| (weight, "q_raw"));
    let q = normalize_and_turn(b, config, q, norm, &rotary)?; // [1, H, E, T]
    // Before the product and not after it: a score is a sum over E that must stay below 32,768
    // on the engine, and is √E times smaller so.
    let q = b.scale(q, 1.0 / (config.head_dim as f64).sqrt())?;
    let q = b.reshape(q, &[1, config.heads * config.head_dim, 1, shape.tokens()])?;
    b.rename(q, "q");

    let k = product(b, weights, "wk", rows, compute)?; // [1, 1, K·E, T]
    let norm = weights.optional("k_norm").map(|weight| (weight, "k_raw"));
    let k = normalize_and_turn(b, config, k, norm, &rotary)?; // [1, K, E, T]
    let k = b.reshape(k, &[1, config.kv_heads * config.head_dim, 1, shape.tokens()])?;
    b.rename(k, "k");

    let v = product(b, weights, "wv", rows, compute)?;
    let v = as_channels(b, v)?; // [1, K·E, 1, T]
    b.rename(v, "v");

    let q = by_head(b, config, shape, q)?; // [1, B·K, G·S, E]
    let k = by_head(b, config, shape, k)?; // [1, B·K, S, E]
    let v = by_head(b, config, shape, v)?; // [1, B·K, S, E]
    let scores = b.matmul(q, k, (false, true))?; // [1, B·K, G·S, S]
    let scores = hide_the_future(b, config, shape, scores)?;
    let attention = b.softmax(scores, -1)?;
    let gathered = b.matmul(attention, v, (false, false))?; // [1, B·K, G·S, E]
    let gathered = by_channel(b, config, shape, gathered)?; // [1, H·E, 1, T]
    b.rename(gathered, "attended");

    let gathered = as_rows(b, gathered)?;
    let out = product(b, weights, "wo", gathered, compute)?; // [1, 1, D, T]
    let out = as_channels(b, out)?;
    let x = residual(b, x, out)?;
    b.rename(x, "x_mid");
    Ok(x)
}

/// x as `[1, heads, E, T]`, every head normalized if the model does that, then turned; x:
/// `[1, 1, heads·E, T]`. With a norm goes the name of what it reads.
fn normalize_and_turn(
    b: &mut FunctionBuilder,
    config: &Config,
    x: ValueId,
    norm: Option<(ValueId, &str)>,
    rotary: &Rotary,
) -> Result<ValueId, OpError> {
    let (dims, width) = (b.dims(x), config.head_dim);
    let by_head = [1, dims[2] / width, width, dims[3]];
    let x = match norm {
        None => b.reshape(x, &by_head)?,
        Some((weight, name)) => {
            let x = as_channels(b, x)?;
            b.rename(x, name);
            let x = b.reshape(x, &by_head)?;
            head_norm(b, x, weight, config.norm_eps)?
        }
    };
    rotary.turn(b, x)
}

/// Channels to heads: `[1, heads·E, 1, T]` as `[1, B·K, heads/K·S, E]`.
fn by_head(
    b: &mut FunctionBuilder,
    config: &Config,
    shape: Shape,
    x: ValueId,
) -> Result<ValueId, OpError> {
    let Shape { batch, seq } = shape;
    let (width, groups) = (config.head_dim, config.kv_heads);
    let heads = b.dims(x)[1] / width;
    let x = match batch {
        // One sequence keeps the first axis 1, which is what the engine knows best.
        1 => {
            let x = b.reshape(x, &[1, heads, width, seq])?;
            b.transpose(x, &[0, 1, 3, 2])?
        }
        _ => {
            let x = b.reshape(x, &[heads, width, batch, seq])?;
            b.transpose(x, &[2, 0, 3, 1])?
        }
    }; // [B, heads, S, E]
    let dims = [1, batch * groups, heads / groups * seq, width];
    if b.dims(x) == dims { Ok(x) } else { b.reshape(x, &dims) }
}

/// Query heads back to channels: `[1, B·K, G·S, E]` as `[1, H·E, 1, T]`.
fn by_channel(
    b: &mut FunctionBuilder,
    config: &Config,
    shape: Shape,
    x: ValueId,
) -> Result<ValueId, OpError> {
    let Shape { batch, seq } = shape;
    let (heads, width) = (config.heads, config.head_dim);
    let by_head = [batch, heads, seq, width];
    let x = if b.dims(x) == by_head { x } else { b.reshape(x, &by_head)? };
    let x = match batch {
        1 => b.transpose(x, &[0, 1, 3, 2])?, // [1, H, E, S]
        _ => b.transpose(x, &[1, 3, 0, 2])?, // [H, E, B, S]
    };
    b.reshape(x, &[1, heads * width, 1, shape.tokens()])
}

/// The scores of S positions against themselves, each seeing itself and those before, as far as the
/// model looks back; scores: `[1, B·K, G·S, S]`.
fn hide_the_future(
    b: &mut FunctionBuilder,
    config: &Config,
    shape: Shape,
    scores: ValueId,
) -> Result<ValueId, OpError> {
    // Of fp16, and still finite with any score added that the engine can give, which is above
    // −32,768: −∞ minus −∞ would be no number. Its exponential is 0 unless the score is by
    // 29,980 larger than the largest one that may be seen.
    const HIDDEN: f64 = -30_000.0;
    let (rows, seq) = (config.group() * shape.seq, shape.seq);
    let hidden = |i: usize| {
        let (position, other) = (i / seq % seq, i % seq);
        let first = first_seen(position, config.sliding_window);
        if (first..=position).contains(&other) { 0.0 } else { HIDDEN }
    };
    let cells: Vec<f64> = (0..rows * seq).map(hidden).collect();
    let mask = Tensor::from_f64s(b.dtype(scores), &[1, 1, rows, seq], &cells);
    let mask = b.constant("causal_mask", mask.expect("as many elements as the shape has"));
    b.add(scores, mask)
}
