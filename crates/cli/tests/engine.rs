//! Training on the emulated engine, from the outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of this test's own, with tokens to train on.
fn place(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("engine_{test}"));
    fs::remove_dir_all(&path).ok();
    fs::create_dir_all(&path).unwrap();
    let tokens: Vec<u8> = (0..2000u32).flat_map(|i| ((i * i % 97) as u16).to_le_bytes()).collect();
    fs::write(path.join("data.bin"), tokens).unwrap();
    path
}

/// A model of the tiny preset's kind with this many layers, as a folder.
fn model(place: &Path, layers: usize) -> String {
    let folder = place.join("model");
    fs::create_dir_all(&folder).unwrap();
    let config = format!(
        r#"{{"model_type": "llama", "hidden_size": 16, "num_hidden_layers": {layers},
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
            "intermediate_size": 32, "vocab_size": 97, "max_position_embeddings": 64,
            "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true}}"#
    );
    fs::write(folder.join("config.json"), config).unwrap();
    folder.to_str().unwrap().to_owned()
}

fn train(place: &Path, model: &str, out: &str, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anemone"))
        .args(["train", "--model", model, "--data"])
        .arg(place.join("data.bin"))
        .arg("--out")
        .arg(place.join(out))
        .args(["--batch", "2", "--seq", "16", "--threads", "1", "--eval-batches", "1"])
        .args(["--schedule", "constant", "--warmup", "0", "--no-sample"])
        .args(more)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn packed_and_baked_weights_train_the_same_model_however_often_the_process_is_replaced() {
    let place = place("strategies");
    // Two kernels each way and layer: a process has compilations for 119 / 8 = 14 stagings.
    let model = model(&place, 2);
    let steps = ["--steps", "20", "--device", "ane-emulated"];
    let packed = train(&place, &model, "packed", &steps);
    assert!(packed.status.success(), "{}", text(&packed.stderr));
    let baked = train(&place, &model, "baked", &[&steps[..], &["--weights", "baked"]].concat());
    assert!(baked.status.success(), "{}", text(&baked.stderr));
    let said = text(&baked.stdout);
    assert_eq!(said.matches("in a new process").count(), 1, "{said}");
    let parameters = |out: &str| {
        let step = place.join(out).join("step-00000020");
        fs::read(step.join("model.safetensors")).unwrap()
    };
    assert!(parameters("packed") == parameters("baked"));
    let log = fs::read_to_string(place.join("baked/metrics.jsonl")).unwrap();
    let steps = log.lines().filter(|line| line.contains("\"step\"")).count();
    assert_eq!(steps, 20);
}

#[test]
fn a_part_of_the_vocabulary_is_trained_as_on_the_cpu() {
    let place = place("vocabulary");
    let model = model(&place, 2);
    let losses = |device: &str| -> Vec<f64> {
        let flags = ["--steps", "4", "--dtype", "fp16", "--compact-vocab", "--device", device];
        let output = train(&place, &model, device, &flags);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let said = text(&output.stdout);
        assert!(said.contains("vocabulary: 49 of 97 rows used (50.5 %)"), "{said}");
        let log = fs::read_to_string(place.join(device).join("metrics.jsonl")).unwrap();
        let lines = log.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
        lines.filter_map(|l| l["loss"].as_f64()).collect()
    };
    let (engine, cpu) = (losses("ane-emulated"), losses("cpu"));
    assert_eq!(engine.len(), 4);
    for (a, b) in engine.iter().zip(&cpu) {
        // Fp16 rounds by 2⁻¹² some forty times on the way to a loss.
        assert!((a / b - 1.0).abs() < 1e-2, "{engine:?} {cpu:?}");
    }
    // Nothing is known at first but which tokens there are.
    assert!((engine[0] - 49f64.ln()).abs() < 0.2, "{engine:?}");
}

#[test]
fn a_model_that_the_budget_cannot_hold_ends_with_an_error_and_not_in_a_loop() {
    let place = place("budget");
    let baked = ["--device", "ane-emulated", "--weights", "baked", "--steps", "2"];
    // Enough for the first staging and not for a step; not even enough for the first staging.
    for (layers, words) in [(16, "does not last for one step"), (31, "needs a new process")] {
        let model = model(&place, layers);
        let output = train(&place, &model, &format!("out{layers}"), &baked);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        let message = text(&output.stderr);
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn what_an_engine_cannot_do_is_an_error_that_says_so() {
    let place = place("errors");
    let model = model(&place, 1);
    for (flags, words) in [
        (&["--device", "ane-emulated", "--dtype", "fp32"][..], "computes in fp16, not in fp32"),
        (&["--device", "ane-emulated:m9"], "m9"),
        (&["--device", "npu"], "there is no device `npu`"),
        (&["--weights", "baked"], "--weights baked is for an engine"),
    ] {
        let output = train(&place, &model, "out", flags);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {message}");
        assert!(message.contains(words), "{flags:?}: {message}");
    }
}

#[test]
fn a_parity_report_names_every_gradient_and_op_and_a_limit_makes_it_fail() {
    let place = place("parity");
    let model = model(&place, 2);
    let parity = |more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_anemone"))
            .args(["parity", "--model", &model, "--steps", "2", "--batch", "2", "--seq", "16"])
            .args(more)
            .output()
            .unwrap()
    };
    let output = parity(&["--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let all = |key: &str| report[key].as_array().unwrap().clone();
    let worst = |key: &str| {
        all(key).iter().map(|e| e["relative_error"].as_f64().unwrap()).fold(0.0, f64::max)
    };
    // Two layers of nine, the embedding, the last norm.
    assert_eq!(all("gradients").len(), 2 * 9 + 2);
    // Fp16 rounds by 2⁻¹² and the cotangents pass some forty roundings on their way down; a
    // gradient that were wrong would be off by as much as it is.
    assert!((1e-6..2e-2).contains(&worst("gradients")), "{}", worst("gradients"));
    // Each operation alone rounds once more than its definition at most.
    assert!(worst("operations") < 1e-3, "{}", worst("operations"));
    let ops: Vec<String> = all("operations").iter().map(|o| o["op"].to_string()).collect();
    for op in ["matmul", "softmax", "sigmoid", "rsqrt"] {
        assert!(ops.contains(&format!("\"{op}\"")), "{op} is not in {ops:?}");
    }
    let strict = parity(&["--no-operations", "--limit", "1e-7"]);
    assert_eq!(strict.status.code(), Some(1));
    assert!(text(&strict.stderr).contains("the worst gradient is off by"));
    let wrong = parity(&["--devices", "cpu"]);
    assert!(text(&wrong.stderr).contains("--devices takes two"), "{}", text(&wrong.stderr));
}
