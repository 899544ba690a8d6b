//! One plane: how it is copied, what is computed of it, and how the result is stored.
//!
//! Rows of a few elements are what these loops mostly see, and calls, masks and remainders would
//! cost more than the work itself. So elements are taken in whole chunks, also behind the end of a
//! row: what comes there is written again with the next row, or lies in what [`SPARE`] sets aside.

use super::lanes::Lanes;
use crate::element::{Element, keep};
use crate::isa::Isa;
use std::ops::Range;

/// Elements that are copied together.
const CHUNK: usize = 8;

/// Windows that are folded together.
pub(super) const LANES: usize = 16;

/// Elements that a last chunk may reach behind the end.
pub(super) const SPARE: usize = LANES;

/// Where the elements of a plane go before its windows are read.
pub(super) struct Padding {
    /// What is around the plane.
    pub fill: f32,
    /// Rows before the first one, and how many there are of the plane.
    pub above: usize,
    pub rows: usize,
    /// Elements of a padded row that are the plane's.
    pub inside: Range<usize>,
    /// Elements from one row of the plane to the next.
    pub width: usize,
    /// Elements from one padded row to the next.
    pub pitch: usize,
    /// Columns are sorted by their remainder by this.
    pub stride: usize,
}

/// Copies a plane to where its windows are read from; `row` has room for a row and [`SPARE`].
///
/// # Safety
/// `x` must be the plane's first element, and `readable` elements from there on be there.
#[inline(always)]
pub(super) unsafe fn pad<X: Element>(
    padding: &Padding,
    x: *const u8,
    readable: usize,
    padded: &mut [f32],
    row: &mut [f32],
) {
    let &Padding { fill, above, rows, ref inside, width, pitch, stride } = padding;
    let x = x.cast::<X>();
    if stride == 1 {
        let mut at = above * pitch + inside.start;
        fill_over(fill, at, padded);
        for y in 0..rows {
            // SAFETY: the row is within the plane, and what is readable counts from there.
            unsafe {
                let from = x.add(y * width).cast();
                widen::<X>(from, readable - y * width, inside.len(), &mut padded[at..]);
            }
            // What is behind this row and before the next.
            fill_over(fill, pitch - inside.len(), &mut padded[at + inside.len()..]);
            at += pitch;
        }
        padded[at - inside.start..].fill(fill);
        return;
    }
    padded[..above * pitch].fill(fill);
    row.fill(fill);
    for y in 0..rows {
        // SAFETY: as above.
        unsafe {
            let from = x.add(y * width).cast();
            widen::<X>(from, readable - y * width, inside.len(), &mut row[inside.start..]);
        }
        fill_over(fill, pitch - inside.end, &mut row[inside.end..]);
        sort(&row[..pitch], stride, &mut padded[(above + y) * pitch..][..pitch]);
    }
    padded[(above + rows) * pitch..].fill(fill);
}

/// Fills `count` elements, or as many as there are, and perhaps some behind them.
#[inline(always)]
fn fill_over(fill: f32, count: usize, to: &mut [f32]) {
    let count = count.min(to.len());
    let whole = count.next_multiple_of(CHUNK);
    match to.get_mut(..whole) {
        Some(to) => to.as_chunks_mut().0.iter_mut().for_each(|chunk| *chunk = [fill; CHUNK]),
        None => to[..count].fill(fill),
    }
}

/// Reads `count` elements, and perhaps some behind them.
///
/// # Safety
/// `readable` elements must be there, and `count` is no more than that.
#[inline(always)]
pub(super) unsafe fn widen<X: Element>(
    from: *const u8,
    readable: usize,
    count: usize,
    to: &mut [f32],
) {
    let from = from.cast::<X>();
    let whole = count.next_multiple_of(CHUNK);
    match to.get_mut(..whole) {
        Some(to) if whole <= readable => {
            for (i, to) in to.as_chunks_mut::<CHUNK>().0.iter_mut().enumerate() {
                // SAFETY: the chunk is within what is readable.
                let from = unsafe { *from.add(i * CHUNK).cast::<[X; CHUNK]>() };
                *to = from.map(X::widen);
            }
        }
        _ => {
            for (i, to) in to[..count].iter_mut().enumerate() {
                // SAFETY: passed on.
                *to = unsafe { *from.add(i) }.widen();
            }
        }
    }
}

