//! The table of contents of a folder of tokens.

use crate::{Counts, Error, Lengths};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The file's name in its folder.
pub const FILE: &str = "index.json";

/// What the file says it is.
const FORMAT: &str = "anemone-corpus";

/// The version written and read here.
const VERSION: u32 = 1;

/// The largest index that is read. One of 10 000 sources and 10 000 shards has 3 MB.
const MAX_FILE: u64 = 1 << 26;

/// Bytes of a token; tokens are little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Width {
    /// 16 bits.
    Two,
    /// 32 bits.
    Four,
}

/// A folder of tokens: what it holds and how it came to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Index {
    format: String,
    version: u32,
    /// Bytes of a token.
    pub token_bytes: Width,
    /// Every token is below.
    pub vocabulary: u32,
    /// The token after every document.
    pub end_of_text: u32,
    /// The tokenizer that made the tokens.
    pub tokenizer: Option<TokenizerFile>,
    /// What is there to train on.
    pub train: Part,
    /// What was set aside.
    pub validation: Part,
    /// What was read and what became of it.
    pub read: Tally,
    /// Seed of what was set aside.
    pub seed: u64,
    /// The files that were read, with their bytes; not all if there are very many.
    pub sources: Vec<(String, u64)>,
}

/// A file with a checksum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerFile {
    /// Its name in the folder.
    pub file: String,
    /// CRC-32 of its bytes.
    pub crc32: Crc,
}

/// Tokens for one purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Tokens, the ends of text included.
    pub tokens: u64,
    /// Documents.
    pub documents: u64,
    /// Bytes of their text.
    pub text_bytes: u64,
    /// Ends of text that stood within documents.
    pub ends_inside: u64,
    /// Tokens of documents, the end of text not counted.
    pub lengths: Lengths,
    /// The files, in order.
    pub shards: Vec<Shard>,
}

/// A file of tokens. It begins with the beginning of a document and ends with the end of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its name in the folder.
    pub file: String,
    /// Tokens in it.
    pub tokens: u64,
    /// Documents in it.
    pub documents: u64,
    /// CRC-32 of its bytes.
    pub crc32: Crc,
}

/// What was read, and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Files read.
    pub files: u64,
    /// Their bytes, as they lie on disk.
    pub bytes: u64,
    /// Files that were passed over.
    pub files_skipped: u64,
    /// Documents in them, and what was none.
    #[serde(flatten)]
    pub counts: Counts,
    /// Documents that were left out because the same had been there before.
    pub duplicates: u64,
}

/// A CRC-32 checksum (that of gzip), written as eight hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Crc(pub u32);

impl Index {
    /// An index of this version.
    pub(crate) fn new(token_bytes: Width, vocabulary: u32, end_of_text: u32) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            token_bytes,
            vocabulary,
            end_of_text,
            tokenizer: None,
            train: Part::default(),
            validation: Part::default(),
            read: Tally::default(),
            seed: 0,
            sources: Vec::new(),
        }
    }

    /// Reads the index of a folder, and compares the sizes of its files with it.
    ///
    /// # Errors
    /// If there is none, it is damaged, or a file is missing or has another size.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        let text = read_small(&path, MAX_FILE)?;
        let index = Self::parse(&text, &path)?;
        for shard in index.train.shards.iter().chain(&index.validation.shards) {
            let path = folder.join(&shard.file);
            let metadata = std::fs::metadata(&path).map_err(Error::file(&path))?;
            // `parse` has multiplied these without overflow.
            let expected = shard.tokens * index.token_bytes.bytes() as u64;
            if !metadata.is_file() || metadata.len() != expected {
                let (found, tokens) = (metadata.len(), shard.tokens);
                let reason =
                    format!("{found} bytes, but the index says {tokens} tokens: {expected}");
                return Err(Error::index(&path, reason));
            }
        }
        Ok(index)
    }

    /// Reads the text of an index that came from `path`, and checks that it agrees with itself.
    ///
    /// # Errors
    /// If it is not JSON, not an index of this version, names files outside its folder, or its
    /// sums are wrong.
    pub fn parse(text: &[u8], path: &Path) -> Result<Self, Error> {
        let wrong = |reason: String| Error::index(path, reason);
        #[derive(Deserialize)]
        struct Kind {
            format: String,
            version: u32,
        }
        // Another version may have other fields, so this comes first.
        let kind: Kind = serde_json::from_slice(text)
            .map_err(|error| wrong(format!("not the index of a folder of tokens: {error}")))?;
        if kind.format != FORMAT {
            let found: String = kind.format.chars().take(40).collect();
            return Err(wrong(format!("expected the format `{FORMAT}`, found `{found}`")));
        }
        if kind.version != VERSION {
            let found = kind.version;
            return Err(wrong(format!("version {found} cannot be read, only version {VERSION}")));
        }
        let index: Self =
            serde_json::from_slice(text).map_err(|error| wrong(format!("damaged: {error}")))?;
        index.check().map_err(wrong)?;
        Ok(index)
    }

    fn check(&self) -> Result<(), String> {
        let vocabulary = u64::from(self.vocabulary);
        if vocabulary > self.token_bytes.tokens() || self.vocabulary > i32::MAX as u32 {
            let bytes = self.token_bytes.bytes();
            return Err(format!("{vocabulary} tokens do not go into {bytes} bytes"));
        }
        if self.end_of_text >= self.vocabulary {
            let end = self.end_of_text;
            return Err(format!(
                "the end of text, {end}, is outside the vocabulary of {vocabulary}"
            ));
        }
        if let Some(tokenizer) = &self.tokenizer {
            plain(&tokenizer.file)?;
        }
        for (name, part) in [("train", &self.train), ("validation", &self.validation)] {
            let (mut tokens, mut documents) = (0_u64, 0_u64);
            for shard in &part.shards {
                plain(&shard.file)?;
                let bytes = self.token_bytes.bytes() as u64;
                let sum = tokens.checked_add(shard.tokens);
                tokens = sum.filter(|sum| sum.checked_mul(bytes).is_some()).ok_or_else(|| {
                    format!("{} is said to have {} tokens", shard.file, shard.tokens)
                })?;
                documents = documents.saturating_add(shard.documents);
            }
            if (tokens, documents) != (part.tokens, part.documents) {
                return Err(format!(
                    "{name} is said to have {} tokens and {} documents, its shards {tokens} and \
                     {documents}",
                    part.tokens, part.documents
                ));
            }
        }
        Ok(())
    }

    /// Writes the index of a folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Error> {
        write_json(&folder.join(FILE), self)
    }
}

