//! `anemone generate`.

mod prompts;

use crate::writing::{Answer, ChoiceFlags, Limits, ModelFlags, Session};
use clap::Args;
use prompts::{Prompt, PromptFlags};
use serde_json::json;
use std::io::Write;
use std::sync::atomic::AtomicBool;

/// Write text with a model.
///
/// Reads a model: the newest checkpoint of a run, a directory of Hugging Face, a GGUF, llama2.c or
/// BLZT file, or an adapter with the model that it was trained for. Continues each prompt, and
/// prints the text as it comes. Without a prompt the model begins a new text. Of a model that was
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
        let mut session = Session::new(&*device.device, &loaded, options, sampling)?;
        for (index, prompt) in prompts.iter().enumerate() {
            if index > 0 && !self.json {
                self.show("\n")?;
            }
            self.show(&prompt.shown)?;
            let never = AtomicBool::new(false);
            let answer =
                session.answer(&prompt.tokens, &limits, &never, &mut |text| self.show(text))?;
            self.show("\n")?;
            if self.json {
                writeln!(std::io::stdout(), "{}", summary(prompt, &answer))?;
            }
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
