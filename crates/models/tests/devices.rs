//! The functions on the CPU device, against PyTorch: every instruction set, and every type of
//! matrix product.

mod common;

use common::{Check, Tolerance, block, on, whole_model};
use cpu::CpuDevice;
use cpu::isa::Isa;
use mil::DataType;
use models::Layout;
use passes::autodiff::Recompute;
use runtime::Device;

fn check_all(layout: Layout, compute: DataType, recompute: Recompute, tolerance: Tolerance) {
    for isa in Isa::available() {
        let device = CpuDevice::with_isa(Some(2), isa).expect("two threads can be started");
        let evaluate = on(&device);
        let check = Check { evaluate: &evaluate, layout, compute, recompute, tolerance };
        for name in ["block_mha_interleaved", "block_gqa_halves_qk_norm"] {
            println!("{}, {name}: {:.2e}", device.describe(), block(name, &check));
        }
        for name in ["model_interleaved_tied", "model_halves_untied", "model_halves_qk_norm_tied"] {
            println!("{}, {name}: {:.2e}", device.describe(), whole_model(name, &check));
        }
    }
}

#[test]
fn on_the_cpu_in_fp32_values_and_gradients_are_those_of_pytorch() {
    for recompute in [Recompute::Nothing, Recompute::Cheap, Recompute::Everything] {
        check_all(Layout::TokenMajor, DataType::Fp32, recompute, Tolerance::Largest(1e-5));
    }
}

#[test]
fn on_the_cpu_in_bf16_values_and_gradients_are_close_to_those_of_pytorch() {
    check_all(Layout::TokenMajor, DataType::Bf16, Recompute::Cheap, Tolerance::Norm(2e-2));
}

#[test]
fn on_the_cpu_in_fp16_values_and_gradients_are_close_to_those_of_pytorch() {
    check_all(Layout::TokenMajor, DataType::Fp16, Recompute::Cheap, Tolerance::Norm(3e-3));
}

#[test]
fn channel_first_in_fp32_values_and_gradients_are_those_of_pytorch() {
    for recompute in [Recompute::Nothing, Recompute::Everything] {
        check_all(Layout::ChannelFirst, DataType::Fp32, recompute, Tolerance::Largest(1e-5));
    }
}

#[test]
fn channel_first_in_fp16_values_and_gradients_are_close_to_those_of_pytorch() {
    // Rotations, norms of heads and the softmax are in fp16 here too.
    let tolerance = Tolerance::Norm(5e-3);
    check_all(Layout::ChannelFirst, DataType::Fp16, Recompute::Everything, tolerance);
}
