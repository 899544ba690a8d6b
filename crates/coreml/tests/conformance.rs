//! Packages that other tools wrote. `ANEMONE_CONFORMANCE` names a directory with a folder for
//! each, holding `model.mlpackage` and maybe the same program as `model.mil`; without it there is
//! nothing to test here.

mod common;

use anemone_coreml::{Error, Form, Model, parameters_in_place};
use common::{Folder, in_place, sorted};
use std::path::{Path, PathBuf};

fn packages() -> Vec<PathBuf> {
    let Some(cases) = std::env::var_os("ANEMONE_CONFORMANCE") else {
        println!("ANEMONE_CONFORMANCE is not set: no packages of other tools are read");
        return vec![];
    };
    let mut packages: Vec<PathBuf> = std::fs::read_dir(&cases)
        .expect("ANEMONE_CONFORMANCE names a directory")
        .map(|entry| entry.expect("the directory can be read").path().join("model.mlpackage"))
        .filter(|path| path.is_dir())
        .collect();
    packages.sort();
    assert!(!packages.is_empty(), "no packages in {}", Path::new(&cases).display());
    packages
}

/// The package, or `None` if it has ops that the table does not have; any other problem is one.
fn read(package: &Path) -> Option<Model> {
    match Model::read(package) {
        Ok(model) => Some(model),
        Err(Error::Program { problems, .. })
            if problems.0.iter().all(|p| p.message.starts_with("unknown op ")) =>
        {
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A text without white space, without the `;` after functions, which is optional, and without
/// `buildInfo`, to which compilers add their own.
fn normalized(text: &str) -> String {
    let text = text.split_whitespace().collect::<String>().replace(");}", ")}");
    let Some(start) = text.find("[buildInfo=") else { return text };
    let end = text[start..].find("})]").expect("buildInfo is a dictionary alone") + start;
    format!("{}{}", &text[..start], &text[end + 3..])
}

#[test]
fn packages_of_other_tools_are_read_and_say_what_their_texts_say() {
    let (mut count, mut texts, mut others) = (0, 0, 0);
    for package in packages() {
        let Some(model) = read(&package) else {
            others += 1;
            continue;
        };
        count += 1;
        let mut program = model.program.clone();
        parameters_in_place(&mut program, &model.weights).expect("weights can be read");
        mil::verify(&program).unwrap_or_else(|e| panic!("{}: {e}", package.display()));
        let path = package.with_file_name("model.mil");
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        texts += 1;
        // Compilers sort inputs by their names.
        let mut by_name = model.clone();
        by_name.program = sorted(&model.program);
        assert_eq!(normalized(&by_name.to_text()), normalized(&text), "{}", path.display());
        // The text alone tells the same interface, but for what is only in descriptions.
        let read = Model::read(&path).expect("the text can be read");
        for (a, b) in model.interface.functions.iter().zip(&read.interface.functions) {
            assert_eq!(a.inputs.len(), b.inputs.len(), "{}", path.display());
            for feature in &a.inputs {
                let other = b.input(&feature.name).expect("the text has the same inputs");
                assert_eq!(feature.ty, other.ty, "{}", path.display());
            }
            assert_eq!(a.predicted_feature, b.predicted_feature);
            assert_eq!(a.predicted_probabilities, b.predicted_probabilities);
        }
    }
    println!("{count} packages read, {texts} compared with texts, {others} have other ops");
}

#[test]
fn packages_of_other_tools_are_written_and_read_again() {
    let folder = Folder::new("conformance-written");
    let mut count = 0;
    for package in packages() {
        let Some(model) = read(&package) else { continue };
        let name = package.parent().and_then(Path::file_name).expect("a case is a folder");
        let mut previous: Option<PathBuf> = None;
        for (form, extension) in [
            (Form::Package, "mlpackage"),
            (Form::Text, "mil"),
            (Form::Compiled, "mlmodelc"),
            (Form::File, "mlmodel"),
        ] {
            let path = folder.0.join(name).with_extension(extension);
            model.write(&path, form, false).expect("it can be written");
            let again = Model::read(&path).expect("what was written can be read");
            assert!(in_place(&again) == in_place(&model), "{} changed", path.display());
            if form == Form::Package {
                assert_eq!(again.interface, model.interface, "{}", path.display());
            }
            // By way of another form a package is the same, byte for byte, but for what the
            // other form has no place for.
            let package = folder.0.join(name).with_extension("again.mlpackage");
            again.write(&package, Form::Package, true).expect("it can be written");
            if let Some(previous) =
                previous.filter(|_| form != Form::Text && form != Form::Compiled)
            {
                let (a, b) = (Model::read(&previous), Model::read(&package));
                let (a, b) = (a.expect("it was written"), b.expect("it was written"));
                assert!(a.program == b.program, "{} changed", package.display());
            }
            previous = Some(folder.0.join(name).with_extension("mlpackage"));
        }
        count += 1;
    }
    println!("{count} packages written and read again");
}
