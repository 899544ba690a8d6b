//! Pieces of a stream of bytes between separators, without holding more than one.

use super::Split;
use memchr::memmem;
use std::io::Read;

/// Bytes asked for at a time.
const BLOCK: usize = 1 << 18;

/// A stream cut at separators.
pub(super) struct Pieces {
    stream: Box<dyn Read + Send>,
    split: Split,
    limit: usize,
    /// What has been read and not given away begins at `begin`.
    buffer: Vec<u8>,
    begin: usize,
    /// No separator begins before this place of the buffer.
    searched: usize,
    /// The place of `begin` in the stream.
    position: u64,
    ended: bool,
}

/// Bytes between separators.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// Without the separator.
    pub bytes: &'a [u8],
    /// Where it begins in the stream.
    pub position: u64,
    /// What follows it.
    pub end: End,
}

/// What follows a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A separator, or the end of the stream.
    Here,
    /// More of the same: the piece is one of several of what lies between two separators, which
    /// is longer than the limit.
    Limit,
}

impl Pieces {
    /// Cuts a stream. A piece has at most `limit` bytes, and a byte order mark at the beginning of
    /// the stream is left out.
    pub fn new(stream: Box<dyn Read + Send>, split: Split, limit: usize) -> Self {
        let (buffer, limit) = (Vec::new(), limit.max(1));
        Self { stream, split, limit, buffer, begin: 0, searched: 0, position: 0, ended: false }
    }

    /// The next piece; `None` at the end. An empty piece after the last separator is not given.
    pub fn next(&mut self) -> std::io::Result<Option<Piece<'_>>> {
        let (length, separator, end) = loop {
            if self.position == 0 && self.begin == 0 {
                // Nothing has been given away: a mark may stand here, as soon as it has been read.
                while self.buffer.len() < 3 && !self.ended {
                    self.fill()?;
                }
                if self.buffer.starts_with(b"\xef\xbb\xbf") {
                    self.skip(3);
                }
            }
            let left = self.buffer.len() - self.begin;
            let found = self.search();
            if let Some((length, separator)) = found.filter(|found| found.0 <= self.limit) {
                break (length, separator, End::Here);
            }
            if found.is_some() || left > self.limit {
                break (self.limit, 0, End::Limit);
            }
            if self.ended {
                if left == 0 {
                    return Ok(None);
                }
                break (left, 0, End::Here);
            }
            self.fill()?;
        };
        let (start, position) = (self.begin, self.position);
        self.skip(length + separator);
        Ok(Some(Piece { bytes: &self.buffer[start..start + length], position, end }))
    }

    /// Gives the last `bytes` of the piece before back, so that the next one begins with them.
    pub fn give_back(&mut self, bytes: usize) {
        self.begin -= bytes;
        self.position -= bytes as u64;
        self.searched = self.begin;
    }

    fn skip(&mut self, bytes: usize) {
        self.begin += bytes;
        self.position += bytes as u64;
        self.searched = self.searched.max(self.begin);
    }

    fn fill(&mut self) -> std::io::Result<()> {
        // Moving what is left costs less than reading as long as it is done for a whole block.
        if self.begin >= BLOCK {
            self.buffer.drain(..self.begin);
            self.searched -= self.begin;
            self.begin = 0;
        }
        let old = self.buffer.len();
        self.buffer.resize(old + BLOCK, 0);
        let read = loop {
            match self.stream.read(&mut self.buffer[old..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(old + *read.as_ref().unwrap_or(&0));
        self.ended = read? == 0;
        Ok(())
    }

    /// The length of what stands before the next separator, and that of the separator.
    fn search(&mut self) -> Option<(usize, usize)> {
        let (begin, searched) = (self.begin, self.searched);
        let bytes = &self.buffer[searched..];
        let (found, next) = match &self.split {
            Split::Whole => (None, bytes.len()),
            Split::Lines => match memchr::memchr(b'\n', bytes) {
                Some(at) => (Some((at, 1)), at),
                None => (None, bytes.len()),
            },
            Split::Separator(text) => match memmem::find(bytes, text.as_bytes()) {
                Some(at) => (Some((at, text.len())), at),
                // The beginning of one may stand at the end.
                None => (None, bytes.len().saturating_sub(text.len().saturating_sub(1))),
            },
            Split::BlankLines => blank_lines(bytes),
        };
        self.searched = searched + next;
        found.map(|(at, length)| (searched + at - begin, length))
    }
}

/// The end of a line and a blank line after it; and from where to search when there is more.
fn blank_lines(bytes: &[u8]) -> (Option<(usize, usize)>, usize) {
    let mut from = 0;
    while let Some(at) = memchr::memchr(b'\n', &bytes[from..]) {
        let start = from + at;
        match bytes[start + 1..].iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r')) {
            Some(length) if bytes[start + 1 + length] == b'\n' => {
                return (Some((start, length + 2)), start);
            }
            Some(_) => from = start + 1,
            // Only what follows tells whether the line is blank.
            None => return (None, start),
        }
    }
    (None, bytes.len())
}
