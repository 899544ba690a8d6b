//! What can be wrong with a checkpoint.

use std::path::{Path, PathBuf};

/// Why a checkpoint is refused, or cannot be written.
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
    /// A file is not in its format, or says what no such file may say.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Something is wrong with one tensor.
    #[error("{}: tensor `{name}`: {reason}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name in the file.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The configuration is of a model that is not offered, or contradicts itself.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file that the configuration is in.
        path: PathBuf,
        /// What is wrong.
        source: models::Error,
    },
}

impl Error {
    pub(crate) fn file(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
        move |source| Error::File { path: path.to_owned(), source }
    }

    pub(crate) fn format(path: &Path, reason: impl ToString) -> Error {
        Error::Format { path: path.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn tensor(path: &Path, name: &str, reason: impl ToString) -> Error {
        Error::Tensor { path: path.to_owned(), name: name.to_owned(), reason: reason.to_string() }
    }
}
