//! Shape arithmetic that inference, the interpreter and the devices share.

use crate::{OpError, Params};

/// The shape to which two shapes broadcast, aligned at the last axis, or `None` if they do not:
/// axes must be equal or one of them 1.
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at =
        |dims: &[usize], axis: usize| (axis + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// One axis of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceAxis {
    /// Index of the first element taken.
    pub begin: usize,
    /// Step from one element to the next; never 0, negative goes backwards.
    pub stride: i64,
    /// Number of elements taken.
    pub size: usize,
    /// Whether the axis (of size 1) is left out of the result.
    pub dropped: bool,
}

/// The slice that `slice_by_index`, `slice_by_size` or `slice_update` takes of a tensor of these
/// dims. Bounds follow NumPy: negative ones count from the end, and all are clamped.
///
/// # Errors
/// If an argument is not known here, has the wrong length, a stride is 0, or `slice_by_size`
/// leaves the tensor.
pub fn resolve_slice(params: &Params, dims: &[usize]) -> Result<Vec<SliceAxis>, OpError> {
    let rank = dims.len();
    let begin = vector(params, "begin", rank)?;
    if params.operation.op == crate::Op::SliceBySize {
        let size = vector(params, "size", rank)?;
        return (0..rank).map(|a| by_size(params, dims[a], begin[a], size[a])).collect();
    }
    let end = vector(params, "end", rank)?;
    let stride = match params.ints("stride")? {
        Some(_) => vector(params, "stride", rank)?,
        None => vec![1; rank],
    };
    let mask = |name: &str| match params.bools(name)? {
        None => Ok(vec![false; rank]),
        Some(mask) if mask.len() == rank => Ok(mask),
        Some(mask) => Err(length(params, name, rank, mask.len())),
    };
    let (begin_mask, end_mask) = (mask("begin_mask")?, mask("end_mask")?);
    let squeeze = mask("squeeze_mask")?;
    (0..rank)
        .map(|a| {
            let first = if begin_mask[a] { None } else { Some(begin[a]) };
            if squeeze[a] {
                return one(params, dims[a], first.unwrap_or(0));
            }
            let last = if end_mask[a] { None } else { Some(end[a]) };
            by_index(params, dims[a], first, last, stride[a])
        })
        .collect()
}

fn by_size(params: &Params, dim: usize, begin: i64, size: i64) -> Result<SliceAxis, OpError> {
    let start = if begin < 0 { begin.checked_add(dim as i64) } else { Some(begin) };
    let start = start.and_then(|b| usize::try_from(b).ok()).filter(|&b| b <= dim);
    let size = |start: usize| match size {
        -1 => Some(dim - start),
        size => usize::try_from(size).ok().filter(|&s| s <= dim - start),
    };
    match start.and_then(|b| Some((b, size(b)?))) {
        Some((begin, size)) => Ok(SliceAxis { begin, stride: 1, size, dropped: false }),
        None => {
            Err(params.error(format!("`begin` {begin} and `size` leave an axis of size {dim}")))
        }
    }
}

fn one(params: &Params, dim: usize, index: i64) -> Result<SliceAxis, OpError> {
    let at = if index < 0 { index.checked_add(dim as i64) } else { Some(index) };
    match at.and_then(|i| usize::try_from(i).ok()).filter(|&i| i < dim) {
        Some(begin) => Ok(SliceAxis { begin, stride: 1, size: 1, dropped: true }),
        None => Err(params.error(format!("`begin` {index} is outside an axis of size {dim}"))),
    }
}

fn by_index(
    params: &Params,
    dim: usize,
    begin: Option<i64>,
    end: Option<i64>,
    stride: i64,
) -> Result<SliceAxis, OpError> {
    if stride == 0 {
        return Err(params.error("`stride` must not be 0"));
    }
    let n = dim as i64;
    // Where a backward slice stops before the first element is −1, which only a mask can say.
    let (low, high) = if stride > 0 { (0, n) } else { (-1, n - 1) };
    let bound = |v: i64| (if v < 0 { v.saturating_add(n) } else { v }).clamp(low, high);
    let first = begin.map_or(if stride > 0 { low } else { high }, bound);
    let last = end.map_or(if stride > 0 { high } else { low }, bound);
    let span = if stride > 0 { last - first } else { first - last };
    let step = stride.unsigned_abs();
    let size = if span > 0 { (span as u64).div_ceil(step) as usize } else { 0 };
    let begin = if size == 0 { 0 } else { first as usize };
    Ok(SliceAxis { begin, stride, size, dropped: false })
}

