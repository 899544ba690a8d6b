//! Checkpoints that the `transformers` package wrote, with what it computes with them. Made by
//! `scripts/fixtures/make_families.py`.
#![allow(dead_code)] // Every test file uses a part.

use models::Config;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every checkpoint, and the family that it must be read as.
pub const FAMILIES: [(&str, &str); 8] = [
    ("llama", "llama"),
    ("llama-biased", "llama"),
    ("smollm", "llama"),
    ("qwen2", "qwen2"),
    ("qwen3", "qwen3"),
    ("mistral", "mistral"),
    ("gemma", "gemma"),
    ("gpt2", "gpt2"),
];

/// A checkpoint.
pub struct Family {
    pub name: String,
    pub config: Config,
    /// Parameters, by name.
    pub parameters: BTreeMap<String, Tensor>,
    /// What the package computes.
    pub expected: BTreeMap<String, Tensor>,
}

/// Elements of four bytes each.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub dims: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tensor {
    pub fn floats(&self) -> Vec<f32> {
        self.bytes.as_chunks::<4>().0.iter().map(|&word| f32::from_le_bytes(word)).collect()
    }

    pub fn ids(&self) -> Vec<u32> {
        self.bytes.as_chunks::<4>().0.iter().map(|&word| u32::from_le_bytes(word)).collect()
    }
}

/// The committed folder of all checkpoints.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/fixtures/families")
}

/// Every committed checkpoint.
pub fn all() -> Vec<Family> {
    FAMILIES.iter().map(|(name, _)| Family::read(&folder(), name)).collect()
}

impl Family {
    /// The checkpoint of this name in a folder of such.
    pub fn read(folder: &Path, name: &str) -> Family {
        let folder = folder.join(name);
        let text = std::fs::read_to_string(folder.join("config.json")).expect("config.json");
        let json = serde_json::from_str(&text).expect("config.json is JSON");
        Family {
            name: name.to_owned(),
            config: Config::from_hugging_face(&json).expect(name),
            parameters: tensors(&folder.join("model.safetensors")),
            expected: tensors(&folder.join("expected.safetensors")),
        }
    }
}

/// The tensors of a file.
pub fn tensors(path: &Path) -> BTreeMap<String, Tensor> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
    let (header, data) = rest.split_at(length);
    let header: Value = serde_json::from_slice(header).expect("the header is JSON");
    let entries = header.as_object().expect("the header is an object").iter();
    let read = |(name, entry): (&String, &Value)| {
        let list = |key: &str| -> Vec<usize> {
            let list = entry[key].as_array().expect("a list").iter();
            list.map(|size| size.as_u64().expect("a count") as usize).collect()
        };
        assert!(["F32", "I32"].map(Value::from).contains(&entry["dtype"]), "{name}: {entry}");
        let (dims, at) = (list("shape"), list("data_offsets"));
        (name.clone(), Tensor { dims, bytes: data[at[0]..at[1]].to_vec() })
    };
    entries.filter(|(name, _)| *name != "__metadata__").map(read).collect()
}

/// Runs a script of `scripts/fixtures` with the Python that `TORCH_PYTHON` names; `false` if it
/// names none.
pub fn run_python(script: &str, arguments: &[&Path]) -> bool {
    let Some(python) = std::env::var_os("TORCH_PYTHON") else {
        println!("not tested: TORCH_PYTHON names no Python with torch and transformers");
        return false;
    };
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/fixtures");
    let run = Command::new(python).arg(scripts.join(script)).args(arguments).output();
    let output = run.expect("TORCH_PYTHON can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
    true
}

/// A folder that is not there yet.
pub fn scratch(name: &str) -> PathBuf {
    let folder =
        std::env::temp_dir().join(format!("anemone-families-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}
