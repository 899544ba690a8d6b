//! Tokens to vectors.

use super::{Layout, Shape, begin, float_input};
use crate::{Architecture, Config, Error};
use mil::{DataType, Function, FunctionBuilder, OpError, Type, ValueId};

/// The function `embed`: row `tokens[t]` of the embedding for every token, times √D with
/// `embedding_scale`.
///
/// Inputs `tokens` int32 `[T]`, `embedding` fp32 `[V, D]`; of GPT-2 also `positions` int32 `[T]`, each
/// token's place in its text from 0, and `position_embedding` fp32 `[P, D]`, whose row is added, P
/// being `max_seq`. Output `x` fp32 `[B, S, D]`, or channel-first `[1, D, 1, T]`.
pub fn embed(
    config: &Config,
    shape: Shape,
    layout: Layout,
    compute: DataType,
) -> Result<Function, Error> {
    let mut b = begin("embed", config, compute)?;
    shape.check(config)?;
    let tokens = b.input("tokens", Type::tensor(DataType::Int32, &[shape.tokens()]));
    let embedding = float_input(&mut b, "embedding", &[config.vocab, config.dim]);
    let rows = vectors(&mut b, config, embedding, tokens, |b| {
        let positions = b.input("positions", Type::tensor(DataType::Int32, &[shape.tokens()]));
        let table = float_input(b, "position_embedding", &[config.max_seq, config.dim]);
        (positions, Some(table))
    })?;
    let rows = match layout {
        Layout::TokenMajor => rows,
        Layout::ChannelFirst => b.transpose(rows, &[1, 0])?,
    };
    let x = b.reshape(rows, &layout.activations(config, shape))?;
    b.rename(x, "x");
    Ok(b.finish(&[x]))
}

/// The vectors of tokens `[T]`, `[T, D]` fp32; `positions` gives the places of a model that learns its
/// positions, `[T]`, and their table.
pub(super) fn vectors(
    b: &mut FunctionBuilder,
    config: &Config,
    embedding: ValueId,
    tokens: ValueId,
    positions: impl FnOnce(&mut FunctionBuilder) -> (ValueId, Option<ValueId>),
) -> Result<ValueId, OpError> {
    let rows = b.gather(embedding, tokens, 0)?; // [T, D]
    let rows = match config.embedding_scale {
        false => rows,
        true => b.scale(rows, (config.dim as f64).sqrt())?,
    };
    match config.architecture {
        Architecture::Llama => Ok(rows),
        Architecture::Gpt2 => {
            let (places, table) = positions(b);
            let table = table.expect("a model that learns its positions has a table of them");
            let places = b.gather(table, places, 0)?; // [T, D]
            b.add(rows, places)
        }
    }
}
