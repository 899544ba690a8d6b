//! Documents of a text file.

use super::pieces::{End, Pieces};
use super::{Counts, Next, Reading, Split, utf8};
use crate::Error;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A text file, read document by document.
pub(super) struct Text {
    path: PathBuf,
    pieces: Pieces,
    limit: usize,
    lossy: bool,
    split: Split,
}

impl Text {
    pub fn new(path: &Path, stream: Box<dyn Read + Send>, reading: &Reading) -> Self {
        let limit = reading.max_document;
        Self {
            path: path.to_owned(),
            pieces: Pieces::new(stream, reading.split.clone(), limit),
            limit,
            lossy: reading.lossy,
            split: reading.split.clone(),
        }
    }

    pub fn next(&mut self, counts: &mut Counts) -> Next {
        loop {
            match self.piece(counts) {
                // Between blank lines stands nothing, which is no document.
                Ok(Some(text)) if text.is_empty() && self.split == Split::BlankLines => {}
                piece => return piece.transpose(),
            }
        }
    }

    fn piece(&mut self, counts: &mut Counts) -> Result<Option<String>, Error> {
        let piece = self.pieces.next().map_err(Error::file(&self.path))?;
        let Some(piece) = piece else { return Ok(None) };
        let (mut bytes, mut position, mut rest) = (piece.bytes, piece.position, 0);
        if piece.end == End::Limit {
            let Some(line) = memchr::memrchr(b'\n', bytes) else {
                return Err(Error::TooLong {
                    path: self.path.clone(),
                    position,
                    limit: self.limit,
                });
            };
            rest = bytes.len() - (line + 1);
            bytes = &bytes[..=line];
            counts.cut += 1;
        }
        match self.split {
            Split::Lines => bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes),
            Split::BlankLines => {
                let space = bytes.len() - bytes.trim_ascii_start().len();
                let first = memchr::memrchr(b'\n', &bytes[..space]).map_or(0, |end| end + 1);
                bytes = bytes[first..].trim_ascii_end();
                position += first as u64;
            }
            Split::Whole | Split::Separator(_) => {}
        }
        let text = utf8(&self.path, bytes, position, self.lossy, counts)?;
        self.pieces.give_back(rest);
        Ok(Some(text))
    }
}
