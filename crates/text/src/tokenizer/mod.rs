//! Text to tokens and back.
//!
//! A thin wrapper: reads any `tokenizer.json` of Hugging Face's format, and trains a byte-level
//! BPE tokenizer of its own, in which every text can be encoded.

mod guard;

use guard::{guarded, read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    TokenizerImpl,
};

/// The token between texts, in tokenizers trained here.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// What other families of models call the token that ends a text, the most telling first.
const ENDS: [&str; 5] = [END_OF_TEXT, "<|end_of_text|>", "</s>", "<|eot_id|>", "<|im_end|>"];

/// The smallest vocabulary: one token per byte and the end of text.
pub const MIN_VOCABULARY: usize = 257;

/// The largest `tokenizer.json` that is read; real ones are below 40 MB.
const MAX_FILE: u64 = 1 << 28;

/// What can go wrong with a tokenizer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a tokenizer.
    #[error("{}: not a tokenizer: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The vocabulary asked for is too small.
    #[error("a vocabulary of {0} is too small: at least {MIN_VOCABULARY} tokens are needed")]
    Vocabulary(usize),
    /// The text could not be encoded or decoded.
    #[error("tokenizer: {0}")]
    Token(String),
}

/// A tokenizer.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    end_of_text: Option<u32>,
}

type Trainable = TokenizerImpl<
    BPE,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

impl Tokenizer {
    /// Trains a byte-level BPE tokenizer on texts.
    ///
    /// The result is the same every time for the same texts. It has at most `vocabulary` tokens:
    /// fewer if the texts have no more pairs to merge. [`END_OF_TEXT`] is token 0.
    ///
    /// # Errors
    /// If `vocabulary` is below [`MIN_VOCABULARY`].
    pub fn train<S: AsRef<str> + Send>(
        texts: impl Iterator<Item = S> + Send,
        vocabulary: usize,
    ) -> Result<Self, Error> {
        if vocabulary < MIN_VOCABULARY {
            return Err(Error::Vocabulary(vocabulary));
        }
        let byte_level = ByteLevel::new(false, true, true);
        let mut trainable: Trainable = TokenizerImpl::new(BPE::default());
        trainable.with_pre_tokenizer(Some(PreTokenizerWrapper::from(byte_level)));
        trainable.with_decoder(Some(DecoderWrapper::from(byte_level)));
        let mut trainer = BpeTrainer::builder()
            .vocab_size(vocabulary)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
            .build();
        trainable.train(&mut trainer, texts).map_err(token)?;
        let json = trainable.to_string(false).map_err(token)?;
        json.parse().map(Self::new).map_err(token)
    }

