//! Programs between their forms.

use super::Convert;
use anyhow::{Context, bail};
use coreml::{Form, Model};
use serde_json::json;
use std::io::Write;
use std::path::Path;

/// Whether this is about a program and not about a checkpoint.
pub fn is_one(from: &Path, to: &Path) -> bool {
    Form::of(from).is_some() || Form::of(to).is_some()
}

/// Whether a checkpoint is to become a package.
pub fn is_package_of(from: &Path, to: &Path) -> bool {
    Form::of(from).is_none() && Form::of(to) == Some(Form::Package)
}

impl Convert {
    /// Reads a program and writes it.
    pub(super) fn program(self) -> anyhow::Result<()> {
        let Some(form) = Form::of(&self.to) else {
            bail!(
                "`{}`: a program can be written as .mlpackage, .mlmodel, .mlmodelc or .mil",
                self.to.display()
            );
        };
        if self.format.is_some() || self.dtype.is_some() || self.adapter.is_some() {
            bail!("--to, --dtype and --adapter are for checkpoints, this is a program");
        }
        let model = Model::read(&self.from).context("cannot read the program")?;
        anemone::Model::checked(model.clone())?;
        model.write(&self.to, form, self.force).context("cannot write the program")?;
        let mut out = std::io::stdout();
        let functions = model.program.functions.len();
        if self.json {
            let summary = json!({ "from": self.from, "to": self.to, "functions": functions });
            writeln!(out, "{summary}")?;
            return Ok(());
        }
        let plural = if functions == 1 { "" } else { "s" };
        writeln!(out, "wrote {}: {functions} function{plural}", self.to.display())?;
        Ok(())
    }
}
