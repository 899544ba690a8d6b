//! Matrix products of 8-bit integers with sums in 32 bits: `C = A · B`, one operand activations,
//! the other weights with one scale per output channel.
//!
//! Activations are s8 or u8 with a zero point and one scale, or floating-point numbers that are
//! quantized on the way, every row by itself (`scale = max|x| / 127`). Weights are s8 without a
//! zero point, laid out once, as [`Weights`]. What a sum becomes on its way into C is an
//! [`Output`]: scaled to a floating-point number, with a bias, or quantized again.
//!
//! The dot-product instructions multiply unsigned by signed bytes. Signed activations are moved
//! up by 128, and what that and the zero point add to every sum, a multiple of the sum of the
//! channel's weights, is taken off again. Integer sums are exact, so every kernel gives the same
//! result, whatever the number of threads.

#[cfg(target_arch = "aarch64")]
mod aarch64_dot;
mod generic;
mod kernel;
mod part;
mod portable;
mod product;
#[cfg(test)]
mod tests;
mod weights;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
mod x86_vnni;
#[cfg(target_arch = "x86_64")]
mod x86_widen;

pub use product::{Activations, Description, Error, Output, Product, Requantize};
pub use weights::{Side, Weights};

use crate::format::Format;
use crate::isa::Isa;
use kernel::Kernel;

/// The longest sum: more terms of 255 · -128 could leave 32 bits.
pub const MAX_DEPTH: usize = (i32::MAX / (255 * 128)) as usize;

/// The kernels of an instruction set that the machine has, best first.
fn kernels(isa: Isa) -> Vec<&'static dyn Kernel> {
    let mut found: Vec<&'static dyn Kernel> = vec![];
    #[cfg(target_arch = "x86_64")]
    {
        if isa.is_available() && matches!(isa, Isa::Avx512 | Isa::Avx512Bf16) {
            if is_x86_feature_detected!("avx512vnni") {
                found.push(&x86_vnni::KERNEL);
            }
            found.push(&x86_widen::AVX512);
        }
        if isa == Isa::Avx2 && isa.is_available() {
            found.push(&x86_widen::AVX2);
        }
    }
    #[cfg(target_arch = "aarch64")]
    if isa.is_available()
        && matches!(isa, Isa::Neon | Isa::NeonBf16)
        && std::arch::is_aarch64_feature_detected!("dotprod")
    {
        found.push(&aarch64_dot::KERNEL);
    }
    if found.is_empty() {
        found.push(&portable::KERNEL);
    }
    found
}

/// The kernel of an instruction set.
fn kernel(isa: Isa) -> &'static dyn Kernel {
    kernels(isa)[0]
}

/// The kernel that converts numbers.
fn float_kernel(isa: Isa) -> &'static dyn super::kernel::Kernel {
    super::kernel(isa, Format::F32, Format::F32)
}

/// The name of the kernel that integer products use with `isa`, such as `avx512-vnni-14x32`.
pub fn kernel_name(isa: Isa) -> &'static str {
    kernel(isa).name()
}
