//! Going on in a new process.

use anyhow::Context;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Replaces this process by one that resumes the run: the same program with the same arguments.
/// Returns only with an error.
pub fn resume() -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find this program to start it again")?;
    let error = Command::new(&program).args(arguments(std::env::args_os().skip(1))).exec();
    Err(error).with_context(|| format!("cannot start `{}` again", program.display()))
}

/// The arguments with `--resume` among them.
fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = given.collect();
    if !arguments.iter().any(|a| a == "--resume") {
        arguments.push("--resume".into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::arguments;
    use std::ffi::OsString;

    #[test]
    fn every_argument_stays_and_resume_is_given_once() {
        let given = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let resumed = given("train --lr 1e-3 --out o --resume");
        assert_eq!(arguments(given("train --lr 1e-3 --out o").into_iter()), resumed);
        let again = given("train --resume --lr 1e-3 --out o");
        assert_eq!(arguments(again.clone().into_iter()), again);
    }
}
