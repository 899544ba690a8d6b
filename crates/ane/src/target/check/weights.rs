//! References to weight files.

use super::Hit;
use super::context::{Context, called};
use crate::target::Rule;
use mil::{DataType, Op, element_count};

pub(super) fn tensors(c: &Context<'_>, rule: &'static Rule, hits: &mut Vec<Hit>) {
    let most = rule.limit.map_or(usize::MAX, |limit| limit as usize);
    let blobs = c.blobs();
    if let Some((_, operation)) = blobs.get(most) {
        let message =
            format!("{} makes {} tensors from weight files", called(c, operation), blobs.len());
        hits.push(Hit::at(operation, message));
    }
}

pub(super) fn tensors_and_scalar(c: &Context<'_>, rule: &'static Rule, hits: &mut Vec<Hit>) {
    let most = rule.limit.map_or(usize::MAX, |limit| limit as usize);
    let count = c.blobs().len();
    // One more is too many for any program, and reported as such.
    if count != most.saturating_add(1) {
        return;
    }
    let scalar = c.operations.iter().find(|operation| {
        let single = |name: &str| {
            let dims = c.argument_dims(operation, name).unwrap_or(vec![0]);
            c.is_constant(operation, name) && element_count(&dims) == Some(1)
        };
        matches!(operation.op, Op::Add | Op::Mul | Op::Pow) && (single("x") || single("y"))
    });
    if let Some(operation) = scalar {
        let message = format!(
            "{} has a scalar beside {count} tensors from weight files",
            called(c, operation)
        );
        hits.push(Hit::at(operation, message));
    }
}

pub(super) fn offset(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    for (blob, operation) in c.blobs() {
        let why = match blob.offset {
            offset if offset < 64 => "before the first record",
            // The first record's header is at 64, so that its data is there.
            128 => "where the first record's data is",
            offset if !offset.is_multiple_of(64) => "no multiple of 64",
            _ => continue,
        };
        let message = format!("{} has the offset {}, {why}", called(c, operation), blob.offset);
        hits.push(Hit::at(operation, message));
    }
}

pub(super) fn path(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    for (blob, operation) in c.blobs() {
        if !blob.path.starts_with("@model_path/") {
            let message = format!("{} reads the file \"{}\"", called(c, operation), blob.path);
            hits.push(Hit::at(operation, message));
        }
    }
}

pub(super) fn affine_dequantize(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    for operation in c.of(Op::ConstexprAffineDequantize) {
        hits.push(Hit::at(operation, format!("{} may be refused", called(c, operation))));
    }
}

pub(super) fn blockwise_shift_scale(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    for operation in c.of(Op::ConstexprBlockwiseShiftScale) {
        let data = c.argument(operation, "data");
        let dims = data.as_ref().and_then(|ty| ty.fixed_dims()).unwrap_or_default();
        let blocks = c.argument_dims(operation, "scale").unwrap_or_default();
        // Of a weight that is no vector the channels are one axis, undivided.
        let mut divided = dims.iter().zip(&blocks).filter(|(_, count)| **count != 1);
        let (one, more) = (divided.next(), divided.next());
        let wrong = match data.map(|ty| ty.dtype) {
            Some(dtype) if !matches!(dtype, DataType::Int8 | DataType::Int4) => {
                format!("has data of {dtype}")
            }
            _ if c.params(operation).has("offset") => "has an offset".to_owned(),
            _ if more.is_some() || one.is_some_and(|(dim, count)| dim != count) => {
                format!("has scales of shape {blocks:?} for data of shape {dims:?}")
            }
            _ => continue,
        };
        hits.push(Hit::at(operation, format!("{} {wrong}", called(c, operation))));
    }
}
