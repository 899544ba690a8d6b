//! Reading checkpoints.

use super::{
    ADAPTER, ADAPTER_CONFIG, CONFIG, Error, FORMAT, LATEST, MANIFEST, MODEL, MOMENTS, Manifest,
    Moment, SIDECARS, SafeTensors, Sum, TOKENIZER, TRAINING, TrainState, VERSION, file_error,
    format_error, list, parse_name,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The largest JSON file of a checkpoint that is read, tokenizers left out.
const MAX_JSON: u64 = 1 << 24;

/// A checkpoint whose files have all been checked against its manifest.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    config: Value,
    state: TrainState,
    adapter: Option<Value>,
    model: SafeTensors,
    moments: SafeTensors,
    tokenizer: Option<PathBuf>,
    sidecars: Vec<PathBuf>,
}

/// The checkpoint's directory for a path that is one, or is the directory of a run or the file
/// `latest` in it: the one that `latest` names, or if that is gone, the newest.
///
/// # Errors
/// If there is no checkpoint.
pub fn resolve(path: &Path) -> Result<PathBuf, Error> {
    if path.join(MANIFEST).is_file() {
        return Ok(path.to_owned());
    }
    let path = match path.parent() {
        Some(run) if path.ends_with(LATEST) && path.is_file() => run,
        _ => path,
    };
    // A name that is not one of ours could lead out of the directory.
    let latest = read_small(&path.join(LATEST))
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| parse_name(name).is_some());
    let newest = || list(path).ok().into_iter().flatten().rev().map(|(_, _, name)| name);
    latest
        .into_iter()
        .chain(newest())
        .map(|name| path.join(name))
        .find(|folder| folder.join(MANIFEST).is_file())
        .ok_or_else(|| Error::Missing(path.to_owned()))
}

impl Checkpoint {
    /// Opens a checkpoint, or the newest one of a run's directory, and checks every file of it.
    ///
    /// # Errors
    /// If there is none, or a file is missing, cut off, damaged or of another version.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let folder = resolve(path)?;
        let sums = manifest(&folder.join(MANIFEST))?;
        let is_adapter = sums.contains_key(ADAPTER_CONFIG);
        let model = if is_adapter { ADAPTER } else { MODEL };
        for needed in [CONFIG, model, MOMENTS, TRAINING] {
            if !sums.contains_key(needed) {
                let reason = format!("does not list `{needed}`");
                return Err(format_error(&folder.join(MANIFEST), reason));
            }
        }
        let (mut tokenizer, mut sidecars) = (None, vec![]);
        for (name, sum) in &sums {
            // Only known names: a manifest must not make us read files elsewhere.
            let ours = [CONFIG, ADAPTER_CONFIG, model, MOMENTS, TRAINING, TOKENIZER];
            if ours.into_iter().chain(SIDECARS).any(|known| known == name) {
                let path = folder.join(name);
                verify(&path, *sum)?;
                if name == TOKENIZER {
                    tokenizer = Some(path);
                } else if SIDECARS.contains(&name.as_str()) {
                    sidecars.push(path);
                }
            }
        }
        let config = json(&folder.join(CONFIG))?;
        let path = folder.join(TRAINING);
        let state =
            serde_json::from_value(json(&path)?).map_err(|error| format_error(&path, error))?;
        let adapter = if is_adapter { Some(json(&folder.join(ADAPTER_CONFIG))?) } else { None };
        let model = SafeTensors::open(&folder.join(model))?;
        let moments = SafeTensors::open(&folder.join(MOMENTS))?;
        Ok(Self { folder, config, state, adapter, model, moments, tokenizer, sidecars })
    }

    /// Its directory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The model's configuration.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// What the run knew besides its tensors.
    pub fn state(&self) -> &TrainState {
        &self.state
    }

    /// Its `tokenizer.json`, if it has one.
    pub fn tokenizer(&self) -> Option<&Path> {
        self.tokenizer.as_deref()
    }

    /// Its `adapter_config.json`, if it holds an adapter and not a model.
    pub fn adapter(&self) -> Option<&Value> {
        self.adapter.as_ref()
    }

    /// What it has of [`SIDECARS`].
    pub fn sidecars(&self) -> &[PathBuf] {
        &self.sidecars
    }

    /// The parameters: the model's, or the adapter's.
    pub fn parameters(&self) -> &SafeTensors {
        &self.model
    }

    /// Reads a parameter.
    ///
    /// # Errors
    /// If it is not there or has other dimensions.
    ///
    /// # Panics
    /// If `out` does not have as many values as the dimensions say.
    pub fn read_parameter(
        &mut self,
        name: &str,
        dims: &[usize],
        out: &mut [f32],
    ) -> Result<(), Error> {
        self.model.read(name, dims, out)
    }

    /// Reads a moment of a parameter.
    ///
    /// # Errors
    /// If it is not there or has other dimensions.
    ///
    /// # Panics
    /// If `out` does not have as many values as the dimensions say.
    pub fn read_moment(
        &mut self,
        moment: Moment,
        name: &str,
        dims: &[usize],
        out: &mut [f32],
    ) -> Result<(), Error> {
        self.moments.read(&moment.name(name), dims, out)
    }
}

fn manifest(path: &Path) -> Result<BTreeMap<String, Sum>, Error> {
    let value = json(path)?;
    if value["format"] != FORMAT {
        return Err(format_error(path, format!("not the manifest of an `{FORMAT}`")));
    }
    // Before the rest, which another version may have changed.
    match value["version"].as_u64() {
        Some(version) if (1..=u64::from(VERSION)).contains(&version) => {}
        Some(found) => return Err(Error::Version { path: path.to_owned(), found }),
        None => return Err(format_error(path, "no version")),
    }
    let manifest: Manifest =
        serde_json::from_value(value).map_err(|error| format_error(path, error))?;
    Ok(manifest.files)
}

fn verify(path: &Path, expected: Sum) -> Result<(), Error> {
    let mut file = File::open(path).map_err(file_error(path))?;
    let found = file.metadata().map_err(file_error(path))?.len();
    if found != expected.size {
        return Err(Error::Size { path: path.to_owned(), expected: expected.size, found });
    }
    let mut crc = crc32fast::Hasher::new();
    let mut block = vec![0; 1 << 16];
    loop {
        match file.read(&mut block).map_err(file_error(path))? {
            0 => break,
            length => crc.update(&block[..length]),
        }
    }
    let found = crc.finalize();
    if found != expected.crc32 {
        let expected = expected.crc32;
        return Err(Error::Damaged { path: path.to_owned(), expected, found });
    }
    Ok(())
}

fn json(path: &Path) -> Result<Value, Error> {
    let bytes = read_small(path)?;
    serde_json::from_slice(&bytes).map_err(|error| format_error(path, error))
}

fn read_small(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(file_error(path))?;
    file.take(MAX_JSON + 1).read_to_end(&mut bytes).map_err(file_error(path))?;
    if bytes.len() as u64 > MAX_JSON {
        return Err(format_error(path, format!("more than {MAX_JSON} bytes")));
    }
    Ok(bytes)
}
