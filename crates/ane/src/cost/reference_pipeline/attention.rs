//! Kernels of attention.

use super::Sizes;
use super::products::{Built, begin, block, conv, dynamic, file, rms_norm};
use mil::{DataType, Function, FunctionBuilder, Op, OpError, ValueId};

/// `[1, H·E, 1, S]` as `[1, H, S, E]`.
fn heads(b: &mut FunctionBuilder, s: &Sizes, x: ValueId) -> Built {
    let channels = b.dims(x)[1];
    let x = b.reshape(x, &[1, channels / s.head_dim, s.head_dim, s.seq])?;
    b.transpose(x, &[0, 1, 3, 2])
}

/// `[1, H, S, E]` as `[1, H·E, 1, S]`.
fn channels(b: &mut FunctionBuilder, s: &Sizes, x: ValueId) -> Built {
    let heads = b.dims(x)[1];
    let x = b.transpose(x, &[0, 1, 3, 2])?;
    b.reshape(x, &[1, heads * s.head_dim, 1, s.seq])
}

/// softmax(q·kᵀ/√E + mask), `[1, H, S, S]`.
fn probabilities(b: &mut FunctionBuilder, s: &Sizes, q: ValueId, k: ValueId) -> Built {
    let scores = b.matmul(q, k, (false, true))?;
    let scores = b.scale(scores, 1.0 / (s.head_dim as f64).sqrt())?;
    let mask = file(b, "mask", &[1, 1, s.seq, s.seq]);
    let scores = b.add(scores, mask)?;
    b.softmax(scores, -1)
}

/// Turns pairs of neighbors by tables of `[1, 1, S, E]`; x: `[1, H, S, E]`.
fn rotate(b: &mut FunctionBuilder, s: &Sizes, x: ValueId) -> Built {
    let dims = b.dims(x);
    let (cos, sin) = (
        file(b, "rope_cos", &[1, 1, s.seq, s.head_dim]),
        file(b, "rope_sin", &[1, 1, s.seq, s.head_dim]),
    );
    let pairs = b.reshape(x, &[1, dims[1], s.seq * s.head_dim / 2, 2])?;
    let parts = [0, 1].map(|column| {
        let begin = b.ints(&[0, 0, 0, column]);
        let size = b.ints(&[1, dims[1] as i64, (s.seq * s.head_dim / 2) as i64, 1]);
        let inputs = [("x", pairs.into()), ("begin", begin.into()), ("size", size.into())];
        b.op(Op::SliceBySize, "pair", inputs)
    });
    let [even, odd] = parts;
    let minus = b.float(DataType::Fp16, -1.0);
    let odd = b.mul(odd?, minus)?;
    let turned = b.concat(&[odd, even?], 3)?;
    let turned = b.reshape(turned, &dims)?;
    let a = b.mul(x, cos)?;
    let c = b.mul(turned, sin)?;
    b.add(a, c)
}

/// Keys or values repeated for the query heads that share them.
fn repeated(b: &mut FunctionBuilder, s: &Sizes, x: ValueId) -> Built {
    match s.heads / s.kv_heads {
        1 => Ok(x),
        group => b.concat(&vec![x; group], 1),
    }
}

/// `sdpaFwd`.
pub(super) fn sdpa_forward(s: &Sizes) -> Result<Function, OpError> {
    let (d, q, k, t) = (s.dim, s.q(), s.k(), s.seq);
    let (mut b, input) = begin("sdpaFwd", d, t + q + 2 * k);
    let x = block(&mut b, input, (0, d), (0, t))?;
    let mut parts = vec![];
    for (at, out) in [(t, q), (t + q, k), (t + q + k, k)] {
        let w = block(&mut b, input, (0, d), (at, out))?;
        let y = dynamic(&mut b, x, w)?;
        parts.push(heads(&mut b, s, y)?);
    }
    let query = rotate(&mut b, s, parts[0])?;
    let key = rotate(&mut b, s, parts[1])?;
    let keys = repeated(&mut b, s, key)?;
    let values = repeated(&mut b, s, parts[2])?;
    let weights = probabilities(&mut b, s, query, keys)?;
    let gathered = b.matmul(weights, values, (false, false))?;
    let mut results = vec![];
    for value in [gathered, query, key, parts[2]] {
        results.push(channels(&mut b, s, value)?);
    }
    results.push(x);
    let all = b.concat(&results, 1)?;
    Ok(b.finish(&[all]))
}

