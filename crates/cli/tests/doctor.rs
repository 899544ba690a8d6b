//! `anemone doctor` from the outside.
#![cfg(not(target_os = "macos"))] // There it depends on the machine.

use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

fn doctor(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anemone"));
    command.arg("doctor").args(arguments).output().unwrap()
}

/// An empty folder of this test's own.
fn folder(test: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("doctor").join(test);
    _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn it_says_in_one_line_that_there_are_no_routes_and_tests_the_emulator() {
    let output = doctor(&[]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let about_routes: Vec<&str> = text.lines().filter(|line| line.contains("routes")).collect();
    let expected =
        format!("Apple's routes to the Neural Engine are not present on {}", std::env::consts::OS);
    assert_eq!(about_routes, [expected]);
    assert!(text.contains("emulator: emulator of m4"), "{text}");
    for program in ["elementwise", "packed-product", "convolution", "two-inputs"] {
        let line = format!("  {program}: ok, 0 of 8192 values differ");
        assert!(text.contains(&line), "{text}");
    }
}

#[test]
fn a_report_is_the_same_in_the_file_and_on_the_screen() {
    let file = folder("report").join("report.json");
    let output = doctor(&["--json", "--out", file.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report, serde_json::from_slice::<Value>(&fs::read(file).unwrap()).unwrap());
    assert_eq!(report["apple"]["present"], false);
    assert_eq!(report["engines"][0]["name"], "emulator");
    assert_eq!(report["engines"][0]["works"], true);
    assert_eq!(report["engines"][0]["checks"].as_array().unwrap().len(), 4);
}

#[test]
fn a_recording_is_replayed_and_a_damaged_one_is_an_error() {
    let folder = folder("record");
    let asked = folder.join("recording.jsonl");
    let output = doctor(&["--record", asked.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let recording = folder.join("recording.emulator.jsonl");
    let replay = doctor(&["--replay", recording.to_str().unwrap()]);
    let text = String::from_utf8(replay.stdout).unwrap();
    assert!(replay.status.success(), "{text}");
    assert!(text.contains("recording: recording of emulator of m4"), "{text}");
    assert_eq!(text.matches(": ok, 0 of 8192 values differ").count(), 4, "{text}");

    let damaged = fs::read_to_string(&recording).unwrap().replacen("elementwise", "elementwisf", 1);
    fs::write(&recording, damaged).unwrap();
    let replay = doctor(&["--replay", recording.to_str().unwrap()]);
    assert_eq!(replay.status.code(), Some(1));
    let said = String::from_utf8(replay.stderr).unwrap();
    assert!(said.contains("of the recording cannot be used: it is damaged"), "{said}");
}

#[test]
fn files_that_cannot_be_written_or_read_are_errors_with_their_names() {
    let nowhere = folder("nowhere").join("missing").join("file.json");
    let nowhere = nowhere.to_str().unwrap();
    for (option, words) in [("--out", "write"), ("--record", "write"), ("--replay", "read")] {
        let output = doctor(&[option, nowhere]);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&format!("cannot {words}")) && said.contains("missing"), "{said}");
    }
    assert_eq!(doctor(&["--record", "a", "--replay", "b"]).status.code(), Some(2));
}
