//! `anemone convert`.

mod merge;
mod package;
mod programs;

use crate::hub;
use anyhow::{Context, bail};
use checkpoints::{Encoding, SHARD, Saved, Source, Target, convert};
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
/// A checkpoint becomes a package, .mlpackage, of two functions for Core ML: `prefill` reads some
/// tokens at once, `decode` one, with keys and values in states (iOS 18, macOS 15).
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
    /// Element type of matrices: fp32; fp16 and bf16 for hf and gguf; q8_0 for gguf and llama2c; fp16
    /// and int8 for mlpackage [default: as in FROM, if the format has it; fp16 for mlpackage]
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
    /// Of a checkpoint to a package: tokens whose keys and values are kept [default: 2048, or what the
    /// model takes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    context: Option<u32>,
    /// Of a checkpoint to a package: tokens that its function `prefill` reads at once [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    prefill: Option<u32>,
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
    Int8,
}

impl Convert {
    /// Converts.
    pub fn run(self) -> anyhow::Result<()> {
        if self.shard_bytes == 0 {
            bail!("--shard-bytes must be at least 1");
        }
        if programs::is_one(&self.from, &self.to) && !programs::is_package_of(&self.from, &self.to)
        {
            return self.program();
        }
        let from = hub::resolve(&self.from)?;
        let from = match Merge::open(&from, self.adapter.as_deref())? {
            Some(merge) => Given::Merge(Box::new(merge)),
            None => {
                let from = train::checkpoint::resolve(&from).unwrap_or(from);
                Given::Source(Box::new(Source::open(&from).context("cannot read the checkpoint")?))
            }
        };
        if programs::is_package_of(&self.from, &self.to) {
            return self.package(from);
        }
        let format = self.format.unwrap_or_else(|| of_path(&self.to));
        let encoding = match self.dtype {
            Some(Type::Int8) => {
                bail!("--dtype int8 is for packages (.mlpackage); others have q8_0")
            }
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
        let bar = self.bar(count)?;
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
        self.report(&Written {
            model_type,
            parameters: count,
            dtype: encoding.to_string(),
            saved,
            seconds,
        })
    }

    /// Writes a checkpoint as a package.
    fn package(&self, from: Given) -> anyhow::Result<()> {
        let Given::Source(source) = from else {
            bail!("an adapter is merged first: convert to a directory, and that to a package");
        };
        let config = source.config();
        let bytes = match self.dtype {
            None | Some(Type::Fp16) => false,
            Some(Type::Int8) => true,
            Some(_) => bail!("the weights of a package are fp16 or int8"),
        };
        let context = self.context.map_or(2048.min(config.max_seq), |n| n as usize);
        let prefill = self.prefill.map_or(64.min(context), |n| n as usize);
        let count = config.parameter_count()?;
        let bar = self.bar(count)?;
        let start = Instant::now();
        let packaging = package::Packaging { context, prefill, bytes };
        let progress = |read| bar.inc(read as u64);
        let written = package::write(&source, &self.to, &packaging, self.force, &progress)
            .with_context(|| format!("cannot convert `{}`", self.from.display()))?;
        bar.finish_and_clear();
        let saved = Saved {
            bytes: written,
            left_out: vec!["the tokenizer, for which packages have no place".to_owned()],
        };
        self.report(&Written {
            model_type: source.config_json()["model_type"].clone(),
            parameters: count,
            dtype: if bytes { "int8" } else { "fp16" }.to_owned(),
            saved,
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    fn bar(&self, parameters: usize) -> anyhow::Result<ProgressBar> {
        let bar = match std::io::stderr().is_terminal() && !self.json {
            true => ProgressBar::new(parameters as u64),
            false => ProgressBar::hidden(),
        };
        let style = "{bar:32} {percent}% of the parameters, {eta} left";
        bar.set_style(ProgressStyle::with_template(style)?);
        Ok(bar)
    }

    fn report(&self, written: &Written) -> anyhow::Result<()> {
        let Written { model_type, parameters, dtype, saved, seconds } = written;
        let mut out = std::io::stdout();
        if self.json {
            let summary = json!({
                "from": self.from,
                "to": self.to,
                "model_type": model_type,
                "parameters": parameters,
                "dtype": dtype,
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
            "wrote {}: {parameters} parameters as {dtype}, {:.1} MB in {seconds:.1} s",
            self.to.display(),
            saved.bytes as f64 / 1e6,
        )?;
        Ok(())
    }
}

/// What has been written.
struct Written {
    model_type: Value,
    parameters: usize,
    dtype: String,
    saved: Saved,
    seconds: f64,
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
