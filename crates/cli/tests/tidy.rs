//! Rules about the source itself that ARCHITECTURE.md and CONTRIBUTING.md state.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every Rust file of a folder and those below.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = vec![];
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("the file can be read");
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {}", folder.display());
    found
}

fn crates() -> Vec<String> {
    let names = fs::read_dir(root().join("crates")).expect("the folder can be read");
    names.map(|e| e.expect("a crate").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn mil_interp_and_passes_run_anywhere() {
    for name in ["mil", "interp", "passes"] {
        for (path, text) in sources(&root().join("crates").join(name).join("src")) {
            let path = path.display();
            assert!(!text.contains("target_os"), "{path} depends on the system");
        }
    }
}

/// Crates that may hold unsafe code: memory, vector instructions, pointers from C, Apple's
/// interfaces, and what tests put in place of those.
const UNSAFE: [&str; 6] = ["surface", "cpu", "capi", "apple", "standin-objc", "standin-ane"];

#[test]
fn all_unsafe_code_is_in_the_crates_that_are_listed() {
    for name in crates().iter().filter(|n| !UNSAFE.contains(&n.as_str())) {
        let folder = root().join("crates").join(name).join("src");
        let entry = ["lib.rs", "main.rs"].map(|file| folder.join(file));
        let entry = entry.iter().find(|path| path.exists()).expect("a crate has a root file");
        let text = fs::read_to_string(entry).expect("the file can be read");
        assert!(text.contains("#![forbid(unsafe_code)]"), "{} allows unsafe", entry.display());
    }
}

/// The stand-in runtime is a shared library; what is shipped must not ask for it.
#[test]
fn stand_ins_are_for_tests_only() {
    for name in crates().iter().filter(|name| !name.starts_with("standin-")) {
        let manifest = root().join("crates").join(name).join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).expect("a crate has a manifest");
        for section in manifest.split("\n[").filter(|section| section.contains("standin-")) {
            let header = section.lines().next().expect("a section has a header");
            assert!(header.contains("dev-dependencies"), "{name} depends on stand-ins: {header}");
        }
    }
}

#[test]
fn source_files_stay_short() {
    for name in crates() {
        for (path, text) in sources(&root().join("crates").join(name)) {
            let lines = text.lines().count();
            assert!(lines <= 620, "{} has {lines} lines", path.display());
        }
    }
}

#[test]
fn every_dependency_has_a_line() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest can be read");
    let list = fs::read_to_string(root().join("DEPENDENCIES.md")).expect("the list can be read");
    let table = manifest.split("[workspace.dependencies]").nth(1).expect("the table is there");
    let table = table.split("\n[").next().expect("a table has a body");
    let names = table.lines().filter(|line| !line.contains("path =")).filter_map(|line| {
        let name = line.split(['=', '.']).next()?.trim();
        (!name.is_empty() && !name.starts_with('#')).then_some(name)
    });
    for name in names {
        assert!(list.contains(&format!("`{name}`")), "DEPENDENCIES.md has no line for {name}");
    }
}
