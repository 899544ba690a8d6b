//! What each chip costs, read from `data/cost.toml`.

use crate::target::Chip;
use serde::Deserialize;
use std::sync::OnceLock;

/// A number with where it comes from.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Number {
    /// The number, in the unit that its field's name ends with.
    pub value: f64,
    /// How it is known.
    pub basis: Basis,
    /// Who measured it on what, what it was fitted to, or why it is assumed.
    pub source: String,
}

/// How a number is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// Somebody measured it on this generation.
    Measured,
    /// Chosen so that this model gives published figures of this generation.
    Fitted,
    /// Taken over from another generation, for want of figures.
    Assumed,
}

impl Basis {
    /// The word for it.
    pub fn name(self) -> &'static str {
        ["measured", "fitted", "assumed"][self as usize]
    }
}

/// The costs of a chip.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The chip.
    pub name: Chip,
    /// The Neural Engine.
    pub engine: Engine,
    /// The processor cores beside it.
    pub host: Host,
}

/// The costs of an engine. Products are fp16.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// Time of an evaluation that computes nothing.
    pub dispatch_us: Number,
    /// Time of every operation that is not only another name for memory, beyond its work.
    pub operation_us: Number,
    /// Products in long chains: the slope, without what an evaluation costs.
    pub peak_tflops: Number,
    /// Reading inputs and constants, writing outputs, and copying rows.
    pub memory_gbs: Number,
    /// Reading again what is too large to be held.
    pub stream_gbs: Number,
    /// Moving what leaves its row.
    pub reorder_gbs: Number,
    /// Reading and writing by element-wise operations and reductions.
    pub map_gbs: Number,
    /// Compiling and loading a kernel with constant weights.
    pub compile_ms: Number,
}

/// The costs of the host.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Matrix products in fp32 with the matrix unit.
    pub product_gflops: Number,
    /// Reading and writing in element-wise work and copies.
    pub memory_gbs: Number,
    /// Reading and writing in conversions between fp32 and the engine's fp16.
    pub convert_gbs: Number,
    /// One exponential, or one sine with its cosine, with the arithmetic around it.
    pub function_ns: Number,
}

impl Profile {
    /// The costs of a chip.
    pub fn of(chip: Chip) -> &'static Profile {
        let found = profiles().iter().find(|profile| profile.name == chip);
        found.expect("every chip has a profile, as a test checks")
    }

    /// Bytes of an operand of a product that the engine can hold.
    pub fn operand_bytes(&self) -> f64 {
        self.name.data().operand_bytes as f64
    }

    /// Every number with its name.
    pub fn numbers(&self) -> [(&'static str, &Number); 12] {
        let (e, h) = (&self.engine, &self.host);
        [
            ("engine dispatch, us", &e.dispatch_us),
            ("engine operation, us", &e.operation_us),
            ("engine peak, TFLOP/s", &e.peak_tflops),
            ("engine memory, GB/s", &e.memory_gbs),
            ("engine streaming, GB/s", &e.stream_gbs),
            ("engine reordering, GB/s", &e.reorder_gbs),
            ("engine maps, GB/s", &e.map_gbs),
            ("engine compilation, ms", &e.compile_ms),
            ("host products, GFLOP/s", &h.product_gflops),
            ("host memory, GB/s", &h.memory_gbs),
            ("host conversion, GB/s", &h.convert_gbs),
            ("host function, ns", &h.function_ns),
        ]
    }
}

/// The profile of every chip, and the published figures.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    chip: Vec<Profile>,
    figure: Vec<super::calibration::Figure>,
}

fn file() -> &'static File {
    static FILE: OnceLock<File> = OnceLock::new();
    FILE.get_or_init(|| {
        toml::from_str(include_str!("../../data/cost.toml"))
            .expect("the file is part of this crate, and a test reads it")
    })
}

/// Every profile.
pub fn profiles() -> &'static [Profile] {
    &file().chip
}

/// Every published figure.
pub(super) fn figures() -> &'static [super::calibration::Figure] {
    &file().figure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chip_has_a_profile_of_positive_numbers_with_sources() {
        for chip in Chip::ALL {
            let profile = Profile::of(chip);
            assert!(profile.operand_bytes() > 0.0);
            for (name, number) in profile.numbers() {
                assert!(number.value > 0.0 && number.value.is_finite(), "{chip}: {name}");
                assert!(number.source.len() > 10, "{chip}: {name} has no source");
            }
        }
        assert_eq!(profiles().len(), Chip::ALL.len());
    }
}
