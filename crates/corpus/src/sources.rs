//! Which files a corpus is made of.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Plain text.
    Text,
    /// A JSON value on every line.
    Jsonl,
    /// Columns of a Parquet file.
    Parquet,
}

/// A file to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// What is in it, beneath compression.
    pub format: Format,
    /// Whether it is compressed with gzip.
    pub gzip: bool,
    /// Its size in bytes, as it lies on disk.
    pub bytes: u64,
}

/// Which files of a folder are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// What every file is, instead of what its name says.
    pub format: Option<Format>,
    /// The only endings of names that are read, without the dot; with none, all that are known.
    pub extensions: Vec<String>,
}

/// The files of a corpus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What is read, in this order: as the inputs were given, and by path within a folder.
    pub files: Vec<Source>,
    /// Files and folders that were passed over, because they are hidden, neither files nor
    /// folders, links to folders, or of another kind.
    pub skipped: u64,
}

impl Found {
    /// Bytes of all files, as they lie on disk.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }
}

/// Folders may be this deep.
const DEEPEST: usize = 128;

/// Lists the files of inputs, each a file or a folder. Files that are named are always read.
///
/// # Errors
/// If an input cannot be read, a file that is named is of no known kind, or nothing is left.
pub fn find(inputs: &[PathBuf], selection: &Selection) -> Result<Found, Error> {
    let mut found = Found::default();
    for input in inputs {
        let metadata = std::fs::metadata(input).map_err(Error::file(input))?;
        if metadata.is_dir() {
            folder(input, selection, DEEPEST, &mut found)?;
        } else {
            let kind = selection.of_file(input);
            let (format, gzip) = kind.ok_or_else(|| Error::Unknown { path: input.clone() })?;
            let path = input.clone();
            found.files.push(Source { path, format, gzip, bytes: metadata.len() });
        }
    }
    if found.files.is_empty() {
        let expected = match (&selection.extensions[..], selection.format) {
            ([], Some(_)) => "a file".to_owned(),
            ([], None) => "files that end in .txt, .md, .jsonl, .ndjson, .json or .parquet".into(),
            (endings, _) => format!("files that end in .{}", endings.join(" or .")),
        };
        return Err(Error::NoFiles { skipped: found.skipped, expected });
    }
    Ok(found)
}

fn folder(
    path: &Path,
    selection: &Selection,
    deeper: usize,
    found: &mut Found,
) -> Result<(), Error> {
    if deeper == 0 {
        let reason = format!("more than {DEEPEST} folders within each other");
        let source = std::io::Error::other(reason);
        return Err(Error::File { path: path.to_owned(), source });
    }
    let entries = std::fs::read_dir(path).map_err(Error::file(path))?;
    let entries = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut entries: Vec<PathBuf> = entries.collect::<Result<_, _>>().map_err(Error::file(path))?;
    entries.sort();
    for entry in entries {
        let hidden = entry.file_name().is_none_or(|name| name.as_encoded_bytes()[0] == b'.');
        let link = std::fs::symlink_metadata(&entry).map_err(Error::file(&entry))?.is_symlink();
        // A link that leads nowhere is passed over like any other thing that is not a file.
        let metadata = std::fs::metadata(&entry);
        match metadata {
            _ if hidden => found.skipped += 1,
            Ok(metadata) if metadata.is_dir() && !link => {
                self::folder(&entry, selection, deeper - 1, found)?;
            }
            Ok(metadata) if metadata.is_file() => match selection.of_entry(&entry) {
                Some((format, gzip)) => {
                    let bytes = metadata.len();
                    found.files.push(Source { path: entry, format, gzip, bytes });
                }
                None => found.skipped += 1,
            },
            _ => found.skipped += 1,
        }
    }
    Ok(())
}

impl Selection {
    /// What a file that was named is.
    fn of_file(&self, path: &Path) -> Option<(Format, bool)> {
        let (ending, gzip) = ending(path);
        // An ending that was asked for and is not known otherwise is text.
        let asked = self.extensions.iter().any(|e| e.eq_ignore_ascii_case(&ending));
        let format = self.format.or_else(|| by_ending(&ending)).or(asked.then_some(Format::Text));
        Some((format?, gzip))
    }

    /// What a file of a folder is, if it is read.
    fn of_entry(&self, path: &Path) -> Option<(Format, bool)> {
        let (ending, _) = ending(path);
        let asked = self.extensions.iter().any(|e| e.eq_ignore_ascii_case(&ending));
        (asked || self.extensions.is_empty()).then(|| self.of_file(path))?
    }
}

/// The ending of a name, without `.gz`, in lower case, and whether there was a `.gz`.
fn ending(path: &Path) -> (String, bool) {
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase());
    let name = name.unwrap_or_default();
    let (name, gzip) = match name.strip_suffix(".gz") {
        Some(name) => (name, true),
        None => (name.as_str(), false),
    };
    (name.rsplit_once('.').map(|(_, ending)| ending).unwrap_or_default().to_owned(), gzip)
}

fn by_ending(ending: &str) -> Option<Format> {
    match ending {
        "txt" | "md" => Some(Format::Text),
        "jsonl" | "ndjson" | "json" => Some(Format::Jsonl),
        "parquet" => Some(Format::Parquet),
        _ => None,
    }
}
