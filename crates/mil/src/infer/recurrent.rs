//! Recurrent layers.

use super::tensor;
use crate::{Dim, Op, OpError, Params, TensorType};

/// All outputs or the last, the last state, and the last cell of an `lstm`.
pub(super) fn recurrent(p: &Params) -> Result<Vec<TensorType>, OpError> {
    let x = p.ty("x")?;
    let (gates, cell) = match p.operation.op {
        Op::Lstm => (4, true),
        Op::Gru => (3, false),
        _ => (1, false),
    };
    let direction = p.string("direction")?;
    let both = match direction.as_str() {
        "forward" | "reverse" => false,
        "bidirectional" if cell => true,
        _ => return Err(p.error(format!("`direction` is \"{direction}\""))),
    };
    for name in ["activation", "recurrent_activation", "cell_activation"] {
        if p.operation.op.spec().param(name).is_some() {
            activation(p, name)?;
        }
    }
    if p.operation.op == Op::Gru {
        p.bool("reset_after")?;
    }
    if p.has("clip") {
        p.float("clip")?;
    }
    let sequence = p.bool("output_sequence")?;
    let ranked = |ty: &TensorType, rank: usize, what: &str| match ty.dims() {
        Some(dims) if dims.len() == rank => Ok(dims.to_vec()),
        _ => Err(p.error(format!("`{what}` is {ty}; it must have rank {rank}"))),
    };
    let [steps, batch, inputs] = ranked(&x, 3, "x")?[..] else { unreachable!("the rank is 3") };
    let weight = p.ty("weight_hh")?;
    let hidden = ranked(&weight, 2, "weight_hh")?[1];
    let times = |dim: Dim, n: usize| match dim {
        Dim::Fixed(d) => d.checked_mul(n).map(Dim::Fixed),
        Dim::Unknown => Some(Dim::Unknown),
    };
    let huge = || p.error("the weights are too large");
    let rows = times(hidden, gates).ok_or_else(huge)?;
    let three = times(hidden, 3).ok_or_else(huge)?;
    let width = times(hidden, if both { 2 } else { 1 }).ok_or_else(huge)?;
    let state = vec![batch, width];
    let mut expected = vec![
        ("weight_ih", vec![rows, inputs]),
        ("weight_hh", vec![rows, hidden]),
        ("bias", vec![rows]),
        ("input_bias", vec![rows]),
        ("peephole", vec![three]),
        ("initial_h", state.clone()),
        ("initial_c", state.clone()),
    ];
    if both {
        expected.extend([
            ("weight_ih_back", vec![rows, inputs]),
            ("weight_hh_back", vec![rows, hidden]),
            ("bias_back", vec![rows]),
            ("peephole_back", vec![three]),
        ]);
        for name in ["weight_ih_back", "weight_hh_back"] {
            p.ty(name)?;
        }
    }
    for (name, dims) in expected {
        let Some(found) = p.ty_opt(name)? else { continue };
        let expected = tensor(x.dtype, dims);
        if !found.compatible(&expected) {
            return Err(p.error(format!("`{name}` is {found}, expected {expected}")));
        }
    }
    let length = if sequence { steps } else { Dim::Fixed(1) };
    let mut results = vec![tensor(x.dtype, vec![length, batch, width]), tensor(x.dtype, state)];
    if cell {
        results.push(results[1].clone());
    }
    Ok(results)
}

fn activation(p: &Params, name: &str) -> Result<(), OpError> {
    let text = p.string(name)?;
    match text.to_lowercase().as_str() {
        "tanh" | "scaled_tanh" | "sigmoid" | "hard_sigmoid" | "sigmoid_hard" | "relu"
        | "linear" => Ok(()),
        _ => Err(p.error(format!(
            "`{name}` is \"{text}\"; it is tanh, scaled_tanh, sigmoid, hard_sigmoid, relu or linear"
        ))),
    }
}
