//! What a model learns.
//!
//! D dim, H heads, K kv heads, E head dim, F hidden, V vocabulary, P positions.

use crate::{Architecture, AttentionBias, Config, Error, Matrix};

/// One learned tensor, always fp32 where it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name in Hugging Face checkpoints, such as `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// Its dimensions.
    pub dims: Vec<usize>,
    /// Which input of which function it is.
    pub role: Role,
    /// Whether weight decay applies: to matrices only.
    pub decay: bool,
    /// How training from scratch begins.
    pub init: Init,
}

/// Where a parameter is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Input `embedding` of `embed`; of a tied model also input `classifier` of `head` and
    /// `logits`, so that its gradient is the sum of both.
    Embedding,
    /// An input of a layer's function.
    Layer {
        /// Which layer, from 0.
        index: usize,
        /// The input's name, such as `wq`.
        port: &'static str,
    },
    /// Input `position_embedding` of `embed`, of a model that learns its positions.
    PositionEmbedding,
    /// Input `final_norm` of `head` and `logits`.
    FinalNorm,
    /// Input `final_norm_bias` of `head` and `logits`, of a model whose norms have one.
    FinalNormBias,
    /// Input `classifier` of `head` and `logits`, of a model that is not tied.
    Classifier,
    /// Not a model's own but an adapter's ([`Lora`](crate::Lora)): one of the two inputs that
    /// [`passes::adapt`] adds for a layer's parameter.
    Adapter {
        /// Which layer, from 0.
        index: usize,
        /// The parameter's input, such as `wq`.
        port: &'static str,
        /// Which of the two.
        matrix: Matrix,
    },
}

impl Role {
    /// The inputs that a parameter of a model is, outside the layers.
    pub fn outer_ports(self, tied: bool) -> &'static [&'static str] {
        match self {
            Role::Embedding if tied => &["embedding", "classifier"],
            Role::Embedding => &["embedding"],
            Role::PositionEmbedding => &["position_embedding"],
            Role::FinalNorm => &["final_norm"],
            Role::FinalNormBias => &["final_norm_bias"],
            Role::Classifier => &["classifier"],
            Role::Layer { .. } | Role::Adapter { .. } => &[],
        }
    }
}

/// How a parameter begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Every element 1.
    Ones,
    /// Every element 0.
    Zeros,
    /// Independent elements of a uniform distribution around 0.
    Uniform {
        /// No element is further from 0.
        bound: f64,
    },
    /// Independent normal elements of mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
}

/// Standard deviation of embeddings and matrices.
const STD: f64 = 0.02;

/// The parameters of a model, in the order of the computation.
pub fn parameters(config: &Config) -> Result<Vec<Parameter>, Error> {
    config.validate()?;
    // Every layer adds two products to the residual stream; this keeps its variance at the start
    // independent of the depth.
    let residual = STD / (2.0 * config.layers as f64).sqrt();
    let parameter = |name: String, dims: Vec<usize>, role| {
        let matrix = dims.len() > 1;
        let init = match (matrix, role) {
            (true, Role::Layer { port: "wo" | "w_down", .. }) => Init::Normal { std: residual },
            (true, _) => Init::Normal { std: STD },
            (false, _) if config.norm_plus_one || name.ends_with(".bias") => Init::Zeros,
            (false, _) => Init::Ones,
        };
        Parameter { name, dims, role, decay: matrix, init }
    };
    let prefix = match config.architecture {
        Architecture::Llama => "model.layers",
        Architecture::Gpt2 => "transformer.h",
    };
    let layers = (0..config.layers).flat_map(|index| {
        layer_ports(config).into_iter().map(move |Port { port, name, dims }| {
            (format!("{prefix}.{index}.{name}"), dims, Role::Layer { index, port })
        })
    });
    let named = |(name, dims, role): (&str, _, _)| (name.to_owned(), dims, role);
    let is_first =
        |(_, _, role): &(_, _, Role)| matches!(role, Role::Embedding | Role::PositionEmbedding);
    let (first, last): (Vec<_>, Vec<_>) = outer(config).into_iter().partition(is_first);
    let all = first.into_iter().map(named).chain(layers).chain(last.into_iter().map(named));
    Ok(all.map(|(name, dims, role)| parameter(name, dims, role)).collect())
}

/// A parameter of every layer.
pub(crate) struct Port {
    /// The input's name in the layer's function.
    pub port: &'static str,
    /// The name in checkpoints, behind `model.layers.N.` or what the family has in its place.
    pub name: &'static str,
    /// Dimensions.
    pub dims: Vec<usize>,
}

fn port(port: &'static str, name: &'static str, dims: &[usize]) -> Port {
    Port { port, name, dims: dims.to_vec() }
}

