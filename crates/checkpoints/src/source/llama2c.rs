//! Files of llama2.c, versions 0 to 2.
//!
//! Version 0 begins with seven i32: dim, hidden, layers, heads, key and value heads, vocabulary
//! (negative if the classifier is not the embedding) and longest sequence; then come the tensors,
//! f32, those of one kind of all layers together, and after the last norm two tables of
//! rotations. Version 1 begins with the magic "ak42", the version, the same seven numbers and a
//! byte that says whether the classifier is the embedding, padded to 256 bytes; norms come first.
//! Version 2 adds the size of groups, and all but norms are 8-bit integers, followed by the
//! scales of all groups.
//!
//! Pairs 2i, 2i + 1 of a head's elements rotate together.

use super::{Format, Found, Tokenizer, rotates};
use crate::layout::Layout;
use crate::tensors::Gaps;
use crate::{Encoding, Error, Input, TensorInfo, Tensors};
use models::Config;
use serde_json::json;
use std::path::Path;

/// "ak42" as a number, in the order of its bytes in a file.
pub(crate) const MAGIC: &[u8; 4] = b"24ka";

/// Bytes of the header of versions 1 and 2.
pub(crate) const HEADER: u64 = 256;

/// The tensors of a layer by their names between `model.layers.N.` and `.weight`, in the order of
/// versions 1 and 2.
pub(crate) const MATRICES: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.down_proj",
    "mlp.up_proj",
];

pub(crate) const ATTENTION_NORM: &str = "input_layernorm";
pub(crate) const FEED_FORWARD_NORM: &str = "post_attention_layernorm";

/// Opens a file, and the `tokenizer.bin` beside it if there is one.
pub(super) fn open(input: Input, path: Option<&Path>) -> Result<Found, Error> {
    let refuse = |reason: String| Error::format(input.path(), reason);
    let mut cursor = input.cursor();
    let mut magic = [0; 4];
    input.read_at(0, &mut magic)?;
    let version = if magic == *MAGIC {
        cursor.u32()?;
        cursor.u32()?
    } else {
        0
    };
    if version > 2 || magic == *MAGIC && version == 0 {
        return Err(refuse(format!("version {version} of llama2.c; 0, 1 and 2 are read")));
    }
    let mut sizes = [0; 7];
    for size in &mut sizes {
        *size = i64::from(cursor.u32()? as i32);
    }
    let (tied, group) = match version {
        0 => (sizes[5] > 0, 0),
        _ => {
            let flag = cursor.array::<1>()?[0];
            if flag > 1 {
                return Err(refuse(format!("the flag for a shared classifier is {flag}")));
            }
            (flag == 1, if version == 2 { cursor.u32()? as usize } else { 0 })
        }
    };
    if version == 0 {
        sizes[5] = sizes[5].abs();
    }
    if let Some(size) = sizes.iter().find(|size| **size <= 0) {
        let reason = format!("not a checkpoint that is known: as llama2.c it has a size of {size}");
        return Err(refuse(reason));
    }
    let [dim, hidden, layers, heads, kv_heads, vocab, seq] = sizes;
    if dim % heads != 0 {
        let reason =
            "not a checkpoint that is known: as llama2.c its heads do not divide its width";
        return Err(refuse(reason.to_owned()));
    }
    let json = json!({
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": dim,
        "intermediate_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": dim / heads,
        "vocab_size": vocab,
        "max_position_embeddings": seq,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": tied,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": 2,
    });
    let config_error = |source| Error::Config { path: input.path().to_owned(), source };
    let config = Config::from_hugging_face(&json).map_err(config_error)?;
    // Before a table is made that could be longer than the file.
    let count = config.parameter_count().map_err(config_error)?;
    if count as u64 > input.size() {
        let reason = format!("{count} parameters cannot be in {} bytes", input.size());
        return Err(refuse(reason));
    }
    let mut table = Table { tensors: vec![], position: if version == 0 { 28 } else { HEADER } };
    let refuse_table = |reason: String| Error::format(input.path(), reason);
    match version {
        0 => table.version_0(&config),
        1 => table.version_1(&config),
        _ if group == 0 => Err("its groups have no elements".to_owned()),
        _ => table.version_2(&config, group),
    }
    .map_err(refuse_table)?;
    if table.position != input.size() {
        let reason = format!(
            "as version {version} of llama2.c with {layers} layers of width {dim} it should have {} \
             bytes, but it has {}",
            table.position,
            input.size()
        );
        return Err(match table.cut(input.size()) {
            Some(name) => {
                Error::tensor(input.path(), name, format!("the file ends in it: {reason}"))
            }
            None => refuse(reason),
        });
    }
    let mut tensors = Tensors::default();
    tensors.add(input, table.tensors, Gaps::Allowed)?;
    let tokenizer = path.map(|path| path.with_file_name("tokenizer.bin"));
    let tokenizer = tokenizer.filter(|path| path.is_file());
    let tokenizer = tokenizer.map(|path| {
        let file = Input::open(&path)?;
        crate::tokenizer::from_llama2c(&file, vocab as usize).map(Tokenizer::Text)
    });
    Ok(Found {
        format: Format::Llama2c(version),
        json,
        config: None,
        tensors,
        tokenizer: tokenizer.transpose()?,
        sidecars: vec![],
    })
}

