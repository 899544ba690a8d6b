//! The tokens of a run: from a file, or from stories made here.

use super::progress::Progress;
use super::settings::Settings;
use anyhow::{Context, bail};
use models::Config;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use train::data::{Batches, Feed, Order, Position, Tokens, split};
use train::stories::{Part, Stories};
use train::tokenizer::Tokenizer;
use train::vocabulary::{UsedIds, Vocabulary};

/// Tokens and what was found out about them.
pub struct Data {
    pub tokens: Arc<Tokens>,
    pub training: Range<u64>,
    held_out: Option<(Arc<Tokens>, Range<u64>)>,
    pub tokenizer: Option<Tokenizer>,
    /// The model's configuration, with the vocabulary of a tokenizer that was trained here.
    pub config: Config,
    /// One line for people.
    pub description: String,
}

/// Stories that the built-in tokenizer is trained on.
const TOKENIZER_STORIES: usize = 4000;

/// Tokens of stories made for training and for validation, at most.
const STORY_TOKENS: usize = 1_500_000;
const HELD_OUT_TOKENS: usize = 60_000;

/// Part of a file that is set aside for validation.
const HELD_OUT: f64 = 0.05;

impl Data {
    /// Opens or makes the tokens. `known` is the tokenizer of the model that training begins with.
    pub fn open(
        settings: &Settings,
        config: &Config,
        known: Option<&Path>,
        progress: &Progress,
    ) -> anyhow::Result<Data> {
        if settings.seq > config.max_seq {
            bail!("--seq {} is more than the {} tokens of the model", settings.seq, config.max_seq);
        }
        let tokenizer = settings.tokenizer.as_deref().or(known).map(Tokenizer::load).transpose()?;
        if let Some(tokenizer) = &tokenizer
            && tokenizer.vocabulary() > config.vocab
        {
            bail!(
                "the tokenizer has {} tokens, the model {}",
                tokenizer.vocabulary(),
                config.vocab
            );
        }
        match &settings.data {
            None => Data::stories(settings, config, tokenizer, progress),
            Some(path) if path.is_dir() => {
                Data::folder(settings, config, tokenizer, path, progress)
            }
            Some(path) => Data::file(settings, config, tokenizer, path, progress),
        }
    }

    fn stories(
        settings: &Settings,
        config: &Config,
        tokenizer: Option<Tokenizer>,
        progress: &Progress,
    ) -> anyhow::Result<Data> {
        progress.note("writing stories to train on")?;
        let training = || Stories::new(settings.seed, Part::Training);
        let tokenizer = match tokenizer {
            Some(tokenizer) => tokenizer,
            None => Tokenizer::train(training().take(TOKENIZER_STORIES), config.vocab)?,
        };
        let wanted = settings.steps.saturating_mul((settings.batch * settings.accum) as u64);
        let wanted = wanted.saturating_mul(settings.seq as u64 + 1);
        let wanted = (wanted as usize).clamp(settings.seq + 1, STORY_TOKENS);
        let tokens = Tokens::from_stories(training(), &tokenizer, wanted)?;
        let held_out = HELD_OUT_TOKENS.max(settings.seq + 1);
        let stories = Stories::new(settings.seed, Part::Validation);
        let held_out = Tokens::from_stories(stories, &tokenizer, held_out)?;
        let whole = 0..held_out.len();
        Ok(Data {
            training: 0..tokens.len(),
            description: format!("{} tokens of built-in stories", tokens.len()),
            tokens: Arc::new(tokens),
            held_out: Some((Arc::new(held_out), whole)),
            tokenizer: Some(tokenizer),
            config: *config,
        })
    }

    fn file(
        settings: &Settings,
        config: &Config,
        tokenizer: Option<Tokenizer>,
        path: &Path,
        progress: &Progress,
    ) -> anyhow::Result<Data> {
        let raw = path
            .extension()
            .and_then(|e| e.to_str())
            .is_some_and(|e| ["bin", "u16", "u32"].contains(&e.to_ascii_lowercase().as_str()));
        let tokenizer = match tokenizer {
            None if !raw => Some(train_tokenizer(path, config.vocab, progress)?),
            tokenizer => tokenizer,
        };
        let mut report = |done: u64, all: u64| progress.reading(done, all);
        let width = Some(settings.width());
        let tokens = Tokens::open(path, width, tokenizer.as_ref(), config.vocab, &mut report)?;
        let (training, held_out) = split(tokens.len(), HELD_OUT, settings.seq)?;
        let description = format!("{} tokens of {}", tokens.len(), path.display());
        let tokens = Arc::new(tokens);
        Ok(Data {
            held_out: held_out.map(|range| (Arc::clone(&tokens), range)),
            tokens,
            training,
            tokenizer,
            config: *config,
            description,
        })
    }