/// The parameters outside the layers: name in checkpoints, dimensions and role, in the order of the
/// computation.
pub(crate) fn outer(config: &Config) -> Vec<(&'static str, Vec<usize>, Role)> {
    let Config { dim: d, vocab: v, max_seq: p, .. } = *config;
    let mut all = match config.architecture {
        Architecture::Llama => vec![
            ("model.embed_tokens.weight", vec![v, d], Role::Embedding),
            ("model.norm.weight", vec![d], Role::FinalNorm),
        ],
        Architecture::Gpt2 => vec![
            ("transformer.wte.weight", vec![v, d], Role::Embedding),
            ("transformer.wpe.weight", vec![p, d], Role::PositionEmbedding),
            ("transformer.ln_f.weight", vec![d], Role::FinalNorm),
            ("transformer.ln_f.bias", vec![d], Role::FinalNormBias),
        ],
    };
    if !config.tied {
        all.push(("lm_head.weight", vec![v, d], Role::Classifier));
    }
    all
}

/// The parameters of a layer, in the order of its function's inputs.
pub(crate) fn layer_ports(config: &Config) -> Vec<Port> {
    match config.architecture {
        Architecture::Llama => llama_ports(config),
        Architecture::Gpt2 => gpt2_ports(config),
    }
}

fn gpt2_ports(config: &Config) -> Vec<Port> {
    let Config { dim: d, hidden: f, .. } = *config;
    vec![
        port("attn_norm", "ln_1.weight", &[d]),
        port("attn_norm_bias", "ln_1.bias", &[d]),
        port("w_qkv", "attn.c_attn.weight", &[d, 3 * d]),
        port("b_qkv", "attn.c_attn.bias", &[3 * d]),
        port("wo", "attn.c_proj.weight", &[d, d]),
        port("bo", "attn.c_proj.bias", &[d]),
        port("ffn_norm", "ln_2.weight", &[d]),
        port("ffn_norm_bias", "ln_2.bias", &[d]),
        port("w_up", "mlp.c_fc.weight", &[d, f]),
        port("b_up", "mlp.c_fc.bias", &[f]),
        port("w_down", "mlp.c_proj.weight", &[f, d]),
        port("b_down", "mlp.c_proj.bias", &[d]),
    ]
}

fn llama_ports(config: &Config) -> Vec<Port> {
    let Config { dim: d, heads: h, kv_heads: k, head_dim: e, hidden: f, .. } = *config;
    let mut ports = vec![
        port("attn_norm", "input_layernorm.weight", &[d]),
        port("wq", "self_attn.q_proj.weight", &[h * e, d]),
        port("wk", "self_attn.k_proj.weight", &[k * e, d]),
        port("wv", "self_attn.v_proj.weight", &[k * e, d]),
        port("wo", "self_attn.o_proj.weight", &[d, h * e]),
    ];
    if config.attention_bias != AttentionBias::None {
        ports.extend([
            port("bq", "self_attn.q_proj.bias", &[h * e]),
            port("bk", "self_attn.k_proj.bias", &[k * e]),
            port("bv", "self_attn.v_proj.bias", &[k * e]),
        ]);
    }
    if config.attention_bias == AttentionBias::All {
        ports.push(port("bo", "self_attn.o_proj.bias", &[d]));
    }
    if config.qk_norm {
        ports.push(port("q_norm", "self_attn.q_norm.weight", &[e]));
        ports.push(port("k_norm", "self_attn.k_norm.weight", &[e]));
    }
    ports.extend([
        port("ffn_norm", "post_attention_layernorm.weight", &[d]),
        port("w_gate", "mlp.gate_proj.weight", &[f, d]),
        port("w_up", "mlp.up_proj.weight", &[f, d]),
        port("w_down", "mlp.down_proj.weight", &[d, f]),
    ]);
    if config.mlp_bias {
        ports.extend([
            port("b_gate", "mlp.gate_proj.bias", &[f]),
            port("b_up", "mlp.up_proj.bias", &[f]),
            port("b_down", "mlp.down_proj.bias", &[d]),
        ]);
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(tied: bool, qk_norm: bool) -> Config {
        let tiny = Config::preset("tiny").expect("the preset is there");
        Config { layers: 2, tied, qk_norm, ..tiny }
    }

    #[test]
    fn names_are_unique_and_follow_the_options() {
        for (tied, qk_norm, count) in [(true, false, 20), (false, false, 21), (true, true, 24)] {
            let all = parameters(&config(tied, qk_norm)).expect("the configuration is valid");
            assert_eq!(all.len(), count);
            let mut names: Vec<&str> = all.iter().map(|p| p.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count);
            assert_eq!(names.contains(&"lm_head.weight"), !tied);
            assert_eq!(names.contains(&"model.layers.1.self_attn.k_norm.weight"), qk_norm);
        }
    }

    #[test]
    fn matrices_decay_and_residual_projections_start_smaller() {
        for p in parameters(&config(false, true)).expect("the configuration is valid") {
            assert_eq!(p.decay, p.dims.len() == 2, "{}", p.name);
            let expected = match p.role {
                _ if p.dims.len() == 1 => Init::Ones,
                // Two layers: 1/√(2·2) = 1/2.
                Role::Layer { port: "wo" | "w_down", .. } => Init::Normal { std: 0.01 },
                _ => Init::Normal { std: 0.02 },
            };
            assert_eq!(p.init, expected, "{}", p.name);
        }
    }
}
