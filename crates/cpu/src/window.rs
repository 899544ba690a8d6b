//! Windows over single channels: depthwise convolutions and pools.
//!
//! These read every element a few times and multiply little, so a matrix product with a copy of all
//! windows would mostly copy. Here a channel's plane is copied once, into the cache and with what is
//! around it, and every tap of the window is then a contiguous piece of it: with a stride of s along a
//! row, columns are sorted by their remainder, so that the elements of one tap stand side by side. With
//! strides of 1 the rows of the result follow each other at the pitch of the padded plane, and the
//! whole plane is one piece; what the pitch leaves between rows is computed and dropped.

use crate::element::{Bf16, Element, F16};
use crate::format::Format;
use crate::isa::Isa;
use crate::team::{Team, split};

/// What becomes of a window.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Σ weight · x + bias; so many results of each channel.
    Weighted {
        /// Results of each channel.
        multiplier: usize,
    },
    /// The largest element; NaN wins.
    Max,
    /// Σx times a factor for every place, `[Ho, Wo]`.
    Mean(Vec<f32>),
    /// √Σx².
    Root,
}

/// Where windows lie: two axes, rows and columns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Geometry {
    /// Dims of a plane of x.
    pub input: [usize; 2],
    /// What is put before each axis; as much as is needed is put behind it.
    pub before: [usize; 2],
    pub kernel: [usize; 2],
    pub strides: [usize; 2],
    pub dilations: [usize; 2],
    /// Dims of a plane of the result.
    pub output: [usize; 2],
}

/// Windows over every channel of every image.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    kind: Kind,
    geometry: Geometry,
    /// Images times channels.
    planes: usize,
    channels: usize,
    /// Formats of x and of the result.
    formats: [Format; 2],
    /// Rows of a padded plane, and elements from one to the next.
    rows: usize,
    pitch: usize,
    /// Where the element of each tap is, from where the window begins.
    taps: Vec<usize>,
    /// Results are kept between these.
    clamp: Option<(f32, f32)>,
}

impl Window {
    /// Windows over x `[N, C, H, W]`, whose elements are in formats of floats.
    pub fn new(
        kind: Kind,
        geometry: Geometry,
        images: usize,
        channels: usize,
        formats: [Format; 2],
    ) -> Window {
        let Geometry { kernel, strides, dilations, output, .. } = geometry;
        let [rows, columns] = [0, 1].map(|axis| {
            output[axis].saturating_sub(1) * strides[axis]
                + (kernel[axis] - 1) * dilations[axis]
                + 1
        });
        let run = columns.div_ceil(strides[1]);
        let pitch = run * strides[1];
        let tap = |(y, x): (usize, usize)| {
            let column = x * dilations[1];
            y * dilations[0] * pitch + column % strides[1] * run + column / strides[1]
        };
        let all = (0..kernel[0]).flat_map(|y| (0..kernel[1]).map(move |x| (y, x)));
        let taps = all.map(tap).collect();
        Window {
            kind,
            geometry,
            planes: images * channels,
            channels,
            formats,
            rows,
            pitch,
            taps,
            clamp: None,
        }
    }

    /// Keeps results between two numbers, after what was asked for before.
    pub fn clamp(&mut self, low: f32, high: f32) {
        let (before_low, before_high) = self.clamp.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        self.clamp = Some((keep(before_low, low, high), keep(before_high, low, high)));
    }

    /// Results of each channel.
    fn multiplier(&self) -> usize {
        match self.kind {
            Kind::Weighted { multiplier } => multiplier,
            _ => 1,
        }
    }

    /// Whether a plane of the result is one piece.
    fn is_one_piece(&self) -> bool {
        self.geometry.strides == [1, 1]
    }

    /// Elements from one row of the result to the next while it is computed.
    fn sums_pitch(&self) -> usize {
        if self.is_one_piece() { self.pitch } else { self.geometry.output[1] }
    }

    fn sums_len(&self) -> usize {
        let [rows, columns] = self.geometry.output;
        rows.saturating_sub(1) * self.sums_pitch() + columns
    }

    /// Floats that a thread works in.
    fn own_floats(&self) -> usize {
        let floats = self.rows * self.pitch + self.sums_len() + self.pitch;
        floats.next_multiple_of(16)
    }

    /// Bytes that [`Window::run`] works in.
    pub fn scratch_bytes(&self, threads: usize) -> usize {
        threads * self.own_floats() * size_of::<f32>()
    }

