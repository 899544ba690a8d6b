//! Recurrent layers, step by step.

use crate::Array;
use crate::evaluate::Context;
use mil::{Op, OpError};

/// All outputs or the last, the last state, and the last cell of an `lstm`.
pub(super) fn recurrent(c: &Context) -> Result<Vec<Array>, OpError> {
    let x = c.need("x")?;
    let [steps, batch, _] = x.dims()[..] else { return Err(c.params.error("x must have rank 3")) };
    let direction = c.params.string("direction")?;
    let sequence = c.params.bool("output_sequence")?;
    let hidden = c.need("weight_hh")?.dims()[1];
    let forward: Vec<usize> = (0..steps).collect();
    let backward: Vec<usize> = (0..steps).rev().collect();
    // Each way: its weights, its place in the states, the order in which it reads, and whether its
    // outputs are put back into the order of time. A single way keeps the order it works in.
    let ways = match direction.as_str() {
        "forward" => vec![(Layer::new(c, "", 0)?, forward, false)],
        "reverse" => vec![(Layer::new(c, "", 0)?, backward, false)],
        _ => vec![
            (Layer::new(c, "", 0)?, forward, false),
            (Layer::new(c, "_back", hidden)?, backward, true),
        ],
    };
    let width = ways.len() * hidden;
    let length = if sequence { steps } else { 1 };
    let mut out = vec![0.0; length * batch * width];
    let (mut last, mut cells) = (vec![0.0; batch * width], vec![0.0; batch * width]);
    for (way, (layer, order, aligned)) in ways.iter().enumerate() {
        for b in 0..batch {
            let mut state = layer.start(b);
            let at = |slot: usize| (slot * batch + b) * width + way * hidden;
            for (step, &t) in order.iter().enumerate() {
                layer.step(c, t * batch + b, &mut state);
                if sequence {
                    let slot = if *aligned { t } else { step };
                    out[at(slot)..][..hidden].copy_from_slice(&state.h);
                }
            }
            if !sequence {
                out[at(0)..][..hidden].copy_from_slice(&state.h);
            }
            last[at(0)..][..hidden].copy_from_slice(&state.h);
            cells[at(0)..][..hidden].copy_from_slice(&state.c);
        }
    }
    let dtype = x.dtype();
    let mut results = vec![
        Array::floats(dtype, &[length, batch, width], out),
        Array::floats(dtype, &[batch, width], last),
    ];
    if c.operation.op == Op::Lstm {
        results.push(Array::floats(dtype, &[batch, width], cells));
    }
    Ok(results)
}

/// What is carried from step to step.
struct State {
    h: Vec<f64>,
    c: Vec<f64>,
}

type Activation = fn(f64) -> f64;

/// The parameters of one direction.
struct Layer {
    op: Op,
    hidden: usize,
    x: Vec<f64>,
    inputs: usize,
    /// Rows of initial states: their width, and where this direction's part begins.
    width: usize,
    offset: usize,
    initial_h: Vec<f64>,
    initial_c: Vec<f64>,
    weight_ih: Vec<f64>,
    weight_hh: Vec<f64>,
    bias: Vec<f64>,
    input_bias: Vec<f64>,
    peephole: Vec<f64>,
    reset_after: bool,
    clip: Option<f64>,
    recurrent: Activation,
    cell: Activation,
    output: Activation,
}

impl Layer {
    fn new(c: &Context, suffix: &str, offset: usize) -> Result<Layer, OpError> {
        let op = c.operation.op;
        let hidden = c.need("weight_hh")?.dims()[1];
        let rows = c.need("weight_hh")?.dims()[0];
        let x = c.need("x")?;
        let named = |name: &str| c.need(&format!("{name}{suffix}")).map(|array| array.to_f64s());
        let or_zeros = |name: &str, count: usize| {
            let name = format!("{name}{suffix}");
            let given = if op.spec().param(&name).is_some() { c.get(&name)? } else { None };
            Ok(given.map_or(vec![0.0; count], |array| array.to_f64s()))
        };
        let has = |name: &str| op.spec().param(name).is_some();
        let activation = |name: &str| match has(name) {
            true => Ok(function(&c.params.string(name)?.to_lowercase())),
            false => Ok(function("linear")),
        };
        Ok(Layer {
            op,
            hidden,
            inputs: x.dims()[2],
            x: x.to_f64s(),
            width: c.need("initial_h")?.dims()[1],
            offset,
            initial_h: c.need("initial_h")?.to_f64s(),
            initial_c: if has("initial_c") { c.need("initial_c")?.to_f64s() } else { vec![] },
            weight_ih: named("weight_ih")?,
            weight_hh: named("weight_hh")?,
            bias: or_zeros("bias", rows)?,
            input_bias: or_zeros("input_bias", rows)?,
            peephole: or_zeros("peephole", 3 * hidden)?,
            reset_after: has("reset_after") && c.params.bool("reset_after")?,
            clip: if c.params.has("clip") { Some(c.params.float("clip")?) } else { None },
            recurrent: activation("recurrent_activation")?,
            cell: activation("cell_activation")?,
            output: activation("activation")?,
        })
    }

