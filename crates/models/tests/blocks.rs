//! The builders and their derivatives on the reference interpreter, against PyTorch.

mod common;

use common::{Check, Tolerance, block, interpret, whole_model};
use interp::Rounding;
use mil::DataType;
use models::Layout;
use passes::autodiff::Recompute;

const BLOCKS: [&str; 2] = ["block_mha_interleaved", "block_gqa_halves_qk_norm"];
const MODELS: [&str; 3] =
    ["model_interleaved_tied", "model_halves_untied", "model_halves_qk_norm_tied"];

/// Every fixture; gives the largest error.
fn check_all(rounding: Rounding, compute: DataType, recompute: Recompute, tolerance: Tolerance) {
    let (evaluate, layout) = (interpret(rounding), Layout::TokenMajor);
    let check = Check { evaluate: &evaluate, layout, compute, recompute, tolerance };
    for name in BLOCKS {
        let error = block(name, &check);
        println!("{name}: {error:.2e}");
    }
    for name in MODELS {
        let error = whole_model(name, &check);
        println!("{name}: {error:.2e}");
    }
}

#[test]
fn without_rounding_values_and_gradients_are_those_of_pytorch() {
    let tolerance = Tolerance::Largest(1e-6);
    check_all(Rounding::None, DataType::Fp32, Recompute::Nothing, tolerance);
}

#[test]
fn in_fp32_values_and_gradients_are_those_of_pytorch() {
    let tolerance = Tolerance::Largest(1e-5);
    check_all(Rounding::Declared, DataType::Fp32, Recompute::Nothing, tolerance);
}

#[test]
fn what_is_computed_again_gives_the_same_gradients() {
    for recompute in [Recompute::Cheap, Recompute::Everything] {
        check_all(Rounding::Declared, DataType::Fp32, recompute, Tolerance::Largest(1e-5));
    }
}

#[test]
fn in_bf16_values_and_gradients_are_close_to_those_of_pytorch() {
    check_all(Rounding::Declared, DataType::Bf16, Recompute::Cheap, Tolerance::Norm(2e-2));
}

#[test]
fn in_fp16_values_and_gradients_are_close_to_those_of_pytorch() {
    check_all(Rounding::Declared, DataType::Fp16, Recompute::Cheap, Tolerance::Norm(3e-3));
}
