//! Programs that other tools wrote. `ANEMONE_CONFORMANCE` names a directory with a folder for
//! each, holding `model.mil` and maybe `weights/`; without it there is nothing to test here.

use anemone_mil as mil;
use std::path::{Path, PathBuf};

/// Where a case has the folder that `@model_path` stands for.
const PACKAGE: &str = "model.mlpackage/Data/com.apple.CoreML";

#[test]
fn texts_of_other_tools_round_trip() {
    let Some(cases) = std::env::var_os("ANEMONE_CONFORMANCE") else { return };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&cases)
        .expect("ANEMONE_CONFORMANCE names a directory")
        .map(|entry| entry.expect("the directory can be read").path().join("model.mil"))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no cases in {}", Path::new(&cases).display());
    let (mut read, mut weights, mut other_ops) = (0, 0, vec![]);
    for path in &files {
        let text = std::fs::read_to_string(path).expect("the file can be read");
        let program = match mil::parse(&text) {
            Ok(program) => program,
            Err(errors) => {
                // Ops that the table does not have are the one acceptable reason.
                let unknown_op = |e: &mil::Diagnostic| e.message.starts_with("unknown op ");
                assert!(
                    errors.0.iter().all(unknown_op),
                    "{}: {}",
                    path.display(),
                    errors.render(&text)
                );
                other_ops.push(path);
                continue;
            }
        };
        let verified = mil::verify(&program);
        assert!(
            verified.is_ok(),
            "{}",
            verified.unwrap_err().annotate(&text, &path.to_string_lossy())
        );
        let printed = mil::print(&program);
        let again = mil::parse(&printed)
            .unwrap_or_else(|errors| panic!("{}: {}", path.display(), errors.render(&printed)));
        assert!(again == program, "{} changed", path.display());
        assert_eq!(mil::print(&again), printed, "{}", path.display());
        assert_eq!(without_layout(&printed), without_layout(&text), "{}", path.display());
        weights += load_weights(&program, &path.with_file_name(PACKAGE));
        read += 1;
    }
    let others = other_ops.len();
    println!("{read} programs round trip, {others} use ops that are not in the table");
    println!("{weights} weights loaded");
    assert!(read > 0);
}

/// The text without white space and without the `;` after functions, which is optional.
fn without_layout(text: &str) -> String {
    text.split_whitespace().collect::<String>().replace(");}", ")}")
}

/// Loads every weight that the program refers to and counts them.
fn load_weights(program: &mil::Program, folder: &Path) -> usize {
    let weights = mil::Weights::in_dir(folder);
    let mut count = 0;
    for function in &program.functions {
        function.body.visit(&mut |operation| {
            for literal in operation.literals() {
                if let mil::Literal::Blob(blob) = literal {
                    let tensor = weights.load(blob);
                    let tensor = tensor.unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
                    assert_eq!(tensor.dims(), blob.dims);
                    count += 1;
                }
            }
        });
    }
    count
}
