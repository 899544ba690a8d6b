//! The cache of the hub's own tools: blobs, snapshots that link to them, and refs.

use crate::error::file;
use crate::listing::File;
use crate::{Error, Name};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The largest index of shards that is read, in bytes.
const LONGEST_INDEX: u64 = 1 << 26;

/// The folder of one repository.
pub struct Repository {
    pub folder: PathBuf,
    /// Where locks are, so that the hub's own tools and this one do not write the same file.
    pub locks: PathBuf,
}

impl Repository {
    pub fn new(cache: &Path, name: &Name) -> Repository {
        let folder = format!("models--{}--{}", name.owner, name.name);
        Repository { locks: cache.join(".locks").join(&folder), folder: cache.join(folder) }
    }

    /// The content with this checksum.
    pub fn blob(&self, file: &File) -> PathBuf {
        self.folder.join("blobs").join(file.sum.digits())
    }

    /// A file of a snapshot.
    pub fn link(&self, commit: &str, name: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit).join(name)
    }

    /// The folder of a snapshot, or the file in it that the name is of.
    pub fn place(&self, commit: &str, name: &Name) -> PathBuf {
        let folder = self.folder.join("snapshots").join(commit);
        match &name.file {
            Some(file) => folder.join(file),
            None => folder,
        }
    }

    /// Whether a snapshot has a file, whole.
    pub fn has(&self, commit: &str, file: &File) -> bool {
        let link = self.link(commit, &file.name);
        fs::metadata(link).is_ok_and(|found| found.is_file() && found.len() == file.size)
    }

    /// Links a snapshot's file to its content.
    pub fn put(&self, commit: &str, content: &File) -> Result<(), Error> {
        let link = self.link(commit, &content.name);
        let parent = link.parent().expect("it is in a folder");
        fs::create_dir_all(parent).map_err(file(parent))?;
        // From the file's folder up to that of the repository.
        let up = "../".repeat(2 + content.name.matches('/').count());
        let target = format!("{up}blobs/{}", content.sum.digits());
        // Under another name first: a link that is there already is replaced at once.
        let new = link.with_file_name(format!(".{}.link", content.sum.digits()));
        let _ = fs::remove_file(&new);
        std::os::unix::fs::symlink(&target, &new).map_err(file(&new))?;
        fs::rename(&new, &link).map_err(file(&link))
    }

    /// Notes the commit that a branch or tag is at.
    pub fn remember(&self, name: &Name, commit: &str) -> Result<(), Error> {
        if name.revision == commit {
            return Ok(());
        }
        let refs = self.folder.join("refs");
        fs::create_dir_all(&refs).map_err(file(&refs))?;
        let path = refs.join(&name.revision);
        if fs::read_to_string(&path).is_ok_and(|known| known == commit) {
            return Ok(());
        }
        let new = refs.join(format!(".{}.new", name.revision));
        fs::write(&new, commit).map_err(file(&new))?;
        fs::rename(&new, &path).map_err(file(&path))
    }

    /// What the cache has, without asking anybody.
    pub fn find(&self, name: &Name) -> Result<PathBuf, Error> {
        let offline = || Error::Offline(name.to_string());
        let known = fs::File::open(self.folder.join("refs").join(&name.revision));
        let mut commit = String::new();
        match known {
            // A commit has 40 digits.
            Ok(known) => drop(known.take(64).read_to_string(&mut commit)),
            Err(_) => commit.push_str(&name.revision),
        }
        let commit = commit.trim();
        if commit.is_empty() || !commit.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(offline());
        }
        let place = self.place(commit, name);
        if name.file.is_some() {
            return if place.is_file() { Ok(place) } else { Err(offline()) };
        }
        if !place.is_dir() {
            return Err(offline());
        }
        match missing(&place) {
            Some(file) => Err(Error::Partial { folder: place, file }),
            None => Ok(place),
        }
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// A file that a snapshot needs and does not have.
fn missing(folder: &Path) -> Option<String> {
    let has = |name: &str| folder.join(name).is_file();
    const INDEX: &str = "model.safetensors.index.json";
    if has("model.safetensors") || has("adapter_model.safetensors") {
        return None;
    }
    if !has(INDEX) {
        return Some("model.safetensors".to_owned());
    }
    let mut text = vec![];
    let open = fs::File::open(folder.join(INDEX)).ok()?;
    open.take(LONGEST_INDEX).read_to_end(&mut text).ok()?;
    // A damaged index is for those to refuse who read the model.
    let index: Index = serde_json::from_slice(&text).ok()?;
    index.weight_map.into_values().find(|shard| !has(shard))
}