/// `sdpaBwd1`: the probabilities again, their gradient, and that of the values.
pub(super) fn sdpa_backward(s: &Sizes) -> Result<Function, OpError> {
    let (q, t) = (s.q(), s.seq);
    let (mut b, input) = begin("sdpaBwd1", 4 * q, t);
    let mut parts = vec![];
    for i in 0..4 {
        let x = block(&mut b, input, (i * q, q), (0, t))?;
        parts.push(heads(&mut b, s, x)?);
    }
    let weights = probabilities(&mut b, s, parts[0], parts[1])?;
    let d_values = b.matmul(weights, parts[3], (true, false))?;
    let d_weights = b.matmul(parts[3], parts[2], (false, true))?;
    let d_values = channels(&mut b, s, d_values)?;
    let weights = b.reshape(weights, &[1, s.scores(), 1, t])?;
    let d_weights = b.reshape(d_weights, &[1, s.scores(), 1, t])?;
    let all = b.concat(&[d_values, weights, d_weights], 1)?;
    Ok(b.finish(&[all]))
}

/// `sdpaBwd2`: the gradients of queries and keys.
pub(super) fn score_gradients(s: &Sizes) -> Result<Function, OpError> {
    let (q, p, t) = (s.q(), s.scores(), s.seq);
    let (mut b, input) = begin("sdpaBwd2", 2 * p + 2 * q, t);
    let mut scores = vec![];
    for i in 0..2 {
        let x = block(&mut b, input, (i * p, p), (0, t))?;
        scores.push(b.reshape(x, &[1, s.heads, t, t])?);
    }
    let mut parts = vec![];
    for i in 0..2 {
        let x = block(&mut b, input, (2 * p + i * q, q), (0, t))?;
        parts.push(heads(&mut b, s, x)?);
    }
    let product = b.mul(scores[0], scores[1])?;
    let sum = b.reduce(Op::ReduceSum, product, &[-1], true)?;
    let difference = b.sub(scores[1], sum)?;
    let d_scores = b.mul(scores[0], difference)?;
    let d_scores = b.scale(d_scores, 1.0 / (s.head_dim as f64).sqrt())?;
    let d_query = b.matmul(d_scores, parts[1], (false, false))?;
    let d_key = b.matmul(d_scores, parts[0], (true, false))?;
    let d_query = channels(&mut b, s, d_query)?;
    let d_key = channels(&mut b, s, d_key)?;
    let all = b.concat(&[d_query, d_key], 1)?;
    Ok(b.finish(&[all]))
}

/// `fwdAttn` of the older pipeline.
pub(super) fn static_attention(s: &Sizes) -> Result<Function, OpError> {
    let (mut b, x) = begin("fwdAttn", s.dim, s.seq);
    let normalized = rms_norm(&mut b, "rms1", x)?;
    let q = conv(&mut b, "wq", normalized, s.q())?;
    let k = conv(&mut b, "wk", normalized, s.k())?;
    let v = conv(&mut b, "wv", normalized, s.k())?;
    let (query, key) = (heads(&mut b, s, q)?, heads(&mut b, s, k)?);
    let value = heads(&mut b, s, v)?;
    let weights = probabilities(&mut b, s, query, key)?;
    let gathered = b.matmul(weights, value, (false, false))?;
    let gathered = channels(&mut b, s, gathered)?;
    let out = conv(&mut b, "wo", gathered, s.dim)?;
    let all = b.concat(&[out, q, k, v, gathered, normalized], 1)?;
    Ok(b.finish(&[all]))
}
