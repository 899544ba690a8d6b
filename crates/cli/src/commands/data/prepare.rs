//! `anemone data prepare`.

use super::progress::Progress;
use super::{bytes, counted, grouped, lengths_line, part_json, part_line};
use anyhow::{Context, bail};
use clap::{ArgGroup, Args, ValueEnum};
use corpus::{Format, Found, Index, Job, Outcome, Reading, Selection, Settings, Split, Workplace};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use text::Tokenizer;

/// Make a folder of tokens from files of text.
///
/// Reads text (.txt, .md), JSON lines (.jsonl, .ndjson, .json; also with .gz behind) and Parquet,
/// from files and folders, leaves duplicates out, sets a part aside for validation, and writes
/// files of tokens with an index and the tokenizer, for `anemone train --data DIR`. Memory does
/// not grow with the data.
///
/// The folder is written as DIR.tmp and gets its name when it is whole. Ctrl-C, or an error in
/// the data, keeps what was done, and --resume goes on with it.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["tokenizer", "train_tokenizer"]))]
pub struct Prepare {
    /// Files and folders; folders are read with those in them, sorted by path
    #[arg(required = true, value_name = "PATH")]
    inputs: Vec<PathBuf>,
    /// The folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A tokenizer.json, or a folder of a model or run that has one
    #[arg(long, value_name = "FILE|DIR")]
    tokenizer: Option<PathBuf>,
    /// Train a tokenizer with this many tokens on a sample of the documents
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(257..=1 << 24))]
    train_tokenizer: Option<u32>,
    /// Size of that sample in MB, which is kept in memory
    #[arg(long, value_name = "MB", default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=4096))]
    tokenizer_sample: u64,
    /// The token that ends a document [default: the tokenizer's, if it has one by a usual name]
    #[arg(long, value_name = "TOKEN")]
    end_of_text: Option<String>,
    /// What the files are, whatever their names say
    #[arg(long, value_name = "FORMAT")]
    format: Option<Kind>,
    /// Endings of names to read in folders, such as rs,py; those not known otherwise are text
    #[arg(long, value_name = "ENDING", value_delimiter = ',')]
    ext: Vec<String>,
    /// What separates documents in text files: file (each is one), lines, blank-lines, or any
    /// text, in which \n is the end of a line
    #[arg(long, value_name = "HOW", default_value = "file")]
    split: String,
    /// Field of a JSON line, or column of a Parquet file, that holds the text
    #[arg(long, value_name = "NAME", default_value = "text")]
    field: String,
    /// Skip and count lines and rows without text, instead of stopping at the first
    #[arg(long)]
    skip_bad: bool,
    /// Replace bytes that are not UTF-8, instead of stopping at the first
    #[arg(long)]
    lossy: bool,
    /// A document of a text file that is longer is cut at a line, a longer JSON line is bad
    #[arg(long, value_name = "MB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=2048))]
    max_document: u64,
    /// Part of the documents that is set aside for validation
    #[arg(long, value_name = "X", default_value_t = 0.01, value_parser = fraction)]
    val: f64,
    /// Decides which documents are set aside, and which make the sample
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Leave out documents that were there before, byte for byte
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true")]
    dedup: bool,
    /// A file of tokens ends with the document that fills it
    #[arg(long, value_name = "TOKENS", default_value_t = 100_000_000, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    shard_tokens: u64,
    /// Go on with DIR.tmp if it is there
    #[arg(long)]
    resume: bool,
    /// Print a summary as JSON instead of showing progress
    #[arg(long)]
    json: bool,
    /// Threads that encode [default: as many as the machine runs at once]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// What files are.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Plain text
    Text,
    /// A JSON value on every line
    Jsonl,
    /// Columns of Parquet files
    Parquet,
}

fn fraction(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "expected a number from 0 to 1".to_owned())?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("expected 0 to 1".to_owned()) }
}

/// The tokenizer's file in the folder.
const TOKENIZER: &str = "tokenizer.json";

