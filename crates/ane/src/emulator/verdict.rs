//! What the target's rules make of a program.

use crate::target::{Effect, Finding, On, Rule, Target, check, rule};
use mil::Program;

/// The rule by which one evaluation spoils all that follow.
const POISON: &str = "tile";

/// What happens to a program.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Why the compiler refuses it, in source order.
    pub refusals: Vec<String>,
    /// How every evaluation fails.
    pub doom: Option<Doom>,
    /// Whether it reads weight files at positions that are those of no record.
    pub misread: bool,
}

/// How evaluations of a program fail.
#[derive(Clone, Debug)]
pub(super) struct Doom {
    pub code: u32,
    pub reason: String,
    /// Whether from then on every evaluation of the process fails.
    pub poisons: bool,
}

/// Applies those rules on which the emulator acts. `main` is the function that is run.
pub(super) fn judge(program: &Program, main: &str, text: &str, target: &Target) -> Verdict {
    let mut verdict = Verdict::default();
    let mut poisons = false;
    for finding in check(program, target) {
        if !finding.rule.emulated || finding.rule.on != On::Program {
            continue;
        }
        match finding.rule.effect {
            Effect::Refused => verdict.refusals.push(told(&finding, text)),
            Effect::Status(code) if finding.function == main => {
                poisons |= finding.rule.id == POISON;
                let reason = told(&finding, text);
                verdict.doom.get_or_insert(Doom { code, reason, poisons: false });
            }
            Effect::Wrong if finding.rule.id == "blob-offset" => verdict.misread = true,
            // Other wrong results come from how surfaces are bound, from the contents of weight
            // files, or from values: whoever reads those does what the rule says.
            Effect::Status(_) | Effect::Wrong | Effect::Slow => {}
        }
    }
    if let Some(doom) = &mut verdict.doom {
        doom.poisons = poisons;
    }
    verdict
}

/// The rule with this id if the emulator acts on it here.
pub(super) fn acting(id: &str, target: &Target) -> Option<&'static Rule> {
    rule(id).filter(|rule| rule.emulated && rule.holds(target))
}

/// A finding with its place and its rule.
fn told(finding: &Finding, text: &str) -> String {
    let place = match finding.span {
        span if span.end == 0 => String::new(),
        span => {
            let before = text.get(..span.start as usize).unwrap_or(text);
            format!("line {}: ", before.matches('\n').count() + 1)
        }
    };
    format!("{place}{} (rule {})", finding.message, finding.rule.id)
}
