//! `anemone data info`.

use super::prepare::per_token;
use super::progress::Progress;
use super::{bytes, counted, grouped, lengths_json, lengths_line, part_json, part_line};
use anyhow::Context;
use clap::Args;
use corpus::{Inspected, Recount, Width};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use text::Tokenizer;

/// Say what is in a folder of tokens, and check every byte of it.
///
/// Also reads a single file of raw tokens (.bin, .u16, .u32), of which it can only say what is
/// there.
#[derive(Debug, Args)]
pub struct Info {
    /// A folder that `anemone data prepare` has written, or a file of raw tokens
    #[arg(value_name = "DIR|FILE")]
    path: PathBuf,
    /// How many of the most frequent tokens to show
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    top: u32,
    /// Bits of a token in a .bin file
    #[arg(long, value_name = "BITS", default_value = "16", value_parser = ["16", "32"])]
    token_width: String,
    /// The tokenizer of a file, to show its tokens as text and to know where documents end
    #[arg(long, value_name = "FILE|DIR")]
    tokenizer: Option<PathBuf>,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

impl Info {
    /// Reads, checks and prints.
    pub fn run(self) -> anyhow::Result<()> {
        if self.path.is_dir() { self.folder() } else { self.file() }
    }

    fn folder(&self) -> anyhow::Result<()> {
        let Inspected { index, train, validation } =
            self.counted(0, |each| corpus::inspect(&self.path, each))?;
        let tokenizer = match (&self.tokenizer, &index.tokenizer) {
            (Some(path), _) => Some(Tokenizer::load(path)?),
            (None, Some(file)) => Some(Tokenizer::load(&self.path.join(&file.file))?),
            (None, None) => None,
        };
        let mut out = std::io::stdout().lock();
        if self.json {
            let used = |recount: &Recount| recount.used();
            let summary = json!({
                "path": self.path,
                "token_bytes": index.token_bytes,
                "vocabulary": index.vocabulary,
                "end_of_text": index.end_of_text,
                "seed": index.seed,
                "read": index.read,
                "train": part_json(&index.train),
                "validation": part_json(&index.validation),
                "used": { "train": used(&train), "validation": used(&validation) },
                "most_frequent": self.frequent_json(&train, tokenizer.as_ref()),
                "checked": true,
            });
            writeln!(out, "{summary}")?;
            return Ok(());
        }
        let read = index.read;
        let files = counted(read.files, "file");
        writeln!(out, "made from  {files}, {}", bytes(read.bytes))?;
        for (path, size) in index.sources.iter().take(SOURCES) {
            writeln!(out, "           {path}, {}", bytes(*size))?;
        }
        if read.files > SOURCES as u64 {
            writeln!(out, "           and {} more", grouped(read.files - SOURCES as u64))?;
        }
        let documents = counted(read.counts.documents, "document");
        writeln!(out, "documents  {documents}, {} of them duplicates", grouped(read.duplicates))?;
        writeln!(out, "{}", part_line("train", &index.train))?;
        writeln!(out, "{}", part_line("validation", &index.validation))?;
        writeln!(out, "{}", lengths_line(&index.train.lengths))?;
        let width = index.token_bytes.bytes();
        writeln!(out, "tokens     {}, {width} bytes each", per_token(&index))?;
        let (used, vocabulary) = (train.used() as u64, u64::from(index.vocabulary));
        let (used, vocabulary) = (grouped(used), grouped(vocabulary));
        writeln!(out, "vocabulary {used} of {vocabulary} tokens are used to train on")?;
        self.frequent(&mut out, &train, tokenizer.as_ref())?;
        let shards = index.train.shards.len() + index.validation.shards.len();
        let shards = counted(shards as u64, "file");
        writeln!(out, "checked    {shards} of tokens: sizes, checksums and ranges are right")?;
        Ok(())
    }

