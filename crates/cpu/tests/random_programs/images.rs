//! Further functions and reductions, and operations on images.

use crate::maker::{Item, Made, Maker};
use mil::{Arg, DataType, Op, Tensor};

const TYPES: &[DataType] = &[DataType::Fp32, DataType::Fp32, DataType::Bf16, DataType::Fp16];

fn arg(x: Item) -> (&'static str, Arg) {
    ("x", x.id.into())
}

impl Maker {
    /// Half the sine: between −0.5 and 0.5, where every function here is tame.
    fn small(&mut self, x: Item) -> Made {
        let half = self.scalar(self.builder.dtype(x.id), 0.5);
        let sine = self.op(Op::Sin, vec![arg(x)], false, 1.0)?;
        self.op(Op::Mul, vec![arg(sine), ("y", half)], false, 0.5)
    }

    pub fn further_unary(&mut self) -> Made {
        let x = self.float()?;
        let dtype = self.builder.dtype(x.id);
        let number = |maker: &mut Maker, name, value| (name, maker.scalar(dtype, value));
        match self.random.below(9) {
            0 => {
                let small = self.small(x)?;
                let ops = [Op::Acos, Op::Asin, Op::Atan, Op::Atanh, Op::Tan, Op::Sinh, Op::Cosh];
                let op = self.one_of(&ops);
                self.op(op, vec![arg(small)], false, 2.1)
            }
            1 if x.bound < 6.0 => self.op(Op::Exp2, vec![arg(x)], false, x.bound.exp2()),
            2 if x.whole => {
                // Halves are exact, and not all round the same way.
                let half = self.scalar(dtype, 0.5);
                let halves = self.op(Op::Mul, vec![arg(x), ("y", half)], false, x.bound)?;
                let op = self.one_of(&[Op::Ceil, Op::Round]);
                self.op(op, vec![arg(halves)], true, x.bound + 1.0)
            }
            3 if x.whole => {
                let alpha = number(self, "alpha", 1.0);
                let op = self.one_of(&[Op::Threshold, Op::ThresholdedRelu]);
                self.op(op, vec![arg(x), alpha], true, x.bound + 1.0)
            }
            4 => {
                let op = self.one_of(&[Op::Softplus, Op::Softsign, Op::Relu6]);
                self.op(op, vec![arg(x)], false, x.bound + 0.7)
            }
            5 => {
                let alpha = number(self, "alpha", 0.25);
                let op = self.one_of(&[Op::Elu, Op::LeakyRelu]);
                self.op(op, vec![arg(x), alpha], false, x.bound)
            }
            6 | 7 => {
                let ops = [Op::ClampedRelu, Op::LinearActivation, Op::ScaledTanh, Op::SigmoidHard];
                let op = self.one_of(&ops);
                let (alpha, beta) = (number(self, "alpha", 0.5), number(self, "beta", 0.75));
                self.op(op, vec![arg(x), alpha, beta], false, x.bound + 1.0)
            }
            _ => {
                let dims = self.dims_of(x);
                if dims.len() < 2 {
                    return None;
                }
                let alpha = self.input(dtype, &dims[1..2], false);
                let mut inputs = vec![arg(x), ("alpha", alpha.id.into())];
                if self.coin() {
                    return self.op(Op::Prelu, inputs, false, 2.0 * x.bound);
                }
                let beta = self.input(dtype, &dims[1..2], false);
                inputs.push(("beta", beta.id.into()));
                self.op(Op::SoftplusParametric, inputs, false, 4.0 * x.bound + 2.0)
            }
        }
    }

    /// Logic of truth values that are there, or of whether a value is positive.
    pub fn logic(&mut self) -> Made {
        let x = match self.pick(&[DataType::Bool]) {
            Some(x) => x,
            None => {
                let x = self.float().filter(|x| x.whole)?;
                let zero = self.scalar(self.builder.dtype(x.id), 0.0);
                self.op(Op::Greater, vec![arg(x), ("y", zero)], true, 1.0)?
            }
        };
        let not = self.op(Op::LogicalNot, vec![arg(x)], true, 1.0)?;
        let y = self.pick(&[DataType::Bool]).unwrap_or(not);
        let op = self.one_of(&[Op::LogicalXor, Op::LogicalAnd, Op::LogicalOr]);
        let made = self.op(op, vec![arg(not), ("y", y.id.into())], true, 1.0);
        made.or(Some(not))
    }

