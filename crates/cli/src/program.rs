//! Programs named on the command line.

use anyhow::{Context, bail};
use clap::Args;
use mil::{AtomicFile, Function, Program};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The program that a command is about.
#[derive(Debug, Args)]
pub struct ProgramArg {
    /// A `.mil` file, or a `.mlmodelc` folder, which holds one called `model.mil`
    #[arg(value_name = "PROGRAM")]
    pub program: PathBuf,
}

/// A program with where it came from.
pub struct Source {
    /// The program; it passes the verifier.
    pub program: Program,
    /// The folder that it is in: what `@model_path` stands for unless the user says otherwise.
    pub folder: PathBuf,
    /// The file that it was read from, for messages.
    pub name: String,
    /// The file's text, for messages that show it.
    pub text: String,
}

impl Source {
    /// The function with this name, or else `main`, or the only one.
    pub fn function(&self, name: Option<&str>) -> anyhow::Result<&Function> {
        let functions = &self.program.functions;
        let found = match (name, &functions[..]) {
            (Some(name), _) => self.program.function(name),
            (None, [only]) => Some(only),
            (None, _) => self.program.function("main"),
        };
        found.with_context(|| {
            let known: Vec<&str> = functions.iter().map(|f| f.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let hint = if name.is_none() { "; choose one with --function" } else { "" };
            format!("no function `{}`; the program has {known}{hint}", name.unwrap_or("main"))
        })
    }
}

/// Reads and verifies a program.
pub fn read(path: &Path) -> anyhow::Result<Source> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    if matches!(extension, "mlpackage" | "mlmodel") {
        bail!(
            "`{}`: reading .{extension} is not supported yet; give the program as text, a .mil \
             file or a compiled .mlmodelc folder",
            path.display()
        );
    }
    let metadata = fs::metadata(path).with_context(|| format!("`{}`", path.display()))?;
    let file = if !metadata.is_dir() {
        path.to_owned()
    } else if path.join("model.mil").is_file() {
        path.join("model.mil")
    } else {
        bail!("`{}` is a folder without a `model.mil`; expected a program", path.display());
    };
    let name = file.display().to_string();
    let bytes = fs::read(&file).with_context(|| format!("`{name}`"))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow::anyhow!("`{name}` is not text: byte {at} is not UTF-8")
    })?;
    let program = mil::parse(&text).and_then(|p| mil::verify(&p).map(|()| p));
    let program = program.map_err(|problems| {
        let count = problems.0.len();
        let plural = if count == 1 { "" } else { "s" };
        let listed = problems.annotate(&text, &name);
        anyhow::anyhow!("`{name}` has {count} problem{plural}\n{}", listed.trim_end())
    })?;
    let folder = file.parent().map(Path::to_owned).unwrap_or_default();
    let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
    Ok(Source { program, folder, name, text })
}

/// Writes a program as text, to a file or to the terminal.
pub fn write(program: &Program, path: Option<&Path>) -> anyhow::Result<()> {
    let text = mil::print(program);
    let Some(path) = path else { return Ok(std::io::stdout().write_all(text.as_bytes())?) };
    let write = || {
        let mut file = AtomicFile::create(path)?;
        file.write_all(text.as_bytes())?;
        file.commit()
    };
    write().with_context(|| format!("cannot write `{}`", path.display()))
}
