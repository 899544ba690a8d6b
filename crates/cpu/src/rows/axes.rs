//! Merging the axes of a row program, so that rows are few and long.

use super::{Instr, Operand};

/// The index space of a program: rows of elements.
#[derive(Clone, Debug)]
pub(super) struct Space {
    pub outer: Vec<usize>,
    pub inner: usize,
}

impl Space {
    pub fn of(outer: &[usize], inner: usize) -> Space {
        Space { outer: outer.to_vec(), inner }
    }

    pub fn rows(&self) -> usize {
        self.outer.iter().product()
    }

    /// Merges axes wherever all operands permit it, and moves outer axes into the row unless an
    /// instruction depends on what a row is.
    pub fn simplify(&mut self, operands: &mut [Operand], code: &[Instr]) {
        for axis in (0..self.outer.len()).rev() {
            if self.outer[axis] == 1 {
                self.remove(operands, axis);
            }
        }
        for axis in (1..self.outer.len()).rev() {
            let size = self.outer[axis] as isize;
            let merges = |o: &Operand| o.outer_strides[axis - 1] == o.outer_strides[axis] * size;
            if operands.iter().all(merges) {
                self.outer[axis - 1] *= self.outer[axis];
                for operand in operands.iter_mut() {
                    operand.outer_strides[axis - 1] = operand.outer_strides[axis];
                }
                self.remove(operands, axis);
            }
        }
        let rows_matter = |instr: &Instr| {
            matches!(
                instr,
                Instr::Reduce { .. } | Instr::StoreScalar { .. } | Instr::ColumnReduce { .. }
            )
        };
        if !code.iter().any(rows_matter) {
            while self.merge_into_row(operands) {}
        }
    }

    fn merge_into_row(&mut self, operands: &mut [Operand]) -> bool {
        let Some(last) = self.outer.len().checked_sub(1) else { return false };
        let inner = self.inner as isize;
        if self.inner == 1 {
            for operand in operands.iter_mut() {
                operand.inner_stride = operand.outer_strides[last];
            }
        } else if operands.iter().any(|o| o.outer_strides[last] != o.inner_stride * inner) {
            return false;
        }
        self.inner *= self.outer[last];
        self.remove(operands, last);
        true
    }

    fn remove(&mut self, operands: &mut [Operand], axis: usize) {
        self.outer.remove(axis);
        for operand in operands {
            operand.outer_strides.remove(axis);
        }
    }
}

/// The distance from each row to the next, if it is the same everywhere.
pub(super) fn row_stride(space: &Space, operand: &Operand) -> Option<isize> {
    let Some((&last, rest)) = operand.outer_strides.split_last() else { return Some(0) };
    let mut expected = last;
    for (axis, &stride) in rest.iter().enumerate().rev() {
        expected *= space.outer[axis + 1] as isize;
        if stride != expected {
            return None;
        }
    }
    Some(last)
}
