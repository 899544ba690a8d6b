//! Operations that select, stack and fill, recurrent layers, and compressed weights.

use crate::maker::{Item, Made, Maker};
use mil::{Arg, DataType, Op, Tensor, ValueId};

/// What is made nowhere here, and tested with programs of its own: nested blocks, lists, classes,
/// draws, and shapes that depend on data.
pub const ELSEWHERE: &[Op] = &[
    Op::NonZero,
    Op::NonMaximumSuppression,
    Op::Range1d,
    Op::Cond,
    Op::WhileLoop,
    Op::MakeList,
    Op::ListWrite,
    Op::ListRead,
    Op::ListGather,
    Op::ListScatter,
    Op::ListLength,
    Op::RandomUniform,
    Op::RandomNormal,
    Op::RandomBernoulli,
    Op::RandomCategorical,
    Op::Classify,
];

impl Maker {
    pub fn selected(&mut self) -> Made {
        let x = self.any();
        let dims = self.dims_of(x);
        let rank = dims.len();
        let arg: (&str, Arg) = ("x", x.id.into());
        let dtype = self.builder.dtype(x.id);
        if dims.contains(&0) || rank == 0 {
            return None;
        }
        let like = |maker: &mut Maker, op, inputs| maker.op(op, inputs, x.whole, x.bound);
        match self.random.below(13) {
            0 => {
                let depth = 1 + self.random.below(rank);
                let count = 1 + self.random.below(4);
                let at = self.input(DataType::Int32, &[count, depth], true);
                like(self, Op::GatherNd, vec![arg, ("indices", at.id.into())])
            }
            1 if dtype.is_float() => {
                let at = self.input(DataType::Int32, &[2, 1], true);
                let part = [&[2], &dims[1..]].concat();
                let updates = self.input(dtype, &part, x.whole);
                let mode = self.one_of(&["update", "add", "sub", "max", "min"]);
                let inputs = vec![
                    ("data", x.id.into()),
                    ("indices", at.id.into()),
                    ("updates", updates.id.into()),
                    ("mode", self.text(mode)),
                ];
                self.op(Op::ScatterNd, inputs, x.whole && updates.whole, x.bound + 4.0)
            }
            2 => {
                let at = self.input(DataType::Int32, &dims[..rank.min(2)], true);
                let (size, axis) = (self.int(3), self.axis(rank.min(2) + 1));
                let mut inputs = vec![("indices", at.id.into()), ("one_hot_vector_size", size)];
                inputs.push(("axis", self.int(axis)));
                self.op(Op::OneHot, inputs, true, 1.0)
            }
            // Of numbers that both evaluators have exactly: others may change places.
            3 if x.whole && dtype != DataType::Bool => {
                let axis = self.axis(rank);
                let k = 1 + self.random.below(dims[axis.rem_euclid(rank as i64) as usize]);
                let ascending = self.coin();
                let ascending = self.builder.bool(ascending);
                let inputs = vec![
                    arg,
                    ("axis", self.int(axis)),
                    ("k", self.int(k as i64)),
                    ("ascending", ascending.into()),
                ];
                let results = self.builder.operation(Op::Topk, "topk", inputs).ok()?;
                Some(Item { id: results[0], ..x })
            }
            4 if x.whole && dtype != DataType::Bool => {
                let axis = self.axis(rank);
                let axis = self.int(axis);
                self.op(Op::Argsort, vec![arg, ("axis", axis)], true, 40.0)
            }
            5 if self.coin() => self.op(Op::Shape, vec![arg], true, 40.0),
            5 => {
                let shape: Vec<i64> = dims.iter().map(|&d| d as i64).collect();
                let (shape, two) = (self.ints(&shape), self.scalar(DataType::Fp32, 2.0));
                self.op(Op::Fill, vec![("shape", shape), ("value", two)], true, 2.0)
            }
            6 => {
                let half = self.scalar(DataType::Fp16, 0.5);
                self.op(
                    Op::FillLike,
                    vec![("ref_tensor", x.id.into()), ("value", half)],
                    false,
                    0.5,
                )
            }
            7 if rank < 5 => {
                let other = self.input(dtype, &dims, x.whole);
                let axis = self.axis(rank + 1);
                let values: [ValueId; 3] = [x.id, other.id, x.id];
                let inputs = vec![("values", Arg::from(&values[..])), ("axis", self.int(axis))];
                self.op(Op::Stack, inputs, x.whole && other.whole, x.bound.max(2.0))
            }
            8 => {
                let (lower, upper) = (self.random.below(4) as i64, self.random.below(4) as i64);
                let (lower, upper) = (self.int(lower - 1), self.int(upper - 1));
                like(self, Op::BandPart, vec![arg, ("lower", lower), ("upper", upper)])
            }
            9 if self.coin() => {
                let axis = self.random.below(rank + 1) as i64;
                let axis = self.int(axis);
                like(self, Op::Flatten2d, vec![arg, ("axis", axis)])
            }
            9 => {
                let flag = self.builder.bool(true);
                let zero = self.builder.int(0);
                let one = |id: ValueId| Arg::from(&[id][..]);
                let inputs = vec![
                    arg,
                    ("ref_tensors", one(x.id)),
                    ("begins", one(zero)),
                    ("ends", one(zero)),
                    ("end_masks", one(flag)),
                ];
                like(self, Op::ReshapeLike, inputs)
            }
            10 if rank > 1 => {
                let count = dims[1];
                let longest = dims[0] as i64;
                let lengths: Vec<i64> =
                    (0..count).map(|_| self.random.below(longest as usize + 1) as i64).collect();
                let (lengths, batch) = (self.ints(&lengths), self.int(1));
                let inputs = vec![arg, ("lengths", lengths), ("batch_axis", batch)];
                like(self, Op::ReverseSequence, inputs)
            }
            11 if rank == 3 && dtype == DataType::Fp32 => {
                if self.coin() {
                    return self.recurrent(x, &dims);
                }
                let other = self.input(dtype, &[dims[2], dims[1], 2], x.whole);
                let values = [x.id, other.id];
                let equation = self.text("chw,whu->chu");
                let inputs = vec![("values", Arg::from(&values[..])), ("equation", equation)];
                let bound = x.bound * 2.0 * dims[2] as f64;
                self.op(Op::Einsum, inputs, x.whole && other.whole, bound)
            }
            _ => self.compressed(),
        }
    }

