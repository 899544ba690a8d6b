//! Recurrent layers as the steps that they take, each written with ops that have a rule.
//!
//! Before:
//! ```text
//! tensor<fp32, [2, 1, 4]> y, tensor<fp32, [1, 4]> h = rnn(x = x, initial_h = h0, …);
//! ```
//! After:
//! ```text
//! tensor<fp32, [2, 1, 4]> seen = linear(x = x, weight = w, bias = b);
//! tensor<fp32, [1, 1, 4]> s0, tensor<fp32, [1, 1, 4]> s1 = split(x = seen, …);
//! tensor<fp32, [1, 4]> kept = linear(x = h0, weight = u);
//! …
//! ```

use crate::edit;
use mil::{
    Arg, DataType, Function, FunctionBuilder, FunctionEnv, Literal, Op, OpError, Operand,
    Operation, Params, ValueId,
};
use std::borrow::Cow;
use std::collections::HashMap;

/// More steps than this are not written out.
const MAX_STEPS: usize = 4096;

/// The function with its recurrent layers written out; names of values stay.
///
/// # Errors
/// If the number of steps is not known, or too large.
pub(super) fn unrolled(function: &Function) -> Result<Cow<'_, Function>, OpError> {
    let is_recurrent = |o: &Operation| matches!(o.op, Op::Lstm | Op::Gru | Op::Rnn);
    let operations = &function.body.operations;
    if !operations.iter().any(is_recurrent) || operations.iter().any(|o| !o.blocks.is_empty()) {
        return Ok(Cow::Borrowed(function));
    }
    let env = FunctionEnv::new(function);
    let mut builder = FunctionBuilder::new(&function.name, function.opset);
    let mut here: HashMap<ValueId, ValueId> = HashMap::new();
    let mut names = vec![];
    for &id in &function.inputs {
        let value = function.value(id);
        here.insert(id, builder.input(&value.name, value.ty.clone()));
        names.push((here[&id], value.name.clone()));
    }
    for operation in operations {
        if let (Op::Const, Some(&id)) = (operation.op, operation.outputs.first()) {
            let literal = env.literal(id).expect("a const operation has a literal").clone();
            here.insert(id, builder.constant(&function.value(id).name, literal));
            if function.body.outputs.contains(&id) {
                names.push((here[&id], function.value(id).name.clone()));
            }
            continue;
        }
        let arguments = arguments(operation, &here);
        let results = match is_recurrent(operation) {
            true => layer(&mut builder, &Params::new(operation, &env), &arguments)?,
            false => {
                let first = operation.outputs.first();
                let stem = first.map_or(operation.op.name(), |&id| &function.value(id).name);
                builder.operation(operation.op, stem, arguments)?
            }
        };
        for (&id, result) in operation.outputs.iter().zip(results) {
            // Two results may be one value, as the last output and the last state: each needs its
            // own name.
            let result = match names.iter().any(|(other, _)| *other == result) {
                true => builder.unary(Op::Identity, result)?,
                false => result,
            };
            here.insert(id, result);
            names.push((result, function.value(id).name.clone()));
        }
    }
    let outputs: Vec<ValueId> = function.body.outputs.iter().map(|id| here[id]).collect();
    let mut unrolled = builder.finish(&outputs);
    unrolled.attributes.clone_from(&function.attributes);
    edit::settle_names(&mut unrolled, &names).map_err(|name| OpError {
        op: Op::Identity,
        message: format!("two values are `{name}`"),
    })?;
    Ok(Cow::Owned(unrolled))
}

/// The arguments of an operation, with parameters of old operator sets among them.
fn arguments<'o>(
    operation: &'o Operation,
    here: &HashMap<ValueId, ValueId>,
) -> HashMap<&'o str, Arg> {
    let local = |operand: &Operand| match operand {
        Operand::Value(id) => Operand::Value(here[id]),
        literal => literal.clone(),
    };
    let given = operation.inputs.iter().map(|(name, arg)| {
        let arg = match arg {
            Arg::One(operand) => Arg::One(local(operand)),
            Arg::Many(operands) => Arg::Many(operands.iter().map(local).collect()),
        };
        (name.as_str(), arg)
    });
    let mut arguments: HashMap<&str, Arg> = given.collect();
    for (name, literal) in &operation.attributes {
        if name != "name" && operation.op.spec().param(name).is_some() {
            arguments.entry(name).or_insert_with(|| Literal::clone(literal).into());
        }
    }
    arguments
}

/// What a layer's steps are written with.
struct Layer<'a, 'p> {
    b: &'a mut FunctionBuilder,
    p: &'a Params<'p>,
    given: &'a HashMap<&'p str, Arg>,
    dtype: DataType,
    hidden: usize,
    batch: usize,
}

