//! Helpers of several tests.
#![allow(dead_code)] // Every test uses some.

use anemone_coreml::Model;
use mil::{Block, Literal, Program};
use std::path::{Path, PathBuf};

/// A directory that goes away with the value.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path =
            std::env::temp_dir().join(format!("anemone-coreml-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary folder can be made");
        Folder(path)
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A file or folder of `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The names in a folder of this crate, sorted.
pub fn files(folder: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.expect("the folder can be read").file_name();
        name.into_string().expect("names are UTF-8")
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

/// The program with every weight in it, so that programs are equal whose weights only lie
/// elsewhere; without what texts say of shapes, and with one spelling.
pub fn in_place(model: &Model) -> Program {
    let mut program = model.program.clone();
    program.version = "1.3".into();
    for function in &mut program.functions {
        function.attributes.remove("FlexibleShapeInformation");
        block(&mut function.body, model);
    }
    program
}

fn block(block_: &mut Block, model: &Model) {
    for operation in &mut block_.operations {
        for literal in operation.literals_mut() {
            if let Literal::Blob(blob) = literal {
                let tensor = model.weights.load(blob);
                *literal = Literal::Tensor(tensor.expect("every weight can be read"));
            }
        }
        operation.blocks.iter_mut().for_each(|inner| block(inner, model));
    }
}

/// The program with the inputs of functions in the order of their names.
pub fn sorted(program: &Program) -> Program {
    let mut program = program.clone();
    for function in &mut program.functions {
        let values = &function.values;
        function.inputs.sort_by_key(|id| &values[id.index()].name);
    }
    program
}
