//! One program that breaks each rule and one that keeps it.
//!
//! They lie in `rules/RULE.bad.mil` and `rules/RULE.good.mil`. Lines of the bad one that end with
//! `// here` are those where the rule is broken; what has no place in the text, an input or the
//! program as a whole, counts as on the line of the function's head.

use anemone_ane::target::{Chip, Finding, Route, Rule, Target, check, rules};
use mil::{Program, parse};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Rules whose program breaks the language's own rules too.
const INVALID: [&str; 1] = ["nested-blocks"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules")
}

/// The first target on which a rule holds, beginning from the one the sources know best.
fn target_of(rule: &Rule) -> Target {
    let chips = [Chip::M4, Chip::M5, Chip::M1, Chip::M2, Chip::M3];
    let routes = [Route::InMemory, Route::Client, Route::E5rt];
    let targets = chips.into_iter().flat_map(|chip| routes.map(|r| Target::of(chip).by(r)));
    let mut targets = targets.flat_map(|target| [target, Target { os: 26, ..target }]);
    targets.find(|target| rule.holds(target)).unwrap_or_else(|| panic!("{} nowhere", rule.id))
}

/// Programs that are too long to be written out.
fn generated(id: &str) -> Option<[String; 2]> {
    let weights = |count: usize, last: &str| {
        let mut body = String::new();
        for at in 0..count {
            let (offset, before) = (64 + at * 256, at.checked_sub(1));
            let before = before.map_or("x".to_owned(), |at| format!("y{at}"));
            let here = if at == 16 { " // here" } else { "" };
            let ty = "tensor<fp16, [1, 64, 1, 1]>";
            write!(body, "{ty} w{at} = const()[val = {ty}(BLOBFILE(path = string(\"@model_path/weights/w.bin\"), offset = uint64({offset})))];{here}\n{X} y{at} = add(x = {before}, y = w{at});\n").unwrap();
        }
        write!(body, "fp16 k = const()[val = fp16(0x1p-1)];\n{last}\n").unwrap();
        program(&body)
    };
    let plain = |count: usize| weights(count, &format!("{X} y = relu(x = y{});", count - 1));
    let scaled = |count: usize, here: &str| {
        weights(count, &format!("{X} y = mul(x = y{}, y = k);{here}", count - 1))
    };
    let convolutions = |count: usize| {
        let ty = "tensor<fp16, [64, 64, 1, 1]>";
        let mut body = format!(
            "{ty} w = const()[val = {ty}(BLOBFILE(path = string(\"@model_path/weights/w.bin\"), offset = uint64(64)))];\n{X} y0 = relu(x = x);\n"
        );
        for at in 0..count {
            let here = if at == 383 { " // here" } else { "" };
            let next = at + 1;
            writeln!(body, "{X} y{next} = conv(weight = w, x = y{at});{here}").unwrap();
        }
        writeln!(body, "{X} y = relu(x = y{count});").unwrap();
        program(&body)
    };
    Some(match id {
        "weight-tensors" => [plain(17), plain(16)],
        "weight-tensors-and-scalar" => [scaled(16, " // here"), scaled(15, "")],
        "conv-chain" => [convolutions(384), convolutions(383)],
        _ => return None,
    })
}

const X: &str = "tensor<fp16, [1, 64, 1, 256]>";

fn program(body: &str) -> String {
    format!(
        "program(1.3)\n[buildInfo = dict<string, string>({{{{\"coremlc-version\", \"3505.4.1\"}}}})]\n{{\nfunc main<ios18>({X} x) {{\n{body}}} -> (y);\n}}\n"
    )
}

fn texts(rule: &Rule) -> [String; 2] {
    generated(&rule.id).unwrap_or_else(|| {
        ["bad", "good"].map(|kind| {
            let path = folder().join(format!("{}.{kind}.mil", rule.id));
            fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        })
    })
}

fn read(id: &str, text: &str) -> Program {
    let program = parse(text).unwrap_or_else(|d| panic!("{id}\n{}", d.annotate(text, id)));
    if !INVALID.contains(&id) {
        mil::verify(&program).unwrap_or_else(|d| panic!("{id}\n{}", d.annotate(text, id)));
    }
    program
}

/// The line of a finding, from 0.
fn line(text: &str, finding: &Finding) -> usize {
    match finding.span.end {
        0 => text.lines().position(|line| line.contains("func ")).expect("there is a function"),
        _ => text[..finding.span.start as usize].matches('\n').count(),
    }
}

fn is_static(rule: &&&Rule) -> bool {
    rule.is_static
}

#[test]
fn every_static_rule_is_found_where_it_is_broken_and_nowhere_else() {
    for rule in rules().iter().collect::<Vec<_>>().iter().filter(is_static) {
        let (id, target) = (&rule.id, target_of(rule));
        let [bad, good] = texts(rule);
        let findings = check(&read(id, &bad), &target);
        let found: Vec<&Finding> = findings.iter().filter(|f| f.rule.id == *id).collect();
        let lines: Vec<usize> = found.iter().map(|finding| line(&bad, finding)).collect();
        let marked = bad.lines().enumerate().filter(|(_, line)| line.ends_with("// here"));
        let marked: Vec<usize> = marked.map(|(at, _)| at).collect();
        assert_eq!(lines, marked, "{id} on {target}\n{bad}");
        for finding in &found {
            assert!(finding.message.ends_with(&format!("; fix: {}", rule.fix)), "{id}");
            let of_value = finding.value.as_ref().is_none_or(|name| bad.contains(name.as_str()));
            assert!(of_value && !finding.function.is_empty(), "{id}");
        }
        // A program that keeps the rule keeps every other that is sure, too.
        for finding in check(&read(id, &good), &target) {
            let broken = finding.rule.id == *id || finding.is_fatal();
            assert!(!broken, "{id}.good breaks {}: {}", finding.rule.id, finding.message);
        }
    }
}

