//! One layer over new tokens that follow those in a cache: what generation runs.

use super::attention::{causal_mask, heads, project_heads, scores};
use super::ffn::feed_forward;
use super::parts::LayerParameters;
use super::rotary::Rotary;
use super::{Shape, begin, bound, float_input};
use crate::{Config, Error};
use mil::{DataType, Function, FunctionBuilder, OpError, ValueId};

/// How many new tokens a function takes, and how many it can look back on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CacheShape {
    /// Texts that go on side by side, B, each with a cache of its own.
    pub batch: usize,
    /// New tokens of each, S.
    pub seq: usize,
    /// Slots of a cache, C; the mask says which are in use. With none there is no cache: the new
    /// tokens are the first.
    pub capacity: usize,
}

/// The function `cached_layer`: what `layer` gives for the last S tokens of B texts whose earlier
/// keys and values are in caches.
///
/// Inputs, fp32: `x` `[B, S, D]`; `rope_cos` and `rope_sin` `[B·S, E/2]` of the new positions, unless
/// the model has learned its positions; `k_cache` and `v_cache` `[B, K, C, E]`; `mask` `[B, S, C]`,
/// added to the scores: 0 where a slot is in use, about −1e9 where not
/// ([`fill_cache_mask`](crate::fill_cache_mask)); then the parameters of `layer`. Unused slots must
/// hold finite values. Without slots there is none of these three. Outputs, fp32: `y` `[B, S, D]`, and
/// `k_new` and `v_new` `[B, K, S, E]`, which the caller copies into the caches.
pub fn cached_layer(
    config: &Config,
    shape: CacheShape,
    compute: DataType,
) -> Result<Function, Error> {
    let mut b = begin("cached_layer", config, compute)?;
    let CacheShape { batch, seq, capacity } = shape;
    let shape = Shape { batch, seq };
    shape.check(config)?;
    if capacity > 0 {
        bound("capacity", capacity, i32::MAX as usize / (batch * seq))?;
    }
    let x = float_input(&mut b, "x", &[batch, seq, config.dim]);
    let rotary = Rotary::of_each(&mut b, config, shape)?;
    let (groups, width) = (config.kv_heads, config.head_dim);
    let cache = (capacity > 0).then(|| Cache {
        keys: float_input(&mut b, "k_cache", &[batch, groups, capacity, width]),
        values: float_input(&mut b, "v_cache", &[batch, groups, capacity, width]),
        mask: float_input(&mut b, "mask", &[batch, seq, capacity]),
    });
    let weights = LayerParameters::inputs(&mut b, config);

    let new = heads(&mut b, config, shape, compute, x, rotary.as_ref(), &weights)?;
    let k_new = b.reshape(new.k, &[batch, groups, seq, width])?;
    b.rename(k_new, "k_new");
    let v_new = b.cast(new.v, DataType::Fp32)?;
    let v_new = b.reshape(v_new, &[batch, groups, seq, width])?;
    b.rename(v_new, "v_new");

    let k = b.cast(new.k, compute)?;
    let on_new = scores(&mut b, config, new.q, k, "scores_new")?; // [B, K, G, S, S]
    let mask = causal_mask(&mut b, config, seq);
    let on_new = b.add(on_new, mask)?;
    let gathered = match cache {
        Some(cache) => {
            let on_old = cache.scores(&mut b, config, compute, new.q)?;
            // Scores against the cache and against each other share one softmax.
            let all = b.concat(&[on_old, on_new], -1)?;
            let attention = b.softmax(all, -1)?;
            let attention = b.cast(attention, compute)?;
            let parts = b.split(attention, &[capacity, seq], -1)?;
            let values = cache.heads(&mut b, compute, cache.values)?;
            let from_old = b.matmul(parts[0], values, (false, false))?; // [B, K, G, S, E]
            let from_new = b.matmul(parts[1], new.v, (false, false))?;
            b.add(from_old, from_new)?
        }
        None => {
            let attention = b.softmax(on_new, -1)?;
            let attention = b.cast(attention, compute)?;
            b.matmul(attention, new.v, (false, false))?
        }
    };
    let x = project_heads(&mut b, config, shape, x, gathered, &weights)?;

    let y = feed_forward(&mut b, config, compute, x, &weights)?;
    b.rename(y, "y");
    Ok(b.finish(&[y, k_new, v_new]))
}

/// Keys and values of earlier tokens, `[B, K, C, E]`, and the mask of their slots, `[B, S, C]`.
struct Cache {
    keys: ValueId,
    values: ValueId,
    mask: ValueId,
}

impl Cache {
    /// Scores of the new positions against the slots, `[B, K, G, S, C]` fp32.
    fn scores(
        &self,
        b: &mut FunctionBuilder,
        config: &Config,
        compute: DataType,
        q: ValueId,
    ) -> Result<ValueId, OpError> {
        let keys = self.heads(b, compute, self.keys)?;
        let scores = scores(b, config, q, keys, "scores_old")?;
        let [batch, seq, capacity] = [0, 1, 2].map(|axis| b.dims(self.mask)[axis]);
        let mask = b.reshape(self.mask, &[batch, 1, 1, seq, capacity])?;
        b.add(scores, mask)
    }

    /// Keys or values as `[B, K, 1, C, E]` in the compute type.
    fn heads(
        &self,
        b: &mut FunctionBuilder,
        compute: DataType,
        cached: ValueId,
    ) -> Result<ValueId, OpError> {
        let [batch, groups, capacity, width] = [0, 1, 2, 3].map(|axis| b.dims(cached)[axis]);
        let cached = b.cast(cached, compute)?;
        b.reshape(cached, &[batch, groups, 1, capacity, width])
    }
}
