//! Files that nobody means well with: every one is an error, soon and in little memory, or a model
//! like any other. Nothing here depends on chance: seeds are fixed.

mod common;

use anemone_coreml::{Error, Form, Model, Shapes, root_model, specialize};
use common::{Folder, files, fixture};
use std::path::{Path, PathBuf};

fn message_of(package: &str) -> Vec<u8> {
    let path = fixture(package);
    let file = if path.is_dir() { path.join("Data/com.apple.CoreML/model.mlmodel") } else { path };
    std::fs::read(file).unwrap()
}

fn read(bytes: &[u8]) -> Result<Model, Error> {
    Model::from_bytes(bytes, Path::new("x.mlmodel"))
}

fn problem(bytes: &[u8]) -> String {
    match read(bytes) {
        Ok(_) => panic!("it was read"),
        Err(error) => error.to_string(),
    }
}

/// A number as it is on the wire.
fn varint(mut value: u64) -> Vec<u8> {
    let mut out = vec![];
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn part(field: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// A model file whose one function has these inputs and this body, as they are on the wire.
fn model(inputs: &[u8], block: &[u8]) -> Vec<u8> {
    let body = [part(1, b"CoreML8"), part(2, block)].concat();
    let function = [inputs.to_vec(), part(2, b"CoreML8"), part(3, &body)].concat();
    let entry = [part(1, b"main"), part(2, &function)].concat();
    let program = [number(1, 1), part(2, &entry)].concat();
    [number(1, 9), part(502, &program)].concat()
}

fn tensor_type(dtype: u64, dims: &[u64]) -> Vec<u8> {
    let mut tensor = [number(1, dtype), number(2, dims.len() as u64)].concat();
    for &dim in dims {
        tensor.extend(part(3, &part(1, &number(1, dim))));
    }
    part(1, &tensor)
}

fn named(name: &str, ty: &[u8]) -> Vec<u8> {
    [part(1, name.as_bytes()), part(2, ty)].concat()
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for name in
        ["perceptron.mlpackage", "functions.mlpackage", "flexible.mlpackage", "bare.mlmodel"]
    {
        let bytes = message_of(name);
        read(&bytes).unwrap();
        for end in 0..bytes.len() {
            let problem = problem(&bytes[..end]);
            assert!(problem.starts_with("`x.mlmodel`: "), "{name}, {end}: {problem}");
        }
    }
    assert!(problem(&[]).ends_with("the file holds no model"));
}

#[test]
fn lengths_are_not_believed() {
    let huge = [number(1, 9), varint(502 << 3 | 2), varint(u64::MAX >> 1), vec![0; 8]].concat();
    assert!(problem(&huge).ends_with("the file ends in the middle of the model"));
    // Inside the program, where messages are decoded.
    for length in [1 << 20, u64::from(u32::MAX), u64::MAX >> 1, u64::MAX] {
        let inner = [varint(2 << 3 | 2), varint(length), vec![0; 8]].concat();
        let bytes = [number(1, 9), part(502, &inner)].concat();
        assert!(problem(&bytes).contains("the program is not a whole message"));
    }
    let description = [varint(1 << 3 | 2), varint(1 << 40)].concat();
    let bytes = [number(1, 9), part(2, &description), part(502, &number(1, 1))].concat();
    assert!(problem(&bytes).contains("the description is not a whole message"));
}

#[test]
fn sizes_are_not_believed() {
    let ty = |dims: &[u64]| part(1, &named("x", &tensor_type(11, dims)));
    let message = |inputs: &[u8]| problem(&model(inputs, &[]));
    // A shape is only a type until somebody wants the tensor; the verifier refuses it.
    let dims = [u64::MAX >> 1, u64::MAX >> 1];
    assert!(message(&ty(&dims)).contains("the description has no input `x`"));
    assert!(message(&ty(&[1; 33])).contains("rank 33"));
    let endless = part(1, &[number(1, 11), number(2, 1 << 60)].concat());
    let found = message(&part(1, &named("x", &endless)));
    assert!(found.contains("a tensor has rank 1152921504606846976"), "{found}");

    // Constants of such types.
    let constant = |dims: &[u64], value: &[u8]| {
        let value = [part(2, &tensor_type(11, dims)), value.to_vec()].concat();
        let attribute = [part(1, b"val"), part(2, &value)].concat();
        let output = named("c", &tensor_type(11, dims));
        let operation = [part(1, b"const"), part(3, &output), part(5, &attribute)].concat();
        problem(&model(&[], &part(3, &operation)))
    };
    let floats = part(3, &part(1, &part(1, &part(1, &[0; 8]))));
    let place = "function `main`, `c`: attribute `val`: ";
    let found = constant(&[1 << 40, 1 << 40], &floats);
    assert!(found.contains(&format!("{place}shape [1099511627776, 1099511627776] has too many")));
    let found = constant(&[1 << 40], &floats);
    assert!(found.contains(&format!("{place}fp32 of shape [1099511627776] takes")), "{found}");
    let blob = part(5, &[part(1, b"@model_path/w"), number(2, 64)].concat());
    let found = constant(&[1 << 40, 1 << 40], &blob);
    assert!(found.contains(&format!("{place}shape [1099511627776, 1099511627776]")), "{found}");
}

#[test]
fn depth_does_not_exhaust_the_stack() {
    // Types in types.
    let mut ty = tensor_type(11, &[]);
    for _ in 0..10_000 {
        ty = part(2, &part(1, &ty));
    }
    let found = problem(&model(&part(1, &named("x", &ty)), &[]));
    assert!(found.contains("recursion limit"), "{found}");
    // Constants in constants.
    let mut value = vec![];
    for _ in 0..10_000 {
        value = part(3, &part(2, &part(1, &value)));
    }
    let attribute = [part(1, b"val"), part(2, &value)].concat();
    let operation = [part(1, b"const"), part(5, &attribute)].concat();
    let found = problem(&model(&[], &part(3, &operation)));
    assert!(found.contains("recursion limit"), "{found}");
    // Blocks in blocks, which are decoded one by one.
    let mut block = vec![];
    for _ in 0..10_000 {
        block = part(3, &[part(1, b"const"), part(4, &block)].concat());
    }
    let found = problem(&model(&[], &block));
    assert!(found.contains("blocks nest more than 64 deep"), "{found}");
}

#[test]
fn names_that_go_round_in_circles_are_errors() {
    let operation = |argument: &str, output: &str| {
        let binding = part(1, &part(1, argument.as_bytes()));
        let input = [part(1, b"x"), part(2, &binding)].concat();
        let output = named(output, &tensor_type(11, &[2]));
        part(3, &[part(1, b"relu"), part(2, &input), part(3, &output)].concat())
    };
    let found = problem(&model(&[], &[operation("b", "a"), operation("a", "b")].concat()));
    assert!(found.contains("function `main`, `a`: `x`: `b` is not defined before"), "{found}");
    let found = problem(&model(&[], &operation("a", "a")));
    assert!(found.contains("`x`: `a` is not defined before"), "{found}");
    let found = problem(&model(&[], &part(2, b"nothing")));
    assert!(found.contains("output `nothing` is not defined"), "{found}");
    // Millions of mistakes make no message of millions of lines.
    let many = operation("b", "a").repeat(100_000);
    assert_eq!(problem(&model(&[], &many)).lines().count(), 101);
    // Nor do equal names take long to tell apart.
    let binding = part(1, &part(1, b"x"));
    let input = [part(1, b"x"), part(2, &binding)].concat();
    let output = named("x", &tensor_type(11, &[2]));
    let one = part(3, &[part(1, b"relu"), part(2, &input), part(3, &output)].concat());
    let inputs = part(1, &named("x", &tensor_type(11, &[2])));
    let found = problem(&model(&inputs, &one.repeat(50_000)));
    assert!(found.contains("the description has no input `x`"), "{found}");
}

#[test]
fn versions_and_operator_sets_are_named() {
    let bytes = message_of("bare.mlmodel");
    let with = |version: u64| problem(&[number(1, version), bytes[2..].to_vec()].concat());
    assert_eq!(bytes[..2], [8, 6]);
    assert!(with(5).ends_with("specification version 5 is not known; 6 to 10 are"));
    assert!(with(11).ends_with("specification version 11 is not known; 6 to 10 are"));
    let at = bytes.windows(7).position(|w| w == b"CoreML5").unwrap();
    let mut other = bytes.clone();
    other[at..at + 7].copy_from_slice(b"CoreMLX");
    let found = problem(&other);
    assert!(
        found.contains(
            "function `main`, operator set `CoreMLX` is not known; CoreML5, CoreML6, CoreML7, \
             CoreML8, CoreML9 are"
        ) || found.contains("there is no body for its operator set"),
        "{found}"
    );
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    /// Damages bytes: cuts, flips, repeats, takes out or inserts.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        let end = (at + self.below(40)).min(bytes.len());
        match self.below(6) {
            0 => bytes.truncate(at),
            1 | 2 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            3 => {
                let copied = bytes[at..end].to_vec();
                let to = self.below(bytes.len() + 1);
                bytes.splice(to..to, copied);
            }
            4 => drop(bytes.drain(at..end)),
            _ => bytes.insert(at, [0, 1, 8, 0x7f, 0x80, 0xff][self.below(6)]),
        }
    }
}

#[test]
fn damaged_files_are_errors_or_models_like_any_other() {
    let originals: Vec<Vec<u8>> = files("tests/fixtures").iter().map(|f| message_of(f)).collect();
    let mut random = Random(7);
    let mut read_all_the_same = 0;
    for round in 0..20_000 {
        let mut bytes = originals[round % originals.len()].clone();
        for _ in 0..1 + random.below(3) {
            random.damage(&mut bytes);
        }
        let Ok(model) = read(&bytes) else { continue };
        read_all_the_same += 1;
        // What is read can be judged, printed, and, if it can be written, is read again.
        let _ = mil::verify(&model.program);
        for interface in &model.interface.functions {
            let _ = specialize(&model.program, interface, &Shapes::new());
        }
        let _ = model.to_text();
        if let Ok(bytes) = model.to_bytes() {
            let again = read(&bytes).unwrap_or_else(|e| panic!("{round}: {e}"));
            assert!(again.program == model.program, "{round}: the program has changed");
            assert_eq!(again.interface, model.interface, "{round}");
        }
    }
    assert!(read_all_the_same > 300, "{read_all_the_same}");
}

#[test]
fn damaged_manifests_never_lead_out() {
    let original = std::fs::read(fixture("perceptron.mlpackage/Manifest.json")).unwrap();
    let mut random = Random(9);
    for _ in 0..20_000 {
        let mut bytes = original.clone();
        for _ in 0..1 + random.below(3) {
            random.damage(&mut bytes);
        }
        if let Ok(path) = root_model(&bytes) {
            assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."), "{path}");
        }
    }
}

/// A copy of a package.
fn copy(folder: &Folder, name: &str) -> PathBuf {
    fn all(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let from = entry.unwrap().path();
            let to = to.join(from.file_name().unwrap());
            match from.is_dir() {
                true => all(&from, &to),
                false => assert!(std::fs::copy(&from, &to).unwrap() > 0),
            }
        }
    }
    let to = folder.at(name);
    all(&fixture(name), &to);
    to
}

