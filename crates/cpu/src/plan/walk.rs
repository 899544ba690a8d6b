//! Walking several arrays together, line by line, without memory for counters.

use std::ops::Range;

/// The axes that arrays are walked along: those of one element are left out, and those that are
/// one in every array are merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Walk<const N: usize> {
    /// The axes, outermost first; the last one is a line.
    axes: Vec<(usize, [isize; N])>,
}

impl<const N: usize> Walk<N> {
    /// Along these dims, with the distances of each array's elements.
    pub fn new(dims: &[usize], strides: [&[isize]; N]) -> Walk<N> {
        let mut axes: Vec<(usize, [isize; N])> = vec![];
        for (axis, &dim) in dims.iter().enumerate() {
            let steps = strides.map(|strides| strides[axis]);
            if dim == 1 {
                continue;
            }
            match axes.last_mut() {
                Some((outer, above)) if (0..N).all(|i| above[i] == steps[i] * dim as isize) => {
                    *outer *= dim;
                    *above = steps;
                }
                _ => axes.push((dim, steps)),
            }
        }
        Walk { axes }
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.axes.iter().map(|(dim, _)| dim).product()
    }

    /// The last axis: its length and distances.
    pub fn line(&self) -> (usize, [isize; N]) {
        self.axes.last().copied().unwrap_or((1, [0; N]))
    }

    /// Leaves the lines out: what is walked then is their first elements.
    pub fn pop(&mut self) -> Option<(usize, [isize; N])> {
        self.axes.pop()
    }

    /// Calls `each` with where in every array a line begins, or the part of it that is in `range`
    /// (elements in order), and with the number of its elements.
    pub fn lines(&self, range: Range<usize>, mut each: impl FnMut([isize; N], usize)) {
        let (inner, steps) = self.line();
        let outer = &self.axes[..self.axes.len().saturating_sub(1)];
        let mut element = range.start;
        while element < range.end {
            let first = element % inner;
            let count = (inner - first).min(range.end - element);
            let mut at = steps.map(|step| step * first as isize);
            let mut left = element / inner;
            for (dim, steps) in outer.iter().rev() {
                let index = (left % dim) as isize;
                left /= dim;
                for (at, step) in at.iter_mut().zip(steps) {
                    *at += index * step;
                }
            }
            each(at, count);
            element += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every element that is walked, as positions in the arrays.
    fn elements(walk: &Walk<2>, range: Range<usize>) -> Vec<[isize; 2]> {
        let step = walk.line().1;
        let mut out = vec![];
        walk.lines(range, |[a, b], count| {
            out.extend((0..count as isize).map(|i| [a + i * step[0], b + i * step[1]]));
        });
        out
    }

    #[test]
    fn every_element_comes_once_and_in_order() {
        let dims = [2, 1, 3, 4];
        for strides in [[12, 12, 4, 1], [1, 7, 8, 2], [0, 3, 4, -1], [4, 0, 8, 1]] {
            let walk = Walk::new(&dims, [&strides, &[12, 12, 4, 1]]);
            let mut expected = vec![];
            for (i, k, l) in (0..24).map(|n| (n / 12, n / 4 % 3, n % 4)) {
                let at = |s: &[isize; 4]| i * s[0] + k * s[2] + l * s[3];
                expected.push([at(&strides), at(&[12, 12, 4, 1])]);
            }
            assert_eq!(walk.count(), 24);
            for cut in 0..24 {
                let parts = [elements(&walk, 0..cut), elements(&walk, cut..24)].concat();
                assert_eq!(parts, expected, "{strides:?} cut at {cut}");
            }
        }
        let dense = Walk::new(&dims, [&[12, 12, 4, 1], &[12, 12, 4, 1]]);
        assert_eq!(dense.line(), (24, [1, 1]));
        assert_eq!(elements(&Walk::new(&[], [&[], &[]]), 0..1), [[0, 0]]);
        assert_eq!(elements(&Walk::new(&[3, 0], [&[1, 1], &[1, 1]]), 0..0), [[0isize; 2]; 0]);
    }
}
