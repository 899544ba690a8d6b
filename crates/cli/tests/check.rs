//! `anemone check` from the outside.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// A program that keeps every rule, and gives no warning.
const GOOD: &str = r#"program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3505.4.1"}})]
{
    func main<ios18>(tensor<fp16, [1, 64, 1, 256]> x) {
        tensor<fp16, [1, 64, 1, 256]> a = sigmoid(x = x)[name = string("a")];
        tensor<fp16, [1, 64, 1, 256]> y = exp(x = x)[name = string("y")];
    } -> (y);
}
"#;

fn anemone(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anemone")).args(arguments).output().unwrap()
}

/// A file of this test's own.
fn file(test: &str, text: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("check");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{test}.mil"));
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Runs it and compares the exit code; what it prints, and what it says of errors.
#[track_caller]
fn runs(arguments: &[&str], code: i32) -> (String, String) {
    let output = anemone(arguments);
    let [printed, said] = [output.stdout, output.stderr].map(|b| String::from_utf8(b).unwrap());
    assert_eq!(output.status.code(), Some(code), "{printed}{said}");
    (printed, said)
}

#[test]
fn a_program_that_keeps_the_rules_is_fit() {
    let path = file("good", GOOD);
    let (printed, _) = runs(&["check", &path], 0);
    assert_eq!(printed, format!("{path}: fit for m1, m2, m3, m4, m5\n"));
    let (printed, _) = runs(&["check", &path, "--target", "m4,m2:26"], 0);
    assert_eq!(printed, format!("{path}: fit for m4, m2:26\n"));
}

#[test]
fn a_broken_rule_is_told_with_place_symptom_and_fix() {
    let path = file("bad", &GOOD.replace("exp(x = x)", "sin(x = x)"));
    let (printed, said) = runs(&["check", &path, "--target", "m3,m4"], 1);
    let expected = [
        &format!("{path}:6:9: error: sin `y` is an op that the engine's compiler refuses"),
        "[unsupported-op]\n        tensor<fp16",
        "\n        ^^^^",
        "\n  m3, m4: refused: InvalidMILProgram\n  fix: compute it on the host",
    ];
    for part in expected {
        assert!(printed.contains(part), "`{part}` is not in: {printed}");
    }
    assert!(said.ends_with("breaks unsupported-op on m3, m4\n"), "{said}");
    // By e5rt only the first chips lack it.
    let (_, said) = runs(&["check", &path, "--route", "e5rt"], 1);
    assert!(said.ends_with("breaks trigonometry on m1, m2\n"), "{said}");
    runs(&["check", &path, "--route", "e5rt", "--target", "m4"], 0);
}

#[test]
fn ranges_of_inputs_give_warnings() {
    let path = file("ranges", GOOD);
    let (printed, _) = runs(&["check", &path, "--target", "m4", "--range", "x=-9:12.5"], 0);
    assert!(printed.contains("warning: exp `y` has an argument of up to 12.5, more than 11.09"));
    assert!(printed.ends_with("fit for m4, with 1 warning\n"), "{printed}");
    let (printed, _) = runs(&["check", &path, "--target", "m4", "--range", "x=-9:9"], 0);
    assert!(!printed.contains("warning"), "{printed}");
    let (_, said) = runs(&["check", &path, "--range", "z=0:1"], 1);
    assert!(said.contains("has an input `z`"), "{said}");
    // Features of packages need not have the names of values.
    let names = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = names.join("../coreml/tests/fixtures/names.mlpackage");
    let names = names.to_str().unwrap();
    let (_, said) = runs(&["check", names, "--target", "m4", "--range", "input.1=0:1"], 1);
    assert!(said.contains("breaks"), "{said}");
    let (_, said) = runs(&["check", names, "--target", "m4", "--range", "input.2=0:1"], 1);
    assert!(said.contains("has an input `input.2`"), "{said}");
    for bad in ["x", "x=1", "x=2:1", "x=a:1"] {
        runs(&["check", &path, "--range", bad], 2);
    }
}

#[test]
fn padded_surfaces_heal_small_tensors() {
    let path = file("small", &GOOD.replace("[1, 64, 1, 256]", "[1, 8, 1, 256]"));
    let (printed, _) = runs(&["check", &path], 1);
    assert!(printed.contains("the input `x` takes 4,096 bytes, fewer than 16,384"), "{printed}");
    runs(&["check", &path, "--padded"], 0);
}

#[test]
fn findings_as_json_have_everything() {
    let path = file("json", &GOOD.replace("exp(x = x)", "sin(x = x)"));
    let (printed, _) = runs(&["check", &path, "--target", "m4", "--json"], 1);
    let object: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(object["fit"], false);
    assert_eq!(object["targets"], serde_json::json!(["m4:15"]));
    let finding = &object["findings"][0];
    assert_eq!(finding["rule"], "unsupported-op");
    assert_eq!((&finding["line"], &finding["column"]), (&6.into(), &9.into()));
    assert_eq!((&finding["value"], &finding["function"]), (&"y".into(), &"main".into()));
    assert_eq!((&finding["effect"], &finding["level"]), (&"refused".into(), &"error".into()));
    let (printed, _) = runs(&["check", "--explain", "tile", "--json"], 0);
    let rule: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(rule["effect"]["status"], 0x1d);
    let (printed, _) = runs(&["check", "--list", "--json"], 0);
    let rules: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(rules.as_array().unwrap().len(), ane::target::rules().len());
}

#[test]
fn rules_are_explained_and_listed() {
    let (printed, _) = runs(&["check", "--explain", "surface-minimum"], 0);
    for part in ["16,384 bytes", "0x1d", "contested", "against it", "49,152", "ironmill", "Orion"] {
        assert!(printed.contains(part), "`{part}` is not in: {printed}");
    }
    let (_, said) = runs(&["check", "--explain", "concat"], 2);
    assert!(said.contains("near it are concat-needs-interleave"), "{said}");
    let (_, said) = runs(&["check", "--explain", "xyzzy"], 2);
    assert!(said.contains("--list lists all"), "{said}");
    let (all, _) = runs(&["check", "--list"], 0);
    let (some, _) = runs(&["check", "--list", "--target", "m5"], 0);
    for rule in ane::target::rules() {
        assert!(all.lines().any(|line| line.starts_with(&format!("{} ", rule.id))), "{}", rule.id);
    }
    assert!(all.contains("slice-saturation") && !some.contains("slice-saturation"));
}

#[test]
fn wrong_usage_is_2() {
    let path = file("usage", GOOD);
    runs(&["check"], 2);
    let (_, said) = runs(&["check", &path, "--target", "m9"], 2);
    assert!(said.contains("there is no chip `m9`; expected m1, m2, m3, m4, m5"), "{said}");
    runs(&["check", &path, "--route", "usb"], 2);
    runs(&["check", &path, "--list"], 2);
    let (_, said) = runs(&["check", "/nowhere.mil"], 1);
    assert!(said.contains("/nowhere.mil"), "{said}");
}
