//! Rows of token ids, from stories, text or raw files.

use super::Error;
use super::shards::Shards;
use crate::stories::Stories;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::path::Path;
use text::Tokenizer;

/// Bytes of one token in a raw file; tokens are little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 16 bits.
    Two,
    /// 32 bits.
    Four,
}

impl Width {
    /// The number of bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }
}

/// A row of token ids, in memory or in files that are read piece by piece.
#[derive(Debug)]
pub struct Tokens(Store);

#[derive(Debug)]
enum Store {
    Memory(Vec<u32>),
    Raw(Shards),
}

/// Bytes read at a time.
const BLOCK: usize = 1 << 18;

/// Text is tokenized in pieces of about this many bytes.
const PIECE: usize = 1 << 20;

/// A text without a good place to cut it is cut anywhere after this many bytes.
const LONGEST_PIECE: usize = 1 << 23;

/// Called now and then with the bytes done and the bytes in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

impl Tokens {
    /// Tokens that are at hand.
    pub fn from_ids(ids: Vec<u32>) -> Self {
        Self(Store::Memory(ids))
    }

    /// At least `length` tokens of stories, each with the end of text after it.
    ///
    /// # Errors
    /// If the tokenizer cannot encode them.
    pub fn from_stories(
        stories: Stories,
        tokenizer: &Tokenizer,
        length: usize,
    ) -> Result<Self, Error> {
        let mut ids = Vec::new();
        for story in stories {
            if ids.len() >= length {
                break;
            }
            ids.extend(tokenizer.encode(&story)?);
            ids.extend(tokenizer.end_of_text());
        }
        Ok(Self::from_ids(ids))
    }

    /// Opens a file by its extension: `.bin` (16 bits a token, or `width`), `.u16` and `.u32` are
    /// raw tokens, `.jsonl` and `.ndjson` JSON lines, all others text.
    ///
    /// # Errors
    /// If the file cannot be read, is empty, is not what its extension says, or has a token that
    /// is not below `vocabulary`.
    pub fn open(
        path: &Path,
        width: Option<Width>,
        tokenizer: Option<&Tokenizer>,
        vocabulary: usize,
        progress: Progress<'_>,
    ) -> Result<Self, Error> {
        let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
        let extension = extension.as_deref().and_then(|extension| extension.to_str());
        let raw = match extension {
            Some("bin") => Some(width.unwrap_or(Width::Two)),
            Some("u16") => Some(Width::Two),
            Some("u32") => Some(Width::Four),
            _ => None,
        };
        if let Some(width) = raw {
            return Self::open_raw(path, width, vocabulary, progress);
        }
        // A missing file is the more useful thing to hear of.
        let file = File::open(path).map_err(|source| file_error(path, source))?;
        let tokenizer = tokenizer.ok_or_else(|| Error::NoTokenizer { path: path.to_owned() })?;
        let ids = if matches!(extension, Some("jsonl" | "ndjson")) {
            read_json_lines(path, file, tokenizer, progress)?
        } else {
            read_text(path, file, tokenizer, progress)?
        };
        if ids.is_empty() {
            return Err(Error::Empty { path: path.to_owned() });
        }
        check(path, &ids, 0, vocabulary)?;
        Ok(Self::from_ids(ids))
    }

