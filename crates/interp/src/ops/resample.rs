//! Images at places between their elements.

use crate::evaluate::Context;
use crate::index::{indices, position};
use crate::{Array, Data};
use mil::shape::{PaddingMode, Places, boxes, lines, places};
use mil::{DataType, Op, OpError};

/// Every axis that changes is resampled on its own; only the end is rounded.
pub(super) fn resize(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let out = c.result_dims()?.remove(0);
    if out.contains(&0) {
        // Another axis may be too long to make a list for.
        return Ok(x.pick(&out, std::iter::empty()));
    }
    let mut lines = lines(&c.params, x.dims(), &out)?;
    // Axes that shrink come first, so that nothing on the way is larger than x or the result.
    lines.sort_by_key(|line| line.taps.len() > x.dims()[line.axis]);
    let moves = lines.iter().all(|line| line.taps.iter().all(|tap| tap.2 == 0.0));
    if let (Data::Int(_), true) = (x.data(), moves) {
        let source = |mut index: Vec<usize>| {
            for line in &lines {
                index[line.axis] = line.taps[index[line.axis]].0;
            }
            position(x.dims(), &index)
        };
        return Ok(x.pick(&out, indices(&out).map(source)));
    }
    let (mut dims, mut values) = (x.dims().to_vec(), x.to_f64s());
    for line in lines {
        let mut next = dims.clone();
        next[line.axis] = out[line.axis];
        let mixed = |mut index: Vec<usize>| {
            let (low, high, share) = line.taps[index[line.axis]];
            index[line.axis] = low;
            let first = values[position(&dims, &index)];
            index[line.axis] = high;
            mix(first, values[position(&dims, &index)], share)
        };
        values = indices(&next).map(mixed).collect();
        dims = next;
    }
    Ok(Array::floats(DataType::Fp64, &out, values).cast(x.dtype()))
}

/// a where the share is 0, whatever b is.
fn mix(a: f64, b: f64, share: f64) -> f64 {
    if share == 0.0 { a } else { a * (1.0 - share) + b * share }
}

/// `resample` reads the places, `affine` makes them of those of the result.
pub(super) fn resample(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let places = places(&c.params)?;
    let filling = c.params.float("padding_value")?;
    let dims = c.result_dims()?.remove(0);
    let (height, width) = (x.dims()[2], x.dims()[3]);
    let is_affine = c.operation.op == Op::Affine;
    let given = c.need(if is_affine { "transform_matrix" } else { "coordinates" })?;
    let numbers = given.to_f64s();
    let place = |index: &[usize]| {
        let (n, row, column) = (index[0], index[2], index[3]);
        if !is_affine {
            let at = position(given.dims(), &[n, row, column, 0]);
            return (numbers[at], numbers[at + 1]);
        }
        let m = &numbers[if given.dims()[0] == 1 { 0 } else { n * 6 }..][..6];
        let (h, v) = (places.coordinate(column, dims[3]), places.coordinate(row, dims[2]));
        (m[0] * h + m[1] * v + m[2], m[3] * h + m[4] * v + m[5])
    };
    let values = x.to_f64s();
    let sample = |index: Vec<usize>| {
        let (h, v) = place(&index);
        let column = places.folded(places.element(h, width), width);
        let row = places.folded(places.element(v, height), height);
        let start = position(x.dims(), &[index[0], index[1], 0, 0]);
        let image = Image { elements: &values[start..], height, width, filling };
        image.at(&places, row, column)
    };
    Ok(Array::floats(x.dtype(), &dims, indices(&dims).map(sample).collect()))
}

/// One channel of one image, and what lies outside.
struct Image<'a> {
    elements: &'a [f64],
    height: usize,
    width: usize,
    filling: f64,
}

