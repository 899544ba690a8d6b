//! The kernel for machines without one of their own.

use super::generic::{self, shared_methods};
use super::kernel::{Finish, GROUP, Kernel, NR, PANEL_STEP, Panel, Rows, Tile};

const MR: usize = 4;

pub(super) struct Portable;
pub(super) static KERNEL: Portable = Portable;

// SAFETY: everything is in terms of the arguments' own sizes.
unsafe impl Kernel for Portable {
    fn name(&self) -> &'static str {
        "portable-s8-4x32"
    }

    fn mr(&self) -> usize {
        MR
    }

    fn takes_signed(&self) -> bool {
        true
    }

    unsafe fn tile(&self, tile: &Tile) {
        for row in 0..tile.rows {
            let mut sums = [0i32; NR];
            for group in 0..tile.groups {
                // SAFETY: one group of a row, and of the panel.
                let (a, b) = unsafe {
                    let a = tile.a.add(row * tile.a_stride + group * GROUP);
                    let b = tile.b.add(group * PANEL_STEP);
                    (&*a.cast::<[i8; GROUP]>(), &*b.cast::<[[i8; GROUP]; NR]>())
                };
                for (sum, b) in sums.iter_mut().zip(b) {
                    let products = a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b));
                    *sum = sum.wrapping_add(products.sum::<i32>());
                }
            }
            // SAFETY: a row of the sums.
            unsafe { *tile.sums.add(row * NR).cast() = sums };
        }
    }

    shared_methods!(generic::finish, generic::interleave);
}
