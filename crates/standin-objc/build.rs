//! Builds the runtime as `libobjc.so`, the name under which `objc2` links it, where the system
//! has none of its own. It lies in the output folder, which cargo puts on the library path of
//! what it runs and tests.

use std::path::PathBuf;
use std::process::Command;
use std::{env, process};

fn main() {
    println!("cargo::rerun-if-changed=runtime");
    if env::var("CARGO_CFG_TARGET_VENDOR").as_deref() == Ok("apple") {
        return; // Apple's systems have the real one.
    }
    let out = PathBuf::from(variable("OUT_DIR"));
    let status = Command::new(variable("RUSTC"))
        .args(["--crate-name", "objc", "--crate-type", "cdylib", "--edition", "2024", "-O"])
        .args(["--target", &variable("TARGET")])
        .args(["-C", "debuginfo=line-tables-only", "-C", "panic=abort"])
        .args(["-D", "unsafe_op_in_unsafe_fn", "runtime/lib.rs", "--out-dir"])
        .arg(&out)
        .status();
    match status {
        Ok(status) if status.success() => {}
        other => {
            eprintln!("cannot build the stand-in runtime: {other:?}");
            process::exit(1);
        }
    }
    println!("cargo::rustc-link-search=native={}", out.display());
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}
