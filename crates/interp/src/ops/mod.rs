//! The ops, one file a family.

mod activation;
mod boxes;
mod elementwise;
mod index;
mod math;
mod movement;
mod normalize;
mod pool;
mod product;
mod quantized;
mod random;
mod rearrange;
mod recurrent;
mod reduce;
mod resample;
mod stored;
mod tensors;

use crate::Array;
use crate::evaluate::Context;
use mil::{Op, OpError};

/// The results of an operation, not yet rounded.
pub(crate) fn compute(c: &Context) -> Result<Vec<Array>, OpError> {
    use Op::*;
    let one = |array| Ok(vec![array]);
    match c.operation.op {
        Const | ReadState | WriteState | Cond | WhileLoop | MakeList | ListWrite | ListRead
        | ListGather | ListScatter | ListLength | Classify => {
            Err(c.params.error("it is not computed from its operands alone"))
        }
        Identity => one(c.need("x")?),
        Cast => one(c.need("x")?.cast(c.params.dtype("dtype")?)),
        Add | Sub | Mul | RealDiv | FloorDiv | Mod | Maximum | Minimum | Pow => {
            one(elementwise::arithmetic(c)?)
        }
        Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual => {
            one(elementwise::comparison(c)?)
        }
        LogicalAnd | LogicalOr | LogicalNot => one(elementwise::logical(c)?),
        Select => one(elementwise::select(c)?),
        Abs | Sign | Square => one(elementwise::signed(c)?),
        Floor | Exp | Log | Sqrt | Rsqrt | Inverse | Sin | Cos | Erf | Sigmoid | Silu | Tanh
        | Relu | Gelu | Clip => one(elementwise::function(c)?),
        Softmax => one(reduce::softmax(c)?),
        ReduceSum | ReduceMean | ReduceMax | ReduceMin | ReduceLogSumExp => one(reduce::reduce(c)?),
        Cumsum => one(reduce::cumsum(c)?),
        LayerNorm => one(reduce::layer_norm(c)?),
        Linear => one(product::linear(c)?),
        Matmul => one(product::matmul(c)?),
        Conv => one(product::conv(c)?),
        ConvTranspose => one(product::conv_transpose(c)?),
        ScaledDotProductAttention => one(product::attention(c)?),
        Reshape | ExpandDims | Squeeze => one(movement::reshape(c)?),
        Transpose => one(movement::transpose(c)?),
        SliceByIndex | SliceBySize => one(movement::slice(c)?),
        SliceUpdate => one(movement::slice_update(c)?),
        Concat => one(movement::concat(c)?),
        Split => movement::split(c),
        Tile => one(movement::tile(c)?),
        Pad => one(movement::pad(c)?),
        Reverse => one(movement::reverse(c)?),
        LogicalXor => one(elementwise::logical(c)?),
        Acos | Asin | Atan | Atanh | Tan | Sinh | Cosh | Ceil | Round | Exp2 | Elu | LeakyRelu
        | Prelu | Relu6 | ClampedRelu | LinearActivation | ScaledTanh | SigmoidHard | Softplus
        | SoftplusParametric | Softsign | Threshold | ThresholdedRelu => {
            one(activation::function(c)?)
        }
        ReduceL1Norm | ReduceL2Norm | ReduceLogSum | ReduceProd | ReduceSumSquare => {
            one(reduce::reduce(c)?)
        }
        ReduceArgmax | ReduceArgmin => one(reduce::arg(c)?),
        BatchNorm => one(normalize::batch_norm(c)?),
        InstanceNorm => one(normalize::instance_norm(c)?),
        L2Norm => one(normalize::l2_norm(c)?),
        LocalResponseNorm => one(normalize::local_response_norm(c)?),
        MaxPool | AvgPool | L2Pool => one(pool::pool(c)?),
        UpsampleNearestNeighbor
        | UpsampleBilinear
        | ResizeNearestNeighbor
        | ResizeBilinear
        | Resize => one(resample::resize(c)?),
        Resample | Affine => one(resample::resample(c)?),
        CropResize => one(resample::crop_resize(c)?),
        Crop => one(rearrange::crop(c)?),
        DepthToSpace | SpaceToDepth | PixelShuffle | PixelUnshuffle | SpaceToBatch
        | BatchToSpace => one(rearrange::blocks(c)?),
        SlidingWindows => one(rearrange::sliding_windows(c)?),
        Gather => one(index::gather(c)?),
        GatherAlongAxis => one(index::gather_along_axis(c)?),
        Scatter => one(index::scatter(c)?),
        ScatterAlongAxis => one(index::scatter_along_axis(c)?),
        ConstexprAffineDequantize | Dequantize => one(quantized::dequantize(c)?),
        ConstexprBlockwiseShiftScale => one(quantized::blockwise(c)?),
        Quantize => one(quantized::quantize(c)?),

        ConstexprCast => one(stored::cast(c)?),
        ConstexprLutToDense => one(stored::lut_to_dense(c)?),
        ConstexprSparseToDense => one(stored::sparse_to_dense(c)?),
        ConstexprLutToSparse => stored::lut_to_sparse(c),
        ConstexprSparseBlockwiseShiftScale => stored::sparse_blockwise(c),
        GatherNd => one(index::gather_nd(c)?),
        ScatterNd => one(index::scatter_nd(c)?),
        OneHot => one(tensors::one_hot(c)?),
        Topk => tensors::topk(c),
        Argsort => one(tensors::argsort(c)?),
        NonZero => one(tensors::non_zero(c)?),
        NonMaximumSuppression => boxes::non_maximum_suppression(c),
        Range1d => one(tensors::range_1d(c)?),
        Fill | FillLike => one(tensors::fill(c)?),
        Shape => one(tensors::shape(c)?),
        Stack => one(tensors::stack(c)?),
        BandPart => one(tensors::band_part(c)?),
        ReshapeLike | Flatten2d => one(movement::reshape(c)?),
        ReverseSequence => one(tensors::reverse_sequence(c)?),
        Einsum => one(tensors::einsum(c)?),
        Lstm | Gru | Rnn => recurrent::recurrent(c),
        RandomUniform | RandomNormal | RandomBernoulli => one(random::distribution(c)?),
        RandomCategorical => one(random::categorical(c)?),
    }
}