    /// Elements of x, and of the result.
    pub fn elements(&self) -> (usize, usize) {
        let plane = |[rows, columns]: [usize; 2]| rows * columns;
        let out = self.planes * self.multiplier() * plane(self.geometry.output);
        (self.planes * plane(self.geometry.input), out)
    }

    /// Operations.
    pub fn flops(&self) -> usize {
        let each = if matches!(self.kind, Kind::Max) { 1 } else { 2 };
        each * self.elements().1 * self.taps.len()
    }

    /// For people.
    pub fn describe(&self) -> String {
        let Geometry { input: [h, w], kernel: [kh, kw], strides: [sh, sw], .. } = self.geometry;
        let kind = match self.kind {
            Kind::Weighted { .. } => "depthwise",
            Kind::Max => "max",
            Kind::Mean(_) => "mean",
            Kind::Root => "root",
        };
        format!("{kind} {kh}x{kw} by {sh}x{sw} over {} planes of {h}x{w}", self.planes)
    }

    /// Computes the result, dense.
    ///
    /// # Safety
    /// `x` must hold all planes densely in its format, `weights` and `bias`, where the kind has them,
    /// fp32 for all results of all channels and all taps, `out` must have room for all planes of the
    /// result in its format, and `scratch` the bytes that were asked for, aligned for floats. Nobody
    /// else may use `out` and `scratch` meanwhile.
    pub unsafe fn run(&self, team: &Team, isa: Isa, operands: Operands, scratch: &mut [u8]) {
        let shared = Shared { operands, scratch: scratch.as_mut_ptr().cast() };
        assert!(isa.is_available(), "the machine has no {isa}");
        assert!(scratch.len() >= self.scratch_bytes(team.threads()), "there is room to work in");
        team.run(&|index, threads| {
            let shared = &shared;
            // SAFETY: a part of the scratch for every thread.
            let own = unsafe {
                let own = shared.scratch.add(index * self.own_floats());
                std::slice::from_raw_parts_mut(own, self.own_floats())
            };
            for plane in split(self.planes, threads, index, 1) {
                // SAFETY: passed on; every plane is one thread's.
                unsafe { self.plane(isa, shared.operands, plane, own) };
            }
        });
    }

    /// # Safety
    /// As [`Window::run`]; the plane's results are this thread's alone.
    unsafe fn plane(&self, isa: Isa, operands: Operands, plane: usize, own: &mut [f32]) {
        let [height, width] = self.geometry.input;
        let (padded, rest) = own.split_at_mut(self.rows * self.pitch);
        let (sums, row) = rest.split_at_mut(self.sums_len());
        let row = &mut row[..self.pitch];
        let first = plane * height * width * self.formats[0].bytes();
        // SAFETY: the plane is within x.
        unsafe { self.pad(isa, operands.x.add(first), row, padded) };
        let taps = self.taps.len();
        let multiplier = self.multiplier();
        for result in 0..multiplier {
            // SAFETY: weights and bias of all results of all channels are there.
            let (weights, bias) = unsafe {
                let at = plane % self.channels * multiplier + result;
                let weights = operands.weights.map(|weights| weights.add(at * taps));
                let weights = weights.map(|weights| std::slice::from_raw_parts(weights, taps));
                (weights.unwrap_or(&[]), operands.bias.map_or(0.0, |bias| *bias.add(at)))
            };
            let work = Work { taps: &self.taps, weights, bias };
            if self.is_one_piece() {
                piece(isa, &self.kind, work, padded, sums);
            } else {
                let [rows, columns] = self.geometry.output;
                let step = self.geometry.strides[0] * self.pitch;
                for (row, sums) in sums.chunks_exact_mut(columns).take(rows).enumerate() {
                    piece(isa, &self.kind, work, &padded[row * step..], sums);
                }
            }
            // SAFETY: the plane of the result is within `out`.
            unsafe { self.store(isa, sums, operands.out, plane * multiplier + result) };
        }
    }

