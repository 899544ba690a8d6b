//! Where resampling takes its elements from.

use crate::{Dim, Op, OpError, Params};

/// How the points of a grid of `out` lie over an axis of `n` elements, as the documentation of
/// `resize_bilinear` defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// The first and last points are the first and last elements.
    StrictAlignCorners,
    /// The same, but a single point is in the middle.
    AlignCorners,
    /// Point i is at i·n/out.
    Default,
    /// Points are the middles of `out` equal parts of what lies between the outer elements.
    OffsetCorners,
    /// Points are the middles of `out` equal parts of the axis, an element taking 1 of it.
    UnalignCorners,
}

impl Sampling {
    /// Point `i` of `out` on an axis of `n` elements, which for a box is no integer: from 0 to n−1.
    pub fn point(self, i: usize, n: f64, out: usize) -> f64 {
        let (at, parts, last) = (i as f64, out as f64, n - 1.0);
        let point = match self {
            Sampling::AlignCorners if out == 1 => last / 2.0,
            Sampling::StrictAlignCorners | Sampling::AlignCorners => {
                if out == 1 {
                    0.0
                } else {
                    at * last / (parts - 1.0)
                }
            }
            Sampling::Default => at * n / parts,
            Sampling::OffsetCorners => (at + 0.5) * last.max(1.0) / parts,
            Sampling::UnalignCorners => (at + 0.5) * n / parts - 0.5,
        };
        point.max(0.0).min(last.max(0.0))
    }

    fn from_name(name: &str) -> Option<Sampling> {
        Some(match name {
            "STRICT_ALIGN_CORNERS" => Sampling::StrictAlignCorners,
            "ALIGN_CORNERS" => Sampling::AlignCorners,
            "DEFAULT" => Sampling::Default,
            "OFFSET_CORNERS" => Sampling::OffsetCorners,
            "UNALIGN_CORNERS" => Sampling::UnalignCorners,
            _ => return None,
        })
    }

    fn of(params: &Params) -> Result<Sampling, OpError> {
        let name = params.string("sampling_mode")?;
        Sampling::from_name(&name).ok_or_else(|| {
            params.error(format!(
                "`sampling_mode` is \"{name}\"; it is DEFAULT, STRICT_ALIGN_CORNERS, \
                 ALIGN_CORNERS, UNALIGN_CORNERS or OFFSET_CORNERS"
            ))
        })
    }
}

/// What resampling does along an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The axis.
    pub axis: usize,
    /// For each element of the result two elements of x, and the share of the second.
    pub taps: Vec<(usize, usize, f64)>,
}

/// How points are made elements.
enum Between {
    /// The element that the point is in, if elements begin at whole numbers.
    Floor,
    /// The nearest, the later one of two.
    Nearest,
    /// A mixture of the elements on both sides.
    Linear,
}

/// What the ops that resize do along each axis that they can change, for x of these dims and a
/// result of those that [`resized_dims`] gives: as many taps as the result has elements along them.
///
/// # Errors
/// If an argument is not known or not allowed, or a result is to be made of nothing.
pub fn lines(params: &Params, x: &[usize], out: &[usize]) -> Result<Vec<Line>, OpError> {
    let (sampling, between) = method(params)?;
    let first = x.len() - resized(params, x.len())?;
    (first..x.len())
        .map(|axis| {
            let (n, count) = (x[axis], out[axis]);
            if n == 0 && count > 0 {
                return Err(params.error(format!("axis {axis} of x has no elements to resize")));
            }
            let tap = |i: usize| tap(sampling, &between, i, n, count);
            Ok(Line { axis, taps: (0..count).map(tap).collect() })
        })
        .collect()
}

fn tap(
    sampling: Sampling,
    between: &Between,
    i: usize,
    n: usize,
    count: usize,
) -> (usize, usize, f64) {
    let last = n - 1;
    let point = sampling.point(i, n as f64, count);
    match between {
        // In integers, because a quotient just below a whole number must not become it.
        Between::Floor => {
            let at = (i as u128 * n as u128 / count as u128) as usize;
            (at.min(last), at.min(last), 0.0)
        }
        Between::Nearest => {
            let at = ((point + 0.5).floor() as usize).min(last);
            (at, at, 0.0)
        }
        Between::Linear => {
            let low = (point.floor() as usize).min(last);
            let share = point - low as f64;
            let high = if share > 0.0 { (low + 1).min(last) } else { low };
            (low, high, share)
        }
    }
}

