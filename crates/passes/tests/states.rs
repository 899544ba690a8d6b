//! States as inputs and outputs.

use anemone_passes::states::{Error, State, lift};
use interp::{Array, Options};
use mil::{DataType, Function, Program};
use std::collections::BTreeMap;

fn function(body: &str) -> Function {
    let text = format!(
        "program(1.3)\n{{\n    func main<ios18>(tensor<fp16, [2]> x, state<tensor<fp16, [2]>> s, \
         state<tensor<fp16, [1]>> t) {{\n{body}\n}}\n"
    );
    let mut program = mil::parse(&text).unwrap();
    mil::verify(&program).unwrap();
    program.functions.remove(0)
}

fn floats(values: &[f64]) -> Array {
    Array::floats(DataType::Fp16, &[values.len()], values.to_vec())
}

/// Outputs and states after a run, by name.
fn run(
    function: &Function,
    inputs: &[(&str, &[f64])],
    states: &[(&str, &[f64])],
) -> BTreeMap<String, Array> {
    let arrays = |named: &[(&str, &[f64])]| -> BTreeMap<String, Array> {
        named.iter().map(|(name, values)| ((*name).to_owned(), floats(values))).collect()
    };
    let program = Program::new(vec![function.clone()]);
    let options = Options { states: arrays(states), ..Options::default() };
    let results = interp::evaluate(&program, "main", &arrays(inputs), &options).unwrap();
    let mut all = results.outputs;
    all.extend(results.states.into_iter().map(|(name, value)| (name + "_after", value)));
    all
}

#[test]
fn reads_writes_and_reads_again_give_what_states_give() {
    let before = function(
        "        tensor<fp16, [2]> old = read_state(input = s);
        tensor<fp16, [2]> new = add(x = old, y = x);
        write_state(input = s, data = new);
        tensor<fp16, [2]> y = read_state(input = s);
        write_state(input = s, data = x);
        tensor<fp16, [2]> sum = add(x = y, y = old);
        write_state(input = t, data = tensor<fp16, [1]>([7.0]));
    } -> (y, sum, old);",
    );
    let mut after = before.clone();
    let lifted = lift(&mut after).unwrap();
    let state = |name: &str| State { name: name.to_owned(), after: format!("{name}_after") };
    assert_eq!(lifted, [state("s"), state("t")]);
    assert_eq!(mil::verify(&Program::new(vec![after.clone()])), Ok(()));
    let (x, s, t): (&[f64], &[f64], &[f64]) = (&[1.0, 2.0], &[10.0, 20.0], &[0.0]);
    let expected = run(&before, &[("x", x)], &[("s", s), ("t", t)]);
    assert_eq!(expected["sum"], floats(&[21.0, 42.0]));
    assert_eq!(run(&after, &[("x", x), ("s", s), ("t", t)], &[]), expected);
}

#[test]
fn a_state_that_is_never_written_stays_what_it_was() {
    let mut lifted =
        function("        tensor<fp16, [2]> y = read_state(input = s);\n    } -> (y);");
    lift(&mut lifted).unwrap();
    let results = run(&lifted, &[("x", &[0.0, 0.0]), ("s", &[3.0, 4.0]), ("t", &[5.0])], &[]);
    assert_eq!(results["y"], floats(&[3.0, 4.0]));
    assert_eq!(results["s_after"], floats(&[3.0, 4.0]));
    assert_eq!(results["t_after"], floats(&[5.0]));
}

#[test]
fn a_state_that_is_used_otherwise_is_refused() {
    let before = function("        tensor<fp16, [2]> y = relu(x = x);\n    } -> (y);");
    let mut wrong = before.clone();
    wrong.body.outputs.push(wrong.input("s").unwrap());
    let unchanged = wrong.clone();
    assert_eq!(lift(&mut wrong), Err(Error::Use("s".into())));
    assert_eq!(wrong, unchanged);
}
