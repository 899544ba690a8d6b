//! Checkpoints that survive crashes.
//!
//! A run has one directory, and every checkpoint is a directory in it:
//!
//! ```text
//! OUT/latest                       the name of the newest checkpoint
//! OUT/best                         a link to the one with the least validation loss, if kept
//! OUT/step-00000100/config.json    the model's configuration
//!                   model.safetensors      parameters, under the model's names
//!                   tokenizer.json         if there is a tokenizer
//!                   tokenizer_config.json  and others of the model that training began with
//!                   training.safetensors   moments: `first/NAME` and `second/NAME`
//!                   training.json          step, position in the data, and so on
//!                   manifest.json          version, and size and CRC-32 of every other file
//! ```
//!
//! The first four are what other tools read as a model. Of a run that trains an adapter there are
//! `adapter_config.json` and `adapter_model.safetensors` instead of the parameters, as the `peft`
//! package has them. All files are written and synced under a
//! temporary name, which is renamed as a whole; then `latest` is replaced; only then are older
//! checkpoints removed. So a crash or a full disk at any moment leaves the newest complete
//! checkpoint as it was.

mod read;
mod safetensors;
mod save;
mod state;

pub use read::{Checkpoint, resolve};
pub use safetensors::SafeTensors;
pub use save::{Snapshot, Tensor, mark_best, save};
pub use state::TrainState;

use std::path::{Path, PathBuf};

/// The version of the layout that is written; it and all before it are read.
///
/// Version 2 added the state of a dynamic loss scale, without which a run does not go on as it
/// would have; version 3 adapters, in place of a model, and files beside the tokenizer.
pub const VERSION: u32 = 3;

/// Files that other tools read beside a model, and that are passed on as they are.
pub const SIDECARS: [&str; 4] = [
    "chat_template.jinja",
    "generation_config.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
];

const LATEST: &str = "latest";
const BEST: &str = "best";
const ADAPTER: &str = "adapter_model.safetensors";
const ADAPTER_CONFIG: &str = "adapter_config.json";
const MANIFEST: &str = "manifest.json";
const CONFIG: &str = "config.json";
const MODEL: &str = "model.safetensors";
const TOKENIZER: &str = "tokenizer.json";
const TRAINING: &str = "training.json";
const MOMENTS: &str = "training.safetensors";

/// Which moment of the optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The running mean of gradients.
    First,
    /// The running mean of their squares.
    Second,
}

impl Moment {
    fn name(self, parameter: &str) -> String {
        match self {
            Self::First => format!("first/{parameter}"),
            Self::Second => format!("second/{parameter}"),
        }
    }
}

/// The manifest: what a complete checkpoint consists of.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Manifest {
    format: String,
    version: u32,
    files: std::collections::BTreeMap<String, Sum>,
}

/// Size and checksum of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Sum {
    size: u64,
    crc32: u32,
}

const FORMAT: &str = "anemone-checkpoint";

/// What can go wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no checkpoint there.
    #[error("{}: no checkpoint there", .0.display())]
    Missing(PathBuf),
    /// A file is shorter or longer than it was when written.
    #[error("{}: {found} bytes, but {expected} were written: the file is cut off or changed", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Bytes written.
        expected: u64,
        /// Bytes there.
        found: u64,
    },
    /// A file is not what was written.
    #[error("{}: checksum {found:08x}, but {expected:08x} was written: the file is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The checksum written.
        expected: u32,
        /// The checksum of what is there.
        found: u32,
    },
    /// The checkpoint is of another version.
    #[error("{}: version {found} of the layout; this program reads versions 1 to {VERSION}", path.display())]
    Version {
        /// The manifest.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// A file is not in its format.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file of tensors is malformed or cannot be read.
    #[error(transparent)]
    Tensors(#[from] checkpoints::Error),
    /// A tensor that the model needs is not there.
    #[error("{}: no tensor `{name}`", path.display())]
    NoTensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
    },
    /// A tensor has another shape or type than the model needs.
    #[error("{}: tensor `{name}` is {found}, but the model needs {expected}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// Type and dimensions needed.
        expected: String,
        /// Type and dimensions there.
        found: String,
    },
}

fn file_error(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |source| Error::File { path: path.to_owned(), source }
}

fn format_error(path: &Path, reason: impl ToString) -> Error {
    Error::Format { path: path.to_owned(), reason: reason.to_string() }
}

/// The checkpoints in a run's directory, oldest first: step, how often that step had been saved
/// before, and name.
fn list(run: &Path) -> std::io::Result<Vec<(u64, u64, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(run)? {
        if let Ok(name) = entry?.file_name().into_string()
            && let Some((step, again)) = parse_name(&name)
        {
            found.push((step, again, name));
        }
    }
    found.sort();
    Ok(found)
}

/// The name of a checkpoint. A step that is saved again gets a new name, since a directory cannot
/// be replaced at once.
fn name(step: u64, again: u64) -> String {
    if again == 0 { format!("step-{step:08}") } else { format!("step-{step:08}-{again}") }
}

fn parse_name(text: &str) -> Option<(u64, u64)> {
    let rest = text.strip_prefix("step-")?;
    let (step, again) = rest.split_once('-').unwrap_or((rest, "0"));
    let parsed = (step.parse().ok()?, again.parse().ok()?);
    (name(parsed.0, parsed.1) == text).then_some(parsed)
}

#[cfg(test)]
mod tests;
