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
mod embed;
mod ffn;
mod head;
mod layer;
mod parts;
mod rotary;

pub use cached::{CacheShape, cached_layer};
pub use embed::embed;
pub use head::{head, logits};
pub use layer::layer;

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
