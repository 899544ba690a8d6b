//! One text as it is written.

use super::Limits;
use crate::model::Loaded;
use generate::StopStrings;
use text::tokenizer::TextStream;

/// What a model writes after a prompt, token by token.
pub struct Text<'a> {
    limits: &'a Limits,
    loaded: &'a Loaded,
    stream: Option<TextStream<'a>>,
    stops: StopStrings,
    /// Tokens that the prompt has.
    before: usize,
    pub tokens: Vec<u32>,
    pub text: String,
}

impl<'a> Text<'a> {
    /// Nothing yet, after a prompt of so many tokens.
    pub fn new(loaded: &'a Loaded, limits: &'a Limits, before: usize) -> Text<'a> {
        Text {
            limits,
            loaded,
            stream: loaded.tokenizer.as_ref().map(|tokenizer| tokenizer.stream()),
            stops: StopStrings::new(limits.stop.iter().cloned()),
            before,
            tokens: vec![],
            text: String::new(),
        }
    }

    /// Takes the next token and gives the text that is certain now, and why the answer ends here, if
    /// it does: `stop` or `length`.
    pub fn push(&mut self, token: u32) -> anyhow::Result<(String, Option<&'static str>)> {
        if !self.limits.ignore_ends && self.loaded.ways.ends.contains(&token) {
            return Ok((String::new(), Some("stop")));
        }
        self.tokens.push(token);
        let piece = match &mut self.stream {
            Some(stream) => stream.push(token)?,
            None => format!("{token} "),
        };
        let piece = self.stops.push(&piece);
        self.text.push_str(&piece);
        let read = self.before + self.tokens.len() - 1;
        let is_long = self.tokens.len() >= self.limits.tokens;
        let end = match self.stops.stopped() {
            true => Some("stop"),
            false => (is_long || read == self.loaded.config.max_seq).then_some("length"),
        };
        Ok((piece, end))
    }

    /// Ends the text; gives what had been held back.
    pub fn finish(&mut self) -> anyhow::Result<String> {
        let rest = self.stream.take().map(|mut stream| stream.finish()).transpose()?;
        let mut last = self.stops.push(&rest.unwrap_or_default());
        last.push_str(&self.stops.finish());
        self.text.push_str(&last);
        Ok(last)
    }
}