fn vector(params: &Params, name: &str, rank: usize) -> Result<Vec<i64>, OpError> {
    let values = params.need_ints(name)?;
    if values.len() == rank { Ok(values) } else { Err(length(params, name, rank, values.len())) }
}

fn length(params: &Params, name: &str, expected: usize, found: usize) -> OpError {
    params.error(format!("`{name}` has {found} elements, the tensor has rank {expected}"))
}

/// Where the windows of a convolution lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Step of the window per spatial axis.
    pub strides: Vec<usize>,
    /// Distance between the kernel's elements per spatial axis.
    pub dilations: Vec<usize>,
    /// Zeros put before and after each spatial axis.
    pub pads: Vec<(usize, usize)>,
    /// Number of groups of channels.
    pub groups: usize,
    /// Spatial dims of the result.
    pub out: Vec<usize>,
}

/// The geometry of `conv` for x `[N, Cin, …]` and weight `[Cout, Cin/groups, …]`.
///
/// The result has ⌊(in + pads − (k−1)·d − 1)/s⌋ + 1 elements per axis. `same` pads
/// max(0, (⌈in/s⌉−1)·s + (k−1)·d + 1 − in), the odd one at the end, `same_lower` at the start.
///
/// # Errors
/// If ranks, channels or lengths do not fit, or the kernel is larger than the padded input.
pub fn conv_geometry(
    params: &Params,
    x: &[usize],
    weight: &[usize],
) -> Result<ConvGeometry, OpError> {
    let spatial = check_ranks(params, x, weight)?;
    let groups = groups(params)?;
    if x[1] != weight[1].saturating_mul(groups) || !weight[0].is_multiple_of(groups) {
        return Err(params.error(format!(
            "x has {} channels and weight is {weight:?} with {groups} groups",
            x[1]
        )));
    }
    let strides = positive(params, "strides", spatial)?;
    let dilations = positive(params, "dilations", spatial)?;
    let custom = pads(params, spatial)?;
    let kind = params.string("pad_type")?;
    let mut geometry = ConvGeometry { strides, dilations, pads: vec![], groups, out: vec![] };
    for axis in 0..spatial {
        let (n, k) = (x[2 + axis], weight[2 + axis]);
        let (s, d) = (geometry.strides[axis], geometry.dilations[axis]);
        let too_large = || params.error(format!("the window of axis {axis} is too large"));
        let window = extent(k, d).ok_or_else(too_large)?;
        let same = || {
            let covered = (n.div_ceil(s).saturating_sub(1)).checked_mul(s)?.checked_add(window)?;
            Some(covered.saturating_sub(n))
        };
        let (before, after) = match kind.as_str() {
            "valid" => (0, 0),
            "custom" => custom[axis],
            "same" => {
                let total = same().ok_or_else(too_large)?;
                (total / 2, total - total / 2)
            }
            "same_lower" => {
                let total = same().ok_or_else(too_large)?;
                (total - total / 2, total / 2)
            }
            other => return Err(params.error(format!("`pad_type` is \"{other}\""))),
        };
        let padded = n.checked_add(before).and_then(|n| n.checked_add(after));
        let padded = padded.ok_or_else(too_large)?;
        if window > padded {
            return Err(params.error(format!(
                "the window of axis {axis} spans {window} elements, the padded input has {padded}"
            )));
        }
        geometry.pads.push((before, after));
        geometry.out.push((padded - window) / s + 1);
    }
    Ok(geometry)
}

