//! `anemone generate`.

mod prompts;

use crate::writing::{self, Answer, Answering, ChoiceFlags, Limits, ModelFlags, Session};
use clap::Args;
use prompts::{Prompt, PromptFlags};
use serde_json::json;
use std::io::Write;
use std::sync::atomic::AtomicBool;

/// Prompts that are answered at a time if nobody says.
const TOGETHER: usize = 8;

/// Write text with a model.
///
/// Reads a model: the newest checkpoint of a run, a directory of Hugging Face, a GGUF, llama2.c or
/// BLZT file, or an adapter with the model that it was trained for. Continues each prompt, and
/// prints the text as it comes; several prompts are continued side by side. Without a prompt the model begins a new text. Of a model that was
/// trained with --compact-vocab, only the tokens that it has been trained on are written.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true, args_override_self = true)]
pub struct Generate {
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    prompts: PromptFlags,
    /// Tokens to write for each prompt, at most
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// Prompts to answer at a time, each of which takes a cache of its own; 1 shows every text as it
    /// comes [default: 8, or as many as there are]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: Option<u16>,
    /// Go on after the end of a text
    #[arg(long)]
    ignore_eos: bool,
    /// Print one JSON object for each prompt, on one line, instead of the text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    choice: ChoiceFlags,
}

impl Generate {
    /// Writes the texts.
    pub fn run(self) -> anyhow::Result<()> {
        let (device, mut loaded) = self.model.open()?;
        if let Some(given) = &self.prompts.chat_template {
            loaded.set_template(given)?;
        }
        let sampling = self.choice.sampling(&loaded.ways);
        sampling.check()?;
        let prompts = self.prompts.read(&loaded)?;
        let longest = prompts.iter().map(|prompt| prompt.tokens.len()).max().unwrap_or(0);
        let capacity = (longest + self.max_tokens as usize).min(loaded.config.max_seq);
        let end = loaded.ways.end_of_answer.iter().filter(|_| self.prompts.chat);
        let limits = Limits {
            tokens: self.max_tokens as usize,
            ignore_ends: self.ignore_eos,
            stop: self.choice.stop.iter().chain(end).cloned().collect(),
        };
        let options = self.model.options(&loaded, capacity)?;
        let rows = self.rows(prompts.len());
        if rows > 1 {
            let tokens: Vec<&[u32]> = prompts.iter().map(|prompt| &prompt.tokens[..]).collect();
            let mut done = |index: usize, answer: Answer| {
                self.begin(index, &prompts[index])?;
                self.show(&answer.text)?;
                self.end(&prompts[index], &answer)
            };
            let answering = Answering {
                device: &*device.device,
                loaded: &loaded,
                options: &options,
                sampling,
                limits: &limits,
                rows,
            };
            return writing::answer_all(&answering, &tokens, &mut done);
        }
        let mut session = Session::new(&*device.device, &loaded, options, sampling)?;
        let never = AtomicBool::new(false);
        for (index, prompt) in prompts.iter().enumerate() {
            session.set_sampling(writing::sampling_of(sampling, index))?;
            self.begin(index, prompt)?;
            let answer =
                session.answer(&prompt.tokens, &limits, &never, &mut |text| self.show(text))?;
            self.end(prompt, &answer)?;
        }
        Ok(())
    }

    /// How many prompts are answered at a time.
    fn rows(&self, prompts: usize) -> usize {
        self.batch.map_or(TOGETHER, usize::from).min(prompts)
    }

    fn begin(&self, index: usize, prompt: &Prompt) -> std::io::Result<()> {
        if index > 0 {
            self.show("\n")?;
        }
        self.show(&prompt.shown)
    }

    fn end(&self, prompt: &Prompt, answer: &Answer) -> anyhow::Result<()> {
        self.show("\n")?;
        if self.json {
            writeln!(std::io::stdout(), "{}", summary(prompt, answer))?;
        }
        Ok(())
    }

    fn show(&self, text: &str) -> std::io::Result<()> {
        if self.json {
            return Ok(());
        }
        let mut out = std::io::stdout();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

fn summary(prompt: &Prompt, answer: &Answer) -> serde_json::Value {
    json!({
        "prompt_tokens": prompt.tokens,
        "tokens": answer.tokens,
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "prefill_tokens_per_s": answer.prefill_rate(),
        "decode_tokens_per_s": answer.decode_rate(),
    })
}