    pub fn further_reduced(&mut self) -> Made {
        let x = self.float()?;
        let dims = self.dims_of(x);
        if dims.contains(&0) || dims.is_empty() {
            return None;
        }
        let axis = self.random.below(dims.len());
        let keep = self.coin();
        let keep = self.builder.bool(keep);
        if x.whole && self.coin() {
            let op = self.one_of(&[Op::ReduceArgmax, Op::ReduceArgmin]);
            let axis_arg = self.int(axis as i64);
            let inputs = vec![arg(x), ("axis", axis_arg), ("keep_dims", keep.into())];
            return self.op(op, inputs, true, dims[axis] as f64);
        }
        let axes = self.ints(&[axis as i64]);
        let rest = vec![("axes", axes), ("keep_dims", keep.into())];
        let count = dims[axis] as f64;
        let (op, x, bound) = match self.random.below(5) {
            0 => (Op::ReduceL1Norm, x, x.bound * count),
            1 => (Op::ReduceSumSquare, x, x.bound * x.bound * count),
            2 => (Op::ReduceProd, x, x.bound.max(1.0).powf(count)),
            // Away from where the root is steep.
            3 => {
                let cosine = self.op(Op::Cos, vec![arg(x)], false, 1.0)?;
                let two = self.scalar(self.builder.dtype(x.id), 2.0);
                let x = self.op(Op::Add, vec![arg(cosine), ("y", two)], false, 3.0)?;
                (Op::ReduceL2Norm, x, 3.0 * count.sqrt())
            }
            _ => {
                let x = self.op(Op::Sigmoid, vec![arg(x)], false, 1.0)?;
                (Op::ReduceLogSum, x, 10.0 + count.ln())
            }
        };
        self.op(op, [vec![arg(x)], rest].concat(), false, bound)
    }

    /// A norm, a pool, or something that resamples or rearranges, of a new image.
    pub fn image(&mut self) -> Made {
        let dtype = self.one_of(TYPES);
        match self.random.below(4) {
            0 => self.image_norm(dtype),
            1 => self.pooled(dtype),
            2 => self.resampled(dtype),
            _ => self.rearranged(dtype),
        }
    }

    fn sized(&mut self, dtype: DataType, space: usize) -> (Item, Vec<usize>) {
        let mut dims = vec![1 + self.random.below(2), 1 + self.random.below(4)];
        dims.extend((0..space).map(|_| 1 + self.random.below(6)));
        (self.input(dtype, &dims, false), dims)
    }

    fn image_norm(&mut self, dtype: DataType) -> Made {
        let space = 1 + self.random.below(3);
        let (x, dims) = self.sized(dtype, space);
        // With few elements the variance may be next to nothing and the errors anything.
        let epsilon = ("epsilon", self.scalar(dtype, 0.5));
        let op = self.one_of(&[Op::BatchNorm, Op::InstanceNorm, Op::L2Norm, Op::LocalResponseNorm]);
        let mut inputs = vec![arg(x)];
        match op {
            Op::LocalResponseNorm => {
                let size = 1 + self.random.below(5) as i64;
                let size = self.int(size);
                let alpha = self.scalar(dtype, 0.5);
                inputs.extend([("size", size), ("alpha", alpha)]);
            }
            Op::L2Norm => inputs.push(epsilon),
            _ => {
                inputs.push(epsilon);
                if op == Op::BatchNorm {
                    let mean = self.input(dtype, &dims[1..2], false);
                    let raw = self.input(dtype, &dims[1..2], false);
                    let variance = self.op(Op::Sigmoid, vec![arg(raw)], false, 1.0)?;
                    inputs.extend([("mean", mean.id.into()), ("variance", variance.id.into())]);
                }
                for name in ["gamma", "beta"] {
                    if self.coin() {
                        let vector = self.input(dtype, &dims[1..2], false);
                        inputs.push((name, vector.id.into()));
                    }
                }
            }
        }
        let pixels: usize = dims[2..].iter().product();
        self.op(op, inputs, false, 12.0 + 2.0 * (pixels as f64).sqrt())
    }

    fn pooled(&mut self, dtype: DataType) -> Made {
        let space = 1 + self.random.below(3);
        let (x, _) = self.sized(dtype, space);
        let numbers = |maker: &mut Maker, count: usize, base: usize, top: usize| {
            let numbers: Vec<i64> =
                (0..count).map(|_| (base + maker.random.below(top)) as i64).collect();
            maker.ints(&numbers)
        };
        let kind = self.one_of(&["valid", "custom", "same", "same_lower"]);
        let mut inputs = vec![arg(x), ("pad_type", self.text(kind))];
        inputs.push(("kernel_sizes", numbers(self, space, 2, 2)));
        inputs.push(("strides", numbers(self, space, 1, 3)));
        if kind == "custom" {
            inputs.push(("pad", numbers(self, 2 * space, 0, 2)));
        }
        let op = self.one_of(&[Op::MaxPool, Op::AvgPool, Op::L2Pool]);
        self.op(op, inputs, false, 12.0)
    }

