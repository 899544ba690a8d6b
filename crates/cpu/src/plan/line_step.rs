//! The step that makes something of every line of a tensor.

use super::place::{Location, element_bytes};
use super::step::{Address, Context};
use super::walk::Walk;
use crate::lines::{Line, LineOp};
use crate::team;
use mil::DataType;

/// `n` elements of every line become `k`.
pub(crate) struct LineStep {
    pub op: LineOp,
    /// Over the lines of operand and result, in elements.
    pub walk: Walk<2>,
    pub n: usize,
    pub stride: isize,
    pub k: usize,
    pub x: Location,
    /// Of operand and result.
    pub types: [DataType; 2],
    pub output: Location,
}

impl LineStep {
    /// Runs the step.
    ///
    /// # Safety
    /// As [`Step::run`](super::step::Step::run).
    pub unsafe fn run(&self, c: &mut Context<'_>) {
        let (from, to) = (Address(c.at(self.x)), Address(c.at(self.output)));
        let scratch = Address(c.product_scratch.as_mut_ptr());
        let own = self.op.scratch_bytes(self.n);
        let count = self.walk.count();
        c.share(count * self.n, &|index, parts| {
            let part = team::split(count, parts, index, 1);
            let widths = self.types.map(|dtype| element_bytes(dtype) as isize);
            let steps = self.walk.line().1;
            self.walk.lines(part, |at, lines| {
                for line in 0..lines as isize {
                    let [x, y] = [0, 1].map(|i| (at[i] + line * steps[i]) * widths[i]);
                    // SAFETY: the plan places the lines of operand and result there, and
                    // has asked for working memory for every thread.
                    unsafe {
                        let line = Line {
                            from: from.bytes().offset(x),
                            stride: self.stride,
                            n: self.n,
                            to: to.bytes().offset(y),
                            k: self.k,
                            scratch: scratch.bytes().add(index * own).cast(),
                        };
                        self.op.line(self.types[0], line);
                    }
                }
            });
        });
    }
}
