//! The step of an element-wise function of integers.

use super::place::{Location, element_bytes};
use super::step::{Address, Context};
use super::walk::Walk;
use crate::ints::{self, BLOCK, IntOp};
use crate::team;
use mil::DataType;
use std::ops::Range;

/// An element-wise function of integers.
pub(crate) struct IntStep {
    pub op: IntOp,
    /// Over up to three operands and the result, in elements.
    pub walk: Walk<4>,
    pub args: Vec<(Location, DataType)>,
    pub to: Location,
    pub dtype: DataType,
}

impl IntStep {
    /// Runs the step.
    ///
    /// # Safety
    /// As [`Step::run`](super::step::Step::run).
    pub unsafe fn run(&self, c: &Context<'_>) {
        let from: [Address; 3] = std::array::from_fn(|index| {
            let arg = self.args.get(index);
            Address(arg.map_or(std::ptr::null_mut(), |(location, _)| c.at(*location)))
        });
        let to = Address(c.at(self.to));
        let count = self.walk.count();
        c.share(count, &|index, parts| {
            let part = team::split(count, parts, index, BLOCK);
            // SAFETY: the plan places operands and result of these views there, and every
            // thread writes elements of its own.
            unsafe { self.part(from.map(|from| from.bytes()), to.bytes(), part) };
        });
    }

    /// Computes some of the elements, counted in order.
    ///
    /// # Safety
    /// Operands and result must be at these addresses, as the walk says.
    unsafe fn part(&self, from: [*mut u8; 3], to: *mut u8, range: Range<usize>) {
        let mut blocks = [[0; BLOCK]; 3];
        let steps = self.walk.line().1;
        let truth = self.dtype == DataType::Bool;
        self.walk.lines(range, |at, count| {
            for first in (0..count).step_by(BLOCK) {
                let length = BLOCK.min(count - first);
                let element = |array: usize| at[array] + first as isize * steps[array];
                for (index, (_, dtype)) in self.args.iter().enumerate() {
                    let offset = element(index) * element_bytes(*dtype) as isize;
                    let block = &mut blocks[index][..length];
                    // SAFETY: these elements are within the operand.
                    unsafe {
                        let from = from[index].offset(offset);
                        ints::read(*dtype, from, steps[index], truth, block);
                    }
                }
                self.op.compute(&mut blocks, length);
                let offset = element(3) * element_bytes(self.dtype) as isize;
                // SAFETY: these elements are within the result, which is dense.
                unsafe { ints::write(self.dtype, to.offset(offset), &blocks[0][..length]) };
            }
        });
    }
}
