//! `anemone convert`, from the outside.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn anemone(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anemone")).args(arguments).output().unwrap()
}

fn fixture(name: &str) -> String {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
    crates.join("checkpoints/tests/fixtures").join(name).to_str().unwrap().to_owned()
}

fn folder(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("convert_{test}"));
    std::fs::remove_dir_all(&path).ok();
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[track_caller]
fn converts(from: &str, to: &Path, options: &[&str]) -> serde_json::Value {
    let arguments = [&["convert", "--json", from, to.to_str().unwrap()][..], options].concat();
    let output = anemone(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn fails(arguments: &[&str], expected: &str) {
    let output = anemone(&[&["convert"], arguments].concat());
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains(expected), "`{expected}` is not in: {message}");
}

#[test]
fn the_name_and_the_source_choose_format_and_type() {
    let folder = folder("choice");
    let (gguf, hf, bin) = (folder.join("a.gguf"), folder.join("b"), folder.join("c.bin"));
    let summary = converts(&fixture("llama"), &gguf, &[]);
    assert_eq!((&summary["dtype"], &summary["model_type"]), (&"BF16".into(), &"llama".into()));
    let gguf = gguf.to_str().unwrap();
    assert_eq!(converts(gguf, &hf, &[])["dtype"], "BF16");
    assert_eq!(converts(hf.to_str().unwrap(), &bin, &[])["dtype"], "F32");
    // bf16 numbers, so nothing was lost on the way. The file ends with tables of 24 x 4 cosines and
    // as many sines, which readers compute again and every writer rounds its own way.
    let written = std::fs::read(&bin).unwrap();
    let fixture_bytes = std::fs::read(fixture("llama2c-v0.bin")).unwrap();
    let weights = written.len() - 4 * 2 * 24 * 4;
    assert_eq!(written.len(), fixture_bytes.len());
    assert!(written[..weights] == fixture_bytes[..weights]);
    let summary = converts(&fixture("llama"), &folder.join("d.bin"), &["--dtype", "q8_0"]);
    assert_eq!(summary["left_out"].as_array().unwrap().len(), 1);
    assert_eq!(converts(&fixture("llama"), &folder.join("e"), &["--to", "blzt"])["dtype"], "F32");
}

#[test]
fn nothing_is_overwritten_and_mistakes_are_explained() {
    let folder = folder("mistakes");
    let file = folder.join("a.gguf");
    let (from, to) = (fixture("llama"), file.to_str().unwrap().to_owned());
    std::fs::write(&file, "precious").unwrap();
    fails(&[&from, &to], "a.gguf: it exists already");
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    converts(&from, &file, &["--force"]);
    let directory = folder.to_str().unwrap();
    fails(&[&from, directory, "--force"], "this directory exists already; remove it first");
    fails(&[&from, &format!("{directory}/b"), "--dtype", "q8_0"], "Q8_0 is not written here");
    fails(&[&fixture("tokens.json"), &format!("{directory}/b")], "not a checkpoint that is known");
    fails(&[&fixture("none"), &format!("{directory}/b")], "No such file");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing half-written stays");
}
