//! A whole model as one function whose keys and values are states: what Core ML runs.

use super::attention::{heads, project_heads, scores};
use super::embed::vectors;
use super::ffn::feed_forward;
use super::head::{HeadParameters, scores_of};
use super::parts::LayerParameters;
use super::rotary::Rotary;
use super::{Shape, begin, bound};
use crate::{Architecture, Config, Error, HIDDEN, Role, parameters, rope_tables};
use mil::{DataType, Function, FunctionBuilder, Op, OpError, Tensor, Type, ValueId};
use std::collections::BTreeMap;

/// The input that a parameter of a [`stateful`] function is: its name in checkpoints, with what a
/// MIL name cannot have replaced.
pub fn stateful_input(parameter: &str) -> String {
    parameter.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

/// The function `name`: scores of the next token after S more tokens of one text, whose keys and
/// values are in states.
///
/// Inputs: `tokens` int32 `[1, S]`; `position` int32 `[1]`, how many tokens came before; if S > 1 also
/// `last` int32 `[1]`, the index among these of the one whose scores are wanted, behind which there
/// may be anything; for every layer l states `k_cache_l` and `v_cache_l` `[1, K, C, E]` of type
/// `cache`; then every parameter of the model, fp32, by [`stateful_input`]. Output `logits` fp32
/// `[1, V]`. Position and S together must not exceed the capacity C.
///
/// Keys and values of a token are written before anybody looks at them, and nobody looks at a slot
/// behind its own position; so what is left from an earlier text, or from tokens behind `last`, is
/// overwritten before it is read.
pub fn stateful(
    name: &str,
    config: &Config,
    seq: usize,
    capacity: usize,
    compute: DataType,
    cache: DataType,
) -> Result<Function, Error> {
    let mut b = begin(name, config, compute)?;
    let shape = Shape { batch: 1, seq };
    shape.check(config)?;
    bound("capacity", capacity, config.max_seq)?;
    bound("seq", seq, capacity)?;
    let int = |b: &mut FunctionBuilder, name: &str, dims: &[usize]| {
        b.input(name, Type::tensor(DataType::Int32, dims))
    };
    let tokens = int(&mut b, "tokens", &[1, seq]);
    let position = int(&mut b, "position", &[1]);
    let last = (seq > 1).then(|| int(&mut b, "last", &[1]));
    let slots = [1, config.kv_heads, capacity, config.head_dim];
    let mut states = vec![];
    for layer in 0..config.layers {
        let mut state = |name: &str| {
            let ty = Type::State(Box::new(Type::tensor(cache, &slots)));
            b.input(&format!("{name}_{layer}"), ty)
        };
        states.push((state("k_cache"), state("v_cache")));
    }
    let inputs = Inputs::declare(&mut b, config)?;

    let places = b.ints(&(0..seq as i64).collect::<Vec<_>>());
    let places = b.add(places, position)?; // [S]
    let ids = b.reshape(tokens, &[seq])?;
    let x = vectors(&mut b, config, inputs.embedding, ids, |_| (places, inputs.positions))?;
    let mut x = b.reshape(x, &[1, seq, config.dim])?;
    let rotary = match config.architecture {
        Architecture::Gpt2 => None,
        Architecture::Llama => {
            let tables = rope_tables(config, 0, capacity);
            let dims = [capacity, config.head_dim / 2];
            let mut rows = |name: &str, table: &[f32]| {
                let bytes: Vec<u8> = table.iter().flat_map(|v| v.to_le_bytes()).collect();
                let table = Tensor::from_bytes(DataType::Fp32, &dims, bytes);
                let table = b.constant(name, table.expect("a row for every position"));
                b.gather(table, places, 0)
            };
            let (cos, sin) = (rows("rope_cos", &tables.cos)?, rows("rope_sin", &tables.sin)?);
            Some(Rotary::of_rows(&mut b, config, cos, sin)?)
        }
    };
    let mask = mask(&mut b, config, seq, capacity, places)?;
    let (first, end) = slots_of_new(&mut b, &slots, seq, position)?;
    for (&(keys, values), weights) in states.iter().zip(&inputs.layers) {
        let new = heads(&mut b, config, shape, compute, x, rotary.as_ref(), weights)?;
        let mut remember = |state: ValueId, new: ValueId| -> Result<ValueId, OpError> {
            let new = b.reshape(new, &[1, config.kv_heads, seq, config.head_dim])?;
            let new = b.cast(new, cache)?;
            let old = b.op(Op::ReadState, "old", [("input", state.into())])?;
            let ports = [("x", old), ("update", new), ("begin", first), ("end", end)];
            let ports = ports.map(|(name, id)| (name, id.into()));
            let all = b.op(Op::SliceUpdate, "all", ports)?;
            b.operation(Op::WriteState, "", [("input", state.into()), ("data", all.into())])?;
            let all = b.cast(all, compute)?;
            b.reshape(all, &[1, config.kv_heads, 1, capacity, config.head_dim])
        };
        let keys = remember(keys, new.k)?;
        let values = remember(values, new.v)?;
        let scores = scores(&mut b, config, new.q, keys, "scores")?; // [1, K, G, S, C]
        let scores = b.add(scores, mask)?;
        let attention = b.softmax(scores, -1)?;
        let attention = b.cast(attention, compute)?;
        let gathered = b.matmul(attention, values, (false, false))?; // [1, K, G, S, E]
        x = project_heads(&mut b, config, shape, x, gathered, weights)?;
        x = feed_forward(&mut b, config, compute, x, weights)?;
    }
    let x = b.reshape(x, &[seq, config.dim])?;
    let x = match last {
        Some(last) => b.gather(x, last, 0)?, // [1, D]
        None => x,
    };
    let logits = scores_of(&mut b, config, 1, compute, x, &inputs.head)?;
    b.rename(logits, "logits");
    Ok(b.finish(&[logits]))
}

/// The parameters.
struct Inputs {
    embedding: ValueId,
    positions: Option<ValueId>,
    layers: Vec<LayerParameters>,
    head: HeadParameters,
}

impl Inputs {
    fn declare(b: &mut FunctionBuilder, config: &Config) -> Result<Inputs, Error> {
        let mut outer = BTreeMap::new();
        let mut layers = vec![BTreeMap::new(); config.layers];
        for parameter in parameters(config)? {
            let ty = Type::tensor(DataType::Fp32, &parameter.dims);
            let id = b.input(&stateful_input(&parameter.name), ty);
            outer.extend(parameter.role.outer_ports(config.tied).iter().map(|&port| (port, id)));
            if let Role::Layer { index, port } = parameter.role {
                layers[index].insert(port, id);
            }
        }
        let head = HeadParameters {
            norm: outer["final_norm"],
            bias: outer.get("final_norm_bias").copied(),
            classifier: outer["classifier"],
        };
        Ok(Inputs {
            embedding: outer["embedding"],
            positions: outer.get("position_embedding").copied(),
            layers: layers.into_iter().map(|ports| LayerParameters::of(config, ports)).collect(),
            head,
        })
    }
}

/// What is added to scores, fp32 `[S, C]`: 0 for slots that a token sees.
fn mask(
    b: &mut FunctionBuilder,
    config: &Config,
    seq: usize,
    capacity: usize,
    places: ValueId,
) -> Result<ValueId, OpError> {
    let slots: Vec<i64> = (0..capacity as i64).collect();
    let slots = b.constant("slots", Tensor::int32s(&slots));
    let slots = b.reshape(slots, &[1, capacity])?;
    let places = b.reshape(places, &[seq, 1])?;
    let mut seen = b.binary(Op::LessEqual, slots, places)?;
    if let Some(window) = config.sliding_window {
        let width = b.int(window as i64);
        let before = b.sub(places, width)?;
        let near = b.binary(Op::Greater, slots, before)?;
        seen = b.binary(Op::LogicalAnd, seen, near)?;
    }
    // Arithmetic, because converters do not broadcast the arms of a `select`.
    let seen = b.cast(seen, DataType::Fp32)?;
    let one = b.float(DataType::Fp32, 1.0);
    let unseen = b.sub(seen, one)?;
    let mask = b.scale(unseen, -f64::from(HIDDEN))?;
    b.rename(mask, "mask");
    Ok(mask)
}

/// Where the new tokens' slots begin and end in a cache.
fn slots_of_new(
    b: &mut FunctionBuilder,
    [batch, groups, _, width]: &[usize; 4],
    seq: usize,
    position: ValueId,
) -> Result<(ValueId, ValueId), OpError> {
    let none = b.ints(&[0, 0]);
    let zero = b.ints(&[0]);
    let first = b.concat(&[none, position, zero], 0)?;
    let count = b.ints(&[seq as i64]);
    let after = b.add(position, count)?;
    let (all, width) = (b.ints(&[*batch as i64, *groups as i64]), b.ints(&[*width as i64]));
    let end = b.concat(&[all, after, width], 0)?;
    Ok((first, end))
}