    fn file(&self) -> anyhow::Result<()> {
        let ending = self.path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let width = match (ending, &*self.token_width) {
            ("u32", _) | ("bin", "32") => Width::Four,
            ("u16" | "bin", _) => Width::Two,
            _ => anyhow::bail!(
                "`{}`: expected a folder of tokens, or a file that ends in .bin, .u16 or .u32",
                self.path.display()
            ),
        };
        let tokenizer = self.tokenizer.as_deref().map(Tokenizer::load).transpose()?;
        let size = std::fs::metadata(&self.path)
            .with_context(|| format!("cannot read `{}`", self.path.display()))?
            .len();
        let end = tokenizer.as_ref().and_then(Tokenizer::end_of_text);
        let recount =
            self.counted(size, |each| corpus::inspect_file(&self.path, width, end, each))?;
        let largest = recount.counts.iter().rposition(|&count| count > 0);
        let mut out = std::io::stdout().lock();
        if self.json {
            let summary = json!({
                "path": self.path,
                "token_bytes": width,
                "tokens": recount.tokens,
                "largest": largest,
                "used": recount.used(),
                "documents": end.map(|_| recount.ends),
                "lengths": end.map(|_| lengths_json(&recount.lengths)),
                "most_frequent": self.frequent_json(&recount, tokenizer.as_ref()),
            });
            writeln!(out, "{summary}")?;
            return Ok(());
        }
        let tokens = counted(recount.tokens, "token");
        writeln!(out, "file       {tokens} of {} bytes", width.bytes())?;
        let used = grouped(recount.used() as u64);
        if let Some(largest) = largest {
            writeln!(out, "vocabulary {used} different tokens, the largest is {largest}")?;
        }
        if end.is_some() {
            writeln!(out, "documents  {}", grouped(recount.ends))?;
            writeln!(out, "{}", lengths_line(&recount.lengths))?;
        }
        self.frequent(&mut out, &recount, tokenizer.as_ref())
    }

    /// Reads with a bar.
    fn counted<T>(
        &self,
        size: u64,
        read: impl FnOnce(&mut dyn FnMut(u64, u64)) -> Result<T, corpus::Error>,
    ) -> anyhow::Result<T> {
        let mut progress: Option<Progress> = None;
        let result = read(&mut |done, all| {
            let quiet = self.json || !is_long(all.max(size));
            progress.get_or_insert_with(|| Progress::new(quiet, all)).reading(done, "");
        });
        if let Some(progress) = progress {
            progress.end();
        }
        Ok(result?)
    }

    fn frequent(
        &self,
        out: &mut impl Write,
        recount: &Recount,
        tokenizer: Option<&Tokenizer>,
    ) -> anyhow::Result<()> {
        for (place, (id, count)) in recount.most_frequent(self.top as usize).into_iter().enumerate()
        {
            let head = if place == 0 { "frequent" } else { "" };
            let share = 100.0 * count as f64 / recount.tokens.max(1) as f64;
            let text = text(tokenizer, id).map_or(String::new(), |text| format!("  {text:?}"));
            writeln!(out, "{head:<10} {share:>5.2} %  {:>13}  {id:>6}{text}", grouped(count))?;
        }
        Ok(())
    }

    fn frequent_json(&self, recount: &Recount, tokenizer: Option<&Tokenizer>) -> Vec<Value> {
        let tokens = recount.most_frequent(self.top as usize).into_iter();
        let json = |(id, count)| json!({"id": id, "count": count, "text": text(tokenizer, id)});
        tokens.map(json).collect()
    }
}

/// Sources that are shown.
const SOURCES: usize = 5;

/// Whether reading takes long enough to tell how far it is.
fn is_long(bytes: u64) -> bool {
    bytes > 1 << 28
}

/// The text of a token; a special one has none.
fn text(tokenizer: Option<&Tokenizer>, id: u32) -> Option<String> {
    let tokenizer = tokenizer?;
    if tokenizer.end_of_text() == Some(id) {
        return Some("(end of text)".to_owned());
    }
    tokenizer.decode(&[id]).ok()
}
