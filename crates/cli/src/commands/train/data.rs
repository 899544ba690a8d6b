//! The tokens of a run: from a file, or from stories made here.

use super::progress::{Progress, grouped};
use super::samples::{self, is_jsonl};
use super::settings::Settings;
use anyhow::{Context, bail};
use models::Config;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use text::Tokenizer;
use text::chat::has_records;
use train::data::{Batches, Feed, Order, Packs, Position, Samples, Tokens, split};
use train::stories::{Part, Stories};
use train::vocabulary::{UsedIds, Vocabulary};

/// What a run learns from, and what was found out about it.
pub struct Data {
    training: Content,
    held_out: Option<Content>,
    pub tokenizer: Option<Tokenizer>,
    /// The model's configuration, with the vocabulary of a tokenizer that was trained here.
    pub config: Config,
    /// One line for people.
    pub description: String,
}

/// Where batches come from.
#[derive(Clone)]
enum Content {
    /// A part of a long row of tokens.
    Stream(Arc<Tokens>, Range<u64>),
    /// Texts apart, of which only a part may count.
    Samples(Arc<Samples>),
}

/// Stories that the built-in tokenizer is trained on.
const TOKENIZER_STORIES: usize = 4000;

/// Tokens of stories made for training and for validation, at most.
const STORY_TOKENS: usize = 1_500_000;
const HELD_OUT_TOKENS: usize = 60_000;

