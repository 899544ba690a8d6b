//! How a file's order of numbers differs from that of Hugging Face checkpoints.

use crate::{Error, TensorInfo, Tensors};
use models::halves_from_interleaved;

/// What turns the numbers of a file into those of a Hugging Face checkpoint, or back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Layout {
    /// They are the same.
    Plain,
    /// The rows of every head of this width, of which pairs 2i, 2i + 1 rotate together, are put
    /// so that pairs i, i + width/2 do.
    ToHalves(usize),
    /// The way back.
    ToInterleaved(usize),
    /// This is added to each.
    Add(f32),
    /// Each is multiplied by this.
    Scale(f32),
    /// Rows become columns.
    Transpose,
}

impl Layout {
    /// The way back.
    pub fn inverse(self) -> Layout {
        match self {
            Layout::Plain => Layout::Plain,
            Layout::ToHalves(width) => Layout::ToInterleaved(width),
            Layout::ToInterleaved(width) => Layout::ToHalves(width),
            Layout::Add(term) => Layout::Add(-term),
            Layout::Scale(factor) => Layout::Scale(1.0 / factor),
            Layout::Transpose => Layout::Transpose,
        }
    }

    /// The dimensions afterwards.
    pub fn dims(self, dims: &[usize]) -> Vec<usize> {
        let mut dims = dims.to_vec();
        if self == Layout::Transpose {
            dims.reverse();
        }
        dims
    }

    /// Whether each number depends on one number in the same place.
    pub fn is_elementwise(self) -> bool {
        matches!(self, Layout::Plain | Layout::Add(_) | Layout::Scale(_))
    }

    /// Where the rows of a head come from.
    fn order(self) -> Option<Vec<usize>> {
        match self {
            Layout::ToHalves(width) => Some(halves_from_interleaved(width)),
            Layout::ToInterleaved(width) => {
                let mut order = vec![0; width];
                for (new, old) in halves_from_interleaved(width).into_iter().enumerate() {
                    order[old] = new;
                }
                Some(order)
            }
            _ => None,
        }
    }

    /// How many rows belong together: any part that is read must consist of whole groups of them.
    pub fn group(self, rows: usize) -> usize {
        match self {
            Layout::ToHalves(width) | Layout::ToInterleaved(width) => width,
            Layout::Transpose => rows.max(1),
            _ => 1,
        }
    }

    /// Changes numbers that each depend on the one in the same place.
    pub fn apply_elementwise(self, values: &mut [f32]) {
        match self {
            Layout::Add(term) => values.iter_mut().for_each(|value| *value += term),
            Layout::Scale(factor) => values.iter_mut().for_each(|value| *value *= factor),
            _ => {}
        }
    }

    /// The numbers of a whole tensor of these dimensions, in their new order.
    pub fn apply(self, dims: &[usize], values: &[f32]) -> Vec<f32> {
        let mut out = values.to_vec();
        let row = dims.iter().skip(1).product::<usize>();
        if let Some(order) = self.order() {
            let heads =
                out.chunks_exact_mut(order.len() * row).zip(values.chunks_exact(order.len() * row));
            for (new, old) in heads {
                reorder(&order, row, old, new);
            }
        } else if self == Layout::Transpose {
            for (i, values) in values.chunks_exact(row.max(1)).enumerate() {
                for (j, &value) in values.iter().enumerate() {
                    out[j * dims[0] + i] = value;
                }
            }
        } else {
            self.apply_elementwise(&mut out);
        }
        out
    }

    /// Reads from row `first` of the result on as many rows as there is room for; both must be
    /// multiples of [`Layout::group`].
    pub fn read(
        self,
        tensors: &Tensors,
        info: &TensorInfo,
        first: usize,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let row = info.dims.iter().skip(1).product::<usize>();
        if let Some(order) = self.order() {
            let mut head = vec![0.0; order.len() * row];
            for (index, out) in out.chunks_exact_mut(head.len()).enumerate() {
                tensors.read(info, first * row + index * head.len(), &mut head)?;
                reorder(&order, row, &head, out);
            }
            return Ok(());
        }
        if self == Layout::Transpose {
            let count = info.dims[0];
            let mut values = vec![0.0; row];
            for i in 0..count {
                tensors.read(info, i * row, &mut values)?;
                for (j, &value) in values.iter().enumerate() {
                    out[j * count + i] = value;
                }
            }
            return Ok(());
        }
        tensors.read(info, first * row, out)?;
        self.apply_elementwise(out);
        Ok(())
    }
}

fn reorder(order: &[usize], row: usize, old: &[f32], new: &mut [f32]) {
    for (new, &from) in new.chunks_exact_mut(row).zip(order) {
        new.copy_from_slice(&old[from * row..][..row]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_is_undone_by_its_inverse() {
        let values: Vec<f32> = (0..48).map(|i| i as f32).collect();
        let dims = [8, 6];
        for layout in [
            Layout::Plain,
            Layout::ToHalves(4),
            Layout::ToInterleaved(8),
            Layout::Add(1.0),
            Layout::Scale(0.5),
            Layout::Transpose,
        ] {
            let there = layout.apply(&dims, &values);
            assert_eq!(there != values, layout != Layout::Plain);
            let back = layout.inverse().apply(&layout.dims(&dims), &there);
            assert_eq!(back, values, "{layout:?}");
        }
        let halves = Layout::ToHalves(8).apply(&[8], &values[..8]);
        assert_eq!(halves, [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]);
    }
}
