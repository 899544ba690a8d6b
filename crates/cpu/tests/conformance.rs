//! Programs made by Apple's converter: the CPU device against the interpreter, on random inputs.
//! Runs where `ANEMONE_CONFORMANCE` names the folder of cases.

mod common;

use common::{Random, devices, disagreement, inputs};
use mil::Weights;

#[test]
fn the_device_agrees_with_the_interpreter_on_converted_programs() {
    let Ok(folder) = std::env::var("ANEMONE_CONFORMANCE") else { return };
    let devices = devices();
    let mut wrong = vec![];
    let mut count = 0;
    let entries = std::fs::read_dir(&folder).expect("the folder of cases can be read");
    for entry in entries {
        let case = entry.expect("the folder of cases can be read").path();
        let Ok(text) = std::fs::read_to_string(case.join("model.mil")) else { continue };
        // Programs with ops of later work do not parse, and states are not run here.
        let Ok(program) = mil::parse(&text) else { continue };
        let function = &program.functions[0];
        let weights = Weights::in_dir(case.join("model.mlpackage/Data/com.apple.CoreML"));
        let dynamic = function
            .inputs
            .iter()
            .any(|&id| function.ty(id).as_tensor().is_none_or(|t| t.fixed_dims().is_none()))
            || text.contains("[?");
        // Lists, labels and dictionaries are the interpreter's.
        let others = function.values.iter().any(|value| value.ty.as_tensor().is_none());
        if mil::verify(&program).is_err() || dynamic || others {
            continue;
        }
        count += 1;
        for device in &devices {
            let inputs = inputs(function, &mut Random(1));
            let name = &function.name;
            if let Some(what) = disagreement(device, &program, name, &inputs, &weights) {
                wrong.push(format!("{}: {what}", case.file_name().unwrap_or_default().display()));
                break;
            }
        }
    }
    assert!(count > 0, "no case in {folder} could be run");
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
}