    /// Opens a file of raw tokens. It is read once to check it, but not kept in memory.
    ///
    /// # Errors
    /// As [`Tokens::open`].
    pub fn open_raw(
        path: &Path,
        width: Width,
        vocabulary: usize,
        progress: Progress<'_>,
    ) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| file_error(path, source))?;
        let size = file.metadata().map_err(|source| file_error(path, source))?.len();
        if size == 0 {
            return Err(Error::Empty { path: path.to_owned() });
        }
        if !size.is_multiple_of(width.bytes() as u64) {
            return Err(Error::OddSize { path: path.to_owned(), size, width: width.bytes() });
        }
        let length = size / width.bytes() as u64;
        let tokens = Self(Store::Raw(Shards::of_file(path, file, width, length)));
        tokens.blocks(0..length, |first, ids| {
            check(path, ids, first, vocabulary)?;
            progress((first + ids.len() as u64) * width.bytes() as u64, size);
            Ok(())
        })?;
        Ok(tokens)
    }

    /// The tokens of one part of a folder that `anemone data prepare` has written, all shards as
    /// one row. Nothing is kept in memory, and tokens are checked as they are read.
    ///
    /// # Errors
    /// If a file cannot be opened.
    pub fn from_shards(
        folder: &Path,
        index: &corpus::Index,
        part: &corpus::Part,
    ) -> Result<Self, Error> {
        Ok(Self(Store::Raw(Shards::open(folder, index, part)?)))
    }

    /// How many tokens there are.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Store::Memory(ids) => ids.len() as u64,
            Store::Raw(shards) => shards.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the tokens from `start` on.
    ///
    /// # Errors
    /// If the file cannot be read.
    ///
    /// # Panics
    /// If there are not as many tokens.
    pub fn read(&self, start: u64, out: &mut [i32]) -> Result<(), Error> {
        let mut ids = vec![0; out.len()];
        self.read_ids(start, &mut ids)?;
        for (out, id) in out.iter_mut().zip(ids) {
            // Ids were checked against the vocabulary, which is far smaller than 2^31.
            *out = id as i32;
        }
        Ok(())
    }

    /// Reads a range block by block, and gives each with the position of its first token to `each`.
    ///
    /// # Errors
    /// If the file cannot be read; those of `each`.
    ///
    /// # Panics
    /// If there are not as many tokens.
    pub fn blocks(
        &self,
        range: Range<u64>,
        mut each: impl FnMut(u64, &[u32]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut ids = Vec::new();
        let mut done = range.start;
        while done < range.end {
            let left = range.end - done;
            ids.resize(usize::try_from(left).map_or(BLOCK, |left| left.min(BLOCK)), 0);
            self.read_ids(done, &mut ids)?;
            each(done, &ids)?;
            done += ids.len() as u64;
        }
        Ok(())
    }

    fn read_ids(&self, start: u64, out: &mut [u32]) -> Result<(), Error> {
        assert!(start.saturating_add(out.len() as u64) <= self.len(), "tokens within the data");
        match &self.0 {
            Store::Memory(ids) => {
                let start = start as usize;
                out.copy_from_slice(&ids[start..start + out.len()]);
                Ok(())
            }
            Store::Raw(shards) => shards.read(start, out),
        }
    }
}

fn check(path: &Path, ids: &[u32], first: u64, vocabulary: usize) -> Result<(), Error> {
    let bound = vocabulary.min(i32::MAX as usize) as u32;
    match ids.iter().position(|&id| id >= bound) {
        None => Ok(()),
        Some(index) => Err(Error::OutOfVocabulary {
            path: path.to_owned(),
            position: first + index as u64,
            id: ids[index],
            vocabulary,
        }),
    }
}

fn read_text(
    path: &Path,
    mut file: File,
    tokenizer: &Tokenizer,
    progress: Progress<'_>,
) -> Result<Vec<u32>, Error> {
    let total = file.metadata().map_err(|source| file_error(path, source))?.len();
    let mut ids = Vec::new();
    let mut pending: Vec<u8> = Vec::new();
    let mut done = 0_u64;
    loop {
        let wanted = PIECE.saturating_sub(pending.len()).max(BLOCK) as u64;
        let read = file
            .by_ref()
            .take(wanted)
            .read_to_end(&mut pending)
            .map_err(|source| file_error(path, source))?;
        let last = read == 0;
        let text = match std::str::from_utf8(&pending) {
            Ok(text) => text,
            // The end of a piece may fall within a character.
            Err(error) if error.error_len().is_none() && !last => {
                std::str::from_utf8(&pending[..error.valid_up_to()]).unwrap_or_default()
            }
            Err(error) => {
                let position = done + error.valid_up_to() as u64;
                return Err(Error::NotUtf8 { path: path.to_owned(), position });
            }
        };
        let mut end = if last { text.len() } else { cut(text) };
        if end == 0 && text.len() > LONGEST_PIECE {
            end = text.len();
        }
        ids.extend(tokenizer.encode(&text[..end])?);
        done += end as u64;
        pending.drain(..end);
        progress(done, total.max(done));
        if last {
            return Ok(ids);
        }
    }
}

/// Where a long text can be cut without changing its tokens: before the last space that follows
/// a letter, where tokenizers of the usual kinds begin a new word. 0 if there is no such place.
fn cut(text: &str) -> usize {
    let bytes = text.as_bytes();
    (1..bytes.len())
        .rev()
        .find(|&at| {
            bytes[at] == b' '
                && bytes[at - 1].is_ascii_alphabetic()
                && bytes.get(at + 1).is_some_and(u8::is_ascii_alphabetic)
        })
        .unwrap_or(0)
}

