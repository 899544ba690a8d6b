//! Models by name, and text from them.

mod adapter;
mod chooser;
mod loaded;
mod origin;
mod sample;
mod sidecars;
mod ways;

pub use adapter::AdapterFolder;
pub use chooser::Chooser;
pub use loaded::Loaded;
pub use origin::{Origin, sidecars_of};
pub use sample::Sample;
pub use sidecars::{Sidecars, chat_template, put_template};
pub use ways::Ways;

use anyhow::{Context, bail};
use generate::Weights;
use models::Config;
use std::path::Path;
use train::Trainer;
use train::checkpoint::Checkpoint;

/// The configuration of a preset or of a folder with a `config.json`; that of the checkpoint
/// that training begins with goes before.
pub fn config(name: &str, checkpoint: Option<&Checkpoint>) -> anyhow::Result<Config> {
    if let Some(checkpoint) = checkpoint {
        let config = Config::from_hugging_face(checkpoint.config())
            .with_context(|| format!("`{}`", checkpoint.folder().join("config.json").display()))?;
        return Ok(config);
    }
    let folder = Path::new(name);
    if folder.is_dir() || train::checkpoint::resolve(folder).is_ok() {
        return from_folder(folder);
    }
    if let Ok(config) = Config::preset(name) {
        return Ok(config);
    }
    let known: Vec<&str> = models::PRESETS.iter().map(|p| p.0).collect();
    bail!("`{name}` is neither a preset ({}) nor a folder", known.join(", "))
}

fn from_folder(folder: &Path) -> anyhow::Result<Config> {
    if let Ok(resolved) = train::checkpoint::resolve(folder) {
        return config("", Some(&Checkpoint::open(&resolved)?));
    }
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    let json =
        serde_json::from_str(&text).with_context(|| format!("`{}` is not JSON", path.display()))?;
    Config::from_hugging_face(&json).with_context(|| format!("`{}`", path.display()))
}

/// The parameters of a model in training: shared, and copied only where not all rows are trained.
pub fn weights(trainer: &Trainer) -> anyhow::Result<Weights> {
    let parameters = trainer.whole_parameters()?;
    Ok(parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