impl Prepare {
    /// Prepares, and says what came of it.
    pub fn run(self) -> anyhow::Result<()> {
        let selection =
            Selection { format: self.format.map(Kind::format), extensions: self.endings() };
        let reading = Reading {
            split: split(&self.split)?,
            field: self.field.clone(),
            skip_bad: self.skip_bad,
            lossy: self.lossy,
            max_document: (self.max_document as usize) << 20,
        };
        let found = corpus::find(&self.inputs, &selection)?;
        let workplace = Workplace::new(&self.out, &self.inputs, self.resume)?;
        let stop = crate::commands::train::stop_flag()?;
        let mut progress = Progress::new(self.json, found.bytes());
        let skipped = match found.skipped {
            0 => String::new(),
            n => format!("; {n} more skipped"),
        };
        let files = counted(found.files.len() as u64, "file");
        progress.note(&format!("reading    {files}, {}{skipped}", bytes(found.bytes())))?;
        let tokenizer = match self.tokenizer(&found, &reading, &workplace, &stop, &mut progress) {
            Ok(tokenizer) => tokenizer,
            Err(error) => {
                progress.end();
                workplace.abandon()?;
                return Err(error);
            }
        };
        let settings = self.settings(&tokenizer)?;
        let threads = self.threads.map(usize::from);
        let threads = threads.or_else(|| Some(std::thread::available_parallelism().ok()?.get()));
        let encode = |text: &str| tokenizer.encode(text).map_err(|error| error.to_string());
        let job = Job {
            found: &found,
            reading: &reading,
            settings: &settings,
            encode: &encode,
            threads: threads.unwrap_or(1),
            stop: &stop,
        };
        progress.restart();
        let kept = workplace.folder().to_owned();
        let outcome = corpus::prepare(&job, workplace, &mut |now| {
            progress.reading(now.bytes, &Progress::written(now.documents, now.tokens));
        });
        progress.end();
        let kept = || format!("what was done is in `{}`: --resume goes on with it", kept.display());
        match outcome.map_err(|error| explained(error, &kept()))? {
            Outcome::Done(index) => self.summary(&index, progress.seconds()),
            Outcome::Stopped(now) => {
                let (documents, tokens) = (grouped(now.documents), grouped(now.tokens));
                bail!("stopped after {documents} documents, {tokens} tokens; {}", kept())
            }
        }
    }

    fn endings(&self) -> Vec<String> {
        self.ext.iter().map(|ending| ending.trim_start_matches('.').to_owned()).collect()
    }

    fn settings(&self, tokenizer: &Tokenizer) -> anyhow::Result<Settings> {
        let end_of_text = match &self.end_of_text {
            Some(token) => tokenizer
                .token_id(token)
                .with_context(|| format!("--end-of-text: the tokenizer has no token `{token}`"))?,
            None => tokenizer.end_of_text().context(
                "the tokenizer has no token for the end of a text by a usual name: say which with \
                 --end-of-text",
            )?,
        };
        Ok(Settings {
            validation: self.val,
            seed: self.seed,
            dedup: self.dedup,
            shard_tokens: self.shard_tokens,
            vocabulary: u32::try_from(tokenizer.vocabulary())?,
            end_of_text,
            tokenizer: Some(TOKENIZER.to_owned()),
        })
    }

    /// The tokenizer, which lies in the workplace from then on.
    fn tokenizer(
        &self,
        found: &Found,
        reading: &Reading,
        workplace: &Workplace,
        stop: &AtomicBool,
        progress: &mut Progress,
    ) -> anyhow::Result<Tokenizer> {
        let path = workplace.folder().join(TOKENIZER);
        let earlier = path.exists().then(|| Tokenizer::load(&path)).transpose()?;
        let tokenizer = match (&self.tokenizer, self.train_tokenizer, earlier) {
            (Some(given), _, earlier) => {
                let tokenizer = load(given)?;
                if let Some(earlier) = earlier
                    && earlier.to_json()? != tokenizer.to_json()?
                {
                    bail!(
                        "`{}` was begun with another tokenizer than `{}`",
                        workplace.folder().display(),
                        given.display()
                    );
                }
                tokenizer
            }
            (None, _, Some(earlier)) => return Ok(earlier),
            (None, Some(vocabulary), None) => {
                self.train(vocabulary as usize, found, reading, stop, progress)?
            }
            (None, None, None) => bail!("--tokenizer or --train-tokenizer is needed"),
        };
        workplace.write(TOKENIZER, tokenizer.to_json()?.as_bytes())?;
        Ok(tokenizer)
    }

    fn train(
        &self,
        vocabulary: usize,
        found: &Found,
        reading: &Reading,
        stop: &AtomicBool,
        progress: &mut Progress,
    ) -> anyhow::Result<Tokenizer> {
        let wanted = self.tokenizer_sample << 20;
        let texts = corpus::sample(found, reading, wanted, self.seed, &mut |done| {
            progress.reading(done, ", looking for documents to train the tokenizer on");
            !stop.load(Ordering::Relaxed)
        })?;
        if stop.load(Ordering::Relaxed) {
            bail!("stopped before anything was written");
        }
        let size = texts.iter().map(|text| text.len() as u64).sum();
        if texts.is_empty() {
            bail!("no documents to train a tokenizer on");
        }
        progress.note(&format!(
            "tokenizer  training on {}, {}",
            counted(texts.len() as u64, "document"),
            bytes(size)
        ))?;
        let lines = texts.iter().flat_map(|text| text.split_inclusive('\n'));
        let tokenizer = Tokenizer::train(lines, vocabulary)?;
        let found = tokenizer.vocabulary();
        if found < vocabulary {
            progress.note(&format!(
                "tokenizer  has {} tokens: the text has no more pairs that repeat",
                grouped(found as u64)
            ))?;
        }
        Ok(tokenizer)
    }

