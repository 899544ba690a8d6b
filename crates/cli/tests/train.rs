//! `anemone train` and `anemone generate` from the outside.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder of this test's own.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Place {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("train_{test}"));
        fs::remove_dir_all(&path).ok();
        fs::create_dir_all(&path).unwrap();
        let place = Place(path);
        // Tokens that follow a rule, in 16 bits each.
        let tokens: Vec<u8> =
            (0..2000u32).flat_map(|i| ((i * i % 97) as u16).to_le_bytes()).collect();
        fs::write(place.at("data.bin"), tokens).unwrap();
        place
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// The command that trains a little on the tokens, into `out`.
    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_anemone"));
        command
            .arg("train")
            .args(["--data", &self.at("data.bin"), "--out", &self.at("out")])
            .args(["--batch", "2", "--seq", "16", "--threads", "1", "--eval-batches", "1"])
            .args(["--schedule", "constant", "--warmup", "0", "--eval-every", "0"])
            .args(more);
        command
    }

    fn train(&self, more: &[&str]) -> Output {
        self.command(more).output().unwrap()
    }

    /// Trains where everything must go well.
    fn good(&self, more: &[&str]) {
        let output = self.train(more);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }

    /// Trains where it must fail with this exit code and a message that holds all of `words`.
    fn bad(&self, code: i32, more: &[&str], words: &[&str]) {
        let output = self.train(more);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{more:?}: {message}");
        for word in words {
            assert!(message.contains(word), "{more:?}: `{word}` is not in: {message}");
        }
    }

    /// The newest checkpoint's folder.
    fn newest(&self) -> PathBuf {
        let out = self.0.join("out");
        out.join(fs::read_to_string(out.join("latest")).unwrap().trim())
    }

    /// Every file below `out` with its bytes.
    fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = vec![];
        let mut pending = vec![self.0.join("out")];
        while let Some(folder) = pending.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { pending.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn generate(model: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anemone"));
    command.args(["generate", "--threads", "1", "--model", model]).args(more).output().unwrap()
}

#[test]
fn a_run_leaves_metrics_a_picture_and_a_model_that_generates() {
    let place = Place::new("run");
    place.good(&["--steps", "3"]);
    let metrics = fs::read_to_string(place.at("out/metrics.jsonl")).unwrap();
    let lines: Vec<Value> = metrics.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    for key in ["model", "parameters", "device", "kernels", "dtype", "threads", "seed"] {
        assert!(!lines[0][key].is_null(), "the run's line has no `{key}`");
    }
    for key in ["step", "tokens", "loss", "lr", "grad_norm", "ms", "tokens_per_s", "val_loss"] {
        assert!(lines[3][key].is_number(), "the last step has no `{key}`");
    }
    // The vocabulary of `tiny` is 1024, and nothing is known at first.
    assert!((lines[1]["loss"].as_f64().unwrap() - 1024f64.ln()).abs() < 0.3, "{}", lines[1]);
    assert!(fs::read_to_string(place.at("out/loss.svg")).unwrap().contains("<svg"));

    let greedy = ["--prompt-tokens", "1,4,9", "--max-tokens", "5", "--temperature", "0", "--json"];
    let once = generate(&place.at("out"), &greedy);
    assert_eq!(once.status.code(), Some(0), "{}", text(&once.stderr));
    let answer: Value = serde_json::from_slice(&once.stdout).unwrap();
    assert_eq!(answer["prompt_tokens"], serde_json::json!([1, 4, 9]));
    assert_eq!(answer["tokens"].as_array().unwrap().len(), 5);
    for key in ["prefill_tokens_per_s", "decode_tokens_per_s"] {
        assert!(answer[key].as_f64().unwrap() > 0.0);
    }
    let again: Value = serde_json::from_slice(&generate(&place.at("out"), &greedy).stdout).unwrap();
    assert_eq!(answer["tokens"], again["tokens"]);
    // A checkpoint's own folder, and what names it, are as good as the run's.
    for path in [place.newest().to_string_lossy().into_owned(), place.at("out/latest")] {
        let output = generate(&path, &greedy);
        assert_eq!(output.status.code(), Some(0), "{path}: {}", text(&output.stderr));
        let output = Command::new(env!("CARGO_BIN_EXE_anemone"))
            .args(["convert", "--force", &path, &place.at("model.gguf")])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{path}: {}", text(&output.stderr));
    }
    place.bad(
        1,
        &["--steps", "1", "--out", &place.at("other"), "--model", &place.at("latest")],
        &["neither a preset"],
    );
}

#[test]
fn a_resumed_run_ends_with_the_same_bytes() {
    let (whole, halves) = (Place::new("whole"), Place::new("halves"));
    whole.good(&["--steps", "6", "--accum", "2", "--dtype", "bf16"]);
    halves.good(&["--steps", "3", "--accum", "2", "--dtype", "bf16"]);
    let output = Command::new(env!("CARGO_BIN_EXE_anemone"))
        .args(["train", "--resume", "--steps", "6", "--threads", "1"])
        .args(["--out", &halves.at("out")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for file in ["model.safetensors", "training.safetensors"] {
        let read = |place: &Place| fs::read(place.newest().join(file)).unwrap();
        assert!(read(&whole) == read(&halves), "{file} differs");
    }
}

/// The tokens of the data: squares modulo 97.
fn squares() -> Vec<u64> {
    let mut squares: Vec<u64> = (0..97).map(|i| i * i % 97).collect();
    squares.sort_unstable();
    squares.dedup();
    squares
}

#[test]
fn a_run_with_a_part_of_the_vocabulary_leaves_a_whole_model() {
    let (whole, part) = (Place::new("all_rows"), Place::new("some_rows"));
    whole.good(&["--steps", "3"]);
    let output = part.train(&["--steps", "3", "--compact-vocab"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.contains("vocabulary: 49 of 1 024 rows used (4.8 %)"), "{said}");
    let metrics = fs::read_to_string(part.at("out/metrics.jsonl")).unwrap();
    let lines: Vec<Value> = metrics.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines[0]["vocabulary"], serde_json::json!({ "rows_used": 49, "rows": 1024 }));
    // Nothing is known at first but which tokens there are.
    for loss in [&lines[1]["loss"], &lines[3]["val_loss"]] {
        assert!((loss.as_f64().unwrap() - 49f64.ln()).abs() < 0.3, "{loss}");
    }
    // Tensors of the same names and shapes lie at the same places.
    for file in ["model.safetensors", "training.safetensors", "config.json"] {
        let [whole, part] = [&whole, &part].map(|p| fs::read(p.newest().join(file)).unwrap());
        assert_eq!(whole.len(), part.len(), "{file}");
        let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        let same = if file == "config.json" { whole.len() } else { header };
        assert!(whole[..same] == part[..same], "{file}");
    }

    // Only tokens that were trained are written, of which there are one in twenty.
    let (squares, free) = (squares(), ["--max-tokens", "60", "--temperature", "1", "--json"]);
    let written = |place: &Place, more: &[&str]| -> Vec<u64> {
        let output = generate(&place.at("out"), &[&["--prompt-tokens", "5,4"], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["tokens"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap()).collect()
    };
    let is_square = |token: &u64| squares.contains(token);
    let tokens = written(&part, &free);
    assert!(tokens.len() == 60 && tokens.iter().all(is_square), "{tokens:?}");
    assert!(!written(&whole, &free).iter().all(is_square));

    // Without the flag the run goes on over all rows, and then all are trained.
    part.good(&["--resume", "--steps", "4", "--compact-vocab=false"]);
    let metrics = fs::read_to_string(part.at("out/metrics.jsonl")).unwrap();
    let last: Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    let loss = last["loss"].as_f64().unwrap();
    assert!(loss > 5.0, "the loss is over 1024 tokens: {loss}");
    assert!(!written(&part, &free).iter().all(is_square));
    part.bad(2, &["--compact-vocab=perhaps"], &["perhaps"]);
}

#[test]
fn a_run_with_a_part_of_the_vocabulary_is_resumed_exactly() {
    let (whole, halves) = (Place::new("some_whole"), Place::new("some_halves"));
    let flags = ["--dtype", "bf16", "--compact-vocab", "--steps"];
    whole.good(&[&flags[..], &["5"]].concat());
    halves.good(&[&flags[..], &["2"]].concat());
    // The flag is one of those that are kept.
    halves.good(&["--resume", "--steps", "5"]);
    for file in ["model.safetensors", "training.safetensors"] {
        let read = |place: &Place| fs::read(place.newest().join(file)).unwrap();
        assert!(read(&whole) == read(&halves), "{file} differs");
    }
    // Other data, with other tokens: their rows are gathered anew.
    let tokens: Vec<u8> = (0..500u16).flat_map(|i| (i % 200).to_le_bytes()).collect();
    fs::write(halves.at("data.bin"), tokens).unwrap();
    let output = halves.train(&["--resume", "--steps", "6"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.contains("vocabulary: 200 of 1 024 rows used (19.5 %)"), "{said}");
    let state = fs::read_to_string(halves.newest().join("training.json")).unwrap();
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["trained"], "0-199");
}

#[test]
fn the_loss_is_scaled_in_fp16_and_a_resumed_run_goes_on_with_that() {
    let scales = |place: &Place| -> Vec<Value> {
        let metrics = fs::read_to_string(place.at("out/metrics.jsonl")).unwrap();
        let lines = metrics.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
        lines.filter(|l| l["step"].is_number()).map(|l| l["loss_scale"].clone()).collect()
    };
    // 256 for each of the four layers of `tiny`.
    let place = Place::new("scale");
    place.good(&["--steps", "2", "--dtype", "fp16"]);
    assert_eq!(scales(&place), [1024.0, 1024.0]);
    let resume = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_anemone"));
        command.args(["train", "--resume", "--threads", "1", "--out", &place.at("out")]);
        let output = command.args(more).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    };
    resume(&["--steps", "3", "--loss-scale", "100"]);
    resume(&["--steps", "4"]);
    resume(&["--steps", "5", "--loss-scale", "static"]);
    resume(&["--steps", "6", "--loss-scale", "none"]);
    assert_eq!(scales(&place)[2..5], [100.0, 100.0, 1024.0]);
    assert_eq!(scales(&place)[5], Value::Null);

    let place = Place::new("no_scale");
    place.good(&["--steps", "1"]);
    assert_eq!(scales(&place), [Value::Null]);
    for wrong in ["0.5", "nan", "1e9", "half"] {
        place.bad(2, &["--loss-scale", wrong], &["none, static, dynamic", "from 1 to 16777216"]);
    }
}

#[test]
fn a_run_is_not_written_over() {
    let place = Place::new("twice");
    place.good(&["--steps", "1"]);
    let before = place.contents();
    place.bad(1, &["--steps", "1"], &["holds a run already", "--resume", "--out"]);
    assert!(before == place.contents());
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_a_checkpoint_to_go_on_from() {
    let place = Place::new("interrupt");
    let mut child = place
        .command(&["--steps", "100000"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let metrics = place.at("out/metrics.jsonl");
    let lines = || fs::read_to_string(&metrics).map_or(0, |m| m.lines().count());
    while lines() < 4 {
        assert!(child.try_wait().unwrap().is_none(), "the run has ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let name = place.newest().file_name().unwrap().to_str().unwrap().to_owned();
    let done: u64 = name.trim_start_matches("step-").parse().unwrap();
    assert!(done >= 3);
    let steps = (done + 1).to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_anemone"))
        .args(["train", "--resume", "--steps", &steps, "--out", &place.at("out")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let log = fs::read_to_string(&metrics).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(last["step"].as_u64(), Some(done + 1));
}

#[test]
fn bad_data_is_named() {
    let place = Place::new("data");
    let file = |name: &str, bytes: &[u8]| {
        fs::write(place.at(name), bytes).unwrap();
        place.at(name)
    };
    let with = |path: &str, words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_anemone"))
            .args(["train", "--steps", "1", "--seq", "16", "--data", path])
            .args(["--out", &place.at("out")])
            .output()
            .unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{path}: {message}");
        for word in words {
            assert!(message.contains(word), "`{word}` is not in: {message}");
        }
        assert!(!Path::new(&place.at("out")).exists(), "{path}: something was written");
    };
    with(&place.at("none.bin"), &["none.bin"]);
    with(&file("odd.bin", &[1, 0, 2]), &["odd.bin", "3"]);
    with(&file("empty.bin", &[]), &["empty.bin", "empty"]);
    let mut tokens = vec![0; 200];
    tokens[100..102].copy_from_slice(&2000u16.to_le_bytes());
    with(&file("large.bin", &tokens), &["large.bin", "2000", "50", "1024"]);
    with(&file("short.bin", &[1; 20]), &["10", "16"]);
    with(&file("bad.jsonl", b"{\"text\": \"good\"}\n{\"text\": \n"), &["bad.jsonl", "2"]);
    with(&file("bad.txt", b"words and \xff\xfe bytes"), &["bad.txt", "10"]);
}

#[test]
fn wrong_usage_is_told_apart() {
    let place = Place::new("usage");
    for wrong in [
        &["--no-such-flag"][..],
        &["--steps", "0"],
        &["--steps", "-3"],
        &["--batch", "0"],
        &["--seq", "0"],
        &["--accum", "0"],
        &["--lr", "-1"],
        &["--lr", "0"],
        &["--beta1", "1"],
        &["--min-lr-ratio", "2"],
        &["--dtype", "fp8"],
        &["--order", "sorted"],
        &["--token-width", "8"],
        &["--threads", "0"],
    ] {
        place.bad(2, wrong, &[wrong[0]]);
    }
    place.bad(1, &["--model", "huge"], &["huge", "tiny"]);
    place.bad(1, &["--device", "tpu"], &["tpu", "cpu"]);
    place.bad(1, &["--seq", "4096"], &["4096", "256"]);
    place.bad(1, &["--init", &place.at("nothing")], &["nothing"]);
    assert!(!Path::new(&place.at("out")).exists(), "something was written");
    // A file where the folder should be.
    fs::write(place.at("out"), "mine").unwrap();
    place.bad(1, &["--steps", "1"], &["out"]);
    assert_eq!(fs::read_to_string(place.at("out")).unwrap(), "mine");
}

#[test]
fn damaged_checkpoints_are_refused() {
    let place = Place::new("damage");
    place.good(&["--steps", "1"]);
    let model = place.newest().join("model.safetensors");
    let good = fs::read(&model).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for damaged in [&flipped, &good[..good.len() - 7]] {
        fs::write(&model, damaged).unwrap();
        place.bad(1, &["--resume", "--steps", "2"], &["model.safetensors"]);
        let output = generate(&place.at("out"), &["--prompt-tokens", "1"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("model.safetensors"), "{}", text(&output.stderr));
        assert!(fs::read(&model).unwrap() == *damaged, "the damaged file was touched");
    }
    fs::write(&model, &good).unwrap();
    place.bad(1, &["--resume", "--model", "stories15m"], &["tiny", "stories15m"]);
    place.good(&["--resume", "--steps", "2"]);
}

#[test]
fn generate_refuses_what_it_cannot_do() {
    let place = Place::new("generate");
    place.good(&["--steps", "1"]);
    let refused = |code: i32, more: &[&str], words: &[&str]| {
        let output = generate(&place.at("out"), more);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{more:?}: {message}");
        for word in words {
            assert!(message.contains(word), "{more:?}: `{word}` is not in: {message}");
        }
    };
    // Raw tokens come without a tokenizer.
    refused(1, &["--prompt", "Once"], &["--prompt-tokens"]);
    refused(1, &["--prompt-tokens", "1,5000"], &["5000", "1024"]);
    let long = vec!["1"; 300].join(",");
    refused(1, &["--prompt-tokens", &long], &["300", "256"]);
    refused(1, &["--prompt-tokens", "1", "--temperature=-1"], &["temperature"]);
    refused(1, &["--prompt-tokens", "1", "--top-p", "0"], &["top-p"]);
    refused(2, &["--prompt-tokens", "one"], &["one"]);
    refused(2, &["--max-tokens", "0"], &["--max-tokens"]);
    let missing = generate(&place.at("nowhere"), &["--prompt-tokens", "1"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("nowhere"));
}

/// The shell's limit on the size of a file stands in for a disk that is full.
#[cfg(unix)]
#[test]
fn a_save_that_fails_leaves_the_one_before() {
    let place = Place::new("full");
    place.good(&["--steps", "1"]);
    let before = place.contents();
    // Blocks of 512 bytes: less than a checkpoint of this model, more than the metrics.
    let script = "trap '' XFSZ; ulimit -f 2000; exec \"$@\"";
    let resumed = place.command(&["--resume", "--steps", "2"]);
    let output = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(resumed.get_program())
        .args(resumed.get_args())
        .output()
        .unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("safetensors"), "{message}");
    let kept = |contents: Vec<(PathBuf, Vec<u8>)>| -> Vec<(PathBuf, Vec<u8>)> {
        contents.into_iter().filter(|(path, _)| !path.ends_with("metrics.jsonl")).collect()
    };
    assert!(kept(before) == kept(place.contents()), "the checkpoint before was touched");
    place.good(&["--resume", "--steps", "2"]);
}
