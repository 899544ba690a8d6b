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

mod block;
mod buffer;
mod description;
mod generic;
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

pub use buffer::AlignedBytes;
pub use description::{BatchAxis, Description, Error, Operand, Output, Right};
pub use packed::PackedB;
pub use product::{B, Product};

use crate::isa::Isa;
use kernel::Kernel;

/// The kernel of an instruction set.
fn kernel(isa: Isa) -> &'static dyn Kernel {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if isa.is_available() => &x86_avx512::KERNEL,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 if isa.is_available() => &x86_avx2::KERNEL,
        _ => &portable::KERNEL,
    }
}

/// The name of the kernel that products use with `isa`, such as `avx512-f32-14x32`.
pub fn kernel_name(isa: Isa) -> &'static str {
    kernel(isa).name()
}
