//! Norms, pools, resampling and rearrangement of images.

use crate::harness::{Row, apart, f, op, positive, row};
use mil::{DataType, FunctionBuilder, Op, OpError, Tensor, ValueId};

pub fn rows() -> Vec<Row> {
    let image = f(&[2, 3, 4, 5]);
    vec![
        row("batch_norm", [f(&[2, 3, 4]), f(&[3]), positive(&[3]), f(&[3]), f(&[3])], |b, v| {
            let epsilon = b.float(DataType::Fp64, 0.1);
            let names = ["x", "mean", "variance", "gamma", "beta"];
            let mut inputs: Vec<_> = names.into_iter().zip(v.iter().copied()).collect();
            inputs.push(("epsilon", epsilon));
            op(b, Op::BatchNorm, &inputs)
        }),
        row("batch_norm of vectors", [f(&[4, 3]), f(&[3]), positive(&[3])], |b, v| {
            op(b, Op::BatchNorm, &[("x", v[0]), ("mean", v[1]), ("variance", v[2])])
        }),
        row("instance_norm", [f(&[2, 3, 2, 2]), f(&[3]), f(&[3])], |b, v| {
            let epsilon = b.float(DataType::Fp64, 0.1);
            let inputs = [("x", v[0]), ("gamma", v[1]), ("beta", v[2]), ("epsilon", epsilon)];
            op(b, Op::InstanceNorm, &inputs)
        }),
        row("instance_norm of one axis", [f(&[2, 3, 4])], |b, v| {
            op(b, Op::InstanceNorm, &[("x", v[0])])
        }),
        row("l2_norm", [f(&[2, 2, 3, 2])], |b, v| op(b, Op::L2Norm, &[("x", v[0])])),
        row("l2_norm with epsilon", [f(&[2, 3, 2])], |b, v| {
            let epsilon = b.float(DataType::Fp64, 0.5);
            op(b, Op::L2Norm, &[("x", v[0]), ("epsilon", epsilon)])
        }),
        row("local_response_norm", [f(&[2, 5, 3])], |b, v| local(b, v[0], 3)),
        row("local_response_norm of an even size", [f(&[1, 5, 2, 2])], |b, v| local(b, v[0], 4)),
        row("max_pool", [apart(&[1, 2, 4, 5])], |b, v| {
            pool(b, Op::MaxPool, v[0], &[2, 3], &[2, 1], "valid", None, &[])
        }),
        row("max_pool of overlapping windows", [apart(&[2, 1, 6])], |b, v| {
            pool(b, Op::MaxPool, v[0], &[3], &[1], "same", None, &[])
        }),
        row("max_pool with padding", [apart(&[1, 1, 4, 4])], |b, v| {
            let pads = Some(&[1, 1, 1, 1][..]);
            pool(b, Op::MaxPool, v[0], &[3, 3], &[2, 2], "custom", pads, &[("ceil_mode", true)])
        }),
        row("max_pool that skips", [apart(&[1, 2, 7])], |b, v| {
            pool(b, Op::MaxPool, v[0], &[1], &[3], "valid", None, &[])
        }),
        row("max_pool of three axes", [apart(&[1, 1, 3, 2, 4])], |b, v| {
            pool(b, Op::MaxPool, v[0], &[2, 2, 2], &[1, 1, 2], "same_lower", None, &[])
        }),
        row("avg_pool", [f(&[2, 2, 4, 5])], |b, v| {
            pool(b, Op::AvgPool, v[0], &[2, 3], &[2, 1], "valid", None, &[])
        }),
        row("avg_pool with padding", [f(&[1, 2, 5])], |b, v| {
            pool(b, Op::AvgPool, v[0], &[3], &[2], "custom", Some(&[1, 2]), &[])
        }),
        row("avg_pool without padding", [f(&[1, 1, 4, 3])], |b, v| {
            let exclude = [("exclude_padding_from_average", true)];
            pool(b, Op::AvgPool, v[0], &[3, 2], &[1, 2], "same", None, &exclude)
        }),
        row("avg_pool beyond the end", [f(&[1, 1, 6])], |b, v| {
            pool(b, Op::AvgPool, v[0], &[3], &[2], "valid", None, &[("ceil_mode", true)])
        }),
        row("avg_pool of three axes", [f(&[1, 1, 2, 3, 2])], |b, v| {
            pool(b, Op::AvgPool, v[0], &[2, 2, 1], &[1, 1, 1], "same", None, &[])
        }),
        row("l2_pool", [f(&[1, 2, 4, 4])], |b, v| {
            pool(b, Op::L2Pool, v[0], &[3, 2], &[1, 2], "same", None, &[])
        }),
        row("upsample_nearest_neighbor", [f(&[1, 2, 2, 3])], |b, v| {
            factors(b, Op::UpsampleNearestNeighbor, v[0], 2.0, 3.0)
        }),
        row("upsample_nearest_neighbor by fractions", [f(&[1, 4, 3])], |b, v| {
            factors(b, Op::UpsampleNearestNeighbor, v[0], 1.3, 0.7)
        }),
        row("upsample_bilinear", [f(&[1, 2, 2, 3])], |b, v| {
            factors(b, Op::UpsampleBilinear, v[0], 2.0, 1.7)
        }),
        row("resize_nearest_neighbor", [f(&[2, 3, 4])], |b, v| {
            let (h, w) = (b.int(5), b.int(8));
            let inputs = [("x", v[0]), ("target_size_height", h), ("target_size_width", w)];
            op(b, Op::ResizeNearestNeighbor, &inputs)
        }),
        row("resize_bilinear", [f(&[2, 3, 4])], |b, v| {
            let (h, w, mode) = (b.int(5), b.int(2), b.string("UNALIGN_CORNERS"));
            let sizes = [("target_size_height", h), ("target_size_width", w)];
            op(b, Op::ResizeBilinear, &[[("x", v[0]), ("sampling_mode", mode)], sizes].concat())
        }),
        row("resize of three axes", [f(&[2, 3, 2])], |b, v| {
            let (shape, count) = (b.ints(&[3, 5, 0]), b.int(3));
            op(b, Op::Resize, &[("x", v[0]), ("shape", shape), ("resized_dims", count)])
        }),
        row("resize to the nearest", [f(&[2, 3])], |b, v| {
            let (shape, count, mode) = (b.ints(&[6]), b.int(1), b.string("NEAREST_NEIGHBOR"));
            let shape = [("shape", shape), ("resized_dims", count)];
            op(b, Op::Resize, &[[("x", v[0]), ("interpolation_mode", mode)], shape].concat())
        }),
        row("crop", [image.clone()], |b, v| {
            let (h, w) = (b.ints(&[1, 0]), b.ints(&[2, 1]));
            op(b, Op::Crop, &[("x", v[0]), ("crop_height", h), ("crop_width", w)])
        }),
        row("depth_to_space", [f(&[1, 8, 2, 1])], |b, v| {
            blocks(b, Op::DepthToSpace, v[0], "block_size")
        }),
        row("space_to_depth", [f(&[1, 2, 4, 2])], |b, v| {
            blocks(b, Op::SpaceToDepth, v[0], "block_size")
        }),
        row("pixel_shuffle", [f(&[1, 8, 2, 1])], |b, v| {
            blocks(b, Op::PixelShuffle, v[0], "upscale_factor")
        }),
        row("pixel_unshuffle", [f(&[1, 2, 4, 2])], |b, v| {
            blocks(b, Op::PixelUnshuffle, v[0], "downscale_factor")
        }),
        row("space_to_batch", [image.clone()], |b, v| {
            margins(b, Op::SpaceToBatch, v[0], "paddings", &[2, 0, 0, 1])
        }),
        row("batch_to_space", [f(&[12, 1, 2, 2])], |b, v| {
            margins(b, Op::BatchToSpace, v[0], "crops", &[1, 0, 0, 2])
        }),
        row("sliding_windows", [image.clone()], |b, v| windows(b, v[0], 2, 3, 1)),
        row("sliding_windows with gaps", [f(&[7, 2])], |b, v| windows(b, v[0], 0, 2, 3)),
        row("sliding_windows of the last axis", [f(&[2, 6])], |b, v| windows(b, v[0], -1, 3, 2)),
        row("pad by reflection", [f(&[2, 3, 4])], |b, v| edges(b, v[0], "reflect")),
        row("pad by replication", [image], |b, v| edges(b, v[0], "replicate")),
    ]
}