fn method(params: &Params) -> Result<(Sampling, Between), OpError> {
    Ok(match params.operation.op {
        Op::UpsampleNearestNeighbor | Op::ResizeNearestNeighbor => {
            (Sampling::Default, Between::Floor)
        }
        Op::UpsampleBilinear => {
            let align = params.bool("align_corners")?;
            let half = match params.has("half_pixel_centers") {
                true => params.bool("half_pixel_centers")?,
                false => !align,
            };
            let sampling = match (align, half) {
                (true, false) => Sampling::StrictAlignCorners,
                (false, true) => Sampling::UnalignCorners,
                (false, false) => Sampling::Default,
                (true, true) => {
                    return Err(
                        params.error("`align_corners` and `half_pixel_centers` exclude each other")
                    );
                }
            };
            (sampling, Between::Linear)
        }
        Op::ResizeBilinear => (Sampling::of(params)?, Between::Linear),
        _ => {
            let sampling = Sampling::of(params)?;
            let between = match params.string("interpolation_mode")?.as_str() {
                "LINEAR" => Between::Linear,
                "NEAREST_NEIGHBOR" if sampling == Sampling::Default => Between::Floor,
                "NEAREST_NEIGHBOR" => Between::Nearest,
                other => {
                    return Err(params.error(format!(
                        "`interpolation_mode` is \"{other}\"; it is LINEAR or NEAREST_NEIGHBOR"
                    )));
                }
            };
            (sampling, between)
        }
    })
}

/// How many of the last axes the op can change.
fn resized(params: &Params, rank: usize) -> Result<usize, OpError> {
    if params.operation.op != Op::Resize {
        return match rank {
            0..3 => Err(params.error(format!("x has rank {rank}; it must be 3 or more"))),
            _ => Ok(2),
        };
    }
    let count = params.int("resized_dims")?;
    usize::try_from(count)
        .ok()
        .filter(|&count| count <= rank)
        .ok_or_else(|| params.error(format!("`resized_dims` is {count}, x has rank {rank}")))
}

/// The dims of what the ops that resize give, for x of these dims: factors are multiplied in the
/// precision of their type and the product is rounded down.
///
/// # Errors
/// If an argument is not allowed, or a size is negative or too large.
pub fn resized_dims(params: &Params, x: &[Dim]) -> Result<Vec<Dim>, OpError> {
    method(params)?;
    let rank = x.len();
    let count = resized(params, rank)?;
    let mut out = x.to_vec();
    let size = |name: &str, size: i64| {
        let error = || params.error(format!("`{name}` is {size}"));
        usize::try_from(size).map(Dim::Fixed).map_err(|_| error())
    };
    match params.operation.op {
        Op::UpsampleNearestNeighbor | Op::UpsampleBilinear => {
            out[rank - 2] = scaled(params, "scale_factor_height", x[rank - 2])?;
            out[rank - 1] = scaled(params, "scale_factor_width", x[rank - 1])?;
        }
        Op::Resize => {
            let shape = params.ty("shape")?;
            let length = match shape.dims() {
                Some([dim]) => dim.fixed(),
                Some(_) => return Err(params.error(format!("`shape` is {shape}, not a vector"))),
                None => None,
            };
            if let Some(length) = length.filter(|&length| length < count || length > rank) {
                return Err(params.error(format!(
                    "`shape` has {length} elements; it must have {count} to {rank}"
                )));
            }
            if !params.is_known("shape") {
                out[rank - count..].fill(Dim::Unknown);
                return Ok(out);
            }
            let shape = params.need_ints("shape")?;
            let sizes = &shape[shape.len().saturating_sub(count)..];
            for (dim, &wanted) in out[rank - count..].iter_mut().zip(sizes) {
                if wanted != 0 {
                    *dim = size("shape", wanted)?;
                }
            }
        }
        _ => {
            out[rank - 2] = size("target_size_height", params.int("target_size_height")?)?;
            out[rank - 1] = size("target_size_width", params.int("target_size_width")?)?;
        }
    }
    Ok(out)
}

