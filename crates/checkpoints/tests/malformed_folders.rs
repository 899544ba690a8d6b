//! Folders of models in which one file is malformed: refused with the file, the tensor where there
//! is one, and the reason.

use checkpoints::Source;
use checkpoints::formats::safetensors;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A copy of the Hugging Face directory, to be changed.
fn copy(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::remove_dir_all(&folder).ok();
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    for entry in std::fs::read_dir(fixture("llama")).expect("the fixture is there") {
        let entry = entry.expect("the fixture is there");
        std::fs::copy(entry.path(), folder.join(entry.file_name())).expect("it is copied");
    }
    folder
}

#[test]
fn malformed_folders_are_refused_with_the_file_and_the_reason() {
    let folder = copy("malformed");
    Source::open(&folder).expect("it is good");
    let read = |name: &str| std::fs::read(folder.join(name)).expect("it is there");
    let (index, config) = (safetensors::INDEX, "config.json");
    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    let text = |name: &str| String::from_utf8(read(name)).expect("it is text");
    let norm = "model.norm.weight";
    let entry = |shard: &str| format!("\"{norm}\": \"{shard}\"");
    let of_norm = |shard: &str| text(index).replacen(&entry(second), &entry(shard), 1);
    assert_ne!(of_norm("x"), text(index), "the list names the last norm");
    let twice = format!("{}, {}", entry(second), entry(first));
    let deep = "[".repeat(100_000);
    let whole = read(first);
    let name_at = whole.windows(6).position(|w| w == b"\"model").expect("a name") + 1;
    let changed = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    let with_length = |length: u64| [&length.to_le_bytes()[..], &whole[8..]].concat();
    let cases: Vec<(&str, Vec<u8>, Vec<&str>)> = vec![
        (config, b"".to_vec(), vec![config, "EOF"]),
        (config, b"[]".to_vec(), vec![config, "must be an object"]),
        (config, b"\xff".to_vec(), vec![config, "expected value"]),
        (config, deep.clone().into(), vec![config, "recursion limit"]),
        (
            config,
            b"{\"model_type\": \"llama\", \"hidden_size\": -1}".to_vec(),
            vec![config, "`hidden_size` is -1; expected a count"],
        ),
        (config, text(config).replace("1e-05", "1e-999").into(), vec![config, "`norm_eps` is 0"]),
        (config, vec![b' '; (1 << 24) + 1], vec![config, "16777217 bytes"]),
        (index, deep.into(), vec![index, "invalid type: sequence, expected an object"]),
        (index, b"{}".to_vec(), vec![index, "missing field `weight_map`"]),
        (index, b"{\"weight_map\": [1]}".to_vec(), vec![index, "an object of tensors"]),
        (index, of_norm("../llama/x.safetensors").into(), vec![index, norm, "is no name of"]),
        (index, of_norm("C:\\\\x.safetensors").into(), vec![index, norm, "is no name of"]),
        (index, of_norm("config.json").into(), vec![index, norm, "is no name of"]),
        (index, of_norm(first).into(), vec![index, norm, "it is not in `model-00001"]),
        (index, of_norm("a.safetensors").into(), vec!["a.safetensors: No such file"]),
        (
            index,
            text(index).replacen(&entry(second), &twice, 1).into(),
            vec![index, norm, "it is said to be in"],
        ),
        (first, vec![], vec![first, "0 bytes are too few"]),
        (first, with_length(1 << 63), vec![first, "a header of 9223372036854775808 bytes"]),
        (first, with_length(whole.len() as u64), vec![first, "does not fit a file of"]),
        (first, with_length(2), vec![first, "header: "]),
        (first, changed(name_at, 0xff), vec![first, "header: invalid unicode"]),
        (first, whole[..whole.len() - 4].to_vec(), vec![first, "tensor `", "are not within"]),
        (first, [&whole[..], &[0; 4]].concat(), vec![first, "4 bytes follow the last tensor"]),
        (second, whole.clone(), vec!["tensor `", "it is in ", "as well"]),
        (second, text("tokenizer.json").into(), vec![second, "a header of"]),
    ];
    for (name, content, parts) in cases {
        let before = read(name);
        std::fs::write(folder.join(name), content).expect("it is written");
        let error = Source::open(&folder).expect_err(name).to_string();
        std::fs::write(folder.join(name), before).expect("it is written");
        for part in parts {
            assert!(error.contains(part), "{name}: {error:?} lacks {part:?}");
        }
    }
    std::fs::write(folder.join("tokenizer.json"), b"\xff").expect("it is written");
    let source = Source::open(&folder).expect("it has a tokenizer that nobody has read");
    let error = source.tokenizer().expect_err("not UTF-8").to_string();
    assert!(error.ends_with("tokenizer.json: not UTF-8"), "{error}");
}
