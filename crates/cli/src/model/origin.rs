//! Models in files: runs of ours, and checkpoints of any other kind.

use anyhow::{Context, bail};
use checkpoints::{Encoding, Place, Source};
use generate::Weights;
use mil::DataType;
use models::{Config, Parameter};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use surface::{Surface, Writing};
use text::Tokenizer;
use train::checkpoint::{Checkpoint, SIDECARS};
use train::vocabulary::IdSet;

/// A model in files.
pub enum Origin {
    /// A run of ours, exactly as it is.
    Run(Box<Checkpoint>),
    /// A checkpoint of any other kind.
    Model(Box<Model>),
}

/// A checkpoint and the parameters of its model.
pub struct Model {
    source: Source,
    parameters: BTreeMap<String, Parameter>,
    threads: usize,
}

impl Origin {
    /// Opens a model; nothing is read yet but what it is.
    pub fn open(path: &Path, threads: usize) -> anyhow::Result<Origin> {
        let context = || format!("cannot read the model in `{}`", path.display());
        if train::checkpoint::resolve(path).is_ok() {
            let checkpoint = Checkpoint::open(path).with_context(context)?;
            if checkpoint.adapter().is_some() {
                bail!(
                    "`{}` holds an adapter and not a model: --resume goes on with it, and `anemone \
                     convert` merges it into its model",
                    path.display()
                );
            }
            return Ok(Origin::Run(Box::new(checkpoint)));
        }
        let source = Source::open(path).with_context(context)?;
        let parameters = models::parameters(source.config())?;
        let parameters = parameters.into_iter().map(|p| (p.name.clone(), p)).collect();
        Ok(Origin::Model(Box::new(Model { source, parameters, threads })))
    }

    /// The model's configuration.
    pub fn config(&self) -> anyhow::Result<Config> {
        match self {
            Origin::Run(checkpoint) => Ok(Config::from_hugging_face(checkpoint.config())?),
            Origin::Model(model) => Ok(*model.source.config()),
        }
    }

    /// A `config.json` for checkpoints of the run: what is there, but the type of the numbers, which
    /// are fp32, and the pairs that rotate, which are the usual ones.
    pub fn json(&self) -> Value {
        match self {
            Origin::Run(checkpoint) => checkpoint.config().clone(),
            Origin::Model(model) => {
                let mut json = model.source.config_json().clone();
                if let Some(keys) = json.as_object_mut() {
                    keys.remove("rope_style");
                    for key in ["torch_dtype", "dtype"] {
                        if keys.contains_key(key) {
                            keys.insert(key.to_owned(), "float32".into());
                        }
                    }
                }
                json
            }
        }
    }

    /// Its tokenizer, if it has one.
    pub fn tokenizer(&self) -> anyhow::Result<Option<Tokenizer>> {
        Ok(match self {
            Origin::Run(checkpoint) => checkpoint.tokenizer().map(Tokenizer::load).transpose()?,
            Origin::Model(model) => {
                let text = model.source.tokenizer()?;
                text.map(|text| Tokenizer::from_json(&text)).transpose()?
            }
        })
    }

    /// Files beside it that say how to use it.
    pub fn sidecars(&self) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        match self {
            Origin::Run(checkpoint) => sidecars_of(checkpoint),
            Origin::Model(model) => {
                let mut sidecars = model.source.sidecars()?;
                sidecars.retain(|(name, _)| SIDECARS.contains(&name.as_str()));
                Ok(sidecars)
            }
        }
    }

    /// The tokens whose rows have been trained, if not all have been.
    pub fn trained(&self) -> Option<IdSet> {
        match self {
            Origin::Run(checkpoint) => checkpoint.state().trained.clone(),
            Origin::Model(_) => None,
        }
    }

    /// The type of 16 bits that holds the matrices as they are in the files, if there is one.
    pub fn half_type(&self) -> Option<DataType> {
        match self {
            Origin::Run(_) => None,
            Origin::Model(model) => match model.source.half_type()? {
                Encoding::BF16 => Some(DataType::Bf16),
                Encoding::F16 => Some(DataType::Fp16),
                _ => None,
            },
        }
    }

    /// All parameters, matrices in the type `stored`, the others in fp32; `progress` is told how many
    /// more elements have been read.
    pub fn weights(
        &mut self,
        stored: DataType,
        progress: &(dyn Fn(usize) + Sync),
    ) -> anyhow::Result<Weights> {
        let parameters = models::parameters(&self.config()?)?;
        let type_of = |parameter: &Parameter| match parameter.dims.len() {
            2 => stored,
            _ => DataType::Fp32,
        };
        let mut surfaces = vec![];
        for parameter in &parameters {
            let count = parameter.dims.iter().product::<usize>();
            surfaces.push(Surface::new(count * type_of(parameter).bits() / 8)?);
        }
        let mut writing = surfaces.iter().map(Surface::write).collect::<Result<Vec<_>, _>>()?;
        match self {
            Origin::Run(checkpoint) => {
                let mut wide = vec![];
                for (parameter, out) in parameters.iter().zip(&mut writing) {
                    let dims = &parameter.dims;
                    let mut place = place(type_of(parameter), out);
                    place.fill(&mut wide, |out| {
                        checkpoint.read_parameter(&parameter.name, dims, out)
                    })?;
                    progress(place.len());
                }
            }
            Origin::Model(model) => {
                let targets = parameters.iter().zip(&mut writing);
                let targets = targets.map(|(parameter, out)| {
                    let place = place(type_of(parameter), out);
                    (parameter, place)
                });
                model.source.read_all(targets.collect(), model.threads, progress)?;
            }
        }
        drop(writing);
        Ok(parameters.into_iter().map(|parameter| parameter.name).zip(surfaces).collect())
    }

    /// What reads a parameter; `progress` is told how many more elements have been read.
    pub fn reader<'a>(
        &'a mut self,
        progress: &'a dyn Fn(usize),
    ) -> impl FnMut(&str, &[usize], &mut [f32]) -> Result<(), train::Error> + 'a {
        move |name, dims, out| {
            match self {
                Origin::Run(checkpoint) => checkpoint.read_parameter(name, dims, out)?,
                Origin::Model(model) => model.read(name, out)?,
            }
            progress(out.len());
            Ok(())
        }
    }
}

impl Model {
    fn read(&self, name: &str, out: &mut [f32]) -> Result<(), train::Error> {
        let parameter = &self.parameters[name];
        let targets = vec![(parameter, Place::Fp32(out))];
        self.source.read_all(targets, self.threads, &|_| ()).map_err(train::Error::origin)
    }
}

/// The place for elements of this type.
fn place(dtype: DataType, out: &mut Writing) -> Place<'_> {
    match dtype {
        DataType::Bf16 => Place::Bf16(out.as_mut_slice()),
        DataType::Fp16 => Place::Fp16(out.as_mut_slice()),
        _ => Place::Fp32(out.as_mut_slice()),
    }
}

/// Files beside a run's model that say how to use it.
pub fn sidecars_of(checkpoint: &Checkpoint) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let read = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok((name.into_owned(), std::fs::read(path)?))
    };
    checkpoint.sidecars().iter().map(read).collect()
}
