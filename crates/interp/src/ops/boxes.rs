//! Non-maximum suppression.

use crate::Array;
use crate::evaluate::Context;
use mil::{DataType, OpError};

/// Boxes, scores and indices of what is kept, in order of score; where less is kept than
/// `max_boxes`, zeros, and −1 for indices, follow. With a `score_threshold`, how many were kept.
///
/// A box's score is its best over all classes. With `per_class_suppression` boxes compete within
/// each class only, and a box that one class keeps is kept, with its best score among those.
pub(super) fn non_maximum_suppression(c: &Context) -> Result<Vec<Array>, OpError> {
    let (boxes, scores) = (c.need("boxes")?, c.need("scores")?);
    let iou = c.params.float("iou_threshold")?;
    let counted = c.params.has("score_threshold");
    let least = if counted { c.params.float("score_threshold")? } else { f64::NEG_INFINITY };
    let max = c.params.int("max_boxes")? as usize;
    let per_class = c.params.bool("per_class_suppression")?;
    let batches = boxes.dims()[0];
    // With a threshold the boxes are before their coordinates and classes, without behind.
    let (count, classes) = match counted {
        true => (boxes.dims()[1], scores.dims()[2]),
        false => (boxes.dims()[2], scores.dims()[1]),
    };
    let place = |batch: usize, i: usize, part: usize, parts: usize| match counted {
        true => (batch * count + i) * parts + part,
        false => (batch * parts + part) * count + i,
    };
    let (corners, values) = (boxes.to_f64s(), scores.to_f64s());
    let mut chosen: Vec<Vec<usize>> = vec![];
    for batch in 0..batches {
        let of = |i: usize| [0, 1, 2, 3].map(|part| corners[place(batch, i, part, 4)]);
        let areas: Vec<[f64; 4]> = (0..count).map(of).collect();
        let score = |i: usize, class: usize| values[place(batch, i, class, classes)];
        let best = |i: usize| (0..classes).map(|k| score(i, k)).fold(f64::NEG_INFINITY, f64::max);
        let mut kept: Vec<(usize, f64)> = vec![];
        if per_class {
            for class in 0..classes {
                for (i, value) in survivors(&areas, &|i| score(i, class), iou, least, max) {
                    match kept.iter_mut().find(|(other, _)| *other == i) {
                        Some((_, so_far)) => *so_far = so_far.max(value),
                        None => kept.push((i, value)),
                    }
                }
            }
            kept.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            kept.truncate(max);
        } else {
            kept = survivors(&areas, &best, iou, least, max);
        }
        chosen.push(kept.into_iter().map(|(i, _)| i).collect());
    }
    let taken = |parts: usize, from: &[f64]| {
        let element = |batch: usize, slot: usize, part: usize| {
            chosen[batch].get(slot).map_or(0.0, |&i| from[place(batch, i, part, parts)])
        };
        let mut out = Vec::with_capacity(batches * max * parts);
        for batch in 0..batches {
            match counted {
                true => {
                    (0..max * parts).for_each(|k| out.push(element(batch, k / parts, k % parts)))
                }
                false => (0..max * parts).for_each(|k| out.push(element(batch, k % max, k / max))),
            }
        }
        out
    };
    let dims = |parts: usize| if counted { [batches, max, parts] } else { [batches, parts, max] };
    let index = |batch: usize, slot: usize| chosen[batch].get(slot).map_or(-1, |&i| i as i64);
    let indices = (0..batches).flat_map(|b| (0..max).map(move |slot| (b, slot)));
    let indices = indices.map(|(batch, slot)| index(batch, slot)).collect();
    let mut results = vec![
        Array::floats(boxes.dtype(), &dims(4), taken(4, &corners)),
        Array::floats(scores.dtype(), &dims(classes), taken(classes, &values)),
        Array::ints(DataType::Int32, &[batches, max], indices),
    ];
    if counted {
        let counts = chosen.iter().map(|kept| kept.len() as i64).collect();
        results.push(Array::ints(DataType::Int32, &[batches], counts));
    }
    Ok(results)
}

/// The boxes that are kept and their scores, best first, the first of equals first.
fn survivors(
    boxes: &[[f64; 4]],
    score: &dyn Fn(usize) -> f64,
    iou: f64,
    least: f64,
    max: usize,
) -> Vec<(usize, f64)> {
    let scored = (0..boxes.len()).map(|i| (i, score(i)));
    let mut candidates: Vec<(usize, f64)> = scored.filter(|(_, value)| *value >= least).collect();
    candidates.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut kept: Vec<(usize, f64)> = vec![];
    for (i, value) in candidates {
        if kept.len() == max {
            break;
        }
        if kept.iter().all(|&(other, _)| overlap(boxes[i], boxes[other]) <= iou) {
            kept.push((i, value));
        }
    }
    kept
}

/// Intersection over union of two boxes given by center, width and height.
fn overlap(a: [f64; 4], b: [f64; 4]) -> f64 {
    let along = |axis: usize| {
        let low = (a[axis] - a[axis + 2] / 2.0).max(b[axis] - b[axis + 2] / 2.0);
        let high = (a[axis] + a[axis + 2] / 2.0).min(b[axis] + b[axis + 2] / 2.0);
        (high - low).max(0.0)
    };
    let both = along(0) * along(1);
    let union = a[2] * a[3] + b[2] * b[3] - both;
    if union > 0.0 { both / union } else { 0.0 }
}
