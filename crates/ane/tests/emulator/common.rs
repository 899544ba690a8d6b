//! Programs as text, surfaces that the engine accepts, and comparison with the interpreter.

use anemone_ane::target::{Chip, Route, Target, with_head};
use anemone_ane::{Emulator, EmulatorOptions, Engine, EngineError, Numerics, Source};
use interp::{Array, Rounding};
use mil::{DataType, Function, Program, Tensor, Weights};
use std::collections::BTreeMap;
use std::sync::Arc;
use surface::Surface;

/// Values by port.
pub type Values = BTreeMap<String, Vec<f64>>;

/// Larger than every minimum that is documented.
pub const ENOUGH: usize = 49152;

pub fn target(chip: Chip, route: Route) -> Target {
    Target::of(chip).by(route)
}

pub fn m4() -> Target {
    target(Chip::M4, Route::InMemory)
}

pub fn emulator(target: Target, numerics: Numerics) -> Emulator {
    with(EmulatorOptions { numerics, ..EmulatorOptions::new(target) })
}

pub fn with(options: EmulatorOptions) -> Emulator {
    Emulator::new(options).expect("the CPU can be used")
}

/// The text of a program with this `main`, as the engine's compiler wants it.
pub fn source(function: Function, weights: BTreeMap<String, Arc<[u8]>>) -> Source {
    let name = "test".to_owned();
    Source { name, text: mil::print(&program(function)), weights }
}

pub fn program(function: Function) -> Program {
    with_head(Program::new(vec![function]))
}

/// A text with this header, function body and results.
pub fn text(inputs: &str, body: &str, outputs: &str) -> Source {
    let text = format!(
        "program(1.3)\n[buildInfo = dict<string, string>({{{{\"coremlc-version\", \
         \"3505.4.1\"}}}})]\n{{\n    func main<ios18>({inputs}) {{\n{body}\n    }} -> ({outputs});\n}}\n"
    );
    Source { name: "test".into(), text, weights: BTreeMap::new() }
}

/// Compiles, binds surfaces of equal and sufficient size, evaluates.
pub fn run(engine: &dyn Engine, source: &Source, inputs: &Values) -> Result<Values, EngineError> {
    let model = engine.compile(source)?;
    let surfaces = |ports: &[runtime::Port]| {
        let bytes = ports.iter().map(|p| p.bytes).max().unwrap_or(0).max(ENOUGH);
        ports.iter().map(|_| engine.surface(bytes)).collect::<Result<Vec<_>, _>>()
    };
    let (ins, outs) = (surfaces(model.inputs())?, surfaces(model.outputs())?);
    for (port, surface) in model.inputs().iter().zip(&ins) {
        write(surface, port.ty.dtype, &port.dims, &inputs[&port.name]);
    }
    model.clone().bind(&ins, &outs)?.evaluate()?;
    let read = |(port, surface): (&runtime::Port, &Surface)| {
        (port.name.clone(), read(surface, port.ty.dtype, &port.dims))
    };
    Ok(model.outputs().iter().zip(&outs).map(read).collect())
}

pub fn write(surface: &Surface, dtype: DataType, dims: &[usize], values: &[f64]) {
    let array = match dtype.is_float() {
        true => Array::floats(dtype, dims, values.to_vec()),
        false => Array::ints(dtype, dims, values.iter().map(|&v| v as i64).collect()),
    };
    let tensor = array.to_tensor();
    let mut writing = surface.write().expect("nobody else uses the surface");
    writing[..tensor.bytes().len()].copy_from_slice(tensor.bytes());
}

pub fn read(surface: &Surface, dtype: DataType, dims: &[usize]) -> Vec<f64> {
    let reading = surface.read().expect("nobody writes the surface");
    let bytes = dims.iter().product::<usize>() * dtype.bits() / 8;
    Tensor::from_bytes(dtype, dims, &reading[..bytes]).expect("the size is the shape's").to_f64s()
}

/// What the interpreter gives without rounding anything, from inputs rounded to their types.
pub fn exact(source: &Source, inputs: &Values) -> Values {
    let program = mil::parse(&source.text).expect("the text is a program");
    let main = program.function("main").expect("there is a main");
    let mut arrays = BTreeMap::new();
    for &id in &main.inputs {
        let value = main.value(id);
        let ty = value.ty.as_tensor().expect("inputs are tensors");
        let dims = ty.fixed_dims().expect("shapes are fixed");
        let array = Array::floats(ty.dtype, &dims, inputs[&value.name].clone());
        arrays.insert(value.name.clone(), array.rounded());
    }
    let files = source.weights.iter().map(|(path, bytes)| (path, bytes.clone()));
    let options = interp::Options {
        rounding: Rounding::None,
        weights: Weights::in_memory(files),
        ..interp::Options::default()
    };
    let results = interp::evaluate(&program, "main", &arrays, &options).expect("it runs");
    results.outputs.into_iter().map(|(name, array)| (name, array.to_f64s())).collect()
}

/// The largest difference of two outputs, relative to the largest expected magnitude.
pub fn error(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1e-6f64, |m, v| m.max(v.abs()));
    found.iter().zip(expected).fold(0.0, |worst: f64, (f, e)| {
        let difference = (f - e).abs();
        // `max` would drop a NaN.
        if difference.is_nan() { f64::INFINITY } else { worst.max(difference / scale) }
    })
}

/// Checks every output against the interpreter.
pub fn compare(found: &Values, expected: &Values, tolerance: f64) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, values) in found {
        let error = error(values, &expected[name]);
        assert!(error <= tolerance, "`{name}` is off by {error:.2e}, more than {tolerance:.0e}");
    }
}

/// Numbers in [-1, 1) that depend on the seed alone.
pub fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Random inputs for every input of a program.
pub fn inputs(source: &Source, seed: u64) -> Values {
    let program = mil::parse(&source.text).expect("the text is a program");
    let main = program.function("main").expect("there is a main");
    let one = |(i, &id): (usize, &mil::ValueId)| {
        let value = main.value(id);
        let dims = value.ty.as_tensor().and_then(|t| t.fixed_dims()).expect("shapes are fixed");
        (value.name.clone(), numbers(dims.iter().product(), seed + i as u64))
    };
    main.inputs.iter().enumerate().map(one).collect()
}
