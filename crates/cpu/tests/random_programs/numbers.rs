//! Operations that compute.

use crate::maker::{Item, Made, Maker};
use mil::{Arg, DataType, Op};

const FACTORS: &[DataType] = &[DataType::Fp32, DataType::Fp32, DataType::Bf16, DataType::Fp16];

impl Maker {
    pub fn unary(&mut self) -> Made {
        let x = self.float()?;
        let dtype = self.builder.dtype(x.id);
        let arg = |x: Item| ("x", Arg::from(x.id));
        match self.random.below(10) {
            0 => {
                let op = self.one_of(&[Op::Sin, Op::Cos, Op::Erf, Op::Sigmoid, Op::Tanh]);
                self.op(op, vec![arg(x)], false, 1.0)
            }
            1 => {
                let op = self.one_of(&[Op::Abs, Op::Relu]);
                self.op(op, vec![arg(x)], x.whole, x.bound)
            }
            2 => self.op(Op::Silu, vec![arg(x)], false, x.bound),
            3 => {
                let modes = ["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"];
                let mode = self.one_of(&modes);
                let mode = self.text(mode);
                self.op(Op::Gelu, vec![arg(x), ("mode", mode)], false, x.bound)
            }
            4 if x.bound < 4.0 => self.op(Op::Exp, vec![arg(x)], false, x.bound.exp()),
            5 if x.whole => {
                let op = self.one_of(&[Op::Sign, Op::Floor]);
                self.op(op, vec![arg(x)], true, x.bound.max(1.0))
            }
            6 => {
                let (low, high) = (self.scalar(dtype, -1.0), self.scalar(dtype, 1.5));
                let inputs = vec![arg(x), ("alpha", low), ("beta", high)];
                self.op(Op::Clip, inputs, false, x.bound.min(1.5))
            }
            7 => self.op(Op::Square, vec![arg(x)], x.whole, x.bound * x.bound),
            // Functions of positive numbers only, away from where they are steep.
            8 => {
                let square = self.op(Op::Square, vec![arg(x)], false, x.bound * x.bound)?;
                let epsilon = self.scalar(dtype, 0.5);
                let op = self.one_of(&[Op::Log, Op::Rsqrt, Op::Inverse]);
                let bound = (square.bound + 1.0).ln().max(2.0);
                self.op(op, vec![arg(square), ("epsilon", epsilon)], false, bound)
            }
            _ => {
                let abs = self.op(Op::Square, vec![arg(x)], false, x.bound * x.bound)?;
                let one = self.input(dtype, &[], false);
                let one = self.op(Op::Sigmoid, vec![arg(one)], false, 1.0)?;
                let inputs = vec![("x", abs.id.into()), ("y", one.id.into())];
                let sum = self.op(Op::Add, inputs, false, abs.bound + 1.0)?;
                self.op(Op::Sqrt, vec![arg(sum)], false, sum.bound)
            }
        }
    }

    /// A second operand that broadcasts with `x`: a value, or a new input.
    fn partner(&mut self, x: Item) -> Item {
        let (dims, dtype) = (self.dims_of(x), self.builder.dtype(x.id));
        for _ in 0..3 {
            let other = self.any();
            let shape = self.dims_of(other);
            let mut pairs = shape.iter().rev().zip(dims.iter().rev());
            let fits = pairs.all(|(a, b)| a == b || *a == 1 || *b == 1);
            if fits && self.builder.dtype(other.id) == dtype {
                return other;
            }
        }
        let drop = if self.coin() { 0 } else { self.random.below(dims.len() + 1) };
        let mut dims = dims[drop..].to_vec();
        for dim in &mut dims {
            if self.random.below(3) == 0 {
                *dim = 1;
            }
        }
        self.input(dtype, &dims, x.whole)
    }

