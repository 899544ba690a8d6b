//! Four small programs on an engine, compared with the emulator: what `anemone doctor` runs.
//!
//! They stand for what training does: arithmetic on elements, a product with its weights beside
//! the activations, a convolution with a weight file, and two inputs, whose order the engine
//! chooses by name.

use crate::{Emulator, EmulatorOptions, Engine, EngineError, Source, Stage};
use half::f16;
use mil::{BlobWriter, DataType, Tensor};
use runtime::Port;
use std::collections::BTreeMap;
use std::sync::Arc;
use surface::Surface;

/// What became of one program.
#[derive(Clone, Debug)]
pub struct Check {
    /// The program's name.
    pub program: &'static str,
    /// How its outputs differ from the emulator's, or why there are none.
    pub outcome: Result<Difference, EngineError>,
}

/// Two outputs compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Elements compared.
    pub elements: usize,
    /// Elements that are not equal to the last bit.
    pub differing: usize,
    /// The largest difference, in relation to the largest expected magnitude; infinite if
    /// something is no number.
    pub largest: f64,
}

/// Eight units of fp16's last place at the largest value: the engine may add in another order and
/// round in between, over at most 128 products.
pub const TOLERANCE: f64 = 8.0 / 2048.0;

impl Check {
    /// Whether it ran and gave what the emulator gives, within [`TOLERANCE`].
    pub fn passed(&self) -> bool {
        self.outcome.as_ref().is_ok_and(|difference| difference.largest <= TOLERANCE)
    }
}

/// Names and texts.
const PROGRAMS: [(&str, &str); 4] = [
    ("elementwise", include_str!("elementwise.mil")),
    ("packed-product", include_str!("packed_product.mil")),
    ("convolution", include_str!("convolution.mil")),
    ("two-inputs", include_str!("two_inputs.mil")),
];

/// The smallest surface that every engine is reported to accept.
const SURFACE: usize = 49_152;

/// The programs as an engine's compiler gets them.
pub fn sources() -> Vec<Source> {
    let source = |(name, text): (&str, &str)| {
        let mut weights = BTreeMap::new();
        if text.contains("BLOBFILE") {
            weights.insert("@model_path/weights/w.bin".to_owned(), weight_file());
        }
        Source { name: name.to_owned(), text: text.to_owned(), weights }
    };
    PROGRAMS.map(source).to_vec()
}

/// Runs every program.
pub fn run(engine: &dyn Engine) -> Vec<Check> {
    let options = EmulatorOptions::new(*engine.target());
    let emulator = Emulator::new(options);
    let check = |(source, (program, _)): (Source, (&'static str, &str))| {
        let outcome = emulator.as_ref().map_err(Clone::clone).and_then(|emulator| {
            let expected = outputs(emulator, &source)?;
            Ok(compare(&outputs(engine, &source)?, &expected))
        });
        Check { program, outcome }
    };
    sources().into_iter().zip(PROGRAMS).map(check).collect()
}

/// Compiles, fills the inputs, evaluates, and gives all outputs one after another.
fn outputs(engine: &dyn Engine, source: &Source) -> Result<Vec<f16>, EngineError> {
    let model = engine.compile(source)?;
    let surfaces = |ports: &[Port]| -> Result<Vec<Surface>, EngineError> {
        let bytes = ports.iter().map(|port| port.bytes).fold(SURFACE, usize::max);
        ports.iter().map(|_| engine.surface(bytes)).collect()
    };
    let fail =
        |error: surface::Error| EngineError::new(&source.name, Stage::Surface, error.to_string());
    let (inputs, outputs) = (surfaces(model.inputs())?, surfaces(model.outputs())?);
    for (port, surface) in model.inputs().iter().zip(&inputs) {
        let values = numbers(&port.name, port.bytes / 2);
        let mut writing = surface.write().map_err(fail)?;
        for (to, value) in writing.as_mut_slice::<u16>().iter_mut().zip(values) {
            *to = value.to_bits();
        }
    }
    model.clone().bind(&inputs, &outputs)?.evaluate()?;
    let mut all = vec![];
    for (port, surface) in model.outputs().iter().zip(&outputs) {
        let reading = surface.read().map_err(fail)?;
        let bits = reading.as_slice::<u16>().iter().take(port.bytes / 2);
        all.extend(bits.map(|bits| f16::from_bits(*bits)));
    }
    Ok(all)
}

fn compare(found: &[f16], expected: &[f16]) -> Difference {
    let size = expected.iter().map(|v| v.to_f64().abs()).fold(f64::MIN_POSITIVE, f64::max);
    let pairs = || found.iter().zip(expected);
    let differing = pairs().filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    let differences = pairs().map(|(a, b)| (a.to_f64() - b.to_f64()).abs() / size);
    // A maximum would pass over what is no number.
    let larger = |a: f64, b: f64| if b.is_nan() { f64::INFINITY } else { a.max(b) };
    Difference { elements: expected.len(), differing, largest: differences.fold(0.0, larger) }
}

/// A weight file with one matrix of 64 by 64.
fn weight_file() -> Arc<[u8]> {
    let bytes: Vec<u8> = numbers("w", 64 * 64).flat_map(|v| v.to_le_bytes()).collect();
    let tensor = Tensor::from_bytes(DataType::Fp16, &[64, 64, 1, 1], bytes)
        .expect("the size is the shape's");
    let mut writer = BlobWriter::in_memory();
    writer.push(&tensor).expect("memory can be written");
    writer.into_bytes().expect("memory can be written").into()
}

/// Multiples of 1/256 between -1/2 and 1/2, other ones for every name, the same everywhere.
fn numbers(name: &str, count: usize) -> impl Iterator<Item = f16> {
    let mut state = name.bytes().fold(1u64, |state, byte| state * 257 + u64::from(byte));
    (0..count).map(move |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        f16::from_f32(((state >> 56) as f32 - 128.0) / 256.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Chip, Target};

    #[test]
    fn the_emulator_agrees_with_itself_on_every_chip_and_the_programs_keep_all_rules() {
        for chip in Chip::ALL {
            let target = Target::of(chip);
            let emulator = Emulator::new(EmulatorOptions::new(target)).unwrap();
            for check in run(&emulator) {
                let difference = check.outcome.as_ref().unwrap();
                assert!(check.passed() && difference.differing == 0, "{check:?} on {chip}");
                assert!(difference.elements >= 8192);
            }
        }
    }

    #[test]
    fn differences_and_what_is_no_number_are_seen() {
        let of = |values: &[f32]| values.iter().map(|v| f16::from_f32(*v)).collect::<Vec<_>>();
        let expected = of(&[1.0, -4.0, 0.0]);
        let found = compare(&of(&[1.0, -4.0, 0.5]), &expected);
        assert_eq!(found, Difference { elements: 3, differing: 1, largest: 0.125 });
        let found = compare(&of(&[f32::NAN, -4.0, 0.0]), &expected);
        assert_eq!((found.differing, found.largest), (1, f64::INFINITY));
        let check = |outcome| Check { program: "test", outcome };
        assert!(!check(Ok(found)).passed());
        assert!(!check(Err(EngineError::new("k", Stage::Compile, "no"))).passed());
    }
}
