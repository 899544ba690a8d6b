//! Programs, an open route in a clean process, and what must be gone afterwards.

use ane::target::{Chip, Target};
use ane::{Emulator, EmulatorOptions, Engine, EngineError, Source};
use anemone_apple::{Options, Paths, Route, open_with};
use standin_objc::{Session, library};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use surface::Surface;

/// A test's use of the stand-ins, from a clean state.
pub struct Standins {
    pub session: Session,
    before: Vec<PathBuf>,
}

impl Standins {
    /// Waits for the other tests of this process, and opens the stand-in frameworks.
    pub fn new() -> Standins {
        let mut session = Session::begin();
        // Opening the library for the first time makes its constants, which live for ever.
        assert!(anemone_apple::capabilities(&paths()).missing(Route::Client).is_empty());
        session.messages();
        session.count_from_here();
        Standins { session, before: left_behind() }
    }

    pub fn open(&self, route: Route) -> Result<Arc<dyn Engine>, EngineError> {
        open_with(&paths(), route, &options())
    }

    /// Nothing may be left: no object, and no directory.
    pub fn nothing_is_left(self) {
        assert_eq!(self.session.leaked(), 0, "objects are left");
        assert_eq!(left_behind(), self.before, "directories are left");
    }
}

/// The stand-in library in place of every framework.
pub fn paths() -> Paths {
    Paths::all(&library())
}

/// No pause before a program is loaded again, and a short wait for completion handlers.
pub fn options() -> Options {
    Options {
        load_pause: Duration::ZERO,
        completion_wait: Duration::from_secs(10),
        ..Options::default()
    }
}

/// What routes make in the temporary directory: their own, by this process, and those whose name
/// the in-memory model chooses.
fn left_behind() -> Vec<PathBuf> {
    let own = format!("anemone-ane-{}-", std::process::id());
    let entries = fs::read_dir(std::env::temp_dir()).expect("there is a temporary directory");
    let mut found: Vec<_> = entries
        .map(|entry| entry.expect("the directory can be read").path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&own) || (name.len() == 33 && name.as_bytes()[16] == b'_')
        })
        .collect();
    found.sort();
    found
}

/// The emulator that is behind the stand-ins.
pub fn emulator(route: Route) -> Arc<dyn Engine> {
    let options = EmulatorOptions::new(Target::of(Chip::M4).by(route));
    let options = EmulatorOptions { threads: Some(2), ..options };
    Arc::new(Emulator::new(options).expect("the CPU can be used"))
}

/// A text with this function, as the engine's compiler wants it.
pub fn source(name: &str, inputs: &str, body: &str, outputs: &str) -> Source {
    let text = format!(
        "program(1.3)\n[buildInfo = dict<string, string>({{{{\"coremlc-version\", \
         \"3505.4.1\"}}}})]\n{{\n    func main<ios18>({inputs}) {{\n{body}\n    }} -> ({outputs});\n}}\n"
    );
    Source { name: name.to_owned(), text, weights: BTreeMap::new() }
}

/// `y = max(x, 0) + x`, 16 KiB in and out.
pub fn small() -> Source {
    let body = body(
        &[],
        &[
            "tensor<fp16, [1, 64, 1, 128]> r = relu(x = x)",
            "tensor<fp16, [1, 64, 1, 128]> y = add(x = r, y = x)",
        ],
    );
    source("small", "tensor<fp16, [1, 64, 1, 128]> x", &body, "y")
}

/// Two inputs that are declared against the alphabet: `y = zeta - alpha`.
pub fn two_inputs() -> Source {
    let body = body(&[], &["tensor<fp16, [1, 64, 1, 128]> y = sub(x = zeta, y = alpha)"]);
    let inputs = "tensor<fp16, [1, 64, 1, 128]> zeta, tensor<fp16, [1, 64, 1, 128]> alpha";
    source("two inputs", inputs, &body, "y")
}

/// A statement that gives a constant a name, as the engine's compiler wants parameters.
fn constant(name: &str, ty: &str, value: &str) -> String {
    format!("        {ty} {name} = const()[name = string(\"{name}\"), val = {ty}({value})];\n")
}

/// Statements after the constants that they use.
fn body(constants: &[(&str, &str, &str)], statements: &[&str]) -> String {
    let constants: String =
        constants.iter().map(|(name, ty, value)| constant(name, ty, value)).collect();
    let named = statements.iter().map(|statement| {
        let (ty, rest) = statement.split_once("> ").expect("a statement has a type");
        let name = rest.split(' ').next().expect("a statement has a name");
        format!("        {ty}> {rest}[name = string(\"{name}\")];")
    });
    constants + &named.collect::<Vec<_>>().join("\n")
}