fn read_json_lines(
    path: &Path,
    file: File,
    tokenizer: &Tokenizer,
    progress: Progress<'_>,
) -> Result<Vec<u32>, Error> {
    let total = file.metadata().map_err(|source| file_error(path, source))?.len();
    let mut reader = BufReader::with_capacity(BLOCK, file);
    let (mut ids, mut bytes, mut done) = (Vec::new(), Vec::new(), 0_u64);
    for line in 1.. {
        bytes.clear();
        let read =
            reader.read_until(b'\n', &mut bytes).map_err(|source| file_error(path, source))?;
        if read == 0 {
            break;
        }
        if !bytes.trim_ascii().is_empty() {
            let text = line_text(&bytes).map_err(|reason| Error::Line {
                path: path.to_owned(),
                line,
                reason,
            })?;
            ids.extend(tokenizer.encode(&text)?);
            ids.extend(tokenizer.end_of_text());
        }
        done += read as u64;
        progress(done, total.max(done));
    }
    Ok(ids)
}

/// The text of a line: a string, or an object with a field `text`.
fn line_text(bytes: &[u8]) -> Result<String, String> {
    use serde_json::Value;
    match serde_json::from_slice(bytes).map_err(|error| error.to_string())? {
        Value::String(text) => Ok(text),
        Value::Object(mut fields) => match fields.remove("text") {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err("field `text` is not a string".to_owned()),
            None => Err("no field `text`".to_owned()),
        },
        _ => Err("expected a string or an object with a field `text`".to_owned()),
    }
}