impl Data {
    /// Opens or makes the tokens. `known` is the tokenizer of the model that training begins with.
    pub fn open(
        settings: &Settings,
        config: &Config,
        known: Option<Tokenizer>,
        sidecars: &[(String, Vec<u8>)],
        progress: &Progress,
    ) -> anyhow::Result<Data> {
        if settings.seq > config.max_seq {
            bail!("--seq {} is more than the {} tokens of the model", settings.seq, config.max_seq);
        }
        let tokenizer = match &settings.tokenizer {
            Some(path) => Some(Tokenizer::load(path)?),
            None => known,
        };
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
            Some(path) if is_jsonl(path) && has_records(path)? => {
                let (vocabulary, seq) = (config.vocab, settings.seq);
                let Some(tokenizer) = tokenizer else {
                    bail!(
                        "chats and instructions are for a model that has a tokenizer: begin with \
                         one, --init, or give a --tokenizer"
                    );
                };
                let template = text::chat::ChatTemplate::of_model(sidecars)?;
                let reader = samples::Reader { tokenizer: &tokenizer, template, vocabulary, seq };
                let all = reader.read(path, progress)?;
                let (training, held_out) = match &settings.tuning.val_data {
                    Some(path) => (all, Some(reader.read(path, progress)?)),
                    None => all.split(settings.tuning.held_out(), settings.descent.seed),
                };
                let (tokens, counted) = (grouped(training.tokens()), grouped(training.counted()));
                let description = format!(
                    "{} samples of {}: {tokens} tokens, of which {counted} are answers; {} to \
                     validate with",
                    grouped(training.len()),
                    path.display(),
                    grouped(held_out.as_ref().map_or(0, Samples::len)),
                );
                Ok(Data {
                    training: Content::Samples(Arc::new(training)),
                    held_out: held_out.map(|samples| Content::Samples(Arc::new(samples))),
                    tokenizer: Some(tokenizer),
                    config: *config,
                    description,
                })
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
        let training = || Stories::new(settings.descent.seed, Part::Training);
        let tokenizer = match tokenizer {
            Some(tokenizer) => tokenizer,
            None => Tokenizer::train(training().take(TOKENIZER_STORIES), config.vocab)?,
        };
        let wanted =
            settings.descent.steps.saturating_mul((settings.descent.batch * settings.accum) as u64);
        let wanted = wanted.saturating_mul(settings.seq as u64 + 1);
        let wanted = (wanted as usize).clamp(settings.seq + 1, STORY_TOKENS);
        let tokens = Tokens::from_stories(training(), &tokenizer, wanted)?;
        let held_out = HELD_OUT_TOKENS.max(settings.seq + 1);
        let stories = Stories::new(settings.descent.seed, Part::Validation);
        let held_out = Tokens::from_stories(stories, &tokenizer, held_out)?;
        let whole = 0..held_out.len();
        Ok(Data {
            description: format!("{} tokens of built-in stories", tokens.len()),
            training: Content::whole(tokens),
            held_out: Some(Content::Stream(Arc::new(held_out), whole)),
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
        let mut open =
            |path: &Path| Tokens::open(path, width, tokenizer.as_ref(), config.vocab, &mut report);
        let tokens = open(path)?;
        let description = format!("{} tokens of {}", tokens.len(), path.display());
        let (training, held_out) = match &settings.tuning.val_data {
            Some(path) => (Content::whole(tokens), Some(Content::whole(open(path)?))),
            None => {
                let part = settings.tuning.held_out();
                let (training, held_out) = split(tokens.len(), part, settings.seq)?;
                let tokens = Arc::new(tokens);
                let held_out = held_out.map(|range| Content::Stream(Arc::clone(&tokens), range));
                (Content::Stream(tokens, training), held_out)
            }
        };
        Ok(Data { training, held_out, tokenizer, config: *config, description })
    }

    /// Whether the data are texts apart, and not one stream.
    pub fn is_samples(&self) -> bool {
        matches!(self.training, Content::Samples(_))
    }

    /// Sequences in one pass over the data for training.
    pub fn sequences(&self, settings: &Settings) -> anyhow::Result<u64> {
        Ok(self.training(settings, settings.position())?.sequences())
    }

    /// Batches for training, from a position on.
    pub fn training(&self, settings: &Settings, position: Position) -> anyhow::Result<Feed> {
        self.training.feed(settings, position)
    }

    /// Batches for validation, if anything was set aside: always the same ones.
    pub fn validation(&self, settings: &Settings) -> anyhow::Result<Option<Feed>> {
        let position = Position { order: Order::Sequential, seed: 0, windows: 0 };
        self.held_out.as_ref().map(|content| content.feed(settings, position)).transpose()
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
                "`{}`: tokens of a vocabulary of {}, and the model has {}: prepare them with the \
                 model's --tokenizer or with --train-tokenizer {}, or choose another --model",
                path.display(),
                index.vocabulary,
                config.vocab,
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
        Ok(Data {
            training: Content::whole(tokens),
            held_out: enough.then(|| Content::whole(held_out)),
            tokenizer,
            config: *config,
            description,
        })
    }

    /// The tokens that training and validation use, out of the model's vocabulary.
    pub fn vocabulary(&self, progress: &Progress) -> anyhow::Result<Vocabulary> {
        let mut used = UsedIds::new(self.config.vocab);
        for content in std::iter::once(&self.training).chain(&self.held_out) {
            match content {
                Content::Stream(tokens, range) => {
                    used.add(tokens, range.clone(), &mut |done, all| progress.counting(done, all))?;
                }
                Content::Samples(samples) => used.add_samples(samples)?,
            }
        }
        Ok(used.vocabulary())
    }
}

impl Content {
    fn whole(tokens: Tokens) -> Content {
        let whole = 0..tokens.len();
        Content::Stream(Arc::new(tokens), whole)
    }

    fn feed(&self, settings: &Settings, position: Position) -> anyhow::Result<Feed> {
        let (batch, seq) = (settings.descent.batch, settings.seq);
        Ok(match self {
            Content::Stream(tokens, range) => {
                Batches::new(Arc::clone(tokens), range.clone(), batch, seq, position)?.into()
            }
            Content::Samples(samples) => {
                let packing = settings.tuning.packs();
                Packs::new(Arc::clone(samples), packing, batch, seq, position)?.into()
            }
        })
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
