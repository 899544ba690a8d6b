//! Operations that move elements, and those that pick and place them by index.

use crate::maker::{Item, Made, Maker};
use mil::{Arg, DataType, Op};

impl Maker {
    pub fn moved(&mut self) -> Made {
        let x = self.any();
        let dims = self.dims_of(x);
        let rank = dims.len();
        let arg: (&str, Arg) = ("x", x.id.into());
        let like = |maker: &mut Maker, op, inputs| maker.op(op, inputs, x.whole, x.bound);
        match self.random.below(11) {
            0 => {
                let shape = self.other_shape(&dims);
                let shape = self.ints(&shape);
                like(self, Op::Reshape, vec![arg, ("shape", shape)])
            }
            1 if rank > 1 => {
                let mut perm: Vec<i64> = (0..rank as i64).collect();
                for i in (1..rank).rev() {
                    perm.swap(i, self.random.below(i + 1));
                }
                let perm = self.ints(&perm);
                like(self, Op::Transpose, vec![arg, ("perm", perm)])
            }
            2 if rank < 5 => {
                let axis = self.axis(rank + 1);
                let axes = self.ints(&[axis]);
                like(self, Op::ExpandDims, vec![arg, ("axes", axes)])
            }
            3 => {
                let mut inputs = vec![arg];
                if let Some(axis) = dims.iter().position(|&d| d == 1) {
                    inputs.push(("axes", self.ints(&[axis as i64])));
                }
                like(self, Op::Squeeze, inputs)
            }
            4 if rank > 0 => {
                let inputs = self.slice(&dims);
                let inputs = [vec![arg], inputs].concat();
                like(self, Op::SliceByIndex, inputs)
            }
            5 if rank > 0 => {
                let begin: Vec<i64> =
                    dims.iter().map(|&d| self.random.below(d.max(1)) as i64).collect();
                let size: Vec<i64> = dims
                    .iter()
                    .zip(&begin)
                    .map(|(&d, &b)| {
                        if self.coin() { -1 } else { self.random.below(d + 1 - b as usize) as i64 }
                    })
                    .collect();
                let (begin, size) = (self.ints(&begin), self.ints(&size));
                like(self, Op::SliceBySize, vec![arg, ("begin", begin), ("size", size)])
            }
            6 if rank > 0 => {
                let axis = self.random.below(rank);
                let first = self.random.below(dims[axis] + 1);
                let sizes = [first, dims[axis] - first];
                let parts = self.builder.split(x.id, &sizes, axis as i64).ok()?;
                let parts: Vec<Item> = parts.into_iter().map(|id| Item { id, ..x }).collect();
                if self.coin() {
                    self.items.push(parts[0]);
                }
                if self.coin() {
                    // Joined the other way round, as rotary embeddings do.
                    let ids = [parts[1].id, parts[0].id];
                    let id = self.builder.concat(&ids, axis as i64).ok()?;
                    return Some(Item { id, ..x });
                }
                Some(parts[1])
            }
            7 if rank > 0 => self.joined(x, &dims),
            8 if rank > 0 => {
                let reps: Vec<i64> = dims.iter().map(|_| 1 + self.random.below(3) as i64).collect();
                let reps = self.ints(&reps);
                like(self, Op::Tile, vec![arg, ("reps", reps)])
            }
            9 if rank > 0 => {
                let padded = 1 + self.random.below(rank);
                let pad: Vec<i64> = (0..2 * padded).map(|_| self.random.below(3) as i64).collect();
                let mode = self.one_of(&["constant", "constant", "reflect", "replicate"]);
                let (pad, mode) = (self.ints(&pad), self.text(mode));
                let mut inputs = vec![arg, ("pad", pad), ("mode", mode)];
                let dtype = self.builder.dtype(x.id);
                if dtype.is_float() && self.coin() {
                    inputs.push(("constant_val", self.scalar(dtype, 1.0)));
                }
                self.op(Op::Pad, inputs, x.whole, x.bound.max(1.0))
            }
            _ => {
                let mut inputs = vec![arg];
                if rank > 0 && self.coin() {
                    let axis = self.axis(rank);
                    inputs.push(("axes", self.ints(&[axis])));
                }
                like(self, Op::Reverse, inputs)
            }
        }
    }

