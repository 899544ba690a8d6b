//! Element-wise operations on registers.

use super::{Binary, Rounding, Unary};
use crate::element::{round_bf16, round_f16};
use crate::isa::Isa;
use crate::vecmath::{self as m, FUSED};

/// An argument of an operation: each value stands for `repeat` elements in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arg<'a> {
    pub values: &'a [f32],
    pub repeat: usize,
}

impl<'a> Arg<'a> {
    /// The value of element `index`.
    #[inline(always)]
    fn at(&self, index: usize) -> f32 {
        self.values[if self.repeat == 1 { index } else { index / self.repeat }]
    }
}

/// The larger; NaN if either is.
#[inline(always)]
pub(super) fn max(a: f32, b: f32) -> f32 {
    if (a > b) | a.is_nan() { a } else { b }
}

/// The smaller; NaN if either is.
#[inline(always)]
pub(super) fn min(a: f32, b: f32) -> f32 {
    if (a < b) | a.is_nan() { a } else { b }
}

#[inline(always)]
fn truth(condition: bool) -> f32 {
    if condition { 1.0 } else { 0.0 }
}

/// `to = op(a)`.
pub(super) fn unary(isa: Isa, op: Unary, to: &mut [f32], a: &[f32]) {
    // SAFETY: the body is safe.
    dispatch!(
        isa,
        unary_body::<true>,
        unary_body::<FUSED>,
        (op: Unary, to: &mut [f32], a: &[f32])
    );
    if matches!(op, Unary::Sin | Unary::Cos) {
        huge_angles(op, to, a);
    }
}

/// `to = op(a, b)`.
pub(super) fn binary(isa: Isa, op: Binary, to: &mut [f32], a: Arg<'_>, b: Arg<'_>) {
    if to.is_empty() {
        return;
    }
    // SAFETY: the body is safe.
    dispatch!(
        isa,
        binary_body,
        binary_body,
        (op: Binary, to: &mut [f32], a: Arg<'_>, b: Arg<'_>)
    );
}

