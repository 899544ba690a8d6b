//! One layer over new tokens that follow those in a cache: what generation runs.

use super::attention::{heads, hide_the_future, project_heads, scores};
use super::ffn::feed_forward;
use super::parts::LayerParameters;
use super::rotary::Rotary;
use super::{Shape, begin, bound, float_input};
use crate::{Config, Error};
use mil::{DataType, Function};

/// How many new tokens a function takes, and how many it can look back on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CacheShape {
    /// New tokens, S.
    pub seq: usize,
    /// Slots of the cache, C; the mask says which are in use.
    pub capacity: usize,
}

/// The function `cached_layer`: what `layer` gives for the last S tokens of a sequence whose
/// earlier keys and values are in a cache.
///
/// Inputs, fp32: `x` `[1, S, D]`; `rope_cos` and `rope_sin` `[S, E/2]` of the new positions;
/// `k_cache` and `v_cache` `[K, C, E]`; `mask` `[S, C]`, added to the scores: 0 where a slot is in
/// use, about −1e9 where not; then the parameters of `layer`. Unused slots must hold finite
/// values. Outputs, fp32: `y` `[1, S, D]`, and `k_new` and `v_new` `[K, S, E]`, which the caller
/// copies into the cache.
pub fn cached_layer(
    config: &Config,
    shape: CacheShape,
    compute: DataType,
) -> Result<Function, Error> {
    let mut b = begin("cached_layer", config, compute)?;
    let CacheShape { seq, capacity } = shape;
    let shape = Shape { batch: 1, seq };
    shape.check(config)?;
    bound("capacity", capacity, i32::MAX as usize / seq)?;
    let x = float_input(&mut b, "x", &[1, seq, config.dim]);
    let rotary = Rotary::inputs(&mut b, config, seq)?;
    let (groups, width) = (config.kv_heads, config.head_dim);
    let k_cache = float_input(&mut b, "k_cache", &[groups, capacity, width]);
    let v_cache = float_input(&mut b, "v_cache", &[groups, capacity, width]);
    let mask = float_input(&mut b, "mask", &[seq, capacity]);
    let weights = LayerParameters::inputs(&mut b, config);

    let new = heads(&mut b, config, shape, compute, x, &rotary, &weights)?;
    let k_new = b.reshape(new.k, &[groups, seq, width])?;
    b.rename(k_new, "k_new");
    let v_new = b.cast(new.v, DataType::Fp32)?;
    let v_new = b.reshape(v_new, &[groups, seq, width])?;
    b.rename(v_new, "v_new");

    let old_dims = [1, groups, 1, capacity, width];
    let k_old = b.cast(k_cache, compute)?;
    let k_old = b.reshape(k_old, &old_dims)?;
    let v_old = b.cast(v_cache, compute)?;
    let v_old = b.reshape(v_old, &old_dims)?;

    // Scores against the cache and against each other share one softmax.
    let on_old = scores(&mut b, config, new.q, k_old, "scores_old")?; // [1, K, G, S, C]
    let on_old = b.add(on_old, mask)?;
    let k = b.cast(new.k, compute)?;
    let on_new = scores(&mut b, config, new.q, k, "scores_new")?; // [1, K, G, S, S]
    let on_new = hide_the_future(&mut b, on_new, seq)?;
    let all = b.concat(&[on_old, on_new], -1)?;
    let attention = b.softmax(all, -1)?;
    let attention = b.cast(attention, compute)?;
    let parts = b.split(attention, &[capacity, seq], -1)?;
    let from_old = b.matmul(parts[0], v_old, (false, false))?; // [1, K, G, S, E]
    let from_new = b.matmul(parts[1], new.v, (false, false))?;
    let gathered = b.add(from_old, from_new)?;
    let x = project_heads(&mut b, config, shape, x, gathered, weights.get("wo"))?;

    let y = feed_forward(&mut b, config, compute, x, &weights)?;
    b.rename(y, "y");
    Ok(b.finish(&[y, k_new, v_new]))
}
