//! The memory of constants.

use crate::gemm::AlignedBytes;
use mil::Tensor;

/// A constant that steps read.
pub(crate) enum Constant {
    /// A copy that begins at a cache line.
    Aligned(AlignedBytes),
    /// The tensor itself, where a copy would cost memory that counts.
    Shared(Tensor),
}

/// Larger constants are not copied.
const LARGE: usize = 1 << 20;
/// What every element is aligned for.
const ALIGNMENT: usize = 8;

impl Constant {
    pub fn new(tensor: &Tensor) -> Constant {
        let bytes = tensor.bytes();
        if bytes.len() > LARGE && bytes.as_ptr().addr().is_multiple_of(ALIGNMENT) {
            return Constant::Shared(tensor.clone());
        }
        let mut copy = AlignedBytes::new(bytes.len());
        copy.copy_from_slice(bytes);
        Constant::Aligned(copy)
    }

    pub fn bytes(&self) -> &[u8] {
        match self {
            Constant::Aligned(bytes) => bytes,
            Constant::Shared(tensor) => tensor.bytes(),
        }
    }
}