/// `to = c ? a : b`.
pub(super) fn select(isa: Isa, to: &mut [f32], c: Arg<'_>, a: Arg<'_>, b: Arg<'_>) {
    if to.is_empty() {
        return;
    }
    // SAFETY: the body is safe.
    dispatch!(
        isa,
        select_body,
        select_body,
        (to: &mut [f32], c: Arg<'_>, a: Arg<'_>, b: Arg<'_>)
    );
}

/// `to = min(max(a, low), high)`.
pub(super) fn clamp(isa: Isa, to: &mut [f32], a: &[f32], low: f32, high: f32) {
    // SAFETY: the body is safe.
    dispatch!(
        isa,
        clamp_body,
        clamp_body,
        (to: &mut [f32], a: &[f32], low: f32, high: f32)
    );
}

/// Rounds to the numbers of a narrower type.
pub(super) fn round(isa: Isa, kind: Rounding, to: &mut [f32], a: &[f32]) {
    // SAFETY: the body is safe.
    dispatch!(isa, round_body, round_body, (kind: Rounding, to: &mut [f32], a: &[f32]));
}

/// Repeats each value.
pub(super) fn expand(to: &mut [f32], a: Arg<'_>) {
    if !to.is_empty() {
        to.chunks_exact_mut(a.repeat).zip(a.values).for_each(|(to, &value)| to.fill(value));
    }
}

macro_rules! map {
    ($to:ident, $a:ident, |$x:ident| $result:expr) => {
        for (to, &$x) in $to.iter_mut().zip($a) {
            *to = $result;
        }
    };
}

#[inline(always)]
fn unary_body<const FMA: bool>(op: Unary, to: &mut [f32], a: &[f32]) {
    match op {
        Unary::Neg => map!(to, a, |x| -x),
        Unary::Abs => map!(to, a, |x| x.abs()),
        Unary::Sign => map!(to, a, |x| {
            let sign = truth(x > 0.0) - truth(x < 0.0);
            if x.is_nan() { x } else { sign }
        }),
        Unary::Floor => map!(to, a, |x| x.floor()),
        Unary::Exp => map!(to, a, |x| m::exp::<FMA>(x)),
        Unary::Log => map!(to, a, |x| m::log::<FMA>(x)),
        Unary::Sqrt => map!(to, a, |x| x.sqrt()),
        Unary::Rsqrt => map!(to, a, |x| 1.0 / x.sqrt()),
        Unary::Recip => map!(to, a, |x| 1.0 / x),
        Unary::Square => map!(to, a, |x| x * x),
        Unary::Sin => map!(to, a, |x| m::sin(x)),
        Unary::Cos => map!(to, a, |x| m::cos(x)),
        Unary::Erf => map!(to, a, |x| m::erf::<FMA>(x)),
        Unary::Sigmoid => map!(to, a, |x| m::sigmoid::<FMA>(x)),
        Unary::Silu => map!(to, a, |x| x * m::sigmoid::<FMA>(x)),
        Unary::Tanh => map!(to, a, |x| m::tanh::<FMA>(x)),
        Unary::Relu => map!(to, a, |x| max(x, 0.0)),
        Unary::GeluExact => map!(to, a, |x| {
            0.5 * x * (1.0 + m::erf::<FMA>(x * std::f32::consts::FRAC_1_SQRT_2))
        }),
        Unary::GeluTanh => map!(to, a, |x| m::gelu_tanh::<FMA>(x)),
        Unary::GeluSigmoid => map!(to, a, |x| x * m::sigmoid::<FMA>(1.702 * x)),
        Unary::Not => map!(to, a, |x| truth(x == 0.0)),
    }
}

/// Replaces what the vectorized sine and cosine cannot do.
fn huge_angles(op: Unary, to: &mut [f32], a: &[f32]) {
    if !a.iter().any(|x| x.abs() > m::LARGEST_ANGLE) {
        return;
    }
    for (to, &x) in to.iter_mut().zip(a) {
        if x.abs() > m::LARGEST_ANGLE {
            *to = if op == Unary::Sin { x.sin() } else { x.cos() };
        }
    }
}

macro_rules! zip {
    ($to:ident, $a:ident, $b:ident, |$x:ident, $y:ident| $result:expr) => {
        match ($a.repeat, $b.repeat) {
            (1, 1) => {
                for ((to, &$x), &$y) in $to.iter_mut().zip($a.values).zip($b.values) {
                    *to = $result;
                }
            }
            (1, repeat) => {
                let rows = $to.chunks_exact_mut(repeat).zip($a.values.chunks_exact(repeat));
                for ((to, a), &$y) in rows.zip($b.values) {
                    for (to, &$x) in to.iter_mut().zip(a) {
                        *to = $result;
                    }
                }
            }
            (repeat, 1) => {
                let rows = $to.chunks_exact_mut(repeat).zip($b.values.chunks_exact(repeat));
                for ((to, b), &$x) in rows.zip($a.values) {
                    for (to, &$y) in to.iter_mut().zip(b) {
                        *to = $result;
                    }
                }
            }
            _ => {
                for (index, to) in $to.iter_mut().enumerate() {
                    let ($x, $y) = ($a.at(index), $b.at(index));
                    *to = $result;
                }
            }
        }
    };
}

#[inline(always)]
fn binary_body(op: Binary, to: &mut [f32], a: Arg<'_>, b: Arg<'_>) {
    match op {
        Binary::Add => zip!(to, a, b, |x, y| x + y),
        Binary::Sub => zip!(to, a, b, |x, y| x - y),
        Binary::Mul => zip!(to, a, b, |x, y| x * y),
        Binary::Div => zip!(to, a, b, |x, y| x / y),
        Binary::Max => zip!(to, a, b, |x, y| max(x, y)),
        Binary::Min => zip!(to, a, b, |x, y| min(x, y)),
        Binary::Pow => zip!(to, a, b, |x, y| x.powf(y)),
        Binary::FloorDiv => zip!(to, a, b, |x, y| (x / y).floor()),
        Binary::Mod => zip!(to, a, b, |x, y| m::floored_remainder(x, y)),
        Binary::Eq => zip!(to, a, b, |x, y| truth(x == y)),
        Binary::Ne => zip!(to, a, b, |x, y| truth(x != y)),
        Binary::Lt => zip!(to, a, b, |x, y| truth(x < y)),
        Binary::Le => zip!(to, a, b, |x, y| truth(x <= y)),
        Binary::Gt => zip!(to, a, b, |x, y| truth(x > y)),
        Binary::Ge => zip!(to, a, b, |x, y| truth(x >= y)),
        Binary::And => zip!(to, a, b, |x, y| truth((x != 0.0) & (y != 0.0))),
        Binary::Or => zip!(to, a, b, |x, y| truth((x != 0.0) | (y != 0.0))),
    }
}

#[inline(always)]
fn select_body(to: &mut [f32], c: Arg<'_>, a: Arg<'_>, b: Arg<'_>) {
    if c.repeat != 1 {
        for (index, to) in to.iter_mut().enumerate() {
            *to = if c.at(index) != 0.0 { a.at(index) } else { b.at(index) };
        }
        return;
    }
    let c = c.values;
    match (a.repeat, b.repeat) {
        (1, 1) => {
            for (((to, &c), &x), &y) in to.iter_mut().zip(c).zip(a.values).zip(b.values) {
                *to = if c != 0.0 { x } else { y };
            }
        }
        (1, repeat) => {
            let rows = to.chunks_exact_mut(repeat).zip(c.chunks_exact(repeat));
            for (((to, c), a), &y) in rows.zip(a.values.chunks_exact(repeat)).zip(b.values) {
                for ((to, &c), &x) in to.iter_mut().zip(c).zip(a) {
                    *to = if c != 0.0 { x } else { y };
                }
            }
        }
        (repeat, 1) => {
            let rows = to.chunks_exact_mut(repeat).zip(c.chunks_exact(repeat));
            for (((to, c), b), &x) in rows.zip(b.values.chunks_exact(repeat)).zip(a.values) {
                for ((to, &c), &y) in to.iter_mut().zip(c).zip(b) {
                    *to = if c != 0.0 { x } else { y };
                }
            }
        }
        _ => {
            for (index, (to, &c)) in to.iter_mut().zip(c).enumerate() {
                *to = if c != 0.0 { a.at(index) } else { b.at(index) };
            }
        }
    }
}

#[inline(always)]
fn clamp_body(to: &mut [f32], a: &[f32], low: f32, high: f32) {
    map!(to, a, |x| {
        let above = if x < low { low } else { x };
        if above > high { high } else { above }
    });
}

#[inline(always)]
fn round_body(kind: Rounding, to: &mut [f32], a: &[f32]) {
    match kind {
        Rounding::Bf16 => map!(to, a, |x| round_bf16(x)),
        Rounding::F16 => map!(to, a, |x| round_f16(x)),
        Rounding::Integer => map!(to, a, |x| x.trunc()),
        Rounding::Bool => map!(to, a, |x| truth(x != 0.0)),
    }
}
