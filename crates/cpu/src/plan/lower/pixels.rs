//! Blocks of pixels to channels or the batch and back, and cuts at the sides of images: views of x
//! with an axis for each part of an index, and one copy where those become one axis again.

use super::Lower;
use crate::plan::graph::Val;
use mil::shape::{blocks, crop_amounts};
use mil::{Op, Operation};
use runtime::Error;

impl Lower<'_> {
    /// The result of an op that rearranges pixels, or `None` if it is left to the interpreter.
    pub(super) fn pixels(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let x = self.need(operation, "x")?;
        if operation.op == Op::Crop {
            let amounts = crop_amounts(&self.params(operation))?;
            return Ok(Some(cut(&x, amounts)));
        }
        let layout = blocks(&self.params(operation))?;
        let (name, dims, _) = self.result(operation)?;
        let [height, width] = layout.size;
        let &[n, c, h, w] = &x.view.dims[..] else { return Ok(None) };
        let pixels = height * width;
        Ok(Some(match operation.op {
            Op::DepthToSpace => {
                let x = self.reshaped(&x, &[n, height, width, c / pixels, h, w]);
                self.turned(&x, &[0, 3, 4, 1, 5, 2], &dims)
            }
            Op::PixelShuffle => {
                let x = self.reshaped(&x, &[n, c / pixels, height, width, h, w]);
                self.turned(&x, &[0, 1, 4, 2, 5, 3], &dims)
            }
            Op::BatchToSpace => {
                let x = self.reshaped(&x, &[height, width, n / pixels, c, h, w]);
                let whole = [n / pixels, c, h * height, w * width];
                let x = self.turned(&x, &[2, 3, 4, 0, 5, 1], &whole);
                cut(&x, layout.margins)
            }
            op => {
                let padded = layout.margins != [(0, 0); 2];
                let x = if padded { self.padded(&x, &layout.margins, 0.0, &name) } else { x };
                let (h, w) = (x.view.dims[2] / height, x.view.dims[3] / width);
                let x = self.reshaped(&x, &[n, c, h, height, w, width]);
                let order = match op {
                    Op::SpaceToDepth => [0, 3, 5, 1, 2, 4],
                    Op::PixelUnshuffle => [0, 1, 3, 5, 2, 4],
                    _ => [3, 5, 0, 1, 2, 4],
                };
                self.turned(&x, &order, &dims)
            }
        }))
    }

    /// x with its axes in another order, under other dims.
    fn turned(&mut self, x: &Val, order: &[usize], dims: &[usize]) -> Val {
        let moved = Val { node: x.node, view: x.view.permute(order) };
        self.reshaped(&moved, dims)
    }
}

/// The last two axes without so many elements before and after.
fn cut(x: &Val, amounts: [(usize, usize); 2]) -> Val {
    let first = x.view.dims.len() - 2;
    let mut view = x.view.clone();
    for (axis, (before, after)) in (first..).zip(amounts) {
        let size = view.dims[axis] - before - after;
        view = view.slice(axis, before, 1, size);
    }
    Val { node: x.node, view }
}
