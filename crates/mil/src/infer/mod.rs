//! Result types: every op recomputes them from its arguments, and the builder, the verifier and
//! the evaluators all call the same function.

pub(crate) mod check;
mod control;
mod elementwise;
mod image;
mod index;
mod movement;
mod normalize;
mod product;
mod recurrent;
mod reduce;
mod stored;
mod tensors;

use check::tensor_within;

use crate::{Dim, Env, Op, OpError, Operation, Params, Shape, TensorType, Type};

/// The types of an operation's results. Dimensions that depend on arguments that are not known
/// here are unknown.
///
/// # Errors
/// If the arguments do not fit the op's row of the table or each other.
pub fn infer(operation: &Operation, env: &dyn Env) -> Result<Vec<Type>, OpError> {
    let p = Params::new(operation, env);
    check::arguments(&p)?;
    let types = results(operation, &p)?;
    for ty in &types {
        if let Some(ty) = tensor_within(ty)
            && !crate::shape::is_addressable(ty)
        {
            return Err(p.error(format!("a result of type {ty} is too large")));
        }
    }
    Ok(types)
}

fn results(operation: &Operation, p: &Params) -> Result<Vec<Type>, OpError> {
    use Op::*;
    let one = |ty: TensorType| Ok(vec![Type::Tensor(ty)]);
    let all = |types: Vec<TensorType>| Ok(types.into_iter().map(Type::Tensor).collect());
    match operation.op {
        Const => match operation.attributes.get("val") {
            Some(literal) => Ok(vec![literal.ty()]),
            None => Err(p.error("the attribute `val` is missing")),
        },
        Identity => match operation.inputs.get("x") {
            Some(arg) => match arg.operands() {
                [operand] => Ok(vec![p.operand_ty(operand)]),
                _ => Err(p.error("`x` must be one value")),
            },
            None => one(p.ty("x")?),
        },
        ReadState => match operation.inputs.get("input").map(|arg| arg.operands()) {
            Some([operand]) => match p.operand_ty(operand) {
                Type::State(inner) => Ok(vec![*inner]),
                other => Err(p.error(format!("`input` must be a state, found {other}"))),
            },
            _ => Err(p.error("`input` must be one state")),
        },
        WriteState => {
            let data = Type::Tensor(p.ty("data")?);
            match operation.inputs.get("input").map(|arg| arg.operands()) {
                Some([operand]) => match p.operand_ty(operand) {
                    Type::State(inner) if inner.compatible(&data) => Ok(vec![]),
                    other => Err(p.error(format!("`data` is {data}, the state is {other}"))),
                },
                _ => Err(p.error("`input` must be one state")),
            }
        }
        Add | Sub | Mul | RealDiv | FloorDiv | Mod | Maximum | Minimum | Pow | Equal | NotEqual
        | Less | LessEqual | Greater | GreaterEqual | LogicalAnd | LogicalOr => {
            one(elementwise::binary(p)?)
        }
        Select => one(elementwise::select(p)?),
        Cast => one(elementwise::cast(p)?),
        Clip => {
            p.float("alpha")?;
            p.float("beta")?;
            one(p.ty("x")?)
        }
        Gelu => one(elementwise::gelu(p)?),
        Log | Rsqrt | Inverse => {
            p.float("epsilon")?;
            one(p.ty("x")?)
        }
        LogicalNot | Abs | Sign | Floor | Exp | Sqrt | Square | Sin | Cos | Erf | Sigmoid
        | Silu | Tanh | Relu => one(p.ty("x")?),
        Quantize | Dequantize | ConstexprAffineDequantize => one(elementwise::quantized(p)?),
        ConstexprBlockwiseShiftScale => one(elementwise::blockwise(p)?),
        Softmax | Cumsum => one(reduce::along(p)?),
        ReduceSum | ReduceMean | ReduceMax | ReduceMin | ReduceLogSumExp => one(reduce::reduce(p)?),
        LayerNorm => one(reduce::layer_norm(p)?),
        Linear => one(product::linear(p)?),
        Matmul => one(product::matmul(p)?),
        Conv | ConvTranspose => one(product::conv(p)?),
        ScaledDotProductAttention => one(product::attention(p)?),
        Reshape => one(movement::reshape(p)?),
        Transpose => one(movement::transpose(p)?),
        ExpandDims => one(movement::expand_dims(p)?),
        Squeeze => one(movement::squeeze(p)?),
        SliceByIndex | SliceBySize => one(movement::slice(p)?),
        SliceUpdate => one(movement::slice_update(p)?),
        Concat => one(movement::concat(p)?),
        Split => Ok(movement::split(p)?.into_iter().map(Type::Tensor).collect()),
        Tile => one(movement::tile(p)?),
        Pad => one(movement::pad(p)?),
        Reverse => one(movement::reverse(p)?),
        LogicalXor => one(elementwise::binary(p)?),
        Acos | Asin | Atan | Atanh | Tan | Sinh | Cosh | Ceil | Round | Exp2 | Relu6 | Softplus
        | Softsign => one(p.ty("x")?),
        Elu | LeakyRelu | ClampedRelu | LinearActivation | ScaledTanh | SigmoidHard | Threshold
        | ThresholdedRelu => one(elementwise::shaped(p)?),
        Prelu | SoftplusParametric => one(normalize::per_channel(p, &["alpha", "beta"])?),
        ReduceL1Norm | ReduceL2Norm | ReduceLogSum | ReduceProd | ReduceSumSquare => {
            one(reduce::reduce(p)?)
        }
        ReduceArgmax | ReduceArgmin => one(reduce::arg(p)?),
        BatchNorm | InstanceNorm | L2Norm | LocalResponseNorm => one(normalize::norm(p)?),
        MaxPool | AvgPool | L2Pool => one(image::pool(p)?),
        UpsampleNearestNeighbor
        | UpsampleBilinear
        | ResizeNearestNeighbor
        | ResizeBilinear
        | Resize => one(image::resize(p)?),
        Resample => one(image::resample(p)?),
        Affine => one(image::affine(p)?),
        Crop => one(image::crop(p)?),
        CropResize => one(image::crop_resize(p)?),
        DepthToSpace | SpaceToDepth | PixelShuffle | PixelUnshuffle | SpaceToBatch
        | BatchToSpace => one(image::rearrange(p)?),
        SlidingWindows => one(image::sliding_windows(p)?),
        Gather => one(index::gather(p)?),
        GatherAlongAxis => one(index::gather_along_axis(p)?),
        Scatter => one(index::scatter(p)?),
        ScatterAlongAxis => one(index::scatter_along_axis(p)?),

        ConstexprCast => one(stored::cast(p)?),
        ConstexprLutToDense => one(stored::lut_to_dense(p)?),
        ConstexprSparseToDense => one(stored::sparse_to_dense(p)?),
        ConstexprLutToSparse => all(stored::lut_to_sparse(p)?.into()),
        ConstexprSparseBlockwiseShiftScale => all(stored::sparse_blockwise(p)?.into()),
        GatherNd => one(index::gather_nd(p)?),
        ScatterNd => one(index::scatter_nd(p)?),
        OneHot => one(tensors::one_hot(p)?),
        Topk => all(tensors::topk(p)?),
        Argsort => one(tensors::argsort(p)?),
        NonZero => one(tensors::non_zero(p)?),
        NonMaximumSuppression => all(tensors::non_maximum_suppression(p)?),
        Range1d => one(tensors::range_1d(p)?),
        Fill | FillLike => one(tensors::fill(p)?),
        Shape => one(tensors::shape(p)?),
        Stack => one(tensors::stack(p)?),
        BandPart => one(tensors::band_part(p)?),
        ReshapeLike => one(tensors::reshape_like(p)?),
        Flatten2d => one(tensors::flatten2d(p)?),
        ReverseSequence => one(tensors::reverse_sequence(p)?),
        Einsum => one(tensors::einsum(p)?),
        Lstm | Gru | Rnn => all(recurrent::recurrent(p)?),
        Cond => control::cond(p),
        WhileLoop => control::while_loop(p),
        MakeList => Ok(vec![control::make_list(p)?]),
        ListWrite => Ok(vec![control::list_write(p)?]),
        ListRead => one(control::list_read(p)?),
        ListGather => one(control::list_gather(p)?),
        ListScatter => Ok(vec![control::list_scatter(p)?]),
        ListLength => one(TensorType::scalar(crate::DataType::Int32)),
        RandomUniform => one(tensors::random(p, &["low", "high"])?),
        RandomNormal => one(tensors::random(p, &["mean", "stddev"])?),
        RandomBernoulli => one(tensors::random(p, &["prob"])?),
        RandomCategorical => one(tensors::random_categorical(p)?),
        Classify => control::classify(p),
    }
}

