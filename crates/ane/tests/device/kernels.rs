//! The text of every kernel that training generates, and the rules that it breaks.
//!
//! After a change that is meant, `ANEMONE_BLESS=1 cargo test -p anemone-ane --test device` writes
//! the files anew.

use super::common::*;
use anemone_ane::device::{PlannedPart, WeightStrategy, emit, plan};
use anemone_ane::target::{Chip, Target, check};
use mil::{DataType, Weights};
use models::{Config, Shape};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Models, with the batches that they are trained in.
const MODELS: [(&str, Shape); 3] = [
    ("tiny", Shape { batch: 8, seq: 128 }),
    ("stories110m", Shape { batch: 1, seq: 256 }),
    ("qwen3-0.6b", Shape { batch: 1, seq: 256 }),
];

/// The kernels of a model for a target: name and text.
fn kernels(name: &str, shape: Shape, target: &Target) -> Vec<(String, String)> {
    let config = Config::preset(name).unwrap();
    let gradient = layer(&config, shape, DataType::Fp16);
    let mut kernels = vec![];
    for function in [&gradient.forward, &gradient.backward] {
        let options = options(&config, function);
        let plan = plan(function, &options, &target.limits(), WeightStrategy::Packed).unwrap();
        for part in &plan.parts {
            let PlannedPart::Kernel { part, packed } = part else { continue };
            let emitted = emit(&packed.function, &Weights::default(), &|_| false).unwrap();
            kernels.push((part.function.name.clone(), emitted.text));
        }
    }
    kernels
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/device/kernels")
}

fn compare(file: &str, found: &str) {
    let path = folder().join(file);
    if std::env::var_os("ANEMONE_BLESS").is_some() {
        std::fs::create_dir_all(folder()).unwrap();
        return std::fs::write(path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let line = expected.lines().zip(found.lines()).position(|(a, b)| a != b);
    assert!(expected == found, "{file} differs, first in line {:?}", line.map(|l| l + 1));
}

#[test]
fn texts_are_as_they_were() {
    for (model, shape) in MODELS {
        for (kernel, text) in kernels(model, shape, &target(Chip::M4)) {
            compare(&format!("{model}.{kernel}.mil"), &text);
        }
    }
}

/// No more than the reference has: 6 kernels for a layer of MHA, 10 for one of GQA.
#[test]
fn a_layer_is_four_kernels_whatever_its_heads() {
    for (model, shape) in MODELS {
        for chip in Chip::ALL {
            let kernels = kernels(model, shape, &target(chip));
            assert_eq!(kernels.len(), 4, "{model} on {chip}");
        }
    }
}

#[test]
fn every_text_passes_the_rules_of_every_chip_or_is_listed() {
    let mut list = String::new();
    for (model, shape) in MODELS {
        for chip in Chip::ALL {
            let target = target(chip);
            for (kernel, text) in kernels(model, shape, &target) {
                let program = mil::parse(&text).unwrap();
                let mut rules: Vec<String> = check(&program, &target)
                    .into_iter()
                    .map(|f| format!("{} ({:?})", f.rule.id, f.rule.effect))
                    .collect();
                rules.sort();
                rules.dedup();
                let verdict = if rules.is_empty() { "passes".into() } else { rules.join(", ") };
                writeln!(list, "{chip} {model} {kernel}: {verdict}").unwrap();
            }
        }
    }
    compare("rules.txt", &list);
}
