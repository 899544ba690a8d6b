//! An adapter added to the weights of its model.

use crate::model::{AdapterFolder, Origin, Sidecars};
use anyhow::Context;
use checkpoints::{Encoding, Model, Saved, Target, save};
use generate::Adapter;
use models::{Config, Matrix, Parameter, Role};
use serde_json::Value;
use std::path::Path;

/// An adapter and its model, both open.
pub struct Merge {
    origin: Origin,
    config: Config,
    json: Value,
    sidecars: Sidecars,
    adapter: Adapter,
}

impl Merge {
    /// An adapter beside a model; or, without one named, of the folder of an adapter, with the
    /// model that it was trained for. Nothing if neither is an adapter.
    pub fn open(from: &Path, adapter: Option<&Path>) -> anyhow::Result<Option<Merge>> {
        let (base, Some(folder)) = AdapterFolder::with_model(from, adapter)? else {
            return Ok(None);
        };
        let origin = Origin::open(&base, 1)?;
        let (config, json) = (origin.config()?, origin.json());
        let adapter = folder.read(&config)?;
        let sidecars = folder.sidecars(origin.sidecars()?)?;
        Ok(Some(Merge { origin, config, json, sidecars, adapter }))
    }

    /// The model's configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The model's `config.json`.
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// Saves the merged model; see [`checkpoints::save`]. `progress` is told the number of elements
    /// that have just been read.
    pub fn save(
        mut self,
        target: Target,
        to: &Path,
        encoding: Encoding,
        replace: bool,
        progress: &dyn Fn(usize),
    ) -> anyhow::Result<Saved> {
        let tokenizer =
            self.origin.tokenizer()?.map(|tokenizer| tokenizer.to_json()).transpose()?;
        let model = Model {
            config: &self.config,
            json: Some(&self.json),
            tokenizer: tokenizer.as_deref(),
            sidecars: &self.sidecars,
        };
        let updates = self.adapter.lora.parameters(&self.config)?;
        let (config, adapter) = (&self.config, &self.adapter);
        let mut read = self.origin.reader(progress);
        let mut merged = |parameter: &Parameter, whole: &mut Vec<f32>| -> anyhow::Result<()> {
            whole.resize(parameter.dims.iter().product(), 0.0);
            read(&parameter.name, &parameter.dims, whole)?;
            let matrix = |which| matrix(&updates, parameter, which);
            if let (Some(a), Some(b)) = (matrix(Matrix::A), matrix(Matrix::B)) {
                let (a, b) = (adapter.weights[a].read()?, adapter.weights[b].read()?);
                adapter.lora.merge(config, whole, a.as_slice(), b.as_slice());
            }
            Ok(())
        };
        let (mut whole, mut failure) = (vec![], None);
        let saved = save(target, to, encoding, replace, &model, &mut |parameter, see| {
            if let Err(error) = merged(parameter, &mut whole) {
                failure = Some(error);
                let reason = "the model that was to be merged cannot be read".to_owned();
                return Err(checkpoints::Error::Format { path: to.to_owned(), reason });
            }
            see(&whole)
        });
        match failure {
            Some(failure) => Err(failure),
            None => saved.context("cannot save the merged model"),
        }
    }
}

/// The name of the matrix of an adapter that changes a parameter, if there is one.
fn matrix<'a>(
    updates: &'a [Parameter],
    parameter: &Parameter,
    which: Matrix,
) -> Option<&'a String> {
    let Role::Layer { index, port } = parameter.role else { return None };
    let update =
        updates.iter().find(|update| update.role == Role::Adapter { index, port, matrix: which });
    Some(&update?.name)
}
