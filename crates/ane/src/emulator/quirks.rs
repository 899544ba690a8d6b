//! The quirks of the engine's arithmetic as data, read from `data/quirks.toml`.

use crate::target::{Chip, Confidence, Target, Unknown};
use serde::Deserialize;
use std::str::FromStr;
use std::sync::OnceLock;

/// A way in which the engine's arithmetic differs from rounding each result to fp16 once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quirk {
    /// Large partial sums are infinite.
    AccumulatorInfinity,
    /// Large partial sums are zero.
    AccumulatorZero,
    /// Small products count as zero in sums.
    FlushedProducts,
    /// NaN is read as +∞.
    NanInput,
    /// What would be NaN is zero.
    NanResult,
    /// log(0) is a number.
    LogOfZero,
    /// exp ends a little later than fp16.
    ExpRange,
    /// Large values become infinite in slices from within the innermost axis.
    SliceSaturation,
    /// Ties are rounded up.
    TiesUp,
}

/// The record of a quirk.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuirkData {
    /// The quirk.
    pub id: Quirk,
    /// What the engine does.
    pub statement: String,
    /// Where it was seen.
    pub chips: Vec<Chip>,
    /// The id of the rule that tells of it.
    pub rule: Option<String>,
    /// Keys of [`crate::target::source`].
    pub sources: Vec<String>,
    /// How sure it is.
    pub confidence: Confidence,
    /// The chips on which the emulator does it unless told otherwise.
    pub default: Vec<Chip>,
    /// What is our reading, and what is left out.
    pub note: Option<String>,
}

/// Every record.
pub fn quirks() -> &'static [QuirkData] {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        quirk: Vec<QuirkData>,
    }
    static QUIRKS: OnceLock<Vec<QuirkData>> = OnceLock::new();
    QUIRKS.get_or_init(|| {
        let file: File = toml::from_str(include_str!("../../data/quirks.toml"))
            .expect("the file is part of this crate, and a test reads it");
        file.quirk
    })
}

impl Quirk {
    /// Every quirk.
    pub const ALL: [Quirk; 9] = [
        Quirk::AccumulatorInfinity,
        Quirk::AccumulatorZero,
        Quirk::FlushedProducts,
        Quirk::NanInput,
        Quirk::NanResult,
        Quirk::LogOfZero,
        Quirk::ExpRange,
        Quirk::SliceSaturation,
        Quirk::TiesUp,
    ];

    /// The id, such as `nan-input`.
    pub fn name(self) -> &'static str {
        match self {
            Quirk::AccumulatorInfinity => "accumulator-infinity",
            Quirk::AccumulatorZero => "accumulator-zero",
            Quirk::FlushedProducts => "flushed-products",
            Quirk::NanInput => "nan-input",
            Quirk::NanResult => "nan-result",
            Quirk::LogOfZero => "log-of-zero",
            Quirk::ExpRange => "exp-range",
            Quirk::SliceSaturation => "slice-saturation",
            Quirk::TiesUp => "ties-up",
        }
    }

    /// Its record.
    pub fn data(self) -> &'static QuirkData {
        let found = quirks().iter().find(|data| data.id == self);
        found.expect("every quirk has a record, as a test checks")
    }

    /// Whether an emulator of this target has it unless told otherwise.
    pub fn is_default(self, target: &Target) -> bool {
        self.data().default.contains(&target.chip)
    }
}

impl FromStr for Quirk {
    type Err = Unknown;

    fn from_str(name: &str) -> Result<Quirk, Unknown> {
        Quirk::ALL.into_iter().find(|quirk| quirk.name() == name).ok_or_else(|| Unknown {
            what: "quirk",
            name: name.to_owned(),
            expected: Quirk::ALL.map(Quirk::name).join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{rule, source};

    #[test]
    fn every_quirk_has_one_record_with_known_sources() {
        assert_eq!(quirks().len(), Quirk::ALL.len());
        for quirk in Quirk::ALL {
            let data = quirk.data();
            assert_eq!(quirk.name().parse(), Ok(quirk));
            assert!(!data.chips.is_empty() && !data.statement.is_empty());
            assert!(data.sources.iter().all(|key| source(key).is_some()), "{}", quirk.name());
            assert!(!data.sources.is_empty());
            assert!(data.rule.as_deref().is_none_or(|id| rule(id).is_some()), "{}", quirk.name());
            assert!(data.default.iter().all(|chip| data.chips.contains(chip)), "{}", quirk.name());
            let measured = data.confidence == Confidence::Measured;
            assert!(measured || data.default.is_empty(), "{}", quirk.name());
        }
        let error = "round-down".parse::<Quirk>().expect_err("there is none");
        assert!(error.to_string().starts_with("there is no quirk `round-down`; expected acc"));
    }

    #[test]
    fn a_chip_has_no_quirk_that_its_rule_denies() {
        for chip in Chip::ALL {
            let target = Target::of(chip);
            for quirk in Quirk::ALL.into_iter().filter(|quirk| quirk.is_default(&target)) {
                let rule = quirk.data().rule.as_deref().and_then(rule);
                assert!(rule.is_none_or(|rule| rule.holds(&target)), "{chip}: {}", quirk.name());
            }
        }
    }
}
