//! What can go wrong.

use std::path::{Path, PathBuf};

/// Why a model cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not a name.
    #[error("`{name}` is not the name of a model on the hub: {reason}")]
    Name {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no home.
    #[error("there is no place for downloads: set HF_HOME to a folder")]
    NoCache,
    /// The network is not to be used, and the cache does not have it.
    #[error("{0} is not in the cache, and HF_HUB_OFFLINE is set")]
    Offline(String),
    /// Part of it is missing in the cache.
    #[error("{}: the model in the cache lacks `{file}`; download it again", folder.display())]
    Partial {
        /// The snapshot.
        folder: PathBuf,
        /// What is missing.
        file: String,
    },
    /// The server does not answer.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why.
        reason: String,
    },
    /// The server refuses.
    #[error("{url}: {reason}")]
    Refused {
        /// What was asked.
        url: String,
        /// The status, and what to do.
        reason: String,
    },
    /// The server says something that cannot be.
    #[error("{url}: {reason}")]
    Answer {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The repository has no model that can be read.
    #[error("{name} has no weights that can be read: {reason}")]
    NoModel {
        /// The repository.
        name: String,
        /// What it has instead.
        reason: String,
    },
    /// A file that came is not the one that was announced.
    #[error("{url}: {reason}; what came was removed: try again")]
    Damaged {
        /// What was asked.
        url: String,
        /// What differs.
        reason: String,
    },
    /// The disk failed.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// An error about a file.
pub(crate) fn file(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |source| Error::File { path: path.to_owned(), source }
}
