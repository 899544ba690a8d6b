//! Saving a model in any of the formats.
//!
//! Parameters pass through in parts: what is in memory is the part, not the model. Everything is
//! written under a temporary name, which becomes the right one when all is on the disk.

mod gguf;
mod hugging_face;
mod llama2c;

use crate::layout::Layout;
use crate::output::Planned;
use crate::source::rotates;
use crate::{Encoding, Error, Source};
use models::{Config, Parameter, RopeStyle};
use serde_json::Value;
use std::path::Path;

/// What to save as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A directory of Hugging Face, with files of at most so many bytes (but at least a tensor).
    HuggingFace {
        /// The most bytes of a file.
        shard: u64,
    },
    /// A GGUF file.
    Gguf,
    /// A `.bin` file of llama2.c: of version 0 or 1, or with 8-bit integers of version 2.
    Llama2c(u32),
    /// A checkpoint of version 4 of the trainers that this project follows, with moments of 0.
    Blzt,
}

/// The size of files into which Hugging Face directories are cut.
pub const SHARD: u64 = 5_000_000_000;

/// Gives a parameter's elements in order, in as many parts as it likes.
pub type Values<'a> =
    dyn FnMut(&Parameter, &mut dyn FnMut(&[f32]) -> Result<(), Error>) -> Result<(), Error> + 'a;

/// What is saved.
pub struct Model<'a> {
    /// The configuration. If [`Config::rope`] is interleaved, so are the values.
    pub config: &'a Config,
    /// A `config.json` of this configuration that says more than it, such as the ids of tokens.
    pub json: Option<&'a Value>,
    /// The text of a `tokenizer.json`.
    pub tokenizer: Option<&'a str>,
    /// Files that say how to use the model.
    pub sidecars: &'a [(String, Vec<u8>)],
}

/// What has been saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Bytes of all files with weights.
    pub bytes: u64,
    /// What the format has no place for, for whom it may concern.
    pub left_out: Vec<String>,
}

/// Saves a model at a path where nothing is, or with `replace`, in the place of a file. Matrices
/// are encoded as `encoding`: F32, F16, BF16, or for GGUF and version 2 of llama2.c, Q8_0.
///
/// # Errors
/// If there is something already, the format cannot hold the model or its encoding, a number does
/// not fit, writing fails, or `values` does.
pub fn save(
    target: Target,
    path: &Path,
    encoding: Encoding,
    replace: bool,
    model: &Model<'_>,
    values: &mut Values<'_>,
) -> Result<Saved, Error> {
    if path.exists() && (!replace || path.is_dir()) {
        let reason = match path.is_dir() {
            true => "this directory exists already; remove it first",
            false => "it exists already",
        };
        return Err(Error::format(path, reason));
    }
    let encodings: &[Encoding] = match target {
        Target::HuggingFace { .. } => &[Encoding::F32, Encoding::F16, Encoding::BF16],
        Target::Gguf => &[Encoding::F32, Encoding::F16, Encoding::BF16, Encoding::Q8_0],
        Target::Llama2c(2) => &[Encoding::Q8_0],
        Target::Llama2c(0 | 1) | Target::Blzt => &[Encoding::F32],
        Target::Llama2c(version) => {
            return Err(Error::format(path, format!("version {version} of llama2.c is not known")));
        }
    };
    if !encodings.contains(&encoding) {
        let offered: Vec<String> = encodings.iter().map(ToString::to_string).collect();
        let reason = format!("{encoding} is not written here; there is {}", offered.join(", "));
        return Err(Error::format(path, reason));
    }
    match target {
        Target::HuggingFace { shard } => hugging_face::save(path, shard, encoding, model, values),
        Target::Gguf => gguf::save(path, encoding, replace, model, values),
        Target::Llama2c(version) => llama2c::save(path, version, replace, model, values),
        Target::Blzt => llama2c::save_blzt(path, replace, model, values),
    }
}

/// Saves what a checkpoint holds in another format. `progress` is told the number of elements
/// that have just been read.
///
/// # Errors
/// Those of [`save`], and of reading.
pub fn convert(
    source: &Source,
    target: Target,
    path: &Path,
    encoding: Encoding,
    replace: bool,
    progress: &dyn Fn(usize),
) -> Result<Saved, Error> {
    let (tokenizer, sidecars) = (source.tokenizer()?, source.sidecars()?);
    let model = Model {
        config: source.config(),
        json: Some(source.config_json()),
        tokenizer: tokenizer.as_deref(),
        sidecars: &sidecars,
    };
    save(target, path, encoding, replace, &model, &mut |parameter, see| {
        source.visit(parameter, &mut |part| {
            see(part)?;
            progress(part.len());
            Ok(())
        })
    })
}

impl Model<'_> {
    /// The parameters.
    fn parameters(&self, path: &Path) -> Result<Vec<Parameter>, Error> {
        let refuse = |source| Error::Config { path: path.to_owned(), source };
        models::parameters(self.config).map_err(refuse)
    }

    /// What makes the values those of Hugging Face.
    fn layout(&self, name: &str) -> Layout {
        match self.config.rope {
            RopeStyle::Interleaved if rotates(name) => Layout::ToHalves(self.config.head_dim),
            _ => Layout::Plain,
        }
    }

    /// The `config.json`.
    fn config_json(&self) -> Value {
        let mut json = match self.json {
            Some(json) => json.clone(),
            None => self.config.to_hugging_face(),
        };
        if let Some(keys) = json.as_object_mut() {
            // Values are put in halves, which is what its absence means.
            keys.remove("rope_style");
        }
        json
    }

    /// A file beside the weights that is JSON; null if there is none.
    fn sidecar_json(&self, name: &str) -> Value {
        let found = self.sidecars.iter().find(|(other, _)| other == name);
        let found = found.and_then(|(_, content)| serde_json::from_slice(content).ok());
        found.unwrap_or(Value::Null)
    }

    /// Gives a parameter's values as the file has them, which its `layout` makes those of Hugging
    /// Face.
    fn visit(
        &self,
        parameter: &Parameter,
        layout: Layout,
        values: &mut Values<'_>,
        see: &mut dyn FnMut(&[f32]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (first, second) = (self.layout(&parameter.name), layout.inverse());
        if first == Layout::Plain && second == Layout::Plain {
            return values(parameter, see);
        }
        if first.is_elementwise() && second.is_elementwise() {
            return values(parameter, &mut |part| {
                let mut part = part.to_vec();
                first.apply_elementwise(&mut part);
                second.apply_elementwise(&mut part);
                see(&part)
            });
        }
        let mut whole = Vec::with_capacity(parameter.dims.iter().product());
        values(parameter, &mut |part| {
            whole.extend_from_slice(part);
            Ok(())
        })?;
        if whole.len() != parameter.dims.iter().product::<usize>() {
            let reason = format!("{} elements are not {:?}", whole.len(), parameter.dims);
            return Err(Error::tensor(Path::new("model"), &parameter.name, reason));
        }
        let whole = first.apply(&parameter.dims, &whole);
        see(&second.apply(&parameter.dims, &whole))
    }
}

/// The bytes of tensors.
fn bytes(tensors: &[Planned]) -> u64 {
    tensors.iter().map(Planned::size).sum()
}
