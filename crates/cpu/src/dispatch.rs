//! Compiling one loop for each instruction set.

/// Calls a body that is inlined into functions for each instruction set, in which the compiler
/// vectorizes it: `$fused` where there is a fused multiply-add, `$plain` elsewhere.
///
/// An unsafe body is called as is: the place of use says why that is sound. The instruction set
/// must be one that the machine has, which whoever runs a program or windows checks once.
macro_rules! dispatch {
    ($isa:expr, $fused:expr, $plain:expr, ($($name:ident: $type:ty),* $(,)?)) => {{
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
            #[allow(unused_unsafe)]
            unsafe fn avx512($($name: $type),*) {
                // SAFETY: the place of use has the reason.
                unsafe { $fused($($name),*) }
            }
            #[target_feature(enable = "avx2,fma,f16c")]
            #[allow(unused_unsafe)]
            unsafe fn avx2($($name: $type),*) {
                // SAFETY: the place of use has the reason.
                unsafe { $fused($($name),*) }
            }
            match $isa {
                // SAFETY: the instruction set was checked, the rest is the place of use's.
                $crate::isa::Isa::Avx512 | $crate::isa::Isa::Avx512Bf16 => unsafe { avx512($($name),*) },
                // SAFETY: as above.
                $crate::isa::Isa::Avx2 => unsafe { avx2($($name),*) },
                #[allow(unused_unsafe)]
                // SAFETY: the place of use has the reason.
                _ => unsafe { $plain($($name),*) },
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = $isa;
            #[allow(unused_unsafe)]
            // SAFETY: the place of use has the reason.
            unsafe { $plain($($name),*) }
        }
    }};
}
