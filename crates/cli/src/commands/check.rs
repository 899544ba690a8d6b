//! `anemone check`.

use crate::program::{self, Source};
use ane::target::{
    Chip, Effect, Finding, Interval, Level, On, Ranges, Route, Rule, Target, check_ranges, rule,
    rules, source,
};
use anyhow::{Context, bail};
use clap::Args;
use mil::{Diagnostic, Diagnostics};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;

/// Check a program against the rules of the Neural Engine.
///
/// Reports every rule that the program breaks, with its place, what is to be expected on the
/// chip, and how to do it instead. Errors are rules with good evidence; warnings are rules that
/// are contested, that depend on the values, or that cost only time. Nothing of this needs a Mac.
///
/// Values are followed as intervals, to warn where fp16 overflows. Without --range, only what
/// constants, softmax, sigmoid and the like bound is judged.
///
/// Exit codes: 0 nothing but warnings, 1 a rule is broken, 2 wrong usage.
///
/// Example: anemone check layer.mil --target m4 --range x=-8:8
#[derive(Debug, Args)]
pub struct Check {
    /// A model of Core ML (.mlpackage, .mlmodelc or .mlmodel) or a program as text (.mil)
    #[arg(value_name = "PROGRAM", required_unless_present_any = ["explain", "list"])]
    program: Option<PathBuf>,
    /// What the program is for: m1 to m5, with :OS for the major version of macOS, such as m4:15
    ///
    /// Several are separated by commas. [default: every chip]
    #[arg(long, value_name = "TARGET", value_delimiter = ',')]
    target: Vec<Target>,
    /// How programs get to the engine: client, in-memory or e5rt
    #[arg(long, value_name = "ROUTE", default_value_t = Route::InMemory)]
    route: Route,
    /// What an input's values are between, such as x=-1:1; may be given for each input
    #[arg(long, value_name = "NAME=LO:HI", value_parser = named_range, allow_hyphen_values = true)]
    range: Vec<(String, Interval)>,
    /// Leave out the rules about allocations: all surfaces are padded to one size that is enough
    #[arg(long)]
    padded: bool,
    /// Tell what is known of a rule, who found it, and what speaks against it
    #[arg(long, value_name = "RULE", value_parser = known_rule, conflicts_with_all = ["program", "list"])]
    explain: Option<&'static Rule>,
    /// List the rules; with --target, those of these targets
    #[arg(long, conflicts_with = "program")]
    list: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

fn named_range(text: &str) -> Result<(String, Interval), String> {
    let (name, range) = text.split_once('=').ok_or("expected NAME=LO:HI, such as x=-1:1")?;
    Ok((name.to_owned(), range.parse()?))
}

fn known_rule(id: &str) -> Result<&'static Rule, String> {
    rule(id).ok_or_else(|| {
        // Rules that share a word with what was asked for.
        let mut words = id.split('-').filter(|word| word.len() > 2);
        let near = |rule: &&Rule| words.clone().any(|word| rule.id.contains(word));
        let near: Vec<&str> = rules().iter().filter(near).map(|rule| rule.id.as_str()).collect();
        match words.next().is_some() && !near.is_empty() {
            true => format!("there is no such rule; near it are {}", near.join(", ")),
            false => "there is no such rule; --list lists all".to_owned(),
        }
    })
}

/// A finding and the targets on which it is one.
struct Case {
    finding: Finding,
    targets: Vec<Target>,
}

