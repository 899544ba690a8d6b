//! Windows over single channels: depthwise convolutions and pools, and the reverse of either.
//!
//! These read every element a few times and multiply little, so a matrix product with a copy of all
//! windows would mostly copy. Here a channel's plane is copied once, into the cache and with what is
//! around it, and every tap of the window is then a contiguous piece of it: with a stride of s along a
//! row, columns are sorted by their remainder, so that the elements of one tap stand side by side. With
//! strides of 1 the rows of the result follow each other at the pitch of the padded plane, and the
//! whole plane is one piece; what the pitch leaves between rows is computed and dropped.

/// An expression with a name for the element of a format of floats.
macro_rules! for_format {
    ($format:expr, $element:ident => $body:expr) => {
        match $format {
            $crate::format::Format::F32 => {
                type $element = f32;
                $body
            }
            $crate::format::Format::F16 => {
                type $element = $crate::element::F16;
                $body
            }
            _ => {
                type $element = $crate::element::Bf16;
                $body
            }
        }
    };
}

mod lanes;
mod plane;
mod spread;
#[cfg(test)]
mod tests;

use crate::element::keep;
use crate::format::Format;
use crate::isa::Isa;
use crate::team::{Team, split};
use plane::{Finish, Fold, Padding, SPARE, Work};

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
    /// The reverse of `Weighted`: an element is added to all that its window reads, plus bias. The
    /// geometry is that of the convolution, so the result has planes of its input.
    Spread {
        /// With weights: results of each channel of x. Without: x has a plane for each tap of each
        /// result, which is added at that tap.
        multiplier: Option<usize>,
    },
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

/// Floats of a padded plane, and taps, beyond which there is more than pictures have. Sums of such
/// numbers and of the elements of tensors do not overflow.
const LARGEST_PLANE: usize = 1 << 26;

impl Geometry {
    /// The same with strides and dilations of 1 where there is one window or one tap; `None` if a
    /// padded plane is larger than pictures are.
    pub fn checked(mut self) -> Option<Geometry> {
        let (mut floats, mut taps) = (1usize, 1usize);
        for axis in 0..2 {
            if self.output[axis] <= 1 {
                self.strides[axis] = 1;
            }
            if self.kernel[axis] <= 1 {
                self.dilations[axis] = 1;
            }
            let last = self.output[axis].saturating_sub(1).checked_mul(self.strides[axis])?;
            let window = self.kernel[axis].checked_sub(1)?.checked_mul(self.dilations[axis])?;
            // Rows are filled up to a multiple of the stride.
            let extent = last.checked_add(window)?.checked_add(self.strides[axis])?;
            floats = floats.checked_mul(extent)?;
            taps = taps.checked_mul(self.kernel[axis])?;
        }
        (floats <= LARGEST_PLANE && taps <= LARGEST_PLANE).then_some(self)
    }
}

