//! Any checkpoint as a model with the names and layouts of Hugging Face.

mod blzt;
mod gguf;
mod hugging_face;
pub(crate) mod llama2c;
mod place;

pub(crate) use blzt::layout as blzt_layout;
pub(crate) use gguf::{file_name as gguf_name, layout as gguf_layout, llama3_divisors};
pub(crate) use llama2c::layout as llama2c_layout;
pub use place::Place;

use crate::layout::Layout;
use crate::{Encoding, Error, Input, TensorInfo, Tensors};
use models::{Config, Parameter, RopeStyle};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What kind of checkpoint a [`Source`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A directory with `config.json` and safetensors.
    HuggingFace,
    /// A GGUF file.
    Gguf,
    /// A `.bin` file of llama2.c, with its version.
    Llama2c(u32),
    /// A checkpoint of the trainers that this project follows, with its version.
    Blzt(u32),
}

/// A checkpoint of a model: its configuration and tokenizer, and where its parameters are.
///
/// Parameters come out with the names and in the layout of Hugging Face checkpoints, whatever the
/// file has, and [`Config::rope`] is always [`RopeStyle::Halves`].
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    format: Format,
    config: Config,
    json: Value,
    tensors: Tensors,
    places: BTreeMap<String, (TensorInfo, Layout)>,
    tokenizer: Option<Tokenizer>,
    sidecars: Vec<(String, Sidecar)>,
}

#[derive(Debug)]
enum Tokenizer {
    File(PathBuf),
    Text(String),
    /// Why there is none, though there is a vocabulary.
    Refused(String),
}

#[derive(Debug)]
enum Sidecar {
    File(PathBuf),
    Content(Vec<u8>),
}

/// What the reader of a format has found.
struct Found {
    format: Format,
    /// As a `config.json`.
    json: Value,
    /// The file that it is in, if it is not the one that was opened.
    config: Option<PathBuf>,
    tensors: Tensors,
    tokenizer: Option<Tokenizer>,
    sidecars: Vec<(String, Sidecar)>,
}

/// The most bytes of a tokenizer or another file beside the weights.
const MAX_SIDECAR: u64 = 1 << 28;

/// Elements that a thread reads at a time.
const PART: usize = 1 << 22;

impl Source {
    /// Opens a checkpoint and checks that it has every parameter of its model, with its
    /// dimensions, and nothing else. No parameter is read yet.
    ///
    /// It may be a directory of Hugging Face, one of this project's runs or of its checkpoints, a
    /// `.safetensors` file beside a `config.json`, a GGUF file, or a `.bin` file of llama2.c or of
    /// the trainers that this project follows.
    ///
    /// # Errors
    /// If it is none of these or is malformed, if its model is not offered, or if a tensor is
    /// missing, too many, or of other dimensions.
    pub fn open(path: &Path) -> Result<Source, Error> {
        let found = if path.is_dir() {
            hugging_face::open_folder(path)?
        } else if path.extension().is_some_and(|extension| extension == "safetensors") {
            hugging_face::open_file(path)?
        } else {
            let input = Input::open(path)?;
            let mut magic = [0; 4];
            if input.size() < 8 {
                return Err(Error::format(path, "too short for a checkpoint"));
            }
            input.read_at(0, &mut magic)?;
            match &magic {
                b"GGUF" => gguf::open(input)?,
                b"TZLB" => blzt::open(input)?,
                _ => llama2c::open(input, Some(path))?,
            }
        };
        Source::of(path, found)
    }

    /// A checkpoint in one file whose content is in memory: GGUF, or a `.bin` file.
    ///
    /// # Errors
    /// Those of [`Source::open`].
    pub fn of_memory(name: &str, bytes: Vec<u8>) -> Result<Source, Error> {
        let found = match bytes.get(..4) {
            Some(b"GGUF") => gguf::open(Input::memory(name, bytes))?,
            Some(b"TZLB") => blzt::open(Input::memory(name, bytes))?,
            _ => llama2c::open(Input::memory(name, bytes), None)?,
        };
        Source::of(Path::new(name), found)
    }