    pub fn binary(&mut self) -> Made {
        use DataType::*;
        let x = self.pick(&[Fp32, Bf16, Fp16, Int32, Int64])?;
        let y = self.partner(x);
        let dtype = self.builder.dtype(x.id);
        let whole = x.whole && y.whole;
        let (x, y) = if self.coin() { (x, y) } else { (y, x) };
        let inputs = vec![("x", x.id.into()), ("y", y.id.into())];
        let kind = self.random.below(9);
        match kind {
            0..=2 => {
                let op = self.one_of(&[Op::Add, Op::Sub]);
                self.op(op, inputs, whole, x.bound + y.bound)
            }
            3..=4 => self.op(Op::Mul, inputs, whole, x.bound * y.bound),
            5 => {
                let op = self.one_of(&[Op::Maximum, Op::Minimum]);
                self.op(op, inputs, whole, x.bound.max(y.bound))
            }
            6 if whole => {
                let three = if dtype.is_float() {
                    self.scalar(dtype, 3.0)
                } else {
                    let three = mil::Tensor::from_i64s(dtype, &[], &[3]).ok()?;
                    self.builder.constant("three", three).into()
                };
                let op = self.one_of(&[Op::FloorDiv, Op::Mod]);
                self.op(op, vec![("x", x.id.into()), ("y", three)], true, x.bound.max(3.0))
            }
            7 if dtype.is_float() => {
                let y = self.op(Op::Cos, vec![("x", y.id.into())], false, 1.0)?;
                let two = self.scalar(dtype, 2.0);
                let y = self.op(Op::Add, vec![("x", y.id.into()), ("y", two)], false, 3.0)?;
                self.op(Op::RealDiv, vec![("x", x.id.into()), ("y", y.id.into())], false, x.bound)
            }
            _ if dtype.is_float() => {
                let base = self.op(Op::Cos, vec![("x", x.id.into())], false, 1.0)?;
                let two = self.scalar(dtype, 2.0);
                let base = self.op(Op::Add, vec![("x", base.id.into()), ("y", two)], false, 3.0)?;
                let exponent = self.one_of(&[2.0, 0.5, -0.5, 1.0, 3.0, -1.0]);
                let exponent = self.scalar(dtype, exponent);
                self.op(Op::Pow, vec![("x", base.id.into()), ("y", exponent)], false, 27.0)
            }
            _ => None,
        }
    }

    pub fn compared(&mut self) -> Made {
        let x = self.any();
        if !x.whole {
            return None;
        }
        if self.builder.dtype(x.id) == DataType::Bool && self.random.below(3) == 0 {
            return self.op(Op::LogicalNot, vec![("x", x.id.into())], true, 1.0);
        }
        let y = self.partner(x);
        if !y.whole {
            return None;
        }
        let inputs = vec![("x", x.id.into()), ("y", y.id.into())];
        if self.builder.dtype(x.id) == DataType::Bool {
            let op = self.one_of(&[Op::LogicalAnd, Op::LogicalOr]);
            return self.op(op, inputs, true, 1.0);
        }
        let ops = [Op::Equal, Op::NotEqual, Op::Less, Op::LessEqual, Op::Greater, Op::GreaterEqual];
        let op = self.one_of(&ops);
        let mut cond = self.op(op, inputs.clone(), true, 1.0)?;
        if self.coin() {
            let other = self.op(Op::NotEqual, inputs, true, 1.0)?;
            let op = self.one_of(&[Op::LogicalAnd, Op::LogicalOr]);
            let inputs = vec![("x", cond.id.into()), ("y", other.id.into())];
            cond = self.op(op, inputs, true, 1.0)?;
        }
        if self.coin() {
            return Some(cond);
        }
        let a = self.any();
        let b = self.partner(a);
        let inputs = vec![("cond", cond.id.into()), ("a", a.id.into()), ("b", b.id.into())];
        let selected = self.op(Op::Select, inputs, a.whole && b.whole, a.bound.max(b.bound));
        selected.or(Some(cond))
    }