    /// Reads a `tokenizer.json`, or the one in a directory.
    ///
    /// # Errors
    /// If the file cannot be read or is not a tokenizer.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let path = if path.is_dir() { path.join("tokenizer.json") } else { path.to_owned() };
        let file = |source| Error::File { path: path.clone(), source };
        let format = |reason| Error::Format { path: path.clone(), reason };
        let size = std::fs::metadata(&path).map_err(file)?.len();
        if size > MAX_FILE {
            return Err(format(format!("{size} bytes is more than any tokenizer has")));
        }
        let bytes = std::fs::read(&path).map_err(file)?;
        read(&bytes).map(Self::new).map_err(format)
    }

    /// Reads the text of a `tokenizer.json`.
    ///
    /// # Errors
    /// If it is not a tokenizer.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        read(json.as_bytes()).map(Self::new).map_err(Error::Token)
    }

    /// The text of its `tokenizer.json`.
    ///
    /// # Errors
    /// If the tokenizer has parts that cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, Error> {
        self.inner.to_string(true).map_err(token)
    }

    /// One more than the largest token id.
    pub fn vocabulary(&self) -> usize {
        // Ids may have gaps, so the number of tokens is not the bound on ids.
        self.inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1)
    }

    /// The token that ends a text, if the tokenizer has one by a usual name.
    pub fn end_of_text(&self) -> Option<u32> {
        self.end_of_text
    }

    /// The id of a token, given as it stands in the vocabulary.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The tokens of a text. Special tokens written out in the text are recognized; none are
    /// added.
    ///
    /// # Errors
    /// If the tokenizer has no token for a part of the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = guarded(|| self.inner.encode_fast(text, false)).map_err(Error::Token)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The tokens of a text, with those that the tokenizer puts around every text (such as one for
    /// its beginning), and the bytes of the text that each stands for.
    ///
    /// # Errors
    /// If the tokenizer has no token for a part of the text.
    pub fn encode_whole(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>, Error> {
        self.encode_places(text, true)
    }

    pub(crate) fn encode_places(
        &self,
        text: &str,
        special: bool,
    ) -> Result<Vec<(u32, Range<usize>)>, Error> {
        let encoding = guarded(|| self.inner.encode(text, special)).map_err(Error::Token)?;
        let places = encoding.get_offsets().iter().map(|&(start, end)| start..end);
        Ok(encoding.get_ids().iter().copied().zip(places).collect())
    }

    /// The text of tokens. Special tokens are left out.
    ///
    /// # Errors
    /// If the tokenizer cannot put the tokens together.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, Error> {
        guarded(|| self.inner.decode(tokens, true)).map_err(Error::Token)
    }

    /// Decodes tokens one at a time, as they are generated.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream { tokenizer: self, tokens: Vec::new(), settled: 0, shown: 0 }
    }

    fn new(inner: tokenizers::Tokenizer) -> Self {
        let end_of_text = ENDS.iter().find_map(|name| inner.token_to_id(name));
        Self { inner, end_of_text }
    }
}

/// Text that grows with every token. Only whole characters come out: a character of several bytes
/// may take several tokens.
#[derive(Clone, Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    tokens: Vec<u32>,
    /// Where the tokens begin that are decoded together: some decoders treat the first token
    /// of a text differently, so new tokens are never decoded alone.
    settled: usize,
    /// The tokens whose text has come out.
    shown: usize,
}

impl TextStream<'_> {
    /// Adds a token; returns the text that is now complete, possibly none.
    ///
    /// # Errors
    /// If the tokenizer cannot put the tokens together.
    pub fn push(&mut self, token: u32) -> Result<String, Error> {
        self.tokens.push(token);
        let (text, known) = self.pending()?;
        // A character that is not complete decodes as the replacement character.
        if text.len() <= known || text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        self.settled = self.shown;
        self.shown = self.tokens.len();
        Ok(text.get(known..).unwrap_or_default().to_owned())
    }

    /// What is left, complete or not.
    ///
    /// # Errors
    /// If the tokenizer cannot put the tokens together.
    pub fn finish(&mut self) -> Result<String, Error> {
        let (text, known) = self.pending()?;
        self.settled = self.tokens.len();
        self.shown = self.tokens.len();
        Ok(text.get(known..).unwrap_or_default().to_owned())
    }

    /// The text of the tokens in flight, and how many bytes of it have come out.
    fn pending(&self) -> Result<(String, usize), Error> {
        let known = self.tokenizer.decode(&self.tokens[self.settled..self.shown])?.len();
        Ok((self.tokenizer.decode(&self.tokens[self.settled..])?, known))
    }
}