/// What makes the file's rows those of Hugging Face.
pub(crate) fn layout(config: &Config, name: &str) -> Layout {
    if rotates(name) { Layout::ToHalves(config.head_dim) } else { Layout::Plain }
}

/// The parameter of a layer.
pub(crate) fn layer(index: usize, name: &str) -> String {
    format!("model.layers.{index}.{name}.weight")
}

/// The tensors so far, and where the next one is.
struct Table {
    tensors: Vec<TensorInfo>,
    position: u64,
}

impl Table {
    fn skip(&mut self, bytes: u64) -> Result<(), String> {
        self.position = self.position.checked_add(bytes).ok_or("its sizes are too large")?;
        Ok(())
    }

    fn add(&mut self, name: String, dims: &[usize], encoding: Encoding) -> Result<(), String> {
        let start = self.position;
        self.skip(encoding.size(dims)?)?;
        self.tensors.push(TensorInfo { name, dims: dims.to_vec(), encoding, input: 0, start });
        Ok(())
    }

    /// The first tensor that does not end within this many bytes.
    fn cut(&self, size: u64) -> Option<&str> {
        let ends_outside = |info: &&TensorInfo| {
            let count = info.elements();
            let end = match info.encoding {
                Encoding::Int8 { group, scales } => scales + 4 * (count / group) as u64,
                _ => info.start + 4 * count as u64,
            };
            end > size
        };
        self.tensors.iter().find(ends_outside).map(|info| info.name.as_str())
    }

    fn layers(&mut self, config: &Config, name: &str, encoding: Encoding) -> Result<(), String> {
        let dims = layer_dims(config, name);
        (0..config.layers).try_for_each(|index| self.add(layer(index, name), &dims, encoding))
    }

    fn version_0(&mut self, config: &Config) -> Result<(), String> {
        let f32 = Encoding::F32;
        self.add(EMBEDDING.into(), &[config.vocab, config.dim], f32)?;
        self.layers(config, ATTENTION_NORM, f32)?;
        for name in &MATRICES[..4] {
            self.layers(config, name, f32)?;
        }
        self.layers(config, FEED_FORWARD_NORM, f32)?;
        for name in &MATRICES[4..] {
            self.layers(config, name, f32)?;
        }
        self.add(NORM.into(), &[config.dim], f32)?;
        // Cosines and sines.
        self.skip(f32.size(&[config.max_seq, config.head_dim])?)?;
        if !config.tied {
            self.add(CLASSIFIER.into(), &[config.vocab, config.dim], f32)?;
        }
        Ok(())
    }

    fn norms(&mut self, config: &Config) -> Result<(), String> {
        self.layers(config, ATTENTION_NORM, Encoding::F32)?;
        self.layers(config, FEED_FORWARD_NORM, Encoding::F32)?;
        self.add(NORM.into(), &[config.dim], Encoding::F32)
    }

    fn matrices(&mut self, config: &Config, encoding: Encoding) -> Result<(), String> {
        self.add(EMBEDDING.into(), &[config.vocab, config.dim], encoding)?;
        for name in MATRICES {
            self.layers(config, name, encoding)?;
        }
        if !config.tied {
            self.add(CLASSIFIER.into(), &[config.vocab, config.dim], encoding)?;
        }
        Ok(())
    }

    fn version_1(&mut self, config: &Config) -> Result<(), String> {
        self.norms(config)?;
        self.matrices(config, Encoding::F32)
    }

    fn version_2(&mut self, config: &Config, group: usize) -> Result<(), String> {
        self.norms(config)?;
        let first = self.tensors.len();
        self.matrices(config, Encoding::Int8 { group, scales: 0 })?;
        for index in first..self.tensors.len() {
            let count = self.tensors[index].elements();
            if !count.is_multiple_of(group) {
                let name = &self.tensors[index].name;
                return Err(format!("`{name}` has no whole groups of {group} elements"));
            }
            self.tensors[index].encoding = Encoding::Int8 { group, scales: self.position };
            self.skip(4 * (count / group) as u64)?;
        }
        Ok(())
    }
}

pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
pub(crate) const NORM: &str = "model.norm.weight";
pub(crate) const CLASSIFIER: &str = "lm_head.weight";

/// The dimensions of a layer's tensor.
pub(crate) fn layer_dims(config: &Config, name: &str) -> Vec<usize> {
    let Config { dim: d, heads: h, kv_heads: k, head_dim: e, hidden: f, .. } = *config;
    match name {
        "self_attn.q_proj" => vec![h * e, d],
        "self_attn.k_proj" | "self_attn.v_proj" => vec![k * e, d],
        "self_attn.o_proj" => vec![d, h * e],
        "mlp.gate_proj" | "mlp.up_proj" => vec![f, d],
        "mlp.down_proj" => vec![d, f],
        _ => vec![d],
    }
}
