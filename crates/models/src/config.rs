//! What tells one model from another.

use crate::parameters::{layer_ports, outer};
use crate::{Error, PRESETS, RopeScaling};
use serde::{Deserialize, Serialize};

mod family;

/// The shape of a model and the choices it was designed with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Width of the residual stream.
    pub dim: usize,
    /// Number of layers.
    pub layers: usize,
    /// Query heads of a layer.
    pub heads: usize,
    /// Key and value heads of a layer; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Width of a head; `heads · head_dim` need not be `dim`.
    pub head_dim: usize,
    /// Width of the feed-forward part.
    pub hidden: usize,
    /// Number of tokens in the vocabulary.
    pub vocab: usize,
    /// Longest sequence the model is meant for.
    pub max_seq: usize,
    /// Base of the rotation frequencies.
    pub rope_theta: f64,
    /// Which elements of a head rotate together.
    pub rope: RopeStyle,
    /// Added to the mean square before its root.
    pub norm_eps: f64,
    /// Whether the classifier is the embedding.
    pub tied: bool,
    /// Whether every query and key head is normalized before it is rotated.
    pub qk_norm: bool,
    /// How the rotations were stretched to a longer context; left out of files if they were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
    /// Which products of attention add a bias; like all options below, left out of files if it is
    /// as in Llama.
    #[serde(default, skip_serializing_if = "is_default")]
    pub attention_bias: AttentionBias,
    /// Whether the products of the feed-forward part add a bias.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mlp_bias: bool,
    /// How many positions a position sees, itself included; all before it if this is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<usize>,
    /// Whether norms multiply by 1 + weight instead of by the weight.
    #[serde(default, skip_serializing_if = "is_default")]
    pub norm_plus_one: bool,
    /// Whether embeddings are multiplied by √dim.
    #[serde(default, skip_serializing_if = "is_default")]
    pub embedding_scale: bool,
    /// The function between the matrices of the feed-forward part.
    #[serde(default, skip_serializing_if = "is_default")]
    pub activation: Activation,
    /// What layers are made of.
    #[serde(default, skip_serializing_if = "is_default")]
    pub architecture: Architecture,
}

/// What layers are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Rotations, norms by the mean square, a gated feed-forward part, matrices `[out, in]`.
    #[default]
    Llama,
    /// Learned positions, norms by mean and variance with a bias, a feed-forward part without a
    /// gate, biases everywhere, and matrices `[in, out]`, one for queries, keys and values
    /// together. The options of attention and rotation are as in Llama, and mean nothing.
    Gpt2,
}

/// Which products of attention add a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttentionBias {
    /// None.
    #[default]
    None,
    /// Those that give queries, keys and values.
    Inputs,
    /// Those and the one that the heads end in.
    All,
}

/// The function between the matrices of the feed-forward part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// x·σ(x).
    #[default]
    #[serde(rename = "silu")]
    Silu,
    /// x·Φ(x) with a tanh in the normal distribution's place: x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
    #[serde(rename = "gelu_tanh")]
    GeluTanh,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Which two elements of a head form the pair that a position rotates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RopeStyle {
    /// Elements 2i and 2i + 1, as llama2.c has them.
    Interleaved,
    /// Elements i and i + E/2, as Hugging Face checkpoints have them.
    Halves,
}

/// Sizes are written into programs as `int32`.
pub(crate) const LARGEST: usize = i32::MAX as usize;
/// Far more layers than any model has; keeps a corrupt file from listing parameters forever.
const MOST_LAYERS: usize = 1 << 16;

impl Config {
    /// A Llama whose sizes are all 0: what to complete a configuration from that names its sizes
    /// and what is not as in Llama.
    pub const LLAMA: Config = Config {
        dim: 0,
        layers: 0,
        heads: 0,
        kv_heads: 0,
        head_dim: 0,
        hidden: 0,
        vocab: 0,
        max_seq: 0,
        rope_theta: 10_000.0,
        rope: RopeStyle::Halves,
        norm_eps: 1e-5,
        tied: false,
        qk_norm: false,
        rope_scaling: None,
        attention_bias: AttentionBias::None,
        mlp_bias: false,
        sliding_window: None,
        norm_plus_one: false,
        embedding_scale: false,
        activation: Activation::Silu,
        architecture: Architecture::Llama,
    };

    /// The preset with this name; see [`PRESETS`].
    pub fn preset(name: &str) -> Result<Config, Error> {
        let found = PRESETS.iter().find(|(known, _)| *known == name);
        found.map(|(_, config)| *config).ok_or_else(|| {
            let known: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
            Error::Preset { name: name.to_owned(), known: known.join(", ") }
        })
    }

