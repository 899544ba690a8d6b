//! What a model goes on from.

use crate::model::Loaded;
use anyhow::{Context, bail};
use clap::Args;
use serde::Deserialize;
use std::io::Read;
use std::path::{Path, PathBuf};
use text::chat::Message;

/// The largest file of prompts that is read, in bytes.
const LARGEST: u64 = 1 << 26;

/// Flags that say what to go on from.
#[derive(Debug, Args)]
pub struct PromptFlags {
    /// Text to continue; may be given several times
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["prompts", "prompt_tokens"])]
    prompt: Vec<String>,
    /// File of texts to continue, one on each line; or, if its name ends in .jsonl, objects with a
    /// `prompt` or with the `messages` of a chat
    #[arg(long, value_name = "FILE", conflicts_with = "prompt_tokens")]
    prompts: Option<PathBuf>,
    /// Token ids to continue, instead of text
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    prompt_tokens: Option<Vec<u32>>,
    /// Take each prompt for what a user says, and write the answer, by the model's chat template
    #[arg(long, conflicts_with = "prompt_tokens")]
    pub chat: bool,
    /// Chat template: a file, or chatml [default: the model's]
    #[arg(long, value_name = "FILE|chatml")]
    pub chat_template: Option<String>,
    /// What the model is told before the user speaks
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,
}

/// Something to go on from.
#[derive(Debug)]
pub struct Prompt {
    /// What is shown before the answer.
    pub shown: String,
    pub tokens: Vec<u32>,
}

impl Prompt {
    fn new(shown: &str, tokens: Vec<u32>, loaded: &Loaded) -> anyhow::Result<Prompt> {
        let (found, most) = (tokens.len(), loaded.config.max_seq);
        if found > most {
            bail!("the prompt has {found} tokens, the model's context {most}");
        }
        Ok(Prompt { shown: shown.to_owned(), tokens })
    }
}

/// A line of a file of prompts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Text { prompt: String },
    Chat { messages: Vec<Said> },
}

#[derive(Deserialize)]
struct Said {
    role: String,
    content: String,
}

impl PromptFlags {
    /// The prompts, of which there is at least one.
    pub fn read(&self, loaded: &Loaded) -> anyhow::Result<Vec<Prompt>> {
        if let Some(tokens) = &self.prompt_tokens {
            return Ok(vec![Prompt::new("", tokens.clone(), loaded)?]);
        }
        if let Some(path) = &self.prompts {
            return self.of_file(path, loaded);
        }
        if self.prompt.is_empty() {
            if self.chat {
                bail!("--chat needs what the user says: give it as --prompt TEXT");
            }
            return Ok(vec![self.of_text("", loaded)?]);
        }
        self.prompt.iter().map(|text| self.of_text(text, loaded)).collect()
    }

    fn of_text(&self, text: &str, loaded: &Loaded) -> anyhow::Result<Prompt> {
        if !self.chat {
            return Prompt::new(text, loaded.begin(text)?, loaded);
        }
        let system = self.system.iter().map(|text| Message::new("system", text));
        let messages: Vec<Message> = system.chain([Message::new("user", text)]).collect();
        of_chat(&messages, loaded)
    }

    fn of_file(&self, path: &Path, loaded: &Loaded) -> anyhow::Result<Vec<Prompt>> {
        let context = || format!("cannot read the prompts in `{}`", path.display());
        let file = std::fs::File::open(path).with_context(context)?;
        let mut text = String::new();
        file.take(LARGEST + 1).read_to_string(&mut text).with_context(context)?;
        if text.len() as u64 > LARGEST {
            bail!("`{}` has more than {LARGEST} bytes of prompts", path.display());
        }
        let objects = path.extension().is_some_and(|extension| extension == "jsonl");
        let mut prompts = vec![];
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() {
                continue;
            }
            let prompt = || match objects {
                false => self.of_text(line, loaded),
                true => match serde_json::from_str(line)? {
                    Line::Text { prompt } => self.of_text(&prompt, loaded),
                    Line::Chat { messages } => {
                        let said = |said: &Said| Message::new(&said.role, &said.content);
                        of_chat(&messages.iter().map(said).collect::<Vec<_>>(), loaded)
                    }
                },
            };
            let prompt =
                prompt().with_context(|| format!("`{}`, line {number}", path.display()))?;
            prompts.push(prompt);
        }
        if prompts.is_empty() {
            bail!("`{}` has no prompts", path.display());
        }
        Ok(prompts)
    }
}

/// The model is to answer; only the answer is shown.
fn of_chat(messages: &[Message], loaded: &Loaded) -> anyhow::Result<Prompt> {
    Prompt::new("", loaded.answer_to(messages)?, loaded)
}
