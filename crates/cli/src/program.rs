//! Programs named on the command line.

use anyhow::Context;
use clap::Args;
use coreml::Interface;
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
    /// The model that it is of.
    pub model: anemone::Model,
    /// The program; it passes the verifier.
    pub program: Program,
    /// What users see of it.
    pub interface: Interface,
    /// The file that it was read from, for messages.
    pub name: String,
    /// The file's text, for messages that show it; empty if it is none.
    pub text: String,
}

impl Source {
    /// The function with this name, or else the one that the model says is meant, `main`, or the
    /// only one.
    pub fn function(&self, name: Option<&str>) -> anyhow::Result<&Function> {
        Ok(anemone::choose(&self.program, &self.interface, name)?)
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
    let model = anemone::Model::load(path)?;
    Ok(Source {
        program: model.program().clone(),
        interface: model.interface().clone(),
        name: model.file().display().to_string(),
        text: model.text().unwrap_or_default().to_owned(),
        model,
    })
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