impl Check {
    /// Checks, or tells about rules.
    pub fn run(self) -> anyhow::Result<()> {
        if let Some(rule) = self.explain {
            return self.print(if self.json { format!("{}\n", object(rule)) } else { told(rule) });
        }
        if self.list {
            return self.print(self.listed());
        }
        let path = self.program.as_deref().context("a program is needed")?;
        let source = program::read(path)?.with_text();
        let ranges = self.ranges(&source)?;
        let targets = self.targets();
        let cases = self.cases(&source, &targets, &ranges);
        let broken: Vec<&Case> = cases.iter().filter(|case| self.is_fatal(case)).collect();
        self.print(match self.json {
            true => self.object(&source, &targets, &cases, broken.is_empty()),
            false => self.report(&source, &targets, &cases, broken.is_empty()),
        })?;
        if broken.is_empty() {
            return Ok(());
        }
        let mut ids: Vec<&str> = broken.iter().map(|case| case.finding.rule.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        let on = targets.iter().filter(|t| broken.iter().any(|case| case.targets.contains(t)));
        bail!("`{}` breaks {} on {}", source.name, ids.join(", "), names(on))
    }

    fn print(&self, text: String) -> anyhow::Result<()> {
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    }

    fn targets(&self) -> Vec<Target> {
        let given = match self.target.is_empty() {
            true => Chip::ALL.map(Target::of).to_vec(),
            false => self.target.clone(),
        };
        given.into_iter().map(|target| target.by(self.route)).collect()
    }

    fn ranges(&self, source: &Source) -> anyhow::Result<Ranges> {
        let mut ranges = Ranges::new();
        for (name, range) in &self.range {
            // Users say the names of features.
            let features = source.interface.functions.iter().flat_map(|f| &f.inputs);
            let values = features.filter(|feature| feature.name == *name).map(|f| &f.value);
            let functions = &source.program.functions;
            let own = functions.iter().any(|function| function.input(name).is_some());
            let values: Vec<&String> = values.chain(Some(name).filter(|_| own)).collect();
            if values.is_empty() {
                bail!("--range: no function of `{}` has an input `{name}`", source.name);
            }
            ranges.extend(values.into_iter().map(|value| (value.clone(), *range)));
        }
        Ok(ranges)
    }

    /// What is found, each once, with the targets on which it is.
    fn cases(&self, source: &Source, targets: &[Target], ranges: &Ranges) -> Vec<Case> {
        let mut cases: Vec<Case> = vec![];
        // The rules of one place stand together; a chip's own numbers keep cases apart.
        let mut places = HashMap::new();
        for &target in targets {
            for finding in check_ranges(&source.program, &target, ranges) {
                if self.padded && finding.rule.on == On::Surfaces {
                    continue;
                }
                let Finding { rule, function, span, message, .. } = &finding;
                let key = (&rule.id, function.clone(), span.start, span.end, message.clone());
                let at = *places.entry(key).or_insert(cases.len());
                match cases.get_mut(at) {
                    Some(case) => case.targets.push(target),
                    None => cases.push(Case { finding, targets: vec![target] }),
                }
            }
        }
        let functions = &source.program.functions;
        let function = |case: &Case| functions.iter().position(|f| f.name == case.finding.function);
        cases.sort_by_key(|case| (function(case), case.finding.span.start));
        cases
    }

    /// Whether the program does not work for this reason.
    fn is_fatal(&self, case: &Case) -> bool {
        case.finding.rule.is_fatal()
    }

    fn report(&self, source: &Source, targets: &[Target], cases: &[Case], kept: bool) -> String {
        let mut text = String::new();
        for Case { finding, targets } in cases {
            let Rule { id, symptom, fix, level, .. } = finding.rule;
            let message = format!("{level}: {} [{id}]", without_fix(finding));
            let place = Diagnostics(vec![Diagnostic { span: finding.span, message }]);
            text.push_str(&place.annotate(&source.text, &source.name));
            text.push_str(&format!("  {}: {symptom}\n  fix: {fix}\n", names(targets)));
        }
        if kept {
            let warnings = match cases.len() {
                0 => String::new(),
                1 => ", with 1 warning".to_owned(),
                n => format!(", with {n} warnings"),
            };
            text.push_str(&format!("{}: fit for {}{warnings}\n", source.name, names(targets)));
        }
        text
    }

    fn object(&self, source: &Source, targets: &[Target], cases: &[Case], kept: bool) -> String {
        let strings = |targets: &[Target]| targets.iter().map(short).collect::<Vec<_>>();
        let findings = cases.iter().map(|Case { finding, targets }| {
            let (line, column) = place(&source.text, finding).unzip();
            json!({
                "rule": finding.rule.id,
                "level": finding.rule.level.to_string(),
                "effect": effect(finding.rule.effect),
                "targets": strings(targets),
                "function": finding.function,
                "value": finding.value,
                "line": line,
                "column": column,
                "message": without_fix(finding),
                "symptom": finding.rule.symptom,
                "fix": finding.rule.fix,
            })
        });
        let findings: Vec<Value> = findings.collect();
        let object = json!({
            "program": source.name,
            "route": self.route.name(),
            "targets": strings(targets),
            "fit": kept,
            "findings": findings,
        });
        format!("{object}\n")
    }

    fn listed(&self) -> String {
        let targets = if self.target.is_empty() { vec![] } else { self.targets() };
        let wanted = |rule: &&Rule| targets.is_empty() || targets.iter().any(|t| rule.holds(t));
        let chosen: Vec<&Rule> = rules().iter().filter(wanted).collect();
        if self.json {
            let objects: Vec<Value> = chosen.into_iter().map(object).collect();
            return format!("{}\n", Value::from(objects));
        }
        let width = chosen.iter().map(|rule| rule.id.len()).max().unwrap_or(0);
        let line = |rule: &&Rule| {
            let level = match (rule.is_static, rule.level) {
                (false, _) => "not checked",
                (_, Level::Error) => "error",
                (_, Level::Warning) => "warning",
            };
            format!("{:width$}  {level:11}  {}\n", rule.id, rule.statement)
        };
        chosen.iter().map(line).collect()
    }
}

/// A target as on the command line, such as `m4:15`.
fn short(target: &Target) -> String {
    format!("{}:{}", target.chip, target.os)
}

/// Targets by their chips, and with the system where it is not the chip's usual one.
fn names<'a>(targets: impl IntoIterator<Item = &'a Target>) -> String {
    let name = |target: &Target| match Target::of(target.chip).os == target.os {
        true => target.chip.to_string(),
        false => short(target),
    };
    targets.into_iter().map(name).collect::<Vec<_>>().join(", ")
}

