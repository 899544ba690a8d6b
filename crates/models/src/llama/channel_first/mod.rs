//! The layer as the Neural Engine wants it: tokens are the innermost axis.
//!
//! Activations are `[1, C, 1, T]` with column b·S + s for token s of sequence b, so that a product
//! is `weight · activations` with nothing transposed, and a row is as long as the batch has
//! tokens. No value has more than four axes. Between two norms everything is in the compute type,
//! which on the engine is fp16; the residual stream and the norms that read it are fp32.
//!
//! Everything here is written with ops that were seen to run on the engine, in the form that was
//! seen to run: `sigmoid` and a product instead of `silu`, a power instead of `rsqrt` in fp16, sums
//! instead of means over fp16 axes, `floor` instead of `ceil`; softmax only over the innermost
//! axis, and slices along any axis but that one.

mod attention;
mod ffn;
mod norm;
mod rotary;

use super::parts::{LayerParameters, bias_port};
use super::{LONGEST, Shape, begin, bound, float_input};
use crate::{Activation, Architecture, Config, Error};
use attention::attend;
use ffn::feed_forward;
use mil::{DataType, Function, FunctionBuilder, OpError, ValueId};

/// The function `layer`; see [`layer`](super::layer()) for what it takes and gives.
pub(super) fn layer(config: &Config, shape: Shape, compute: DataType) -> Result<Function, Error> {
    let mut b = begin("layer", config, compute)?;
    shape.check(config)?;
    check(config, shape)?;
    let x = float_input(&mut b, "x", &[1, config.dim, 1, shape.tokens()]);
    let weights = LayerParameters::inputs(&mut b, config);
    let x = attend(&mut b, config, shape, compute, x, &weights)?;
    let y = feed_forward(&mut b, config, compute, x, &weights)?;
    b.rename(y, "y");
    Ok(b.finish(&[y]))
}

/// See [`taps`](super::taps).
pub(super) fn taps(config: &Config) -> Vec<String> {
    let all =
        ["attn_in", "q_raw", "q", "k_raw", "k", "v", "attended", "x_mid", "ffn_in", "gate", "up"];
    let is_there = |name: &&str| config.qk_norm || !name.ends_with("_raw");
    all.into_iter().filter(is_there).map(str::to_owned).collect()
}

/// Refuses what is not built in this layout, and bounds the constants: the mask has G·S² elements,
/// the rotations E/2·T each.
fn check(config: &Config, shape: Shape) -> Result<(), Error> {
    if config.architecture == Architecture::Gpt2 {
        return Err(Error::ChannelFirst("the architecture of gpt2"));
    }
    if config.activation != Activation::Silu {
        return Err(Error::ChannelFirst("the activation gelu_tanh"));
    }
    const MOST: usize = LONGEST * LONGEST;
    bound("seq", shape.seq, (MOST / config.group()).isqrt())?;
    bound("batch", shape.batch, MOST / (config.head_dim / 2).max(1) / shape.seq)
}

/// x through the matrix at `port`, `[O, I]`, with its bias if the model has one, in `compute`:
/// `[1, 1, O, T]`; x: `[1, 1, I, T]` in `compute`.
fn product(
    b: &mut FunctionBuilder,
    weights: &LayerParameters,
    port: &'static str,
    x: ValueId,
    compute: DataType,
) -> Result<ValueId, OpError> {
    let weight = weights.get(port);
    let dims = b.dims(weight);
    let weight = b.cast(weight, compute)?;
    let weight = b.reshape(weight, &[1, 1, dims[0], dims[1]])?;
    let product = b.matmul(weight, x, (false, false))?;
    let Some(bias) = weights.optional(&bias_port(port)) else { return Ok(product) };
    let bias = b.cast(bias, compute)?;
    let bias = b.reshape(bias, &[1, 1, dims[0], 1])?;
    b.add(product, bias)
}

/// x: `[1, C, 1, T]`, as the right operand of a product: `[1, 1, C, T]`.
fn as_rows(b: &mut FunctionBuilder, x: ValueId) -> Result<ValueId, OpError> {
    let dims = b.dims(x);
    b.reshape(x, &[1, 1, dims[1], dims[3]])
}

/// A product's result `[1, 1, C, T]` as activations: `[1, C, 1, T]`.
fn as_channels(b: &mut FunctionBuilder, x: ValueId) -> Result<ValueId, OpError> {
    let dims = b.dims(x);
    b.reshape(x, &[1, dims[2], 1, dims[3]])
}