fn scaled(params: &Params, name: &str, dim: Dim) -> Result<Dim, OpError> {
    let factor = params.tensor(name)?;
    let wrong = |found: String| params.error(format!("`{name}` is {found}"));
    let Some(factor) = factor else { return Ok(dim) };
    if factor.count() != 1 {
        return Err(wrong(factor.ty().to_string()));
    }
    let value = factor.to_f64s()[0];
    if !(value.is_finite() && value > 0.0) {
        return Err(wrong(format!("{value}, it must be above 0")));
    }
    let Dim::Fixed(n) = dim else { return Ok(Dim::Unknown) };
    let product = if factor.dtype().is_float() {
        // As single precision has it: 0.7·10 is 7, not 6.9999999.
        f64::from((value as f32) * n as f32).floor()
    } else {
        value * n as f64
    };
    // Beyond 2⁵³ products are not exact, and no tensor is so large.
    match product < 2f64.powi(53) {
        true => Ok(Dim::Fixed(product as usize)),
        false => Err(wrong(format!("{value}; the result is too large"))),
    }
}

/// What an image has beyond its sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaddingMode {
    /// `padding_value`.
    Constant,
    /// The outermost elements.
    Border,
    /// The image mirrored at the middles of the outermost elements.
    Reflection,
    /// The image mirrored at its edges.
    Symmetric,
}

/// What places in an image are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinatesMode {
    /// Elements: 0 to n−1.
    Unnormalized,
    /// −1 to 1.
    MinusOneToOne,
    /// 0 to 1.
    ZeroToOne,
}

/// How `resample` and `affine` understand places in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// Whether an element is taken as it is, and not a mixture of four.
    pub nearest: bool,
    /// What lies outside.
    pub padding: PaddingMode,
    /// The unit of coordinates.
    pub coordinates: CoordinatesMode,
    /// Whether the ends of normalized coordinates are the middles of the outermost elements, and
    /// not the edges of the image.
    pub align_corners: bool,
}

impl Places {
    /// A coordinate in elements along an axis of n, before padding.
    pub fn element(&self, c: f64, n: usize) -> f64 {
        let n = n as f64;
        let unit = match self.coordinates {
            CoordinatesMode::Unnormalized => return c,
            CoordinatesMode::MinusOneToOne => (c + 1.0) / 2.0,
            CoordinatesMode::ZeroToOne => c,
        };
        if self.align_corners { unit * (n - 1.0) } else { unit * n - 0.5 }
    }

    /// The coordinate of element i of n. A single element that is at both ends is in the middle.
    pub fn coordinate(&self, i: usize, n: usize) -> f64 {
        let (at, n) = (i as f64, n as f64);
        let unit = match (self.coordinates, self.align_corners) {
            (CoordinatesMode::Unnormalized, _) => return at,
            (_, true) if n == 1.0 => 0.5,
            (_, true) => at / (n - 1.0),
            (_, false) => (at + 0.5) / n,
        };
        if self.coordinates == CoordinatesMode::MinusOneToOne { 2.0 * unit - 1.0 } else { unit }
    }

    /// Where along an axis of n elements what stands at `at` is found: within 0 to n−1, or where it
    /// was if what is outside is constant.
    pub fn folded(&self, at: f64, n: usize) -> f64 {
        let last = n as f64 - 1.0;
        let mirrored = |low: f64, span: f64| {
            if span == 0.0 {
                return low;
            }
            let offset = (at - low).abs() % (2.0 * span);
            low + if offset > span { 2.0 * span - offset } else { offset }
        };
        let at = match self.padding {
            PaddingMode::Constant => return at,
            PaddingMode::Border => at,
            PaddingMode::Reflection => mirrored(0.0, last),
            PaddingMode::Symmetric => mirrored(-0.5, n as f64),
        };
        // A NaN becomes 0.
        at.max(0.0).min(last)
    }
}

