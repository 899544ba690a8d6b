//! Convolutions and matrix products.

use super::Hit;
use super::context::{Context, called, dense_bytes, grouped};
use crate::target::Rule;
use mil::{DataType, Op, Operation};

const CONVOLUTIONS: [Op; 2] = [Op::Conv, Op::ConvTranspose];

/// One finding for every operation of some ops about which something is wrong.
fn each<'a>(
    c: &Context<'a>,
    ops: &[Op],
    hits: &mut Vec<Hit>,
    wrong: impl Fn(&'a Operation) -> Option<String>,
) {
    for operation in c.operations.iter().copied().filter(|o| ops.contains(&o.op)) {
        if let Some(wrong) = wrong(operation) {
            hits.push(Hit::at(operation, format!("{} {wrong}", called(c, operation))));
        }
    }
}

fn limit(rule: &Rule) -> usize {
    rule.limit.map_or(usize::MAX, |limit| limit as usize)
}

pub(super) fn conv_bias(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    each(c, &[Op::Conv], hits, |operation| {
        c.params(operation).has("bias").then(|| "has a `bias`".to_owned())
    });
}

pub(super) fn conv_input_channels(c: &Context<'_>, rule: &'static Rule, hits: &mut Vec<Hit>) {
    each(c, &CONVOLUTIONS, hits, |operation| {
        let channels = *c.argument_dims(operation, "x")?.get(1)?;
        let (found, most) = (grouped(channels), grouped(limit(rule)));
        (channels > limit(rule)).then(|| format!("reads {found} channels, more than {most}"))
    });
}

pub(super) fn conv_output_channels(c: &Context<'_>, rule: &'static Rule, hits: &mut Vec<Hit>) {
    each(c, &[Op::Conv], hits, |operation| {
        let channels = *c.argument_dims(operation, "weight")?.first()?;
        let (found, most) = (grouped(channels), grouped(limit(rule)));
        (channels > limit(rule)).then(|| format!("gives {found} channels, more than {most}"))
    });
}

pub(super) fn conv_kernel_size(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    each(c, &CONVOLUTIONS, hits, |operation| {
        let weight = c.argument(operation, "weight")?;
        let dims = weight.fixed_dims()?;
        let (_, spatial) = dims.split_at_checked(2)?;
        let (&width, rest) = spatial.split_last()?;
        let height = rest.last().copied().unwrap_or(1);
        let most = match weight.dtype {
            DataType::Fp16 => c.chip.conv_kernel_width_fp16,
            _ => c.chip.conv_kernel_width,
        };
        let (high, dtype) = (c.chip.conv_kernel_height, weight.dtype);
        (width > most || height > high).then(|| {
            format!("has a kernel of {height} by {width} in {dtype}; {high} by {most} is the most")
        })
    });
}

pub(super) fn conv_3d(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    each(c, &CONVOLUTIONS, hits, |operation| {
        let rank = c.argument(operation, "x")?.rank().filter(|&rank| rank > 4)?;
        Some(format!("has {} spatial axes", rank - 2))
    });
}

pub(super) fn conv_transpose_stride(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    each(c, &[Op::ConvTranspose], hits, |operation| {
        let strides = c.params(operation).ints("strides").ok()??;
        let stride = strides.into_iter().find(|stride| !matches!(stride, 1 | 2))?;
        Some(format!("has a stride of {stride}"))
    });
}

pub(super) fn conv_runtime_weights(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    each(c, &CONVOLUTIONS, hits, |operation| {
        let weight = operation.value("weight")?;
        let computed = !c.is_constant(operation, "weight");
        computed.then(|| format!("has weights that are computed (`{}`)", c.name(weight)))
    });
}

pub(super) fn conv_chain(c: &Context<'_>, rule: &'static Rule, hits: &mut Vec<Hit>) {
    let count = c.of(Op::Conv).count();
    if let Some(operation) = c.of(Op::Conv).nth(limit(rule)) {
        let message = format!(
            "{} is convolution {} of {count} in one program",
            called(c, operation),
            limit(rule).saturating_add(1)
        );
        hits.push(Hit::at(operation, message));
    }
}

pub(super) fn matmul_rank(c: &Context<'_>, rule: &'static Rule, hits: &mut Vec<Hit>) {
    each(c, &[Op::Matmul], hits, |operation| {
        let rank = |name| c.argument(operation, name).and_then(|ty| ty.rank()).unwrap_or(0);
        let rank = rank("x").max(rank("y"));
        (rank > limit(rule)).then(|| format!("has an operand of {rank} axes"))
    });
}

pub(super) fn linear_rank(c: &Context<'_>, rule: &'static Rule, hits: &mut Vec<Hit>) {
    each(c, &[Op::Linear], hits, |operation| {
        let rank = c.argument(operation, "x")?.rank().filter(|&rank| rank > limit(rule))?;
        Some(format!("reads a tensor of {rank} axes"))
    });
}

pub(super) fn matmul_one_by_one(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    each(c, &[Op::Matmul], hits, |operation| {
        let single = |name: &&str| {
            let dims = c.argument_dims(operation, name).unwrap_or_default();
            dims.ends_with(&[1, 1])
        };
        let name = ["x", "y"].into_iter().find(single)?;
        Some(format!("multiplies by a matrix of 1 by 1 (`{name}`)"))
    });
}

pub(super) fn matmul_of_weights(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    each(c, &[Op::Matmul, Op::Linear], hits, |operation| {
        let names: &[&str] = if operation.op == Op::Linear { &["weight"] } else { &["x", "y"] };
        let constant = |name: &&&str| c.is_constant(operation, name);
        let name = names.iter().find(constant)?;
        // A matmul of two constants is folded, and is not slow.
        let all = names.len() > 1 && names.iter().all(|name| c.is_constant(operation, name));
        (!all).then(|| format!("multiplies by constant weights (`{name}`)"))
    });
}

pub(super) fn large_operand(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    let most = c.chip.operand_bytes;
    let ops = [Op::Conv, Op::ConvTranspose, Op::Matmul, Op::Linear, Op::ScaledDotProductAttention];
    each(c, &ops, hits, |operation| {
        let names = ["x", "y", "weight", "query", "key", "value"];
        let sizes = names
            .into_iter()
            .filter_map(|name| Some((name, dense_bytes(&c.argument(operation, name)?)?)));
        let (name, bytes) = sizes.max_by_key(|(_, bytes)| *bytes).filter(|s| s.1 > most)?;
        Some(format!("reads {} bytes (`{name}`), more than {}", grouped(bytes), grouped(most)))
    });
}
