//! Causal attention in which G query heads share each key and value head.
//!
//! B batch, S sequence, D dim, H heads, K kv heads, G = H/K, E head dim, N keys attended to.
//! Query head h reads key and value head h/G: heads are kept as `[K, G]`, and the products
//! broadcast keys and values over G, which are never repeated in memory.

use super::Shape;
use super::parts::{LayerParameters, residual, rms_norm};
use super::rotary::Rotary;
use crate::{Config, fill_mask};
use mil::{DataType, FunctionBuilder, OpError, Tensor, ValueId};

/// What a position asks, and what it offers to later ones.
pub(super) struct Heads {
    /// `[B, K, G, S, E]` in the compute type.
    pub q: ValueId,
    /// `[B, K, 1, S, E]` in fp32, normalized and turned.
    pub k: ValueId,
    /// `[B, K, 1, S, E]` in the compute type.
    pub v: ValueId,
}

/// Queries, keys and values of x: `[B, S, D]` fp32.
pub(super) fn heads(
    b: &mut FunctionBuilder,
    config: &Config,
    shape: Shape,
    compute: DataType,
    x: ValueId,
    rotary: Option<&Rotary>,
    weights: &LayerParameters,
) -> Result<Heads, OpError> {
    let x = weights.norm(b, config, x, "attn_norm")?;
    let x = b.cast(x, compute)?;
    let Some(rotary) = rotary else { return joined(b, config, shape, compute, x, weights) };

    let q = weights.project(b, x, "wq", compute)?; // [B, S, H·E]
    let q = normalize_and_turn(b, config, shape, q, weights.optional("q_norm"), rotary)?;
    let q = b.cast(q, compute)?;
    let q = by_head(b, config, shape, q, config.group())?;

    let k = weights.project(b, x, "wk", compute)?; // [B, S, K·E]
    let k = normalize_and_turn(b, config, shape, k, weights.optional("k_norm"), rotary)?;
    let k = by_head(b, config, shape, k, 1)?;

    let v = weights.project(b, x, "wv", compute)?; // [B, S, K·E]
    let v = b.cast(v, compute)?;
    let v = by_head(b, config, shape, v, 1)?;
    Ok(Heads { q, k, v })
}

/// The same where one matrix gives all three, side by side, and positions are in x already; x:
/// `[B, S, D]` in the compute type.
fn joined(
    b: &mut FunctionBuilder,
    config: &Config,
    shape: Shape,
    compute: DataType,
    x: ValueId,
    weights: &LayerParameters,
) -> Result<Heads, OpError> {
    let qkv = weights.project(b, x, "w_qkv", compute)?; // [B, S, 3·D]
    let parts = b.split(qkv, &[config.dim; 3], -1)?;
    let q = b.cast(parts[0], compute)?;
    let q = by_head(b, config, shape, q, config.group())?;
    let k = b.cast(parts[1], DataType::Fp32)?;
    let k = by_head(b, config, shape, k, 1)?;
    let v = b.cast(parts[2], compute)?;
    let v = by_head(b, config, shape, v, 1)?;
    Ok(Heads { q, k, v })
}

/// x in fp32 as `[B, S, heads, E]`, every head normalized if the model does that, then turned;
/// x: `[B, S, heads·E]`.
fn normalize_and_turn(
    b: &mut FunctionBuilder,
    config: &Config,
    shape: Shape,
    x: ValueId,
    norm: Option<ValueId>,
    rotary: &Rotary,
) -> Result<ValueId, OpError> {
    let width = config.head_dim;
    let count = b.dims(x)[2] / width;
    let x = b.cast(x, DataType::Fp32)?;
    let mut x = b.reshape(x, &[shape.batch, shape.seq, count, width])?;
    if let Some(norm) = norm {
        x = rms_norm(b, config, x, norm)?;
    }
    rotary.turn(b, x)
}

/// x: `[B, S, …]` of K·group·E elements per position, as `[B, K, group, S, E]`.
fn by_head(
    b: &mut FunctionBuilder,
    config: &Config,
    shape: Shape,
    x: ValueId,
    group: usize,
) -> Result<ValueId, OpError> {
    let dims = [shape.batch, shape.seq, config.kv_heads, group, config.head_dim];
    let x = b.reshape(x, &dims)?;
    b.transpose(x, &[0, 2, 3, 1, 4])
}

/// q·kᵀ/√E in fp32: `[B, K, G, S, N]`; q: `[B, K, G, S, E]`, k: `[B, K, 1, N, E]`, both in the
/// compute type. The product is named so.
pub(super) fn scores(
    b: &mut FunctionBuilder,
    config: &Config,
    q: ValueId,
    k: ValueId,
    name: &str,
) -> Result<ValueId, OpError> {
    let scores = b.matmul(q, k, (false, true))?;
    b.rename(scores, name);
    let scores = b.cast(scores, DataType::Fp32)?;
    b.scale(scores, 1.0 / (config.head_dim as f64).sqrt())
}

/// What S positions see of themselves, each itself and those before, as far as the model looks back:
/// `[S, S]` fp32, to be added to scores.
pub(super) fn causal_mask(b: &mut FunctionBuilder, config: &Config, seq: usize) -> ValueId {
    let mut cells = vec![0.0; seq * seq];
    fill_mask(&mut cells, &vec![0; seq], seq, config.sliding_window);
    let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_le_bytes()).collect();
    let mask =
        Tensor::from_bytes(DataType::Fp32, &[seq, seq], bytes).expect("seq · seq elements of fp32");
    b.constant("causal_mask", mask)
}

/// x plus what the heads gathered, through `wo`; x: `[B, S, D]` fp32, gathered:
/// `[B, K, G, S, E]` in the compute type.
pub(super) fn project_heads(
    b: &mut FunctionBuilder,
    config: &Config,
    shape: Shape,
    x: ValueId,
    gathered: ValueId,
    weights: &LayerParameters,
) -> Result<ValueId, OpError> {
    let compute = b.dtype(gathered);
    let gathered = b.transpose(gathered, &[0, 3, 1, 2, 4])?; // [B, S, K, G, E]
    let width = config.heads * config.head_dim;
    let gathered = b.reshape(gathered, &[shape.batch, shape.seq, width])?;
    let out = weights.project(b, gathered, "wo", compute)?;
    residual(b, x, out)
}