    fn of(path: &Path, found: Found) -> Result<Source, Error> {
        let Found { format, json, config, tensors, tokenizer, sidecars } = found;
        let told = config.unwrap_or_else(|| path.to_owned());
        let refuse = |source| Error::Config { path: told.clone(), source };
        let mut config = Config::from_hugging_face(&json).map_err(refuse)?;
        let interleaved = config.rope == RopeStyle::Interleaved;
        let mut unused: BTreeSet<&str> = tensors.iter().map(|info| info.name.as_str()).collect();
        let mut places = BTreeMap::new();
        let mut missing = vec![];
        // Listing the parameters of a model takes memory: not more than its file has tensors for.
        if config.layers > tensors.iter().len() {
            let reason =
                format!("{} layers, but only {} tensors", config.layers, tensors.iter().len());
            return Err(Error::format(path, reason));
        }
        for parameter in models::parameters(&config).map_err(refuse)? {
            let (names, layout) = match format {
                Format::Gguf => {
                    let name = gguf::file_name(&parameter.name);
                    let layout = gguf::layout(&json["model_type"], &config, &parameter);
                    (name.into_iter().collect(), layout)
                }
                Format::HuggingFace if interleaved => {
                    let width = Layout::ToHalves(config.head_dim);
                    let layout = if rotates(&parameter.name) { width } else { Layout::Plain };
                    (hugging_face::file_names(&parameter.name), layout)
                }
                Format::HuggingFace => (hugging_face::file_names(&parameter.name), Layout::Plain),
                Format::Llama2c(_) => {
                    (vec![parameter.name.clone()], llama2c::layout(&config, &parameter.name))
                }
                Format::Blzt(version) => {
                    let layout = blzt::layout(version, &config, &parameter.name);
                    (vec![parameter.name.clone()], layout)
                }
            };
            let Some(info) = names.iter().find_map(|name| tensors.get(name)) else {
                missing.push(names.first().unwrap_or(&parameter.name).clone());
                continue;
            };
            let expected = layout.inverse().dims(&parameter.dims);
            if info.dims != expected {
                let reason = format!("it is {:?}, but the model needs {expected:?}", info.dims);
                return Err(Error::tensor(tensors.path(info), &info.name, reason));
            }
            unused.remove(info.name.as_str());
            places.insert(parameter.name, (info.clone(), layout));
        }
        if !missing.is_empty() {
            let reason = format!("the model needs {}, which it does not have", list(&missing));
            return Err(Error::format(path, reason));
        }
        let extra: Vec<&str> =
            unused.into_iter().filter(|name| !is_known_extra(name, &config)).collect();
        if !extra.is_empty() {
            let reason = format!("it has {}, which the model does not have", list(&extra));
            return Err(Error::format(path, reason));
        }
        config.rope = RopeStyle::Halves;
        let path = path.to_owned();
        Ok(Source { path, format, config, json, tensors, places, tokenizer, sidecars })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The model's configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The configuration as a `config.json`: the one that is there, or one that says as much as
    /// the file does.
    pub fn config_json(&self) -> &Value {
        &self.json
    }

    /// The text of its `tokenizer.json`: the one that is there, or one made of the vocabulary in
    /// or beside the file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn tokenizer(&self) -> Result<Option<String>, Error> {
        match &self.tokenizer {
            None => Ok(None),
            Some(Tokenizer::Text(text)) => Ok(Some(text.clone())),
            Some(Tokenizer::Refused(reason)) => {
                Err(Error::format(&self.path, format!("tokenizer: {reason}")))
            }
            Some(Tokenizer::File(path)) => {
                let bytes = Input::open(path)?.read_all(MAX_SIDECAR)?;
                let text = String::from_utf8(bytes);
                text.map(Some).map_err(|_| Error::format(path, "not UTF-8"))
            }
        }
    }