    /// Dims of as many elements: two axes joined, or one cut up.
    fn other_shape(&mut self, dims: &[usize]) -> Vec<i64> {
        let mut shape: Vec<i64> = dims.iter().map(|&d| d as i64).collect();
        if dims.contains(&0) {
            return shape;
        }
        if shape.len() > 1 && self.coin() {
            let at = self.random.below(shape.len() - 1);
            let joined = shape.remove(at);
            shape[at] *= joined;
        } else if shape.len() < 5 && !shape.is_empty() {
            let at = self.random.below(shape.len());
            let divisors: Vec<i64> = (1..=shape[at]).filter(|d| shape[at] % d == 0).collect();
            let divisor = self.one_of(&divisors);
            shape[at] /= divisor;
            shape.insert(at, divisor);
        }
        shape
    }

    /// The parameters of a slice of a tensor of these dims.
    fn slice(&mut self, dims: &[usize]) -> Vec<(&'static str, Arg)> {
        let (mut begin, mut end, mut stride) = (vec![], vec![], vec![]);
        let (mut begin_mask, mut end_mask) = (vec![], vec![]);
        for &dim in dims {
            let step = self.one_of(&[1, 1, 2, -1, -2, 3]);
            let (mut low, mut high) = (self.random.below(dim + 1), self.random.below(dim + 1));
            (low, high) = (low.min(high), low.max(high));
            begin.push(if step > 0 { low } else { high.saturating_sub(1) } as i64);
            end.push(if step > 0 { high } else { low } as i64);
            stride.push(step);
            begin_mask.push(self.random.below(3) == 0);
            end_mask.push(step < 0 || self.random.below(3) == 0);
        }
        vec![
            ("begin", self.ints(&begin)),
            ("end", self.ints(&end)),
            ("stride", self.ints(&stride)),
            ("begin_mask", self.bools(&begin_mask)),
            ("end_mask", self.bools(&end_mask)),
        ]
    }

    fn joined(&mut self, x: Item, dims: &[usize]) -> Made {
        let axis = self.random.below(dims.len());
        let dtype = self.builder.dtype(x.id);
        let mut parts = vec![x];
        for _ in 0..1 + self.random.below(2) {
            let other = self.any();
            let mut shape = dims.to_vec();
            let fits = self.builder.dtype(other.id) == dtype
                && self.dims_of(other).len() == dims.len()
                && (0..dims.len()).all(|a| a == axis || self.dims_of(other)[a] == dims[a]);
            parts.push(if fits {
                other
            } else {
                shape[axis] = self.random.below(4);
                self.input(dtype, &shape, x.whole)
            });
        }
        if self.random.below(4) == 0 {
            parts.push(x);
        }
        let ids: Vec<_> = parts.iter().map(|p| p.id).collect();
        let bound = parts.iter().fold(0.0f64, |m, p| m.max(p.bound));
        let whole = parts.iter().all(|p| p.whole);
        let (axis, interleave) = (self.int(axis as i64), self.random.below(6) == 0);
        let interleave = self.builder.bool(interleave);
        let inputs = vec![
            ("values", ids.as_slice().into()),
            ("axis", axis),
            ("interleave", interleave.into()),
        ];
        self.op(Op::Concat, inputs, whole, bound)
    }

    pub fn indexed(&mut self) -> Made {
        let x = self.any();
        let dims = self.dims_of(x);
        let rank = dims.len();
        if rank == 0 || dims.contains(&0) {
            return None;
        }
        let dtype = self.builder.dtype(x.id);
        let axis = if self.coin() { 0 } else { self.random.below(rank) };
        let along = self.coin();
        let indices = if along {
            let mut shape = dims.clone();
            let last = if self.coin() { rank - 1 } else { axis };
            shape[last] = 1 + self.random.below(2) * self.random.below(3);
            self.input(DataType::Int32, &shape, true)
        } else {
            let shape: Vec<usize> =
                (0..1 + self.random.below(2)).map(|_| 1 + self.random.below(5)).collect();
            self.input(DataType::Int32, &shape, true)
        };
        let axis_arg = self.int(axis as i64);
        let last = self.int(rank as i64 - 1);
        if self.coin() {
            let op = if along { Op::GatherAlongAxis } else { Op::Gather };
            let axis = if along && self.coin() { last } else { axis_arg };
            let inputs = vec![("x", x.id.into()), ("indices", indices.id.into()), ("axis", axis)];
            return self.op(op, inputs, x.whole, x.bound);
        }
        let shape = self.dims_of(indices);
        let count: usize = shape.iter().product();
        let mode = self.one_of(&["add", "add", "update", "max"]);
        // Which of several updates of one element is kept is not for a test to say.
        if mode == "update" {
            return None;
        }
        let mode = self.text(mode);
        let updates =
            if along { shape } else { [&dims[..axis], &shape[..], &dims[axis + 1..]].concat() };
        let updates = self.input(dtype, &updates, x.whole);
        let op = if along { Op::ScatterAlongAxis } else { Op::Scatter };
        let axis = if along { last } else { axis_arg };
        let inputs = vec![
            ("data", x.id.into()),
            ("indices", indices.id.into()),
            ("updates", updates.id.into()),
            ("axis", axis),
            ("mode", mode),
        ];
        self.op(op, inputs, x.whole, x.bound + 2.0 * count as f64)
    }

