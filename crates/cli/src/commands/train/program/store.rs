//! The folder of a run: packages, and what it needs to go on.

use super::super::settings::{self, ProgramSettings};
use crate::arrays::{self, Tensors};
use anyhow::Context;
use coreml::{Form, Model};
use mil::{AtomicFile, DataType, Tensor};
use passes::trainable;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use train::fit::{Fit, Progress};

/// The name of the counters among the saved tensors: no constant can be called so.
const PROGRESS: &str = "/progress";

/// A run's folder.
pub struct Store<'a> {
    folder: &'a Path,
}

impl<'a> Store<'a> {
    /// The folder, which need not be there.
    pub fn new(folder: &'a Path) -> Store<'a> {
        Store { folder }
    }

    /// The package as training left it.
    pub fn last(&self) -> PathBuf {
        self.folder.join("last.mlpackage")
    }

    /// The package with the least loss in validation.
    pub fn best(&self) -> PathBuf {
        self.folder.join("best.mlpackage")
    }

    fn file(&self) -> PathBuf {
        self.folder.join("program.json")
    }

    fn state(&self) -> PathBuf {
        self.folder.join("state.safetensors")
    }

    /// Whether there is a run.
    pub fn exists(&self) -> bool {
        self.file().is_file()
    }

    /// The settings of the run that is there.
    pub fn settings(&self) -> anyhow::Result<ProgramSettings> {
        let file = self.file();
        let read = || settings::read(&serde_json::from_slice(&fs::read(&file)?)?);
        read().with_context(|| format!("cannot resume: `{}`", file.display()))
    }

    /// Writes the settings.
    pub fn begin(&self, settings: &ProgramSettings) -> anyhow::Result<()> {
        let file = self.file();
        let write = || {
            let mut out = AtomicFile::create(&file)?;
            out.write_all(&serde_json::to_vec_pretty(settings)?)?;
            Ok::<_, anyhow::Error>(out.commit()?)
        };
        write().with_context(|| format!("cannot write `{}`", file.display()))
    }

    /// Writes a package with the parameters as they are now, and, unless it is the `best`, what the
    /// run needs to go on. Each is complete under its name or not there.
    pub fn save(&self, model: &Model, function: &str, fit: &Fit, best: bool) -> anyhow::Result<()> {
        let mut trained = model.clone();
        let function = trained.program.functions.iter_mut().find(|f| f.name == function);
        let function = function.context("the function is one of the model's")?;
        trainable::put_back(function, &fit.values()?.into_iter().collect())?;
        let path = if best { self.best() } else { self.last() };
        trained.write(&path, Form::Package, true)?;
        if best {
            return Ok(());
        }
        let Progress { step, updates, best } = fit.progress();
        let (at, loss) = best.unwrap_or((0, f64::NAN));
        let counters = [step as f64, updates as f64, at as f64, loss];
        let mut state: Tensors = fit.state()?.into_iter().collect();
        state.insert(PROGRESS.to_owned(), Tensor::from_f64s(DataType::Fp64, &[4], &counters)?);
        arrays::write(&self.state(), &state)
    }

    /// Goes on from what was saved last; from the beginning if nothing was.
    pub fn restore(&self, fit: &mut Fit) -> anyhow::Result<()> {
        let file = self.state();
        if !file.is_file() {
            return Ok(());
        }
        let mut state = arrays::read(&file)?;
        let counters = state.remove(PROGRESS).map(|t| t.to_f64s()).unwrap_or_default();
        let &[step, updates, at, loss] = &counters[..] else {
            anyhow::bail!("`{}` is not of a run that trains a program", file.display());
        };
        let best = loss.is_finite().then_some((at as u64, loss));
        let progress = Progress { step: step as u64, updates: updates as u64, best };
        fit.restore(progress, |name| state.remove(name))
            .with_context(|| format!("cannot resume from `{}`", file.display()))
    }
}
