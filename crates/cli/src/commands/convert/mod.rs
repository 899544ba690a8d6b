//! `anemone convert`.

mod merge;
mod programs;

use crate::hub;
use anyhow::{Context, bail};
use checkpoints::{Encoding, SHARD, Source, Target, convert};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use merge::Merge;
use models::Config;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Write a model's checkpoint, or a program, in another format.
///
/// A program is a model of Core ML or a text: .mlpackage, .mlmodel, .mlmodelc and .mil are written
/// from one another, by the name of TO. Weights are copied from file to file; those of a .mil or
/// .mlmodel are in a file beside it, with .weights.bin behind its name.
///
/// Of a checkpoint, reads a directory of Hugging Face, a run of `anemone train`, a .safetensors file beside its
/// config.json, a GGUF file, a .bin file of llama2.c (with the tokenizer.bin beside it), or a BLZT
/// checkpoint. Writes any of these, with its tokenizer where the format has a place for one. The
/// model passes through in parts, so memory does not limit its size; nothing is there under its
/// name before it is complete.
#[derive(Debug, Args)]
pub struct Convert {
    /// The checkpoint to read: a path, or a name on the hub (`owner/name`); or the program
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// The file or directory to write
    #[arg(value_name = "TO")]
    to: PathBuf,
    /// Format to write [default: gguf for TO ending in .gguf, llama2c for .bin, otherwise hf]
    #[arg(long = "to", value_name = "FORMAT", value_enum)]
    format: Option<Format>,
    /// Element type of matrices: fp32; fp16 and bf16 for hf and gguf; q8_0 for gguf and llama2c
    /// [default: as in FROM, if the format has it]
    #[arg(long, value_name = "TYPE", value_enum)]
    dtype: Option<Type>,
    /// Folder of a low-rank adapter to add to the weights, as `anemone train --lora` or the peft
    /// package saves it; if FROM is such a folder, its model is found by itself
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Replace a file that is there already; directories never are, but for those of programs
    #[arg(long)]
    force: bool,
    /// The most bytes of one file of weights in a Hugging Face directory
    #[arg(long, value_name = "BYTES", default_value_t = SHARD)]
    shard_bytes: u64,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A directory of Hugging Face
    Hf,
    /// A GGUF file, for llama.cpp
    Gguf,
    /// A .bin file of llama2.c: version 0, or version 2 with --dtype q8_0
    Llama2c,
    /// A BLZT checkpoint of version 4, with moments of 0
    Blzt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Type {
    Fp32,
    Fp16,
    Bf16,
    #[value(name = "q8_0")]
    Q8,
}

impl Convert {
    /// Converts.
    pub fn run(self) -> anyhow::Result<()> {
        if self.shard_bytes == 0 {
            bail!("--shard-bytes must be at least 1");
        }
        if programs::is_one(&self.from, &self.to) {
            return self.program();
        }
        let from = hub::resolve(&self.from)?;
        let from = match Merge::open(&from, self.adapter.as_deref())? {
            Some(merge) => Given::Merge(Box::new(merge)),
            None => {
                Given::Source(Box::new(Source::open(&from).context("cannot read the checkpoint")?))
            }
        };
        let format = self.format.unwrap_or_else(|| of_path(&self.to));
        let encoding = match self.dtype {
            Some(Type::Fp32) => Encoding::F32,
            Some(Type::Fp16) => Encoding::F16,
            Some(Type::Bf16) => Encoding::BF16,
            Some(Type::Q8) => Encoding::Q8_0,
            None => from.usual(format)?,
        };
        let target = match format {
            Format::Hf => Target::HuggingFace { shard: self.shard_bytes },
            Format::Gguf => Target::Gguf,
            Format::Llama2c => Target::Llama2c(if encoding == Encoding::Q8_0 { 2 } else { 0 }),
            Format::Blzt => Target::Blzt,
        };
        let count = from.config().parameter_count()?;
        let model_type = from.json()["model_type"].clone();
        let bar = match std::io::stderr().is_terminal() && !self.json {
            true => ProgressBar::new(count as u64),
            false => ProgressBar::hidden(),
        };
        let style = "{bar:32} {percent}% of the parameters, {eta} left";
        bar.set_style(ProgressStyle::with_template(style)?);
        let start = Instant::now();
        let progress = |read| bar.inc(read as u64);
        let saved = match from {
            Given::Merge(merge) => merge.save(target, &self.to, encoding, self.force, &progress)?,
            Given::Source(source) => {
                convert(&source, target, &self.to, encoding, self.force, &progress)
                    .context("cannot convert")?
            }
        };
        let seconds = start.elapsed().as_secs_f64();
        bar.finish_and_clear();

        let mut out = std::io::stdout();
        if self.json {
            let summary = json!({
                "from": self.from,
                "to": self.to,
                "model_type": model_type,
                "parameters": count,
                "dtype": encoding.to_string(),
                "bytes": saved.bytes,
                "seconds": seconds,
                "left_out": saved.left_out,
            });
            writeln!(out, "{summary}")?;
            return Ok(());
        }
        for what in &saved.left_out {
            writeln!(std::io::stderr(), "anemone: note: left out {what}")?;
        }
        writeln!(
            out,
            "wrote {}: {count} parameters as {encoding}, {:.1} MB in {seconds:.1} s",
            self.to.display(),
            saved.bytes as f64 / 1e6,
        )?;
        Ok(())
    }
}

/// The format that a path's name asks for.
fn of_path(path: &Path) -> Format {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gguf") => Format::Gguf,
        Some("bin") => Format::Llama2c,
        _ => Format::Hf,
    }
}

/// What is read.
enum Given {
    Source(Box<Source>),
    Merge(Box<Merge>),
}

impl Given {
    fn config(&self) -> &Config {
        match self {
            Given::Source(source) => source.config(),
            Given::Merge(merge) => merge.config(),
        }
    }

    fn json(&self) -> &Value {
        match self {
            Given::Source(source) => source.config_json(),
            Given::Merge(merge) => merge.json(),
        }
    }

    /// The encoding that is nearest to the one that a matrix has in the file; what was merged is
    /// in fp32.
    fn usual(&self, format: Format) -> anyhow::Result<Encoding> {
        let Given::Source(source) = self else { return Ok(Encoding::F32) };
        if matches!(format, Format::Llama2c | Format::Blzt) {
            return Ok(Encoding::F32);
        }
        let all = models::parameters(source.config())?;
        let matrix = all.iter().filter(|parameter| parameter.dims.len() > 1).nth(1);
        let stored = matrix.and_then(|parameter| source.stored(&parameter.name));
        Ok(match stored.map(|info| info.encoding) {
            Some(known @ (Encoding::F16 | Encoding::BF16)) => known,
            None | Some(Encoding::F32 | Encoding::F64) => Encoding::F32,
            // Of fewer bits.
            Some(_) if format == Format::Gguf => Encoding::Q8_0,
            Some(_) => Encoding::F16,
        })
    }
}
