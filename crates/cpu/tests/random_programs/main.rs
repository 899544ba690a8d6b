//! The CPU device equals the interpreter on programs made at random over the whole op table.

#[path = "../common/mod.rs"]
mod common;
mod images;
mod maker;
mod movement;
mod numbers;
mod selected;

use common::{Random, devices, disagreement, inputs};
use maker::Maker;
use mil::{Program, Weights};

const PROGRAMS: u64 = 1000;

#[test]
fn the_device_agrees_with_the_interpreter_on_random_programs() {
    let devices = devices();
    let mut wrong = vec![];
    let mut operations = std::collections::BTreeMap::new();
    for seed in 0..PROGRAMS {
        let function = Maker::new(seed).function();
        function.body.visit(&mut |operation| *operations.entry(operation.op).or_insert(0) += 1);
        let inputs = inputs(&function, &mut Random(seed));
        let program = Program::new(vec![function]);
        for device in &devices {
            let what = disagreement(device, &program, "f", &inputs, &Weights::default());
            if let Some(what) = what {
                wrong.push(format!("seed {seed}: {what}\n{}", mil::print(&program)));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {PROGRAMS}:\n{}", wrong.len(), wrong.join("\n"));
    // A family that the maker never gets through inference would be a test of nothing.
    let stateful = [mil::Op::ReadState, mil::Op::WriteState];
    let missing: Vec<&str> = mil::OPS
        .iter()
        .filter(|spec| !operations.contains_key(&spec.op) && !stateful.contains(&spec.op))
        .filter(|spec| !selected::ELSEWHERE.contains(&spec.op))
        .map(|spec| spec.name)
        .collect();
    assert!(missing.is_empty(), "never made: {missing:?}");
}