/// The modes of `resample` or `affine`.
///
/// # Errors
/// If one of them is not known.
pub fn places(params: &Params) -> Result<Places, OpError> {
    let wrong = |name: &str, found: &str, known: &str| {
        params.error(format!("`{name}` is \"{found}\"; it is {known}"))
    };
    let sampling = params.string("sampling_mode")?;
    let nearest = match sampling.as_str() {
        "bilinear" => false,
        "nearest" => true,
        other => return Err(wrong("sampling_mode", other, "bilinear or nearest")),
    };
    let padding = match params.string("padding_mode")?.as_str() {
        "constant" => PaddingMode::Constant,
        "border" => PaddingMode::Border,
        "reflection" => PaddingMode::Reflection,
        "symmetric" => PaddingMode::Symmetric,
        other => {
            let known = "constant, border, reflection or symmetric";
            return Err(wrong("padding_mode", other, known));
        }
    };
    let coordinates = match params.string("coordinates_mode")?.as_str() {
        "unnormalized" => CoordinatesMode::Unnormalized,
        "normalized_minus_one_to_one" => CoordinatesMode::MinusOneToOne,
        "normalized_zero_to_one" => CoordinatesMode::ZeroToOne,
        other => {
            let known = "unnormalized, normalized_minus_one_to_one or normalized_zero_to_one";
            return Err(wrong("coordinates_mode", other, known));
        }
    };
    params.float("padding_value")?;
    Ok(Places { nearest, padding, coordinates, align_corners: params.bool("align_corners")? })
}

/// How `crop_resize` understands its boxes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Boxes {
    /// Whether coordinates run from 0 to 1 over the middles of the outermost elements.
    pub normalized: bool,
    /// What coordinates are multiplied by.
    pub scale: f64,
    /// Whether a box is a middle and a size, and not two corners.
    pub centered: bool,
    /// Whether columns come before rows.
    pub width_first: bool,
    /// How points lie in a box.
    pub sampling: Sampling,
    /// Height and width of the results.
    pub size: [usize; 2],
}

impl Boxes {
    /// First and last row, then first and last column, in elements of an image of this height and
    /// width.
    pub fn corners(&self, values: &[f64], height: usize, width: usize) -> [(f64, f64); 2] {
        let (h, w) = if self.width_first { (1, 0) } else { (0, 1) };
        let along = |i: usize, n: usize| {
            let unit = self.scale * if self.normalized { n as f64 - 1.0 } else { 1.0 };
            let (a, b) = (values[i] * unit, values[i + 2] * unit);
            if self.centered { (a - b / 2.0, a + b / 2.0) } else { (a, b) }
        };
        [along(h, height), along(w, width)]
    }

    /// Point i of `out` between two corners; a box whose end is before its begin is read backwards.
    pub fn point(&self, i: usize, out: usize, (begin, end): (f64, f64)) -> f64 {
        let span = (end - begin).abs();
        let offset = self.sampling.point(i, span + 1.0, out);
        if offset == span { end } else { begin + offset.copysign(end - begin) }
    }
}

/// The arguments of `crop_resize` that are known when a program is compiled.
///
/// # Errors
/// If one of them is not allowed.
pub fn boxes(params: &Params) -> Result<Boxes, OpError> {
    let mode = params.string("box_coordinate_mode")?;
    let (centered, width_first) = match mode.as_str() {
        "CORNERS_HEIGHT_FIRST" => (false, false),
        "CORNERS_WIDTH_FIRST" => (false, true),
        "CENTER_SIZE_HEIGHT_FIRST" => (true, false),
        "CENTER_SIZE_WIDTH_FIRST" => (true, true),
        other => {
            return Err(params.error(format!(
                "`box_coordinate_mode` is \"{other}\"; it is CORNERS or CENTER_SIZE, then \
                 _HEIGHT_FIRST or _WIDTH_FIRST"
            )));
        }
    };
    let size = |name: &str| {
        let size = params.int(name)?;
        let error = || params.error(format!("`{name}` is {size}, it must be 1 or more"));
        usize::try_from(size).ok().filter(|&s| s > 0).ok_or_else(error)
    };
    params.float("pad_value")?;
    Ok(Boxes {
        normalized: params.bool("normalized_coordinates")?,
        scale: params.float("spatial_scale")?,
        centered,
        width_first,
        sampling: Sampling::of(params)?,
        size: [size("target_height")?, size("target_width")?],
    })
}