    pub fn others(&mut self) -> Made {
        let x = self.any();
        let dims = self.dims_of(x);
        let dtype = self.builder.dtype(x.id);
        match self.random.below(5) {
            0 if !dims.is_empty() => {
                let axis = self.random.below(dims.len());
                let bound = x.bound * dims[axis] as f64;
                let (exclusive, reverse) = (self.coin(), self.coin());
                let (exclusive, reverse) =
                    (self.builder.bool(exclusive), self.builder.bool(reverse));
                let inputs = vec![
                    ("x", x.id.into()),
                    ("axis", self.int(axis as i64)),
                    ("exclusive", exclusive.into()),
                    ("reverse", reverse.into()),
                ];
                self.op(Op::Cumsum, inputs, x.whole, bound)
            }
            1 if x.whole && dtype.is_float() => {
                let (scale, name) = (self.scalar(dtype, 0.5), self.text("int8"));
                let inputs = vec![("input", x.id.into()), ("scale", scale), ("output_dtype", name)];
                let bytes = self.op(Op::Quantize, inputs, true, x.bound * 2.0)?;
                self.items.push(bytes);
                let scale = self.scalar(dtype, 0.5);
                let inputs = vec![("input", bytes.id.into()), ("scale", scale)];
                self.op(Op::Dequantize, inputs, true, 64.0)
            }
            2 => {
                let data = mil::Tensor::from_i64s(DataType::Int8, &[2, 3], &[1, -2, 3, 4, 5, -6]);
                let data = self.builder.constant("bytes", data.ok()?);
                let zero = mil::Tensor::from_i64s(DataType::Int8, &[], &[1]).ok()?;
                let zero = self.builder.constant("zero", zero);
                let inputs = vec![
                    ("quantized_data", data.into()),
                    ("zero_point", zero.into()),
                    ("scale", self.scalar(DataType::Fp32, 0.25)),
                    ("axis", self.int(0)),
                ];
                self.op(Op::ConstexprAffineDequantize, inputs, false, 2.0)
            }
            3 => {
                let int4 = |dims: &[usize], values: &[i64]| {
                    mil::Tensor::from_i64s(DataType::Int4, dims, values).ok()
                };
                let data = int4(&[2, 4], &[1, -2, 3, 4, 5, -6, 7, -8])?;
                let data = self.builder.constant("int4", data);
                let scales = mil::Tensor::from_f64s(DataType::Fp32, &[1, 2], &[0.25, -0.5]).ok()?;
                let scale = self.builder.constant("scales", scales);
                let mut inputs = vec![("data", data.into()), ("scale", scale.into())];
                if self.coin() {
                    let offset = self.builder.constant("offset", int4(&[1, 2], &[1, -3])?);
                    inputs.push(("offset", offset.into()));
                }
                self.op(Op::ConstexprBlockwiseShiftScale, inputs, false, 5.0)
            }
            _ if !dims.is_empty() && !dims.contains(&0) => {
                let inputs = self.slice(&dims);
                let slice = [vec![("x", Arg::from(x.id))], inputs.clone()].concat();
                let slice = self.op(Op::SliceByIndex, slice, x.whole, x.bound)?;
                let shape = self.dims_of(slice);
                let update = self.input(dtype, &shape, x.whole);
                let inputs =
                    [vec![("x", x.id.into()), ("update", update.id.into())], inputs].concat();
                self.op(Op::SliceUpdate, inputs, x.whole, x.bound.max(2.0))
            }
            _ => None,
        }
    }
}