/// The message of a finding without the rule's fix, which stands in a line of its own.
fn without_fix(finding: &Finding) -> &str {
    let fix = format!("; fix: {}", finding.rule.fix);
    finding.message.strip_suffix(&fix).unwrap_or(&finding.message)
}

/// Line and column of a finding, from 1, if it has a place.
fn place(text: &str, finding: &Finding) -> Option<(usize, usize)> {
    let before = text.get(..finding.span.start as usize).filter(|_| finding.span.end > 0)?;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    Some((before.matches('\n').count() + 1, column))
}

fn effect(effect: Effect) -> Value {
    match effect {
        Effect::Refused => json!("refused"),
        Effect::Status(code) => json!({ "status": code }),
        Effect::Wrong => json!("wrong"),
        Effect::Slow => json!("slow"),
    }
}

/// Everything that is known of a rule.
fn object(rule: &Rule) -> Value {
    json!({
        "rule": rule.id,
        "statement": rule.statement,
        "symptom": rule.symptom,
        "effect": effect(rule.effect),
        "level": rule.level.to_string(),
        "fix": rule.fix,
        "limit": rule.limit,
        "where": rule.applies.to_string(),
        "confidence": rule.confidence.to_string(),
        "contradictions": rule.contradictions,
        "sources": rule.sources.iter().map(|key| source(key).unwrap_or(key)).collect::<Vec<_>>(),
        "static": rule.is_static,
        "emulated": rule.emulated,
    })
}

/// The same, to be read.
fn told(rule: &Rule) -> String {
    let mut text = format!("{}: {}\n\n", rule.id, rule.statement);
    let mut row = |name: &str, value: &str| text.push_str(&format!("  {name:13} {value}\n"));
    row("symptom", &rule.symptom);
    row("effect", &rule.effect.to_string());
    row("fix", &rule.fix);
    row("where", &rule.applies.to_string());
    row("confidence", &rule.confidence.to_string());
    for (at, contradiction) in rule.contradictions.iter().enumerate() {
        row(if at == 0 { "against it" } else { "" }, contradiction);
    }
    for (at, key) in rule.sources.iter().enumerate() {
        row(if at == 0 { "sources" } else { "" }, source(key).unwrap_or(key));
    }
    let checked = match (rule.is_static, rule.level) {
        (false, _) => "not in programs",
        (_, Level::Error) => "as an error",
        (_, Level::Warning) => "as a warning",
    };
    row("checked", checked);
    row("emulated", if rule.emulated { "yes" } else { "no" });
    text
}