fn token(error: tokenizers::Error) -> Error {
    Error::Token(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// Sentences that repeat themselves enough for merges.
    fn sentence(n: usize) -> String {
        let who = ["Mia", "the old fox", "a small bear", "Gus the duck"][n % 4];
        let what = ["saw", "found", "lost", "painted"][n / 4 % 4];
        let which = ["a red kite", "the river", "one seed", "the morning"][n / 16 % 4];
        format!("Once upon a time, {who} {what} {which} and was happy.\n")
    }

    fn small() -> Tokenizer {
        Tokenizer::train((0..64).map(sentence), 512).unwrap()
    }

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("anemone-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn every_text_survives() {
        let tokenizer = small();
        for text in ["", "Once upon a time", "  two  spaces\n\n", "naïve 日本語 🦀\0", "{}[]"]
        {
            let tokens = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
            assert!(tokens.iter().all(|&id| (id as usize) < tokenizer.vocabulary()));
        }
    }

    #[test]
    fn training_is_deterministic_and_compresses() {
        let tokenizer = small();
        assert!((300..=512).contains(&tokenizer.vocabulary()), "{}", tokenizer.vocabulary());
        assert_eq!(tokenizer.to_json().unwrap(), small().to_json().unwrap());
        let story = sentence(11);
        assert!(tokenizer.encode(&story).unwrap().len() * 2 < story.len());
    }

    #[test]
    fn end_of_text_is_one_token_without_text() {
        let tokenizer = small();
        assert_eq!(tokenizer.end_of_text(), Some(0));
        assert_eq!(tokenizer.encode("<|endoftext|>").unwrap(), [0]);
        let tokens = tokenizer.encode("a<|endoftext|>b").unwrap();
        assert_eq!(tokens.iter().filter(|&&id| id == 0).count(), 1);
        assert_eq!(tokenizer.decode(&tokens).unwrap(), "ab");
    }

    #[test]
    fn too_small_a_vocabulary_is_an_error() {
        let error = Tokenizer::train(["a"].into_iter(), 256).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a vocabulary of 256 is too small: at least 257 tokens are needed"
        );
        assert_eq!(Tokenizer::train(["a"].into_iter(), 257).unwrap().vocabulary(), 257);
    }

    #[test]
    fn a_saved_tokenizer_is_the_same() {
        let folder = scratch("tokenizer");
        let tokenizer = small();
        let json = tokenizer.to_json().unwrap();
        std::fs::write(folder.join("tokenizer.json"), &json).unwrap();
        let loaded = Tokenizer::load(&folder).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(Tokenizer::from_json(&json).unwrap().to_json().unwrap(), json);
        assert_eq!(loaded.to_json().unwrap(), tokenizer.to_json().unwrap());
        assert_eq!(loaded.end_of_text(), Some(0));
    }

    #[test]
    fn bad_files_are_errors_that_name_them() {
        let folder = scratch("bad-tokenizer");
        let path = folder.join("tokenizer.json");
        let error = Tokenizer::load(&path).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{error}");
        for text in ["", "{}", "[1, 2", "{\"model\": {\"type\": \"BPE\"}}"] {
            std::fs::write(&path, text).unwrap();
            let error = Tokenizer::load(&path).unwrap_err();
            assert!(matches!(error, Error::Format { .. }), "{text:?}: {error}");
            assert!(error.to_string().contains("tokenizer.json"), "{error}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn streamed_text_is_the_whole_text_in_whole_characters() {
        let tokenizer = small();
        let text = "Mia saw a 🦀 and said: naïve! 日本";
        let tokens = tokenizer.encode(text).unwrap();
        let mut stream = tokenizer.stream();
        let mut shown = String::new();
        for &id in &tokens {
            let part = stream.push(id).unwrap();
            assert!(!part.contains(char::REPLACEMENT_CHARACTER), "{part:?}");
            shown += &part;
        }
        assert_eq!(stream.finish().unwrap(), "");
        assert_eq!(shown, text);
    }

    #[test]
    fn a_stream_that_ends_within_a_character_shows_the_rest() {
        let tokenizer = small();
        let mut tokens = tokenizer.encode("a🦀").unwrap();
        tokens.pop();
        let mut stream = tokenizer.stream();
        let mut shown = String::new();
        for &id in &tokens {
            shown += &stream.push(id).unwrap();
        }
        assert_eq!(shown, "a");
        assert!(stream.finish().unwrap().contains(char::REPLACEMENT_CHARACTER));
    }
}