    pub fn cast(&mut self) -> Made {
        let x = self.any();
        use DataType::*;
        let floats = [Fp32, Fp16, Bf16, Fp32, Fp64];
        let all = [Fp32, Fp16, Bf16, Fp64, Int32, Int64, Bool, Int16, Fp32];
        let dtype = if x.whole { self.one_of(&all) } else { self.one_of(&floats) };
        let name = self.text(dtype.name());
        self.op(Op::Cast, vec![("x", x.id.into()), ("dtype", name)], x.whole, x.bound)
    }

    pub fn reduced(&mut self) -> Made {
        let x = self.float()?;
        let dims = self.dims_of(x);
        if dims.contains(&0) || dims.is_empty() {
            return None;
        }
        let mut axes: Vec<i64> = (0..dims.len() as i64).filter(|_| self.coin()).collect();
        if axes.is_empty() {
            axes.push(self.axis(dims.len()));
        }
        let count: usize =
            axes.iter().map(|&a| dims[a.rem_euclid(dims.len() as i64) as usize]).product();
        let ops =
            [Op::ReduceSum, Op::ReduceMean, Op::ReduceMax, Op::ReduceMin, Op::ReduceLogSumExp];
        let op = self.one_of(&ops);
        let (whole, bound) = match op {
            Op::ReduceSum => (x.whole, x.bound * count as f64),
            Op::ReduceLogSumExp => (false, x.bound + (count as f64).ln()),
            _ => (false, x.bound),
        };
        let keep = self.coin();
        let (axes, keep) = (self.ints(&axes), self.builder.bool(keep));
        let inputs = vec![("x", x.id.into()), ("axes", axes), ("keep_dims", keep.into())];
        self.op(op, inputs, whole, bound)
    }

    pub fn normalized(&mut self) -> Made {
        let x = self.float()?;
        let dims = self.dims_of(x);
        if dims.contains(&0) || dims.is_empty() {
            return None;
        }
        if self.coin() {
            let axis = self.axis(dims.len());
            let axis = self.int(axis);
            return self.op(Op::Softmax, vec![("x", x.id.into()), ("axis", axis)], false, 1.0);
        }
        let first = self.random.below(dims.len());
        let axes: Vec<i64> = (first as i64..dims.len() as i64).collect();
        let axes = self.ints(&axes);
        let dtype = self.builder.dtype(x.id);
        // With few elements the variance may be next to nothing and the errors anything.
        let epsilon = self.scalar(dtype, 0.5);
        let mut inputs = vec![("x", x.id.into()), ("axes", axes), ("epsilon", epsilon)];
        if self.coin() {
            let gamma = self.input(dtype, &dims[first..], false);
            inputs.push(("gamma", gamma.id.into()));
            let beta = self.input(dtype, &dims[first..], false);
            inputs.push(("beta", beta.id.into()));
        }
        let width: usize = dims[first..].iter().product();
        self.op(Op::LayerNorm, inputs, false, 2.0 + 2.0 * (width as f64).sqrt())
    }

    pub fn product(&mut self) -> Made {
        let x = self.pick(FACTORS)?;
        let (dims, dtype) = (self.dims_of(x), self.builder.dtype(x.id));
        let rank = dims.len();
        let n = 1 + self.random.below(20);
        let linear = self.random.below(3) == 0;
        if linear && rank > 0 {
            let k = dims[rank - 1];
            let weight = self.input(dtype, &[n, k], x.whole);
            let mut inputs = vec![("x", x.id.into()), ("weight", weight.id.into())];
            if self.coin() {
                let bias = self.input(dtype, &[n], x.whole);
                let axes = self.ints(&[0]);
                let reversed = vec![("x", bias.id.into()), ("axes", axes)];
                let reversed = self.op(Op::Reverse, reversed, x.whole, 2.0)?;
                let bias = if self.coin() { bias } else { reversed };
                inputs.push(("bias", bias.id.into()));
            }
            return self.op(Op::Linear, inputs, x.whole, x.bound * 2.0 * k as f64 + 2.0);
        }
        if rank < 2 {
            return None;
        }
        let (flip_x, flip_y) = (self.coin(), self.coin());
        let k = dims[if flip_x { rank - 2 } else { rank - 1 }];
        let y = self.any();
        let inputs = |y: Item, flip_x, flip_y| {
            vec![
                ("x", x.id.into()),
                ("y", y.id.into()),
                ("transpose_x", flip_x),
                ("transpose_y", flip_y),
            ]
        };
        let flip_x: Arg = self.builder.bool(flip_x).into();
        let flip: Arg = self.builder.bool(flip_y).into();
        let bound = x.bound * y.bound * k as f64;
        if let Some(made) =
            self.op(Op::Matmul, inputs(y, flip_x.clone(), flip.clone()), x.whole && y.whole, bound)
        {
            return Some(made);
        }
        let mut shape = dims[self.random.below(rank - 1)..rank - 2].to_vec();
        for dim in &mut shape {
            if self.coin() {
                *dim = 1;
            }
        }
        shape.extend(if flip_y { [n, k] } else { [k, n] });
        let y = self.input(dtype, &shape, x.whole);
        self.op(Op::Matmul, inputs(y, flip_x, flip), x.whole, x.bound * 2.0 * k as f64)
    }

