//! The Neural Engine itself: the programs of `anemone doctor` on every route of this machine.
//!
//! Only a Mac with an engine can run this, so the test has a `main` of its own, which says in one
//! line what was not run and why; the test harness would need to know when it is compiled.

use std::process::ExitCode;

fn main() -> ExitCode {
    match check() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(failures) => {
            failures.iter().for_each(|failure| eprintln!("{failure}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "macos"))]
fn check() -> Result<String, Vec<String>> {
    Ok("not run: the Neural Engine itself, because this is not a Mac (its routes run against \
        stand-ins instead)"
        .to_owned())
}

/// What was run; or, on a Mac that lacks what the routes need, what was not and why.
#[cfg(target_os = "macos")]
fn check() -> Result<String, Vec<String>> {
    use apple::{Paths, Route, capabilities, open};
    let (mut ran, mut absent, mut failures) = (vec![], vec![], vec![]);
    for route in [Route::Client, Route::InMemory] {
        if let Some(item) = capabilities(&Paths::default()).missing(route).first() {
            absent.push(format!("{}: {item}", route.name()));
            continue;
        }
        let engine = match open(&Paths::default(), route) {
            Ok(engine) => engine,
            Err(error) => {
                failures.push(error.to_string());
                continue;
            }
        };
        let checks = ane::selftest::run(&*engine);
        let failed = checks.iter().filter(|check| !check.passed());
        failures.extend(failed.map(|check| format!("{}: {check:?}", route.name())));
        ran.push(route.name());
    }
    match (failures.is_empty(), ran.is_empty()) {
        (false, _) => Err(failures),
        (true, true) => Ok(format!("not run: the Neural Engine itself: {}", absent.join("; "))),
        (true, false) => Ok(format!("ran on the Neural Engine by {}", ran.join(" and "))),
    }
}