#[cfg(unix)]
#[test]
fn links_do_not_lead_out_of_packages() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new("links");
    let package = copy(&folder, "perceptron.mlpackage");
    let inner = package.join("Data/com.apple.CoreML");
    // A link to a whole package is one.
    symlink(&package, folder.at("link.mlpackage")).unwrap();
    let model = Model::read(&folder.at("link.mlpackage")).unwrap();
    // Weights that are a link to what is outside are not read.
    std::fs::rename(inner.join("weights"), folder.at("weights")).unwrap();
    symlink(folder.at("weights"), inner.join("weights")).unwrap();
    let error = model.write(&folder.at("out.mlpackage"), Form::Package, false).unwrap_err();
    assert!(error.to_string().contains("leads out of the weights folder"), "{error}");
    // Nor is a model.
    std::fs::rename(inner.join("model.mlmodel"), folder.at("model.mlmodel")).unwrap();
    symlink(folder.at("model.mlmodel"), inner.join("model.mlmodel")).unwrap();
    let error = Model::read(&package).unwrap_err();
    assert!(error.to_string().contains("it leads out of the package"), "{error}");
}

#[test]
fn folders_that_are_no_models_are_named() {
    let folder = Folder::new("folders");
    let message = |path: &Path| Model::read(path).unwrap_err().to_string();
    assert!(message(&folder.at("none")).contains("none`: No such file"));
    let found = message(&folder.0);
    assert!(found.ends_with(
        "expected a package or a compiled model: it has no `Manifest.json` or `model.mil`"
    ));
    std::fs::create_dir_all(folder.at("pipeline.mlmodelc/model0")).unwrap();
    assert!(
        message(&folder.at("pipeline.mlmodelc")).contains("it is a pipeline of several models")
    );
    let package = copy(&folder, "perceptron.mlpackage");
    std::fs::remove_file(package.join("Data/com.apple.CoreML/model.mlmodel")).unwrap();
    assert!(message(&package).contains("model.mlmodel`: No such file"));
    std::fs::create_dir(package.join("Data/com.apple.CoreML/model.mlmodel")).unwrap();
    assert!(message(&package).contains("the manifest names it as the model, it is no file"));
    std::fs::write(package.join("Manifest.json"), vec![b' '; 2 << 20]).unwrap();
    assert!(message(&package).contains("this is too long for a manifest"));
    std::fs::write(folder.at("file.mlpackage"), "x").unwrap();
    assert!(
        message(&folder.at("file.mlpackage")).ends_with("a .mlpackage is a folder, this is a file")
    );
}

#[test]
fn weights_out_of_range_are_errors_when_they_are_wanted() {
    let folder = Folder::new("range");
    let package = copy(&folder, "perceptron.mlpackage");
    let weights = package.join("Data/com.apple.CoreML/weights/weight.bin");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    // No weight is touched while the model is read.
    let model = Model::read(&package).unwrap();
    let error = model.write(&folder.at("out.mlpackage"), Form::Package, false).unwrap_err();
    assert!(error.to_string().contains("is not in the file of 544 bytes"), "{error}");
    std::fs::remove_file(&weights).unwrap();
    Model::read(&package).unwrap();
    assert!(!folder.at("out.mlpackage").exists());
}
