//! Models by path, or by name on the hub.

use anyhow::Context;
use std::path::{Path, PathBuf};

/// A path as it is, and a name of a model on the hub as the folder or file that was downloaded.
///
/// # Errors
/// If it is a name, and cannot be fetched.
pub fn resolve(given: &Path) -> anyhow::Result<PathBuf> {
    if given.exists() {
        return Ok(given.to_owned());
    }
    let Some(name) = given.to_str().filter(|name| is_name(name)) else {
        return Ok(given.to_owned());
    };
    fetch(name)
        .with_context(|| format!("there is no file or folder `{name}`, and as a model on the hub"))
}

/// Whether something that is no path may be a name: of a model, or of a file of one. What begins
/// with a folder that is there was meant as a path.
fn is_name(text: &str) -> bool {
    let Some((first, rest)) = text.split_once('/') else { return false };
    let path = first.is_empty() || first.starts_with(['.', '~']) || Path::new(first).exists();
    let file = [".gguf", ".safetensors"].iter().any(|ending| rest.ends_with(ending));
    !path && !rest.is_empty() && (file || !rest.contains('/'))
}

/// Nothing is downloaded.
#[cfg(not(feature = "hub"))]
pub fn fetch(_: &str) -> anyhow::Result<PathBuf> {
    anyhow::bail!("this program was built without the feature `hub`")
}

#[cfg(feature = "hub")]
pub use with_hub::fetch;

#[cfg(feature = "hub")]
mod with_hub {
    use hub::{Event, Hub, Name, Options};
    use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
    use std::io::IsTerminal;
    use std::path::PathBuf;

    /// Downloads what a name stands for, and shows how far it is.
    pub fn fetch(name: &str) -> anyhow::Result<PathBuf> {
        let name = Name::parse(name)?;
        let hub = Hub::new(Options::from_env(&|variable| std::env::var(variable).ok())?);
        let terminal = std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let style = "{msg} {bar:32} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        bar.set_style(ProgressStyle::with_template(style)?);
        let folder = hub.fetch(&name, &mut |event| match event {
            Event::Total(0) => {}
            Event::Total(bytes) if terminal => {
                bar.set_length(bytes);
                bar.set_draw_target(ProgressDrawTarget::stderr());
            }
            Event::Total(bytes) => eprintln!("downloading {name}: {:.1} MB", bytes as f64 / 1e6),
            Event::Bytes(file, bytes) => {
                bar.set_message(file.to_owned());
                bar.inc(bytes);
            }
            Event::Again(bytes) => bar.dec(bytes),
            Event::Note(text) => bar.suspend(|| eprintln!("anemone: note: {text}")),
        })?;
        bar.finish_and_clear();
        Ok(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_not_taken_for_names() {
        for path in
            ["out", "./a/b", "../a/b", "/a/b", "~/a/b", "src/none", "a/b/c", "a/", "a/b/c.bin"]
        {
            assert!(!is_name(path), "{path}");
            assert_eq!(resolve(Path::new(path)).unwrap(), Path::new(path));
        }
        for name in ["Qwen/Qwen3-0.6B", "a/b@v1", "a/b/c.gguf", "a/b@v1/c/d.gguf"] {
            assert!(is_name(name), "{name}");
        }
        assert_eq!(resolve(Path::new("src/main.rs")).unwrap(), Path::new("src/main.rs"));
    }
}
