//! Programs that only copy rows: the windows of convolutions, parts of joined tensors, the heads of
//! attention. Rows are often short, so all that counts is what is done for each besides its bytes.

use super::program::RowProgram;
use super::{Instr, MAX_RANK};
use crate::isa::Isa;
use std::ops::Range;

/// Whether a program is a copy that [`RowProgram::copy_rows`] does: the operands that are read and
/// written.
pub(super) fn operands(program: &RowProgram, code: &[Instr]) -> Option<[usize; 2]> {
    let &[Instr::Load { operand: from }, Instr::Store { operand: to, accumulate: false, .. }] =
        code
    else {
        return None;
    };
    let [source, target] = [from, to].map(|operand| &program.operands[operand]);
    let same = source.format == target.format && target.inner_stride == 1;
    // Elements that follow each other from row to row are copied in squares.
    let turned = source.inner_stride != 1 && source.outer_strides.last() == Some(&1);
    // One number for a row is no copy.
    let forward = source.inner_stride > 0 || program.space.inner == 1;
    (same && forward && !turned).then_some([from, to])
}

impl RowProgram {
    /// Copies some rows.
    ///
    /// # Safety
    /// As for `RowProgram::run`.
    pub(super) unsafe fn copy_rows(
        &self,
        isa: Isa,
        [from, to]: [usize; 2],
        pointers: &[*mut u8],
        rows: Range<usize>,
    ) {
        let (from, to) = (&self.operands[from], &self.operands[to]);
        let size = from.format.bytes();
        let base =
            |operand: &super::Operand| pointers[operand.slot].wrapping_add(operand.byte_offset);
        let row = Row { size, count: self.space.inner, stride: from.inner_stride.unsigned_abs() };
        let outer = &self.space.outer;
        let last = outer.len().saturating_sub(1);
        let step = |operand: &super::Operand| {
            operand.outer_strides.get(last).map_or(0, |stride| stride * size as isize)
        };
        let mut index = [0; MAX_RANK];
        let mut rest = rows.start;
        for axis in (0..outer.len()).rev() {
            (index[axis], rest) = (rest % outer[axis], rest / outer[axis]);
        }
        let mut left = rows.len();
        while left > 0 {
            let at = |operand: &super::Operand| {
                let strides = operand.outer_strides.iter().zip(&index);
                let offset: isize = strides.map(|(stride, &i)| stride * i as isize).sum();
                base(operand).wrapping_offset(offset * size as isize)
            };
            let run = outer.get(last).map_or(1, |&count| count - index[last]).min(left);
            let lines = Lines {
                row,
                count: run,
                from: at(from),
                to: at(to),
                steps: [step(from), step(to)],
            };
            // SAFETY: rows of the space; the caller vouches for their elements.
            dispatch!(isa, copy, copy, (lines: Lines));
            left -= run;
            // On to the next index before the last axis.
            if let Some(last) = index.get_mut(last) {
                *last = 0;
            }
            for axis in (0..last).rev() {
                index[axis] += 1;
                if index[axis] < outer[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
    }
}

/// Rows that are alike.
#[derive(Clone, Copy)]
struct Row {
    /// Bytes of an element.
    size: usize,
    /// Elements, and from one to the next where they are read.
    count: usize,
    stride: usize,
}

/// Some rows at equal distances.
#[derive(Clone, Copy)]
struct Lines {
    row: Row,
    count: usize,
    from: *const u8,
    to: *mut u8,
    /// Bytes from one row to the next.
    steps: [isize; 2],
}

/// # Safety
/// All elements must be readable and writable, and aligned.
#[inline(always)]
unsafe fn copy(lines: Lines) {
    let Lines { row: Row { size, count, stride }, .. } = lines;
    let (mut from, mut to) = (lines.from, lines.to);
    for _ in 0..lines.count {
        // SAFETY: passed on.
        unsafe {
            match (stride, size) {
                (1, _) => bytes(from, to, count * size),
                (2, 4) => gather::<u32, 2>(from, to, count, stride),
                (_, 4) => gather::<u32, 0>(from, to, count, stride),
                (2, 2) => gather::<u16, 2>(from, to, count, stride),
                (_, 2) => gather::<u16, 0>(from, to, count, stride),
                _ => gather::<u8, 0>(from, to, count, stride),
            }
        }
        from = from.wrapping_offset(lines.steps[0]);
        to = to.wrapping_offset(lines.steps[1]);
    }
}

/// Copies bytes in as few pieces as there can be; the last two may overlap.
///
/// # Safety
/// As for [`copy`].
#[inline(always)]
unsafe fn bytes(from: *const u8, to: *mut u8, count: usize) {
    // SAFETY: pieces begin and end within the bytes.
    unsafe {
        match count {
            64.. => pieces::<64>(from, to, count),
            32.. => pieces::<32>(from, to, count),
            16.. => pieces::<16>(from, to, count),
            8.. => pieces::<8>(from, to, count),
            4.. => pieces::<4>(from, to, count),
            _ => (0..count).for_each(|i| *to.add(i) = *from.add(i)),
        }
    }
}

/// # Safety
/// As for [`copy`], with `N` bytes or more.
#[inline(always)]
unsafe fn pieces<const N: usize>(from: *const u8, to: *mut u8, count: usize) {
    let mut at = 0;
    // SAFETY: every piece ends within the bytes.
    unsafe {
        while at + N <= count {
            *to.add(at).cast::<[u8; N]>() = *from.add(at).cast::<[u8; N]>();
            at += N;
        }
        if at < count {
            let at = count - N;
            *to.add(at).cast::<[u8; N]>() = *from.add(at).cast::<[u8; N]>();
        }
    }
}

/// Elements that are `STRIDE` apart, or if that is 0 `stride`.
///
/// # Safety
/// As for [`copy`].
#[inline(always)]
unsafe fn gather<T: Copy, const STRIDE: usize>(
    from: *const u8,
    to: *mut u8,
    count: usize,
    stride: usize,
) {
    let stride = if STRIDE == 0 { stride } else { STRIDE };
    let (from, to) = (from.cast::<T>(), to.cast::<T>());
    for i in 0..count {
        // SAFETY: passed on.
        unsafe { *to.add(i) = *from.add(i * stride) };
    }
}
