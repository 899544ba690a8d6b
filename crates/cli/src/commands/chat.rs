//! `anemone chat`.

use crate::model::{AdapterFolder, Loaded};
use crate::writing::{ChoiceFlags, Limits, ModelFlags, Session};
use anyhow::{Context, bail};
use clap::Args;
use rustyline::error::ReadlineError;
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use text::chat::Message;

/// Talk with a model.
///
/// Reads a line, answers by the model's chat template, and remembers the conversation; what has
/// been read is not read again. A line that ends with a backslash goes on. Ctrl-C ends an answer,
/// Ctrl-D the conversation. /help lists what else can be typed.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true, args_override_self = true)]
pub struct Chat {
    #[command(flatten)]
    model: ModelFlags,
    /// What the model is told before the user speaks
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Chat template: a file, or chatml [default: the model's]
    #[arg(long, value_name = "FILE|chatml")]
    chat_template: Option<String>,
    /// Tokens of an answer, at most [default: as many as fit the model's context]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    #[command(flatten)]
    choice: ChoiceFlags,
}

/// The context at first; it grows.
const CONTEXT: usize = 1024;

const HELP: &str = "\
/system TEXT   tell the model something before the conversation, and begin anew
/reset         begin anew
/adapter DIR   go on with another adapter; `none` with none
/save FILE     write the conversation as a line of JSON that can be trained on
/quit          leave";

impl Chat {
    /// Talks until there is no more input.
    pub fn run(self) -> anyhow::Result<()> {
        let (device, mut loaded) = self.model.open()?;
        if let Some(given) = &self.chat_template {
            loaded.set_template(given)?;
        }
        // A model without a template is refused before anybody types.
        loaded.answer_to(&[Message::new("user", "?")])?;
        let sampling = self.choice.sampling(&loaded.ways);
        let options = self.model.options(&loaded, CONTEXT.min(loaded.config.max_seq))?;
        let session = Session::new(&*device.device, &loaded, options, sampling)?;
        let interrupted = Arc::new(AtomicBool::new(false));
        let flag = interrupted.clone();
        ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))
            .context("cannot listen for Ctrl-C")?;
        let limits = Limits {
            tokens: self.max_tokens.map_or(usize::MAX, |tokens| tokens as usize),
            ignore_ends: false,
            stop: self.choice.stop.iter().chain(&loaded.ways.end_of_answer).cloned().collect(),
        };
        let system = self.system.as_deref();
        let messages = system.map(|text| Message::new("system", text)).into_iter().collect();
        let mut conversation =
            Conversation { loaded: &loaded, session, limits, interrupted, messages };
        let terminal = std::io::stdin().is_terminal();
        if terminal {
            eprintln!("/help lists what can be typed, Ctrl-C ends an answer, Ctrl-D leaves");
        }
        let mut editor =
            rustyline::DefaultEditor::new().context("cannot read from the terminal")?;
        while let Some(line) = read(&mut editor, terminal)? {
            match conversation.take(&line) {
                Ok(true) => {}
                Ok(false) => break,
                // Somebody who mistypes goes on; a script is told.
                Err(error) if terminal => eprintln!("{error:#}"),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The next thing that is said; nothing at the end.
fn read(editor: &mut rustyline::DefaultEditor, terminal: bool) -> anyhow::Result<Option<String>> {
    let mut said = String::new();
    loop {
        let mark = match (terminal, said.is_empty()) {
            (false, _) => "",
            (true, true) => "> ",
            (true, false) => "  ",
        };
        match editor.readline(mark) {
            Ok(line) => {
                if let Some(begun) = line.strip_suffix('\\') {
                    said.push_str(begun);
                    said.push('\n');
                    continue;
                }
                said.push_str(&line);
                editor.add_history_entry(said.as_str())?;
                return Ok(Some(said));
            }
            Err(ReadlineError::Interrupted) => said.clear(),
            Err(ReadlineError::Eof) => return Ok(None),
            Err(error) => return Err(error).context("cannot read what is said"),
        }
    }
}

struct Conversation<'a> {
    loaded: &'a Loaded,
    session: Session<'a>,
    limits: Limits,
    interrupted: Arc<AtomicBool>,
    messages: Vec<Message>,
}

impl Conversation<'_> {
    /// Does what is said; false ends the conversation.
    fn take(&mut self, said: &str) -> anyhow::Result<bool> {
        let (word, rest) = said.trim().split_once(' ').unwrap_or((said.trim(), ""));
        let rest = rest.trim();
        match word {
            "" => {}
            "/quit" | "/exit" => return Ok(false),
            "/help" => eprintln!("{HELP}"),
            "/reset" => self.messages.retain(|message| message.role == "system"),
            "/system" => {
                self.messages.clear();
                self.messages.extend((!rest.is_empty()).then(|| Message::new("system", rest)));
            }
            "/adapter" if rest == "none" => self.session.set_adapter(None)?,
            "/adapter" => {
                let folder = AdapterFolder::must_open(Path::new(rest))?;
                self.session.set_adapter(Some(folder.read(&self.loaded.config)?))?;
            }
            "/save" if rest.is_empty() => bail!("/save needs the name of a file"),
            "/save" => self.save(Path::new(rest))?,
            _ if word.starts_with('/') => bail!("there is no {word}; /help lists what there is"),
            _ => self.answer(said)?,
        }
        Ok(true)
    }

    fn answer(&mut self, said: &str) -> anyhow::Result<()> {
        self.messages.push(Message::new("user", said));
        match self.answer_to_last() {
            Ok(text) => {
                self.messages.push(Message::new("assistant", &text));
                Ok(())
            }
            Err(error) => {
                // As if it had not been said, so that the turns still alternate.
                self.messages.pop();
                Err(error)
            }
        }
    }

    fn answer_to_last(&mut self) -> anyhow::Result<String> {
        let mut prompt = self.loaded.answer_to(&self.messages)?;
        let most = self.loaded.config.max_seq;
        while prompt.len() >= most {
            let first = self.messages.iter().position(|message| message.role != "system");
            let Some(first) = first.filter(|first| first + 2 < self.messages.len()) else {
                bail!("that has {} tokens, the model's context {most}", prompt.len());
            };
            self.messages.drain(first..first + 2);
            eprintln!("(the context is full: the oldest question and its answer are forgotten)");
            prompt = self.loaded.answer_to(&self.messages)?;
        }
        self.interrupted.store(false, Ordering::Relaxed);
        let mut out = std::io::stdout();
        let mut show = |text: &str| {
            out.write_all(text.as_bytes())?;
            out.flush()
        };
        let answer = self.session.answer(&prompt, &self.limits, &self.interrupted, &mut show)?;
        writeln!(out)?;
        Ok(answer.text)
    }

    fn save(&self, path: &Path) -> anyhow::Result<()> {
        let messages: Vec<_> = self.messages.iter().map(said).collect();
        let line = json!({ "messages": messages });
        let open = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let mut file = open.with_context(|| format!("cannot write `{}`", path.display()))?;
        writeln!(file, "{line}")?;
        Ok(())
    }
}

fn said(message: &Message) -> serde_json::Value {
    json!({ "role": message.role, "content": message.content })
}
