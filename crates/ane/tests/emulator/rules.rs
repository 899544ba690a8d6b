//! Every program that breaks a rule on which the emulator acts meets the rule's symptom, and every
//! one that keeps it runs. The programs are those of `tests/rules`.

use crate::common::{emulator, target};
use anemone_ane::target::{Chip, Effect, On, Route, Rule, Target, rules};
use anemone_ane::{Engine, EngineError, Numerics, Source, Stage};
use mil::{BlobRef, Literal};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Rules whose program breaks the language's own rules, for which it is refused first.
const INVALID: [&str; 1] = ["nested-blocks"];

/// The first target on which a rule holds, beginning from the one the sources know best.
fn target_of(rule: &Rule) -> Target {
    let chips = [Chip::M4, Chip::M5, Chip::M1, Chip::M2, Chip::M3];
    let targets = chips.into_iter().flat_map(|chip| Route::ALL.map(|route| target(chip, route)));
    let mut targets = targets.flat_map(|target| [target, Target { os: 26, ..target }]);
    targets.find(|target| rule.holds(target)).expect("every rule holds somewhere")
}

/// A rule's program with weight files that have a record wherever it reads one.
fn source(rule: &Rule, kind: &str) -> Option<Source> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules");
    // The longest programs are not in files; other tests make them.
    let text = fs::read_to_string(folder.join(format!("{}.{kind}.mil", rule.id))).ok()?;
    // Some read several tensors at one place, which no file can give: each gets a file of its own.
    let mut parts = text.split("weights/w.bin").enumerate();
    let first = parts.next().map_or("", |(_, part)| part).to_owned();
    let text = parts.fold(first, |text, (at, part)| format!("{text}weights/w{at}.bin{part}"));
    let program = mil::parse(&text).expect("the text is a program");
    let mut files = BTreeMap::<String, Vec<u8>>::new();
    for function in &program.functions {
        function.body.visit(&mut |operation| {
            for literal in operation.literals() {
                if let Literal::Blob(blob) = literal {
                    record(files.entry(blob.path.clone()).or_default(), blob);
                }
            }
        });
    }
    let weights = files.into_iter().map(|(path, bytes)| (path, Arc::from(bytes))).collect();
    Some(Source { name: rule.id.clone(), text, weights })
}

/// Writes the record of zeros that a program reads.
fn record(file: &mut Vec<u8>, blob: &BlobRef) {
    let at = blob.offset as usize;
    let bytes = blob.dtype.packed_bytes(blob.dims.iter().product()).expect("a sane size");
    file.resize(file.len().max(at + 64 + bytes), 0);
    if at >= 64 && at.is_multiple_of(64) {
        file[at..][..4].copy_from_slice(&0xDEAD_BEEFu32.to_le_bytes());
        file[at + 4..][..4].copy_from_slice(&1u32.to_le_bytes());
        file[at + 8..][..8].copy_from_slice(&(bytes as u64).to_le_bytes());
        file[at + 16..][..8].copy_from_slice(&(at as u64 + 64).to_le_bytes());
    }
}

/// Compiles and evaluates. Surfaces are as large as their ports, or `generous`.
fn run(engine: &dyn Engine, source: &Source, generous: bool) -> Result<(), EngineError> {
    let model = engine.compile(source)?;
    let surfaces = |ports: &[runtime::Port]| {
        let largest = ports.iter().map(|port| port.bytes).max().unwrap_or(0).max(1 << 16);
        let size = |port: &runtime::Port| if generous { largest } else { port.bytes };
        ports.iter().map(|port| engine.surface(size(port))).collect::<Result<Vec<_>, _>>()
    };
    let (inputs, outputs) = (surfaces(model.inputs())?, surfaces(model.outputs())?);
    model.bind(&inputs, &outputs)?.evaluate()
}

#[test]
fn who_breaks_a_rule_meets_its_symptom() {
    let mut seen = 0;
    for rule in rules().iter().filter(|rule| rule.is_static && rule.emulated) {
        let Some(source) = source(rule, "bad") else { continue };
        let engine = emulator(target_of(rule), Numerics::Fast);
        let result = run(&engine, &source, rule.on != On::Surfaces);
        let (stage, code) = match rule.effect {
            Effect::Refused => (Stage::Compile, None),
            Effect::Status(code) => (Stage::Evaluate, Some(code)),
            Effect::Wrong | Effect::Slow => {
                result.unwrap_or_else(|e| panic!("nothing is said of {}: {e}", rule.id));
                continue;
            }
        };
        let Err(error) = result else { panic!("{} can be broken", rule.id) };
        assert_eq!((error.stage, error.code), (stage, code), "{error}");
        assert_eq!(error.needs_new_process, rule.id == "tile");
        if !INVALID.contains(&rule.id.as_str()) {
            assert!(error.message.contains(&format!("(rule {})", rule.id)), "{error}");
        }
        seen += 1;
    }
    assert!(seen > 30, "only {seen} rules were tried");
}

#[test]
fn who_keeps_a_rule_is_not_refused() {
    for rule in rules().iter().filter(|rule| rule.is_static) {
        let Some(source) = source(rule, "good") else { continue };
        let engine = emulator(target_of(rule), Numerics::Fast);
        run(&engine, &source, true).unwrap_or_else(|e| panic!("{}: {e}", rule.id));
    }
}

#[test]
fn rules_on_which_the_emulator_does_not_act_stop_nobody() {
    for rule in rules().iter().filter(|rule| rule.is_static && !rule.emulated) {
        let Some(source) = source(rule, "bad") else { continue };
        let engine = emulator(target_of(rule), Numerics::Fast);
        run(&engine, &source, true).unwrap_or_else(|e| panic!("{}: {e}", rule.id));
    }
}
