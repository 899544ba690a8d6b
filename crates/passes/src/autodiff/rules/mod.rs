//! The gradient rules: one row for every op that has one, formula first in its function's
//! documentation. Adding a rule is adding a row here, a function, and a row in the table of
//! `tests/gradients`.

mod activation;
mod conv;
mod elementwise;
mod images;
mod indexing;
mod norms;
mod pools;
mod products;
mod reduce;
mod views;

use super::step::{Done, Step};
use mil::Op;

/// How an operation's results depend on its operands.
pub(super) enum Rule {
    /// Contributes to the operands' cotangents, given those of the results.
    Adjoint(fn(&mut Step) -> Done),
    /// It is written out as ops that have rules before any rule runs.
    Unrolled,
    /// Not at all in the small, so that no cotangent flows; the text says why.
    Constant(&'static str),
}

/// What the table says of an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Differentiability {
    /// It has a rule.
    Rule,
    /// Its results do not change with small changes of its operands; the text says why.
    Constant(&'static str),
    /// A value that depends on a wanted input must not go through it.
    Missing,
}

/// What the table says of an op.
pub fn differentiability(op: Op) -> Differentiability {
    match rule(op) {
        Some(Rule::Adjoint(_) | Rule::Unrolled) => Differentiability::Rule,
        Some(Rule::Constant(why)) => Differentiability::Constant(why),
        None => Differentiability::Missing,
    }
}

/// The op's row.
pub(super) fn rule(op: Op) -> Option<&'static Rule> {
    RULES.iter().find(|row| row.0 == op).map(|row| &row.1)
}

use Rule::{Adjoint, Constant};

const STEPS: &str = "piecewise constant: the derivative is 0 wherever there is one";
const INDICES: &str = "indices do not change in the small";
const SHAPES: &str = "it depends on a shape and constants only";
const BOOLEAN: &str = "its result is a truth value";
const INDEX: &str = "its result is an index";

