//! What can be wrong with a model.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a model cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file or folder is not what its name says.
    #[error("`{}`: {message}", path.display())]
    Format {
        /// File or folder.
        path: PathBuf,
        /// What was expected and found.
        message: String,
    },
    /// The model is of another kind.
    #[error("`{}` is not an ML Program: it is a {kind}", path.display())]
    Kind {
        /// File.
        path: PathBuf,
        /// What `Model.proto` calls the kind, such as `neuralNetwork`.
        kind: String,
    },
    /// The program has problems.
    #[error("`{}` has {}\n{problems}", path.display(), problems.count())]
    Program {
        /// File.
        path: PathBuf,
        /// All of them.
        problems: Problems,
    },
    /// The text of the program has problems.
    #[error("`{}` has {} problem{}\n{}", path.display(), problems.0.len(), plural(problems.0.len()),
        problems.annotate(text, &path.display().to_string()).trim_end())]
    Text {
        /// File.
        path: PathBuf,
        /// Its text.
        text: String,
        /// All of them.
        problems: mil::Diagnostics,
    },
    /// A weight cannot be read or written.
    #[error(transparent)]
    Weights(#[from] mil::BlobError),
    /// The interface has what the format cannot say.
    #[error("{0}")]
    Interface(String),
    /// Something that is there would be replaced.
    #[error("`{}` is there already{}", path.display(), hint)]
    Exists {
        /// File or folder.
        path: PathBuf,
        /// What to do, with punctuation before it.
        hint: &'static str,
    },
}

/// A problem of a program, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The function; empty for the program itself.
    pub function: String,
    /// Where in it: an operation by the name of its first result, or by its number.
    pub place: String,
    /// What was expected and found.
    pub message: String,
}

/// Several problems, in the order of the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    fn count(&self) -> String {
        format!("{} problem{}", self.0.len(), plural(self.0.len()))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.function.is_empty() {
            write!(f, "function `{}`, ", self.function)?;
        }
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// An error of the operating system about a path.
pub(crate) fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |source| Error::Io { path, source }
}

/// A file that is not what it should be.
pub(crate) fn format_error(path: impl Into<PathBuf>, message: impl Into<String>) -> Error {
    Error::Format { path: path.into(), message: message.into() }
}