fn layer<'p>(
    b: &mut FunctionBuilder,
    p: &Params<'p>,
    given: &HashMap<&'p str, Arg>,
) -> Result<Vec<ValueId>, OpError> {
    let (x, weight) = (p.ty("x")?, p.ty("weight_hh")?);
    let dims = x.fixed_dims().zip(weight.fixed_dims());
    let Some((&[steps, batch, _], &[_, hidden])) =
        dims.as_ref().map(|(x, w)| (&x[..], &w[..])).and_then(|(x, w)| {
            Some((<&[usize; 3]>::try_from(x).ok()?, <&[usize; 2]>::try_from(w).ok()?))
        })
    else {
        return Err(p.error("its gradient needs a known number of steps"));
    };
    if steps == 0 || steps > MAX_STEPS {
        return Err(p.error(format!("its gradient is for 1 to {MAX_STEPS} steps, not {steps}")));
    }
    let direction = p.string("direction")?;
    let sequence = p.bool("output_sequence")?;
    let mut layer = Layer { b, p, given, dtype: x.dtype, hidden, batch };
    let forward: Vec<usize> = (0..steps).collect();
    let backward: Vec<usize> = (0..steps).rev().collect();
    let (mut outputs, mut last, mut cells) = (vec![], vec![], vec![]);
    let ways = match direction.as_str() {
        "forward" => vec![("", forward)],
        "reverse" => vec![("", backward)],
        _ => vec![("", forward), ("_back", backward)],
    };
    let count = ways.len();
    for (way, (suffix, order)) in ways.into_iter().enumerate() {
        let (mut out, h, c) = layer.way(suffix, &order, (way, count))?;
        if way == 1 {
            out.reverse();
        }
        let out = match sequence {
            true => layer.b.concat(&out, 0)?,
            false => layer.b.reshape(h, &[1, batch, hidden])?,
        };
        outputs.push(out);
        last.push(h);
        cells.extend(c);
    }
    let mut joined = |parts: &[ValueId]| match parts {
        [one] => Ok(*one),
        parts => layer.b.concat(parts, -1),
    };
    let mut results = vec![joined(&outputs)?, joined(&last)?];
    if p.operation.op == Op::Lstm {
        results.push(joined(&cells)?);
    }
    Ok(results)
}

type Built<T> = Result<T, OpError>;

impl Layer<'_, '_> {
    /// What is bound to a parameter.
    fn value(&mut self, name: &str) -> Built<Option<ValueId>> {
        match self.given.get(name) {
            Some(Arg::One(Operand::Value(id))) => Ok(Some(*id)),
            Some(Arg::One(Operand::Literal(literal))) => {
                Ok(Some(self.b.constant(name, literal.clone())))
            }
            Some(Arg::Many(_)) => Err(self.p.error(format!("`{name}` must not be a tuple"))),
            None => Ok(None),
        }
    }

    fn need(&mut self, name: &str) -> Built<ValueId> {
        let missing = self.p.error(format!("parameter `{name}` is missing"));
        self.value(name)?.ok_or(missing)
    }

    fn linear(&mut self, x: ValueId, weight: ValueId, bias: Option<ValueId>) -> Built<ValueId> {
        let mut inputs = vec![("x", Arg::from(x)), ("weight", weight.into())];
        inputs.extend(bias.map(|bias| ("bias", bias.into())));
        self.b.op(Op::Linear, "linear", inputs)
    }

    fn activation(&mut self, name: &str, x: ValueId) -> Built<ValueId> {
        match self.p.string(name)?.to_lowercase().as_str() {
            "tanh" | "scaled_tanh" => self.b.unary(Op::Tanh, x),
            "sigmoid" => self.b.unary(Op::Sigmoid, x),
            "relu" => self.b.unary(Op::Relu, x),
            "hard_sigmoid" | "sigmoid_hard" => {
                let scaled = self.b.scale(x, 0.2)?;
                let half = self.b.float(self.dtype, 0.5);
                let moved = self.b.add(scaled, half)?;
                self.clipped(moved, 0.0, 1.0)
            }
            _ => Ok(x),
        }
    }

    fn clipped(&mut self, x: ValueId, low: f64, high: f64) -> Built<ValueId> {
        let (alpha, beta) = (self.b.float(self.dtype, low), self.b.float(self.dtype, high));
        let inputs = [("x", x.into()), ("alpha", alpha.into()), ("beta", beta.into())];
        self.b.op(Op::Clip, "clip", inputs)
    }

