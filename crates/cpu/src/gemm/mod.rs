//! Matrix products: `C [m, n] (+)= A [m, k] · B [k, n]`, summed in f32.
//!
//! A [`Description`] says what is wanted; [`Product::new`] picks the kernel, the blocking and the
//! way the work is divided, once; [`Product::run`] then computes without allocating. Operands are
//! strided views, so a transposed operand costs nothing but another order of reading while it is
//! packed. A right operand that is used more than once, such as a parameter, is packed once, as a
//! [`PackedB`].
//!
//! The layers, from the top: `product` divides the work among threads, `block` runs the loops over
//! cache-sized blocks, `thin` serves products of a few rows, which memory bounds, and a `kernel`
//! of one instruction set computes tiles in registers and packs panels for itself.
//!
//! An element of C is summed in the same order whatever the number of threads, so results do not
//! depend on it.

#[cfg(target_arch = "aarch64")]
mod aarch64_bf16;
#[cfg(target_arch = "aarch64")]
mod aarch64_neon;
mod ahead;
mod block;
mod buffer;
mod description;
mod generic;
pub mod int8;
mod kernel;
mod packed;
mod portable;
mod product;
#[cfg(test)]
mod tests;
mod thin;
#[cfg(target_arch = "x86_64")]
mod x86_avx2;
#[cfg(target_arch = "x86_64")]
mod x86_avx512;
#[cfg(target_arch = "x86_64")]
mod x86_avx512_bf16;
#[cfg(target_arch = "x86_64")]
mod x86_avx512_pack;

pub use buffer::{AlignedBytes, OutOfMemory};
pub use description::{BatchAxis, Bias, BiasTo, Description, Error, Operand, Output, Right};
pub use packed::PackedB;
pub use product::{B, Product};

use crate::format::Format;
use crate::isa::Isa;
use kernel::Kernel;

/// The kernel of an instruction set for operands with numbers of these formats.
fn kernel(isa: Isa, left: Format, right: Format) -> &'static dyn Kernel {
    // Only some machines have instructions for bf16.
    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), expect(unused_variables))]
    let bf16 = [left, right] == [Format::Bf16; 2];
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 if isa.is_available() && bf16 => &x86_avx512_bf16::KERNEL,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx512Bf16 if isa.is_available() => &x86_avx512::KERNEL,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 if isa.is_available() => &x86_avx2::KERNEL,
        #[cfg(target_arch = "aarch64")]
        Isa::NeonBf16 if isa.is_available() && bf16 => &aarch64_bf16::KERNEL,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon | Isa::NeonBf16 if isa.is_available() => &aarch64_neon::KERNEL,
        _ => &portable::KERNEL,
    }
}

/// The name of the kernel that products of single precision use with `isa`, such as
/// `avx512-f32-14x32`.
pub fn kernel_name(isa: Isa) -> &'static str {
    kernel_name_for(isa, Format::F32)
}

/// The name of the kernel that products use with `isa` if both operands' numbers are of this
/// format, such as `avx512bf16-bf16-14x32`.
pub fn kernel_name_for(isa: Isa, numbers: Format) -> &'static str {
    kernel(isa, numbers, numbers).name()
}

/// One way to compute a product on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The instruction set to ask for.
    pub isa: Isa,
    /// The kernel that [`Product::new`] then uses.
    pub kernel: &'static str,
}

/// Every kernel that this machine has for a product, each once. The first is the one that is used
/// unless an instruction set is pinned.
///
/// # Errors
/// As for [`Product::new`].
pub fn choices(description: &Description) -> Result<Vec<Choice>, Error> {
    description.check()?;
    let [left, right] = description.factors();
    let mut choices: Vec<Choice> = Vec::new();
    for isa in Isa::available() {
        let kernel = kernel(isa, left, right).name();
        if choices.iter().all(|choice| choice.kernel != kernel) {
            choices.push(Choice { isa, kernel });
        }
    }
    Ok(choices)
}
