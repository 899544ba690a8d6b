//! The step that mixes elements along an axis, two at a time.

use super::place::Location;
use super::step::{Address, Context};
use crate::team;

/// Of x `[outer, n, width]`, fp32, two rows for each of the result `[outer, taps, width]`.
pub(crate) struct MixStep {
    pub outer: usize,
    pub n: usize,
    pub width: usize,
    /// The rows, and the share that the second one has.
    pub taps: Vec<(usize, usize, f32)>,
    pub x: Location,
    pub output: Location,
}

impl MixStep {
    /// Runs the step.
    ///
    /// # Safety
    /// As [`Step::run`](super::step::Step::run).
    pub unsafe fn run(&self, c: &Context<'_>) {
        let (from, to) = (Address(c.at(self.x)), Address(c.at(self.output)));
        let (n, width, count) = (self.n, self.width, self.taps.len());
        let lines = if width == 1 { self.outer } else { self.outer * count };
        c.share(self.outer * count * width, &|index, parts| {
            for line in team::split(lines, parts, index, 1) {
                if width == 1 {
                    // SAFETY: the plan places so many elements there; this line is this thread's.
                    let (x, y) = unsafe {
                        let x = std::slice::from_raw_parts(from.floats().add(line * n), n);
                        let y = to.floats().add(line * count);
                        (x, std::slice::from_raw_parts_mut(y, count))
                    };
                    for (y, &(a, b, share)) in y.iter_mut().zip(&self.taps) {
                        *y = mix(x[a], x[b], share);
                    }
                    continue;
                }
                let (image, &(a, b, share)) = (line / count, &self.taps[line % count]);
                // SAFETY: as above, of two rows and one.
                let (a, b, y) = unsafe {
                    let row = |row: usize| {
                        let first = from.floats().add((image * n + row) * width);
                        std::slice::from_raw_parts(first, width)
                    };
                    let y = to.floats().add(line * width);
                    (row(a), row(b), std::slice::from_raw_parts_mut(y, width))
                };
                if share == 0.0 {
                    y.copy_from_slice(a);
                    continue;
                }
                for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                    *y = a * (1.0 - share) + b * share;
                }
            }
        });
    }
}

/// The first where the share is 0, whatever the second is.
fn mix(a: f32, b: f32, share: f32) -> f32 {
    if share == 0.0 { a } else { a * (1.0 - share) + b * share }
}
