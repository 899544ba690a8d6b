//! Shape arithmetic that inference, the interpreter and the devices share.

mod pool;
mod rearrange;
mod resample;

pub use pool::{PoolGeometry, pool_geometry};
pub use rearrange::{Blocks, blocks, crop_amounts};
pub use resample::{
    Boxes, CoordinatesMode, Line, PaddingMode, Places, Sampling, boxes, lines, places, resized_dims,
};

use crate::{Dim, OpError, Params, TensorType};

/// Tensors of a higher rank are refused. Programs use up to 6 or so; hostile ones could make
/// loops over axes slow.
pub const MAX_RANK: usize = 32;

/// Whether the tensor is one that can be worked with: a rank of at most [`MAX_RANK`], and a
/// product of its known dims (a dim of 0 counting as 1, so that strides fit too) whose bytes
/// memory can address.
pub fn is_addressable(ty: &TensorType) -> bool {
    let Some(dims) = ty.dims() else { return true };
    let known: Vec<usize> = dims.iter().filter_map(|d| d.fixed()).map(|d| d.max(1)).collect();
    // 16 bytes an element leave room for any other element type.
    let bytes = crate::element_count(&known).and_then(|n| n.checked_mul(16));
    dims.len() <= MAX_RANK && bytes.is_some_and(|bytes| isize::try_from(bytes).is_ok())
}

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
/// dims. Bounds follow NumPy: negative ones count from the end, and all are clamped; a masked one
/// is as far out as the stride's direction allows. An axis has ⌈(end − begin)/stride⌉ elements.
///
/// # Errors
/// If an argument is not known here, has the wrong length, a stride is 0, `slice_by_size`
/// leaves the tensor, or a dropped axis has no element at `begin`.
pub fn resolve_slice(params: &Params, dims: &[usize]) -> Result<Vec<SliceAxis>, OpError> {
    let last = if by_size(params) { "size" } else { "end" };
    params.need_ints("begin")?;
    params.need_ints(last)?;
    params.ints("stride")?;
    let slice = Slice::read(params, dims.len())?;
    let axis = |axis: usize| Ok(slice.axis(params, axis, dims[axis])?.expect("bounds are known"));
    (0..dims.len()).map(axis).collect()
}

/// The dims of the slice, as far as they are known.
pub(crate) fn slice_dims(params: &Params, dims: &[Dim]) -> Result<Vec<Dim>, OpError> {
    let slice = Slice::read(params, dims.len())?;
    let mut out = vec![];
    for (axis, &dim) in dims.iter().enumerate() {
        let resolved = match dim {
            Dim::Fixed(n) => slice.axis(params, axis, n)?,
            Dim::Unknown => None,
        };
        if !slice.squeeze_mask[axis] {
            out.push(match resolved {
                Some(resolved) => Dim::Fixed(resolved.size),
                None => slice.dim(params, axis, dim)?,
            });
        }
    }
    Ok(out)
}

fn by_size(params: &Params) -> bool {
    params.operation.op == crate::Op::SliceBySize
}

/// The arguments of a slice; a vector that is bound but not known here is `None`.
struct Slice {
    begin: Option<Vec<i64>>,
    /// `end`, or `size` where the op takes that.
    last: Option<Vec<i64>>,
    by_size: bool,
    stride: Option<Vec<i64>>,
    begin_mask: Vec<bool>,
    end_mask: Vec<bool>,
    squeeze_mask: Vec<bool>,
}

impl Slice {
    fn read(params: &Params, rank: usize) -> Result<Slice, OpError> {
        let by_size = by_size(params);
        let vector = |name: &str| {
            if !params.has(name) {
                return Ok(Some(vec![1; rank]));
            }
            let ty = params.ty(name)?;
            if !ty.compatible(&TensorType::fixed(ty.dtype, &[rank]))
                && (rank != 1 || ty.rank() != Some(0))
            {
                return Err(params.error(format!(
                    "`{name}` is {ty}; the tensor has rank {rank}, so it must have {rank} elements"
                )));
            }
            if !params.is_known(name) {
                return Ok(None);
            }
            params.ints(name)
        };
        let mask = |name: &str| match params.bools(name)? {
            None => Ok(vec![false; rank]),
            Some(mask) if mask.len() == rank => Ok(mask),
            Some(mask) => Err(length(params, name, rank, mask.len())),
        };
        Ok(Slice {
            begin: vector("begin")?,
            last: vector(if by_size { "size" } else { "end" })?,
            by_size,
            stride: vector("stride")?,
            begin_mask: mask("begin_mask")?,
            end_mask: mask("end_mask")?,
            squeeze_mask: mask("squeeze_mask")?,
        })
    }

    /// What is taken of an axis of this size, if all that it depends on is known.
    fn axis(&self, p: &Params, a: usize, dim: usize) -> Result<Option<SliceAxis>, OpError> {
        let at = |v: &Option<Vec<i64>>| v.as_ref().map(|v| v[a]);
        if self.by_size {
            let Some((begin, size)) = at(&self.begin).zip(at(&self.last)) else { return Ok(None) };
            let refused = || {
                p.error(format!("`begin` {begin} and `size` {size} leave an axis of size {dim}"))
            };
            return slice_sized(dim, begin, size).ok_or_else(refused).map(Some);
        }
        let first = if self.begin_mask[a] { Some(None) } else { at(&self.begin).map(Some) };
        if self.squeeze_mask[a] {
            let Some(index) = first.map(|first| first.unwrap_or(0)) else { return Ok(None) };
            let outside = || p.error(format!("`begin` {index} is outside an axis of size {dim}"));
            return slice_one(dim, index).ok_or_else(outside).map(Some);
        }
        let last = if self.end_mask[a] { Some(None) } else { at(&self.last).map(Some) };
        let Some(stride) = at(&self.stride) else { return Ok(None) };
        if stride == 0 {
            return Err(p.error(format!("`stride` of axis {a} is 0")));
        }
        let bounds = first.zip(last);
        Ok(bounds.map(|(first, last)| slice_between(dim, first, last, stride)))
    }

