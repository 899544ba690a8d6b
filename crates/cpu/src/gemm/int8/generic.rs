//! What one source does for every instruction set: the compiler makes vector code of these loops
//! in the functions that they are inlined into.

use super::kernel::{Finish, GROUP, NR, PANEL_STEP, Panel, Rows};
use super::product::Requantize;
use crate::format::Format;

/// Adding 1.5·2²³ rounds to an integer, to nearest even, which then is in the low bits.
const MAGIC: f32 = 12_582_912.0;

/// The integer next to `x`, ties to even; meaningless, but nothing worse, beyond 2²² and for NaN.
#[inline(always)]
fn nearest(x: f32) -> i32 {
    (x + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i32
}

/// The larger of the two; the second if one is NaN.
#[inline(always)]
fn max(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn min(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// [`super::kernel::Kernel::finish`].
///
/// # Safety
/// As for that.
#[inline(always)]
pub(super) unsafe fn finish(f: &Finish<'_>) {
    let channels = if f.left { f.rows } else { f.cols };
    let mut bias = [0f32; NR];
    if !f.bias.is_null() {
        for (i, bias) in bias.iter_mut().enumerate().take(channels.min(NR)) {
            // SAFETY: one number per channel.
            *bias = unsafe { f.bias_format.read(f.bias, i) };
        }
    }
    let mut scales = [0f32; NR];
    let mut offsets = [0i32; NR];
    if !f.left {
        for i in 0..NR {
            // SAFETY: the weights have these for whole panels.
            unsafe {
                scales[i] = *f.scales.add(i);
                offsets[i] = f.zero.wrapping_mul(*f.weight_sums.add(i));
            }
        }
    }
    // The compiler unrolls loops of a constant length instead of making vectors of them.
    let cols = f.cols.min(NR);
    for row in 0..f.rows {
        // SAFETY: a row of sums.
        let sums = unsafe { std::slice::from_raw_parts(f.sums.add(row * NR), cols) };
        let mut values = [0f32; NR];
        let (own, bias_of) = (&mut values[..cols], &bias[..cols]);
        let scale = match f.row_scales.is_null() {
            true => f.scale,
            // SAFETY: one scale per row.
            false => unsafe { *f.row_scales.add(row) },
        };
        if f.left {
            // SAFETY: rows are channels.
            let (channel, sum) = unsafe { (*f.scales.add(row), *f.weight_sums.add(row)) };
            let (factor, offset, bias) = (channel * scale, f.zero.wrapping_mul(sum), bias[row]);
            for (value, &sum) in own.iter_mut().zip(sums) {
                *value = sum.wrapping_sub(offset) as f32 * factor + bias;
            }
        } else {
            let channels = scales[..cols].iter().zip(&offsets[..cols]).zip(bias_of);
            for ((value, &sum), ((&channel, &offset), &bias)) in
                own.iter_mut().zip(sums).zip(channels)
            {
                *value = sum.wrapping_sub(offset) as f32 * (channel * scale) + bias;
            }
        }
        if f.output.relu {
            own.iter_mut().for_each(|v| *v = if *v < 0.0 { 0.0 } else { *v });
        }
        let at = row * f.output.row_stride * f.output.format.bytes();
        // SAFETY: a row of C.
        unsafe { store(f, &mut values, f.c.add(at)) };
    }
}

/// Stores a row of values.
///
/// # Safety
/// `c` has room for the row.
#[inline(always)]
unsafe fn store(f: &Finish<'_>, values: &mut [f32; NR], c: *mut u8) {
    let output = f.output;
    if let Some(quantize) = &output.requantize {
        let (low, high) = quantize.bounds(output.format);
        let mut bytes = [0u8; NR];
        let Requantize { inverse, zero } = *quantize;
        let cols = f.cols.min(NR);
        for (byte, &value) in bytes[..cols].iter_mut().zip(&values[..cols]) {
            let scaled = min(max(value * inverse, low), high);
            let integer = nearest(scaled).wrapping_add(zero);
            *byte = if value.is_nan() { 0 } else { integer as u8 };
        }
        if f.cols == NR {
            // SAFETY: a whole row of the tile.
            return unsafe { c.cast::<[u8; NR]>().write_unaligned(bytes) };
        }
        // SAFETY: the columns of the row.
        return unsafe { c.copy_from_nonoverlapping(bytes.as_ptr(), f.cols) };
    }
    let mut narrow = [0u16; NR];
    // SAFETY: conversions between arrays of as many elements; C holds the columns.
    unsafe {
        if let Some(format) = output.round.filter(|&format| format != Format::F32) {
            f.float.narrow(format, values.as_ptr(), narrow.as_mut_ptr().cast(), NR);
            f.float.widen(format, narrow.as_ptr().cast(), values.as_mut_ptr(), NR);
        }
        if output.accumulate {
            for (i, value) in values.iter_mut().enumerate().take(f.cols) {
                *value += output.format.read(c, i);
            }
        }
        f.float.narrow(output.format, values.as_ptr(), c, f.cols);
    }
}

/// [`super::kernel::Kernel::interleave`].
///
/// # Safety
/// As for that.
#[inline(always)]
pub(super) unsafe fn interleave(rows: &Rows, panel: *mut u8) {
    let flip = u32::from_ne_bytes([rows.flip; GROUP]);
    for group in 0..rows.depth.div_ceil(GROUP) {
        let mut lines = [[0u8; NR]; GROUP];
        let steps = GROUP.min(rows.depth - group * GROUP);
        for (step, line) in lines.iter_mut().enumerate().take(steps) {
            // SAFETY: `lanes` bytes of a row below the depth.
            unsafe {
                let from = rows.base.add((group * GROUP + step) * rows.stride);
                if rows.lanes == NR {
                    *line = *from.cast::<[u8; NR]>();
                } else {
                    line.as_mut_ptr().copy_from_nonoverlapping(from, rows.lanes);
                }
            }
        }
        let mut quads = [0u32; NR];
        for lane in 0..NR {
            let byte = |step: usize| u32::from(lines[step][lane]);
            quads[lane] = (byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24) ^ flip;
        }
        if cfg!(target_endian = "big") {
            quads.iter_mut().for_each(|quad| *quad = quad.swap_bytes());
        }
        // SAFETY: the panel holds this group.
        unsafe { panel.add(group * PANEL_STEP).cast::<[u32; NR]>().write_unaligned(quads) };
    }
}

/// [`super::kernel::Kernel::quantize_row`].
///
/// # Safety
/// As for that.
#[inline(always)]
pub(super) unsafe fn quantize_row(from: *const f32, to: *mut u8, count: usize, flip: u8) -> f32 {
    // SAFETY: the caller vouches for both.
    let (from, to) = unsafe {
        (std::slice::from_raw_parts(from, count), std::slice::from_raw_parts_mut(to, count))
    };
    // As integers magnitudes are in the same order, and NaN is above all.
    let largest = from.iter().fold(0u32, |m, x| m.max(x.to_bits() & 0x7fff_ffff));
    let (inverse, scale) = factors(f32::from_bits(largest));
    for (to, &x) in to.iter_mut().zip(from) {
        *to = nearest(x * inverse) as u8 ^ flip;
    }
    scale
}

/// What numbers up to `largest` in magnitude are multiplied with to be s8, and the scale of those.
#[inline(always)]
pub(super) fn factors(largest: f32) -> (f32, f32) {
    /// Smaller numbers have no finite factor.
    const SMALLEST: f32 = 1e-36;
    if largest < SMALLEST {
        (0.0, 0.0)
    } else if largest < f32::INFINITY {
        (127.0 / largest, largest / 127.0)
    } else {
        (0.0, f32::NAN)
    }
}

/// [`super::kernel::Kernel::maxima`].
///
/// # Safety
/// As for that.
#[inline(always)]
pub(super) unsafe fn maxima(from: *const f32, depth: usize, maxima: &mut [u32; NR]) {
    let mut largest = *maxima;
    for step in 0..depth {
        // SAFETY: a step of the panel.
        let line: &[f32; NR] = unsafe { &*from.add(step * NR).cast() };
        for (m, x) in largest.iter_mut().zip(line) {
            *m = (*m).max(x.to_bits() & 0x7fff_ffff);
        }
    }
    *maxima = largest;
}

/// [`super::kernel::Kernel::quantize_panel`].
///
/// # Safety
/// As for that.
#[inline(always)]
pub(super) unsafe fn quantize_panel(panel: &Panel, sums: &mut [i32; NR]) {
    for group in 0..panel.depth.div_ceil(GROUP) {
        let mut quads = [0u32; NR];
        for step in 0..GROUP.min(panel.depth - group * GROUP) {
            // SAFETY: a step below the depth.
            let line: &[f32; NR] = unsafe { &*panel.from.add((group * GROUP + step) * NR).cast() };
            let shift = 8 * step as u32;
            for lane in 0..NR {
                let q = nearest(line[lane] * panel.inverse[lane]);
                sums[lane] += q;
                quads[lane] |= (q as u32 & 0xff) << shift;
            }
        }
        let to = panel.to.wrapping_add(group * panel.group_stride);
        for (lane, quad) in quads.into_iter().enumerate() {
            // SAFETY: the panel has room for this group of every lane.
            unsafe { to.add(lane * panel.lane_stride).write(quad.to_le()) };
        }
    }
}

/// The methods of a kernel that are the same source for all, for these target features.
macro_rules! shared_methods {
    ($finish:path, $interleave:path $(, #[$feature:meta])?) => {
        unsafe fn finish(&self, finish: &Finish<'_>) {
            $(#[$feature])?
            unsafe fn inner(finish: &Finish<'_>) {
                // SAFETY: passed on.
                unsafe { $finish(finish) }
            }
            // SAFETY: the caller vouches for the argument and the instructions.
            unsafe { inner(finish) }
        }

        unsafe fn interleave(&self, rows: &Rows, panel: *mut u8) {
            $(#[$feature])?
            unsafe fn inner(rows: &Rows, panel: *mut u8) {
                // SAFETY: passed on.
                unsafe { $interleave(rows, panel) }
            }
            // SAFETY: the caller vouches for the arguments and the instructions.
            unsafe { inner(rows, panel) }
        }

        unsafe fn quantize_row(&self, from: *const f32, to: *mut u8, n: usize, flip: u8) -> f32 {
            $(#[$feature])?
            unsafe fn inner(from: *const f32, to: *mut u8, n: usize, flip: u8) -> f32 {
                // SAFETY: passed on.
                unsafe { generic::quantize_row(from, to, n, flip) }
            }
            // SAFETY: the caller vouches for the arguments and the instructions.
            unsafe { inner(from, to, n, flip) }
        }

        unsafe fn maxima(&self, from: *const f32, depth: usize, maxima: &mut [u32; NR]) {
            $(#[$feature])?
            unsafe fn inner(from: *const f32, depth: usize, maxima: &mut [u32; NR]) {
                // SAFETY: passed on.
                unsafe { generic::maxima(from, depth, maxima) }
            }
            // SAFETY: the caller vouches for the arguments and the instructions.
            unsafe { inner(from, depth, maxima) }
        }

        unsafe fn quantize_panel(&self, panel: &Panel, sums: &mut [i32; NR]) {
            $(#[$feature])?
            unsafe fn inner(panel: &Panel, sums: &mut [i32; NR]) {
                // SAFETY: passed on.
                unsafe { generic::quantize_panel(panel, sums) }
            }
            // SAFETY: the caller vouches for the arguments and the instructions.
            unsafe { inner(panel, sums) }
        }
    };
}
pub(super) use shared_methods;