    /// Copies a plane to where its windows are read from.
    ///
    /// # Safety
    /// `x` must hold the plane.
    unsafe fn pad(&self, isa: Isa, x: *const u8, row: &mut [f32], padded: &mut [f32]) {
        let [height, width] = self.geometry.input;
        let [above, left] = self.geometry.before;
        let stride = self.geometry.strides[1];
        let fill = if self.kind == Kind::Max { f32::NEG_INFINITY } else { 0.0 };
        // A window of padding alone may leave no room for any element.
        let inside = left.min(self.pitch)..self.pitch.min(left + width);
        row.fill(fill);
        for (y, out) in padded.chunks_exact_mut(self.pitch).enumerate() {
            if !(above..above + height).contains(&y) {
                out.fill(fill);
                continue;
            }
            let from = (y - above) * width;
            if stride == 1 {
                out.fill(fill);
                // SAFETY: the row is within the plane.
                unsafe { widen(isa, self.formats[0], x, from, &mut out[inside.clone()]) };
                continue;
            }
            // SAFETY: as above.
            unsafe { widen(isa, self.formats[0], x, from, &mut row[inside.clone()]) };
            sort(isa, row, stride, out);
        }
    }

    /// # Safety
    /// `out` must have room for the plane.
    unsafe fn store(&self, isa: Isa, sums: &mut [f32], out: *mut u8, plane: usize) {
        let [rows, columns] = self.geometry.output;
        let pitch = self.sums_pitch();
        for row in 0..rows {
            let sums = &mut sums[row * pitch..][..columns];
            match &self.kind {
                Kind::Mean(factors) => {
                    let factors = &factors[row * columns..][..columns];
                    sums.iter_mut().zip(factors).for_each(|(sum, factor)| *sum *= factor);
                }
                Kind::Root => sums.iter_mut().for_each(|sum| *sum = sum.sqrt()),
                _ => {}
            }
            if let Some((low, high)) = self.clamp {
                sums.iter_mut().for_each(|sum| *sum = keep(*sum, low, high));
            }
            let first = (plane * rows + row) * columns;
            // SAFETY: the row is within the plane.
            unsafe { narrow(isa, self.formats[1], sums, out, first) };
        }
    }
}

/// The number between the two that is nearest; NaN stays.
fn keep(value: f32, low: f32, high: f32) -> f32 {
    let value = if value < low { low } else { value };
    if value > high { high } else { value }
}

/// The operands, by address.
#[derive(Clone, Copy)]
pub(crate) struct Operands {
    pub x: *const u8,
    pub weights: Option<*const f32>,
    pub bias: Option<*const f32>,
    pub out: *mut u8,
}

/// What threads share.
struct Shared {
    operands: Operands,
    scratch: *mut f32,
}

// SAFETY: threads only read x, weights and bias, and each writes planes and scratch of its own.
unsafe impl Sync for Shared {}

/// Puts the elements of a row that have one remainder by `stride` side by side.
fn sort(isa: Isa, row: &[f32], stride: usize, out: &mut [f32]) {
    #[inline(always)]
    fn pairs(row: &[f32], stride: usize, out: &mut [f32]) {
        let (even, odd) = out.split_at_mut(row.len() / stride);
        let pairs = row.as_chunks::<2>().0;
        for ((pair, even), odd) in pairs.iter().zip(even).zip(odd) {
            (*even, *odd) = (pair[0], pair[1]);
        }
    }
    if stride == 2 {
        return dispatch!(isa, pairs, pairs, (row: &[f32], stride: usize, out: &mut [f32]));
    }
    let run = row.len() / stride;
    for (column, &value) in row.iter().enumerate() {
        out[column % stride * run + column / stride] = value;
    }
}

/// What is computed of each window.
#[derive(Clone, Copy)]
struct Work<'a> {
    taps: &'a [usize],
    weights: &'a [f32],
    bias: f32,
}

/// The elements that are computed together: as many as a few registers hold.
const TOGETHER: usize = 64;

