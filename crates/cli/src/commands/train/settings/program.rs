//! The settings of a run that trains a program, which share their flags with those of a language
//! model.

use super::{Descent, Flags, set};
use crate::commands::train::program::{LossName, ProgramFlags};
use crate::device::Kind;
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// All settings of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // Named after the flags.
pub struct ProgramSettings {
    pub program: PathBuf,
    pub function: Option<String>,
    pub target_output: Option<String>,
    pub loss: Option<LossName>,
    pub trainable: Option<String>,
    pub data: PathBuf,
    /// Whether pictures are scaled to the size that the model takes.
    #[serde(default)]
    pub resize: bool,
    /// Passes over the data, where no number of steps is asked for.
    pub epochs: Option<f64>,
    #[serde(flatten)]
    pub descent: Descent,
    pub val_part: f64,
    pub early_stop: u64,
}

/// Passes over the data if neither they nor steps are asked for.
const EPOCHS: f64 = 3.0;

impl ProgramSettings {
    /// The settings that flags and, for a resumed run, those stored with it give. How long the run
    /// is follows with [`ProgramSettings::measure`].
    pub fn resolve(
        flags: &Flags,
        program: &ProgramFlags,
        stored: Option<ProgramSettings>,
    ) -> anyhow::Result<ProgramSettings> {
        let device = flags.device.as_deref().unwrap_or("cpu");
        if Kind::parse(device)? != Kind::Cpu {
            bail!(
                "programs are trained in fp32, which the device {device} leaves to its host: use \
                 --device cpu"
            );
        }
        if let (Some(stored), Some(other)) = (&stored, &program.program)
            && stored.program != *other
        {
            let stored = stored.program.display();
            bail!("the run in --out trains `{stored}`, not `{}`", other.display());
        }
        let mut s = match stored {
            Some(stored) => stored,
            None => ProgramSettings::new(
                program.program.clone().context("--program is missing")?,
                flags.data.clone().context(
                    "--program needs --data: a .npz or .safetensors file with an array for every \
                     input, and `target`; or a folder of pictures",
                )?,
            ),
        };
        let (f, p) = (flags, program);
        set(&mut s.function, p.function.clone().map(Some));
        set(&mut s.target_output, p.target_output.clone().map(Some));
        set(&mut s.loss, p.loss.map(Some));
        set(&mut s.trainable, p.trainable.clone().map(Some));
        set(&mut s.data, f.data.clone());
        set(&mut s.resize, p.resize);
        s.descent.take(&f.descent);
        set(&mut s.epochs, f.tuning.epochs.map(Some));
        set(&mut s.val_part, f.tuning.val_part);
        set(&mut s.early_stop, f.tuning.early_stop);
        if f.descent.steps.is_some() {
            s.epochs = None;
        }
        Ok(s)
    }

    fn new(program: PathBuf, data: PathBuf) -> ProgramSettings {
        ProgramSettings {
            program,
            function: None,
            target_output: None,
            loss: None,
            trainable: None,
            data,
            resize: false,
            epochs: Some(EPOCHS),
            descent: Descent { batch: 16, weight_decay: 0.0, ..Descent::default() },
            val_part: 0.05,
            early_stop: 0,
        }
    }

    /// Makes a run as long as its epochs over so many examples and, if it is a new one, all that
    /// follows its length unless flags say it.
    pub fn measure(&mut self, examples: usize, flags: &Flags, resumed: bool) {
        let mut steps = self.descent.steps;
        if let Some(epochs) = self.epochs {
            steps = (examples as f64 * epochs / self.descent.batch as f64).ceil() as u64;
        }
        match resumed {
            true => self.descent.steps = steps.max(1),
            false => self.descent.follow(steps.max(1), &flags.descent),
        }
    }
}
