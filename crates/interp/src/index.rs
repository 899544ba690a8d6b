//! Index arithmetic of row-major tensors.

/// All indices of a shape, in row-major order.
pub(crate) fn indices(dims: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let dims = dims.to_vec();
    (0..dims.iter().product::<usize>()).map(move |position| index_of(&dims, position))
}

/// The index of a row-major position.
pub(crate) fn index_of(dims: &[usize], mut position: usize) -> Vec<usize> {
    let mut index = vec![0; dims.len()];
    for axis in (0..dims.len()).rev() {
        index[axis] = position % dims[axis];
        position /= dims[axis];
    }
    index
}

/// The row-major position of an index.
pub(crate) fn position(dims: &[usize], index: &[usize]) -> usize {
    dims.iter().zip(index).fold(0, |at, (&dim, &i)| at * dim + i)
}

/// The position in a tensor of `dims` of the element that broadcasting reads at `index` of a
/// result of equal or higher rank.
pub(crate) fn broadcast_position(dims: &[usize], index: &[usize]) -> usize {
    let tail = &index[index.len() - dims.len()..];
    dims.iter().zip(tail).fold(0, |at, (&dim, &i)| at * dim + if dim == 1 { 0 } else { i })
}