/// A piece of the result: window i begins at element i of `x`.
fn piece(isa: Isa, kind: &Kind, work: Work, x: &[f32], out: &mut [f32]) {
    match kind {
        Kind::Weighted { .. } => {
            dispatch!(isa, weighted::<true>, weighted::<false>, (work: Work<'_>, x: &[f32], out: &mut [f32]));
        }
        Kind::Max => dispatch!(isa, largest, largest, (work: Work<'_>, x: &[f32], out: &mut [f32])),
        Kind::Mean(_) => dispatch!(isa, sums, sums, (work: Work<'_>, x: &[f32], out: &mut [f32])),
        Kind::Root => {
            dispatch!(isa, squares, squares, (work: Work<'_>, x: &[f32], out: &mut [f32]))
        }
    }
}

#[inline(always)]
fn weighted<const FUSED: bool>(work: Work, x: &[f32], out: &mut [f32]) {
    each(work.taps, work.bias, x, out, |tap, sum, x| {
        let weight = work.weights[tap];
        // Without an instruction for it, the fused form is a call.
        if FUSED { x.mul_add(weight, sum) } else { x * weight + sum }
    });
}

#[inline(always)]
fn largest(work: Work, x: &[f32], out: &mut [f32]) {
    each(
        work.taps,
        f32::NEG_INFINITY,
        x,
        out,
        |_, most, x| {
            if x > most || x.is_nan() { x } else { most }
        },
    );
}

#[inline(always)]
fn sums(work: Work, x: &[f32], out: &mut [f32]) {
    each(work.taps, 0.0, x, out, |_, sum, x| sum + x);
}

#[inline(always)]
fn squares(work: Work, x: &[f32], out: &mut [f32]) {
    each(work.taps, 0.0, x, out, |_, sum, x| x * x + sum);
}

/// Folds the taps of every window, a few registers of windows at a time.
#[inline(always)]
fn each(
    taps: &[usize],
    init: f32,
    x: &[f32],
    out: &mut [f32],
    fold: impl Fn(usize, f32, f32) -> f32,
) {
    let whole = out.len() / TOGETHER * TOGETHER;
    let (blocks, rest) = out.split_at_mut(whole);
    for (block, out) in blocks.as_chunks_mut::<TOGETHER>().0.iter_mut().enumerate() {
        let mut sums = [init; TOGETHER];
        for (tap, &at) in taps.iter().enumerate() {
            let x: &[f32; TOGETHER] =
                x[block * TOGETHER + at..].first_chunk().expect("windows end within the plane");
            for (sum, &x) in sums.iter_mut().zip(x) {
                *sum = fold(tap, *sum, x);
            }
        }
        *out = sums;
    }
    rest.fill(init);
    for (tap, &at) in taps.iter().enumerate() {
        let x = &x[whole + at..][..rest.len()];
        for (sum, &x) in rest.iter_mut().zip(x) {
            *sum = fold(tap, *sum, x);
        }
    }
}

/// Reads elements from `first` on.
///
/// # Safety
/// They must be there, in this format.
unsafe fn widen(isa: Isa, format: Format, from: *const u8, first: usize, out: &mut [f32]) {
    if format == Format::F32 {
        // SAFETY: passed on.
        unsafe {
            std::ptr::copy_nonoverlapping(
                from.cast::<f32>().add(first),
                out.as_mut_ptr(),
                out.len(),
            )
        };
        return;
    }
    #[inline(always)]
    unsafe fn each<E: Element>(from: *const u8, first: usize, out: &mut [f32]) {
        for (i, out) in out.iter_mut().enumerate() {
            // SAFETY: passed on.
            *out = unsafe { *from.cast::<E>().add(first + i) }.widen();
        }
    }
    // SAFETY: passed on; the format is that of the elements.
    match format {
        Format::F16 => {
            dispatch!(isa, each::<F16>, each::<F16>, (from: *const u8, first: usize, out: &mut [f32]))
        }
        _ => {
            dispatch!(isa, each::<Bf16>, each::<Bf16>, (from: *const u8, first: usize, out: &mut [f32]))
        }
    }
}

/// Writes elements from `first` on.
///
/// # Safety
/// There must be room for them, in this format.
unsafe fn narrow(isa: Isa, format: Format, from: &[f32], out: *mut u8, first: usize) {
    if format == Format::F32 {
        // SAFETY: passed on.
        unsafe {
            std::ptr::copy_nonoverlapping(from.as_ptr(), out.cast::<f32>().add(first), from.len())
        };
        return;
    }
    #[inline(always)]
    unsafe fn each<E: Element>(from: &[f32], out: *mut u8, first: usize) {
        for (i, &value) in from.iter().enumerate() {
            // SAFETY: passed on.
            unsafe { *out.cast::<E>().add(first + i) = E::narrow(value) };
        }
    }
    // SAFETY: passed on; the format is that of the elements.
    match format {
        Format::F16 => {
            dispatch!(isa, each::<F16>, each::<F16>, (from: &[f32], out: *mut u8, first: usize))
        }
        _ => dispatch!(isa, each::<Bf16>, each::<Bf16>, (from: &[f32], out: *mut u8, first: usize)),
    }
}