    /// The outputs of one direction in the order in which they are computed, its last state and its
    /// last cell.
    fn way(
        &mut self,
        suffix: &str,
        order: &[usize],
        (way, ways): (usize, usize),
    ) -> Built<(Vec<ValueId>, ValueId, Option<ValueId>)> {
        let (n, batch, op) = (self.hidden, self.batch, self.p.operation.op);
        let gates = match op {
            Op::Lstm => 4,
            Op::Gru => 3,
            _ => 1,
        };
        let x = self.need("x")?;
        let w = self.need(&format!("weight_ih{suffix}"))?;
        let u = self.need(&format!("weight_hh{suffix}"))?;
        let bias = self.value(&format!("bias{suffix}"))?;
        let input_bias = if op == Op::Gru { self.value("input_bias")? } else { None };
        let after = op == Op::Gru && self.p.bool("reset_after")?;
        // The bias of the state's side stays there where the reset gate scales it.
        let (seen_bias, kept_bias) = match (after, bias, input_bias) {
            (true, bias, input) => (input, bias),
            (false, Some(bias), Some(input)) => (Some(self.b.add(bias, input)?), None),
            (false, bias, input) => (bias.or(input), None),
        };
        let seen = self.linear(x, w, seen_bias)?;
        let steps = order.len();
        let seen = self.b.split(seen, &vec![1; steps], 0)?;
        let mut h = self.initial("initial_h", way, ways)?;
        let mut c = match op {
            Op::Lstm => Some(self.initial("initial_c", way, ways)?),
            _ => None,
        };
        let peephole = match self.value(&format!("peephole{suffix}")) {
            Ok(Some(peephole)) if op == Op::Lstm => self.b.split(peephole, &[n; 3], 0)?,
            _ => vec![],
        };
        // The rows of the output gate, which sees the state after it was reset.
        let parts = match op == Op::Gru && !after {
            true => self.b.split(u, &[n; 3], 0)?,
            false => vec![],
        };
        let mut outputs = vec![];
        for &t in order {
            let seen = self.b.reshape(seen[t], &[batch, gates * n])?;
            match (op, c) {
                (Op::Lstm, Some(cell)) => {
                    let (next, new) = self.lstm(seen, u, h, cell, &peephole)?;
                    (h, c) = (next, Some(new));
                }
                (Op::Gru, _) => h = self.gru(seen, u, kept_bias, &parts, h)?,
                _ => {
                    let kept = self.linear(h, u, None)?;
                    let sum = self.b.add(seen, kept)?;
                    h = self.activation("activation", sum)?;
                }
            }
            outputs.push(self.b.reshape(h, &[1, batch, n])?);
        }
        Ok((outputs, h, c))
    }

    /// This direction's part of an initial state.
    fn initial(&mut self, name: &str, way: usize, ways: usize) -> Built<ValueId> {
        let whole = self.need(name)?;
        match ways {
            1 => Ok(whole),
            ways => Ok(self.b.split(whole, &vec![self.hidden; ways], -1)?[way]),
        }
    }

    fn lstm(
        &mut self,
        seen: ValueId,
        u: ValueId,
        h: ValueId,
        c: ValueId,
        peephole: &[ValueId],
    ) -> Built<(ValueId, ValueId)> {
        let kept = self.linear(h, u, None)?;
        let sum = self.b.add(seen, kept)?;
        let gates = self.b.split(sum, &[self.hidden; 4], -1)?;
        let gate = |layer: &mut Self, k: usize, cell: ValueId| {
            let mut sum = gates[k];
            if let Some(&weight) = peephole.get(k) {
                let peek = layer.b.mul(cell, weight)?;
                sum = layer.b.add(sum, peek)?;
            }
            layer.activation("recurrent_activation", sum)
        };
        let (i, f) = (gate(self, 0, c)?, gate(self, 1, c)?);
        let z = self.activation("cell_activation", gates[3])?;
        let (old, new) = (self.b.mul(f, c)?, self.b.mul(i, z)?);
        let mut cell = self.b.add(old, new)?;
        if self.p.has("clip") {
            let clip = self.p.float("clip")?.abs();
            cell = self.clipped(cell, -clip, clip)?;
        }
        let o = gate(self, 2, cell)?;
        let out = self.activation("activation", cell)?;
        Ok((self.b.mul(o, out)?, cell))
    }

    fn gru(
        &mut self,
        seen: ValueId,
        u: ValueId,
        bias: Option<ValueId>,
        parts: &[ValueId],
        h: ValueId,
    ) -> Built<ValueId> {
        let seen = self.b.split(seen, &[self.hidden; 3], -1)?;
        let kept = match parts {
            [r, _, z] => vec![self.linear(h, *r, None)?, h, self.linear(h, *z, None)?],
            _ => {
                let kept = self.linear(h, u, bias)?;
                self.b.split(kept, &[self.hidden; 3], -1)?
            }
        };
        let gate = |layer: &mut Self, k: usize| {
            let sum = layer.b.add(seen[k], kept[k])?;
            layer.activation("recurrent_activation", sum)
        };
        let (r, z) = (gate(self, 0)?, gate(self, 2)?);
        let reset = self.b.mul(r, kept[1])?;
        let added = match parts {
            [_, o, _] => self.linear(reset, *o, None)?,
            _ => reset,
        };
        let sum = self.b.add(seen[1], added)?;
        let o = self.activation("activation", sum)?;
        // (1 − z)·o + z·h = o + z·(h − o).
        let difference = self.b.sub(h, o)?;
        let moved = self.b.mul(z, difference)?;
        self.b.add(o, moved)
    }
}
