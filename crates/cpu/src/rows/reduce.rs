//! Reductions: of rows to numbers, and of all rows to one.

use super::Reduction;
use crate::isa::Isa;

/// Partial results that a long row is reduced to side by side.
const LANES: usize = 64;

/// How two partial results become one.
trait Combine {
    const IDENTITY: f32;
    fn combine(a: f32, b: f32) -> f32;
}

struct Sum;
struct Max;
struct Min;

impl Combine for Sum {
    const IDENTITY: f32 = 0.0;

    #[inline(always)]
    fn combine(a: f32, b: f32) -> f32 {
        a + b
    }
}

impl Combine for Max {
    const IDENTITY: f32 = f32::NEG_INFINITY;

    #[inline(always)]
    fn combine(a: f32, b: f32) -> f32 {
        super::kernels::max(a, b)
    }
}

impl Combine for Min {
    const IDENTITY: f32 = f32::INFINITY;

    #[inline(always)]
    fn combine(a: f32, b: f32) -> f32 {
        super::kernels::min(a, b)
    }
}

/// What a reduction of nothing gives.
pub(super) fn identity(op: Reduction) -> f32 {
    match op {
        Reduction::Sum => Sum::IDENTITY,
        Reduction::Max => Max::IDENTITY,
        Reduction::Min => Min::IDENTITY,
    }
}

/// Reduces each of the rows in `a`, `[to.len(), len]`, and combines the result with that in `to`,
/// or replaces it if this is the `first` tile.
pub(super) fn rows(isa: Isa, op: Reduction, to: &mut [f32], a: &[f32], len: usize, first: bool) {
    if len == 0 {
        if first {
            to.fill(identity(op));
        }
        return;
    }
    // SAFETY: the body is safe.
    dispatch!(
        isa,
        rows_body,
        rows_body,
        (op: Reduction, to: &mut [f32], a: &[f32], len: usize, first: bool)
    );
}

/// Combines each of the rows in `a`, `[_, to.len()]`, with the row `to`.
pub(super) fn columns(isa: Isa, op: Reduction, to: &mut [f32], a: &[f32]) {
    if to.is_empty() {
        return;
    }
    // SAFETY: the body is safe.
    dispatch!(isa, columns_body, columns_body, (op: Reduction, to: &mut [f32], a: &[f32]));
}

#[inline(always)]
fn rows_body(op: Reduction, to: &mut [f32], a: &[f32], len: usize, first: bool) {
    match op {
        Reduction::Sum => rows_with::<Sum>(to, a, len, first),
        Reduction::Max => rows_with::<Max>(to, a, len, first),
        Reduction::Min => rows_with::<Min>(to, a, len, first),
    }
}

#[inline(always)]
fn rows_with<C: Combine>(to: &mut [f32], a: &[f32], len: usize, first: bool) {
    for (to, row) in to.iter_mut().zip(a.chunks_exact(len)) {
        let result = if len < LANES { lanes::<C, 16>(row) } else { lanes::<C, LANES>(row) };
        *to = if first { result } else { C::combine(*to, result) };
    }
}

#[inline(always)]
fn lanes<C: Combine, const N: usize>(row: &[f32]) -> f32 {
    let mut lanes = [C::IDENTITY; N];
    let mut chunks = row.chunks_exact(N);
    for chunk in &mut chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = C::combine(*lane, x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = C::combine(*lane, x);
    }
    let mut width = N / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = C::combine(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn columns_body(op: Reduction, to: &mut [f32], a: &[f32]) {
    match op {
        Reduction::Sum => columns_with::<Sum>(to, a),
        Reduction::Max => columns_with::<Max>(to, a),
        Reduction::Min => columns_with::<Min>(to, a),
    }
}

#[inline(always)]
fn columns_with<C: Combine>(to: &mut [f32], a: &[f32]) {
    let len = to.len();
    let mut quads = a.chunks_exact(4 * len);
    for quad in &mut quads {
        let (ab, cd) = quad.split_at(2 * len);
        let ((a, b), (c, d)) = (ab.split_at(len), cd.split_at(len));
        for i in 0..len {
            let sum = C::combine(C::combine(a[i], b[i]), C::combine(c[i], d[i]));
            to[i] = C::combine(to[i], sum);
        }
    }
    for row in quads.remainder().chunks_exact(len) {
        for (to, &x) in to.iter_mut().zip(row) {
            *to = C::combine(*to, x);
        }
    }
}
