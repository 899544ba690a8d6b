//! Ops that are refused, ignored or computed wrongly, and how they must be written.

use super::Hit;
use super::context::{Context, called};
use crate::target::Rule;
use mil::{DataType, Op, Operation};

/// One finding for every operation of an op about which something is wrong.
fn each<'a>(
    c: &Context<'a>,
    op: Op,
    hits: &mut Vec<Hit>,
    wrong: impl Fn(&'a Operation) -> Option<String>,
) {
    for operation in c.of(op) {
        if let Some(wrong) = wrong(operation) {
            hits.push(Hit::at(operation, format!("{} {wrong}", called(c, operation))));
        }
    }
}

/// Every operation of some ops.
fn any_of(c: &Context<'_>, hits: &mut Vec<Hit>, ops: &[Op], what: &str) {
    for operation in c.operations.iter().filter(|operation| ops.contains(&operation.op)) {
        hits.push(Hit::at(operation, format!("{} {what}", called(c, operation))));
    }
}

/// What somebody has tried and found refused.
const UNSUPPORTED: &[Op] = &[
    Op::Gather,
    Op::GatherAlongAxis,
    Op::Scatter,
    Op::ScatterAlongAxis,
    Op::Mod,
    Op::Sin,
    Op::Cos,
    Op::LogicalAnd,
    Op::LogicalOr,
    Op::LogicalXor,
    Op::Tan,
    Op::Asin,
    Op::Acos,
    Op::Sinh,
    Op::Cosh,
    Op::BatchNorm,
    Op::AvgPool,
    Op::MaxPool,
    Op::ReduceProd,
];

/// What nobody is known to have tried.
const UNPROVEN: &[Op] = &[
    Op::Cumsum,
    Op::Linear,
    Op::ConvTranspose,
    Op::ExpandDims,
    Op::Squeeze,
    Op::SliceUpdate,
    Op::Reverse,
    Op::ReadState,
    Op::WriteState,
    Op::Atanh,
    Op::Elu,
    Op::LeakyRelu,
    Op::Prelu,
    Op::Relu6,
    Op::ClampedRelu,
    Op::LinearActivation,
    Op::ScaledTanh,
    Op::SigmoidHard,
    Op::SoftplusParametric,
    Op::Threshold,
    Op::ThresholdedRelu,
    Op::ReduceL1Norm,
    Op::ReduceLogSum,
    Op::ReduceSumSquare,
    Op::ReduceArgmax,
    Op::ReduceArgmin,
    Op::InstanceNorm,
    Op::L2Norm,
    Op::LocalResponseNorm,
    Op::L2Pool,
    Op::UpsampleNearestNeighbor,
    Op::UpsampleBilinear,
    Op::ResizeNearestNeighbor,
    Op::ResizeBilinear,
    Op::Resize,
    Op::Resample,
    Op::Affine,
    Op::Crop,
    Op::CropResize,
    Op::DepthToSpace,
    Op::SpaceToDepth,
    Op::PixelShuffle,
    Op::PixelUnshuffle,
    Op::SpaceToBatch,
    Op::BatchToSpace,
    Op::SlidingWindows,
    Op::GatherNd,
    Op::ScatterNd,
    Op::OneHot,
    Op::Topk,
    Op::Argsort,
    Op::NonZero,
    Op::NonMaximumSuppression,
    Op::Range1d,
    Op::Fill,
    Op::FillLike,
    Op::Shape,
    Op::Stack,
    Op::BandPart,
    Op::ReshapeLike,
    Op::Flatten2d,
    Op::ReverseSequence,
    Op::Einsum,
    Op::Lstm,
    Op::Gru,
    Op::Rnn,
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
    Op::ConstexprCast,
    Op::ConstexprLutToDense,
    Op::ConstexprSparseToDense,
    Op::ConstexprLutToSparse,
    Op::ConstexprSparseBlockwiseShiftScale,
];

pub(super) fn unsupported(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    any_of(c, hits, UNSUPPORTED, "is an op that the engine's compiler refuses");
}

pub(super) fn unproven(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    any_of(c, hits, UNPROVEN, "is an op that nobody is known to have run on the engine");
}

pub(super) fn gelu(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    any_of(c, hits, &[Op::Gelu], "is an op that the engine's compiler refuses");
}

pub(super) fn trigonometry(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    if !c.chip.native_trigonometry {
        any_of(c, hits, &[Op::Sin, Op::Cos], &format!("is not among what {} has", c.chip.name));
    }
}

pub(super) fn concat_without_interleave(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    each(c, Op::Concat, hits, |operation| {
        (!c.params(operation).has("interleave")).then(|| "has no `interleave`".to_owned())
    });
}

/// What the compiler's table has for repeating and interleaving.
fn is_factor(n: i64) -> bool {
    matches!(n, 1 | 2 | 3 | 4 | 8)
}

pub(super) fn concat_interleave_factor(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    each(c, Op::Concat, hits, |operation| {
        let parts = operation.inputs.get("values")?.operands().len();
        let interleaves = c.params(operation).bool("interleave").ok()?;
        (interleaves && !is_factor(parts as i64)).then(|| format!("interleaves {parts} parts"))
    });
}

pub(super) fn tile(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    any_of(c, hits, &[Op::Tile], "makes this evaluation fail and every later one");
}

pub(super) fn tile_factor(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    each(c, Op::Tile, hits, |operation| {
        let reps = c.params(operation).ints("reps").ok()??;
        let bad = reps.into_iter().find(|&n| !is_factor(n))?;
        Some(format!("repeats {bad} times"))
    });
}