/// Puts the elements of a row that have one remainder by `stride` side by side.
#[inline(always)]
fn sort(row: &[f32], stride: usize, out: &mut [f32]) {
    let run = row.len() / stride;
    if stride == 2 {
        let (even, odd) = out.split_at_mut(run);
        let pairs = row.as_chunks::<2>().0;
        for ((pair, even), odd) in pairs.iter().zip(even).zip(odd) {
            (*even, *odd) = (pair[0], pair[1]);
        }
        return;
    }
    for (column, &value) in row.iter().enumerate() {
        out[column % stride * run + column / stride] = value;
    }
}

/// What is computed of each window.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    /// Where the element of each tap is, from where the window begins.
    pub taps: &'a [usize],
    /// None where every tap counts alike.
    pub weights: &'a [f32],
    /// What windows begin with.
    pub init: f32,
    pub fold: Fold,
    /// Pieces of the plane, elements from one to the next, and results of each.
    pub pieces: usize,
    pub step: usize,
    pub columns: usize,
}

/// How the elements of a window are folded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fold {
    Weighted,
    Max,
    Sum,
    Squares,
}

/// The results of all windows of a plane, the pieces side by side in `out`, which has [`SPARE`]
/// elements more, as has `x`.
pub(super) fn compute(isa: Isa, work: Work, x: &[f32], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
        unsafe fn avx512(work: Work, x: &[f32], out: &mut [f32]) {
            // SAFETY: passed on.
            unsafe { folded::<std::arch::x86_64::__m512>(work, x, out) }
        }
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn avx2(work: Work, x: &[f32], out: &mut [f32]) {
            // SAFETY: passed on.
            unsafe { folded::<std::arch::x86_64::__m256>(work, x, out) }
        }
        match isa {
            // SAFETY: whoever runs windows has checked that the machine has the instructions.
            Isa::Avx512 | Isa::Avx512Bf16 => unsafe { avx512(work, x, out) },
            // SAFETY: as above.
            Isa::Avx2 => unsafe { avx2(work, x, out) },
            // SAFETY: needs no instructions.
            _ => unsafe { folded::<[f32; 4]>(work, x, out) },
        }
    }
    #[cfg(target_arch = "aarch64")]
    match isa {
        // SAFETY: needs no instructions.
        Isa::Portable => unsafe { folded::<[f32; 4]>(work, x, out) },
        // SAFETY: every machine of this kind has the instructions.
        _ => unsafe { folded::<std::arch::aarch64::float32x4_t>(work, x, out) },
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = isa;
        // SAFETY: needs no instructions.
        unsafe { folded::<[f32; 4]>(work, x, out) }
    }
}

/// # Safety
/// The machine has the instructions of `L`.
#[inline(always)]
unsafe fn folded<L: Lanes>(work: Work, x: &[f32], out: &mut [f32]) {
    // SAFETY: passed on.
    unsafe {
        match work.fold {
            Fold::Weighted => each::<L>(work, x, out, |sum, x, weight| x.multiply_add(weight, sum)),
            Fold::Max => each::<L>(work, x, out, |most, x, _| x.larger(most)),
            // The weights are 1.
            Fold::Sum => each::<L>(work, x, out, |sum, x, weight| x.multiply_add(weight, sum)),
            Fold::Squares => each::<L>(work, x, out, |sum, x, _| x.multiply_add(x, sum)),
        }
    }
}

/// Folds the taps of every window, as many at a time as there are registers for: all of 3 by 3.
///
/// # Safety
/// The machine has the instructions of `L`.
#[inline(always)]
unsafe fn each<L: Lanes>(
    work: Work,
    x: &[f32],
    out: &mut [f32],
    fold: impl Fn(L, L, L) -> L + Copy,
) {
    let Work { taps, pieces, step, columns, .. } = work;
    let farthest = taps.iter().max().copied().unwrap_or(0);
    let count = columns.next_multiple_of(LANES);
    let last = pieces.saturating_sub(1);
    assert!(last * step + farthest + count <= x.len(), "windows end within the padded plane");
    assert!(last * columns + count <= out.len(), "results end within their room");
    for piece in 0..pieces {
        let x = x[piece * step..].as_ptr();
        let out = out[piece * columns..].as_mut_ptr();
        let mut tap = 0;
        while tap < taps.len() {
            let group = Taps { work, tap, x, out, count };
            // SAFETY: every tap, and the results, have room for whole vectors, see above.
            tap += unsafe {
                match taps.len() - tap {
                    9.. => group.fold::<L, 9>(fold),
                    3.. => group.fold::<L, 3>(fold),
                    _ => group.fold::<L, 1>(fold),
                }
            };
        }
    }
}