    pub fn convolution(&mut self) -> Made {
        let dtype = self.one_of(FACTORS);
        let spatial = 1 + self.random.below(3);
        let groups = 1 + self.random.below(2);
        let (ins, outs) = (1 + self.random.below(2), 1 + self.random.below(3));
        let mut dims = vec![1 + self.random.below(2), groups * ins];
        dims.extend((0..spatial).map(|_| 3 + self.random.below(4)));
        let x = self.input(dtype, &dims, false);
        let transposed = self.random.below(3) == 0;
        let mut kernel =
            if transposed { vec![groups * ins, outs] } else { vec![groups * outs, ins] };
        kernel.extend((0..spatial).map(|_| 1 + self.random.below(3)));
        let taps: usize = kernel[2..].iter().product();
        let weight = self.input(dtype, &kernel, false);
        let mut inputs = vec![("x", x.id.into()), ("weight", weight.id.into())];
        if self.coin() {
            let bias = self.input(dtype, &[groups * outs], false);
            inputs.push(("bias", bias.id.into()));
        }
        let numbers = |maker: &mut Maker, count: usize, base: usize, top: usize| {
            let numbers: Vec<i64> =
                (0..count).map(|_| (base + maker.random.below(top)) as i64).collect();
            maker.ints(&numbers)
        };
        inputs.push(("strides", numbers(self, spatial, 1, 2)));
        inputs.push(("dilations", numbers(self, spatial, 1, 2)));
        let pad_type = self.one_of(&["valid", "custom", "same"]);
        if pad_type == "custom" {
            inputs.push(("pad", numbers(self, 2 * spatial, 0, 2)));
        }
        inputs.push(("pad_type", self.text(pad_type)));
        inputs.push(("groups", self.int(groups as i64)));
        let op = if transposed { Op::ConvTranspose } else { Op::Conv };
        self.op(op, inputs, false, 4.0 * (ins * taps) as f64 + 2.0)
    }

    pub fn attention(&mut self) -> Made {
        let dtype = self.one_of(FACTORS);
        let batch: Vec<usize> =
            (0..self.random.below(3)).map(|_| 1 + self.random.below(3)).collect();
        let (queries, keys, width) =
            (1 + self.random.below(6), 1 + self.random.below(7), 1 + self.random.below(9));
        let shaped = |maker: &mut Maker, tail: [usize; 2], dtype| {
            let dims: Vec<usize> = batch.iter().copied().chain(tail).collect();
            maker.input(dtype, &dims, false)
        };
        let query = shaped(self, [queries, width], dtype);
        let key = shaped(self, [keys, width], dtype);
        let value = shaped(self, [keys, width], dtype);
        let mut inputs =
            vec![("query", query.id.into()), ("key", key.id.into()), ("value", value.id.into())];
        if self.coin() {
            let mask = self.input(dtype, &[queries, keys], false);
            inputs.push(("attn_mask", mask.id.into()));
        }
        self.op(Op::ScaledDotProductAttention, inputs, false, 2.0)
    }
}