    /// Query heads that share a key and value head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Checks that the sizes fit each other, that the parameters can be counted, and that the
    /// numbers make sense. Every builder calls it.
    pub fn validate(&self) -> Result<(), Error> {
        let sizes = [
            ("dim", self.dim),
            ("layers", self.layers),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("hidden", self.hidden),
            ("vocab", self.vocab),
            ("max_seq", self.max_seq),
        ];
        for (field, size) in sizes {
            let most = if field == "layers" { MOST_LAYERS } else { LARGEST };
            if size == 0 || size > most {
                return Err(Error::config(field, size, format!("it must be from 1 to {most}")));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let expected = format!("it must divide `heads`, which is {}", self.heads);
            return Err(Error::config("kv_heads", self.kv_heads, expected));
        }
        self.check_family()?;
        if self.architecture == Architecture::Llama && !self.head_dim.is_multiple_of(2) {
            let expected = "it must be even, because elements rotate in pairs";
            return Err(Error::config("head_dim", self.head_dim, expected));
        }
        positive("rope_theta", self.rope_theta)?;
        positive("norm_eps", self.norm_eps)?;
        if let Some(scaling) = &self.rope_scaling {
            scaling.validate()?;
        }
        if let Some(window) = self.sliding_window
            && (window == 0 || window > LARGEST)
        {
            let expected = format!("it must be from 1 to {LARGEST}");
            return Err(Error::config("sliding_window", window, expected));
        }
        if self.heads.checked_mul(self.head_dim).is_none_or(|width| width > LARGEST) {
            let expected = format!("with `head_dim` {} it must stay below 2^31", self.head_dim);
            return Err(Error::config("heads", self.heads, expected));
        }
        match self.count_parameters() {
            Some(_) => Ok(()),
            None => Err(Error::config("layers", self.layers, "the parameters cannot be counted")),
        }
    }

    /// The number of learned values, or `None` if that overflows.
    fn count_parameters(&self) -> Option<usize> {
        let count = |dims: &[usize]| dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let ports = layer_ports(self);
        let layer =
            ports.iter().try_fold(0usize, |sum, port| sum.checked_add(count(&port.dims)?))?;
        let layers = layer.checked_mul(self.layers)?;
        outer(self).iter().try_fold(layers, |sum, (_, dims, _)| sum.checked_add(count(dims)?))
    }

    /// The number of learned values.
    ///
    /// # Errors
    /// Those of [`Config::validate`].
    pub fn parameter_count(&self) -> Result<usize, Error> {
        self.validate()?;
        Ok(self.count_parameters().expect("validate has counted them"))
    }
}

/// Refuses a number that is not positive and finite, in the single precision of programs too.
pub(crate) fn positive(field: &'static str, number: f64) -> Result<(), Error> {
    let single = number as f32;
    if !(number.is_finite() && number > 0.0) {
        return Err(Error::config(field, number, "it must be positive and finite"));
    }
    if !(single.is_finite() && single > 0.0) {
        let found = format!("{number:e}");
        return Err(Error::config(field, found, "single precision must have such a number"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_written_before_there_were_options_reads_as_before() {
        let tiny = Config::preset("tiny").expect("the preset is there");
        let keys = ["dim", "layers", "heads", "kv_heads", "head_dim", "hidden", "vocab", "max_seq"];
        let more = ["rope_theta", "rope", "norm_eps", "tied", "qk_norm"];
        let written = serde_json::to_value(tiny).expect("it can be written");
        let object = written.as_object().expect("an object");
        let mut found: Vec<&str> = object.keys().map(String::as_str).collect();
        let mut expected = [&keys[..], &more[..]].concat();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(serde_json::from_value::<Config>(written).expect("it is read"), tiny);
    }

    fn refusal(change: impl Fn(&mut Config)) -> String {
        let mut config = Config::preset("tiny").expect("the preset is there");
        config.validate().expect("the preset is valid");
        change(&mut config);
        config.validate().expect_err("the change is refused").to_string()
    }

    #[test]
    fn a_bad_configuration_is_refused_with_its_field_and_reason() {
        assert_eq!(refusal(|c| c.dim = 0), "`dim` is 0; it must be from 1 to 2147483647");
        assert_eq!(
            refusal(|c| c.kv_heads = 4),
            "`kv_heads` is 4; it must divide `heads`, which is 6"
        );
        assert_eq!(
            refusal(|c| c.head_dim = 33),
            "`head_dim` is 33; it must be even, because elements rotate in pairs"
        );
        assert_eq!(
            refusal(|c| c.norm_eps = f64::NAN),
            "`norm_eps` is NaN; it must be positive and finite"
        );
        assert_eq!(
            refusal(|c| c.norm_eps = 1e-60),
            "`norm_eps` is 1e-60; single precision must have such a number"
        );
        assert!(refusal(|c| c.layers = usize::MAX).starts_with("`layers` is"));
        let huge = i32::MAX as usize;
        assert!(refusal(|c| (c.heads, c.kv_heads) = (huge, huge)).starts_with("`heads` is"));
        let wide = |c: &mut Config| (c.dim, c.hidden, c.vocab, c.layers) = (huge, huge, huge, 1024);
        assert_eq!(refusal(wide), "`layers` is 1024; the parameters cannot be counted");
    }

    #[test]
    fn an_unknown_preset_is_refused_with_the_names_there_are() {
        let error = Config::preset("gpt").expect_err("there is no such preset").to_string();
        assert_eq!(
            error,
            "no preset is called `gpt`; there are tiny, stories15m, stories42m, stories110m, \
             qwen3-0.6b, smollm2-135m, llama3.2-1b, qwen2.5-0.5b, mistral-7b, gemma-2b, gpt2"
        );
    }
}
