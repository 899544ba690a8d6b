//! Files to documents, one at a time.

mod json_lines;
#[cfg(feature = "parquet")]
mod parquet;
mod pieces;
mod text;

use crate::sources::{Format, Source};
use crate::{Error, hash};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What separates the documents of a text file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Nothing: a file is a document.
    #[default]
    Whole,
    /// Lines with nothing or white space in them.
    BlankLines,
    /// Every line is a document.
    Lines,
    /// This text.
    Separator(String),
}

/// How files are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// What separates the documents of a text file.
    pub split: Split,
    /// The field of a JSON line, or the column of a Parquet file, that holds the text.
    pub field: String,
    /// Skip and count lines and rows that have no text, instead of failing.
    pub skip_bad: bool,
    /// Replace bytes that are not UTF-8, instead of failing.
    pub lossy: bool,
    /// A document of a text file with more bytes is cut at the end of a line; a JSON line with
    /// more is bad.
    pub max_document: usize,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            split: Split::Whole,
            field: "text".to_owned(),
            skip_bad: false,
            lossy: false,
            max_document: 64 << 20,
        }
    }
}

/// A text of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The text; it is never white space alone.
    pub text: String,
    /// A hash of the text, the same everywhere and for ever.
    pub hash: u128,
    /// The file that it is in: an index into the files that are read.
    pub file: usize,
    /// Which document of the file it is, counted from 1; empty and bad ones do not count.
    pub number: u64,
}

/// What has been read, and what was found to be no document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Documents, without those below.
    pub documents: u64,
    /// Documents, lines and rows with no text but white space.
    pub empty: u64,
    /// Lines and rows that were skipped because they are damaged or have no text.
    pub bad: u64,
    /// Documents in which bytes were replaced because they are not UTF-8.
    pub repaired: u64,
    /// How often a document was cut because it was too long.
    pub cut: u64,
}

/// What a reader of one file gives.
type Next = Option<Result<String, Error>>;

/// A reader of one file.
enum Open {
    Text(text::Text),
    Lines(json_lines::Lines),
    #[cfg(feature = "parquet")]
    Columns(Box<parquet::Column>),
}

/// The documents of files, in order.
pub struct Documents {
    files: VecDeque<Source>,
    reading: Reading,
    open: Option<Open>,
    file: usize,
    number: u64,
    counts: Counts,
    done: Arc<AtomicU64>,
}

impl Documents {
    /// The documents of files.
    pub fn new(files: &[Source], reading: &Reading) -> Self {
        Self {
            files: files.iter().cloned().collect(),
            reading: reading.clone(),
            open: None,
            file: 0,
            number: 0,
            counts: Counts::default(),
            done: Arc::default(),
        }
    }

    /// The documents of a stream of text or JSON lines, which errors call `name`.
    ///
    /// # Errors
    /// If the format is Parquet, which cannot be read as a stream.
    pub fn of_stream(
        name: &Path,
        stream: Box<dyn Read + Send>,
        format: Format,
        reading: &Reading,
    ) -> Result<Self, Error> {
        let path = name.to_owned();
        let source = Source { path, format, gzip: false, bytes: 0 };
        let mut documents = Self::new(&[], reading);
        documents.open = Some(match format {
            Format::Text => Open::Text(text::Text::new(name, stream, reading)),
            Format::Jsonl => Open::Lines(json_lines::Lines::new(name, stream, reading)),
            Format::Parquet => {
                let reason = "a Parquet file cannot be read as a stream".to_owned();
                let place = "the file".to_owned();
                return Err(Error::Parquet { path: source.path, place, reason });
            }
        });
        documents.files.push_back(source);
        Ok(documents)
    }

    /// What has been read so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes read so far, as they lie on disk.
    pub fn bytes(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    fn next_text(&mut self) -> Result<Option<String>, Error> {
        loop {
            let open = match &mut self.open {
                Some(open) => open,
                None => {
                    let Some(source) = self.files.front() else { return Ok(None) };
                    self.open.insert(Open::new(source, &self.reading, &self.done)?)
                }
            };
            let next = match open {
                Open::Text(text) => text.next(&mut self.counts),
                Open::Lines(lines) => lines.next(&mut self.counts),
                #[cfg(feature = "parquet")]
                Open::Columns(column) => column.next(&mut self.counts),
            };
            match next.transpose()? {
                Some(text) if text.trim_ascii().is_empty() || text.trim().is_empty() => {
                    self.counts.empty += 1;
                }
                Some(text) => return Ok(Some(text)),
                None => {
                    self.open = None;
                    self.files.pop_front();
                    self.file += 1;
                    self.number = 0;
                }
            }
        }
    }
}

impl Iterator for Documents {
    type Item = Result<Document, Error>;

    /// The next document. After an error there is none.
    fn next(&mut self) -> Option<Self::Item> {
        match self.next_text() {
            Ok(Some(text)) => {
                self.number += 1;
                self.counts.documents += 1;
                let hash = hash::hash(&text);
                Some(Ok(Document { text, hash, file: self.file, number: self.number }))
            }
            Ok(None) => None,
            Err(error) => {
                self.files.clear();
                self.open = None;
                Some(Err(error))
            }
        }
    }
}

impl Open {
    fn new(source: &Source, reading: &Reading, done: &Arc<AtomicU64>) -> Result<Self, Error> {
        let path = &source.path;
        let open = || -> Result<Box<dyn Read + Send>, Error> {
            let file = File::open(path).map_err(Error::file(path))?;
            let file = Counted { file, done: Arc::clone(done) };
            Ok(match source.gzip {
                true => Box::new(flate2::read::MultiGzDecoder::new(file)),
                false => Box::new(file),
            })
        };
        match source.format {
            Format::Text => Ok(Self::Text(text::Text::new(path, open()?, reading))),
            Format::Jsonl => Ok(Self::Lines(json_lines::Lines::new(path, open()?, reading))),
            Format::Parquet if source.gzip => Err(Error::Parquet {
                path: path.clone(),
                place: "the file".to_owned(),
                reason: "a Parquet file within gzip cannot be read: unpack it first".to_owned(),
            }),
            #[cfg(feature = "parquet")]
            Format::Parquet => {
                Ok(Self::Columns(Box::new(parquet::Column::open(path, reading, done)?)))
            }
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => Err(Error::Parquet {
                path: path.clone(),
                place: "the file".to_owned(),
                reason: "this program was built without Parquet".to_owned(),
            }),
        }
    }
}

/// A file that counts what is read of it.
struct Counted {
    file: File,
    done: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.done.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Bytes of a file as text; `start` is their place in it.
fn utf8(
    path: &Path,
    bytes: &[u8],
    start: u64,
    lossy: bool,
    counts: &mut Counts,
) -> Result<String, Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) if lossy => {
            counts.repaired += 1;
            Ok(String::from_utf8_lossy(bytes).into_owned())
        }
        Err(error) => {
            let position = start + error.valid_up_to() as u64;
            Err(Error::NotUtf8 { path: PathBuf::from(path), position })
        }
    }
}
