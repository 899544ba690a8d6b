//! Checkpoints of the trainers that this project follows, versions 2 and 4.
//!
//! A header of 96 bytes, then f32: of each layer nine tensors, and the two moments of each; the
//! last norm and the embedding, each followed by its moments. The moments are skipped.
//!
//! The trainer of version 4 multiplies what a layer adds to the residual stream by
//! 1/√(2·layers), which goes into the matrices that end in it. That of version 2 does not rotate
//! at all, which no configuration says: its weights are read as they are, for training them on.

use super::llama2c::{self, ATTENTION_NORM, EMBEDDING, FEED_FORWARD_NORM, NORM};
use super::{Format, Found, rotates};
use crate::layout::Layout;
use crate::tensors::Gaps;
use crate::{Encoding, Error, Input, TensorInfo, Tensors};
use models::Config;
use serde_json::json;

const HEADER: u64 = 96;

/// Opens a file.
pub(super) fn open(input: Input) -> Result<Found, Error> {
    let refuse = |reason: String| Error::format(input.path(), reason);
    let mut bytes = [0; HEADER as usize];
    if input.size() < HEADER {
        return Err(refuse(format!("{} bytes are too few for its header", input.size())));
    }
    input.read_at(0, &mut bytes)?;
    let field = |at: usize| i32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let version = field(4);
    if ![2, 4].contains(&version) {
        return Err(refuse(format!("version {version} of a BLZT checkpoint; 2 and 4 are read")));
    }
    let [layers, vocab, dim, hidden, heads, seq] = [16, 20, 24, 28, 32, 36].map(field);
    if [layers, vocab, dim, hidden, heads, seq].iter().any(|&size| size <= 0) {
        return Err(refuse("a size in its header is not positive".to_owned()));
    }
    let (kv_heads, head_dim) = match version {
        4 => (field(84), field(88)),
        _ => (heads, dim / heads),
    };
    if kv_heads <= 0 || head_dim <= 0 || version == 2 && dim % heads != 0 {
        return Err(refuse("its heads do not fit its width".to_owned()));
    }
    if version == 4 && heads.checked_mul(head_dim) != Some(field(92)) {
        let width = field(92);
        let reason = format!("{heads} heads of {head_dim}, but {width} elements for the queries");
        return Err(refuse(reason));
    }
    let json = json!({
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": dim,
        "intermediate_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": vocab,
        "max_position_embeddings": seq,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": true,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": 2,
    });
    let config_error = |source| Error::Config { path: input.path().to_owned(), source };
    let config = Config::from_hugging_face(&json).map_err(config_error)?;
    // Parameters and two moments, all f32; the sum is checked before the table is made.
    let count = config.parameter_count().map_err(config_error)? as u64;
    let expected = count.checked_mul(12).and_then(|bytes| bytes.checked_add(HEADER));
    if expected != Some(input.size()) {
        let reason = format!(
            "{count} parameters and their moments do not make a file of {} bytes",
            input.size()
        );
        return Err(refuse(reason));
    }
    let mut position = HEADER;
    let mut infos = vec![];
    let mut add = |tensors: &[(String, Vec<usize>)]| {
        let start = position;
        for (name, dims) in tensors {
            let info = TensorInfo {
                name: name.clone(),
                dims: dims.clone(),
                encoding: Encoding::F32,
                input: 0,
                start: position,
            };
            position += 4 * info.elements() as u64;
            infos.push(info);
        }
        position += 2 * (position - start);
    };
    for index in 0..config.layers {
        let names = llama2c::MATRICES.into_iter().chain([ATTENTION_NORM, FEED_FORWARD_NORM]);
        let layer =
            names.map(|name| (llama2c::layer(index, name), llama2c::layer_dims(&config, name)));
        add(&layer.collect::<Vec<_>>());
    }
    add(&[(NORM.to_owned(), vec![config.dim])]);
    add(&[(EMBEDDING.to_owned(), vec![config.vocab, config.dim])]);
    let mut tensors = Tensors::default();
    tensors.add(input, infos, Gaps::Allowed)?;
    let format = Format::Blzt(version as u32);
    Ok(Found { format, json, config: None, tensors, tokenizer: None, sidecars: vec![] })
}

/// What makes the file's numbers those of Hugging Face.
pub(crate) fn layout(version: u32, config: &Config, name: &str) -> Layout {
    if rotates(name) {
        return Layout::ToHalves(config.head_dim);
    }
    let ends_in_residual = name.contains("o_proj") || name.contains("down_proj");
    if version == 4 && ends_in_residual {
        return Layout::Scale((2.0 * config.layers as f32).sqrt().recip());
    }
    Layout::Plain
}