    fn start(&self, b: usize) -> State {
        let part = |from: &[f64]| match from.is_empty() {
            true => vec![0.0; self.hidden],
            false => from[b * self.width + self.offset..][..self.hidden].to_vec(),
        };
        State { h: part(&self.initial_h), c: part(&self.initial_c) }
    }

    /// Row `row` of `weight_ih`, times the input at `at`, plus its bias.
    fn seen(&self, c: &Context, row: usize, at: usize) -> f64 {
        let (x, w) = (&self.x[at * self.inputs..], &self.weight_ih[row * self.inputs..]);
        let terms = x.iter().zip(w).take(self.inputs);
        terms.fold(self.input_bias[row], |sum, (x, w)| c.add_product(sum, *x, *w))
    }

    /// Row `row` of `weight_hh`, times a state.
    fn kept(&self, c: &Context, row: usize, h: &[f64]) -> f64 {
        let w = &self.weight_hh[row * self.hidden..];
        h.iter().zip(w).fold(0.0, |sum, (h, w)| c.add_product(sum, *h, *w))
    }

    fn step(&self, context: &Context, at: usize, state: &mut State) {
        let n = self.hidden;
        let gate = |which: usize, k: usize| {
            let row = which * n + k;
            let seen = self.seen(context, row, at);
            seen + self.kept(context, row, &state.h) + self.bias[row]
        };
        match self.op {
            // i, f, o and z; i and f look at the old cell, o at the new one.
            Op::Lstm => {
                let (mut h, mut cells) = (vec![], vec![]);
                for k in 0..n {
                    let old = state.c[k];
                    let peek = |which: usize| self.peephole[which * n + k];
                    let i = (self.recurrent)(gate(0, k) + peek(0) * old);
                    let f = (self.recurrent)(gate(1, k) + peek(1) * old);
                    let z = (self.cell)(gate(3, k));
                    let mut cell = f * old + i * z;
                    if let Some(clip) = self.clip {
                        cell = cell.min(clip.abs()).max(-clip.abs());
                    }
                    let o = (self.recurrent)(gate(2, k) + peek(2) * cell);
                    h.push(o * (self.output)(cell));
                    cells.push(cell);
                }
                *state = State { h, c: cells };
            }
            // r, o and z.
            Op::Gru => {
                let r: Vec<f64> = (0..n).map(|k| (self.recurrent)(gate(0, k))).collect();
                let reset: Vec<f64> = r.iter().zip(&state.h).map(|(r, h)| r * h).collect();
                let next = |k: usize| {
                    let row = n + k;
                    let seen = self.seen(context, row, at);
                    let o = match self.reset_after {
                        true => {
                            let kept = self.kept(context, row, &state.h) + self.bias[row];
                            (self.output)(seen + r[k] * kept)
                        }
                        false => {
                            let kept = self.kept(context, row, &reset);
                            (self.output)(seen + kept + self.bias[row])
                        }
                    };
                    let z = (self.recurrent)(gate(2, k));
                    (1.0 - z) * o + z * state.h[k]
                };
                state.h = (0..n).map(next).collect();
            }
            _ => state.h = (0..n).map(|k| (self.output)(gate(0, k))).collect(),
        }
    }
}

/// An activation by its name in small letters.
fn function(name: &str) -> Activation {
    match name {
        "tanh" | "scaled_tanh" => f64::tanh,
        "sigmoid" => |v| 1.0 / (1.0 + (-v).exp()),
        "hard_sigmoid" | "sigmoid_hard" => |v| (0.2 * v + 0.5).clamp(0.0, 1.0),
        "relu" => |v| v.max(0.0),
        _ => |v| v,
    }
}
