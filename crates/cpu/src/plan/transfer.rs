//! Elements moved from one view to another, as bytes: whatever they mean, they stay what they are.

use super::view::View;
use super::walk::Walk;
use crate::team::{self, Team};

/// A move of the elements of one view to those of another with the same dims.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    /// Over runs of memory, or single elements; distances in bytes.
    walk: Walk<2>,
    /// Bytes of a run.
    run: usize,
    /// Where the first elements are, in bytes.
    offsets: [isize; 2],
}

/// Fewer bytes than this are moved by the calling thread alone.
const SHARED_BYTES: usize = 1 << 17;

/// Threads cut a run at multiples of this many bytes.
const LINE: usize = 64;

impl Transfer {
    /// For elements of `width` bytes.
    pub fn new(width: usize, from: &View, to: &View) -> Transfer {
        let bytes = |view: &View| -> Vec<isize> {
            view.strides.iter().map(|stride| stride * width as isize).collect()
        };
        let mut walk = Walk::new(&from.dims, [&bytes(from), &bytes(to)]);
        let mut run = width;
        if walk.line().1 == [width as isize; 2] {
            run *= walk.pop().map_or(1, |(count, _)| count);
        }
        let offsets = [from, to].map(|view| view.offset * width as isize);
        Transfer { walk, run, offsets }
    }

    /// Bytes that lie together on both sides.
    pub fn run_bytes(&self) -> usize {
        self.run
    }

    /// Bytes that are moved.
    pub fn bytes(&self) -> usize {
        self.walk.count() * self.run
    }

    /// Moves the elements, on all threads if there are many.
    ///
    /// # Safety
    /// The elements of both views must be in memory at `from` and `to`, and not overlap.
    pub unsafe fn run(&self, team: &Team, from: *const u8, to: *mut u8) {
        let bytes = self.bytes();
        let (from, to) =
            (from.wrapping_offset(self.offsets[0]), to.wrapping_offset(self.offsets[1]));
        if bytes < SHARED_BYTES {
            // SAFETY: as for the caller.
            return unsafe { self.part(from, to, 0..bytes) };
        }
        let (from, to) = (from as usize, to as usize);
        let granularity = if self.run >= bytes / team.threads() { LINE } else { self.run };
        team.run(&|index, parts| {
            let part = team::split(bytes, parts, index, granularity);
            // SAFETY: as for the caller; no two threads have the same elements.
            unsafe { self.part(from as *const u8, to as *mut u8, part) };
        });
    }

    /// Moves some of the bytes, counted in the order of the elements.
    ///
    /// # Safety
    /// As [`Transfer::run`].
    unsafe fn part(&self, from: *const u8, to: *mut u8, bytes: std::ops::Range<usize>) {
        let run = self.run;
        if bytes.is_empty() {
            return;
        }
        let whole = bytes.start.is_multiple_of(run) && bytes.end.is_multiple_of(run);
        if !whole {
            // Part of a run, or of several: each is cut to what is asked for.
            let runs = bytes.start / run..bytes.end.div_ceil(run);
            for index in runs {
                let begin = bytes.start.max(index * run);
                let end = bytes.end.min((index + 1) * run);
                let skipped = (begin - index * run) as isize;
                self.walk.lines(index..index + 1, |[a, b], _| {
                    // SAFETY: these bytes are within a run of both views.
                    unsafe {
                        let (from, to) = (from.offset(a + skipped), to.offset(b + skipped));
                        std::ptr::copy_nonoverlapping(from, to, end - begin);
                    }
                });
            }
            return;
        }
        let [a_step, b_step] = self.walk.line().1;
        self.walk.lines(bytes.start / run..bytes.end / run, |[a, b], count| {
            // SAFETY: every run of a line is within both views.
            unsafe {
                let (from, to) = (from.offset(a), to.offset(b));
                match run {
                    1 => line::<u8>(from, a_step, to, b_step, count),
                    2 => line::<[u8; 2]>(from, a_step, to, b_step, count),
                    4 => line::<[u8; 4]>(from, a_step, to, b_step, count),
                    8 => line::<[u8; 8]>(from, a_step, to, b_step, count),
                    _ => {
                        for i in 0..count as isize {
                            let (from, to) = (from.offset(i * a_step), to.offset(i * b_step));
                            std::ptr::copy_nonoverlapping(from, to, run);
                        }
                    }
                }
            }
        });
    }
}

/// Moves elements at given distances in bytes.
///
/// # Safety
/// There must be `count` of them on both sides.
unsafe fn line<T: Copy>(from: *const u8, a: isize, to: *mut u8, b: isize, count: usize) {
    for i in 0..count as isize {
        // SAFETY: as for the caller; arrays of bytes lie anywhere.
        unsafe { *to.offset(i * b).cast::<T>() = *from.offset(i * a).cast::<T>() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_any_width_go_where_the_other_view_has_them() {
        let team = Team::new(3).expect("three threads can be started");
        // Large enough for several threads, and small ones.
        for (rows, columns) in [(1, 1), (3, 5), (512, 700), (1, 400_000), (2, 150_001)] {
            let dense = View::dense(&[rows, columns]);
            let views = [
                dense.clone(),
                View { strides: vec![2 * columns as isize + 3, 1], offset: 2, ..dense.clone() },
                View { strides: vec![1, rows as isize], ..dense.clone() },
                dense.slice(1, columns - 1, -1, columns),
            ];
            for width in [1, 2, 4, 8] {
                for (from, to) in [(0, 1), (1, 0), (2, 0), (0, 2), (3, 1), (0, 0)] {
                    let (from, to) = (&views[from], &views[to]);
                    let size = width * (rows * (2 * columns + 3) + 2);
                    let source: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
                    let mut target = vec![0u8; size];
                    let transfer = Transfer::new(width, from, to);
                    assert_eq!(transfer.bytes(), width * rows * columns);
                    // SAFETY: both arrays hold all elements of the views.
                    unsafe { transfer.run(&team, source.as_ptr(), target.as_mut_ptr()) };
                    let mut expected = vec![0u8; size];
                    for (i, j) in (0..rows * columns).map(|n| (n / columns, n % columns)) {
                        let at = |view: &View| {
                            let strides = &view.strides;
                            let index = i as isize * strides[0] + j as isize * strides[1];
                            (view.offset + index) as usize * width
                        };
                        let (a, b) = (at(from), at(to));
                        expected[b..b + width].copy_from_slice(&source[a..a + width]);
                    }
                    assert!(target == expected, "{width} bytes, {from:?} to {to:?}");
                }
            }
        }
    }
}