pub(super) fn explicit_epsilon(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    for op in [Op::Rsqrt, Op::Log, Op::Inverse] {
        each(c, op, hits, |operation| {
            (!c.params(operation).has("epsilon")).then(|| "has no `epsilon`".to_owned())
        });
    }
}

pub(super) fn attention_mask(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    each(c, Op::ScaledDotProductAttention, hits, |operation| {
        c.params(operation).has("attn_mask").then(|| "has a mask, which is ignored".to_owned())
    });
}

pub(super) fn softmax_channels(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    each(c, Op::Softmax, hits, |operation| {
        let dims = c.argument_dims(operation, "x").filter(|dims| dims.len() > 3)?;
        let axis = c.params(operation).axis("axis", dims.len()).ok()?;
        let bad = axis == 1 && !dims[1].is_power_of_two();
        bad.then(|| format!("runs over {} channels, no power of two", dims[1]))
    });
}

pub(super) fn reduce_mean_channels(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    each(c, Op::ReduceMean, hits, |operation| {
        let dims = c.argument_dims(operation, "x").filter(|dims| dims.len() > 3)?;
        let axes = c.params(operation).axes("axes", dims.len()).ok()?;
        let reduced = axes.is_none_or(|axes| axes.contains(&1));
        reduced.then(|| format!("is a mean over {} channels", dims[1]))
    });
}

pub(super) fn movement_only(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    let moves =
        |operation: &&Operation| matches!(operation.op, Op::Reshape | Op::SliceByIndex | Op::Tile);
    let Some(last) = c.operations.last() else { return };
    if c.operations.iter().all(moves) {
        let message = format!("{} ends a program that computes nothing", called(c, last));
        hits.push(Hit::at(last, message));
    }
}

pub(super) fn matmul_reshape_output(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    let &[output] = &c.function.body.outputs[..] else { return };
    let Some(reshape) = c.producer(output).filter(|o| o.op == Op::Reshape) else { return };
    let from = reshape.value("x").and_then(|id| c.producer(id));
    if from.is_some_and(|from| from.op == Op::Matmul) {
        let message = format!("{} of a matmul is the only output", called(c, reshape));
        hits.push(Hit::at(reshape, message));
    }
}

pub(super) fn slice_by_index_input(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    each(c, Op::SliceByIndex, hits, |operation| {
        let id = operation.value("x").filter(|&id| c.is_input(id))?;
        Some(format!("reads the input `{}`", c.name(id)))
    });
}

pub(super) fn identity_output(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    let &[output] = &c.function.body.outputs[..] else { return };
    if let Some(operation) = c.producer(output).filter(|o| o.op == Op::Identity) {
        hits.push(Hit::at(operation, format!("{} is the only output", called(c, operation))));
    }
}

pub(super) fn output_also_read(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    for &id in &c.function.body.outputs {
        let computed = c.producer(id).is_some_and(|operation| operation.op != Op::Const);
        if computed && c.readers(id) > 0 {
            let (name, readers) = (c.name(id), c.readers(id));
            let message = format!("the output `{name}` is also read {readers} time(s) inside");
            hits.push(Hit::of(c, id, message));
        }
    }
}

pub(super) fn broadcast_batch(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    each(c, Op::Mul, hits, |operation| {
        let (x, y) = (c.argument_dims(operation, "x")?, c.argument_dims(operation, "y")?);
        let rank = x.len().max(y.len());
        let first = |dims: &[usize]| if dims.len() == rank { dims.first().copied() } else { None };
        // A single number goes along every axis.
        let single = |dims: &[usize]| dims.iter().all(|&n| n == 1);
        if rank < 4 || single(&x) || single(&y) {
            return None;
        }
        let (a, b) = (first(&x).unwrap_or(1), first(&y).unwrap_or(1));
        (a != b).then(|| format!("broadcasts {} along the first axis", a.max(b)))
    });
}

pub(super) fn reflecting_pad(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    if c.chip.texture_engine {
        return;
    }
    each(c, Op::Pad, hits, |operation| {
        let mode = c.params(operation).string("mode").ok().filter(|mode| mode == "reflect")?;
        Some(format!("has the mode {mode}, which {} lacks", c.chip.name))
    });
}

pub(super) fn wide_pad_and_add(c: &Context<'_>, rule: &'static Rule, hits: &mut Vec<Hit>) {
    let most = rule.limit.map_or(usize::MAX, |limit| limit as usize);
    for add in c.of(Op::Add) {
        for operand in add.operands() {
            let Some(pad) = c.producer(operand).filter(|o| o.op == Op::Pad) else { continue };
            let before = c.argument_dims(pad, "x").and_then(|dims| dims.last().copied());
            let after = c.dims(operand).and_then(|dims| dims.last().copied());
            if let (Some(before), Some(after)) = (before, after)
                && before != after
                && after > most
            {
                let message = format!("{} adds to a width padded to {after}", called(c, add));
                hits.push(Hit::at(add, message));
            }
        }
    }
}

pub(super) fn layer_norm_constants(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    each(c, Op::LayerNorm, hits, |operation| {
        let name = ["gamma", "beta"]
            .into_iter()
            .find(|name| c.params(operation).has(name) && !c.is_constant(operation, name))?;
        let dtype = c.argument(operation, name).map_or(DataType::Fp16, |ty| ty.dtype);
        Some(format!("computes its `{name}` ({dtype}) at run time"))
    });
}
