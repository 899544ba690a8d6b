//! Programs named on the command line.

use anyhow::{Context, bail};
use clap::Args;
use coreml::{Interface, Model};
use mil::{AtomicFile, Function, Program};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The program that a command is about.
#[derive(Debug, Args)]
pub struct ProgramArg {
    /// A model of Core ML (.mlpackage, .mlmodelc or .mlmodel) or a program as text (.mil)
    #[arg(value_name = "PROGRAM")]
    pub program: PathBuf,
}

/// A program with where it came from.
pub struct Source {
    /// The program; it passes the verifier.
    pub program: Program,
    /// What users see of it.
    pub interface: Interface,
    /// The folder that it is in: what `@model_path` stands for unless the user says otherwise.
    pub folder: PathBuf,
    /// The file that it was read from, for messages.
    pub name: String,
    /// The file's text, for messages that show it; empty if it is none.
    pub text: String,
}

impl Source {
    /// The function with this name, or else the one that the model says is meant, `main`, or the
    /// only one.
    pub fn function(&self, name: Option<&str>) -> anyhow::Result<&Function> {
        let functions = &self.program.functions;
        let name = name.or(self.interface.default_function.as_deref());
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

    /// The same with a text in any case, which says what the program says, and with places in it:
    /// what `anemone print` gives.
    pub fn with_text(mut self) -> Source {
        if self.text.is_empty() {
            let text = mil::print(&self.program);
            // What cannot be read back has no places.
            if let Ok(program) = mil::parse(&text) {
                (self.program, self.text) = (program, text);
            }
        }
        self
    }
}

/// Reads and verifies a program.
pub fn read(path: &Path) -> anyhow::Result<Source> {
    verified(&Model::read(path)?)
}

/// A model's program, if it is valid. Parameters that are in weight files come into the program.
pub fn verified(model: &Model) -> anyhow::Result<Source> {
    let mut program = model.program.clone();
    coreml::parameters_in_place(&mut program, &model.weights)?;
    let name = model.file.display().to_string();
    if let Err(problems) = mil::verify(&program) {
        let mut problems = problems;
        let mut text = model.text.clone();
        if text.is_none() {
            // Places are those in what the program would be as text.
            let printed = mil::print(&program);
            if let Err(placed) = mil::parse(&printed).and_then(|p| mil::verify(&p)) {
                problems = placed;
            }
            text = Some(printed);
        }
        let count = problems.0.len();
        let plural = if count == 1 { "" } else { "s" };
        let listed = problems.annotate(&text.unwrap_or_default(), &name);
        bail!("`{name}` has {count} problem{plural}\n{}", listed.trim_end());
    }
    let folder = model.file.parent().map(Path::to_owned).unwrap_or_default();
    let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
    let text = model.text.clone().unwrap_or_default();
    Ok(Source { program, interface: model.interface.clone(), folder, name, text })
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
