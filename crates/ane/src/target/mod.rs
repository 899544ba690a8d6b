//! Chips, systems and routes, and the rules that hold on them.
//!
//! A rule is a record of `data/rules.toml`: what is forbidden, where, what happens to who breaks
//! it, how to do it instead, who found it, and how sure that is. [`check`] finds the rules that a
//! program breaks.

use std::fmt;

/// A generation of the engine, named after the Mac that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // Named after the chip.
pub enum Chip {
    M1,
    M2,
    M3,
    M4,
    M5,
}

/// A way to hand programs to the engine. Rules differ between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

impl Chip {
    /// Every chip, oldest first.
    pub const ALL: [Chip; 5] = [Chip::M1, Chip::M2, Chip::M3, Chip::M4, Chip::M5];

    /// The name on the command line, such as `m4`.
    pub fn name(self) -> &'static str {
        ["m1", "m2", "m3", "m4", "m5"][self as usize]
    }
}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What happens to who breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
