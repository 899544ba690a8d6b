//! Shorthand for the ops that models and passes write often; each is one [`FunctionBuilder::op`].

use crate::{DataType, FunctionBuilder, Op, OpError, Tensor, ValueId};

type Built = Result<ValueId, OpError>;

impl FunctionBuilder {
    /// A scalar constant of a float type.
    pub fn float(&mut self, dtype: DataType, value: f64) -> ValueId {
        self.constant("c", Tensor::float(dtype, value))
    }

    /// An `int32` vector constant.
    pub fn ints(&mut self, values: &[i64]) -> ValueId {
        self.constant("shape", Tensor::int32s(values))
    }

    /// An `int32` scalar constant.
    pub fn int(&mut self, value: i64) -> ValueId {
        self.constant("i", Tensor::int32(value as i32))
    }

    /// A bool constant.
    pub fn bool(&mut self, value: bool) -> ValueId {
        self.constant("b", Tensor::bool(value))
    }

    /// A string constant.
    pub fn string(&mut self, value: &str) -> ValueId {
        self.constant("s", Tensor::string(value))
    }

    /// An op of the single parameter `x`.
    pub fn unary(&mut self, op: Op, x: ValueId) -> Built {
        self.op(op, op.name(), [("x", x.into())])
    }

    /// An op of the parameters `x` and `y`.
    pub fn binary(&mut self, op: Op, x: ValueId, y: ValueId) -> Built {
        self.op(op, op.name(), [("x", x.into()), ("y", y.into())])
    }

    /// x + y.
    pub fn add(&mut self, x: ValueId, y: ValueId) -> Built {
        self.binary(Op::Add, x, y)
    }

    /// x − y.
    pub fn sub(&mut self, x: ValueId, y: ValueId) -> Built {
        self.binary(Op::Sub, x, y)
    }

    /// x · y.
    pub fn mul(&mut self, x: ValueId, y: ValueId) -> Built {
        self.binary(Op::Mul, x, y)
    }

    /// x · constant, of x's type.
    pub fn scale(&mut self, x: ValueId, factor: f64) -> Built {
        let factor = self.float(self.dtype(x), factor);
        self.mul(x, factor)
    }

    /// x in another element type; x itself if it has it already.
    pub fn cast(&mut self, x: ValueId, dtype: DataType) -> Built {
        if self.dtype(x) == dtype {
            return Ok(x);
        }
        let name = self.string(dtype.name());
        self.op(Op::Cast, "cast", [("x", x.into()), ("dtype", name.into())])
    }

    /// x under another shape.
    pub fn reshape(&mut self, x: ValueId, dims: &[usize]) -> Built {
        let shape: Vec<i64> = dims.iter().map(|&d| d as i64).collect();
        let shape = self.ints(&shape);
        self.op(Op::Reshape, "reshape", [("x", x.into()), ("shape", shape.into())])
    }

    /// x with output axis i taken from input axis `perm[i]`.
    pub fn transpose(&mut self, x: ValueId, perm: &[usize]) -> Built {
        let perm: Vec<i64> = perm.iter().map(|&p| p as i64).collect();
        let perm = self.ints(&perm);
        self.op(Op::Transpose, "transpose", [("x", x.into()), ("perm", perm.into())])
    }

    /// Product of the last two axes, each operand transposed first if told so.
    pub fn matmul(&mut self, x: ValueId, y: ValueId, transpose: (bool, bool)) -> Built {
        let (tx, ty) = (self.bool(transpose.0), self.bool(transpose.1));
        self.op(
            Op::Matmul,
            "matmul",
            [
                ("x", x.into()),
                ("y", y.into()),
                ("transpose_x", tx.into()),
                ("transpose_y", ty.into()),
            ],
        )
    }

    /// x·weightᵀ, weight `[out, in]`.
    pub fn linear(&mut self, x: ValueId, weight: ValueId) -> Built {
        self.op(Op::Linear, "linear", [("x", x.into()), ("weight", weight.into())])
    }

    /// A reduction over `axes`.
    pub fn reduce(&mut self, op: Op, x: ValueId, axes: &[i64], keep_dims: bool) -> Built {
        let axes = self.ints(axes);
        let keep = self.bool(keep_dims);
        let inputs = [("x", x.into()), ("axes", axes.into()), ("keep_dims", keep.into())];
        self.op(op, op.name(), inputs)
    }

    /// softmax along `axis`.
    pub fn softmax(&mut self, x: ValueId, axis: i64) -> Built {
        let axis = self.int(axis);
        self.op(Op::Softmax, "softmax", [("x", x.into()), ("axis", axis.into())])
    }

    /// `values` joined along `axis`.
    pub fn concat(&mut self, values: &[ValueId], axis: i64) -> Built {
        let axis = self.int(axis);
        let interleave = self.bool(false);
        let inputs =
            [("values", values.into()), ("axis", axis.into()), ("interleave", interleave.into())];
        self.op(Op::Concat, "concat", inputs)
    }

    /// x cut along `axis` into parts of these sizes.
    pub fn split(
        &mut self,
        x: ValueId,
        sizes: &[usize],
        axis: i64,
    ) -> Result<Vec<ValueId>, OpError> {
        let sizes: Vec<i64> = sizes.iter().map(|&s| s as i64).collect();
        let sizes = self.ints(&sizes);
        let axis = self.int(axis);
        let inputs = [("x", x.into()), ("split_sizes", sizes.into()), ("axis", axis.into())];
        self.operation(Op::Split, "split", inputs)
    }

    /// Slices of x along `axis` at `indices`.
    pub fn gather(&mut self, x: ValueId, indices: ValueId, axis: i64) -> Built {
        let axis = self.int(axis);
        let inputs = [("x", x.into()), ("indices", indices.into()), ("axis", axis.into())];
        self.op(Op::Gather, "gather", inputs)
    }
}