    /// The size of an axis that [`Slice::axis`] cannot resolve.
    fn dim(&self, p: &Params, a: usize, dim: Dim) -> Result<Dim, OpError> {
        if !self.by_size {
            // The whole axis, whatever its size.
            let whole = self.begin_mask[a] && self.end_mask[a];
            let step = self.stride.as_ref().map(|s| s[a]);
            let keeps = whole && matches!(step, Some(1 | -1));
            return Ok(if keeps { dim } else { Dim::Unknown });
        }
        let Some(size) = self.last.as_ref().map(|size| size[a]) else { return Ok(Dim::Unknown) };
        if size == -1 {
            let whole = self.begin.as_ref().is_some_and(|begin| begin[a] == 0);
            return Ok(if whole { dim } else { Dim::Unknown });
        }
        match usize::try_from(size) {
            Ok(size) if dim.fixed().is_none_or(|dim| size <= dim) => Ok(Dim::Fixed(size)),
            _ => Err(p.error(format!("`size` {size} leaves an axis of size {dim}"))),
        }
    }
}

/// An index counted from the front, if it is in `0..=limit`. Wide enough for any two arguments.
fn from_front(index: i64, dim: usize, limit: usize) -> Option<usize> {
    let index = i128::from(index);
    let index = if index < 0 { index + dim as i128 } else { index };
    usize::try_from(index).ok().filter(|&i| i <= limit)
}

/// What `slice_by_size` takes of an axis of `dim` elements; a `size` of −1 goes to the end. `None`
/// if that leaves the axis.
pub fn slice_sized(dim: usize, begin: i64, size: i64) -> Option<SliceAxis> {
    let begin = from_front(begin, dim, dim)?;
    let size = match size {
        -1 => dim - begin,
        size => usize::try_from(size).ok().filter(|&s| s <= dim - begin)?,
    };
    Some(SliceAxis { begin, stride: 1, size, dropped: false })
}

/// The element of an axis of `dim` elements that a slice takes of an axis that it drops. `None` if
/// there is none.
pub fn slice_one(dim: usize, index: i64) -> Option<SliceAxis> {
    let begin = from_front(index, dim, dim).filter(|&i| i < dim)?;
    Some(SliceAxis { begin, stride: 1, size: 1, dropped: true })
}

/// What `slice_by_index` takes of an axis of `dim` elements. `stride` must not be 0; a bound that is
/// `None` is masked.
pub fn slice_between(dim: usize, begin: Option<i64>, end: Option<i64>, stride: i64) -> SliceAxis {
    let n = dim as i128;
    // Where a backward slice stops before the first element is −1, which only a mask can say.
    let (low, high) = if stride > 0 { (0, n) } else { (-1, n - 1) };
    let bound = |v: i64| (i128::from(v) + if v < 0 { n } else { 0 }).clamp(low, high);
    let first = begin.map_or(if stride > 0 { low } else { high }, bound);
    let last = end.map_or(if stride > 0 { high } else { low }, bound);
    let span = if stride > 0 { last - first } else { first - last };
    let span = u128::try_from(span).unwrap_or(0);
    let size = span.div_ceil(u128::from(stride.unsigned_abs())) as usize;
    let begin = if size == 0 { 0 } else { first as usize };
    SliceAxis { begin, stride, size, dropped: false }
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
        let (before, after) = match padding(&kind, custom[axis], n, s, window) {
            Some(pads) => pads.ok_or_else(too_large)?,
            None => return Err(params.error(format!("`pad_type` is \"{kind}\""))),
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
    let channels = weight[1].saturating_mul(groups);
    if let Some(&[_, found, ..]) = shape.as_deref().filter(|shape| shape.len() == spatial + 2)
        && usize::try_from(found).ok() != Some(channels)
    {
        return Err(params
            .error(format!("`output_shape` has {found} channels, the weight gives {channels}")));
    }
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
            // The last entries are the spatial ones; batch and channels may stand before them.
            Some(shape) if shape.len() == spatial || shape.len() == spatial + 2 => {
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

/// What is put before and after an axis of n elements under a window with stride s. `None` if
/// there is no padding of this kind, and inside if the amount is too large.
fn padding(
    kind: &str,
    custom: (usize, usize),
    n: usize,
    s: usize,
    window: usize,
) -> Option<Option<(usize, usize)>> {
    let same = || {
        let covered = (n.div_ceil(s).saturating_sub(1)).checked_mul(s)?.checked_add(window)?;
        Some(covered.saturating_sub(n))
    };
    Some(match kind {
        "valid" => Some((0, 0)),
        "custom" => Some(custom),
        "same" => same().map(|total| (total / 2, total - total / 2)),
        "same_lower" => same().map(|total| (total - total / 2, total / 2)),
        _ => return None,
    })
}

/// Elements that a kernel of k elements spans: (k−1)·d + 1.
fn extent(k: usize, d: usize) -> Option<usize> {
    k.checked_sub(1)?.checked_mul(d)?.checked_add(1)
}