/// A name that stays in its folder.
fn plain(name: &str) -> Result<(), String> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(std::path::Component::Normal(part)), None) if part == name => Ok(()),
        _ => Err(format!("{name:?} is not the name of a file in this folder")),
    }
}

/// Writes a file of JSON: the one that was there is replaced at once or not at all.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::index(path, format!("cannot be written: {error}")))?;
    write_file(path, text.as_bytes())
}

/// Writes a file: the one that was there is replaced at once or not at all.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let write = || {
        let mut file = std::fs::File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    write().map_err(Error::file(path))
}

/// Reads a file that must not be larger than `limit`.
pub(crate) fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let file = std::fs::File::open(path).map_err(Error::file(path))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::file(path))?;
    if bytes.len() as u64 > limit {
        return Err(Error::index(path, format!("more than {limit} bytes, which none has")));
    }
    Ok(bytes)
}

impl Width {
    /// The number of bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// The narrowest that a vocabulary goes into.
    pub fn of(vocabulary: usize) -> Self {
        if vocabulary <= 1 << 16 { Self::Two } else { Self::Four }
    }

    /// How many different tokens there can be.
    fn tokens(self) -> u64 {
        1 << (8 * self.bytes())
    }

    /// The tokens that bytes stand for; a part of one at the end is left out.
    pub(crate) fn decode(self, bytes: &[u8], tokens: &mut Vec<u32>) {
        tokens.clear();
        match self {
            Self::Two => {
                let (words, _) = bytes.as_chunks();
                tokens.extend(words.iter().map(|word| u32::from(u16::from_le_bytes(*word))));
            }
            Self::Four => {
                let (words, _) = bytes.as_chunks();
                tokens.extend(words.iter().map(|word| u32::from_le_bytes(*word)));
            }
        }
    }

    /// Appends the bytes of tokens, which must go into the width.
    pub(crate) fn encode(self, tokens: &[u32], bytes: &mut Vec<u8>) {
        match self {
            Self::Two => bytes.extend(tokens.iter().flat_map(|&id| (id as u16).to_le_bytes())),
            Self::Four => bytes.extend(tokens.iter().flat_map(|id| id.to_le_bytes())),
        }
    }
}

impl TryFrom<u8> for Width {
    type Error = String;

    fn try_from(bytes: u8) -> Result<Self, String> {
        match bytes {
            2 => Ok(Self::Two),
            4 => Ok(Self::Four),
            _ => Err(format!("tokens of {bytes} bytes; they have 2 or 4")),
        }
    }
}

impl From<Width> for u8 {
    fn from(width: Width) -> u8 {
        width.bytes() as u8
    }
}

impl From<Crc> for String {
    fn from(crc: Crc) -> String {
        crc.to_string()
    }
}

impl TryFrom<String> for Crc {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match u32::from_str_radix(&text, 16) {
            Ok(crc) if text.len() == 8 => Ok(Self(crc)),
            _ => Err("a checksum has eight hexadecimal digits".to_owned()),
        }
    }
}

impl std::fmt::Display for Crc {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:08x}", self.0)
    }
}
