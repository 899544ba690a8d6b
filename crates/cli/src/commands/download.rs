//! `anemone download`.

use crate::hub;
use clap::Args;
use serde_json::json;
use std::io::Write;

/// Download a model from the Hugging Face hub.
///
/// Every command that takes a model does this by itself; here it is done ahead. Prints the folder,
/// which lies where the hub's own tools keep their downloads: HF_HOME, HF_HUB_CACHE, HF_TOKEN,
/// HF_ENDPOINT and HF_HUB_OFFLINE are heeded. What was interrupted goes on where it ended.
#[derive(Debug, Args)]
pub struct Download {
    /// `owner/name`, with `@revision` for another branch, tag or commit than main, and with a path
    /// behind it for one file: `owner/name/model.gguf`
    #[arg(value_name = "NAME")]
    name: String,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Download {
    /// Downloads.
    pub fn run(self) -> anyhow::Result<()> {
        let folder = hub::fetch(&self.name)?;
        let mut out = std::io::stdout();
        if self.json {
            let summary = json!({ "name": self.name, "path": folder });
            writeln!(out, "{summary}")?;
        } else {
            writeln!(out, "{}", folder.display())?;
        }
        Ok(())
    }
}