const I4: &str = "tensor<int32, [4]>";

/// A product whose weights lie beside the activations: columns 0 to 64 are `x`, the rest `w`.
pub fn packed_product() -> Source {
    let body = body(
        &[
            ("at_x", I4, "[0, 0, 0, 0]"),
            ("size_x", I4, "[1, 128, 1, 64]"),
            ("at_w", I4, "[0, 0, 0, 64]"),
            ("size_w", I4, "[1, 128, 1, 128]"),
            ("shape_x", I4, "[1, 1, 128, 64]"),
            ("shape_w", I4, "[1, 1, 128, 128]"),
            ("yes", "bool", "true"),
            ("no", "bool", "false"),
        ],
        &[
            "tensor<fp16, [1, 128, 1, 64]> x = slice_by_size(x = packed, begin = at_x, size = size_x)",
            "tensor<fp16, [1, 128, 1, 128]> w = slice_by_size(x = packed, begin = at_w, size = size_w)",
            "tensor<fp16, [1, 1, 128, 64]> rows = reshape(x = x, shape = shape_x)",
            "tensor<fp16, [1, 1, 128, 128]> matrix = reshape(x = w, shape = shape_w)",
            "tensor<fp16, [1, 1, 128, 64]> p = matmul(x = matrix, y = rows, transpose_x = yes, transpose_y = no)",
            "tensor<fp16, [1, 128, 1, 64]> y = reshape(x = p, shape = size_x)",
        ],
    );
    source("packed product", "tensor<fp16, [1, 128, 1, 192]> packed", &body, "y")
}

/// A convolution with a weight file.
pub fn with_weights() -> Source {
    let file = "BLOBFILE(path = string(\"@model_path/weights/w.bin\"), offset = uint64(64))";
    let body = body(
        &[
            ("w", "tensor<fp16, [64, 64, 1, 1]>", file),
            ("ones", "tensor<int32, [2]>", "[1, 1]"),
            ("zeros", I4, "[0, 0, 0, 0]"),
            ("one", "int32", "1"),
            ("valid", "string", "\"valid\""),
        ],
        &["tensor<fp16, [1, 64, 1, 128]> y = conv(dilations = ones, groups = one, pad = zeros, \
           pad_type = valid, strides = ones, weight = w, x = x)"],
    );
    let mut source = source("with weights", "tensor<fp16, [1, 64, 1, 128]> x", &body, "y");
    let values = numbers(64 * 64);
    let tensor = mil::Tensor::from_bytes(mil::DataType::Fp16, &[64, 64, 1, 1], values).unwrap();
    let mut writer = mil::BlobWriter::in_memory();
    writer.push(&tensor).unwrap();
    source
        .weights
        .insert("@model_path/weights/w.bin".to_owned(), writer.into_bytes().unwrap().into());
    source
}

/// As many fp16 numbers between -1 and 1, the same everywhere.
pub fn numbers(count: usize) -> Vec<u8> {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Sign and the exponents of 2^-8 to 2^-1.
        let (sign, exponent) = ((state >> 31) << 15, (7 + ((state >> 20) & 7)) << 10);
        (sign | exponent | (state & 0x3ff)) as u16
    };
    (0..count).flat_map(|_| next().to_le_bytes()).collect()
}

/// Compiles, fills the inputs, evaluates twice, and gives the outputs' bytes.
pub fn run(engine: &dyn Engine, source: &Source) -> Result<Vec<Vec<u8>>, EngineError> {
    let model = engine.compile(source)?;
    let surfaces = |ports: &[runtime::Port]| -> Result<Vec<Surface>, EngineError> {
        let most = ports.iter().map(|port| port.bytes).max().unwrap_or(0);
        ports.iter().map(|_| engine.surface(most)).collect()
    };
    let (inputs, outputs) = (surfaces(model.inputs())?, surfaces(model.outputs())?);
    for (i, (port, surface)) in model.inputs().iter().zip(&inputs).enumerate() {
        let mut writing = surface.write().expect("nobody else has it");
        writing[..port.bytes].copy_from_slice(&numbers(port.bytes / 2 + i)[2 * i..]);
    }
    let mut evaluation = model.clone().bind(&inputs, &outputs)?;
    evaluation.evaluate()?;
    evaluation.evaluate()?;
    let read = |(port, surface): (&runtime::Port, &Surface)| {
        surface.read().expect("nobody writes it")[..port.bytes].to_vec()
    };
    Ok(model.outputs().iter().zip(&outputs).map(read).collect())
}
