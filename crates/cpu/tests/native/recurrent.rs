//! Recurrent layers.

use super::Case;
use crate::common::Random;
use interp::Array;
use mil::{Arg, DataType, Op};

#[test]
fn recurrent_layers_agree() {
    let mut random = Random(17);
    for round in 0..120 {
        let dtype = [DataType::Fp32, DataType::Fp32, DataType::Fp16][round % 3];
        let op = [Op::Lstm, Op::Gru, Op::Rnn][round / 3 % 3];
        let (steps, batch) = (1 + random.below(9), 1 + random.below(4));
        let (inputs, hidden) = (1 + random.below(9), 1 + random.below(20));
        let gates = match op {
            Op::Lstm => 4,
            Op::Gru => 3,
            _ => 1,
        };
        let direction = match (op, random.below(3)) {
            (Op::Lstm, 0) => "bidirectional",
            (_, 1) => "reverse",
            _ => "forward",
        };
        let both = direction == "bidirectional";
        let width = if both { 2 * hidden } else { hidden };
        let mut case = Case::new();
        // Small enough that nothing saturates, so that states depend on all that came before.
        let numbers = |random: &mut Random, dims: &[usize]| {
            let count = dims.iter().product();
            Array::floats(dtype, dims, (0..count).map(|_| random.float() / 3.0).collect())
        };
        let mut arguments: Vec<(&str, Arg)> = vec![];
        for (name, dims) in [
            ("x", vec![steps, batch, inputs]),
            ("initial_h", vec![batch, width]),
            ("initial_c", vec![batch, width]),
        ] {
            if name != "initial_c" || op == Op::Lstm {
                let value = case.input(numbers(&mut random, &dims));
                arguments.push((name, value.into()));
            }
        }
        // Weights are constants in models, but need not be.
        let known = random.below(3) != 0;
        let optional = [random.below(2) == 0, random.below(2) == 0];
        for (name, dims, wanted) in [
            ("weight_ih", vec![gates * hidden, inputs], true),
            ("weight_hh", vec![gates * hidden, hidden], true),
            ("bias", vec![gates * hidden], optional[0]),
            ("input_bias", vec![gates * hidden], op == Op::Gru && optional[1]),
            ("peephole", vec![3 * hidden], op == Op::Lstm && optional[1]),
            ("weight_ih_back", vec![gates * hidden, inputs], both),
            ("weight_hh_back", vec![gates * hidden, hidden], both),
            ("bias_back", vec![gates * hidden], both && optional[0]),
            ("peephole_back", vec![3 * hidden], both && optional[1]),
        ] {
            if !wanted {
                continue;
            }
            let value = numbers(&mut random, &dims).rounded();
            let id = match known {
                true => case.b.constant("weight", value.to_tensor()),
                false => case.input(value),
            };
            arguments.push((name, id.into()));
        }
        let sequence = case.b.bool(random.below(3) != 0);
        let direction = case.b.string(direction);
        arguments.extend([("output_sequence", sequence.into()), ("direction", direction.into())]);
        let functions = ["tanh", "sigmoid", "relu", "hard_sigmoid", "linear"];
        for name in ["activation", "recurrent_activation", "cell_activation"] {
            let wanted = op.spec().param(name).is_some() && random.below(2) == 0;
            if wanted {
                // Functions without bounds let states grow beyond what can be compared.
                let count = if name == "recurrent_activation" { 2 } else { functions.len() };
                let function = case.b.string(functions[random.below(count)]);
                arguments.push((name, function.into()));
            }
        }
        if op == Op::Lstm && random.below(3) == 0 {
            let clip = case.b.float(dtype, 0.5);
            arguments.push(("clip", clip.into()));
        }
        if op == Op::Gru {
            let after = case.b.bool(random.below(2) == 0);
            arguments.push(("reset_after", after.into()));
        }
        let results = case.b.operation(op, "y", arguments);
        case.check(results, &[op], false);
    }
}