    /// A folder that `anemone data prepare` has written.
    fn folder(
        settings: &Settings,
        config: &Config,
        tokenizer: Option<Tokenizer>,
        path: &Path,
        progress: &Progress,
    ) -> anyhow::Result<Data> {
        let index = corpus::Index::open(path)?;
        if index.vocabulary as usize > config.vocab {
            bail!(
                "`{}`: tokens of a vocabulary of {}; the model has {}",
                path.display(),
                index.vocabulary,
                config.vocab
            );
        }
        let own = index.tokenizer.as_ref().map(|tokenizer| path.join(&tokenizer.file));
        let own = own.as_deref().map(Tokenizer::load).transpose()?;
        let tokenizer = match (tokenizer, own) {
            (Some(given), Some(own))
                if settings.tokenizer.is_none() && given.to_json()? != own.to_json()? =>
            {
                bail!(
                    "`{}` was made with another tokenizer than that of the model: prepare it anew \
                     with --tokenizer, or say which one the tokens are of with --tokenizer",
                    path.display()
                );
            }
            (given, own) => given.or(own),
        };
        let tokens = Tokens::from_shards(path, &index, &index.train)?;
        if tokens.len() <= settings.seq as u64 {
            bail!(
                "`{}`: {} tokens to train on, and a sequence takes {}",
                path.display(),
                tokens.len(),
                settings.seq + 1
            );
        }
        let held_out = Tokens::from_shards(path, &index, &index.validation)?;
        let enough = held_out.len() > settings.seq as u64;
        if !enough && !held_out.is_empty() {
            let found = held_out.len();
            progress.note(&format!("{found} tokens are too few to validate with"))?;
        }
        let description = format!(
            "{} tokens of {}, {} to validate with",
            tokens.len(),
            path.display(),
            held_out.len()
        );
        let whole = 0..held_out.len();
        Ok(Data {
            training: 0..tokens.len(),
            tokens: Arc::new(tokens),
            held_out: enough.then(|| (Arc::new(held_out), whole)),
            tokenizer,
            config: *config,
            description,
        })
    }

    /// The tokens that training and validation use, out of the model's vocabulary.
    pub fn vocabulary(&self, progress: &Progress) -> anyhow::Result<Vocabulary> {
        let mut used = UsedIds::new(self.config.vocab);
        let held_out = self.held_out.iter().map(|(tokens, range)| (tokens, range));
        for (tokens, range) in std::iter::once((&self.tokens, &self.training)).chain(held_out) {
            used.add(tokens, range.clone(), &mut |done, all| progress.counting(done, all))?;
        }
        Ok(used.vocabulary())
    }

    /// Batches for validation, if anything was set aside: always the same ones.
    pub fn validation(&self, settings: &Settings) -> anyhow::Result<Option<Feed>> {
        let Some((tokens, range)) = &self.held_out else { return Ok(None) };
        let position = Position { order: Order::Sequential, seed: 0, windows: 0 };
        let (batch, seq) = (settings.batch, settings.seq);
        let batches = Batches::new(Arc::clone(tokens), range.clone(), batch, seq, position)?;
        Ok(Some(batches.into()))
    }
}

/// Bytes of a text that a tokenizer is trained on, at most.
const TOKENIZER_BYTES: u64 = 1 << 24;

fn train_tokenizer(path: &Path, vocab: usize, progress: &Progress) -> anyhow::Result<Tokenizer> {
    use std::io::Read;
    progress.note("training a tokenizer on the text")?;
    let cannot = || format!("cannot read `{}`", path.display());
    let file = std::fs::File::open(path).with_context(cannot)?;
    let mut bytes = vec![];
    file.take(TOKENIZER_BYTES).read_to_end(&mut bytes).with_context(cannot)?;
    // A character that the limit has cut is left out; other damage is found when all is read.
    let text = String::from_utf8_lossy(&bytes);
    Ok(Tokenizer::train(text.lines().map(|line| format!("{line}\n")), vocab)?)
}
