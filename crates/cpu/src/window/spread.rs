//! The reverse of windows: every element is added wherever the windows of a convolution would read
//! it, as transposed convolutions do.

use super::plane::{self, Finish, SPARE};
use super::{Kind, Operands, Window};
use crate::isa::Isa;

impl Window {
    /// Floats that a thread works in: the padded result, a plane of x, and the result.
    pub(super) fn spread_floats(&self) -> usize {
        let plane = |[rows, columns]: [usize; 2]| rows * columns;
        let small = plane(self.geometry.output);
        self.rows * self.pitch + small + plane(self.geometry.input) + 3 * SPARE
    }

    /// Elements of x, and of the result.
    pub(super) fn spread_elements(&self) -> (usize, usize) {
        let plane = |[rows, columns]: [usize; 2]| rows * columns;
        let small = match self.kind {
            Kind::Spread { multiplier: Some(multiplier) } => self.planes / multiplier.max(1),
            _ => self.planes * self.taps.len(),
        };
        (small * plane(self.geometry.output), self.planes * plane(self.geometry.input))
    }

    /// Computes a plane of the result.
    ///
    /// # Safety
    /// As [`Window::run`]; the plane is this thread's alone.
    pub(super) unsafe fn spread(
        &self,
        isa: Isa,
        operands: Operands,
        plane: usize,
        own: &mut [f32],
    ) {
        let [height, width] = self.geometry.input;
        let [rows, columns] = self.geometry.output;
        let (padded, rest) = own.split_at_mut(self.rows * self.pitch + SPARE);
        let (small, result) = rest.split_at_mut(rows * columns + SPARE);
        let result = &mut result[..height * width + SPARE];
        let taps = self.taps.len();
        // SAFETY: the bias of all channels is there.
        let bias = unsafe { operands.bias.map_or(0.0, |bias| *bias.add(plane % self.channels)) };
        padded.fill(bias);
        let shape = [rows, columns, self.geometry.strides[0] * self.pitch];
        for (tap, &at) in self.taps.iter().enumerate() {
            // SAFETY: x has a plane for every so many results, or for each tap of every result, and
            // there are weights for all results.
            let weight = unsafe {
                let read = |x: usize, small: &mut [f32]| {
                    let first = x * rows * columns;
                    let readable = self.spread_elements().0 - first;
                    let x = operands.x.add(first * self.formats[0].bytes());
                    self.widen(isa, x, readable, rows * columns, small);
                };
                match (&self.kind, operands.weights) {
                    (Kind::Spread { multiplier: Some(multiplier) }, Some(weights)) => {
                        if tap == 0 {
                            read(plane / multiplier, small);
                        }
                        *weights.add(plane % self.channels * taps + tap)
                    }
                    _ => {
                        read(plane * taps + tap, small);
                        1.0
                    }
                }
            };
            let small = &*small;
            let to = &mut padded[at..];
            dispatch!(isa, add::<true>, add::<false>, (shape: [usize; 3], weight: f32, small: &[f32], to: &mut [f32]));
        }
        self.gather(padded, bias, result);
        let clamp = self.clamp.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        let finish = Finish {
            factors: None,
            root: false,
            clamp,
            rows: height,
            columns: width,
            pitch: width,
        };
        // SAFETY: the plane is within `out`.
        unsafe {
            let out = operands.out.add(plane * height * width * self.formats[1].bytes());
            self.store(isa, &finish, result, out);
        }
    }

    /// Brings the elements of the result into their order; what no window reaches has the bias.
    fn gather(&self, padded: &[f32], bias: f32, result: &mut [f32]) {
        let [height, width] = self.geometry.input;
        let [above, left] = self.geometry.before;
        let stride = self.geometry.strides[1];
        let run = self.pitch / stride;
        let inside = width.min(self.pitch.saturating_sub(left));
        for (y, out) in result[..height * width].chunks_exact_mut(width.max(1)).enumerate() {
            let (out, beyond) = out.split_at_mut(if above + y < self.rows { inside } else { 0 });
            beyond.fill(bias);
            if out.is_empty() {
                continue;
            }
            let row = &padded[(above + y) * self.pitch..][..self.pitch];
            if stride == 1 {
                out.copy_from_slice(&row[left..][..inside]);
                continue;
            }
            for (x, out) in out.iter_mut().enumerate() {
                *out = row[(left + x) % stride * run + (left + x) / stride];
            }
        }
    }

    /// # Safety
    /// `readable` elements must be there, and `count` is no more than that.
    unsafe fn widen(&self, isa: Isa, x: *const u8, readable: usize, count: usize, to: &mut [f32]) {
        // SAFETY: passed on; the format is that of the elements.
        for_format!(self.formats[0], E => dispatch!(isa, plane::widen::<E>, plane::widen::<E>, (x: *const u8, readable: usize, count: usize, to: &mut [f32])));
    }
}

/// Adds rows of a plane, times a weight, to rows that are `step` apart.
#[inline(always)]
fn add<const FUSED: bool>(
    [rows, columns, step]: [usize; 3],
    weight: f32,
    from: &[f32],
    to: &mut [f32],
) {
    for row in 0..rows {
        let from = &from[row * columns..][..columns];
        let to = &mut to[row * step..][..columns];
        for (to, &from) in to.iter_mut().zip(from) {
            *to = if FUSED { from.mul_add(weight, *to) } else { from * weight + *to };
        }
    }
}