type Built = Result<Vec<ValueId>, OpError>;

/// Something nonlinear of the result, so that cotangents differ by element.
fn curved(b: &mut FunctionBuilder, results: Vec<ValueId>) -> Built {
    results.into_iter().map(|z| b.unary(Op::Sin, z)).collect()
}

fn local(b: &mut FunctionBuilder, x: ValueId, size: i64) -> Built {
    let (size, k) = (b.int(size), b.float(DataType::Fp64, 1.5));
    let (alpha, beta) = (b.float(DataType::Fp64, 0.8), b.float(DataType::Fp64, 0.75));
    let inputs = [("x", x), ("size", size), ("alpha", alpha), ("beta", beta), ("k", k)];
    op(b, Op::LocalResponseNorm, &inputs)
}

#[allow(clippy::too_many_arguments)] // They are the op's own.
fn pool(
    b: &mut FunctionBuilder,
    o: Op,
    x: ValueId,
    kernel: &[i64],
    strides: &[i64],
    kind: &str,
    pads: Option<&[i64]>,
    flags: &[(&'static str, bool)],
) -> Built {
    let (kernel, strides, kind) = (b.ints(kernel), b.ints(strides), b.string(kind));
    let mut inputs =
        vec![("x", x), ("kernel_sizes", kernel), ("strides", strides), ("pad_type", kind)];
    inputs.extend(pads.map(|pads| ("pad", b.ints(pads))));
    for &(name, value) in flags {
        inputs.push((name, b.bool(value)));
    }
    let z = op(b, o, &inputs)?;
    curved(b, z)
}

fn factors(b: &mut FunctionBuilder, o: Op, x: ValueId, h: f64, w: f64) -> Built {
    let (h, w) = (b.float(DataType::Fp32, h), b.float(DataType::Fp32, w));
    let z = op(b, o, &[("x", x), ("scale_factor_height", h), ("scale_factor_width", w)])?;
    curved(b, z)
}

fn blocks(b: &mut FunctionBuilder, o: Op, x: ValueId, name: &'static str) -> Built {
    let size = b.int(2);
    let z = op(b, o, &[("x", x), (name, size)])?;
    curved(b, z)
}

fn margins(
    b: &mut FunctionBuilder,
    o: Op,
    x: ValueId,
    name: &'static str,
    amounts: &[i64],
) -> Built {
    let shape = b.ints(&[2, 3]);
    let amounts = Tensor::int32s(amounts).reshaped(&[2, 2]).unwrap();
    let amounts = b.constant("margins", amounts);
    let z = op(b, o, &[("x", x), ("block_shape", shape), (name, amounts)])?;
    curved(b, z)
}

fn windows(b: &mut FunctionBuilder, x: ValueId, axis: i64, size: i64, stride: i64) -> Built {
    let (axis, size, stride) = (b.int(axis), b.int(size), b.int(stride));
    let inputs = [("x", x), ("axis", axis), ("size", size), ("stride", stride)];
    let z = op(b, Op::SlidingWindows, &inputs)?;
    curved(b, z)
}

fn edges(b: &mut FunctionBuilder, x: ValueId, mode: &str) -> Built {
    let (pad, mode) = (b.ints(&[2, 1, 0, 3]), b.string(mode));
    let z = op(b, Op::Pad, &[("x", x), ("pad", pad), ("mode", mode)])?;
    curved(b, z)
}
