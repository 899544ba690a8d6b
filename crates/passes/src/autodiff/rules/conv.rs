//! Rules of convolutions, which are each other's reverse with the same weight.
//!
//! With stride s, dilation d and p zeros in front, per axis and group:
//! conv z[o] = Σₖ W[k]·x[o·s + k·d − p], conv_transpose z[i·s + k·d − p] += W[k]·x[i].

use super::views::cut;
use crate::autodiff::step::{Done, Fault, Step};
use mil::shape::{ConvGeometry, conv_geometry, conv_transpose_geometry};
use mil::{Op, ValueId};

/// z = conv(x, W) + b: dx = conv_transpose(dz, W), dW[k] = Σₒ dz[o]·x[o·s + k·d − p], db = Σdz.
pub(super) fn conv(s: &mut Step) -> Done {
    let dz = s.dz_full()?;
    let (x_dims, w_dims) = (s.dims_of("x")?, s.dims_of("weight")?);
    let geometry = conv_geometry(&s.params(), &x_dims, &w_dims)?;
    bias(s, dz)?;
    if s.wants("x") {
        let weight = s.value("weight")?;
        let shape: Vec<i64> = x_dims.iter().map(|&d| d as i64).collect();
        let shape = s.ints(&shape);
        let pads = geometry.pads.clone();
        let dx = convolve(s, Op::ConvTranspose, dz, weight, &geometry, &pads, Some(shape))?;
        s.give("x", dx)?;
    }
    if s.wants("weight") {
        let x = s.value("x")?;
        let dw = weight(s, x, dz, &w_dims, &geometry)?;
        s.give("weight", dw)?;
    }
    Ok(())
}

/// z = conv_transpose(x, W) + b: dx = conv(dz, W), dW[k] = Σᵢ x[i]·dz[i·s + k·d − p], db = Σdz.
pub(super) fn conv_transpose(s: &mut Step) -> Done {
    let dz = s.dz_full()?;
    let (x_dims, w_dims) = (s.dims_of("x")?, s.dims_of("weight")?);
    let geometry = conv_transpose_geometry(&s.params(), &x_dims, &w_dims)?;
    bias(s, dz)?;
    if s.wants("x") {
        let weight = s.value("weight")?;
        let z_dims = s.dims(dz);
        // As many zeros behind as the last window needs, for z may have been cut.
        let pads: Vec<(usize, usize)> = (0..geometry.out.len())
            .map(|a| {
                let before = geometry.pads[a].0;
                let window = (w_dims[a + 2] - 1) * geometry.dilations[a] + 1;
                let needed = (x_dims[a + 2] - 1) * geometry.strides[a] + window;
                (before, needed.saturating_sub(z_dims[a + 2] + before))
            })
            .collect();
        let dx = convolve(s, Op::Conv, dz, weight, &geometry, &pads, None)?;
        let dx = cut(s, dx, &vec![0; x_dims.len()], &x_dims)?;
        s.give("x", dx)?;
    }
    if s.wants("weight") {
        let x = s.value("x")?;
        let dw = weight(s, dz, x, &w_dims, &geometry)?;
        s.give("weight", dw)?;
    }
    Ok(())
}

fn bias(s: &mut Step, dz: ValueId) -> Done {
    if !s.wants("bias") {
        return Ok(());
    }
    let axes: Vec<i64> = (0..s.dims(dz).len() as i64).filter(|&axis| axis != 1).collect();
    let db = s.reduce(Op::ReduceSum, dz, &axes, false)?;
    s.give("bias", db)
}

/// W[b, a, k] = Σ over n and q of g[n, b, q]·x[n, a, q·s + k·d − p]: a convolution of x with g, with
/// batch and channels exchanged and so stride and dilation. Of x `[N, A, …]` each group of
/// channels takes its place beside the batch.
fn weight(
    s: &mut Step,
    x: ValueId,
    g: ValueId,
    w_dims: &[usize],
    geometry: &ConvGeometry,
) -> Result<ValueId, Fault> {
    let (x_dims, g_dims) = (s.dims(x), s.dims(g));
    let (n, channels, groups) = (x_dims[0], x_dims[1], geometry.groups);
    let mut exchange: Vec<usize> = (0..x_dims.len()).collect();
    exchange.swap(0, 1);
    let g = s.transpose(g, &exchange)?;
    let mut x = x;
    if groups == 1 {
        x = s.transpose(x, &exchange)?;
    } else {
        let space: usize = x_dims[2..].iter().product();
        x = s.reshape(x, &[n, groups, channels / groups, space])?;
        x = s.transpose(x, &[2, 1, 0, 3])?;
        let dims = [&[channels / groups, groups * n], &x_dims[2..]].concat();
        x = s.reshape(x, &dims)?;
    }
    let pads: Vec<(usize, usize)> = (0..geometry.pads.len())
        .map(|a| {
            let before = geometry.pads[a].0;
            let window = (g_dims[a + 2] - 1) * geometry.strides[a] + 1;
            let needed = (w_dims[a + 2] - 1) * geometry.dilations[a] + window;
            (before, needed.saturating_sub(x_dims[a + 2] + before))
        })
        .collect();
    let exchanged = ConvGeometry {
        strides: geometry.dilations.clone(),
        dilations: geometry.strides.clone(),
        ..geometry.clone()
    };
    let w = convolve(s, Op::Conv, x, g, &exchanged, &pads, None)?;
    let w = s.transpose(w, &exchange)?;
    cut(s, w, &vec![0; w_dims.len()], w_dims)
}

fn convolve(
    s: &mut Step,
    op: Op,
    x: ValueId,
    weight: ValueId,
    geometry: &ConvGeometry,
    pads: &[(usize, usize)],
    output_shape: Option<ValueId>,
) -> Result<ValueId, Fault> {
    let ints = |s: &mut Step, values: &[usize]| {
        let values: Vec<i64> = values.iter().map(|&v| v as i64).collect();
        s.ints(&values)
    };
    let strides = ints(s, &geometry.strides);
    let dilations = ints(s, &geometry.dilations);
    let pads: Vec<usize> = pads.iter().flat_map(|&(before, after)| [before, after]).collect();
    let pads = ints(s, &pads);
    let (groups, kind) = (s.int(geometry.groups as i64), s.string("custom"));
    let mut inputs = vec![
        ("x", x.into()),
        ("weight", weight.into()),
        ("strides", strides.into()),
        ("dilations", dilations.into()),
        ("groups", groups.into()),
        ("pad_type", kind.into()),
        ("pad", pads.into()),
    ];
    inputs.extend(output_shape.map(|shape| ("output_shape", shape.into())));
    Ok(s.op(op, op.name(), inputs)?)
}