    fn resampled(&mut self, dtype: DataType) -> Made {
        let (x, dims) = self.sized(dtype, 2);
        let mut size = |name| {
            let size = 1 + self.random.below(7) as i64;
            (name, self.int(size))
        };
        let target = [size("target_size_height"), size("target_size_width")];
        let factor = [size("scale_factor_height"), size("scale_factor_width")];
        let target_box = [size("target_height"), size("target_width")];
        let output = [size("output_height"), size("output_width")];
        let modes = ["DEFAULT", "ALIGN_CORNERS", "UNALIGN_CORNERS", "OFFSET_CORNERS"];
        let mode = self.one_of(&modes);
        let mode = ("sampling_mode", self.text(mode));
        let padding = self.one_of(&["constant", "border", "reflection", "symmetric"]);
        let unit = self.one_of(&["unnormalized", "normalized_minus_one_to_one"]);
        let at_places = vec![
            arg(x),
            ("sampling_mode", self.text("bilinear")),
            ("padding_mode", self.text(padding)),
            ("padding_value", self.scalar(dtype, 0.5)),
            ("coordinates_mode", self.text(unit)),
            ("align_corners", self.builder.bool(true).into()),
        ];
        let op = self.one_of(&[
            Op::UpsampleNearestNeighbor,
            Op::UpsampleBilinear,
            Op::ResizeNearestNeighbor,
            Op::ResizeBilinear,
            Op::Resize,
            Op::Resample,
            Op::Affine,
            Op::CropResize,
        ]);
        let inputs = match op {
            Op::UpsampleNearestNeighbor | Op::UpsampleBilinear => {
                [vec![arg(x)], factor.to_vec()].concat()
            }
            Op::ResizeNearestNeighbor => [vec![arg(x)], target.to_vec()].concat(),
            Op::ResizeBilinear => [vec![arg(x), mode], target.to_vec()].concat(),
            Op::Resize => {
                let sizes: Vec<i64> = (0..2).map(|_| self.random.below(6) as i64).collect();
                let (shape, count) = (self.ints(&sizes), self.int(2));
                vec![arg(x), mode, ("shape", shape), ("resized_dims", count)]
            }
            Op::Resample => {
                let shape = [dims[0], 1 + self.random.below(4), 1 + self.random.below(4), 2];
                let places = self.input(DataType::Fp32, &shape, false);
                [at_places, vec![("coordinates", places.id.into())]].concat()
            }
            Op::Affine => {
                let matrix = self.input(dtype, &[1, 6], false);
                let matrix = vec![("transform_matrix", matrix.id.into())];
                [at_places, output.to_vec(), matrix].concat()
            }
            _ => {
                let boxes = self.input(DataType::Fp32, &[dims[0], 4], false);
                [vec![arg(x), ("boxes", boxes.id.into()), mode], target_box.to_vec()].concat()
            }
        };
        self.op(op, inputs, false, 2.0)
    }

    fn rearranged(&mut self, dtype: DataType) -> Made {
        let (h, w) = (2 * (1 + self.random.below(3)), 3 * (1 + self.random.below(2)));
        let x = self.input(dtype, &[6, 4, h, w + w % 2], false);
        let two = self.int(2);
        let shape = self.ints(&[2, 3]);
        let margins = Tensor::int32s(&[0, 0, 1, 0]).reshaped(&[2, 2]).ok()?;
        let margins: Arg = self.builder.constant("margins", margins).into();
        let op = self.one_of(&[
            Op::DepthToSpace,
            Op::SpaceToDepth,
            Op::PixelShuffle,
            Op::PixelUnshuffle,
            Op::SpaceToBatch,
            Op::BatchToSpace,
            Op::SlidingWindows,
            Op::Crop,
        ]);
        let rest = match op {
            Op::PixelShuffle => vec![("upscale_factor", two)],
            Op::PixelUnshuffle => vec![("downscale_factor", two)],
            Op::SpaceToBatch => {
                // A width that is a multiple of 3 with the element before it.
                let x = self.input(dtype, &[2, 2, h, w + 2], false);
                let rest = vec![("block_shape", shape), ("paddings", margins)];
                return self.op(op, [vec![arg(x)], rest].concat(), false, 2.0);
            }
            Op::BatchToSpace => vec![("block_shape", shape), ("crops", margins)],
            Op::SlidingWindows => {
                let axis = self.int(-2);
                vec![("axis", axis), ("size", two)]
            }
            Op::Crop => {
                let (rows, columns) = (self.ints(&[1, 0]), self.ints(&[0, 2]));
                vec![("crop_height", rows), ("crop_width", columns)]
            }
            _ => vec![("block_size", two)],
        };
        self.op(op, [vec![arg(x)], rest].concat(), false, 2.0)
    }
}
