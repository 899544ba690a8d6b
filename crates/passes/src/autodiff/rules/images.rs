//! Rules of resampling and of rearranging pixels.

use super::views::paste;
use crate::autodiff::step::{Done, Fault, Step};
use mil::shape::{blocks, crop_amounts, lines};
use mil::{Op, Tensor, ValueId};

/// z = A·x along each axis that changes, A the matrix of shares: dx = Aᵀ·dz.
pub(super) fn resize(s: &mut Step) -> Done {
    let (dims, z_dims) = (s.dims_of("x")?, s.z_dims()?);
    let mut g = s.dz_full()?;
    if z_dims.contains(&0) {
        g = s.zeros(s.dtype(g), &dims)?;
        return s.give("x", g);
    }
    if let Some(factors) = whole_factors(s, &dims, &z_dims)? {
        g = sum_blocks(s, g, &dims, &factors)?;
        return s.give("x", g);
    }
    for line in lines(&s.params(), &dims, &z_dims)? {
        let n = dims[line.axis];
        let mut shares = vec![0.0; line.taps.len() * n];
        for (i, (low, high, share)) in line.taps.into_iter().enumerate() {
            shares[i * n + low] += 1.0 - share;
            shares[i * n + high] += share;
        }
        g = along(s, g, line.axis, n, &shares)?;
    }
    s.give("x", g)
}

/// How often each element of x is repeated along each axis, if z repeats elements and no more.
fn whole_factors(s: &Step, dims: &[usize], z_dims: &[usize]) -> Result<Option<Vec<usize>>, Fault> {
    let repeats = match s.operation.op {
        Op::UpsampleNearestNeighbor | Op::ResizeNearestNeighbor => true,
        Op::Resize => {
            let p = s.params();
            p.string("interpolation_mode")? == "NEAREST_NEIGHBOR"
                && p.string("sampling_mode")? == "DEFAULT"
        }
        _ => false,
    };
    let mut pairs = dims.iter().zip(z_dims);
    if !repeats || !pairs.all(|(&n, &z)| n > 0 && z > 0 && z % n == 0) {
        return Ok(None);
    }
    Ok(Some(dims.iter().zip(z_dims).map(|(n, z)| z / n).collect()))
}

/// Sums blocks of as many elements as `factors` says.
fn sum_blocks(
    s: &mut Step,
    g: ValueId,
    dims: &[usize],
    factors: &[usize],
) -> Result<ValueId, Fault> {
    let (mut split, mut axes) = (vec![], vec![]);
    for (&n, &factor) in dims.iter().zip(factors) {
        split.push(n);
        if factor > 1 {
            axes.push(split.len() as i64);
            split.push(factor);
        }
    }
    if axes.is_empty() {
        return Ok(g);
    }
    let g = s.reshape(g, &split)?;
    Ok(s.reduce(Op::ReduceSum, g, &axes, false)?)
}

/// g with `axis`, of as many elements as the matrix has rows, replaced by its `n` columns.
pub(super) fn along(
    s: &mut Step,
    g: ValueId,
    axis: usize,
    n: usize,
    matrix: &[f64],
) -> Result<ValueId, Fault> {
    let dims = s.dims(g);
    let rows = dims[axis];
    let matrix = Tensor::from_f64s(s.dtype(g), &[rows, n], matrix).expect("rows times columns");
    let matrix = s.constant("shares", matrix);
    let before: usize = dims[..axis].iter().product();
    let after: usize = dims[axis + 1..].iter().product();
    let mut g = s.reshape(g, &[before, rows, after])?;
    g = if after == 1 {
        let flat = s.reshape(g, &[before, rows])?;
        s.matmul(flat, matrix, (false, false))?
    } else {
        s.matmul(matrix, g, (true, false))?
    };
    let mut out = dims;
    out[axis] = n;
    Ok(s.reshape(g, &out)?)
}

/// z = the middle of x: dx = dz in zeros.
pub(super) fn crop(s: &mut Step) -> Done {
    let [(top, _), (left, _)] = crop_amounts(&s.params())?;
    let (dz, dims) = (s.dz_full()?, s.dims_of("x")?);
    let mut begin = vec![0; dims.len()];
    begin[dims.len() - 2] = top;
    begin[dims.len() - 1] = left;
    let dx = paste(s, dz, &begin, &dims)?;
    s.give("x", dx)
}

/// z = pixels rearranged: dx = dz rearranged by the opposite op.
pub(super) fn blocks_rule(s: &mut Step) -> Done {
    let dz = s.dz_full()?;
    let layout = blocks(&s.params())?;
    let size = s.int(layout.size[0] as i64);
    let (op, inputs) = match s.operation.op {
        Op::DepthToSpace => (Op::SpaceToDepth, vec![("block_size", size)]),
        Op::SpaceToDepth => (Op::DepthToSpace, vec![("block_size", size)]),
        Op::PixelShuffle => (Op::PixelUnshuffle, vec![("downscale_factor", size)]),
        Op::PixelUnshuffle => (Op::PixelShuffle, vec![("upscale_factor", size)]),
        op => {
            let [(top, bottom), (left, right)] = layout.margins;
            let margins = [top, bottom, left, right].map(|m| m as i64);
            let margins = Tensor::int32s(&margins).reshaped(&[2, 2]).expect("four elements");
            let margins = s.constant("margins", margins);
            let shape = s.ints(&layout.size.map(|n| n as i64));
            match op {
                // Zeros that were put around x are cut, and what was cut has no influence.
                Op::SpaceToBatch => {
                    (Op::BatchToSpace, vec![("block_shape", shape), ("crops", margins)])
                }
                _ => (Op::SpaceToBatch, vec![("block_shape", shape), ("paddings", margins)]),
            }
        }
    };
    let inputs = inputs.into_iter().map(|(name, id)| (name, id.into()));
    let dx = s.op(op, op.name(), [("x", dz.into())].into_iter().chain(inputs))?;
    s.give("x", dx)
}

/// z = windows of x: dx = Σdz over the windows that have the element, a transposed convolution of
/// which element i of a window is channel i.
pub(super) fn sliding_windows(s: &mut Step) -> Done {
    let dims = s.dims_of("x")?;
    let p = s.params();
    let (axis, stride) = (p.axis("axis", dims.len())?, p.int("stride")?);
    let dz = s.dz_full()?;
    let z_dims = s.dims(dz);
    let (count, size) = (z_dims[axis], z_dims[axis + 1]);
    let before: usize = dims[..axis].iter().product();
    let after: usize = dims[axis + 1..].iter().product();
    let mut g = s.reshape(dz, &[before, count, size, after])?;
    g = s.transpose(g, &[0, 3, 2, 1])?;
    g = s.reshape(g, &[before * after, size, count])?;
    let mut ones = vec![0.0; size * size];
    for i in 0..size {
        ones[i * size + i] = 1.0;
    }
    let kernel = Tensor::from_f64s(s.dtype(g), &[size, 1, size], &ones).expect("a square");
    let kernel = s.constant("kernel", kernel);
    let strides = s.ints(&[stride]);
    let shape = s.ints(&[(before * after) as i64, 1, dims[axis] as i64]);
    let inputs = [
        ("x", g.into()),
        ("weight", kernel.into()),
        ("strides", strides.into()),
        ("output_shape", shape.into()),
    ];
    g = s.op(Op::ConvTranspose, "conv_transpose", inputs)?;
    g = s.reshape(g, &[before, after, dims[axis]])?;
    g = s.transpose(g, &[0, 2, 1])?;
    let dx = s.reshape(g, &dims)?;
    s.give("x", dx)
}
