//! Adapters in folders: those of the `peft` package, and those that runs of ours train.

use super::sidecars::{Sidecars, sidecars_in};
use crate::hub;
use anyhow::{Context, bail};
use checkpoints::formats::safetensors;
use generate::{Adapter, Weights};
use models::{Config, Lora};
use serde_json::Value;
use std::path::{Path, PathBuf};
use surface::Surface;
use train::checkpoint::Checkpoint;

const CONFIG: &str = "adapter_config.json";
const VALUES: &str = "adapter_model.safetensors";

/// The longest `adapter_config.json` that is read.
const LONGEST: u64 = 1 << 20;

/// A folder with an adapter.
pub struct AdapterFolder {
    folder: PathBuf,
    /// The adapter's shape.
    pub lora: Lora,
    /// The model that it was trained for: a folder or a name.
    base: Option<String>,
}

impl AdapterFolder {
    /// The folder of an adapter, or of a run or checkpoint of ours that holds one; nothing if it
    /// is something else.
    ///
    /// # Errors
    /// If the files are damaged, or the adapter is of a kind that is not offered.
    pub fn open(path: &Path) -> anyhow::Result<Option<AdapterFolder>> {
        let ours = train::checkpoint::resolve(path).ok();
        let folder = ours.clone().unwrap_or_else(|| path.to_owned());
        let config = folder.join(CONFIG);
        if !config.is_file() {
            return Ok(None);
        }
        if let Some(ours) = &ours {
            // Checks every file.
            Checkpoint::open(ours)?;
        }
        let size = std::fs::metadata(&config)?.len();
        if size > LONGEST {
            bail!(
                "`{}`: {size} bytes is more than any adapter's configuration has",
                config.display()
            );
        }
        let context = || format!("`{}`", config.display());
        let json: Value = serde_json::from_slice(&std::fs::read(&config)?).with_context(context)?;
        let lora = Lora::from_peft(&json).with_context(context)?;
        let base = json["base_model_name_or_path"].as_str().filter(|base| !base.is_empty());
        Ok(Some(AdapterFolder { folder, lora, base: base.map(str::to_owned) }))
    }

    /// The model at a path, and the adapter to put beside it: the one that is named, or, where the
    /// path is that of an adapter, this one with the model that it was trained for.
    pub fn with_model(
        path: &Path,
        named: Option<&Path>,
    ) -> anyhow::Result<(PathBuf, Option<AdapterFolder>)> {
        match (AdapterFolder::open(path)?, named) {
            (Some(_), Some(_)) => bail!(
                "`{}` is an adapter already: name its model, or leave out --adapter",
                path.display()
            ),
            (Some(own), None) => Ok((own.base_model()?, Some(own))),
            (None, Some(named)) => {
                let folder = AdapterFolder::must_open(&hub::resolve(named)?)?;
                Ok((path.to_owned(), Some(folder)))
            }
            (None, None) => Ok((path.to_owned(), None)),
        }
    }

    /// Opens the folder of an adapter, which it must be.
    pub fn must_open(path: &Path) -> anyhow::Result<AdapterFolder> {
        AdapterFolder::open(path)?
            .with_context(|| format!("`{}` has no adapter: there is no {CONFIG}", path.display()))
    }

    /// Where the model is that it was trained for.
    ///
    /// # Errors
    /// If it does not say, or the model is not there.
    fn base_model(&self) -> anyhow::Result<PathBuf> {
        let Some(base) = &self.base else {
            bail!(
                "`{}` is an adapter that does not say which model it is for: name the model, and \
                 give the adapter as --adapter",
                self.folder.display()
            );
        };
        let path = hub::resolve(Path::new(base))?;
        if !path.exists() {
            bail!(
                "the adapter in `{}` is for `{base}`, which is not there: name the model, and give \
                 the adapter as --adapter",
                self.folder.display()
            );
        }
        Ok(path)
    }

    /// The files beside its model, with those in the place of others that it has itself.
    pub fn sidecars(&self, of_model: Sidecars) -> anyhow::Result<Sidecars> {
        let mut all = sidecars_in(&self.folder)?;
        let others = of_model.into_iter().filter(|(name, _)| all.iter().all(|own| own.0 != *name));
        let others: Sidecars = others.collect();
        all.extend(others);
        Ok(all)
    }

    /// Reads the adapter's values.
    ///
    /// # Errors
    /// If the file is malformed, or does not hold exactly the adapter of such a model.
    pub fn read(&self, config: &Config) -> anyhow::Result<Adapter> {
        let path = self.folder.join(VALUES);
        let context = || format!("`{}`", path.display());
        let tensors = safetensors::open(&path)?;
        let parameters = self.lora.parameters(config).with_context(context)?;
        if let Some(extra) =
            tensors.iter().find(|info| parameters.iter().all(|known| known.name != info.name))
        {
            bail!("`{}`: the model has no place for `{}`", path.display(), extra.name);
        }
        let mut weights = Weights::new();
        for parameter in parameters {
            let info = tensors.get(&parameter.name).with_context(|| {
                format!("`{}`: `{}` is missing", path.display(), parameter.name)
            })?;
            if info.dims != parameter.dims {
                bail!(
                    "`{}`: `{}` is {}, but {:?} is needed: the adapter is of another model",
                    path.display(),
                    parameter.name,
                    info.describe(),
                    parameter.dims
                );
            }
            let surface = Surface::new(info.elements() * 4)?;
            tensors.read(info, 0, surface.write()?.as_mut_slice::<f32>())?;
            weights.insert(parameter.name, surface);
        }
        Ok(Adapter { lora: self.lora.clone(), weights })
    }
}
