//! Vectors to logits, and logits to a loss.
//!
//! B batch, S sequence, T = B·S tokens, D dim, V vocabulary.

use super::parts::{norm, project};
use super::{Layout, Shape, begin, float_input};
use crate::{Architecture, Config, Error};
use mil::{DataType, Function, FunctionBuilder, Op, OpError, Type, ValueId};

/// The function `head`: the weighted cross-entropy of the next tokens.
///
/// Inputs: `x` fp32 `[B, S, D]`, or channel-first `[1, D, 1, T]`, `targets` int32 `[T]`, `weights` fp32 `[T]`; the parameters
/// `final_norm` `[D]`, of GPT-2 also `final_norm_bias` `[D]`, and `classifier` `[V, D]`, fp32. Output: `loss`, an fp32 scalar,
/// `Σ weights·(ln Σ e^logits − logits[target])`. Weights of 1/T give the mean; 0 leaves a position
/// out.
pub fn head(
    config: &Config,
    shape: Shape,
    layout: Layout,
    compute: DataType,
) -> Result<Function, Error> {
    let mut b = begin("head", config, compute)?;
    shape.check(config)?;
    let tokens = shape.tokens();
    let x = float_input(&mut b, "x", &layout.activations(config, shape));
    let targets = b.input("targets", Type::tensor(DataType::Int32, &[tokens]));
    let weights = float_input(&mut b, "weights", &[tokens]);
    let x = match layout {
        Layout::TokenMajor => x,
        Layout::ChannelFirst => {
            let x = b.reshape(x, &[config.dim, tokens])?;
            b.transpose(x, &[1, 0])?
        }
    };
    let logits = classify(&mut b, config, shape, compute, x)?; // [T, V]

    let normalizer = b.reduce(Op::ReduceLogSumExp, logits, &[-1], true)?; // [T, 1]
    let targets = b.reshape(targets, &[tokens, 1])?;
    let axis = b.int(1);
    let inputs = [("x", logits.into()), ("indices", targets.into()), ("axis", axis.into())];
    let chosen = b.op(Op::GatherAlongAxis, "chosen", inputs)?; // [T, 1]
    let losses = b.sub(normalizer, chosen)?;
    let weights = b.reshape(weights, &[tokens, 1])?;
    let losses = b.mul(losses, weights)?;
    let loss = b.reduce(Op::ReduceSum, losses, &[0, 1], false)?;
    b.rename(loss, "loss");
    Ok(b.finish(&[loss]))
}

/// The function `logits`: a score for every token of the vocabulary.
///
/// Inputs `x` `[B, S, D]`, the parameters of [`head`]; output `logits` `[T, V]`; all
/// fp32.
pub fn logits(config: &Config, shape: Shape, compute: DataType) -> Result<Function, Error> {
    let mut b = begin("logits", config, compute)?;
    shape.check(config)?;
    let x = float_input(&mut b, "x", &[shape.batch, shape.seq, config.dim]);
    let logits = classify(&mut b, config, shape, compute, x)?;
    b.rename(logits, "logits");
    Ok(b.finish(&[logits]))
}

/// Declares the parameters and gives the logits, `[T, V]` fp32; x: `[B, S, D]` or `[T, D]` fp32.
fn classify(
    b: &mut FunctionBuilder,
    config: &Config,
    shape: Shape,
    compute: DataType,
    x: ValueId,
) -> Result<ValueId, Error> {
    let norm = float_input(b, "final_norm", &[config.dim]);
    let bias = match config.architecture {
        Architecture::Llama => None,
        Architecture::Gpt2 => Some(float_input(b, "final_norm_bias", &[config.dim])),
    };
    let classifier = float_input(b, "classifier", &[config.vocab, config.dim]);
    let parameters = HeadParameters { norm, bias, classifier };
    Ok(scores_of(b, config, shape.tokens(), compute, x, &parameters)?)
}

/// The parameters behind the layers.
pub(super) struct HeadParameters {
    /// `[D]` fp32.
    pub norm: ValueId,
    /// `[D]` fp32.
    pub bias: Option<ValueId>,
    /// `[V, D]` fp32.
    pub classifier: ValueId,
}

/// The logits of T tokens, `[T, V]` fp32; x: `[B, S, D]` or `[T, D]` fp32.
pub(super) fn scores_of(
    b: &mut FunctionBuilder,
    config: &Config,
    tokens: usize,
    compute: DataType,
    x: ValueId,
    parameters: &HeadParameters,
) -> Result<ValueId, OpError> {
    let x = norm(b, config, x, parameters.norm, parameters.bias)?;
    let x = b.reshape(x, &[tokens, config.dim])?;
    let logits = project(b, x, parameters.classifier, compute)?;
    b.cast(logits, DataType::Fp32)
}