pub(super) fn file_error(path: &Path, source: std::io::Error) -> Error {
    Error::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Folder;
    use crate::stories::Part;

    fn tokenizer() -> &'static Tokenizer {
        static SMALL: std::sync::OnceLock<Tokenizer> = std::sync::OnceLock::new();
        SMALL.get_or_init(|| {
            let stories = Stories::new(1, Part::Training).take(100);
            Tokenizer::train(stories, 400).unwrap()
        })
    }

    fn open(path: &Path, vocabulary: usize) -> Result<Tokens, Error> {
        Tokens::open(path, None, Some(tokenizer()), vocabulary, &mut |_, _| ())
    }

    fn all(tokens: &Tokens) -> Vec<u32> {
        let mut ids = vec![0; tokens.len() as usize];
        tokens.read_ids(0, &mut ids).unwrap();
        ids
    }

    fn message(result: Result<Tokens, Error>, folder: &Folder) -> String {
        let error = result.map(|tokens| tokens.len()).unwrap_err().to_string();
        error.replace(&folder.path().display().to_string(), "DIR")
    }

    #[test]
    fn raw_files_of_both_widths() {
        let folder = Folder::new("raw");
        let ids = [0_u32, 1, 999, 3, 65_535];
        let two: Vec<u8> = ids.iter().flat_map(|&id| (id as u16).to_le_bytes()).collect();
        let four: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        for (name, bytes, width) in [
            ("a.bin", &two, None),
            ("a.u16", &two, None),
            ("a.u32", &four, None),
            ("b.bin", &four, Some(Width::Four)),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let mut seen = (0, 0);
            let mut progress = |done, total| seen = (done, total);
            let tokens = Tokens::open(&path, width, None, 70_000, &mut progress).unwrap();
            assert_eq!(all(&tokens), ids, "{name}");
            let mut middle = [0; 2];
            tokens.read(2, &mut middle).unwrap();
            assert_eq!(middle, [999, 3]);
            assert_eq!(seen, (bytes.len() as u64, bytes.len() as u64));
        }
    }

    #[test]
    fn raw_files_that_are_wrong() {
        let folder = Folder::new("raw-wrong");
        let path = folder.path().join("x.bin");
        assert!(message(open(&path, 10), &folder).starts_with("DIR/x.bin: "));
        std::fs::write(&path, []).unwrap();
        assert_eq!(message(open(&path, 10), &folder), "DIR/x.bin: no tokens in it");
        std::fs::write(&path, [1, 0, 2]).unwrap();
        assert_eq!(
            message(open(&path, 10), &folder),
            "DIR/x.bin: 3 bytes is not a whole number of 2-byte tokens"
        );
        // Beyond the first block, so that positions count across blocks.
        let mut bytes = vec![0; 2 * (BLOCK + 5)];
        bytes[2 * (BLOCK + 3)] = 10;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(
            message(open(&path, 10), &folder),
            format!(
                "DIR/x.bin: token 10 at position {} is outside the vocabulary of 10",
                BLOCK + 3
            )
        );
        assert_eq!(open(&path, 11).unwrap().len(), BLOCK as u64 + 5);
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let folder = Folder::new("shrinks");
        let path = folder.path().join("x.bin");
        std::fs::write(&path, [0; 20]).unwrap();
        let tokens = open(&path, 10).unwrap();
        std::fs::write(&path, [0; 10]).unwrap();
        assert!(tokens.read(0, &mut [0; 5]).is_ok());
        assert!(matches!(tokens.read(4, &mut [0; 5]), Err(Error::File { .. })));
    }

    #[test]
    fn long_texts_have_the_tokens_of_the_whole() {
        let folder = Folder::new("text");
        let path = folder.path().join("x.txt");
        let mut text = String::new();
        for story in Stories::new(3, Part::Training).take(4500) {
            text.push_str(&story);
            text.push_str(" é\n\n");
        }
        assert!(text.len() > 2 * PIECE);
        std::fs::write(&path, &text).unwrap();
        assert_eq!(all(&open(&path, 400).unwrap()), tokenizer().encode(&text).unwrap());
    }

    #[test]
    fn texts_that_are_wrong() {
        let folder = Folder::new("text-wrong");
        let path = folder.path().join("x.txt");
        std::fs::write(&path, "").unwrap();
        assert_eq!(message(open(&path, 400), &folder), "DIR/x.txt: no tokens in it");
        for (bytes, position) in [(&b"ab\xffcd"[..], 2), (b"abc\xe2\x82", 3)] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(
                message(open(&path, 400), &folder),
                format!("DIR/x.txt: not UTF-8 text: byte {position} is wrong")
            );
        }
        let mut long = vec![b'a'; PIECE + 100];
        long[PIECE + 50] = 0xff;
        std::fs::write(&path, long).unwrap();
        assert_eq!(
            message(open(&path, 400), &folder),
            format!("DIR/x.txt: not UTF-8 text: byte {} is wrong", PIECE + 50)
        );
        std::fs::write(&path, "hello").unwrap();
        assert!(message(open(&path, 5), &folder).ends_with("outside the vocabulary of 5"));
        let none = Tokens::open(&path, None, None, 400, &mut |_, _| ());
        assert_eq!(message(none, &folder), "DIR/x.txt: a tokenizer is needed to read text");
    }

    #[test]
    fn json_lines_are_strings_or_have_a_text() {
        let folder = Folder::new("jsonl");
        let path = folder.path().join("x.jsonl");
        std::fs::write(&path, "{\"id\": 1, \"text\": \"one\"}\n\n\"two\"\n").unwrap();
        let expected = tokenizer().encode("one<|endoftext|>two<|endoftext|>").unwrap();
        assert_eq!(all(&open(&path, 400).unwrap()), expected);
        for (text, expected) in [
            ("\"a\"\n{\"text\": 3}", "line 2: field `text` is not a string"),
            ("{}", "line 1: no field `text`"),
            ("\n\n7", "line 3: expected a string or an object with a field `text`"),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(message(open(&path, 400), &folder), format!("DIR/x.jsonl: {expected}"));
        }
        std::fs::write(&path, "\"a\"\n{\"text\": \"b\"").unwrap();
        assert!(message(open(&path, 400), &folder).starts_with("DIR/x.jsonl: line 2: "));
    }

    #[test]
    fn stories_end_with_the_end_of_text() {
        let tokenizer = tokenizer();
        let stories = Stories::new(1, Part::Training);
        let tokens = Tokens::from_stories(stories.clone(), tokenizer, 1000).unwrap();
        let ids = all(&tokens);
        assert!(ids.len() >= 1000 && ids.len() < 1600);
        assert_eq!(ids.last(), Some(&0));
        let first = ids.split(|&id| id == 0).next().unwrap();
        assert_eq!(tokenizer.decode(first).unwrap(), stories.story(0));
    }
}
