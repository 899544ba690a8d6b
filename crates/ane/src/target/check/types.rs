//! Element types, ranks and sizes.

use super::Hit;
use super::context::{Context, called, grouped, is_sub_byte};
use crate::target::Rule;
use mil::{DataType, Op, Type, ValueId};

pub(super) fn input_type(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    inputs_of(c, &[DataType::Fp16, DataType::Fp32, DataType::Bool], hits);
}

pub(super) fn input_type_e5rt(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    inputs_of(c, &[DataType::Fp16, DataType::Uint8], hits);
}

fn inputs_of(c: &Context<'_>, allowed: &[DataType], hits: &mut Vec<Hit>) {
    for &id in &c.function.inputs {
        let ty = c.function.ty(id);
        if !matches!(ty, Type::Tensor(tensor) if allowed.contains(&tensor.dtype)) {
            hits.push(Hit::of(c, id, format!("the input `{}` is {ty}", c.name(id))));
        }
    }
}

pub(super) fn int8_output(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    for &id in &c.function.body.outputs {
        if let Some(ty) = c.tensor(id).filter(|ty| is_byte(ty.dtype)) {
            hits.push(Hit::of(c, id, format!("the output `{}` is {ty}", c.name(id))));
        }
    }
}

fn is_byte(dtype: DataType) -> bool {
    matches!(dtype, DataType::Int8 | DataType::Uint8)
}

pub(super) fn int8_arithmetic(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    use Op::*;
    for operation in &c.operations {
        // Conversions, and ops that only move data.
        let moves = matches!(
            operation.op,
            Cast | Quantize
                | Dequantize
                | ConstexprAffineDequantize
                | ConstexprBlockwiseShiftScale
                | Identity
                | Reshape
                | Transpose
                | ExpandDims
                | Squeeze
                | SliceByIndex
                | SliceBySize
                | SliceUpdate
                | Concat
                | Split
                | Tile
                | Pad
                | Reverse
                | Crop
                | DepthToSpace
                | SpaceToDepth
                | PixelShuffle
                | PixelUnshuffle
                | SpaceToBatch
                | BatchToSpace
                | SlidingWindows
        );
        if moves {
            continue;
        }
        // Other parameters are axes and the like, which may be int8.
        let data = ["x", "y", "a", "b", "data", "updates", "weight"];
        let found = data.into_iter().find_map(|name| {
            let ty = c.argument(operation, name)?;
            is_byte(ty.dtype).then_some((name, ty.dtype))
        });
        if let Some((name, dtype)) = found {
            let message = format!("{} computes with {dtype} (`{name}`)", called(c, operation));
            hits.push(Hit::at(operation, message));
        }
    }
}

pub(super) fn int4_values(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    all_values(c, hits, |dtype| is_sub_byte(dtype).then_some("has fewer than 8 bits an element"));
}

pub(super) fn element_type(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    all_values(c, hits, |dtype| match dtype {
        DataType::Bf16 | DataType::Fp64 | DataType::Fp8E4M3Fn | DataType::Fp8E5M2 => {
            Some("which the engine does not have")
        }
        _ => None,
    });
}

/// Values, constants included, that have an element type with something wrong about it.
fn all_values(
    c: &Context<'_>,
    hits: &mut Vec<Hit>,
    wrong: impl Fn(DataType) -> Option<&'static str>,
) {
    for at in 0..c.function.values.len() {
        let id = ValueId(at as u32);
        let within = match c.function.ty(id) {
            Type::State(inner) => inner.as_tensor(),
            ty => ty.as_tensor(),
        };
        if let Some(ty) = within
            && let Some(wrong) = wrong(ty.dtype)
        {
            hits.push(Hit::of(c, id, format!("`{}` is {ty}, {wrong}", c.name(id))));
        }
    }
}

pub(super) fn cast_int32(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    casts(c, hits, |from, to| {
        (from == DataType::Int32 && to.is_float()) || (from.is_float() && to == DataType::Int32)
    });
}

pub(super) fn cast_to_int32(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    casts(c, hits, |_, to| to == DataType::Int32);
}

fn casts(c: &Context<'_>, hits: &mut Vec<Hit>, bad: impl Fn(DataType, DataType) -> bool) {
    for operation in c.of(Op::Cast) {
        let (Some(from), Ok(to)) = (c.argument(operation, "x"), c.params(operation).dtype("dtype"))
        else {
            continue;
        };
        if bad(from.dtype, to) {
            let message = format!("{} converts {} to {to}", called(c, operation), from.dtype);
            hits.push(Hit::at(operation, message));
        }
    }
}

pub(super) fn rank(c: &Context<'_>, rule: &'static Rule, hits: &mut Vec<Hit>) {
    let limit = rule.limit.map_or(usize::MAX, |limit| limit as usize);
    for id in c.values() {
        if let Some(rank) = c.tensor(id).and_then(|ty| ty.rank()).filter(|&rank| rank > limit) {
            hits.push(Hit::of(c, id, format!("`{}` has {rank} axes", c.name(id))));
        }
    }
}

pub(super) fn dynamic_shape(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    for id in c.values() {
        if let Some(ty) = c.tensor(id).filter(|ty| ty.fixed_dims().is_none()) {
            hits.push(Hit::of(c, id, format!("the shape of `{}`, {ty}, is not known", c.name(id))));
        }
    }
}

pub(super) fn zero_size(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    for id in c.values() {
        let empty = |dims: Vec<usize>| dims.contains(&0).then_some(dims);
        if let Some(dims) = c.dims(id).and_then(empty) {
            hits.push(Hit::of(c, id, format!("`{}` has shape {dims:?}", c.name(id))));
        }
    }
}

pub(super) fn axis_too_long(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    for id in c.values() {
        let Some(dims) = c.dims(id) else { continue };
        // How a shape of fewer axes is laid out is not known; the mildest reading is taken.
        let names: &[char] = match dims.len() {
            1 => &['W'],
            2 => &['C', 'W'],
            3 => &['N', 'C', 'W'],
            4 => &['N', 'C', 'H', 'W'],
            5 => &['N', 'C', 'D', 'H', 'W'],
            _ => continue,
        };
        let limit = |axis: char| match axis {
            'W' | 'H' => c.chip.max_width,
            'D' => c.chip.max_depth,
            'C' => c.chip.max_channels,
            _ => c.chip.max_batch,
        };
        let long = names.iter().zip(&dims).find(|&(&axis, &size)| size > limit(axis));
        if let Some((&axis, &size)) = long {
            let (size, limit) = (grouped(size), grouped(limit(axis)));
            let message =
                format!("axis {axis} of `{}` has {size} elements, at most {limit} fit", c.name(id));
            hits.push(Hit::of(c, id, message));
        }
    }
}
