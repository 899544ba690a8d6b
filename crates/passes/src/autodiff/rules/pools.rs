//! Rules of pools. What went into many windows is put back by a transposed convolution, one channel
//! at a time, whose kernel says where in a window each part goes.

use super::elementwise::select;
use super::views::{cut, paste_with};
use crate::autodiff::step::{Done, Fault, Step};
use mil::shape::{PoolGeometry, pool_geometry};
use mil::{Op, Tensor, ValueId};

/// Windows of more elements would make a backward function of as many operations.
const MOST_TAPS: usize = 1024;

/// z = mean over a window of n: dx = Σdz/n over the windows.
pub(super) fn avg(s: &mut Step) -> Done {
    let (dims, geometry) = geometry(s)?;
    let exclude = s.params().bool("exclude_padding_from_average")?;
    let dz = s.dz_full()?;
    let dz = flat(s, dz, &dims, &geometry.out)?;
    let count = |axis: usize, at: usize| match exclude {
        true => geometry.window(axis, at).len() as f64,
        false => geometry.padded(axis, at) as f64,
    };
    let shares = outer(&geometry.out, count);
    let shares: Vec<f64> = shares.into_iter().map(|n| 1.0 / n.max(1.0)).collect();
    let share = match shares.iter().all(|&v| v == shares[0]) {
        true => s.scale(dz, shares.first().copied().unwrap_or(1.0))?,
        false => {
            let table = Tensor::from_f64s(s.dtype(dz), &geometry.out, &shares);
            let table = s.constant("shares", table.expect("one share for each window"));
            s.mul(dz, table)?
        }
    };
    let dx = spread_ones(s, share, &geometry)?;
    let dx = s.reshape(dx, &dims)?;
    s.give("x", dx)
}

/// z = √Σx² over a window: dx = x·Σdz/z over the windows, of which one with z = 0 has no slope.
pub(super) fn l2(s: &mut Step) -> Done {
    let (dims, geometry) = geometry(s)?;
    let (dz, z, x) = (s.dz_full()?, s.z()?, s.value("x")?);
    let (zero, one) = (s.number(z, 0.0), s.number(z, 1.0));
    let flat_spot = s.binary(Op::Equal, z, zero)?;
    let divisor = select(s, flat_spot, one, z)?;
    let share = s.binary(Op::RealDiv, dz, divisor)?;
    let share = select(s, flat_spot, zero, share)?;
    let share = flat(s, share, &dims, &geometry.out)?;
    let sum = spread_ones(s, share, &geometry)?;
    let sum = s.reshape(sum, &dims)?;
    let dx = s.mul(x, sum)?;
    s.give("x", dx)
}

/// z = the largest of a window: dx = Σdz/k over the windows of which x is the largest; k is how
/// many tie.
pub(super) fn max(s: &mut Step) -> Done {
    let (dims, geometry) = geometry(s)?;
    let taps: usize = geometry.kernel.iter().product();
    if taps > MOST_TAPS {
        return Err(s.unsupported(format!("with windows of {taps} elements")));
    }
    let (x, z, dz) = (s.value("x")?, s.z()?, s.dz_full()?);
    if geometry.out.contains(&0) {
        let dx = s.zeros(s.dtype(x), &dims)?;
        return s.give("x", dx);
    }
    let x = flat(s, x, &dims, &dims[2..])?;
    let z = flat(s, z, &dims, &geometry.out)?;
    let dz = flat(s, dz, &dims, &geometry.out)?;
    // As much around x as the last window needs, and no more.
    let spatial = geometry.out.len();
    let (mut begin, mut size) = (vec![0, 0], vec![s.dims(x)[0], 1]);
    for axis in 0..spatial {
        begin.push(geometry.pads[axis].0);
        let reach = (geometry.out[axis] - 1) * geometry.strides[axis] + geometry.kernel[axis];
        size.push(reach.max(geometry.pads[axis].0 + dims[2 + axis]));
    }
    let padded = paste_with(s, x, &begin, &size, f64::NEG_INFINITY)?;
    let (dtype, zero) = (s.dtype(x), s.number(x, 0.0));
    let mut wins = vec![];
    for tap in indices(&geometry.kernel) {
        let element = every(s, padded, &tap, &geometry)?;
        wins.push(s.binary(Op::Equal, element, z)?);
    }
    let mut ties = None;
    for &won in &wins {
        let one = s.cast(won, dtype)?;
        ties = Some(match ties {
            None => one,
            Some(sum) => s.add(sum, one)?,
        });
    }
    let ties = ties.expect("a window has elements");
    let share = s.binary(Op::RealDiv, dz, ties)?;
    let mut parts = vec![];
    for won in wins {
        parts.push(select(s, won, share, zero)?);
    }
    let parts = if parts.len() == 1 { parts[0] } else { s.concat(&parts, 1)? };
    // Part i is element i of its window: the kernel of channel i has a one there.
    let mut ones = vec![0.0; taps * taps];
    for tap in 0..taps {
        ones[tap * taps + tap] = 1.0;
    }
    let dx = spread(s, parts, &geometry, taps, &ones)?;
    let dx = s.reshape(dx, &dims)?;
    s.give("x", dx)
}

