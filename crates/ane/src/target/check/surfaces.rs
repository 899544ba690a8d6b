//! What inputs and outputs ask of the surfaces that are bound to them.

use super::Hit;
use super::context::{Context, dense_bytes, grouped, width};
use crate::target::Rule;
use mil::{DataType, TensorType, ValueId};

fn limit(rule: &Rule) -> usize {
    rule.limit.map_or(0, |limit| limit as usize)
}

pub(super) fn unequal_inputs(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    unequal(c, "input", &c.function.inputs, hits);
}

pub(super) fn unequal_outputs(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    unequal(c, "output", &c.function.body.outputs, hits);
}

fn unequal(c: &Context<'_>, kind: &str, ids: &[ValueId], hits: &mut Vec<Hit>) {
    let sizes: Vec<(ValueId, usize)> =
        ids.iter().filter_map(|&id| Some((id, dense_bytes(c.tensor(id)?)?))).collect();
    let Some(&(_, most)) = sizes.iter().max_by_key(|(_, bytes)| *bytes) else { return };
    // One finding for the function, at the first that is too small.
    if let Some(&(id, bytes)) = sizes.iter().find(|(_, bytes)| *bytes != most) {
        let (name, bytes, most) = (c.name(id), grouped(bytes), grouped(most));
        let message = format!("the {kind} `{name}` takes {bytes} bytes, the largest {most}");
        hits.push(Hit::of(c, id, message));
    }
}

/// One finding for every port about which something is wrong.
fn ports(c: &Context<'_>, hits: &mut Vec<Hit>, wrong: impl Fn(&TensorType) -> Option<String>) {
    for (kind, id, ty) in c.ports() {
        if let Some(wrong) = wrong(ty) {
            hits.push(Hit::of(c, id, format!("the {kind} `{}` {wrong}", c.name(id))));
        }
    }
}

pub(super) fn minimum(c: &Context<'_>, rule: &'static Rule, hits: &mut Vec<Hit>) {
    let least = limit(rule);
    ports(c, hits, |ty| {
        let bytes = dense_bytes(ty).filter(|&bytes| bytes < least)?;
        Some(format!("takes {} bytes, fewer than {}", grouped(bytes), grouped(least)))
    });
}

pub(super) fn width_minimum(c: &Context<'_>, rule: &'static Rule, hits: &mut Vec<Hit>) {
    let least = limit(rule);
    ports(c, hits, |ty| {
        let width = width(ty).filter(|&width| width < least)?;
        Some(format!("is {width} wide, fewer than {least}"))
    });
}

pub(super) fn width_under_32(c: &Context<'_>, rule: &'static Rule, hits: &mut Vec<Hit>) {
    // Below 16 it is `width-minimum`.
    ports(c, hits, |ty| {
        let width = width(ty).filter(|width| (16..limit(rule)).contains(width))?;
        Some(format!("is {width} wide"))
    });
}

pub(super) fn width_alignment(c: &Context<'_>, rule: &'static Rule, hits: &mut Vec<Hit>) {
    let multiple = limit(rule).max(1);
    ports(c, hits, |ty| {
        let width =
            width(ty).filter(|&width| width > multiple && !width.is_multiple_of(multiple))?;
        Some(format!("is {width} wide, no multiple of {multiple}"))
    });
}

pub(super) fn row_stride(c: &Context<'_>, rule: &'static Rule, hits: &mut Vec<Hit>) {
    let row = limit(rule).max(1) * 2;
    // Narrower ones, and widths that are no multiple of 16, have rules of their own.
    ports(c, hits, |ty| {
        let width = width(ty).filter(|&width| width >= 32 && width.is_multiple_of(16))?;
        let bytes = ty.dtype.packed_bytes(width).filter(|bytes| !bytes.is_multiple_of(row))?;
        Some(format!("has rows of {bytes} bytes, no multiple of {row}"))
    });
}

pub(super) fn many_channels_narrow(c: &Context<'_>, rule: &'static Rule, hits: &mut Vec<Hit>) {
    let most = limit(rule);
    ports(c, hits, |ty| {
        let dims = ty.fixed_dims()?;
        let (&channels, &width) = (dims.get(1).filter(|_| dims.len() > 3)?, dims.last()?);
        let narrow = channels > most && (16..32).contains(&width);
        narrow.then(|| format!("has {channels} channels and is {width} wide"))
    });
}

pub(super) fn fp32(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    ports(c, hits, |ty| (ty.dtype == DataType::Fp32).then(|| "is fp32".to_owned()));
}

pub(super) fn input_order(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    order(c, "inputs", &c.function.inputs, hits);
}

pub(super) fn output_order(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    order(c, "outputs", &c.function.body.outputs, hits);
}

fn order(c: &Context<'_>, kind: &str, ids: &[ValueId], hits: &mut Vec<Hit>) {
    let found = ids.windows(2).find(|pair| c.name(pair[0]) > c.name(pair[1]));
    if let Some(pair) = found {
        let (first, second) = (c.name(pair[0]), c.name(pair[1]));
        let message = format!("of the {kind}, `{first}` is before `{second}` but bound after it");
        hits.push(Hit::of(c, pair[0], message));
    }
}