    /// Files beside the weights that say how to use the model, such as `generation_config.json`:
    /// names and contents.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn sidecars(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let read = |(name, sidecar): &(String, Sidecar)| {
            let content = match sidecar {
                Sidecar::File(path) => Input::open(path)?.read_all(MAX_SIDECAR)?,
                Sidecar::Content(content) => content.clone(),
            };
            Ok((name.clone(), content))
        };
        self.sidecars.iter().map(read).collect()
    }

    /// How a parameter is encoded in the file, and the bytes that it has there.
    pub fn stored(&self, name: &str) -> Option<&TensorInfo> {
        self.places.get(name).map(|(info, _)| info)
    }

    /// Reads a parameter of the model.
    ///
    /// # Errors
    /// If the file cannot be read or has numbers that are none.
    ///
    /// # Panics
    /// If it is no parameter of the model, or `out` does not have as many elements.
    pub fn read(&self, parameter: &Parameter, out: &mut [f32]) -> Result<(), Error> {
        self.read_rows(parameter, 0, out)
    }

    fn read_rows(&self, parameter: &Parameter, first: usize, out: &mut [f32]) -> Result<(), Error> {
        let place = self.places.get(&parameter.name);
        let (info, layout) = place.expect("it is a parameter of the model");
        layout.read(&self.tensors, info, first, out)
    }

    /// The parts of a parameter that can be read on their own: rows, and elements of a row.
    fn rows_of_part(&self, parameter: &Parameter) -> (usize, usize) {
        let (_, layout) = self.places.get(&parameter.name).expect("it is a parameter of the model");
        let row = parameter.dims.iter().skip(1).product::<usize>().max(1);
        let group = layout.group(parameter.dims[0]);
        ((PART / row / group).max(1) * group, row)
    }

    /// Gives a parameter's elements, part by part, without ever holding more than a few million.
    ///
    /// # Errors
    /// Those of [`Source::read`], and of `see`.
    pub fn visit(
        &self,
        parameter: &Parameter,
        see: &mut dyn FnMut(&[f32]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (rows, row) = self.rows_of_part(parameter);
        let mut values = vec![];
        let mut first = 0;
        while first < parameter.dims[0] {
            let count = rows.min(parameter.dims[0] - first);
            values.resize(count * row, 0.0);
            self.read_rows(parameter, first, &mut values)?;
            see(&values)?;
            first += count;
        }
        Ok(())
    }

    /// Reads parameters with several threads, straight into their places. `progress` is told the
    /// number of elements that have just been read.
    ///
    /// # Errors
    /// The first error of [`Source::read`].
    ///
    /// # Panics
    /// Where [`Source::read`] does.
    pub fn read_all(
        &self,
        targets: Vec<(&Parameter, Place)>,
        threads: usize,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<(), Error> {
        let parts = targets.into_iter().flat_map(|(parameter, out)| {
            let (rows, row) = self.rows_of_part(parameter);
            assert_eq!(out.len(), parameter.dims.iter().product::<usize>(), "{}", parameter.name);
            let parts = out.split(rows * row).enumerate();
            parts.map(move |(index, part)| (parameter, index * rows, part))
        });
        let parts = Mutex::new(parts);
        let work = || {
            let mut wide = vec![];
            loop {
                let part = parts.lock().expect("no thread panics while it takes a part").next();
                let Some((parameter, first, mut out)) = part else { return Ok(()) };
                let read = |out: &mut [f32]| self.read_rows(parameter, first, out);
                if let Err(error) = out.fill(&mut wide, read) {
                    // The other threads find nothing more to do.
                    while parts.lock().expect("likewise").next().is_some() {}
                    return Err(error);
                }
                progress(out.len());
            }
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads.max(1)).map(|_| scope.spawn(work)).collect();
            let mut result = work();
            for other in others {
                result = result.and(other.join().expect("reading does not panic"));
            }
            result
        })
    }

    /// How all matrices of the model are stored, if that is in one type of 16 bits: such a type
    /// holds them exactly in half the memory.
    pub fn half_type(&self) -> Option<Encoding> {
        let parameters = models::parameters(&self.config).ok()?;
        let matrices = parameters.iter().filter(|parameter| parameter.dims.len() == 2);
        let mut types = matrices.map(|matrix| self.stored(&matrix.name).map(|info| info.encoding));
        let first = types.next()??;
        let is_half = matches!(first, Encoding::BF16 | Encoding::F16);
        (is_half && types.all(|other| other == Some(first))).then_some(first)
    }
}

/// Whether a parameter's rows are elements of heads that rotate.
pub(crate) fn rotates(name: &str) -> bool {
    ["q_proj", "k_proj", "q_norm", "k_norm"].iter().any(|part| name.contains(part))
}

/// Tensors that checkpoints have and models do not need.
fn is_known_extra(name: &str, config: &Config) -> bool {
    let buffers = ["rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias"];
    buffers.iter().any(|end| name.ends_with(end))
        || name == "rope_freqs.weight"
        || config.tied && ["lm_head.weight", "output.weight"].contains(&name)
}

/// The first few names, for a message.
fn list<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<String> =
        names.iter().take(3).map(|name| format!("`{}`", name.as_ref())).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
