//! The folder that a corpus is written in until it is whole.

use crate::index::{read_small, write_json};
use crate::shards::State;
use crate::{Error, Found};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Where the state of the work is kept.
const PROGRESS: &str = "progress.json";

/// Locked while a process works here.
const LOCK: &str = "lock";

/// The largest state that is read; one has the same lists as an index.
const MAX_FILE: u64 = 1 << 26;

/// A folder `NAME.tmp` that becomes the folder `NAME` when all is in it.
///
/// Only one process at a time can have it.
#[derive(Debug)]
pub struct Workplace {
    out: PathBuf,
    folder: PathBuf,
    /// Locked as long as this lives.
    _lock: File,
}

/// How far the work is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Saved {
    /// What the output depends on besides the documents.
    pub settings: serde_json::Value,
    /// Documents written.
    pub documents: u64,
    /// A hash of their hashes, in order.
    pub chain: String,
    /// The part to train on.
    pub train: State,
    /// The part that is set aside.
    pub validation: State,
}

impl Workplace {
    /// Makes the folder beside `out`, or with `resume` opens the one that is there.
    ///
    /// # Errors
    /// If `out` is there already, `found` was looked for in a folder that `out` lies in, the
    /// folder is there already (is not, with `resume`), another process has it, or it cannot be
    /// made.
    pub fn new(out: &Path, inputs: &[PathBuf], resume: bool) -> Result<Self, Error> {
        let mut name = out.components().as_path().as_os_str().to_owned();
        if out.file_name().is_none() {
            let source = std::io::Error::other("not the name of a folder");
            return Err(Error::File { path: out.to_owned(), source });
        }
        name.push(".tmp");
        let folder = PathBuf::from(name);
        let path = out.to_owned();
        if std::fs::symlink_metadata(out).is_ok() && !is_empty_folder(out) {
            return Err(Error::Exists { path });
        }
        let parent = match out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(parent).map_err(Error::file(parent))?;
        let parent = parent.canonicalize().map_err(Error::file(parent))?;
        for input in inputs {
            let inside = input.canonicalize().is_ok_and(|input| parent.starts_with(input));
            if inside && input.is_dir() {
                return Err(Error::Inside { path, input: input.clone() });
            }
        }
        match std::fs::create_dir(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                if !resume {
                    return Err(Error::Unfinished { path: folder });
                }
            }
            Err(error) => return Err(Error::file(&folder)(error)),
        }
        let path = folder.join(LOCK);
        let lock = File::create(&path).map_err(Error::file(&path))?;
        lock.try_lock().map_err(|_| Error::Resume {
            path: folder.clone(),
            reason: "another process is at work in it".to_owned(),
        })?;
        Ok(Self { out: out.to_owned(), folder, _lock: lock })
    }

    /// The folder to write in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file into the folder, at once or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        crate::index::write_file(&self.folder.join(name), bytes)
    }

    /// Removes the folder if there is nothing to go on from.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn abandon(self) -> Result<(), Error> {
        if self.folder.join(PROGRESS).exists() {
            return Ok(());
        }
        self.remove()
    }

    /// Removes the folder.
    pub(crate) fn remove(self) -> Result<(), Error> {
        std::fs::remove_dir_all(&self.folder).map_err(Error::file(&self.folder))
    }

    pub(crate) fn saved(&self) -> Result<Option<Saved>, Error> {
        let path = self.folder.join(PROGRESS);
        if !path.exists() {
            return Ok(None);
        }
        let text = read_small(&path, MAX_FILE)?;
        let saved = serde_json::from_slice(&text);
        let saved: Saved = saved.map_err(|error| Error::Resume {
            path: path.clone(),
            reason: format!("damaged: {error}"),
        })?;
        let parts = [&saved.train, &saved.validation];
        for shard in parts.iter().flat_map(|s| s.part.shards.iter().chain(&s.open)) {
            if Path::new(&shard.file).file_name() != Some(shard.file.as_ref()) {
                let reason = format!("{:?} is not the name of a file in this folder", shard.file);
                return Err(Error::Resume { path, reason });
            }
        }
        Ok(Some(saved))
    }

    pub(crate) fn save(&self, saved: &Saved) -> Result<(), Error> {
        write_json(&self.folder.join(PROGRESS), saved)
    }

    /// Gives the folder its name.
    pub(crate) fn finish(self) -> Result<(), Error> {
        for name in [PROGRESS, LOCK] {
            let path = self.folder.join(name);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::file(&path)(error));
                }
                _ => {}
            }
        }
        let sync = |folder: &Path| File::open(folder).and_then(|folder| folder.sync_all());
        sync(&self.folder).map_err(Error::file(&self.folder))?;
        std::fs::rename(&self.folder, &self.out).map_err(Error::file(&self.out))?;
        let parent = self.out.parent().filter(|parent| !parent.as_os_str().is_empty());
        // The name is there; that it stays after a power cut is all that could fail now.
        sync(parent.unwrap_or(Path::new("."))).ok();
        Ok(())
    }
}

fn is_empty_folder(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Names of files for the index, with their bytes.
pub(crate) fn sources(found: &Found) -> Vec<(String, u64)> {
    /// More would make an index that is no use to a person.
    const MOST: usize = 10_000;
    let names = found.files.iter().take(MOST);
    names.map(|file| (file.path.display().to_string(), file.bytes)).collect()
}
