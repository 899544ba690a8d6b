//! `anemone print`, `anemone completions` and what all commands share, from the outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAM: &str = "program(1.3)
{
    func main<ios18>(tensor<fp32, [2, 3]> x) {
        tensor<fp32, [2, 3]> y = relu(x = x);
    } -> (y);
}
";

fn anemone(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anemone")).args(arguments).output().unwrap()
}

/// An empty folder of this test's own.
fn folder(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("print_{test}"));
    fs::remove_dir_all(&path).ok();
    fs::create_dir_all(&path).unwrap();
    path
}

#[track_caller]
fn fails(arguments: &[&str], code: i32, expected: &[&str]) {
    let output = anemone(arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(output.stdout.is_empty());
    for part in expected {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn layout_is_normalised() {
    let folder = folder("layout");
    let path = folder.join("model.mil");
    let written = PROGRAM.replace("\n    ", "  ").replace("x = x", "  x=x  ");
    fs::write(&path, written).unwrap();
    let output = anemone(&["print", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed, mil::print(&mil::parse(PROGRAM).unwrap()));
    assert_eq!(anemone(&["print", folder.to_str().unwrap()]).stdout, printed.as_bytes());

    let copy = folder.join("copy.mil");
    let output = anemone(&["print", path.to_str().unwrap(), "--output", copy.to_str().unwrap()]);
    assert_eq!((output.status.code(), output.stdout), (Some(0), vec![]));
    assert_eq!(fs::read_to_string(copy).unwrap(), printed);
}

#[test]
fn every_problem_is_listed_with_its_place() {
    let path = folder("problems").join("bad.mil");
    let bad = PROGRAM.replace("relu(x = x)", "relu(x = z)").replace(
        "    } -> (y)",
        "        tensor<fp32, [2, 3]> w = frobnicate(x = x);\n    } -> (y)",
    );
    fs::write(&path, bad).unwrap();
    let name = path.to_str().unwrap();
    let expected = [
        "has 2 problems",
        &format!("{name}:4:43: "),
        "`z`",
        &format!("{name}:5:34: "),
        "`frobnicate`",
        "\n                                 ^^^^^^^^^^",
    ];
    fails(&["print", name], 1, &expected);

    let untrue = PROGRAM.replace(
        "    } -> (y)",
        "        tensor<fp32, [5]> v = relu(x = x);\n        tensor<fp32, [6]> w = relu(x = x);\n    } -> (y)",
    );
    fs::write(&path, untrue).unwrap();
    let expected = ["has 2 problems", &format!("{name}:5:9: "), &format!("{name}:6:9: "), "[6]"];
    fails(&["print", name], 1, &expected);
}

#[test]
fn what_is_no_program_is_named() {
    let folder = folder("none");
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    fails(&["print", &at("nowhere.mil")], 1, &["nowhere.mil`", "No such file"]);
    fails(&["print", folder.to_str().unwrap()], 1, &["expected a package or a compiled model"]);
    fails(&["print", &at("a.mlpackage")], 1, &["a.mlpackage`", "No such file"]);
    fs::write(at("a.mlpackage"), "x").unwrap();
    fails(&["print", &at("a.mlpackage")], 1, &["is a folder, this is a file"]);
    fs::write(at("a.mlmodel"), "text").unwrap();
    fails(&["print", &at("a.mlmodel")], 1, &["this is not a model file"]);
    fs::write(at("bytes.mil"), b"program(1.3)\xff").unwrap();
    fails(&["print", &at("bytes.mil")], 1, &["byte 12 is not UTF-8"]);
}

#[test]
fn a_failure_leaves_the_output_as_it_was() {
    let folder = folder("untouched");
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    fs::write(at("bad.mil"), "program").unwrap();
    fs::write(at("out.mil"), "precious").unwrap();
    fails(&["print", &at("bad.mil"), "-o", &at("out.mil")], 1, &["bad.mil:1:"]);
    assert_eq!(fs::read_to_string(at("out.mil")).unwrap(), "precious");
    fs::write(at("good.mil"), PROGRAM).unwrap();
    fails(&["print", &at("good.mil"), "-o", &at("no/out.mil")], 1, &["cannot write", "no/out"]);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "nothing temporary is left");
}

#[test]
fn wrong_usage_is_2() {
    fails(&[], 2, &["Usage"]);
    fails(&["frobnicate"], 2, &["`frobnicate`".replace('`', "'").as_str()]);
    fails(&["print"], 2, &["<PROGRAM>"]);
    fails(&["print", "a.mil", "--frob"], 2, &["--frob"]);
    fails(&["completions", "tcl"], 2, &["'tcl'", "bash"]);
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = anemone(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        let script = String::from_utf8(output.stdout).unwrap();
        for word in ["anemone", "print", "run", "placement", "numerics"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn completions_know_what_is_measured_and_its_flags() {
    for shell in ["bash", "zsh", "fish"] {
        let output = anemone(&["completions", shell]);
        let script = String::from_utf8(output.stdout).unwrap();
        let of_bench: Vec<&str> = script.lines().filter(|line| line.contains("bench")).collect();
        assert!(!of_bench.is_empty(), "{shell}");
        for word in ["gemm", "int8", "train", "prefill", "decode", "memory"] {
            assert!(of_bench.iter().any(|line| line.contains(word)), "{shell}: {word}");
        }
        for flag in ["recompute", "plan-only", "activations", "profile", "assert"] {
            assert!(script.contains(flag), "{shell}: --{flag}");
        }
    }
}

#[test]
fn help_goes_to_the_terminal() {
    for arguments in [&["--help"][..], &["run", "--help"], &["print", "-h"]] {
        let output = anemone(arguments);
        assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
        assert!(String::from_utf8(output.stdout).unwrap().contains("Usage: anemone"));
    }
}