impl Image<'_> {
    fn at(&self, places: &Places, row: f64, column: f64) -> f64 {
        if !row.is_finite() || !column.is_finite() {
            return self.filling;
        }
        debug_assert!(places.padding == PaddingMode::Constant || self.holds(row, column));
        if places.nearest {
            return self.element(row.round_ties_even(), column.round_ties_even());
        }
        let (top, left) = (row.floor(), column.floor());
        let (down, right) = (row - top, column - left);
        let along =
            |row: f64| mix(self.element(row, left), self.element_if(right, row, left + 1.0), right);
        mix(along(top), if down == 0.0 { 0.0 } else { along(top + 1.0) }, down)
    }

    /// An element that counts only if it has a share.
    fn element_if(&self, share: f64, row: f64, column: f64) -> f64 {
        if share == 0.0 { 0.0 } else { self.element(row, column) }
    }

    fn holds(&self, row: f64, column: f64) -> bool {
        (0.0..self.height as f64).contains(&row) && (0.0..self.width as f64).contains(&column)
    }

    fn element(&self, row: f64, column: f64) -> f64 {
        match self.holds(row, column) {
            true => self.elements[row as usize * self.width + column as usize],
            false => self.filling,
        }
    }
}

/// Points outside the image are `pad_value`, those inside mixed from four elements.
pub(super) fn crop_resize(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let known = boxes(&c.params)?;
    let filling = c.params.float("pad_value")?;
    let dims = c.result_dims()?.remove(0);
    let (count, height, width) = (x.dims()[0], x.dims()[2], x.dims()[3]);
    let (regions, of_image) = match c.get("roi")? {
        Some(roi) => {
            let length = roi.dims()[2];
            let rows: Vec<Vec<f64>> = roi.to_f64s().chunks(length).map(<[f64]>::to_vec).collect();
            let images = rows.iter().map(|row| (length == 5).then(|| row[0])).collect::<Vec<_>>();
            (rows.into_iter().map(|row| row[length - 4..].to_vec()).collect::<Vec<_>>(), images)
        }
        None => {
            let rows = c.need("boxes")?.to_f64s();
            let rows: Vec<Vec<f64>> = rows.chunks(4).map(<[f64]>::to_vec).collect();
            let images: Vec<f64> = match c.get("box_indices")? {
                Some(indices) => indices.to_f64s(),
                None => (0..rows.len()).map(|i| i as f64).collect(),
            };
            (rows, images.into_iter().map(Some).collect())
        }
    };
    for image in of_image.iter().flatten() {
        if !(0.0..count as f64).contains(image) {
            return Err(c.params.error(format!("a box is of image {image}, there are {count}")));
        }
    }
    let values = x.to_f64s();
    let space = dims.len() - 2;
    let sample = |index: Vec<usize>| {
        let region = index[0];
        let channel = index[space - 1];
        let image = of_image[region].map_or_else(|| index[1], |image| image as usize);
        let [rows, columns] = known.corners(&regions[region], height, width);
        let row = inside(known.point(index[space], dims[space], rows), height);
        let column = inside(known.point(index[space + 1], dims[space + 1], columns), width);
        let (Some(row), Some(column)) = (row, column) else { return filling };
        let start = position(x.dims(), &[image, channel, 0, 0]);
        let elements = &values[start..];
        let (top, left) = (row.floor(), column.floor());
        let next = |at: f64, n: usize| (at as usize + 1).min(n - 1);
        let along = |row: usize| {
            let first = elements[row * width + left as usize];
            mix(first, elements[row * width + next(left, width)], column - left)
        };
        mix(along(top as usize), along(next(top, height)), row - top)
    };
    Ok(Array::floats(x.dtype(), &dims, indices(&dims).map(sample).collect()))
}

/// The point, if it is in the image; one that only rounding has put outside is.
fn inside(point: f64, n: usize) -> Option<f64> {
    let last = n as f64 - 1.0;
    let slack = 1e-9 * n as f64;
    (-slack..=last + slack).contains(&point).then(|| point.clamp(0.0, last))
}