/// Some taps of the windows of a piece.
struct Taps<'a> {
    work: Work<'a>,
    /// The first tap.
    tap: usize,
    x: *const f32,
    out: *mut f32,
    /// Results, a multiple of [`LANES`].
    count: usize,
}

impl Taps<'_> {
    /// Folds `N` taps, the first ones or into what is there, and gives `N`.
    ///
    /// # Safety
    /// The machine has the instructions of `L`; there are `count` elements from each tap on, and room
    /// for as many results.
    #[inline(always)]
    unsafe fn fold<L: Lanes, const N: usize>(self, fold: impl Fn(L, L, L) -> L) -> usize {
        let Taps { work, tap, x, out, count } = self;
        let first = (tap == 0).then_some(work.init);
        // SAFETY: passed on.
        unsafe {
            let mut xs = [x; N];
            let mut weights = [L::all(1.0); N];
            for i in 0..N {
                xs[i] = x.add(work.taps[tap + i]);
                if let Some(&weight) = work.weights.get(tap + i) {
                    weights[i] = L::all(weight);
                }
            }
            for at in (0..count).step_by(L::COUNT) {
                let mut sum = match first {
                    Some(first) => L::all(first),
                    None => L::load(out.add(at)),
                };
                for i in 0..N {
                    sum = fold(sum, L::load(xs[i].add(at)), weights[i]);
                }
                sum.store(out.add(at));
            }
        }
        N
    }
}

/// What becomes of results before they are stored.
pub(super) struct Finish<'a> {
    /// Times a factor for every place of the result.
    pub factors: Option<&'a [f32]>,
    pub root: bool,
    pub clamp: (f32, f32),
    pub rows: usize,
    pub columns: usize,
    /// Elements from one row of sums to the next.
    pub pitch: usize,
}

/// Stores the rows of a plane side by side.
///
/// # Safety
/// `out` must have room for the plane.
#[inline(always)]
pub(super) unsafe fn store<Y: Element>(finish: &Finish, sums: &mut [f32], out: *mut u8) {
    let &Finish { factors, root, clamp, rows, columns, pitch } = finish;
    if let Some(factors) = factors {
        for (sums, factors) in sums.chunks_mut(pitch).zip(factors.chunks_exact(columns)) {
            sums.iter_mut().zip(factors).for_each(|(sum, factor)| *sum *= factor);
        }
    }
    if root {
        sums.iter_mut().for_each(|sum| *sum = sum.sqrt());
    }
    let out = out.cast::<Y>();
    // Rows that follow each other are one.
    let (rows, columns) = if pitch == columns { (1, rows * columns) } else { (rows, columns) };
    for row in 0..rows {
        let first = row * columns;
        // SAFETY: the row is within the plane.
        unsafe {
            narrow(&sums[row * pitch..], clamp, rows * columns - first, columns, out.add(first))
        };
    }
}

/// Writes `count` elements between two numbers, and perhaps some behind them.
///
/// # Safety
/// There must be room for `writable` elements, and `count` is no more than that.
#[inline(always)]
unsafe fn narrow<Y: Element>(
    from: &[f32],
    (low, high): (f32, f32),
    writable: usize,
    count: usize,
    to: *mut Y,
) {
    let whole = count.next_multiple_of(CHUNK);
    match from.get(..whole) {
        Some(from) if whole <= writable => {
            for (i, from) in from.as_chunks::<CHUNK>().0.iter().enumerate() {
                let chunk = from.map(|value| Y::narrow(keep(value, low, high)));
                // SAFETY: the chunk is within what is writable.
                unsafe { *to.add(i * CHUNK).cast::<[Y; CHUNK]>() = chunk };
            }
        }
        _ => {
            for (i, &value) in from[..count].iter().enumerate() {
                // SAFETY: passed on.
                unsafe { *to.add(i) = Y::narrow(keep(value, low, high)) };
            }
        }
    }
}
