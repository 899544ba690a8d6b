//! `anemone generate` and `anemone chat` with models of others, and adapters from training to
//! merging, from the outside.

use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn anemone(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anemone"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that ends before it has read all closes its end.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn good(arguments: &[&str], input: &str) -> String {
    let output = anemone(arguments, input);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn bad(arguments: &[&str], words: &str) {
    let output = anemone(arguments, "hello\n");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
    assert!(message.contains(words), "{arguments:?}: `{words}` is not in: {message}");
}

fn fixture(name: &str) -> String {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
    crates.join("checkpoints/tests/fixtures").join(name).to_str().unwrap().to_owned()
}

struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Place {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("writing_{test}"));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.join(name), text).unwrap();
        self.at(name)
    }
}

/// The most probable continuations, one for each prompt.
#[track_caller]
fn greedy(model: &str, more: &[&str]) -> Vec<Value> {
    let fixed = ["generate", "--threads", "1", "--temperature", "0", "--max-tokens", "8", "--json"];
    let text = good(&[&fixed[..], &["--model", model], more].concat(), "");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_format_of_a_model_writes_the_same() {
    let prompt = ["--prompt-tokens", "5,6,7"];
    let tokens = |model: &str| greedy(&fixture(model), &prompt)[0]["tokens"].clone();
    let expected = tokens("llama");
    assert_eq!(expected.as_array().unwrap().len(), 8);
    for model in ["llama.gguf", "llama2c-v0.bin", "llama2c-v1.bin", "blzt-v4.bin"] {
        assert_eq!(tokens(model), expected, "{model}");
    }
}

#[test]
fn several_prompts_are_continued_one_by_one() {
    let (place, model) = (Place::new("prompts"), fixture("llama"));
    let one = |prompt: &str| greedy(&model, &["--prompt", prompt]).remove(0);
    let (cat, dog) = (one("the cat"), one("dog"));
    assert_ne!(cat["tokens"], dog["tokens"]);
    let same = |found: Vec<Value>, expected: [&Value; 2]| {
        assert_eq!(found.len(), 2);
        for (found, expected) in found.iter().zip(expected) {
            for key in ["prompt_tokens", "tokens", "text", "finish_reason"] {
                assert_eq!(found[key], expected[key]);
            }
        }
    };
    same(greedy(&model, &["--prompt", "the cat", "--prompt", "dog"]), [&cat, &dog]);
    let lines = place.file("prompts.txt", "dog\n\nthe cat\n");
    same(greedy(&model, &["--prompts", &lines]), [&dog, &cat]);
    let objects = place.file(
        "prompts.jsonl",
        "{\"prompt\": \"the cat\"}\n{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}\n",
    );
    let fixed = ["generate", "--model", &model, "--prompts", &objects];
    bad(&fixed, "prompts.jsonl`, line 2");
    let objects = place.file("bad.jsonl", "{\"prompt\": 3}\n");
    bad(&["generate", "--model", &model, "--prompts", &objects], "bad.jsonl`, line 1");
    bad(&["generate", "--model", &model, "--prompts", &place.at("none")], "none");
}

#[test]
fn an_answer_ends_before_a_stop_string_and_at_the_limit() {
    let model = fixture("llama2c-v0.bin");
    let whole = greedy(&model, &["--prompt", "the cat"]).remove(0);
    assert_eq!(whole["finish_reason"], "length");
    let text = whole["text"].as_str().unwrap();
    let (at, stop) = text.char_indices().nth(3).map(|(at, _)| (at, &text[at..])).unwrap();
    let stop: String = stop.chars().take(2).collect();
    let first = text.find(&stop).unwrap();
    assert!(first <= at);
    let stopped = greedy(&model, &["--prompt", "the cat", "--stop", &stop]).remove(0);
    assert_eq!(stopped["finish_reason"], "stop");
    assert_eq!(stopped["text"], text[..first]);
    bad(&["generate", "--model", &model, "--min-p", "2"], "min-p");
    bad(&["generate", "--model", &model, "--repetition-penalty", "0"], "repetition penalty");
}

#[test]
fn a_conversation_goes_on_and_can_be_saved() {
    let place = Place::new("chat");
    // A template that is short: the model has 24 positions.
    let template = place.file(
        "short.jinja",
        "{% for m in messages %}{{ m.role[0] }}{{ m.content }}{% endfor %}\
         {% if add_generation_prompt %}a{% endif %}",
    );
    let saved = place.at("saved.jsonl");
    let model = fixture("llama");
    let fixed = ["chat", "--model", &model, "--chat-template", &template];
    let limits = ["--threads", "1", "--temperature", "0", "--max-tokens", "3"];
    let arguments = [&fixed[..], &limits].concat();
    let input = format!("hi\n/save {saved}\nyou\n/save {saved}\n/reset\nhi\n/quit\nnever\n");
    let output = good(&arguments, &input);
    let read = std::fs::read_to_string(&saved).unwrap();
    let lines: Vec<Value> = read.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let messages = |line: usize| lines[line]["messages"].as_array().unwrap();
    assert_eq!((messages(0).len(), messages(1).len()), (2, 4));
    assert_eq!(messages(1)[..2], messages(0)[..]);
    assert_eq!(messages(0)[0], json!({ "role": "user", "content": "hi" }));
    // The same question is answered alike after /reset, though the cache knew another text.
    let answer = |line: usize, index: usize| messages(line)[index]["content"].as_str().unwrap();
    let expected = format!("{0}\n{1}\n{0}\n", answer(0, 1), answer(1, 3));
    assert_eq!(output, expected);

    bad(&arguments[..3], "the model's context 24");
    bad(&["chat", "--model", &fixture("llama2c-v0.bin")], "no chat template");
    let output = anemone(&arguments, "/nonsense\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("/help"));
}

#[test]
fn an_adapter_is_trained_loaded_and_merged() {
    let (place, model) = (Place::new("adapter"), fixture("llama"));
    let pair = |word: &str| format!("{{\"prompt\": \"the cat \", \"completion\": \"{word}\"}}\n");
    let data = place.file("data.jsonl", &["ran", "ran", "ate"].map(pair).concat().repeat(12));
    let run = place.at("run");
    let training = ["train", "--init", &model, "--lora", "4", "--data", &data, "--out", &run];
    let settings = ["--seq", "24", "--batch", "4", "--steps", "30", "--lr", "2e-2", "--no-sample"];
    good(&[&training[..], &settings, &["--threads", "1"]].concat(), "");

    let prompt = ["--prompt", "the cat "];
    let text = |model: &str, more: &[&str]| {
        greedy(model, &[&prompt[..], more].concat())[0]["text"].as_str().unwrap().to_owned()
    };
    let before = text(&model, &[]);
    let after = text(&run, &[]);
    assert_eq!(after, "ran");
    assert_ne!(before, after);
    assert_eq!(text(&model, &["--adapter", &run]), after);

    let (merged, file) = (place.at("merged"), place.at("merged.gguf"));
    good(&["convert", &run, &merged], "");
    good(&["convert", &model, &file, "--adapter", &run, "--dtype", "fp32"], "");
    assert_eq!(text(&merged, &[]), after);
    assert_eq!(text(&file, &[]), after);
    assert_eq!(text(&merged, &["--dtype", "int8"]), after);

    bad(&["generate", "--model", &run, "--adapter", &run], "an adapter already");
    bad(&["generate", "--model", &model, "--adapter", &merged], "no adapter");
    let checkpoint = std::fs::read_to_string(Path::new(&run).join("latest")).unwrap();
    let values = Path::new(&run).join(checkpoint.trim()).join("adapter_model.safetensors");
    let bytes = std::fs::read(&values).unwrap();
    std::fs::write(&values, &bytes[..bytes.len() - 9]).unwrap();
    bad(&["generate", "--model", &run], "adapter_model.safetensors");
    bad(&["convert", &run, &place.at("no")], "adapter_model.safetensors");
    assert!(!Path::new(&place.at("no")).exists());
}
