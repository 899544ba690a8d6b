//! Directories as Hugging Face has them; this project's own checkpoints are such.

use super::{Format, Found, Sidecar, Tokenizer};
use crate::formats::safetensors;
use crate::{Error, Input, Tensors};
use serde_json::Value;
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";

/// The largest `config.json` that is read.
const MAX_CONFIG: u64 = 1 << 24;

/// Files that go where the model goes.
const SIDECARS: [&str; 9] = [
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
];

/// A directory with a model, or of a run with the checkpoints that it has saved.
pub(super) fn open_folder(folder: &Path) -> Result<Found, Error> {
    let folder = if folder.join(CONFIG).is_file() { folder.to_owned() } else { newest(folder)? };
    found(&folder, safetensors::open(&folder)?)
}

/// A file beside the `config.json` of its model.
pub(super) fn open_file(path: &Path) -> Result<Found, Error> {
    found(path.parent().unwrap_or(Path::new("")), safetensors::open(path)?)
}

fn found(folder: &Path, tensors: Tensors) -> Result<Found, Error> {
    let path = folder.join(CONFIG);
    let bytes = Input::open(&path)?.read_all(MAX_CONFIG)?;
    let json: Value =
        serde_json::from_slice(&bytes).map_err(|error| Error::format(&path, error))?;
    let there = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
    Ok(Found {
        format: Format::HuggingFace,
        json,
        config: Some(path),
        tensors,
        tokenizer: there(TOKENIZER).map(Tokenizer::File),
        sidecars: SIDECARS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), Sidecar::File(there(name)?))))
            .collect(),
    })
}

/// The newest checkpoint in the directory of a run: the one that `latest` names, or the one of
/// the highest step.
fn newest(run: &Path) -> Result<PathBuf, Error> {
    let latest = Input::open(&run.join("latest")).and_then(|input| input.read_all(1 << 10));
    let latest = latest.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    // A name that is not one of ours could lead out of the directory.
    let latest = latest.map(|name| name.trim().to_owned()).filter(|name| step(name).is_some());
    let entries = std::fs::read_dir(run).map_err(Error::file(run))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| step(name).is_some()).collect();
    names.sort_by_key(|name| std::cmp::Reverse(step(name)));
    let mut found = latest.into_iter().chain(names).map(|name| run.join(name));
    found.find(|folder| folder.join(CONFIG).is_file()).ok_or_else(|| {
        let reason = "no checkpoint there: it has neither a `config.json` nor a run's checkpoints";
        Error::format(run, reason)
    })
}

/// The step in the name of a run's checkpoint, and how often it had been saved before.
fn step(name: &str) -> Option<(u64, u64)> {
    let rest = name.strip_prefix("step-")?;
    let (step, again) = rest.split_once('-').unwrap_or((rest, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(step) && digits(again)).then_some(())?;
    Some((step.parse().ok()?, again.parse().ok()?))
}

/// The names that a parameter may have: files of a model without its head may lack the prefix.
pub(super) fn file_names(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    names.extend(
        ["model.", "transformer."]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix).map(str::to_owned)),
    );
    names
}
