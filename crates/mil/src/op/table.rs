//! The rows.

use super::params::*;
use super::{DefaultValue as D, OpSpec, ParamSpec, ParamType};
use crate::{DataType::*, Opset::*};

macro_rules! ops {
    ($($(#[$doc:meta])* $op:ident $name:literal $since:ident [$($param:expr),* $(,)?];)*) => {
        /// What an operation does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Op { $($(#[$doc])* $op,)* }

        /// Every op, in the order of [`Op`].
        pub const OPS: &[OpSpec] = &[
            $(OpSpec { op: Op::$op, name: $name, since: $since, params: &[$($param),*] },)*
        ];
    };
}

ops! {
    /// A constant; the attribute `val` holds it.
    Const "const" Ios15 [];
    /// x, unchanged.
    Identity "identity" Ios15 [ParamSpec { ty: ParamType::Any, ..need("x", ' ', ANY) }];
    /// x converted to `dtype`; float to integer truncates, to bool is `x != 0`.
    Cast "cast" Ios15 [need("x", 'T', ANY), fixed("dtype", 'S', STRING)];

    /// x + y, broadcast.
    Add "add" Ios15 [need("x", 'T', NUMBER), need("y", 'T', NUMBER)];
    /// x − y, broadcast.
    Sub "sub" Ios15 [need("x", 'T', NUMBER), need("y", 'T', NUMBER)];
    /// x · y, broadcast.
    Mul "mul" Ios15 [need("x", 'T', NUMBER), need("y", 'T', NUMBER)];
    /// x / y, broadcast.
    RealDiv "real_div" Ios15 [need("x", 'T', NUMBER), need("y", 'T', NUMBER)];
    /// ⌊x / y⌋, broadcast.
    FloorDiv "floor_div" Ios15 [need("x", 'T', NUMBER), need("y", 'T', NUMBER)];
    /// x − y·⌊x / y⌋, broadcast.
    Mod "mod" Ios15 [need("x", 'T', NUMBER), need("y", 'T', NUMBER)];
    /// max(x, y), broadcast.
    Maximum "maximum" Ios15 [need("x", 'T', NUMBER), need("y", 'T', NUMBER)];
    /// min(x, y), broadcast.
    Minimum "minimum" Ios15 [need("x", 'T', NUMBER), need("y", 'T', NUMBER)];
    /// x to the power y, broadcast.
    Pow "pow" Ios15 [need("x", 'T', NUMBER), need("y", 'T', NUMBER)];

    /// x = y.
    Equal "equal" Ios15 [need("x", 'T', ANY), need("y", 'T', ANY)];
    /// x ≠ y.
    NotEqual "not_equal" Ios15 [need("x", 'T', ANY), need("y", 'T', ANY)];
    /// x < y.
    Less "less" Ios15 [need("x", 'T', NUMBER), need("y", 'T', NUMBER)];
    /// x ≤ y.
    LessEqual "less_equal" Ios15 [need("x", 'T', NUMBER), need("y", 'T', NUMBER)];
    /// x > y.
    Greater "greater" Ios15 [need("x", 'T', NUMBER), need("y", 'T', NUMBER)];
    /// x ≥ y.
    GreaterEqual "greater_equal" Ios15 [need("x", 'T', NUMBER), need("y", 'T', NUMBER)];
    /// x ∧ y.
    LogicalAnd "logical_and" Ios15 [need("x", 'T', BOOL), need("y", 'T', BOOL)];
    /// x ∨ y.
    LogicalOr "logical_or" Ios15 [need("x", 'T', BOOL), need("y", 'T', BOOL)];
    /// ¬x.
    LogicalNot "logical_not" Ios15 [need("x", 'T', BOOL)];
    /// a where cond, else b; broadcast.
    Select "select" Ios15 [need("cond", 'C', BOOL), need("a", 'T', ANY), need("b", 'T', ANY)];

    /// |x|.
    Abs "abs" Ios15 [need("x", 'T', NUMBER)];
    /// −1, 0 or 1.
    Sign "sign" Ios15 [need("x", 'T', NUMBER)];
    /// ⌊x⌋.
    Floor "floor" Ios15 [need("x", 'T', FLOAT)];
    /// eˣ.
    Exp "exp" Ios15 [need("x", 'T', FLOAT)];
    /// ln(x + ε).
    Log "log" Ios15 [need("x", 'T', FLOAT), option("epsilon", 'U', FLOAT, D::Float(1e-45))];
    /// √x.
    Sqrt "sqrt" Ios15 [need("x", 'T', FLOAT)];
    /// 1/√(x + ε).
    Rsqrt "rsqrt" Ios15 [need("x", 'T', FLOAT), option("epsilon", 'U', FLOAT, D::Float(1e-12))];
    /// 1/(x + ε).
    Inverse "inverse" Ios15 [need("x", 'T', FLOAT), option("epsilon", 'U', FLOAT, D::Float(1e-4))];
    /// x².
    Square "square" Ios15 [need("x", 'T', NUMBER)];
    /// sin x.
    Sin "sin" Ios15 [need("x", 'T', FLOAT)];
    /// cos x.
    Cos "cos" Ios15 [need("x", 'T', FLOAT)];
    /// The error function.
    Erf "erf" Ios15 [need("x", 'T', FLOAT)];
    /// 1/(1 + e⁻ˣ).
    Sigmoid "sigmoid" Ios15 [need("x", 'T', FLOAT)];
    /// x·sigmoid(x).
    Silu "silu" Ios15 [need("x", 'T', FLOAT)];
    /// tanh x.
    Tanh "tanh" Ios15 [need("x", 'T', FLOAT)];
    /// max(x, 0).
    Relu "relu" Ios15 [need("x", 'T', FLOAT)];
    /// x·Φ(x), or one of its approximations: `EXACT`, `TANH_APPROXIMATION`,
    /// `SIGMOID_APPROXIMATION`.
    Gelu "gelu" Ios15 [need("x", 'T', FLOAT), option("mode", 'S', STRING, D::Str("EXACT"))];
    /// min(max(x, alpha), beta).
    Clip "clip" Ios15 [need("x", 'T', FLOAT), fixed("alpha", 'T', FLOAT), fixed("beta", 'T', FLOAT)];

    /// eˣ / Σeˣ along `axis`.
    Softmax "softmax" Ios15 [need("x", 'T', FLOAT), option("axis", 'I', INDEX, D::Int(-1))];
    /// Σx over `axes` (all when absent).
    ReduceSum "reduce_sum" Ios15 [need("x", 'T', NUMBER), option("axes", 'I', INDEX, D::None), option("keep_dims", 'B', BOOL, D::Bool(false))];
    /// Mean of x over `axes`.
    ReduceMean "reduce_mean" Ios15 [need("x", 'T', NUMBER), option("axes", 'I', INDEX, D::None), option("keep_dims", 'B', BOOL, D::Bool(false))];
    /// Largest x over `axes`.
    ReduceMax "reduce_max" Ios15 [need("x", 'T', NUMBER), option("axes", 'I', INDEX, D::None), option("keep_dims", 'B', BOOL, D::Bool(false))];
    /// Smallest x over `axes`.
    ReduceMin "reduce_min" Ios15 [need("x", 'T', NUMBER), option("axes", 'I', INDEX, D::None), option("keep_dims", 'B', BOOL, D::Bool(false))];
    /// ln Σeˣ over `axes`.
    ReduceLogSumExp "reduce_log_sum_exp" Ios15 [need("x", 'T', NUMBER), option("axes", 'I', INDEX, D::None), option("keep_dims", 'B', BOOL, D::Bool(false))];
    /// Running sum along `axis`.
    Cumsum "cumsum" Ios15 [need("x", 'T', NUMBER), option("axis", 'I', INDEX, D::Int(0)), option("exclusive", 'B', BOOL, D::Bool(false)), option("reverse", 'B', BOOL, D::Bool(false))];
    /// (x − mean)/√(variance + ε) over `axes`, times gamma, plus beta (shapes `x.shape[axes]`).
    LayerNorm "layer_norm" Ios15 [need("x", 'T', FLOAT), option("axes", 'I', INDEX, D::None), may("gamma", 'U', FLOAT), may("beta", 'U', FLOAT), option("epsilon", 'V', FLOAT, D::Float(1e-5))];

    /// x·weightᵀ + bias; weight is `[out, in]`.
    Linear "linear" Ios15 [need("x", 'T', NUMBER), need("weight", 'U', NUMBER), may("bias", 'U', NUMBER)];
    /// Product of the last two axes, the others broadcast.
    Matmul "matmul" Ios15 [need("x", 'T', NUMBER), need("y", 'U', NUMBER), option("transpose_x", 'B', BOOL, D::Bool(false)), option("transpose_y", 'B', BOOL, D::Bool(false))];
    /// Convolution; x `[N, Cin, …]`, weight `[Cout, Cin/groups, …]`.
    Conv "conv" Ios15 [need("x", 'T', FLOAT), need("weight", 'U', FLOAT), may("bias", 'U', FLOAT), option("strides", 'I', INDEX, D::None), option("pad_type", 'S', STRING, D::Str("valid")), option("pad", 'I', INDEX, D::None), option("dilations", 'I', INDEX, D::None), option("groups", 'I', INDEX, D::Int(1))];
    /// Transposed convolution; x `[N, Cin, …]`, weight `[Cin, Cout/groups, …]`.
    ConvTranspose "conv_transpose" Ios15 [need("x", 'T', FLOAT), need("weight", 'U', FLOAT), may("bias", 'U', FLOAT), option("pad", 'I', INDEX, D::None), option("output_shape", 'I', INDEX, D::None), option("pad_type", 'S', STRING, D::Str("valid")), option("strides", 'I', INDEX, D::None), option("dilations", 'I', INDEX, D::None), option("groups", 'I', INDEX, D::Int(1))];
    /// softmax(query·keyᵀ/√E + mask)·value; a bool mask keeps where true.
    ScaledDotProductAttention "scaled_dot_product_attention" Ios18 [need("query", 'T', FLOAT), need("key", 'T', FLOAT), need("value", 'T', FLOAT), may("attn_mask", 'M', MASK)];

    /// x under another shape; −1 infers, 0 copies the dimension.
    Reshape "reshape" Ios15 [need("x", 'T', ANY), need("shape", 'I', INDEX)];
    /// Axes permuted: output axis i is input axis `perm[i]`.
    Transpose "transpose" Ios15 [need("x", 'T', ANY), fixed("perm", 'I', INDEX)];
    /// Axes of size 1 inserted at `axes` of the output.
    ExpandDims "expand_dims" Ios15 [need("x", 'T', ANY), fixed("axes", 'I', INDEX)];
    /// Axes of size 1 dropped; all of them when `axes` is absent.
    Squeeze "squeeze" Ios15 [need("x", 'T', ANY), option("axes", 'I', INDEX, D::None)];
    /// Slice with begin, end and stride per axis; masks ignore entries or drop axes.
    SliceByIndex "slice_by_index" Ios15 [need("x", 'T', ANY), need("begin", 'I', INDEX), need("end", 'I', INDEX), may("stride", 'I', INDEX), option("begin_mask", 'B', BOOL, D::None), option("end_mask", 'B', BOOL, D::None), option("squeeze_mask", 'B', BOOL, D::None)];
    /// Slice with begin and size per axis; size −1 goes to the end.
    SliceBySize "slice_by_size" Ios15 [need("x", 'T', ANY), need("begin", 'I', INDEX), need("size", 'I', INDEX)];
    /// x with the slice that `slice_by_index` would read replaced by `update`.
    SliceUpdate "slice_update" Ios18 [need("x", 'T', ANY), need("update", 'T', ANY), need("begin", 'I', INDEX), need("end", 'I', INDEX), may("stride", 'I', INDEX), option("begin_mask", 'B', BOOL, D::None), option("end_mask", 'B', BOOL, D::None), option("squeeze_mask", 'B', BOOL, D::None)];
    /// `values` joined along `axis`.
    Concat "concat" Ios15 [tuple("values"), fixed("axis", 'I', INDEX), option("interleave", 'B', BOOL, D::Bool(false))];
    /// x cut along `axis` into `num_splits` equal parts or parts of `split_sizes`.
    Split "split" Ios15 [need("x", 'T', ANY), option("num_splits", 'I', INDEX, D::None), option("split_sizes", 'I', INDEX, D::None), fixed("axis", 'I', INDEX)];
    /// x repeated `reps[i]` times along axis i.
    Tile "tile" Ios15 [need("x", 'T', ANY), need("reps", 'I', INDEX)];
    /// x extended at both ends of the last `len(pad)/2` axes; modes constant, reflect, replicate.
    Pad "pad" Ios15 [need("x", 'T', ANY), need("pad", 'I', INDEX), option("mode", 'S', STRING, D::Str("constant")), option("constant_val", 'T', ANY, D::Float(0.0))];
    /// x with `axes` in opposite order; all of them when absent.
    Reverse "reverse" Ios15 [need("x", 'T', ANY), option("axes", 'I', INDEX, D::None)];

    /// Slices of x along `axis` at `indices`.
    Gather "gather" Ios15 [need("x", 'T', ANY), need("indices", 'J', INDEX), option("axis", 'I', INDEX, D::Int(0)), option("batch_dims", 'I', INDEX, D::Int(0)), option("validate_indices", 'B', BOOL, D::Bool(false))];
    /// Elements of x along `axis` at `indices`, which has x's shape but for that axis.
    GatherAlongAxis "gather_along_axis" Ios15 [need("x", 'T', ANY), need("indices", 'J', INDEX), option("axis", 'I', INDEX, D::Int(0)), option("validate_indices", 'B', BOOL, D::Bool(false))];
    /// data with `updates` combined into the slices along `axis` at `indices`.
    Scatter "scatter" Ios15 [need("data", 'T', NUMBER), need("indices", 'J', INDEX), need("updates", 'T', NUMBER), option("axis", 'I', INDEX, D::Int(0)), option("mode", 'S', STRING, D::Str("add")), option("validate_indices", 'B', BOOL, D::Bool(false))];
    /// data with `updates` combined into the elements along `axis` at `indices`.
    ScatterAlongAxis "scatter_along_axis" Ios15 [need("data", 'T', NUMBER), need("indices", 'J', INDEX), need("updates", 'T', NUMBER), option("axis", 'I', INDEX, D::Int(0)), option("mode", 'S', STRING, D::Str("add")), option("validate_indices", 'B', BOOL, D::Bool(false))];

    // Elementwise mathematics and activations.

    /// x ⊻ y, broadcast.
    LogicalXor "logical_xor" Ios15 [need("x", 'T', BOOL), need("y", 'T', BOOL)];
    /// arccos x.
    Acos "acos" Ios15 [X];
    /// arcsin x.
    Asin "asin" Ios15 [X];
    /// arctan x.
    Atan "atan" Ios15 [X];
    /// artanh x.
    Atanh "atanh" Ios15 [X];
    /// tan x.
    Tan "tan" Ios15 [X];
    /// sinh x.
    Sinh "sinh" Ios15 [X];
    /// cosh x.
    Cosh "cosh" Ios15 [X];
    /// ⌈x⌉.
    Ceil "ceil" Ios15 [X];
    /// The nearest integer, the even one of two that are equally near.
    Round "round" Ios15 [X];
    /// 2ˣ.
    Exp2 "exp2" Ios15 [need("x", 'T', NUMBER)];
    /// x where x ≥ 0, else alpha·(eˣ − 1).
    Elu "elu" Ios15 [X, ALPHA];
    /// x where x ≥ 0, else alpha·x.
    LeakyRelu "leaky_relu" Ios15 [X, ALPHA];
    /// x where x ≥ 0, else alpha·x, with an alpha for each channel (axis 1).
    Prelu "prelu" Ios15 [X, need("alpha", 'U', FLOAT)];
    /// min(max(x, 0), 6).
    Relu6 "relu6" Ios15 [X];
    /// min(x, beta) where x ≥ 0, else min(alpha·x, beta).
    ClampedRelu "clamped_relu" Ios15 [X, ALPHA, BETA];
    /// alpha·x + beta.
    LinearActivation "linear_activation" Ios15 [X, ALPHA, BETA];
    /// alpha·tanh(beta·x).
    ScaledTanh "scaled_tanh" Ios15 [X, ALPHA, BETA];
    /// min(max(alpha·x + beta, 0), 1).
    SigmoidHard "sigmoid_hard" Ios15 [X, ALPHA, BETA];
    /// ln(1 + eˣ).
    Softplus "softplus" Ios15 [X];
    /// alpha·ln(1 + e^(beta·x)), with an alpha and a beta for each channel (axis 1).
    SoftplusParametric "softplus_parametric" Ios15 [X, need("alpha", 'U', FLOAT), need("beta", 'U', FLOAT)];
    /// x/(1 + |x|).
    Softsign "softsign" Ios15 [X];
    /// max(x, alpha).
    Threshold "threshold" Ios15 [need("x", 'T', NUMBER), fixed("alpha", 'T', NUMBER)];
    /// x where x ≥ alpha, else 0.
    ThresholdedRelu "thresholded_relu" Ios15 [X, ALPHA];

    // Further reductions.

    /// Σ|x| over `axes`.
    ReduceL1Norm "reduce_l1_norm" Ios15 [need("x", 'T', NUMBER), AXES, KEEP_DIMS];
    /// √Σx² over `axes`.
    ReduceL2Norm "reduce_l2_norm" Ios15 [need("x", 'T', NUMBER), AXES, KEEP_DIMS];
    /// ln Σx over `axes`.
    ReduceLogSum "reduce_log_sum" Ios15 [need("x", 'T', NUMBER), AXES, KEEP_DIMS];
    /// Πx over `axes`.
    ReduceProd "reduce_prod" Ios15 [need("x", 'T', NUMBER), AXES, KEEP_DIMS];
    /// Σx² over `axes`.
    ReduceSumSquare "reduce_sum_square" Ios15 [need("x", 'T', NUMBER), AXES, KEEP_DIMS];
    /// Index along `axis` of the largest x, the first of equals.
    ReduceArgmax "reduce_argmax" Ios15 [need("x", 'T', NUMBER), LAST_AXIS, KEEP_DIMS, option("output_dtype", 'S', STRING, D::Str("int32"))];
    /// Index along `axis` of the smallest x, the first of equals.
    ReduceArgmin "reduce_argmin" Ios15 [need("x", 'T', NUMBER), LAST_AXIS, KEEP_DIMS, option("output_dtype", 'S', STRING, D::Str("int32"))];

    // Norms.

    /// (x − mean)/√(variance + ε)·gamma + beta, each given for every channel (axis 1).
    BatchNorm "batch_norm" Ios15 [X, need("mean", 'U', FLOAT), need("variance", 'U', FLOAT), may("gamma", 'U', FLOAT), may("beta", 'U', FLOAT), option("epsilon", 'V', FLOAT, D::Float(1e-5))];
    /// (x − mean)/√(variance + ε)·gamma + beta, with the mean and variance of each channel of each
    /// image; gamma and beta are given for every channel (axis 1).
    InstanceNorm "instance_norm" Ios15 [X, may("gamma", 'U', FLOAT), may("beta", 'U', FLOAT), option("epsilon", 'V', FLOAT, D::Float(1e-5))];
    /// x/√(Σx² + ε), summed over the last three axes.
    L2Norm "l2_norm" Ios15 [X, option("epsilon", 'V', FLOAT, D::Float(1e-6))];
    /// x/(k + alpha/size·Σx²)^beta, summed over `size` channels (axis 1) around each.
    LocalResponseNorm "local_response_norm" Ios15 [X, fixed("size", 'I', INDEX), option("alpha", 'U', FLOAT, D::Float(1e-4)), option("beta", 'U', FLOAT, D::Float(0.75)), option("k", 'U', FLOAT, D::Float(1.0))];

    // Pools.

    /// Largest x of each window; x is `[N, C, …]`.
    MaxPool "max_pool" Ios15 [X, KERNEL, STRIDES, PAD_TYPE, PAD, CEIL];
    /// Mean of each window, with or without the padding.
    AvgPool "avg_pool" Ios15 [X, KERNEL, STRIDES, PAD_TYPE, PAD, option("exclude_padding_from_average", 'B', BOOL, D::Bool(false)), CEIL];
    /// √Σx² of each window.
    L2Pool "l2_pool" Ios15 [X, KERNEL, STRIDES, PAD_TYPE, PAD, CEIL];

    // Resampling of images, whose last two axes are height and width.

    /// The nearest element of an image that is larger by two factors.
    UpsampleNearestNeighbor "upsample_nearest_neighbor" Ios15 [X, option("scale_factor_height", 'U', FACTOR, D::Int(1)), option("scale_factor_width", 'U', FACTOR, D::Int(1))];
    /// The same, interpolated between elements.
    UpsampleBilinear "upsample_bilinear" Ios15 [X, option("scale_factor_height", 'U', FACTOR, D::Int(1)), option("scale_factor_width", 'U', FACTOR, D::Int(1)), option("align_corners", 'B', BOOL, D::Bool(true)), option("half_pixel_centers", 'B', BOOL, D::None)];
    /// The nearest element of an image of another size.
    ResizeNearestNeighbor "resize_nearest_neighbor" Ios15 [X, fixed("target_size_height", 'I', INDEX), fixed("target_size_width", 'I', INDEX)];
    /// The same, interpolated between elements.
    ResizeBilinear "resize_bilinear" Ios15 [X, option("target_size_height", 'I', INDEX, D::Int(1)), option("target_size_width", 'I', INDEX, D::Int(1)), SAMPLING];
    /// x with its last `resized_dims` axes of the sizes that end `shape`; 0 keeps a size.
    Resize "resize" Ios17 [need("x", 'T', NUMBER), need("shape", 'I', INDEX), fixed("resized_dims", 'I', INDEX), option("interpolation_mode", 'S', STRING, D::Str("LINEAR")), SAMPLING];
    /// x `[B, C, H, W]` at the places `coordinates` `[B, H2, W2, 2]`, each a column and a row.
    Resample "resample" Ios15 [X, need("coordinates", 'P', PLACE), fixed("sampling_mode", 'S', STRING), fixed("padding_mode", 'S', STRING), fixed("padding_value", 'V', FLOAT), fixed("coordinates_mode", 'S', STRING), fixed("align_corners", 'B', BOOL)];
    /// x `[B, C, H, W]` at places that `transform_matrix` `[B or 1, 6]` makes of each place.
    Affine "affine" Ios15 [X, need("transform_matrix", 'M', FLOAT), fixed("output_height", 'I', INDEX), fixed("output_width", 'I', INDEX), fixed("sampling_mode", 'S', STRING), fixed("padding_mode", 'S', STRING), fixed("padding_value", 'V', FLOAT), fixed("coordinates_mode", 'S', STRING), fixed("align_corners", 'B', BOOL)];
    /// x without so many rows above and below and columns at either side.
    Crop "crop" Ios15 [need("x", 'T', ANY), fixed("crop_height", 'I', INDEX), fixed("crop_width", 'I', INDEX)];
    /// Boxes of x `[B, C, H, W]`, interpolated to one size: `roi` `[N, 1, 4 or 5, 1, 1]`, or since
    /// iOS 17 `boxes` `[N, 4]` and the image that each is of.
    CropResize "crop_resize" Ios15 [X, may("roi", 'P', PLACE), may("boxes", 'P', PLACE), may("box_indices", 'J', INDEX), option("target_height", 'I', INDEX, D::Int(1)), option("target_width", 'I', INDEX, D::Int(1)), option("normalized_coordinates", 'B', BOOL, D::Bool(false)), option("spatial_scale", 'V', FLOAT, D::Float(1.0)), option("box_coordinate_mode", 'S', STRING, D::Str("CORNERS_HEIGHT_FIRST")), SAMPLING, option("pad_value", 'W', FLOAT, D::Float(0.0))];

    // Rearrangement of channels, batch and space; x is `[N, C, H, W]`.

    /// Channels to blocks of pixels, the block's axes before the channels.
    DepthToSpace "depth_to_space" Ios15 [need("x", 'T', ANY), fixed("block_size", 'I', INDEX)];
    /// Blocks of pixels to channels, the opposite of `depth_to_space`.
    SpaceToDepth "space_to_depth" Ios15 [need("x", 'T', ANY), fixed("block_size", 'I', INDEX)];
    /// Channels to blocks of pixels, the block's axes behind the channels.
    PixelShuffle "pixel_shuffle" Ios15 [need("x", 'T', ANY), fixed("upscale_factor", 'I', INDEX)];
    /// Blocks of pixels to channels, the opposite of `pixel_shuffle`.
    PixelUnshuffle "pixel_unshuffle" Ios16 [need("x", 'T', ANY), fixed("downscale_factor", 'I', INDEX)];
    /// Blocks of pixels, after padding with zeros, to the batch.
    SpaceToBatch "space_to_batch" Ios15 [need("x", 'T', ANY), fixed("block_shape", 'I', INDEX), fixed("paddings", 'I', INDEX)];
    /// The batch to blocks of pixels, cut at the sides: the opposite of `space_to_batch`.
    BatchToSpace "batch_to_space" Ios15 [need("x", 'T', ANY), fixed("block_shape", 'I', INDEX), fixed("crops", 'I', INDEX)];
    /// Every window of `size` elements along `axis`, as an axis behind it.
    SlidingWindows "sliding_windows" Ios15 [need("x", 'T', ANY), fixed("axis", 'I', INDEX), fixed("size", 'I', INDEX), option("stride", 'I', INDEX, D::Int(1))];

    /// scale·(quantized_data − zero_point): a weight stored in 8 bits.
    ConstexprAffineDequantize "constexpr_affine_dequantize" Ios16 [fixed("quantized_data", 'Q', BYTE), fixed("zero_point", 'Z', &[Int8, Uint8, Fp32]), fixed("scale", 'T', FLOAT), fixed("axis", 'I', INDEX)];
    /// scale·(data − offset), with one scale and offset for each of equal blocks: `scale` has data's
    /// rank, and along every axis divides it into as many blocks as it has elements.
    ConstexprBlockwiseShiftScale "constexpr_blockwise_shift_scale" Ios18 [fixed("data", 'Q', STORED), fixed("scale", 'T', FLOAT), option("offset", 'Z', STORED, D::None)];
    /// clip(round(input/scale) + zero_point) to 8 bits.
    Quantize "quantize" Ios17 [need("input", 'T', FLOAT), option("zero_point", 'Q', BYTE, D::None), fixed("scale", 'T', FLOAT), option("axis", 'I', INDEX, D::None), fixed("output_dtype", 'S', STRING)];
    /// (input − zero_point)·scale.
    Dequantize "dequantize" Ios17 [need("input", 'Q', BYTE), option("zero_point", 'Q', BYTE, D::None), fixed("scale", 'T', FLOAT), option("axis", 'I', INDEX, D::None)];

    /// The state's present value.
    ReadState "read_state" Ios18 [state("input")];
    /// Replaces the state's value; defines nothing.
    WriteState "write_state" Ios18 [state("input"), need("data", 'T', ANY)];

    /// x converted from one float type to another: `output_dtype`.
    ConstexprCast "constexpr_cast" Ios16 [fixed("source_val", 'T', FLOAT), fixed("output_dtype", 'S', STRING)];
    /// Entries of the table `lut` at `indices`. With `shape`, the indices are packed in bytes, lowest
    /// bits first, and the table is a vector; without, they have the result's shape, but for
    /// `vector_axis`, and the table's leading axes say which of several tables an element uses.
    ConstexprLutToDense "constexpr_lut_to_dense" Ios16 [fixed("indices", 'J', PALETTE), fixed("lut", 'T', ANY), option("shape", 'I', INDEX, D::None), option("vector_axis", 'I', INDEX, D::None)];
    /// `nonzero_data` where `mask` has a bit, in row-major order, and zeros elsewhere. With `shape`,
    /// the mask is packed in bytes, lowest bits first; without, it has the result's shape.
    ConstexprSparseToDense "constexpr_sparse_to_dense" Ios16 [fixed("nonzero_data", 'T', ANY), fixed("mask", 'M', &[Uint1, Uint8]), option("shape", 'I', INDEX, D::None)];
    /// `constexpr_lut_to_dense` of the elements that a mask keeps: the mask, and the entries.
    ConstexprLutToSparse "constexpr_lut_to_sparse" Ios18 [fixed("indices_mask", 'M', &[Uint1]), fixed("indices_nonzero_data", 'J', PALETTE), fixed("lut", 'T', ANY), option("vector_axis", 'I', INDEX, D::None)];
    /// `constexpr_blockwise_shift_scale` of the elements that a mask keeps: the mask, and the
    /// scaled elements.
    ConstexprSparseBlockwiseShiftScale "constexpr_sparse_blockwise_shift_scale" Ios18 [fixed("data_mask", 'M', &[Uint1]), fixed("nonzero_data", 'Q', STORED), fixed("scale", 'T', FLOAT), option("offset", 'Z', STORED, D::None)];

    /// Slices of x at the indices that the last axis of `indices` spells, after `batch_dims` axes
    /// that both share.
    GatherNd "gather_nd" Ios15 [need("x", 'T', ANY), need("indices", 'J', INDEX), option("batch_dims", 'I', INDEX, D::Int(0)), option("validate_indices", 'B', BOOL, D::Bool(false))];
    /// data with `updates` combined into the slices at the indices that the last axis of `indices`
    /// spells.
    ScatterNd "scatter_nd" Ios15 [need("data", 'T', NUMBER), need("indices", 'J', INDEX), need("updates", 'T', NUMBER), option("mode", 'S', STRING, D::Str("add")), option("validate_indices", 'B', BOOL, D::Bool(false))];
    /// `on_value` at each index along a new `axis` of `one_hot_vector_size` elements, else
    /// `off_value`.
    OneHot "one_hot" Ios15 [need("indices", 'J', INDEX), need("one_hot_vector_size", 'N', INDEX), option("axis", 'I', INDEX, D::Int(-1)), option("on_value", 'T', ANY, D::Int(1)), option("off_value", 'T', ANY, D::Int(0))];
    /// The k largest (or smallest) elements along `axis` in order, and where they were; the first
    /// of equal ones first. k = −1 takes all.
    Topk "topk" Ios15 [need("x", 'T', ORDERED), option("k", 'I', INDEX, D::Int(1)), option("axis", 'I', INDEX, D::Int(-1)), option("ascending", 'B', BOOL, D::Bool(false)), option("sort", 'B', BOOL, D::Bool(true)), option("return_indices", 'B', BOOL, D::Bool(true)), option("output_indices_dtype", 'S', STRING, D::Str("int32"))];
    /// The order of the elements along `axis`, largest first unless `ascending`.
    Argsort "argsort" Ios15 [need("x", 'T', ORDERED), option("axis", 'I', INDEX, D::Int(-1)), option("ascending", 'B', BOOL, D::Bool(false))];
    /// The indices of the elements that are not 0: `[N, rank]`.
    NonZero "non_zero" Ios15 [need("x", 'T', ANY)];
    /// The boxes (center x, center y, width, height) with the highest scores that overlap none
    /// taken before by more than `iou_threshold`; their scores, their indices and, with a
    /// `score_threshold`, their number. That parameter also tells the two signatures apart: with
    /// it boxes are `[n, B, 4]` and scores `[n, B, K]`, without `[n, 4, B]` and `[n, K, B]`.
    NonMaximumSuppression "non_maximum_suppression" Ios15 [need("boxes", 'T', FLOAT), need("scores", 'T', FLOAT), fixed("iou_threshold", 'U', FLOAT), option("score_threshold", 'U', FLOAT, D::None), fixed("max_boxes", 'I', INDEX), option("per_class_suppression", 'B', BOOL, D::Bool(false))];
    /// start, start + step, … as far as it stays before end.
    Range1d "range_1d" Ios15 [need("end", 'T', NUMBER), need("start", 'T', NUMBER), need("step", 'T', NUMBER)];
    /// `value` in every element of a tensor of this shape.
    Fill "fill" Ios15 [need("shape", 'I', INDEX), option("value", 'T', ANY, D::Float(0.0))];
    /// `value` in every element of a tensor of the shape of `ref_tensor`.
    FillLike "fill_like" Ios16 [need("ref_tensor", 'R', ANY), option("value", 'T', ANY, D::Float(0.0))];
    /// The sizes of x's axes.
    Shape "shape" Ios15 [need("x", 'T', ANY)];
    /// `values` joined along a new `axis`.
    Stack "stack" Ios15 [tuple("values"), fixed("axis", 'I', INDEX)];
    /// x within `lower` diagonals below and `upper` above the main one of the last two axes, else 0;
    /// −1 keeps all.
    BandPart "band_part" Ios15 [need("x", 'T', ANY), option("lower", 'I', INDEX, D::Int(-1)), option("upper", 'I', INDEX, D::Int(-1))];
    /// x under the shape that parts of the shapes of `ref_tensors` join to.
    ReshapeLike "reshape_like" Ios16 [need("x", 'T', ANY), tuple("ref_tensors"), tuple("begins"), tuple("ends"), tuple("end_masks")];
    /// x as a matrix: the axes before `axis`, and those from there.
    Flatten2d "flatten2d" Ios15 [need("x", 'T', ANY), option("axis", 'I', INDEX, D::Int(1))];
    /// x with the first `lengths[b]` elements along `seq_axis` in opposite order, where b is the
    /// index along `batch_axis`.
    ReverseSequence "reverse_sequence" Ios15 [need("x", 'T', ANY), need("lengths", 'J', INDEX), option("seq_axis", 'I', INDEX, D::Int(0)), option("batch_axis", 'I', INDEX, D::Int(0))];
    /// Sum of products: `nchw,nwhu->nchu` or `chw,whu->chu` in any letters; n and h broadcast.
    Einsum "einsum" Ios15 [tuple("values"), fixed("equation", 'S', STRING)];

    /// Long short-term memory over x `[S, B, I]`: all outputs or the last, then the last state and
    /// the last cell. Gates are in the order input, forget, output, cell.
    Lstm "lstm" Ios15 [need("x", 'T', FLOAT), need("initial_h", 'T', FLOAT), need("initial_c", 'T', FLOAT), need("weight_ih", 'T', FLOAT), need("weight_hh", 'T', FLOAT), may("bias", 'T', FLOAT), may("peephole", 'T', FLOAT), may("weight_ih_back", 'T', FLOAT), may("weight_hh_back", 'T', FLOAT), may("bias_back", 'T', FLOAT), may("peephole_back", 'T', FLOAT), option("direction", 'S', STRING, D::Str("forward")), option("output_sequence", 'B', BOOL, D::Bool(false)), option("recurrent_activation", 'S', STRING, D::Str("sigmoid")), option("cell_activation", 'S', STRING, D::Str("tanh")), option("activation", 'S', STRING, D::Str("tanh")), option("clip", 'T', FLOAT, D::None)];
    /// Gated recurrent unit over x `[S, B, I]`: all outputs or the last, then the last state. Gates
    /// are in the order reset, output, update.
    Gru "gru" Ios15 [need("x", 'T', FLOAT), need("initial_h", 'T', FLOAT), need("weight_ih", 'T', FLOAT), need("weight_hh", 'T', FLOAT), may("bias", 'T', FLOAT), option("direction", 'S', STRING, D::Str("forward")), option("output_sequence", 'B', BOOL, D::Bool(false)), option("recurrent_activation", 'S', STRING, D::Str("sigmoid")), option("activation", 'S', STRING, D::Str("tanh")), option("reset_after", 'B', BOOL, D::Bool(false)), may("input_bias", 'T', FLOAT)];
    /// Plain recurrence over x `[S, B, I]`: all outputs or the last, then the last state.
    Rnn "rnn" Ios15 [need("x", 'T', FLOAT), need("initial_h", 'T', FLOAT), need("weight_ih", 'T', FLOAT), need("weight_hh", 'T', FLOAT), may("bias", 'T', FLOAT), option("direction", 'S', STRING, D::Str("forward")), option("output_sequence", 'B', BOOL, D::Bool(false)), option("activation", 'S', STRING, D::Str("tanh"))];

    /// The first block's outputs if pred, else the second's; the blocks have no inputs.
    Cond "cond" Ios15 [need("pred", 'B', BOOL)];
    /// The loop variables after the second block has replaced them by its outputs as long as the
    /// first gives true; the inputs of both blocks are the variables.
    WhileLoop "while_loop" Ios15 [values("loop_vars")];
    /// A list of tensors of one type, as yet 0; a name in `elem_shape` is a size not known yet.
    MakeList "make_list" Ios15 [ParamSpec { constant: false, ..option("init_length", 'I', INDEX, D::Int(1)) }, option("dynamic_length", 'B', BOOL, D::Bool(true)), tuple("elem_shape"), option("dtype", 'S', STRING, D::Str("fp32"))];
    /// The list with one element replaced; a list of dynamic length grows as far as it must.
    ListWrite "list_write" Ios15 [list("ls"), need("index", 'I', INDEX), need("value", 'T', ANY)];
    /// One element of a list.
    ListRead "list_read" Ios15 [list("ls"), need("index", 'I', INDEX)];
    /// Elements of a list along a new first axis.
    ListGather "list_gather" Ios15 [list("ls"), need("indices", 'I', INDEX)];
    /// The list with the slices of `value` along its first axis in the places of `indices`.
    ListScatter "list_scatter" Ios15 [list("ls"), need("indices", 'I', INDEX), need("value", 'T', ANY)];
    /// How many elements a list has.
    ListLength "list_length" Ios15 [list("ls")];

    /// Numbers of the uniform distribution from `low` up to, and without, `high`.
    RandomUniform "random_uniform" Ios15 [need("shape", 'I', INDEX), option("low", 'T', FLOAT, D::Float(0.0)), option("high", 'T', FLOAT, D::Float(1.0)), option("seed", 'I', INDEX, D::Int(-1))];
    /// Numbers of a normal distribution.
    RandomNormal "random_normal" Ios15 [need("shape", 'I', INDEX), option("mean", 'T', FLOAT, D::Float(0.0)), option("stddev", 'T', FLOAT, D::Float(1.0)), option("seed", 'I', INDEX, D::Int(-1))];
    /// 1 with probability `prob`, else 0.
    RandomBernoulli "random_bernoulli" Ios15 [need("shape", 'I', INDEX), option("prob", 'T', FLOAT, D::Float(0.5)), option("seed", 'I', INDEX, D::Int(-1))];
    /// `size` indices drawn by the probabilities along x's last axis, or their logarithms.
    RandomCategorical "random_categorical" Ios15 [need("x", 'T', FLOAT), option("mode", 'S', STRING, D::Str("logits")), option("size", 'I', INDEX, D::Int(1)), option("seed", 'I', INDEX, D::Int(-1))];

    /// The class of the largest probability, and the probability of every class.
    Classify "classify" Ios15 [need("probabilities", 'P', &[Fp32]), ParamSpec { constant: true, ..list("classes") }];
}
