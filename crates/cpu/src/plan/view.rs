//! Views: how a value's elements lie in the storage of the node that computed them. Slices,
//! transposes, reshapes and broadcasts change the view and move nothing.

/// Element `(i₀, i₁, …)` is at `offset + Σ iₐ·strides[a]`, in elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub dims: Vec<usize>,
    pub strides: Vec<isize>,
    pub offset: isize,
}

impl View {
    /// Row-major without gaps.
    pub fn dense(dims: &[usize]) -> View {
        View { dims: dims.to_vec(), strides: dense_strides(dims), offset: 0 }
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether the elements are row-major without gaps from offset 0.
    pub fn is_dense(&self) -> bool {
        self.offset == 0 && self.is_packed()
    }

    /// Whether the elements are row-major without gaps.
    pub fn is_packed(&self) -> bool {
        let mut expected = 1;
        for (&dim, &stride) in self.dims.iter().zip(&self.strides).rev() {
            if dim != 1 && stride != expected {
                return self.count() == 0;
            }
            expected *= dim as isize;
        }
        true
    }

    /// Output axis i is input axis `perm[i]`.
    pub fn permute(&self, perm: &[usize]) -> View {
        View {
            dims: perm.iter().map(|&p| self.dims[p]).collect(),
            strides: perm.iter().map(|&p| self.strides[p]).collect(),
            offset: self.offset,
        }
    }

    /// Along `axis`, `size` elements from `begin` on in steps of `stride` (which may be negative).
    pub fn slice(&self, axis: usize, begin: usize, stride: i64, size: usize) -> View {
        let mut view = self.clone();
        if size > 0 {
            view.offset += begin as isize * self.strides[axis];
        }
        // With one element it does not matter, and may be anything.
        if size > 1 {
            view.strides[axis] *= stride as isize;
        }
        view.dims[axis] = size;
        view
    }

    /// Without an axis of size 1.
    pub fn drop_axis(&self, axis: usize) -> View {
        let mut view = self.clone();
        view.dims.remove(axis);
        view.strides.remove(axis);
        view
    }

    /// With an axis of size 1 at `axis`.
    pub fn insert_axis(&self, axis: usize) -> View {
        let mut view = self.clone();
        view.dims.insert(axis, 1);
        view.strides.insert(axis, 0);
        view
    }

    /// Axes of size 1 repeated, and axes added in front, to give `dims`.
    pub fn broadcast(&self, dims: &[usize]) -> View {
        let missing = dims.len() - self.dims.len();
        let mut strides = vec![0; dims.len()];
        for axis in 0..self.dims.len() {
            let kept = self.dims[axis] == dims[missing + axis] && self.dims[axis] != 1;
            strides[missing + axis] = if kept { self.strides[axis] } else { 0 };
        }
        View { dims: dims.to_vec(), strides, offset: self.offset }
    }

    /// The same elements in the same order under other dimensions, if strides can express it.
    pub fn reshape(&self, dims: &[usize]) -> Option<View> {
        if self.count() == 0 {
            return Some(View { offset: self.offset, ..View::dense(dims) });
        }
        // Axes of size 1 say nothing about the layout.
        let old: Vec<(usize, isize)> = self
            .dims
            .iter()
            .copied()
            .zip(self.strides.iter().copied())
            .filter(|(dim, _)| *dim != 1)
            .collect();
        let mut strides = vec![0isize; dims.len()];
        let (mut from, mut to) = (0, 0);
        while from < old.len() {
            // Take axes from both sides until their products agree.
            let (begin_from, begin_to) = (from, to);
            let mut old_count = old[from].0;
            from += 1;
            let mut new_count = 1;
            while new_count != old_count || new_count == 1 {
                if new_count < old_count {
                    new_count *= dims.get(to)?;
                    to += 1;
                } else {
                    old_count *= old.get(from)?.0;
                    from += 1;
                }
            }
            // The old axes must be one run of memory to be cut up anew.
            for pair in old[begin_from..from].windows(2) {
                if pair[0].1 != pair[1].1 * pair[1].0 as isize {
                    return None;
                }
            }
            let mut stride = old[from - 1].1;
            for axis in (begin_to..to).rev() {
                strides[axis] = stride;
                stride *= dims[axis] as isize;
            }
        }
        Some(View { dims: dims.to_vec(), strides, offset: self.offset })
    }
}

/// Strides of a row-major layout without gaps.
pub(crate) fn dense_strides(dims: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis].max(1) as isize;
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The storage indices of a view's elements, in order.
    fn elements(view: &View) -> Vec<isize> {
        let mut out = vec![view.offset];
        for (&dim, &stride) in view.dims.iter().zip(&view.strides) {
            out = out
                .iter()
                .flat_map(|&base| (0..dim as isize).map(move |i| base + i * stride))
                .collect();
        }
        out
    }

    #[test]
    fn reshape_keeps_the_order_of_elements_or_refuses() {
        let base = View::dense(&[2, 3, 4]);
        for view in [
            base.clone(),
            base.permute(&[1, 0, 2]),
            base.permute(&[0, 2, 1]),
            base.slice(1, 0, 1, 2),
            base.slice(2, 3, -1, 4),
            base.slice(0, 1, 1, 1),
        ] {
            for dims in [vec![24], vec![6, 4], vec![2, 1, 12], vec![4, 6], vec![1, 8, 3], vec![16]]
            {
                if dims.iter().product::<usize>() != view.count() {
                    continue;
                }
                if let Some(reshaped) = view.reshape(&dims) {
                    assert_eq!(elements(&reshaped), elements(&view), "{view:?} {dims:?}");
                }
            }
        }
        assert!(base.permute(&[1, 0, 2]).reshape(&[6, 4]).is_none());
        assert!(base.permute(&[1, 0, 2]).reshape(&[3, 2, 2, 2]).is_some());
        assert!(View::dense(&[1, 1]).reshape(&[]).is_some());
    }
}