    fn summary(&self, index: &Index, seconds: f64) -> anyhow::Result<()> {
        use std::io::Write;
        let mut out = std::io::stdout().lock();
        let read = index.read;
        let rate = read.bytes as f64 / 1e6 / seconds.max(1e-9);
        if self.json {
            let summary = json!({
                "out": self.out,
                "token_bytes": index.token_bytes,
                "vocabulary": index.vocabulary,
                "end_of_text": index.end_of_text,
                "read": read,
                "train": part_json(&index.train),
                "validation": part_json(&index.validation),
                "seconds": seconds,
                "mb_per_s": rate,
            });
            writeln!(out, "{summary}")?;
            return Ok(());
        }
        let counts = read.counts;
        let mut fates = vec![];
        for (number, fate) in [
            (read.duplicates, "duplicates left out"),
            (counts.empty, "empty"),
            (counts.bad, "bad and skipped"),
            (counts.repaired, "repaired"),
            (counts.cut, "cuts in long ones"),
        ] {
            if number > 0 {
                fates.push(format!(", {} {fate}", grouped(number)));
            }
        }
        let documents = counted(counts.documents, "document");
        writeln!(out, "read       {documents}{}", fates.concat())?;
        writeln!(out, "{}", part_line("train", &index.train))?;
        writeln!(out, "{}", part_line("validation", &index.validation))?;
        if self.val > 0.0 && index.validation.documents == 0 {
            writeln!(out, "           --val {} of so few documents is none", self.val)?;
        }
        writeln!(out, "{}", lengths_line(&index.train.lengths))?;
        let inside = index.train.ends_inside + index.validation.ends_inside;
        if inside > 0 {
            writeln!(
                out,
                "note       within documents the end-of-text token is written out {}, and became \
                 that token",
                if inside == 1 { "once".to_owned() } else { format!("{} times", grouped(inside)) }
            )?;
        }
        let per_token = per_token(index);
        writeln!(out, "tokens     {per_token}, {} bytes each", index.token_bytes.bytes())?;
        writeln!(out, "took       {seconds:.1} s, {rate:.1} MB/s")?;
        writeln!(out, "saved      {}", self.out.display())?;
        Ok(())
    }
}

/// An error, with how to go on if that is possible.
fn explained(error: corpus::Error, kept: &str) -> anyhow::Error {
    use corpus::Error::{NoDocuments, Resume};
    match error {
        // Nothing is left, or the message says what to do.
        NoDocuments { .. } | Resume { .. } => error.into(),
        error => anyhow::anyhow!("{error}; {kept}"),
    }
}

/// How much text a token stands for.
pub(super) fn per_token(index: &Index) -> String {
    // Ends of text stand for none.
    let of = |part: &corpus::Part| part.tokens.saturating_sub(part.documents);
    let tokens = of(&index.train) + of(&index.validation);
    let bytes = index.train.text_bytes + index.validation.text_bytes;
    format!("{:.2} bytes of text in one", bytes as f64 / tokens.max(1) as f64)
}

impl Kind {
    fn format(self) -> Format {
        match self {
            Kind::Text => Format::Text,
            Kind::Jsonl => Format::Jsonl,
            Kind::Parquet => Format::Parquet,
        }
    }
}

/// What --split says.
fn split(text: &str) -> anyhow::Result<Split> {
    Ok(match text {
        "" => bail!("--split: the text between documents cannot be empty"),
        "file" => Split::Whole,
        "lines" => Split::Lines,
        "blank-lines" => Split::BlankLines,
        separator => Split::Separator(
            separator.replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t"),
        ),
    })
}

/// A tokenizer of a file, of a model's folder or of a run.
fn load(path: &Path) -> anyhow::Result<Tokenizer> {
    let own = path.join(TOKENIZER);
    if !own.exists() {
        let run = train::checkpoint::resolve(path).ok().map(|folder| folder.join(TOKENIZER));
        if let Some(tokenizer) = run.filter(|tokenizer| tokenizer.exists()) {
            return Ok(Tokenizer::load(&tokenizer)?);
        }
    }
    Ok(Tokenizer::load(path)?)
}

#[cfg(test)]
mod tests {
    use super::{Split, split};

    #[test]
    fn separators_are_words_or_text() {
        assert_eq!(split("lines").unwrap(), Split::Lines);
        assert_eq!(split("\\n---\\n").unwrap(), Split::Separator("\n---\n".into()));
        assert_eq!(split("<|end|>").unwrap(), Split::Separator("<|end|>".into()));
        assert!(split("").is_err());
    }
}
