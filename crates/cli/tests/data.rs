//! `anemone data` from the outside, and training from what it makes.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder of this test's own, with a corpus in `in`.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Place {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("data_{test}"));
        fs::remove_dir_all(&path).ok();
        fs::create_dir_all(path.join("in")).unwrap();
        let line = |n: usize| {
            let words = ["one", "two", "three", "four", "five"];
            let text: Vec<&str> = (0..n % 23 + 3).map(|i| words[(n * i + n / 7) % 5]).collect();
            serde_json::json!({ "id": n, "body": format!("{n} {}", text.join(" ")) }).to_string()
        };
        let lines: Vec<String> = (0..400).map(line).collect();
        fs::write(path.join("in/a.jsonl"), lines.join("\n")).unwrap();
        fs::write(path.join("in/b.txt"), "some text\n---\nsome more\n---\nsome text").unwrap();
        fs::write(path.join("in/c.bin"), "skipped").unwrap();
        Place(path)
    }

    /// Runs a command in the folder; its output if it went well, its message if not.
    fn run(&self, command: &str) -> Result<String, String> {
        let output = Command::new(env!("CARGO_BIN_EXE_anemone"))
            .args(command.split(' '))
            .current_dir(&self.0)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        match output.status.code() {
            Some(0) => Ok(text(output.stdout)),
            Some(1) => Err(text(output.stderr)),
            code => panic!("{command}: {code:?}: {}", text(output.stderr)),
        }
    }
}

const PREPARE: &str = "data prepare in --train-tokenizer 300 --field body --val 0.2 --split \
                       \\n---\\n --shard-tokens 3000 --out out";

#[test]
fn a_corpus_becomes_tokens_that_a_model_is_trained_on() {
    let place = Place::new("trained");
    let said = place.run(PREPARE).unwrap();
    assert!(said.contains("403 documents, 1 duplicates left out\n"), "{said}");
    let info = place.run("data info out --json").unwrap();
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["read"]["files_skipped"], 1);
    let count = |part: &str, what: &str| info[part][what].as_u64().unwrap();
    assert_eq!(count("train", "documents") + count("validation", "documents"), 402);
    assert!((40..130).contains(&count("validation", "documents")), "{info}");
    assert!(info["train"]["shards"].as_array().unwrap().len() > 1, "{info}");
    // The end of text stands after every document.
    let frequent = info["most_frequent"].as_array().unwrap();
    let end = frequent.iter().find(|token| token["id"] == info["end_of_text"]).unwrap();
    assert_eq!(end["count"].as_u64(), Some(count("train", "documents")));

    let train = "train --batch 2 --seq 32 --steps 2 --threads 1 --eval-batches 1 --no-sample";
    let said = place.run(&format!("{train} --data out --out run")).unwrap();
    let (train_tokens, held_out) = (count("train", "tokens"), count("validation", "tokens"));
    let data = format!("{train_tokens} tokens of out, {held_out} to validate with");
    assert!(said.contains(&data), "{said}");
    assert!(said.contains("validation loss"), "{said}");
    // The run has the folder's tokenizer, so the folder suits a run that begins from it.
    place.run(&format!("{train} --data out --out again --init run")).unwrap();
    place.run("data prepare in --tokenizer run --out same --field body").unwrap();
    let tokenizer = |folder: &str| fs::read(place.0.join(folder).join("tokenizer.json")).unwrap();
    assert_eq!(tokenizer("same"), tokenizer("out"));

    place.run("data prepare in/b.txt --train-tokenizer 257 --out other --val 0").unwrap();
    let error = place.run(&format!("{train} --data other --out x --init run")).unwrap_err();
    assert!(error.contains("`other` was made with another tokenizer"), "{error}");
    let error = place.run(&format!("{train} --seq 64 --data other --out x")).unwrap_err();
    assert!(error.contains("`other`: 38 tokens to train on"), "{error}");
}

#[test]
fn what_is_wrong_is_named_and_can_be_mended() {
    let place = Place::new("mended");
    let bad = place.0.join("in/a.jsonl");
    let good = fs::read_to_string(&bad).unwrap();
    fs::write(&bad, format!("{good}\n{{\"body\": 7}}\n")).unwrap();
    let error = place.run(&PREPARE.replace("--train-tokenizer 300", "--tokenizer nowhere"));
    assert!(error.unwrap_err().contains("nowhere"));
    assert!(!place.0.join("out.tmp").exists(), "there is nothing to go on from");
    let skipping = "data prepare in --train-tokenizer 300 --field body --skip-bad --out tokenizer";
    place.run(skipping).unwrap();
    let prepare = PREPARE.replace("--train-tokenizer 300", "--tokenizer tokenizer");
    let error = place.run(&prepare).unwrap_err();
    assert!(error.contains("in/a.jsonl: line 401: "), "{error}");
    assert!(error.contains("what was done is in `out.tmp`: --resume goes on with it"), "{error}");
    assert!(!place.0.join("out").exists());
    let error = place.run(&prepare).unwrap_err();
    assert!(error.contains("out.tmp: is left of a run that was stopped"), "{error}");
    place.run(&format!("{prepare} --resume --skip-bad")).unwrap();
    let error = place.run(&prepare).unwrap_err();
    assert!(error.contains("out: exists already"), "{error}");

    let shard = place.0.join("out/train-00000.bin");
    let mut bytes = fs::read(&shard).unwrap();
    bytes[20] ^= 1;
    fs::write(&shard, &bytes).unwrap();
    let error = place.run("data info out").unwrap_err();
    assert!(error.contains("out/train-00000.bin: damaged: its checksum is"), "{error}");
    fs::write(&shard, &bytes[1..]).unwrap();
    let error = place.run("train --data out --out run").unwrap_err();
    assert!(error.contains("out/train-00000.bin: "), "{error}");
    let file = place.run("data info out/val-00000.bin --tokenizer out").unwrap();
    assert!(file.contains("documents  ") && file.contains("(end of text)"), "{file}");
}
