//! Files beside a model that say how to use it.

use anyhow::{Context, bail};
use std::io::Read;
use std::path::Path;
use text::chat::CHATML;
use train::checkpoint::SIDECARS;

/// Files by name.
pub type Sidecars = Vec<(String, Vec<u8>)>;

/// The longest of them that is read, in bytes.
const LONGEST: u64 = 1 << 24;

const TEMPLATE: &str = "chat_template.jinja";

/// Those in a folder.
pub fn sidecars_in(folder: &Path) -> anyhow::Result<Sidecars> {
    let there = SIDECARS.iter().filter(|name| folder.join(name).is_file());
    there.map(|name| Ok(((*name).to_owned(), read(&folder.join(name))?))).collect()
}

/// The text of a chat template by the name of its file, or `chatml`.
pub fn chat_template(given: &str) -> anyhow::Result<String> {
    if given == "chatml" {
        return Ok(CHATML.to_owned());
    }
    let text = read(Path::new(given)).context("cannot read the chat template")?;
    String::from_utf8(text).with_context(|| format!("the chat template `{given}` is not text"))
}

/// Puts a chat template in the place of the one that is there.
pub fn put_template(sidecars: &mut Sidecars, source: String) {
    sidecars.retain(|(name, _)| name != TEMPLATE);
    sidecars.push((TEMPLATE.to_owned(), source.into_bytes()));
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let context = || format!("`{}`", path.display());
    let mut bytes = vec![];
    let file = std::fs::File::open(path).with_context(context)?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).with_context(context)?;
    if bytes.len() as u64 > LONGEST {
        bail!("`{}` has more than {LONGEST} bytes", path.display());
    }
    Ok(bytes)
}
