//! Chips, systems and routes, and the rules that hold on them.
//!
//! A rule is a record of `data/rules.toml`: what is forbidden, where, what happens to who breaks
//! it, how to do it instead, who found it, and how sure that is. [`check`] finds the rules that a
//! program breaks, [`rule`] tells the evidence of one. The numbers of a chip are in
//! `data/chips.toml`; [`Target::limits`] gives those that programs are cut and packed by.

mod check;
mod chips;
mod range;
mod rules;

pub use check::{Finding, check, check_ranges};
pub use chips::{ChipData, Limits, chips};
pub use range::{Interval, Ranges};
pub use rules::{Applies, Confidence, Effect, Level, On, Rule, rule, rules, source, sources};

use mil::{Literal, Program, Tensor, Type};
use serde::Deserialize;
use std::fmt;
use std::str::FromStr;

/// A generation of the engine, named after the Mac that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // Named after the chip.
pub enum Chip {
    M1,
    M2,
    M3,
    M4,
    M5,
}

/// A way to hand programs to the engine. Rules differ between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// MIL text through `_ANEClient` and `_ANEModel`.
    Client,
    /// MIL text through `_ANEInMemoryModel`.
    InMemory,
    /// Espresso's `e5rt`.
    E5rt,
}

/// What a program is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The chip.
    pub chip: Chip,
    /// The major version of macOS, such as 15 or 26.
    pub os: u32,
    /// The route.
    pub route: Route,
}

/// A name of a target or of a part of it that nothing has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {what} `{name}`; expected {expected}")]
pub struct Unknown {
    /// What was looked for.
    pub what: &'static str,
    /// The name as given.
    pub name: String,
    /// What there is.
    pub expected: String,
}

impl Chip {
    /// Every chip, oldest first.
    pub const ALL: [Chip; 5] = [Chip::M1, Chip::M2, Chip::M3, Chip::M4, Chip::M5];

    /// The name on the command line, such as `m4`.
    pub fn name(self) -> &'static str {
        ["m1", "m2", "m3", "m4", "m5"][self as usize]
    }
}

impl Route {
    /// Every route, the preferred one first.
    pub const ALL: [Route; 3] = [Route::Client, Route::InMemory, Route::E5rt];

    /// The name on the command line: `client`, `in-memory` or `e5rt`.
    pub fn name(self) -> &'static str {
        ["client", "in-memory", "e5rt"][self as usize]
    }
}

impl Target {
    /// A target from its parts.
    pub const fn new(chip: Chip, os: u32, route: Route) -> Target {
        Target { chip, os, route }
    }

    /// The chip with the system that its published figures come from, by `_ANEInMemoryModel`.
    pub fn of(chip: Chip) -> Target {
        let os = chip.data().os.expect("every chip of a Mac has a system, as a test checks");
        Target::new(chip, os, Route::InMemory)
    }

    /// `m4`, or `m4:15` with the major version of macOS. The route is `_ANEInMemoryModel`.
    ///
    /// # Errors
    /// If there is no such chip, or the version is no number.
    pub fn parse(text: &str) -> Result<Target, Unknown> {
        text.parse()
    }

    /// The same by another route.
    pub fn by(self, route: Route) -> Target {
        Target { route, ..self }
    }

    /// The rules that hold here.
    pub fn rules(&self) -> impl Iterator<Item = &'static Rule> {
        let target = *self;
        rules().iter().filter(move |rule| rule.holds(&target))
    }
}

/// Gives a program the head that the engine's compiler asks for: version 1.3 and the dictionary
/// `buildInfo`, which is kept if there is one.
pub fn with_head(mut program: Program) -> Program {
    program.version = "1.3".to_owned();
    let entries = [
        ("coremlc-component-MIL", "3510.2.1"),
        ("coremlc-version", "3505.4.1"),
        ("coremltools-component-milinternal", ""),
        ("coremltools-version", "9.0"),
    ];
    let string = |text: &str| Literal::Tensor(Tensor::string(text));
    let text = || Box::new(Type::scalar(mil::DataType::String));
    program.attributes.entry("buildInfo".to_owned()).or_insert_with(|| Literal::Dict {
        ty: Type::Dict(text(), text()),
        entries: entries.map(|(key, value)| (string(key), string(value))).to_vec(),
    });
    program
}

fn unknown(what: &'static str, name: &str, expected: impl Into<String>) -> Unknown {
    Unknown { what, name: name.to_owned(), expected: expected.into() }
}

impl FromStr for Chip {
    type Err = Unknown;

    fn from_str(name: &str) -> Result<Chip, Unknown> {
        let known = || Chip::ALL.map(Chip::name).join(", ");
        let found = Chip::ALL.into_iter().find(|chip| chip.name() == name);
        found.ok_or_else(|| unknown("chip", name, known()))
    }
}

impl FromStr for Route {
    type Err = Unknown;

    fn from_str(name: &str) -> Result<Route, Unknown> {
        let known = || Route::ALL.map(Route::name).join(", ");
        let found = Route::ALL.into_iter().find(|route| route.name() == name);
        found.ok_or_else(|| unknown("route", name, known()))
    }
}

impl FromStr for Target {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Target, Unknown> {
        let Some((chip, os)) = text.split_once(':') else { return Ok(Target::of(text.parse()?)) };
        let version = os.parse().ok().filter(|os| (11..100).contains(os));
        let expected = "the major version of macOS, such as 15";
        let os = version.ok_or_else(|| unknown("system", os, expected))?;
        Ok(Target { os, ..Target::of(chip.parse()?) })
    }
}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Such as `m4, macOS 15, in-memory`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, macOS {}, {}", self.chip, self.os, self.route)
    }
}