#[rustfmt::skip]
const RULES: &[(Op, Rule)] = &[
    (Op::Const, Constant("it has no operands")),
    (Op::Identity, Adjoint(elementwise::identity)),
    (Op::Cast, Adjoint(elementwise::cast)),

    (Op::Add, Adjoint(elementwise::add)),
    (Op::Sub, Adjoint(elementwise::sub)),
    (Op::Mul, Adjoint(elementwise::mul)),
    (Op::RealDiv, Adjoint(elementwise::real_div)),
    (Op::FloorDiv, Constant(STEPS)),
    (Op::Mod, Adjoint(elementwise::modulo)),
    (Op::Maximum, Adjoint(elementwise::maximum)),
    (Op::Minimum, Adjoint(elementwise::minimum)),
    (Op::Pow, Adjoint(elementwise::pow)),

    (Op::Equal, Constant(BOOLEAN)),
    (Op::NotEqual, Constant(BOOLEAN)),
    (Op::Less, Constant(BOOLEAN)),
    (Op::LessEqual, Constant(BOOLEAN)),
    (Op::Greater, Constant(BOOLEAN)),
    (Op::GreaterEqual, Constant(BOOLEAN)),
    (Op::LogicalAnd, Constant(BOOLEAN)),
    (Op::LogicalOr, Constant(BOOLEAN)),
    (Op::LogicalNot, Constant(BOOLEAN)),
    (Op::Select, Adjoint(elementwise::select_rule)),

    (Op::Abs, Adjoint(elementwise::abs)),
    (Op::Sign, Constant(STEPS)),
    (Op::Floor, Constant(STEPS)),
    (Op::Exp, Adjoint(elementwise::exp)),
    (Op::Log, Adjoint(elementwise::log)),
    (Op::Sqrt, Adjoint(elementwise::sqrt)),
    (Op::Rsqrt, Adjoint(elementwise::rsqrt)),
    (Op::Inverse, Adjoint(elementwise::inverse)),
    (Op::Square, Adjoint(elementwise::square)),
    (Op::Sin, Adjoint(elementwise::sin)),
    (Op::Cos, Adjoint(elementwise::cos)),
    (Op::Erf, Adjoint(elementwise::erf)),
    (Op::Sigmoid, Adjoint(elementwise::sigmoid)),
    (Op::Silu, Adjoint(elementwise::silu)),
    (Op::Tanh, Adjoint(elementwise::tanh)),
    (Op::Relu, Adjoint(elementwise::relu)),
    (Op::Gelu, Adjoint(elementwise::gelu)),
    (Op::Clip, Adjoint(elementwise::clip)),

    (Op::Softmax, Adjoint(reduce::softmax)),
    (Op::ReduceSum, Adjoint(reduce::sum)),
    (Op::ReduceMean, Adjoint(reduce::mean)),
    (Op::ReduceMax, Adjoint(reduce::extremum)),
    (Op::ReduceMin, Adjoint(reduce::extremum)),
    (Op::ReduceLogSumExp, Adjoint(reduce::log_sum_exp)),
    (Op::Cumsum, Adjoint(reduce::cumsum)),
    (Op::LayerNorm, Adjoint(reduce::layer_norm)),

    (Op::Linear, Adjoint(products::linear)),
    (Op::Matmul, Adjoint(products::matmul)),
    (Op::Conv, Adjoint(conv::conv)),
    (Op::ConvTranspose, Adjoint(conv::conv_transpose)),
    (Op::ScaledDotProductAttention, Adjoint(products::attention)),

    (Op::Reshape, Adjoint(views::reshape)),
    (Op::Transpose, Adjoint(views::transpose)),
    (Op::ExpandDims, Adjoint(views::reshape)),
    (Op::Squeeze, Adjoint(views::reshape)),
    (Op::SliceByIndex, Adjoint(views::slice)),
    (Op::SliceBySize, Adjoint(views::slice)),
    (Op::SliceUpdate, Adjoint(views::slice_update)),
    (Op::Concat, Adjoint(views::concat)),
    (Op::Split, Adjoint(views::split)),
    (Op::Tile, Adjoint(views::tile)),
    (Op::Pad, Adjoint(views::pad)),
    (Op::Reverse, Adjoint(views::reverse)),

    (Op::LogicalXor, Constant(BOOLEAN)),
    (Op::Acos, Adjoint(activation::acos)),
    (Op::Asin, Adjoint(activation::asin)),
    (Op::Atan, Adjoint(activation::atan)),
    (Op::Atanh, Adjoint(activation::atanh)),
    (Op::Tan, Adjoint(activation::tan)),
    (Op::Sinh, Adjoint(activation::sinh)),
    (Op::Cosh, Adjoint(activation::cosh)),
    (Op::Ceil, Constant(STEPS)),
    (Op::Round, Constant(STEPS)),
    (Op::Exp2, Adjoint(activation::exp2)),
    (Op::Elu, Adjoint(activation::elu)),
    (Op::LeakyRelu, Adjoint(activation::leaky_relu)),
    (Op::Prelu, Adjoint(activation::prelu)),
    (Op::Relu6, Adjoint(activation::relu6)),
    (Op::ClampedRelu, Adjoint(activation::clamped_relu)),
    (Op::LinearActivation, Adjoint(activation::linear_activation)),
    (Op::ScaledTanh, Adjoint(activation::scaled_tanh)),
    (Op::SigmoidHard, Adjoint(activation::sigmoid_hard)),
    (Op::Softplus, Adjoint(activation::softplus)),
    (Op::SoftplusParametric, Adjoint(activation::softplus_parametric)),
    (Op::Softsign, Adjoint(activation::softsign)),
    (Op::Threshold, Adjoint(activation::threshold)),
    (Op::ThresholdedRelu, Adjoint(activation::thresholded_relu)),

    (Op::ReduceL1Norm, Adjoint(reduce::l1_norm)),
    (Op::ReduceL2Norm, Adjoint(reduce::l2_norm)),
    (Op::ReduceLogSum, Adjoint(reduce::log_sum)),
    (Op::ReduceProd, Adjoint(reduce::product)),
    (Op::ReduceSumSquare, Adjoint(reduce::sum_square)),
    (Op::ReduceArgmax, Constant(INDEX)),
    (Op::ReduceArgmin, Constant(INDEX)),

    (Op::BatchNorm, Adjoint(norms::batch_norm)),
    (Op::InstanceNorm, Adjoint(norms::instance_norm)),
    (Op::L2Norm, Adjoint(norms::l2_norm)),
    (Op::LocalResponseNorm, Adjoint(norms::local_response_norm)),

    (Op::MaxPool, Adjoint(pools::max)),
    (Op::AvgPool, Adjoint(pools::avg)),
    (Op::L2Pool, Adjoint(pools::l2)),

    (Op::UpsampleNearestNeighbor, Adjoint(images::resize)),
    (Op::UpsampleBilinear, Adjoint(images::resize)),
    (Op::ResizeNearestNeighbor, Adjoint(images::resize)),
    (Op::ResizeBilinear, Adjoint(images::resize)),
    (Op::Resize, Adjoint(images::resize)),
    (Op::Crop, Adjoint(images::crop)),
    (Op::DepthToSpace, Adjoint(images::blocks_rule)),
    (Op::SpaceToDepth, Adjoint(images::blocks_rule)),
    (Op::PixelShuffle, Adjoint(images::blocks_rule)),
    (Op::PixelUnshuffle, Adjoint(images::blocks_rule)),
    (Op::SpaceToBatch, Adjoint(images::blocks_rule)),
    (Op::BatchToSpace, Adjoint(images::blocks_rule)),
    (Op::SlidingWindows, Adjoint(images::sliding_windows)),

    (Op::Gather, Adjoint(indexing::gather)),
    (Op::GatherAlongAxis, Adjoint(indexing::gather_along_axis)),
    (Op::Scatter, Adjoint(indexing::scatter)),
    (Op::ScatterAlongAxis, Adjoint(indexing::scatter_along_axis)),

    (Op::GatherNd, Adjoint(indexing::gather_nd)),
    (Op::ScatterNd, Adjoint(indexing::scatter_nd)),
    (Op::OneHot, Constant(INDICES)),
    (Op::Topk, Adjoint(indexing::topk)),
    (Op::Argsort, Constant(INDICES)),
    (Op::NonZero, Constant(INDICES)),
    (Op::Fill, Constant(SHAPES)),
    (Op::FillLike, Constant(SHAPES)),
    (Op::Shape, Constant(SHAPES)),
    (Op::Stack, Adjoint(views::stack)),
    (Op::BandPart, Adjoint(views::band_part)),
    (Op::ReshapeLike, Adjoint(views::reshape)),
    (Op::Flatten2d, Adjoint(views::reshape)),
    (Op::ReverseSequence, Adjoint(views::reverse_sequence)),
    (Op::Einsum, Adjoint(products::einsum)),
    (Op::Lstm, Rule::Unrolled),
    (Op::Gru, Rule::Unrolled),
    (Op::Rnn, Rule::Unrolled),
    (Op::RandomUniform, Constant(SHAPES)),
    (Op::RandomNormal, Constant(SHAPES)),
    (Op::RandomBernoulli, Constant(SHAPES)),
];