/// Windows over every channel of every image, or, where they are spread, of the result.
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
    /// Windows over x `[N, C, H, W]`, whose elements are in formats of floats. The geometry is one
    /// that was [checked](Geometry::checked).
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

    /// The pieces that the result is computed in, how far apart they begin, and what each has.
    fn pieces(&self) -> (usize, usize, usize) {
        let [rows, columns] = self.geometry.output;
        match self.is_one_piece() {
            true => (1, 0, self.sums_len()),
            false => (rows, self.geometry.strides[0] * self.pitch, columns),
        }
    }

    /// Floats that a thread works in.
    fn own_floats(&self) -> usize {
        let floats = match self.kind {
            Kind::Spread { .. } => self.spread_floats(),
            _ => self.rows * self.pitch + self.sums_len() + self.pitch + 3 * SPARE,
        };
        floats.next_multiple_of(16)
    }

    /// Bytes that [`Window::run`] works in.
    pub fn scratch_bytes(&self, threads: usize) -> usize {
        threads * self.own_floats() * size_of::<f32>()
    }

    /// Elements of x, and of the result.
    pub fn elements(&self) -> (usize, usize) {
        if let Kind::Spread { .. } = self.kind {
            return self.spread_elements();
        }
        let plane = |[rows, columns]: [usize; 2]| rows * columns;
        let out = self.planes * self.multiplier() * plane(self.geometry.output);
        (self.planes * plane(self.geometry.input), out)
    }

    /// Operations.
    pub fn flops(&self) -> usize {
        let (x, result) = self.elements();
        match self.kind {
            Kind::Max => result * self.taps.len(),
            Kind::Spread { multiplier: None } => x,
            Kind::Spread { multiplier: Some(multiplier) } => 2 * x * multiplier * self.taps.len(),
            _ => 2 * result * self.taps.len(),
        }
    }

    /// For people.
    pub fn describe(&self) -> String {
        let Geometry { input: [h, w], kernel: [kh, kw], strides: [sh, sw], .. } = self.geometry;
        let kind = match self.kind {
            Kind::Weighted { .. } => "depthwise",
            Kind::Max => "max",
            Kind::Mean(_) => "mean",
            Kind::Root => "root",
            Kind::Spread { .. } => "spread",
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
                unsafe {
                    match self.kind {
                        Kind::Spread { .. } => self.spread(isa, shared.operands, plane, own),
                        _ => self.plane(isa, shared.operands, plane, own),
                    }
                }
            }
        });
    }

    /// # Safety
    /// As [`Window::run`]; the plane's results are this thread's alone.
    unsafe fn plane(&self, isa: Isa, operands: Operands, plane: usize, own: &mut [f32]) {
        let [height, width] = self.geometry.input;
        let (padded, rest) = own.split_at_mut(self.rows * self.pitch + SPARE);
        let (sums, row) = rest.split_at_mut(self.sums_len() + SPARE);
        let row = &mut row[..self.pitch + SPARE];
        let first = plane * height * width;
        // SAFETY: the planes from this one on are within x.
        unsafe {
            let x = operands.x.add(first * self.formats[0].bytes());
            self.pad(isa, x, self.planes * height * width - first, padded, row);
        }
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
            let (pieces, step, columns) = self.pieces();
            let (fold, init) = match self.kind {
                Kind::Weighted { .. } | Kind::Spread { .. } => (Fold::Weighted, bias),
                Kind::Max => (Fold::Max, f32::NEG_INFINITY),
                Kind::Mean(_) => (Fold::Sum, 0.0),
                Kind::Root => (Fold::Squares, 0.0),
            };
            let work = Work { taps: &self.taps, weights, init, fold, pieces, step, columns };
            plane::compute(isa, work, padded, sums);
            let size = self.geometry.output.iter().product::<usize>() * self.formats[1].bytes();
            // SAFETY: the plane of the result is within `out`.
            unsafe {
                let out = operands.out.add((plane * multiplier + result) * size);
                self.store(isa, &self.finish(), &mut sums[..self.sums_len() + SPARE], out);
            }
        }
    }

    /// Copies a plane to where its windows are read from.
    ///
    /// # Safety
    /// `x` must hold `readable` elements, the plane's first.
    unsafe fn pad(
        &self,
        isa: Isa,
        x: *const u8,
        readable: usize,
        padded: &mut [f32],
        row: &mut [f32],
    ) {
        let [height, width] = self.geometry.input;
        let [above, left] = self.geometry.before;
        // A window of padding alone may leave no room for any element.
        let above = above.min(self.rows);
        let padding = Padding {
            fill: if self.kind == Kind::Max { f32::NEG_INFINITY } else { 0.0 },
            above,
            rows: height.min(self.rows - above),
            inside: left.min(self.pitch)..self.pitch.min(left + width),
            width,
            pitch: self.pitch,
            stride: self.geometry.strides[1],
        };
        let padding = &padding;
        // SAFETY: passed on; the format is that of the elements.
        for_format!(self.formats[0], E => dispatch!(isa, plane::pad::<E>, plane::pad::<E>, (padding: &Padding, x: *const u8, readable: usize, padded: &mut [f32], row: &mut [f32])));
    }

    /// What becomes of the sums of a plane.
    fn finish(&self) -> Finish<'_> {
        let [rows, columns] = self.geometry.output;
        let factors = match &self.kind {
            Kind::Mean(factors) => Some(&factors[..]),
            _ => None,
        };
        let root = self.kind == Kind::Root;
        let clamp = self.clamp.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        Finish { factors, root, clamp, rows, columns, pitch: self.sums_pitch() }
    }

    /// # Safety
    /// `out` must have room for the plane.
    unsafe fn store(&self, isa: Isa, finish: &Finish<'_>, sums: &mut [f32], out: *mut u8) {
        // SAFETY: passed on; the format is that of the elements.
        for_format!(self.formats[1], E => dispatch!(isa, plane::store::<E>, plane::store::<E>, (finish: &Finish<'_>, sums: &mut [f32], out: *mut u8)));
    }
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
