//! `anemone generate`.

use crate::{device, model};
use anyhow::{Context, bail};
use clap::Args;
use generate::{Generator, GeneratorOptions, Sampler, Sampling};
use models::Config;
use runtime::Products;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;
use text::Tokenizer;
use train::checkpoint::Checkpoint;

/// Write text with a model that was trained here.
///
/// Reads the newest checkpoint of a run, continues the prompt, and prints the text as it comes.
/// Without a prompt the model begins a new story. Of a model that was trained with
/// --compact-vocab, only the tokens that it has been trained on are written.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true, args_override_self = true)]
pub struct Generate {
    /// Folder of a run, or of one of its checkpoints
    #[arg(long, value_name = "DIR", default_value = "out")]
    model: PathBuf,
    /// Text to continue
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_tokens")]
    prompt: Option<String>,
    /// Token ids to continue, instead of text
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    prompt_tokens: Option<Vec<u32>>,
    /// Tokens to write, at most
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// How freely to choose: 0 always takes the most probable token
    #[arg(long, value_name = "X", default_value_t = 0.8)]
    temperature: f32,
    /// Choose among the most probable tokens that together reach this probability
    #[arg(long, value_name = "X", default_value_t = 0.95)]
    top_p: f32,
    /// Seed of the choices
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Go on after the end of a text
    #[arg(long)]
    ignore_eos: bool,
    /// Device: cpu
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    /// Element type of matrix products
    #[arg(long, value_name = "TYPE", default_value = "fp32", value_parser = ["fp32", "bf16", "fp16"])]
    dtype: String,
    /// Multiply with parameters in 8-bit integers, quantized on the spot: with one scale for each
    /// output channel, and one for each token's activations
    #[arg(long)]
    int8: bool,
    /// Threads [default: as many as the machine runs at once]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print one JSON object at the end instead of the text
    #[arg(long)]
    json: bool,
}

impl Generate {
    /// Writes the text.
    pub fn run(self) -> anyhow::Result<()> {
        let Generate { temperature, top_p, seed, .. } = self;
        let sampler = Sampler::new(Sampling { temperature, top_p, seed })?;
        let mut checkpoint = Checkpoint::open(&self.model)
            .with_context(|| format!("cannot read the model in `{}`", self.model.display()))?;
        let config = Config::from_hugging_face(checkpoint.config())?;
        let tokenizer = checkpoint.tokenizer().map(Tokenizer::load).transpose()?;
        let prompt = self.prompt(tokenizer.as_ref())?;
        let weights = model::load(&config, &mut checkpoint)?;

        if device::Kind::parse(&self.device)?.is_engine() {
            bail!("text is generated on the cpu device; engines are for training so far");
        }
        let threads = self.threads.map(usize::from);
        let device = device::open(&self.device, threads, Default::default())?;
        let capacity = (prompt.len() + self.max_tokens as usize).min(config.max_seq);
        if prompt.len() > capacity {
            bail!("the prompt has {} tokens, the model's context {capacity}", prompt.len());
        }
        let compute = mil::DataType::from_name(&self.dtype).context("an element type")?;
        let products = if self.int8 { Products::Int8 } else { Products::Native };
        let options = GeneratorOptions { capacity, compute, products, lora: None };
        let mut generator = Generator::new(&*device.device, &config, &weights, options)?;

        let mut chooser = model::Chooser::new(sampler, checkpoint.state().trained.as_ref());
        let mut writer = Output::new(tokenizer.as_ref(), self.json);
        if let Some(text) = &self.prompt {
            writer.text(text)?;
        }
        let start = Instant::now();
        let mut next = generator.read(&prompt, |scores| chooser.choose(scores))?;
        let prefill = start.elapsed().as_secs_f64();
        let end = tokenizer.as_ref().and_then(Tokenizer::end_of_text).filter(|_| !self.ignore_eos);
        let mut tokens = vec![];
        let start = Instant::now();
        while Some(next) != end {
            tokens.push(next);
            writer.token(next)?;
            if tokens.len() == self.max_tokens as usize || generator.room() == 0 {
                break;
            }
            next = generator.read(&[next], |scores| chooser.choose(scores))?;
        }
        let decode = start.elapsed().as_secs_f64();
        let text = writer.finish()?;
        if self.json {
            // The first token comes with the prefill.
            let decoded = tokens.len().saturating_sub(1);
            let summary = json!({
                "prompt_tokens": prompt,
                "tokens": tokens,
                "text": text,
                "prefill_tokens_per_s": prompt.len() as f64 / prefill,
                "decode_tokens_per_s": decoded as f64 / decode,
            });
            writeln!(std::io::stdout(), "{summary}")?;
        }
        Ok(())
    }

    fn prompt(&self, tokenizer: Option<&Tokenizer>) -> anyhow::Result<Vec<u32>> {
        if let Some(tokens) = &self.prompt_tokens {
            return Ok(tokens.clone());
        }
        let Some(tokenizer) = tokenizer else {
            bail!("the model has no tokenizer: give the prompt as --prompt-tokens 1,2,3");
        };
        // A text begins where another one ends.
        let mut tokens: Vec<u32> = tokenizer.end_of_text().into_iter().collect();
        if let Some(text) = &self.prompt {
            tokens.extend(tokenizer.encode(text)?);
        }
        if tokens.is_empty() {
            bail!("the prompt is empty, and the tokenizer has no end of text to begin after");
        }
        Ok(tokens)
    }
}

/// Text as it comes; token ids where there is no tokenizer.
struct Output<'a> {
    stream: Option<text::tokenizer::TextStream<'a>>,
    silent: bool,
    text: String,
}

impl<'a> Output<'a> {
    fn new(tokenizer: Option<&'a Tokenizer>, silent: bool) -> Output<'a> {
        Output { stream: tokenizer.map(Tokenizer::stream), silent, text: String::new() }
    }

    fn text(&mut self, text: &str) -> std::io::Result<()> {
        if !self.silent {
            let mut out = std::io::stdout();
            out.write_all(text.as_bytes())?;
            out.flush()?;
        }
        Ok(())
    }

    fn token(&mut self, token: u32) -> anyhow::Result<()> {
        let piece = match &mut self.stream {
            Some(stream) => stream.push(token)?,
            None => format!("{token} "),
        };
        self.text.push_str(&piece);
        Ok(self.text(&piece)?)
    }

    /// What is left, and all that the model has written.
    fn finish(mut self) -> anyhow::Result<String> {
        let rest = self.stream.as_mut().map(|s| s.finish()).transpose()?.unwrap_or_default();
        self.text.push_str(&rest);
        self.text(&rest)?;
        self.text("\n")?;
        Ok(self.text)
    }
}
