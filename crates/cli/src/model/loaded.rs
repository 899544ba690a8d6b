//! A model with everything that is needed to write with it.

use super::{AdapterFolder, Origin, Sidecars, Ways, chat_template};
use crate::hub;
use anyhow::{Context, bail};
use generate::{Adapter, Weights};
use indicatif::{ProgressBar, ProgressStyle};
use mil::DataType;
use models::Config;
use std::io::IsTerminal;
use std::path::Path;
use text::Tokenizer;
use text::chat::{ChatTemplate, Message};
use train::vocabulary::IdSet;

/// A model in memory.
pub struct Loaded {
    pub config: Config,
    /// Matrices in the type `stored`.
    pub weights: Weights,
    pub stored: DataType,
    /// The adapter that was asked for, which is not merged into the weights.
    pub adapter: Option<Adapter>,
    pub tokenizer: Option<Tokenizer>,
    /// The tokens whose rows have been trained, if not all have been.
    pub trained: Option<IdSet>,
    /// How its maker would use it.
    pub ways: Ways,
    /// Files beside it.
    files: Sidecars,
    /// Whether it was trained here, on texts that each follow the end of another.
    ours: bool,
}

impl Loaded {
    /// Reads a model: a run of ours, a checkpoint of any other kind, or an adapter with the model
    /// that it was trained for. `adapter` is the folder of one to put beside it.
    /// `stored` is told in which type of 16 bits the files have matrices, if they have, and says in
    /// which they are kept.
    pub fn open(
        path: &Path,
        adapter: Option<&Path>,
        threads: usize,
        stored: impl FnOnce(Option<DataType>) -> DataType,
    ) -> anyhow::Result<Loaded> {
        let path = &hub::resolve(path)?;
        let (base, folder) = AdapterFolder::with_model(path, adapter)?;
        let mut origin = Origin::open(&base, threads)?;
        let config = origin.config()?;
        let stored = stored(origin.half_type());
        let bar = bar(config.parameter_count()? as u64)?;
        let weights = origin
            .weights(stored, &|read| bar.inc(read as u64))
            .with_context(|| format!("cannot read the model in `{}`", base.display()))?;
        bar.finish_and_clear();
        let adapter = folder.as_ref().map(|folder| folder.read(&config)).transpose()?;
        let tokenizer = origin.tokenizer()?;
        let files = match &folder {
            Some(folder) => folder.sidecars(origin.sidecars()?)?,
            None => origin.sidecars()?,
        };
        let ways = Ways::new(&files, &origin.json(), tokenizer.as_ref())?;
        let ours = matches!(origin, Origin::Run(_));
        Ok(Loaded {
            config,
            weights,
            stored,
            adapter,
            tokenizer,
            trained: origin.trained(),
            ways,
            files,
            ours,
        })
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// If there is none.
    pub fn tokenizer(&self) -> anyhow::Result<&Tokenizer> {
        self.tokenizer.as_ref().context(
            "the model has no tokenizer: put a tokenizer.json beside it, or give the prompt as \
             --prompt-tokens 1,2,3",
        )
    }

    /// The tokens of a text that the model is to go on from.
    pub fn begin(&self, text: &str) -> anyhow::Result<Vec<u32>> {
        let tokenizer = self.tokenizer()?;
        let whole = tokenizer.encode_whole(text)?;
        let mut tokens: Vec<u32> = whole.into_iter().map(|(token, _)| token).collect();
        let bare = tokenizer.encode(text)?;
        if tokens == bare && (self.ours || tokens.is_empty()) {
            // A text begins where another one ends.
            tokens.splice(0..0, tokenizer.end_of_text());
        }
        // A processor that also ends the text would leave nothing to write.
        while tokens.len() > bare.len() + 1
            && tokens.last().is_some_and(|t| self.ways.ends.contains(t))
        {
            tokens.pop();
        }
        if tokens.is_empty() {
            bail!("the prompt is empty, and the tokenizer has no token to begin after");
        }
        Ok(tokens)
    }

    /// Takes the chat template in a file, or `chatml`, instead of the model's own.
    pub fn set_template(&mut self, given: &str) -> anyhow::Result<()> {
        let template = ChatTemplate::new(&chat_template(given)?, &self.files)?;
        self.ways.set_template(template, self.tokenizer.as_ref());
        Ok(())
    }

    /// The tokens of a conversation that the model is to answer.
    pub fn answer_to(&self, messages: &[Message]) -> anyhow::Result<Vec<u32>> {
        let template = self.ways.template.as_ref().context(
            "the model has no chat template: give one with --chat-template FILE, or \
             --chat-template chatml",
        )?;
        Ok(self.tokenizer()?.encode(&template.render(messages, true)?)?)
    }
}

fn bar(elements: u64) -> anyhow::Result<ProgressBar> {
    let bar = match std::io::stderr().is_terminal() {
        true => ProgressBar::new(elements),
        false => ProgressBar::hidden(),
    };
    bar.set_style(ProgressStyle::with_template("reading the model {bar:32} {percent}%")?);
    Ok(bar)
}
