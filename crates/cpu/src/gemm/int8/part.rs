//! The loops over the tiles of one thread's part of C.

use super::kernel::{Finish, GROUP, NR, PANEL_STEP, Rows, Tile};
use super::product::{Memory, Product};
use super::weights::Side;
use crate::format::Format;
use std::ops::Range;

/// The part of one thread.
pub(super) struct Part<'a> {
    pub product: &'a Product,
    pub memory: Memory<'a>,
    /// Prepared activations, scales of rows, a row of numbers, sums.
    pub regions: [*mut u8; 4],
}

/// A tile of C and what it is computed from.
struct Place {
    rows: Range<usize>,
    cols: Range<usize>,
    a: *const u8,
    a_stride: usize,
    b: *const u8,
    /// What to fetch meanwhile, from where and how much for each group.
    ahead: *const u8,
    ahead_step: usize,
    /// Scales of the rows if they have their own.
    row_scales: *const f32,
}

impl Part<'_> {
    /// Weights on the left: panels of activations, one after the other.
    ///
    /// # Safety
    /// As for [`Product::run`]; nobody else has this part of C or the scratch.
    pub unsafe fn planes(&self, rows: Range<usize>, cols: Range<usize>) {
        let (weights, mr) = (self.memory.weights, self.product.kernel.mr());
        let stride = weights.groups() * GROUP;
        let (panels, panel_bytes) = (self.regions[0], weights.groups() * PANEL_STEP);
        // Two panels at a time: together their rows are whole cache lines.
        for col in cols.clone().step_by(2 * NR) {
            let pair = col..(col + 2 * NR).min(cols.end);
            // SAFETY: the scratch has room for two panels.
            unsafe { self.panels(&pair, panels, panel_bytes) };
            let count = pair.len().div_ceil(NR);
            for row in rows.clone().step_by(mr) {
                for (i, col) in pair.clone().step_by(NR).enumerate() {
                    // The next rows of weights, a part with each panel.
                    let next = weights.at(row).wrapping_add(mr * stride * (count + i) / count);
                    let place = Place {
                        rows: row..(row + mr).min(rows.end),
                        cols: col..(col + NR).min(pair.end),
                        a: weights.at(row),
                        a_stride: stride,
                        b: panels.wrapping_add(i * panel_bytes),
                        ahead: next,
                        ahead_step: mr * GROUP / count,
                        row_scales: std::ptr::null(),
                    };
                    // SAFETY: the rows of these channels, and a panel just made.
                    unsafe { self.tile(&place) };
                }
            }
        }
    }

    /// Weights on the right: blocks of rows of activations, each times all panels.
    ///
    /// # Safety
    /// As for [`Product::run`]; nobody else has this part of C or the scratch.
    pub unsafe fn rows(&self, rows: Range<usize>, cols: Range<usize>) {
        let weights = self.memory.weights;
        let mr = self.product.kernel.mr();
        let numbers = self.product.description.activations.format.is_float();
        let panel_bytes = weights.groups() * PANEL_STEP;
        for first in rows.clone().step_by(self.product.block) {
            let block = first..(first + self.product.block).min(rows.end);
            // SAFETY: the scratch has room for a block of rows.
            let (a, a_stride) = unsafe { self.prepare(&block) };
            // While the tiles of one panel are computed, the next panel is fetched.
            let tiles = block.len().div_ceil(mr);
            let ahead_step = panel_bytes.div_ceil(tiles * weights.groups().max(1));
            for col in cols.clone().step_by(NR) {
                for (i, row) in block.clone().step_by(mr).enumerate() {
                    let b = weights.at(col);
                    let ahead = panel_bytes + i * ahead_step * weights.groups();
                    let scales = self.regions[1].cast::<f32>().wrapping_add(row - first);
                    let place = Place {
                        rows: row..(row + mr).min(block.end),
                        cols: col..(col + NR).min(cols.end),
                        a: a.wrapping_add((row - first) * a_stride),
                        a_stride,
                        b,
                        ahead: b.wrapping_add(ahead),
                        ahead_step,
                        row_scales: if numbers { scales } else { std::ptr::null() },
                    };
                    // SAFETY: rows of the block, and a panel of the weights.
                    unsafe { self.tile(&place) };
                }
            }
        }
    }

    /// # Safety
    /// As for [`Part::rows`]; the operands are those of the tile.
    unsafe fn tile(&self, place: &Place) {
        let d = &self.product.description;
        let weights = self.memory.weights;
        let left = d.weights == Side::Left;
        let sums = self.regions[3].cast::<i32>();
        let tile = Tile {
            a: place.a,
            a_stride: place.a_stride,
            b: place.b,
            sums,
            rows: place.rows.len(),
            groups: weights.groups(),
            left,
            ahead: place.ahead,
            ahead_step: place.ahead_step,
        };
        let channel = if left { place.rows.start } else { place.cols.start };
        let bias_format = d.bias.unwrap_or(Format::F32);
        let bias_at = if d.bias.is_some() { channel * bias_format.bytes() } else { 0 };
        let c =
            (place.rows.start * d.output.row_stride + place.cols.start) * d.output.format.bytes();
        let finish = Finish {
            sums,
            rows: tile.rows,
            cols: place.cols.len(),
            left,
            scales: weights.scales_from(channel),
            weight_sums: weights.sums_from(channel),
            bias: self.memory.bias.wrapping_add(bias_at),
            bias_format,
            zero: self.zero(),
            scale: d.activations.scale,
            row_scales: place.row_scales,
            output: &d.output,
            c: self.memory.c.wrapping_add(c),
            float: self.product.float,
        };
        // SAFETY: the operands hold all groups of the tile's rows and columns, the scratch has
        // room for its sums, and the caller vouches for bias and C.
        unsafe {
            self.product.kernel.tile(&tile);
            self.product.kernel.finish(&finish);
        }
    }

    /// What bytes of activations are exchanged with, so that they are as the kernel wants them.
    fn flip(&self) -> u8 {
        let signed = self.product.description.activations.format != Format::U8;
        if signed == self.product.kernel.takes_signed() { 0 } else { 0x80 }
    }

    /// The zero point of activations as the kernel sees them.
    fn zero(&self) -> i32 {
        let a = &self.product.description.activations;
        let zero = if a.format.is_float() { 0 } else { a.zero };
        match (self.flip(), self.product.kernel.takes_signed()) {
            (0, _) => zero,
            (_, false) => zero + 128,
            (_, true) => zero - 128,
        }
    }

    /// One or two panels of activations, for up to 2 · [`NR`] columns.
    ///
    /// # Safety
    /// As for [`Product::run`]; `panels` has room for all groups of both.
    unsafe fn panels(&self, cols: &Range<usize>, panels: *mut u8, panel_bytes: usize) {
        let d = &self.product.description;
        let a = &d.activations;
        let rows = |cols: &Range<usize>| Rows {
            base: self.memory.activations.wrapping_add(cols.start * a.col_stride),
            stride: a.row_stride,
            lanes: cols.len(),
            depth: d.k,
            flip: self.flip(),
        };
        if a.col_stride == 1 && cols.len() == 2 * NR {
            // SAFETY: the columns of all rows; room in the panels.
            return unsafe { self.product.kernel.interleave_two(&rows(cols), panels, panel_bytes) };
        }
        for (i, col) in cols.clone().step_by(NR).enumerate() {
            let cols = col..(col + NR).min(cols.end);
            let panel = panels.wrapping_add(i * panel_bytes);
            // SAFETY: as above, for one of the panels.
            unsafe {
                match a.col_stride {
                    1 => self.product.kernel.interleave(&rows(&cols), panel),
                    _ => self.gather(&rows(&cols), panel),
                }
            }
        }
    }

    /// A panel of columns that are not neighbors.
    ///
    /// # Safety
    /// As for [`Part::panels`], for one panel.
    unsafe fn gather(&self, rows: &Rows, panel: *mut u8) {
        let a = &self.product.description.activations;
        for step in 0..rows.depth {
            for lane in 0..rows.lanes {
                let at = step / GROUP * PANEL_STEP + lane * GROUP + step % GROUP;
                // SAFETY: passed on. What is left of the last group meets zeros of the weights.
                unsafe {
                    let byte = *rows.base.add(step * a.row_stride + lane * a.col_stride);
                    *panel.add(at) = byte ^ rows.flip;
                }
            }
        }
    }

    /// Rows of activations as the kernel wants them, and how many bytes they are apart. Bytes past
    /// the depth are any: they meet zeros of the weights.
    ///
    /// # Safety
    /// As for [`Product::run`]; the scratch has room for as many rows.
    unsafe fn prepare(&self, rows: &Range<usize>) -> (*const u8, usize) {
        let d = &self.product.description;
        let (a, flip) = (&d.activations, self.flip());
        let stride = d.k.next_multiple_of(GROUP);
        let size = a.format.bytes();
        let base = self.memory.activations.wrapping_add(rows.start * a.row_stride * size);
        let direct =
            !a.format.is_float() && flip == 0 && a.col_stride == 1 && d.k.is_multiple_of(GROUP);
        if direct {
            return (base, a.row_stride);
        }
        let numbers = self.regions[2].cast::<f32>();
        for row in 0..rows.len() {
            let from = base.wrapping_add(row * a.row_stride * size);
            let to = self.regions[0].wrapping_add(row * stride);
            // SAFETY: a row of the activations, and room for it.
            unsafe {
                if !a.format.is_float() {
                    if a.col_stride == 1 {
                        let from = std::slice::from_raw_parts(from, d.k);
                        let to = std::slice::from_raw_parts_mut(to, d.k);
                        to.iter_mut().zip(from).for_each(|(to, &from)| *to = from ^ flip);
                    } else {
                        (0..d.k).for_each(|i| *to.add(i) = *from.add(i * a.col_stride) ^ flip);
                    }
                    continue;
                }
                let mut source: *const f32 = from.cast();
                if a.col_stride != 1 {
                    (0..d.k).for_each(|i| {
                        *numbers.add(i) = a.format.read(from, i * a.col_stride);
                    });
                    source = numbers;
                } else if a.format != Format::F32 {
                    self.product.float.widen(a.format, from, numbers, d.k);
                    source = numbers;
                }
                let scale = self.product.kernel.quantize_row(source, to, d.k, flip);
                *self.regions[1].cast::<f32>().add(row) = scale;
            }
        }
        (self.regions[0], stride)
    }
}
