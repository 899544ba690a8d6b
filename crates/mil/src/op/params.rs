//! How a row says its parameters: sets of element types, kinds of parameter, and those that many
//! ops have.

use super::{DefaultValue as D, ParamSpec, ParamType};
use crate::{DataType, DataType::*};

pub(super) const FLOAT: &[DataType] = &[Fp32, Fp16, Bf16, Fp64];
pub(super) const NUMBER: &[DataType] = &[Fp32, Fp16, Bf16, Fp64, Int32, Int64];
/// What ops that only move data accept.
pub(super) const ANY: &[DataType] = &[
    Fp32, Fp16, Bf16, Fp64, Int32, Int64, Bool, Int8, Uint8, Int16, Uint16, Uint32, Uint64, Int4,
    Uint1, Uint2, Uint3, Uint4, Uint6, Fp8E4M3Fn, Fp8E5M2,
];
pub(super) const INDEX: &[DataType] = &[Int32, Int16, Uint16, Int8, Uint8, Int64, Uint32];
pub(super) const BYTE: &[DataType] = &[Int8, Uint8];
/// What `constexpr_blockwise_shift_scale` scales.
pub(super) const STORED: &[DataType] =
    &[Int8, Uint8, Int4, Uint4, Fp32, Fp16, Bf16, Fp64, Fp8E4M3Fn, Fp8E5M2];
pub(super) const BOOL: &[DataType] = &[Bool];
pub(super) const STRING: &[DataType] = &[DataType::String];
pub(super) const MASK: &[DataType] = &[Bool, Fp32, Fp16, Bf16, Fp64];
/// What has an order.
pub(super) const ORDERED: &[DataType] =
    &[Fp32, Fp16, Bf16, Fp64, Int32, Int64, Int8, Uint8, Int16, Uint16, Uint32];
/// Indices into a lookup table, whose width says how many entries it has.
pub(super) const PALETTE: &[DataType] = &[Uint8, Uint1, Uint2, Uint3, Uint4, Uint6];
/// Factors of `upsample_*`.
pub(super) const FACTOR: &[DataType] = &[Int32, Fp32];
/// Places in an image.
pub(super) const PLACE: &[DataType] =
    &[Fp32, Fp16, Bf16, Fp64, Int32, Int16, Uint16, Int8, Uint8, Int64, Uint32];

/// A required operand.
pub(super) const fn need(name: &'static str, letter: char, set: &'static [DataType]) -> ParamSpec {
    ParamSpec {
        name,
        ty: ParamType::Tensor(letter, set),
        required: true,
        constant: false,
        default: D::None,
    }
}

/// An operand that may be left out.
pub(super) const fn may(name: &'static str, letter: char, set: &'static [DataType]) -> ParamSpec {
    ParamSpec { required: false, ..need(name, letter, set) }
}

/// A required compile-time parameter.
pub(super) const fn fixed(name: &'static str, letter: char, set: &'static [DataType]) -> ParamSpec {
    ParamSpec { constant: true, ..need(name, letter, set) }
}

/// A compile-time parameter that may be left out.
pub(super) const fn option(
    name: &'static str,
    letter: char,
    set: &'static [DataType],
    default: D,
) -> ParamSpec {
    ParamSpec { required: false, constant: true, default, ..need(name, letter, set) }
}

pub(super) const fn tuple(name: &'static str) -> ParamSpec {
    ParamSpec { ty: ParamType::Tuple, ..need(name, ' ', ANY) }
}

pub(super) const fn values(name: &'static str) -> ParamSpec {
    ParamSpec { ty: ParamType::Values, ..need(name, ' ', ANY) }
}

pub(super) const fn list(name: &'static str) -> ParamSpec {
    ParamSpec { ty: ParamType::List, ..need(name, ' ', ANY) }
}

pub(super) const fn state(name: &'static str) -> ParamSpec {
    ParamSpec { ty: ParamType::State, ..need(name, ' ', ANY) }
}

/// The axes of a reduction; all of them when absent.
pub(super) const AXES: ParamSpec = option("axes", 'I', INDEX, D::None);
/// Whether a reduction leaves axes of size 1.
pub(super) const KEEP_DIMS: ParamSpec = option("keep_dims", 'B', BOOL, D::Bool(false));
/// The axis of a reduction to one index.
pub(super) const LAST_AXIS: ParamSpec = option("axis", 'I', INDEX, D::Int(-1));
/// Parameters of every pool.
pub(super) const KERNEL: ParamSpec = fixed("kernel_sizes", 'I', INDEX);
pub(super) const STRIDES: ParamSpec = option("strides", 'I', INDEX, D::None);
pub(super) const PAD_TYPE: ParamSpec = fixed("pad_type", 'S', STRING);
pub(super) const PAD: ParamSpec = option("pad", 'I', INDEX, D::None);
pub(super) const CEIL: ParamSpec = option("ceil_mode", 'B', BOOL, D::Bool(false));
/// The one tensor of an op of floats.
pub(super) const X: ParamSpec = need("x", 'T', FLOAT);
/// A number that shapes an activation.
pub(super) const ALPHA: ParamSpec = fixed("alpha", 'U', FLOAT);
pub(super) const BETA: ParamSpec = fixed("beta", 'U', FLOAT);
/// How resampling places its points.
pub(super) const SAMPLING: ParamSpec = option("sampling_mode", 'S', STRING, D::Str("DEFAULT"));
