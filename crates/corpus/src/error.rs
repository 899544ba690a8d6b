//! What can go wrong with a corpus.

use std::path::{Path, PathBuf};

/// What can go wrong with a corpus.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that was named is of no kind that is known.
    #[error(
        "{}: cannot tell from the name what is in it: say --format text, jsonl or parquet",
        path.display()
    )]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing to read.
    #[error("no files to read: {skipped} skipped; expected {expected}")]
    NoFiles {
        /// Files that were passed over.
        skipped: u64,
        /// The names that would have been read.
        expected: String,
    },
    /// Text is not UTF-8.
    #[error("{}: not UTF-8 text: byte {position} is wrong (--lossy replaces it)", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The first wrong byte, counted from 0; of what a compressed file holds.
        position: u64,
    },
    /// A line of a JSON-lines file has no text.
    #[error("{}: line {line}: {reason} (--skip-bad skips such lines)", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A document is too long, and has no line at which it can be cut.
    #[error(
        "{}: the document at byte {position} is longer than {limit} bytes and has no end of a \
         line to cut it at: --split divides a file, --max-document allows more",
        path.display()
    )]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Where the document begins.
        position: u64,
        /// The most bytes that a document may have.
        limit: usize,
    },
    /// A Parquet file is damaged, or has no such column.
    #[error("{}: {place}: {reason}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The part of it.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The tokenizer failed.
    #[error("{}: document {document}: {reason}", path.display())]
    Encode {
        /// The file that the document is in.
        path: PathBuf,
        /// The document, counted from 1 within its file.
        document: u64,
        /// What the tokenizer says.
        reason: String,
    },
    /// All documents were empty or bad.
    #[error("no documents in {files} files: {empty} were empty, {bad} bad")]
    NoDocuments {
        /// Files read.
        files: usize,
        /// Documents without text.
        empty: u64,
        /// Documents that were skipped.
        bad: u64,
    },
    /// The output is there already.
    #[error("{}: exists already: choose another name, or remove it", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// An earlier run was not finished.
    #[error(
        "{}: is left of a run that was stopped: --resume goes on with it; to begin anew, remove it",
        path.display()
    )]
    Unfinished {
        /// The folder.
        path: PathBuf,
    },
    /// The output lies in a folder that is read.
    #[error("{}: lies in `{}`, which is read: write elsewhere", path.display(), input.display())]
    Inside {
        /// The output.
        path: PathBuf,
        /// The folder that is read.
        input: PathBuf,
    },
    /// What was begun cannot be gone on with.
    #[error("{}: cannot go on with it: {reason}", path.display())]
    Resume {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// An index, or what it says of a file, is wrong.
    #[error("{}: {reason}", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// Names the file of an error of the system.
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::File { path: path.to_owned(), source }
    }

    /// Something is wrong with an index or with a file that it names.
    pub(crate) fn index(path: &Path, reason: impl Into<String>) -> Self {
        Self::Index { path: path.to_owned(), reason: reason.into() }
    }
}
