//! Products of a few rows, as when one token is decoded: B is read once, from memory, and packing
//! it would only read and write it once more.

use super::description::{BiasTo, Description, Operand, Right};
use super::kernel::{Finish, Kernel, Strip};
use super::product::{B, Memory, regions};
use std::ops::Range;

/// The most rows; with more, packing pays.
const ROWS: usize = 6;
/// Columns at a time, so that the sums stay in the first cache.
const COLS: usize = 1024;

/// Whether this path computes `d`.
pub(super) fn serves(d: &Description) -> bool {
    operand(d).is_some_and(|b| {
        let plain = b.round.is_none_or(|format| format == b.format);
        d.m <= ROWS && plain && (b.row_stride == 1 || b.col_stride == 1)
    })
}

fn operand(d: &Description) -> Option<Operand> {
    match d.b {
        Right::Strided(operand) => Some(operand),
        Right::Packed(_) => None,
    }
}

pub(super) fn scratch_bytes(d: &Description) -> usize {
    layout(d).1
}

/// Where A as f32 and the sums start, and the size of both.
fn layout(d: &Description) -> ([usize; 2], usize) {
    regions([d.m * d.k * size_of::<f32>(), d.m * COLS * size_of::<f32>()])
}

/// Computes columns `cols` of one product.
///
/// # Safety
/// As for `Product::run`; nobody else has these columns of C or the scratch.
pub(super) unsafe fn compute(
    d: &Description,
    kernel: &dyn Kernel,
    memory: &Memory<'_>,
    cols: Range<usize>,
) {
    let ([a_at, sums_at], _) = layout(d);
    let b = operand(d).expect("thin products have a strided operand");
    let B::Strided(b_base) = memory.b else { unreachable!("checked before the run") };
    let a = memory.scratch.wrapping_add(a_at).cast::<f32>();
    let sums = memory.scratch.wrapping_add(sums_at).cast::<f32>();
    // SAFETY: the scratch has room for `m` rows of `k` numbers, and A is readable.
    unsafe { widen_rows(d, kernel, memory.a, a) };
    for first in cols.clone().step_by(COLS) {
        let count = COLS.min(cols.end - first);
        let strip = Strip {
            a,
            b: b_base.wrapping_add(first * b.col_stride * b.format.bytes()),
            b_format: b.format,
            b_row_stride: b.row_stride,
            b_col_stride: b.col_stride,
            sums,
            rows: d.m,
            cols: count,
            depth: d.k,
        };
        let (bias_format, bias_to) =
            d.bias.map_or((d.c.format, BiasTo::Columns), |bias| (bias.format, bias.to));
        let finish = Finish {
            sums,
            sums_stride: count,
            earlier: std::ptr::null(),
            earlier_stride: 0,
            bias: memory.bias.wrapping_add(d.bias.map_or(0, |bias| bias.at(0, first))),
            bias_format,
            bias_to,
            clamp: d.clamp,
            round: d.c.round,
            accumulate: d.c.accumulate,
            c: memory.c.wrapping_add(first * d.c.col_stride * d.c.format.bytes()),
            c_format: d.c.format,
            c_row_stride: d.c.row_stride,
            c_col_stride: d.c.col_stride,
            rows: d.m,
            cols: count,
        };
        // SAFETY: the strip is columns of B, the sums have room for `m` rows of `count` numbers,
        // and the caller vouches for the memory.
        unsafe {
            kernel.strip(&strip);
            kernel.finish(&finish);
        }
    }
}

/// Makes contiguous rows of f32 of A.
///
/// # Safety
/// `base` is A's memory and `rows` has room for `m * k` numbers.
unsafe fn widen_rows(d: &Description, kernel: &dyn Kernel, base: *const u8, rows: *mut f32) {
    let bytes = d.a.format.bytes();
    for row in 0..d.m {
        // SAFETY: elements of A, and of one row of the `m * k` numbers.
        unsafe {
            let from = base.add(row * d.a.row_stride * bytes);
            let to = rows.add(row * d.k);
            if d.a.col_stride == 1 {
                kernel.widen(d.a.format, from, to, d.k);
            } else {
                (0..d.k).for_each(|i| *to.add(i) = d.a.format.read(from, i * d.a.col_stride));
            }
            if let Some(format) = d.a.round.filter(|&f| f != d.a.format) {
                (0..d.k).for_each(|i| *to.add(i) = format.round(*to.add(i)));
            }
        }
    }
}
