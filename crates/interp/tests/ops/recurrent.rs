//! Recurrent layers against the formulas, written down for one unit at a time.

use crate::common::{apply_many, floats, string};
use anemone_interp::Array;
use mil::{Op, OpError};

type Inputs = Vec<(&'static str, Array)>;

fn run(op: Op, inputs: &Inputs, results: usize) -> Result<Vec<Array>, OpError> {
    apply_many(op, &[], inputs, results)
}

#[track_caller]
fn near(found: &Array, dims: &[usize], expected: &[f64]) {
    assert_eq!(found.dims(), dims);
    for (found, expected) in found.to_f64s().iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }
}

fn with(mut inputs: Inputs, more: &[(&'static str, Array)]) -> Inputs {
    for (name, array) in more {
        inputs.retain(|(other, _)| other != name);
        inputs.push((name, array.clone()));
    }
    inputs
}

fn flag(value: bool) -> Array {
    crate::common::bools(&[], &[value])
}

fn sigmoid(v: f64) -> f64 {
    1.0 / (1.0 + (-v).exp())
}

/// Two steps, one batch entry, one input, one unit.
const X: [f64; 2] = [0.5, -1.0];
const W: [f64; 4] = [0.3, -0.2, 0.7, 1.1];
const U: [f64; 4] = [0.1, 0.4, -0.6, 0.2];
const B: [f64; 4] = [0.05, 0.5, -0.1, 0.0];
const P: [f64; 3] = [0.2, -0.3, 0.4];

/// h and c after one step of the layer with gates i, f, o, z.
fn lstm_step(x: f64, h: f64, c: f64, peephole: [f64; 3], clip: f64) -> (f64, f64) {
    let gate = |k: usize| W[k] * x + U[k] * h + B[k];
    let i = sigmoid(gate(0) + peephole[0] * c);
    let f = sigmoid(gate(1) + peephole[1] * c);
    let z = gate(3).tanh();
    let cell = (f * c + i * z).clamp(-clip, clip);
    let o = sigmoid(gate(2) + peephole[2] * cell);
    (o * cell.tanh(), cell)
}

fn lstm() -> Inputs {
    vec![
        ("x", floats(&[2, 1, 1], &X)),
        ("initial_h", floats(&[1, 1], &[0.25])),
        ("initial_c", floats(&[1, 1], &[-0.5])),
        ("weight_ih", floats(&[4, 1], &W)),
        ("weight_hh", floats(&[4, 1], &U)),
        ("bias", floats(&[4], &B)),
        ("output_sequence", flag(true)),
    ]
}

#[test]
fn lstm_follows_its_formula() {
    for (peephole, clip) in [([0.0; 3], 1e9), (P, 1e9), (P, 0.1)] {
        let mut inputs = lstm();
        if peephole != [0.0; 3] {
            inputs.push(("peephole", floats(&[3], &peephole)));
        }
        if clip < 1.0 {
            inputs.push(("clip", floats(&[], &[clip])));
        }
        let (h1, c1) = lstm_step(X[0], 0.25, -0.5, peephole, clip);
        let (h2, c2) = lstm_step(X[1], h1, c1, peephole, clip);
        let out = run(Op::Lstm, &inputs, 3).unwrap();
        near(&out[0], &[2, 1, 1], &[h1, h2]);
        near(&out[1], &[1, 1], &[h2]);
        near(&out[2], &[1, 1], &[c2]);
        let last = run(Op::Lstm, &with(inputs, &[("output_sequence", flag(false))]), 3).unwrap();
        near(&last[0], &[1, 1, 1], &[h2]);
    }
}

#[test]
fn directions_of_an_lstm() {
    let (back1, c) = lstm_step(X[1], 0.25, -0.5, [0.0; 3], 1e9);
    let (back2, _) = lstm_step(X[0], back1, c, [0.0; 3], 1e9);
    let (h1, c) = lstm_step(X[0], 0.25, -0.5, [0.0; 3], 1e9);
    let (h2, _) = lstm_step(X[1], h1, c, [0.0; 3], 1e9);
    // One way back: outputs in the order in which they are computed.
    let out = run(Op::Lstm, &with(lstm(), &[("direction", string("reverse"))]), 3).unwrap();
    near(&out[0], &[2, 1, 1], &[back1, back2]);
    near(&out[1], &[1, 1], &[back2]);
    // Both ways: outputs of each step beside each other.
    let both = with(
        lstm(),
        &[
            ("direction", string("bidirectional")),
            ("initial_h", floats(&[1, 2], &[0.25; 2])),
            ("initial_c", floats(&[1, 2], &[-0.5; 2])),
            ("weight_ih_back", floats(&[4, 1], &W)),
            ("weight_hh_back", floats(&[4, 1], &U)),
            ("bias_back", floats(&[4], &B)),
        ],
    );
    let out = run(Op::Lstm, &both, 3).unwrap();
    near(&out[0], &[2, 1, 2], &[h1, back2, h2, back1]);
    near(&out[1], &[1, 2], &[h2, back2]);
    let last = run(Op::Lstm, &with(both, &[("output_sequence", flag(false))]), 3).unwrap();
    near(&last[0], &[1, 1, 2], &[h2, back2]);
}

#[test]
fn activations_by_name() {
    // Without weights of their own, gates are their biases: i = a(1), f = a(2), o = a(3).
    let of = |name: &str, cell: &str, out: &str| {
        let inputs = vec![
            ("x", floats(&[1, 1, 1], &[0.0])),
            ("initial_h", floats(&[1, 1], &[0.0])),
            ("initial_c", floats(&[1, 1], &[-4.0])),
            ("weight_ih", floats(&[4, 1], &[0.0; 4])),
            ("weight_hh", floats(&[4, 1], &[0.0; 4])),
            ("bias", floats(&[4], &[1.0, 2.0, 3.0, -5.0])),
            ("recurrent_activation", string(name)),
            ("cell_activation", string(cell)),
            ("activation", string(out)),
        ];
        run(Op::Lstm, &inputs, 3).map(|out| (out[1].to_f64s()[0], out[2].to_f64s()[0]))
    };
    let (h, c) = of("linear", "linear", "linear").unwrap();
    assert_eq!((h, c), (3.0 * -13.0, 2.0 * -4.0 - 5.0));
    let (h, c) = of("hard_sigmoid", "relu", "linear").unwrap();
    assert!((c - 0.9 * -4.0).abs() < 1e-6 && (h - c).abs() < 1e-6, "{h} {c}");
    let (_, c) = of("SIGMOID", "scaled_tanh", "tanh").unwrap();
    let expected = sigmoid(2.0) * -4.0 + sigmoid(1.0) * (-5f64).tanh();
    assert!((c - expected).abs() < 1e-6);
    assert!(of("softplus", "tanh", "tanh").is_err());
}

fn gru() -> Inputs {
    vec![
        ("x", floats(&[2, 1, 1], &X)),
        ("initial_h", floats(&[1, 1], &[0.25])),
        ("weight_ih", floats(&[3, 1], &W[..3])),
        ("weight_hh", floats(&[3, 1], &U[..3])),
        ("bias", floats(&[3], &B[..3])),
        ("output_sequence", flag(true)),
    ]
}

#[test]
fn gru_follows_its_formula() {
    let step = |x: f64, h: f64, after: bool, input: [f64; 3]| {
        let seen = |k: usize| W[k] * x + input[k];
        let r = sigmoid(seen(0) + U[0] * h + B[0]);
        let z = sigmoid(seen(2) + U[2] * h + B[2]);
        let o = match after {
            false => (seen(1) + U[1] * (r * h) + B[1]).tanh(),
            true => (seen(1) + r * (U[1] * h + B[1])).tanh(),
        };
        (1.0 - z) * o + z * h
    };
    for (after, input) in [(false, [0.0; 3]), (true, [0.0; 3]), (true, [0.3, -0.2, 0.6])] {
        let mut inputs = with(gru(), &[("reset_after", flag(after))]);
        if input != [0.0; 3] {
            inputs.push(("input_bias", floats(&[3], &input)));
        }
        let h1 = step(X[0], 0.25, after, input);
        let h2 = step(X[1], h1, after, input);
        let out = run(Op::Gru, &inputs, 2).unwrap();
        near(&out[0], &[2, 1, 1], &[h1, h2]);
        near(&out[1], &[1, 1], &[h2]);
    }
    let both = with(gru(), &[("direction", string("bidirectional"))]);
    assert_eq!(run(Op::Gru, &both, 2).unwrap_err().message, "`direction` is \"bidirectional\"");
}

#[test]
fn rnn_follows_its_formula() {
    let inputs = vec![
        ("x", floats(&[2, 1, 2], &[0.5, 1.0, -1.0, 2.0])),
        ("initial_h", floats(&[1, 1], &[0.25])),
        ("weight_ih", floats(&[1, 2], &[0.3, 0.1])),
        ("weight_hh", floats(&[1, 1], &[-0.4])),
        ("direction", string("reverse")),
        ("output_sequence", flag(true)),
    ];
    let h1 = (-0.3 + 0.2 - 0.4 * 0.25f64).tanh();
    let h2 = (0.15 + 0.1 - 0.4 * h1).tanh();
    let out = run(Op::Rnn, &inputs, 2).unwrap();
    near(&out[0], &[2, 1, 1], &[h1, h2]);
    near(&out[1], &[1, 1], &[h2]);
    let bias = with(inputs, &[("bias", floats(&[1], &[0.5])), ("activation", string("relu"))]);
    let out = run(Op::Rnn, &bias, 2).unwrap();
    near(&out[0], &[2, 1, 1], &[0.3, 0.15 + 0.1 - 0.12 + 0.5]);
}

#[test]
fn batches_do_not_mix() {
    let two = with(
        lstm(),
        &[
            ("x", floats(&[2, 2, 1], &[X[0], 3.0, X[1], -2.0])),
            ("initial_h", floats(&[2, 1], &[0.25, 0.0])),
            ("initial_c", floats(&[2, 1], &[-0.5, 1.0])),
        ],
    );
    let (one, two) = (run(Op::Lstm, &lstm(), 3).unwrap(), run(Op::Lstm, &two, 3).unwrap());
    let first: Vec<f64> = two[0].to_f64s().into_iter().step_by(2).collect();
    assert_eq!(first, one[0].to_f64s());
}

#[test]
fn what_does_not_fit_is_named() {
    let wrong = |name: &'static str, array: Array, expected: &str| {
        let error = run(Op::Lstm, &with(lstm(), &[(name, array)]), 3).unwrap_err().message;
        assert!(error.contains(expected), "{error}");
    };
    wrong("weight_ih", floats(&[4, 2], &[0.0; 8]), "expected tensor<fp32, [4, 1]>");
    wrong("weight_hh", floats(&[4], &[0.0; 4]), "it must have rank 2");
    wrong("bias", floats(&[3], &[0.0; 3]), "expected tensor<fp32, [4]>");
    wrong("x", floats(&[2, 1], &[0.0; 2]), "it must have rank 3");
    wrong("initial_c", floats(&[2, 1], &[0.0; 2]), "expected tensor<fp32, [1, 1]>");
    wrong("direction", string("sideways"), "`direction` is \"sideways\"");
    // No steps: the last output is the state that it began with.
    let none = with(lstm(), &[("x", floats(&[0, 1, 1], &[])), ("output_sequence", flag(false))]);
    near(&run(Op::Lstm, &none, 3).unwrap()[0], &[1, 1, 1], &[0.25]);
}
