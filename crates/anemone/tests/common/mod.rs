//! What tests of sessions and of gradients share.

use anemone::mil::{DataType, Tensor};
use anemone::{Device, Model};
use std::path::{Path, PathBuf};

/// A package that the tests of `coreml` have.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../coreml/tests/fixtures").join(name)
}

/// A model of one function.
pub fn text(function: &str) -> Model {
    Model::from_text(format!("program(1.3)\n{{\n{function}\n}}\n"), "test.mil").unwrap()
}

pub fn fp32(dims: &[usize], values: &[f64]) -> Tensor {
    Tensor::from_f64s(DataType::Fp32, dims, values).unwrap()
}

/// The CPU device with one thread, and the interpreter.
pub fn devices() -> [Device; 2] {
    [Device::Cpu { threads: Some(1) }, Device::Interpreter]
}