/// The geometry of `conv_transpose` for x `[N, Cin, …]` and weight `[Cin, Cout/groups, …]`: `out`
/// elements per axis, which are those from `pads[axis].0` on of the full result of
/// (in−1)·s + (k−1)·d + 1 elements, zeros beyond its end.
///
/// # Errors
/// As [`conv_geometry`].
pub fn conv_transpose_geometry(
    params: &Params,
    x: &[usize],
    weight: &[usize],
) -> Result<ConvGeometry, OpError> {
    let spatial = check_ranks(params, x, weight)?;
    let groups = groups(params)?;
    if x[1] != weight[0] || !x[1].is_multiple_of(groups) {
        return Err(params.error(format!(
            "x has {} channels and weight is {weight:?} with {groups} groups",
            x[1]
        )));
    }
    let strides = positive(params, "strides", spatial)?;
    let dilations = positive(params, "dilations", spatial)?;
    let custom = pads(params, spatial)?;
    let kind = params.string("pad_type")?;
    let shape = params.ints("output_shape")?;
    let mut geometry = ConvGeometry { strides, dilations, pads: vec![], groups, out: vec![] };
    for axis in 0..spatial {
        let (n, k) = (x[2 + axis], weight[2 + axis]);
        let (s, d) = (geometry.strides[axis], geometry.dilations[axis]);
        let too_large = || params.error(format!("axis {axis} of the result is too large"));
        let full = match n.checked_sub(1) {
            None => 0,
            Some(n) => {
                n.checked_mul(s).and_then(|n| n.checked_add(extent(k, d)?)).ok_or_else(too_large)?
            }
        };
        let same = n.checked_mul(s).ok_or_else(too_large)?;
        let cut = full.saturating_sub(same);
        let (before, after) = match kind.as_str() {
            "valid" => (0, 0),
            "custom" => custom[axis],
            "same" => (cut / 2, cut - cut / 2),
            "same_lower" => (cut - cut / 2, cut / 2),
            other => return Err(params.error(format!("`pad_type` is \"{other}\""))),
        };
        let natural = match kind.as_str() {
            "same" | "same_lower" => same,
            _ => full.saturating_sub(before).saturating_sub(after),
        };
        let out = match &shape {
            // The last entries are the spatial ones.
            Some(shape) if shape.len() >= spatial => {
                let wanted = shape[shape.len() - spatial + axis];
                usize::try_from(wanted)
                    .map_err(|_| params.error(format!("`output_shape` holds {wanted}")))?
            }
            Some(shape) => return Err(length(params, "output_shape", spatial, shape.len())),
            None => natural,
        };
        geometry.pads.push((before, after));
        geometry.out.push(out);
    }
    Ok(geometry)
}

fn check_ranks(params: &Params, x: &[usize], weight: &[usize]) -> Result<usize, OpError> {
    if !(3..=5).contains(&x.len()) || weight.len() != x.len() {
        return Err(params.error(format!(
            "x has rank {} and weight rank {}; both must be 3, 4 or 5",
            x.len(),
            weight.len()
        )));
    }
    Ok(x.len() - 2)
}

fn groups(params: &Params) -> Result<usize, OpError> {
    let groups = params.int("groups")?;
    let error = || params.error(format!("`groups` is {groups}, it must be 1 or more"));
    usize::try_from(groups).ok().filter(|&g| g > 0).ok_or_else(error)
}

/// A vector of numbers above 0, all 1 if absent.
fn positive(params: &Params, name: &str, spatial: usize) -> Result<Vec<usize>, OpError> {
    let Some(values) = params.ints(name)? else { return Ok(vec![1; spatial]) };
    if values.len() != spatial {
        return Err(params.error(format!("`{name}` has {} elements, not {spatial}", values.len())));
    }
    let above = |v: i64| usize::try_from(v).ok().filter(|&v| v > 0);
    let values: Option<Vec<usize>> = values.iter().map(|&v| above(v)).collect();
    values.ok_or_else(|| params.error(format!("`{name}` must hold numbers above 0")))
}

/// `pad` as (before, after) per axis, all 0 if absent.
fn pads(params: &Params, spatial: usize) -> Result<Vec<(usize, usize)>, OpError> {
    let Some(values) = params.ints("pad")? else { return Ok(vec![(0, 0); spatial]) };
    if values.len() != 2 * spatial {
        let expected = 2 * spatial;
        return Err(params.error(format!("`pad` has {} elements, not {expected}", values.len())));
    }
    let pair = |p: &[i64]| Some((usize::try_from(p[0]).ok()?, usize::try_from(p[1]).ok()?));
    let pads: Option<Vec<_>> = values.chunks_exact(2).map(pair).collect();
    pads.ok_or_else(|| params.error("`pad` must not be negative"))
}

/// Elements that a kernel of k elements spans: (k−1)·d + 1.
fn extent(k: usize, d: usize) -> Option<usize> {
    k.checked_sub(1)?.checked_mul(d)?.checked_add(1)
}
