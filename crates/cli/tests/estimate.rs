//! `anemone estimate` from the outside.

use serde_json::Value;
use std::process::{Command, Output};

fn anemone(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anemone")).arg("estimate").args(arguments).output().unwrap()
}

#[track_caller]
fn printed(arguments: &[&str]) -> String {
    let output = anemone(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(&[arguments, &["--json"]].concat())).unwrap()
}

fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or_else(|| panic!("{name} is no number"))
}

#[test]
fn a_step_is_told_as_a_prediction_with_its_error_and_where_it_goes() {
    let text = printed(&["--model", "stories110m", "--target", "m4"]);
    for part in [
        "stories110m on m4, macOS 15, in-memory; 1 x 256 tokens",
        "nothing was run on an engine",
        "training steps published for an m4 are met within",
        "predicted step",
        "utilization",
        "layer_kernel_1",
        "budgets",
        "programs loaded",
        "what would help",
    ] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    assert!(!text.contains("BROKEN") && !text.contains("NaN") && !text.contains("inf "), "{text}");
    // Nobody has published a step of an M2.
    assert!(printed(&["--target", "m2"]).contains("so its error is unknown"));
}

#[test]
fn json_says_the_same_and_its_parts_are_the_whole() {
    for (model, target) in [("tiny", "m1"), ("stories110m", "m4:26"), ("qwen3-0.6b", "m5")] {
        let e = json(&["--model", model, "--target", target]);
        assert_eq!(e["kind"], "prediction");
        let sum = |list: &str| -> f64 {
            let list = e[list].as_array().unwrap();
            list.iter().map(|k| number(k, "predicted_ms_per_step")).sum()
        };
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6 * b, "{model}: {a} {b}");
        close(sum("kernels"), number(&e, "predicted_engine_ms"));
        close(sum("host"), number(&e, "predicted_host_ms"));
        close(sum("beside"), number(&e, "predicted_beside_ms"));
        let total = ["predicted_engine_ms", "predicted_host_ms", "predicted_waiting_ms"];
        let total: f64 = total.iter().map(|name| number(&e, name)).sum();
        close(total, number(&e, "predicted_ms_per_step"));
        for kernel in e["kernels"].as_array().unwrap() {
            let parts = kernel["parts_ms"].as_object().unwrap();
            close(parts.values().filter_map(Value::as_f64).sum(), number(kernel, "predicted_ms"));
            let utilization = number(kernel, "utilization");
            assert!(utilization > 0.0 && utilization < 1.0);
        }
        // No more kernels in a layer than the reference has for such a model.
        assert!(e["kernels"].as_array().unwrap().len() <= 6);
        assert!(e["budgets"].as_array().unwrap().iter().all(|b| b["kept"] == true));
    }
}

#[test]
fn larger_batches_use_the_engine_better_and_baked_weights_are_not_in_surfaces() {
    let small = json(&["--batch", "1"]);
    let large = json(&["--batch", "4"]);
    assert!(number(&large, "utilization") > number(&small, "utilization"));
    assert!(number(&large, "predicted_ms_per_step") > number(&small, "predicted_ms_per_step"));
    let baked = json(&["--weights", "baked"]);
    // Compiling takes longer than all that it saves.
    assert!(number(&baked, "predicted_update_ms") > 1000.0 + number(&small, "predicted_update_ms"));
    let bytes = |e: &Value, name: &str| -> f64 {
        e["kernels"].as_array().unwrap().iter().map(|k| number(k, name)).sum()
    };
    assert!(bytes(&baked, "input_bytes") < bytes(&small, "input_bytes") / 2.0);
    assert!(bytes(&baked, "constant_bytes") > bytes(&small, "constant_bytes"));
    let compiles = |e: &Value| {
        let lines = e["budgets"].as_array().unwrap();
        lines.iter().find(|b| b["what"] == "compiles an update").unwrap()["used"].as_u64()
    };
    assert_eq!(compiles(&small), Some(0));
    assert_eq!(compiles(&baked), Some(12 * small["kernels"].as_array().unwrap().len() as u64));
}

#[test]
fn the_calibration_lists_every_figure_with_its_error() {
    let text = printed(&["--calibration"]);
    let parts =
        ["training step, Stories110M", "91-115", "412", "product, 4096 x 4096", "Typical error"];
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    let calibration = json(&["--calibration", "--target", "m3"]);
    let figures = calibration["figures"].as_array().unwrap();
    assert!(figures.len() > 30);
    assert!(figures.iter().all(|f| f["error"].is_number() && f["source"].is_string()));
    assert_eq!(calibration["chip"], "m3");
    assert!(calibration["numbers"].as_array().unwrap().iter().any(|n| n["basis"] == "assumed"));
}

#[test]
fn wrong_words_are_named() {
    for (arguments, expected) in [
        (&["--target", "m9"][..], "there is no chip `m9`"),
        (&["--route", "usb"], "`usb`"),
        (&["--model", "gpt"], "`gpt` is neither a preset"),
        (&["--seq", "4096"], "`stories110m` is made for 1024 tokens"),
    ] {
        let output = anemone(arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(anemone(&["--batch", "0"]).status.code(), Some(2));
}