#[test]
fn findings_are_in_source_order() {
    for rule in rules().iter().filter(|rule| rule.is_static) {
        for text in texts(rule) {
            let findings = check(&read(&rule.id, &text), &Target::of(Chip::M1));
            assert!(findings.is_sorted_by_key(|f| f.span.start), "{}", rule.id);
        }
    }
}

#[test]
fn no_program_is_of_no_rule() {
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let id = name.strip_suffix(".bad.mil").or_else(|| name.strip_suffix(".good.mil"));
        let rule = id.and_then(anemone_ane::target::rule);
        assert!(rule.is_some_and(|rule| rule.is_static), "{name}");
    }
}

#[test]
fn a_rule_of_other_targets_is_not_found() {
    let wide = fs::read_to_string(folder().join("axis-too-long.good.mil")).unwrap();
    let wide = read("axis-too-long", &wide);
    for chip in Chip::ALL {
        let findings = check(&wide, &Target::of(chip));
        let found = findings.iter().any(|f| f.rule.id == "axis-too-long");
        assert_eq!(found, chip < Chip::M4, "{chip}");
    }
}

/// What is stored in a few bits cannot be large, unless its scale is.
#[test]
fn weights_in_blocks_are_known_to_their_scales() {
    for (data, scale, offset, overflows) in [
        ("int4", "0x1p+12", "", false),
        // −8 · 2¹³ is what fp16 rounds to infinity.
        ("int4", "0x1p+13", "", true),
        ("uint4", "0x1p+13", "offset = tensor<uint4, [1]>([8]), ", true),
        ("uint4", "0x1p+12", "offset = tensor<uint4, [1]>([8]), ", false),
        ("uint4", "0x1p+12", "offset = tensor<fp16, [1]>([-8.0]), ", true),
        ("int8", "0x1p+9", "", true),
        ("fp16", "0x1p+10", "", false),
    ] {
        let zeros = vec!["0"; 256].join(", ");
        let body = format!(
            "tensor<fp16, [256]> w = constexpr_blockwise_shift_scale(data = tensor<{data}, [256]>([{zeros}]), {offset}scale = tensor<fp16, [1]>([{scale}]));\n{X} y = add(x = x, y = w);\n"
        );
        let findings = check(&read(data, &program(&body)), &Target::of(Chip::M4));
        let found = findings.iter().any(|f| f.rule.id == "fp16-overflow");
        assert_eq!(found, overflows, "{data} {scale} {offset}");
    }
}

/// Programs that differ from those of the rules by small accidents are judged without a panic,
/// verified or not.
#[test]
fn whatever_parses_is_judged() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as usize) % below.max(1)
    };
    let words = [
        "0",
        "1",
        "-1",
        "2",
        "64",
        "65537",
        "4294967296",
        "x",
        "y",
        "fp16",
        "int8",
        "int32",
        "bool",
        "?",
        "matmul",
        "conv",
        "softmax",
        "concat",
        "split",
        "reduce_sum",
        "exp",
        "pad",
        "tile",
        "layer_norm",
        "weight",
        "axis",
        "bias",
        "values",
        "gather",
        "slice_by_size",
        "reshape",
        "state<tensor<fp16, [1]>>",
        "(x, y)",
        "tensor<fp16, ?>",
        "fp16(0x1p+15)",
        "fp16(nan)",
    ];
    let rounds = if std::env::var_os("SLOW").is_some() { 4000 } else { 120 };
    let (mut judged, mut found) = (0, 0);
    for rule in rules().iter().filter(|rule| rule.is_static && generated(&rule.id).is_none()) {
        for text in texts(rule) {
            for _ in 0..rounds {
                let mut tokens = split(&text);
                for _ in 0..1 + random(3) {
                    let at = random(tokens.len());
                    match random(4) {
                        0 => tokens[at] = words[random(words.len())].to_owned(),
                        1 => tokens[at] = tokens[random(tokens.len())].clone(),
                        2 => drop(tokens.remove(at)),
                        _ => {
                            let other = random(tokens.len());
                            tokens.swap(at, other);
                        }
                    }
                }
                let Ok(program) = parse(&tokens.concat()) else { continue };
                judged += 1;
                for chip in [Chip::M1, Chip::M5] {
                    found += check(&program, &Target::of(chip)).len();
                    found += check(&program, &Target::of(chip).by(Route::E5rt)).len();
                }
            }
        }
    }
    assert!(judged > 1000 && found > judged, "only {judged} programs parsed, {found} findings");
}

/// Words, numbers, and the characters between them.
fn split(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = vec![];
    let in_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    for c in text.chars() {
        match tokens.last_mut() {
            Some(last) if in_word(c) && last.ends_with(in_word) => last.push(c),
            _ => tokens.push(c.into()),
        }
    }
    tokens
}
