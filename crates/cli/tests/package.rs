//! Checkpoints as Core ML packages, from the outside: they are written, run, and give the scores of
//! the checkpoint.

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn anemone(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anemone")).args(arguments).output().unwrap()
}

#[track_caller]
fn works(arguments: &[&str]) -> String {
    let output = anemone(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn family(name: &str) -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
    crates.join("models/tests/fixtures/families").join(name)
}

struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Place {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("package_{test}"));
        std::fs::remove_dir_all(&path).ok();
        std::fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Evaluates a function on some tokens; states come from the outputs of the run before, if there
    /// was one. Gives the scores.
    fn step(
        &self,
        device: &str,
        function: &str,
        tokens: &[i32],
        position: i32,
        last: Option<i32>,
    ) -> Vec<f32> {
        let bytes =
            |values: &[i32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
        let (tokens, position) = ((tokens.len(), bytes(tokens)), bytes(&[position]));
        let last = last.map(|last| bytes(&[last]));
        let mut views = vec![
            (
                "tokens".to_owned(),
                TensorView::new(Dtype::I32, vec![1, tokens.0], &tokens.1).unwrap(),
            ),
            ("position".to_owned(), TensorView::new(Dtype::I32, vec![1], &position).unwrap()),
        ];
        if let Some(last) = &last {
            views.push(("last".to_owned(), TensorView::new(Dtype::I32, vec![1], last).unwrap()));
        }
        let before = std::fs::read(self.at("out.safetensors")).unwrap_or_default();
        let before = (!before.is_empty()).then(|| SafeTensors::deserialize(&before).unwrap());
        for (name, view) in before.iter().flat_map(SafeTensors::tensors) {
            if name.starts_with("state/") {
                views.push((name, view));
            }
        }
        let inputs = safetensors::serialize(views, None).unwrap();
        std::fs::write(self.at("in.safetensors"), inputs).unwrap();
        works(&[
            "run",
            &self.at("model.mlpackage"),
            "--function",
            function,
            "--device",
            device,
            "--inputs",
            &self.at("in.safetensors"),
            "--outputs",
            &self.at("out.safetensors"),
        ]);
        let out = std::fs::read(self.at("out.safetensors")).unwrap();
        let out = SafeTensors::deserialize(&out).unwrap();
        let logits = out.tensor("logits").unwrap();
        logits.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
    }
}

/// The tokens of a fixture's first sequence, and the scores behind each of them as the transformers
/// package has them.
fn expected(name: &str) -> (Vec<i32>, Vec<Vec<f32>>) {
    let bytes = std::fs::read(family(name).join("expected.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (tokens, logits) = (file.tensor("tokens").unwrap(), file.tensor("logits").unwrap());
    let (seq, vocab) = (tokens.shape()[1], logits.shape()[2]);
    let ids = tokens.data().chunks(tokens.data().len() / tokens.shape()[0] / seq);
    let ids = ids.take(seq).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let values = logits.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b));
    let values: Vec<f32> = values.take(seq * vocab).collect();
    (ids, values.chunks(vocab).map(<[f32]>::to_vec).collect())
}

/// Distance in the norm, relative to what is expected.
fn distance(found: &[f32], expected: &[f32]) -> f32 {
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
    norm(&mut found.iter().zip(expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied())
}

#[test]
fn packages_of_all_families_give_the_scores_of_their_checkpoints() {
    for name in ["llama", "qwen2", "qwen3", "mistral", "gemma", "gpt2"] {
        let place = Place::new(name);
        let (tokens, scores) = expected(name);
        let context = (tokens.len() + 1).to_string();
        // Products in fp16; bytes have 127 steps to the largest of a row, which a few dozen columns
        // hardly even out.
        for (dtype, tolerance) in [("fp16", 2e-2), ("int8", 0.1)] {
            works(&[
                "convert",
                family(name).to_str().unwrap(),
                &place.at("model.mlpackage"),
                "--force",
                "--context",
                &context,
                "--prefill",
                "4",
                "--dtype",
                dtype,
            ]);
            let devices: &[&str] = if name == "qwen3" { &["cpu", "interp"] } else { &["cpu"] };
            for device in devices {
                std::fs::remove_file(place.at("out.safetensors")).ok();
                let part = [tokens[0], tokens[1], tokens[2], 0];
                let found = place.step(device, "prefill", &part, 0, Some(2));
                let off = distance(&found, &scores[2]);
                assert!(off < tolerance, "{name} {dtype} {device}: prefill is {off:.1e} off");
                for at in 3..tokens.len() {
                    let found = place.step(device, "decode", &[tokens[at]], at as i32, None);
                    let off = distance(&found, &scores[at]);
                    assert!(
                        off < tolerance,
                        "{name} {dtype} {device}: decode {at} is {off:.1e} off"
                    );
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_written_is_said_and_nothing_is_left() {
    let place = Place::new("refused");
    let fails = |arguments: &[&str], expected: &str| {
        let (from, to) = (family("llama"), place.at("model.mlpackage"));
        let output = anemone(&[&["convert", from.to_str().unwrap(), &to], arguments].concat());
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains(expected), "`{expected}` is not in: {message}");
        assert_eq!(std::fs::read_dir(&place.0).unwrap().count(), 0, "{message}");
    };
    fails(&["--dtype", "bf16"], "fp16 or int8");
    fails(&["--context", "8", "--prefill", "9"], "from 2 to the context of 8 tokens");
    fails(&["--context", "1000000"], "capacity");
}
