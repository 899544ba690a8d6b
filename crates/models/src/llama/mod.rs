//! The functions of a Llama-style model.
//!
//! Shapes are static: a function is built for one batch and sequence. Parameters are fp32 inputs
//! and are cast where a matrix product reads them, so that one set of values serves every
//! `compute` type; the residual stream, norms, rotations, softmax and loss stay in fp32.
//!
//! Letters, here and in the files below: B batch, S sequence, T = B·S tokens, D dim, H heads,
//! K kv heads, G = H/K, E head dim, F hidden, V vocabulary, C cache capacity.

mod attention;
mod cached;
mod channel_first;
mod embed;
mod ffn;
mod head;
mod layer;
mod parts;
mod rotary;
mod stateful;

pub use cached::{CacheShape, cached_layer};
pub use embed::embed;
pub use head::{head, logits};
pub use layer::{layer, masked_layer};
pub use stateful::{stateful, stateful_input};

use crate::{Config, Error};
use mil::{DataType, FunctionBuilder, Opset, ValueId};

/// How many sequences of how many tokens a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Sequences, B.
    pub batch: usize,
    /// Tokens of each, S.
    pub seq: usize,
}

/// How activations between functions lie in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `[B, S, D]`: a token is a row. What the CPU device is made for.
    #[default]
    TokenMajor,
    /// `[1, D, 1, T]`: a token is a column, b·S + s for token s of sequence b. What the Neural
    /// Engine is made for.
    ChannelFirst,
}

impl Layout {
    /// Dimensions of the residual stream.
    pub fn activations(self, config: &Config, shape: Shape) -> Vec<usize> {
        match self {
            Layout::TokenMajor => vec![shape.batch, shape.seq, config.dim],
            Layout::ChannelFirst => vec![1, config.dim, 1, shape.tokens()],
        }
    }
}

/// Values of [`layer()`] that are worth their memory, by name: with these as
/// `passes::autodiff::Options::keep`, a backward function that else computes everything again
/// repeats no product but that of the attention scores.
///
/// Channel-first they are, in the compute type but for `x_mid`: `attn_in` `[1, D, 1, T]`, what
/// queries, keys and values are computed from; with `qk_norm`, `q_raw` and `k_raw`, which are `q`
/// and `k` before they are normalized; `q` `[1, H·E, 1, T]`, turned and divided by √E; `k`
/// `[1, K·E, 1, T]`, turned; `v` `[1, K·E, 1, T]`; `attended` `[1, H·E, 1, T]`, what `wo` is
/// applied to; `x_mid` fp32 `[1, D, 1, T]`, the residual stream between the two parts; `ffn_in`
/// `[1, D, 1, T]`; `gate` and `up` `[1, F, 1, T]`. Token-major there are none: which values to keep
/// is left to autodiff.
pub fn taps(config: &Config, layout: Layout) -> Vec<String> {
    match layout {
        Layout::TokenMajor => vec![],
        Layout::ChannelFirst => channel_first::taps(config),
    }
}

/// Values of [`layer()`] and [`masked_layer`] that a backward function should compute again, by name, for
/// `passes::autodiff::Options::repeat`: the scores and the weights of attention, of S² elements for
/// each head, which are larger than the queries and keys that they are made of.
pub fn repeated(layout: Layout) -> Vec<String> {
    match layout {
        Layout::TokenMajor => vec!["scores".to_owned(), "attention".to_owned()],
        // There everything is computed again that `taps` does not name.
        Layout::ChannelFirst => vec![],
    }
}

/// The causal mask is a constant of S² elements; beyond this it would fill the memory.
const LONGEST: usize = 1 << 14;

impl Shape {
    /// Tokens in all, T.
    pub fn tokens(&self) -> usize {
        self.batch * self.seq
    }

    fn check(&self, config: &Config) -> Result<(), Error> {
        bound("seq", self.seq, config.max_seq.min(LONGEST))?;
        // Token counts are written into programs as `int32`.
        bound("batch", self.batch, i32::MAX as usize / self.seq)
    }
}

fn bound(what: &'static str, found: usize, most: usize) -> Result<(), Error> {
    match (1..=most).contains(&found) {
        true => Ok(()),
        false => Err(Error::Shape { what, found, most }),
    }
}

/// An empty function of a valid model, whose products are in a type that can be asked for.
fn begin(name: &str, config: &Config, compute: DataType) -> Result<FunctionBuilder, Error> {
    config.validate()?;
    match compute {
        DataType::Fp32 | DataType::Bf16 | DataType::Fp16 => {}
        other => return Err(Error::Compute(other)),
    }
    Ok(FunctionBuilder::new(name, Opset::Ios18))
}

/// An fp32 input.
fn float_input(b: &mut FunctionBuilder, name: &str, dims: &[usize]) -> ValueId {
    b.input(name, mil::Type::tensor(DataType::Fp32, dims))
}