fn geometry(s: &Step) -> Result<(Vec<usize>, PoolGeometry), Fault> {
    let dims = s.dims_of("x")?;
    let geometry = pool_geometry(&s.params(), &dims)?;
    Ok((dims, geometry))
}

/// Batch and channels as one axis, then an axis of 1: windows do not mix them.
fn flat(s: &mut Step, x: ValueId, dims: &[usize], space: &[usize]) -> Result<ValueId, Fault> {
    let shape = [&[dims[0] * dims[1], 1], space].concat();
    Ok(s.reshape(x, &shape)?)
}

/// All indices of a shape.
fn indices(dims: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for &dim in dims {
        let longer = |index: Vec<usize>| (0..dim).map(move |i| [&index[..], &[i]].concat());
        all = all.into_iter().flat_map(longer).collect();
    }
    all
}

/// For every index of a shape the product of a number for each axis.
fn outer(dims: &[usize], number: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let product =
        |index: Vec<usize>| index.iter().enumerate().map(|(axis, &at)| number(axis, at)).product();
    indices(dims).into_iter().map(product).collect()
}

/// Of every window of x `[N, 1, …]`, which is padded, the element at `tap`.
fn every(
    s: &mut Step,
    x: ValueId,
    tap: &[usize],
    geometry: &PoolGeometry,
) -> Result<ValueId, Fault> {
    let count = s.dims(x)[0];
    let (mut begin, mut end, mut stride) = (vec![0, 0], vec![count as i64, 1], vec![1, 1]);
    let (mut start, mut size) = (vec![0, 0], vec![count, 1]);
    for (axis, &at) in tap.iter().enumerate() {
        let (step, out) = (geometry.strides[axis], geometry.out[axis]);
        begin.push(at as i64);
        end.push((at + (out - 1) * step + 1) as i64);
        stride.push(step as i64);
        start.push(at);
        size.push(out);
    }
    if stride.iter().all(|&step| step == 1) {
        return cut(s, x, &start, &size);
    }
    let (begin, end, stride) = (s.ints(&begin), s.ints(&end), s.ints(&stride));
    let inputs =
        [("x", x.into()), ("begin", begin.into()), ("end", end.into()), ("stride", stride.into())];
    Ok(s.op(Op::SliceByIndex, "slice", inputs)?)
}

/// Adds g `[N, 1, …]`, one number for each window, to every element of the window.
fn spread_ones(s: &mut Step, g: ValueId, geometry: &PoolGeometry) -> Result<ValueId, Fault> {
    let ones = vec![1.0; geometry.kernel.iter().product()];
    spread(s, g, geometry, 1, &ones)
}

/// The transposed convolution of g `[N, parts, …]` with a kernel `[parts, 1, …]`: `[N, 1, …]`, with
/// x's spatial dims.
fn spread(
    s: &mut Step,
    g: ValueId,
    geometry: &PoolGeometry,
    parts: usize,
    kernel: &[f64],
) -> Result<ValueId, Fault> {
    let shape = [&[parts, 1], &geometry.kernel[..]].concat();
    let kernel = Tensor::from_f64s(s.dtype(g), &shape, kernel).expect("a kernel for each part");
    let kernel = s.constant("kernel", kernel);
    let ints = |s: &mut Step, values: &[usize]| {
        let values: Vec<i64> = values.iter().map(|&v| v as i64).collect();
        s.ints(&values)
    };
    let strides = ints(s, &geometry.strides);
    let pads: Vec<usize> = geometry.pads.iter().flat_map(|&(a, b)| [a, b]).collect();
    let pads = ints(s, &pads);
    let shape = [&[s.dims(g)[0], 1], &geometry.space[..]].concat();
    let (shape, kind) = (ints(s, &shape), s.string("custom"));
    let inputs = [
        ("x", g.into()),
        ("weight", kernel.into()),
        ("strides", strides.into()),
        ("pad_type", kind.into()),
        ("pad", pads.into()),
        ("output_shape", shape.into()),
    ];
    Ok(s.op(Op::ConvTranspose, "conv_transpose", inputs)?)
}