/// A tensor type of this element type and these dims.
fn tensor(dtype: crate::DataType, dims: Vec<Dim>) -> TensorType {
    TensorType { dtype, shape: Shape::Ranked(dims) }
}

/// A tensor type of this element type and unknown rank.
fn unranked(dtype: crate::DataType) -> TensorType {
    TensorType { dtype, shape: Shape::Unranked }
}

/// The shape to which two shapes broadcast, as far as it is known.
fn broadcast(p: &Params, a: &TensorType, b: &TensorType) -> Result<Shape, OpError> {
    let (Some(x), Some(y)) = (a.dims(), b.dims()) else { return Ok(Shape::Unranked) };
    let rank = x.len().max(y.len());
    let at = |dims: &[Dim], axis: usize| {
        (axis + dims.len()).checked_sub(rank).map_or(Dim::Fixed(1), |i| dims[i])
    };
    let mut dims = vec![];
    for axis in 0..rank {
        dims.push(match (at(x, axis), at(y, axis)) {
            (u, v) if u == v => u,
            (Dim::Fixed(1), v) => v,
            (u, Dim::Fixed(1)) => u,
            // Whatever the unknown one is, the result is the other, which is not 1.
            (Dim::Unknown, v) => v,
            (u, Dim::Unknown) => u,
            _ => return Err(p.error(format!("shapes {a} and {b} do not broadcast"))),
        });
    }
    Ok(Shape::Ranked(dims))
}