    /// A recurrent layer of two units over x `[S, B, I]`.
    fn recurrent(&mut self, x: Item, dims: &[usize]) -> Made {
        let op = self.one_of(&[Op::Lstm, Op::Gru, Op::Rnn]);
        let gates = match op {
            Op::Lstm => 4,
            Op::Gru => 3,
            _ => 1,
        };
        let f32 = DataType::Fp32;
        let h = self.input(f32, &[dims[1], 2], false);
        let w = self.input(f32, &[2 * gates, dims[2]], false);
        let u = self.input(f32, &[2 * gates, 2], false);
        let sequence = self.coin();
        let sequence = self.builder.bool(sequence);
        let mut inputs = vec![
            ("x", Arg::from(x.id)),
            ("initial_h", h.id.into()),
            ("weight_ih", w.id.into()),
            ("weight_hh", u.id.into()),
            ("output_sequence", sequence.into()),
        ];
        if op == Op::Lstm {
            inputs.push(("initial_c", h.id.into()));
        }
        let results = self.builder.operation(op, op.name(), inputs).ok()?;
        Some(Item { id: results[0], whole: false, bound: 2.0 })
    }

    /// A weight in a compressed form.
    fn compressed(&mut self) -> Made {
        let f32 = DataType::Fp32;
        let mask = Tensor::from_i64s(DataType::Uint1, &[2, 3], &[1, 0, 1, 1, 0, 1]).ok()?;
        let mask = self.builder.constant("mask", mask);
        let table = Tensor::from_f64s(f32, &[2, 1, 2, 1], &[0.5, -1.0, 1.5, 2.0]).ok()?;
        let table = self.builder.constant("lut", table);
        let bits = |dims: &[usize], v: &[i64]| Tensor::from_i64s(DataType::Uint1, dims, v).ok();
        match self.random.below(4) {
            0 => {
                let halves = Tensor::from_f64s(DataType::Fp16, &[2, 3], &[0.1; 6]).ok()?;
                let halves = self.builder.constant("halves", halves);
                let to = self.text("fp32");
                let inputs = vec![("source_val", halves.into()), ("output_dtype", to)];
                self.op(Op::ConstexprCast, inputs, false, 1.0)
            }
            1 => {
                let indices = self.builder.constant("indices", bits(&[2, 3], &[0, 1, 1, 0, 0, 1])?);
                let inputs = vec![("indices", indices.into()), ("lut", table.into())];
                self.op(Op::ConstexprLutToDense, inputs, false, 2.0)
            }
            2 => {
                let indices = self.builder.constant("indices", bits(&[4], &[0, 1, 1, 0])?);
                let inputs = vec![
                    ("indices_mask", Arg::from(mask)),
                    ("indices_nonzero_data", indices.into()),
                    ("lut", table.into()),
                ];
                self.dense(Op::ConstexprLutToSparse, inputs)
            }
            _ => {
                let data = Tensor::from_i64s(DataType::Int8, &[4], &[1, -2, 3, 4]).ok()?;
                let data = self.builder.constant("bytes", data);
                let scale = Tensor::from_f64s(f32, &[2, 1], &[0.25, -0.5]).ok()?;
                let scale = self.builder.constant("scale", scale);
                let inputs = vec![
                    ("data_mask", Arg::from(mask)),
                    ("nonzero_data", data.into()),
                    ("scale", scale.into()),
                ];
                self.dense(Op::ConstexprSparseBlockwiseShiftScale, inputs)
            }
        }
    }

    /// The dense tensor of what gives a mask and what it keeps.
    fn dense(&mut self, op: Op, inputs: Vec<(&str, Arg)>) -> Made {
        let sparse = self.builder.operation(op, op.name(), inputs).ok()?;
        let inputs = vec![("mask", sparse[0].into()), ("nonzero_data", sparse[1].into())];
        self.op(Op::ConstexprSparseToDense, inputs, false, 4.0)
    }
}
