//! The rules as data, read from `data/rules.toml`.

use super::{Chip, Route, Target};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

/// One rule, with who found it and how sure that is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A name in kebab case, such as `concat-needs-interleave`.
    pub id: String,
    /// What must hold.
    pub statement: String,
    /// What happens to who breaks it, in words.
    pub symptom: String,
    /// What happens to who breaks it.
    pub effect: Effect,
    /// Whether to stop a program that breaks it.
    #[serde(default)]
    pub level: Level,
    /// How to do it instead.
    pub fix: String,
    /// The number of the rule, if it is about one.
    pub limit: Option<f64>,
    /// Keys of [`source`].
    pub sources: Vec<String>,
    /// How sure it is.
    pub confidence: Confidence,
    /// What speaks against it.
    #[serde(default)]
    pub contradictions: Vec<String>,
    /// Where it holds.
    #[serde(default)]
    pub applies: Applies,
    /// Whether [`check`](super::check) finds breaches in a program. The others rest on counters,
    /// on the use of interfaces, on weight files, or on ops that programs here cannot hold.
    #[serde(rename = "static")]
    pub is_static: bool,
    /// Whether the emulator acts on it: the evidence is good enough. Rules [`On::Surfaces`] it
    /// judges by the surfaces that are bound, not by the types in the program.
    #[serde(default)]
    pub emulated: bool,
    /// What the engine judges by.
    #[serde(default)]
    pub on: On,
}

/// Where a rule holds. An empty list means everywhere.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Applies {
    /// The chips.
    pub chips: Vec<Chip>,
    /// The first major version of macOS.
    pub since: Option<u32>,
    /// The last major version of macOS.
    pub until: Option<u32>,
    /// The routes.
    pub routes: Vec<Route>,
}

/// What happens to who breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// The compiler refuses the program (`InvalidMILProgram`).
    Refused,
    /// It compiles, and evaluation fails with this status.
    Status(u32),
    /// It runs and gives wrong numbers.
    Wrong,
    /// It runs slower than it could.
    Slow,
}

/// What to do with a program that breaks a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Stop: it does not work.
    #[default]
    Error,
    /// Say so: it may work, or it depends on values, or it is only slow.
    Warning,
}

/// How sure a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Somebody ran it, and nobody found otherwise.
    Measured,
    /// Read out of a compiler, or told without a measurement.
    Claimed,
    /// Others found otherwise.
    Contested,
}

/// What the engine judges by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum On {
    /// The program.
    #[default]
    Program,
    /// The allocations of the surfaces bound to it. A program breaks such a rule when its surfaces
    /// are as large as its tensors; larger surfaces heal it.
    Surfaces,
    /// How its interfaces are used.
    Use,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    sources: BTreeMap<String, String>,
    rule: Vec<Rule>,
}

fn file() -> &'static File {
    static FILE: OnceLock<File> = OnceLock::new();
    FILE.get_or_init(|| {
        toml::from_str(include_str!("../../data/rules.toml"))
            .expect("the file is part of this crate, and a test reads it")
    })
}

/// Every rule, of every target.
pub fn rules() -> &'static [Rule] {
    &file().rule
}

/// The rule with this id.
pub fn rule(id: &str) -> Option<&'static Rule> {
    rules().iter().find(|rule| rule.id == id)
}

/// What a key of [`Rule::sources`] stands for: who, where, on which chip.
pub fn source(key: &str) -> Option<&'static str> {
    file().sources.get(key).map(String::as_str)
}

/// Every key of [`source`].
pub fn sources() -> impl Iterator<Item = &'static str> {
    file().sources.keys().map(String::as_str)
}

impl Rule {
    /// Whether the rule holds on a target.
    pub fn holds(&self, target: &Target) -> bool {
        let Applies { chips, since, until, routes } = &self.applies;
        (chips.is_empty() || chips.contains(&target.chip))
            && (routes.is_empty() || routes.contains(&target.route))
            && since.is_none_or(|os| target.os >= os)
            && until.is_none_or(|os| target.os <= os)
    }

    /// Whether a program that breaks it does not work: the effect is more than slowness, and the
    /// evidence good.
    pub fn is_fatal(&self) -> bool {
        self.level == Level::Error && self.effect != Effect::Slow
    }
}

impl fmt::Display for Applies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = vec![];
        if !self.chips.is_empty() {
            parts.push(self.chips.iter().map(|c| c.name()).collect::<Vec<_>>().join(", "));
        }
        match (self.since, self.until) {
            (Some(since), Some(until)) => parts.push(format!("macOS {since} to {until}")),
            (Some(since), None) => parts.push(format!("since macOS {since}")),
            (None, Some(until)) => parts.push(format!("until macOS {until}")),
            (None, None) => {}
        }
        if !self.routes.is_empty() {
            let routes = self.routes.iter().map(|r| r.name()).collect::<Vec<_>>();
            parts.push(format!("by {}", routes.join(" and ")));
        }
        f.write_str(if parts.is_empty() { "everywhere" } else { "" })?;
        f.write_str(&parts.join("; "))
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::Refused => f.write_str("refused by the compiler"),
            Effect::Status(code) => write!(f, "evaluation fails with status {code:#x}"),
            Effect::Wrong => f.write_str("wrong results, silently"),
            Effect::Slow => f.write_str("slow"),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Error => "error",
            Level::Warning => "warning",
        })
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Confidence::Measured => "measured",
            Confidence::Claimed => "claimed",
            Confidence::Contested => "contested",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_told_whole_and_once() {
        for (at, rule) in rules().iter().enumerate() {
            let id = &rule.id;
            let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(!id.is_empty() && id.chars().all(kebab), "{id}");
            assert!(rules()[..at].iter().all(|other| other.id != *id), "{id} twice");
            for text in [&rule.statement, &rule.symptom, &rule.fix] {
                assert!(!text.trim().is_empty() && !text.ends_with('.'), "{id}: {text}");
            }
            assert!(!rule.sources.is_empty(), "{id}");
            for key in &rule.sources {
                assert!(source(key).is_some(), "{id}: no source {key}");
            }
            let contested = rule.confidence == Confidence::Contested;
            assert!(!contested || !rule.contradictions.is_empty(), "{id}: contested by whom?");
        }
        for key in sources() {
            assert!(rules().iter().any(|r| r.sources.iter().any(|s| s == key)), "{key} unused");
        }
        assert!(rules().len() >= 60, "{}", rules().len());
    }

    #[test]
    fn what_the_emulator_stops_is_an_error() {
        for rule in rules().iter().filter(|rule| rule.emulated) {
            let stops = matches!(rule.effect, Effect::Refused | Effect::Status(_));
            assert!(!stops || rule.level == Level::Error, "{}", rule.id);
        }
    }

    #[test]
    fn places_are_told_in_words() {
        assert_eq!(Applies::default().to_string(), "everywhere");
        let applies = Applies {
            chips: vec![Chip::M1, Chip::M2],
            since: Some(26),
            until: None,
            routes: vec![Route::Client, Route::InMemory],
        };
        assert_eq!(applies.to_string(), "m1, m2; since macOS 26; by client and in-memory");
    }
}
