//! Weights as bytes.

use super::super::buffer::AlignedBytes;
use super::super::description::Operand;
use super::super::kernel::{Kernel as FloatKernel, Source};
use super::generic::factors;
use super::kernel::{GROUP, Kernel, NR, PANEL_STEP, Panel};
use super::product::Error;
use crate::isa::Isa;
use crate::team::{Team, split};

/// Which operand of a product the weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// A, `[m, k]`: channels are rows, as in a convolution of planes.
    Left,
    /// B, `[k, n]`: channels are columns, as in a linear layer.
    Right,
}

/// A matrix of s8 with one scale per channel, laid out for a kernel.
pub struct Weights {
    kernel: &'static dyn Kernel,
    float: &'static dyn FloatKernel,
    side: Side,
    k: usize,
    channels: usize,
    bytes: AlignedBytes,
    /// Of every channel, zero past the last up to a whole panel.
    scales: Vec<f32>,
    sums: Vec<i32>,
}

/// Steps of k that are quantized at a time; a multiple of the group.
const STEPS: usize = 32;

#[repr(align(64))]
struct Chunk([f32; STEPS * NR]);

impl Weights {
    /// Room for `channels` channels of `k` numbers; zero until filled.
    ///
    /// # Errors
    /// If sums over `k` terms do not fit in 32 bits.
    pub fn new(isa: Isa, side: Side, k: usize, channels: usize) -> Result<Weights, Error> {
        if k > super::MAX_DEPTH {
            return Err(Error::Depth(k));
        }
        let padded = channels.next_multiple_of(NR);
        Ok(Weights {
            kernel: super::kernel(isa),
            float: super::float_kernel(isa),
            side,
            k,
            channels,
            bytes: AlignedBytes::new(padded * k.next_multiple_of(GROUP)),
            scales: vec![0.0; padded],
            sums: vec![0; padded],
        })
    }

    /// Fills in numbers, quantized channel by channel: `scale = max|w| / 127`. Allocates nothing.
    /// Rows of the operand are steps of k, columns are channels, on either side.
    ///
    /// # Safety
    /// `base` must be readable, and aligned for its format, wherever `operand` reaches, and nobody
    /// may write there meanwhile.
    ///
    /// # Panics
    /// If `operand` is in an integer format.
    pub unsafe fn quantize(&mut self, team: &Team, base: *const u8, operand: &Operand) {
        assert!(operand.format.is_float(), "only numbers are quantized");
        let out = Out {
            bytes: self.bytes.as_mut_ptr(),
            scales: self.scales.as_mut_ptr(),
            sums: self.sums.as_mut_ptr(),
            base,
        };
        let this = &*self;
        team.run(&|index, threads| {
            let out = &out;
            for panel in split(this.channels.div_ceil(NR), threads, index, 1) {
                let first = panel * NR;
                let at = first * operand.col_stride * operand.format.bytes();
                let source = Source {
                    base: out.base.wrapping_add(at),
                    format: operand.format,
                    lane_stride: operand.col_stride,
                    depth_stride: operand.row_stride,
                    lanes: NR.min(this.channels - first),
                    depth: this.k,
                    round: operand.round,
                };
                // SAFETY: the caller vouches for the source; no other thread has this panel.
                unsafe { this.quantize_panel(&source, panel, out) }
            }
        });
    }

    /// # Safety
    /// `source` is readable, and `out` this matrix's memory, of which this panel is nobody else's.
    unsafe fn quantize_panel(&self, source: &Source, panel: usize, out: &Out) {
        let mut chunk = Chunk([0.0; STEPS * NR]);
        let chunk = chunk.0.as_mut_ptr();
        let each = |f: &mut dyn FnMut(usize, usize)| {
            for first in (0..self.k).step_by(STEPS) {
                let depth = STEPS.min(self.k - first);
                let from = first * source.depth_stride * source.format.bytes();
                let part = Source { base: source.base.wrapping_add(from), depth, ..*source };
                // SAFETY: a part of the source; the chunk has room for it.
                unsafe { self.float.pack(&part, NR, chunk.cast()) };
                f(first, depth);
            }
        };
        let mut maxima = [0u32; NR];
        // SAFETY: `depth` steps are in the chunk.
        each(&mut |_, depth| unsafe { self.kernel.maxima(chunk, depth, &mut maxima) });
        let factors = maxima.map(|m| factors(f32::from_bits(m)));
        let inverse = factors.map(|f| f.0);
        let mut sums = [0; NR];
        let (lane_stride, group_stride) = self.strides();
        each(&mut |first, depth| {
            let to = self.group(out.bytes, panel * NR, first / GROUP);
            let part =
                Panel { from: chunk, depth, inverse: &inverse, to, lane_stride, group_stride };
            // SAFETY: `depth` steps are in the chunk, and the matrix has room for their groups.
            unsafe { self.kernel.quantize_panel(&part, &mut sums) };
        });
        for lane in 0..NR {
            // SAFETY: there is room for whole panels of channels, and this one is ours.
            unsafe {
                *out.scales.add(panel * NR + lane) = factors[lane].1;
                *out.sums.add(panel * NR + lane) = sums[lane];
            }
        }
    }

    /// Distance between channels, and between groups of k, in groups.
    fn strides(&self) -> (usize, usize) {
        match self.side {
            Side::Right => (1, NR),
            Side::Left => (self.groups(), 1),
        }
    }

    /// Where a group of a channel that starts a panel is.
    fn group(&self, bytes: *mut u8, channel: usize, group: usize) -> *mut u32 {
        let at = match self.side {
            Side::Right => channel * self.groups() + group * NR,
            Side::Left => channel * self.groups() + group,
        };
        bytes.cast::<u32>().wrapping_add(at)
    }

    /// Fills in bytes with their scales, one for all channels or one for each: channel `c` is
    /// `bytes[c·k .. (c + 1)·k]`.
    ///
    /// # Panics
    /// If there are not as many bytes or scales.
    pub fn set(&mut self, bytes: &[i8], scales: &[f32]) {
        assert_eq!(bytes.len(), self.k * self.channels, "the weights differ from the plan");
        assert!(scales.len() == 1 || scales.len() == self.channels, "one scale per channel");
        let (lane_stride, group_stride) = self.strides();
        for channel in 0..self.channels {
            let row = &bytes[channel * self.k..][..self.k];
            let lane = channel % NR;
            let first = self.group(std::ptr::null_mut(), channel - lane, 0) as usize
                + lane * lane_stride * GROUP;
            for (index, &byte) in row.iter().enumerate() {
                let at = first + index / GROUP * group_stride * GROUP + index % GROUP;
                self.bytes[at] = byte as u8;
            }
            self.sums[channel] = row.iter().map(|&b| i32::from(b)).sum();
            self.scales[channel] = scales[channel % scales.len()];
        }
    }

    /// Terms of a sum.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Output channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Which operand they are.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Memory held, in bytes.
    pub fn memory(&self) -> usize {
        self.bytes.len() + 8 * self.scales.len()
    }

    /// The scales of all channels.
    pub fn scales(&self) -> &[f32] {
        &self.scales[..self.channels]
    }

    pub(super) fn kernel(&self) -> &'static dyn Kernel {
        self.kernel
    }

    /// Groups of a channel.
    pub(super) fn groups(&self) -> usize {
        self.k.div_ceil(GROUP)
    }

    /// The row of a channel (left), or the panel that starts with it (right).
    pub(super) fn at(&self, channel: usize) -> *const u8 {
        let bytes = match self.side {
            Side::Left => channel * self.groups() * GROUP,
            Side::Right => channel / NR * self.groups() * PANEL_STEP,
        };
        self.bytes.as_ptr().wrapping_add(bytes)
    }

    pub(super) fn scales_from(&self, channel: usize) -> *const f32 {
        self.scales[channel..].as_ptr()
    }

    pub(super) fn sums_from(&self, channel: usize) -> *const i32 {
        self.sums[channel..].as_ptr()
    }

    #[cfg(test)]
    pub(super) fn with_kernel(mut self, kernel: &'static dyn Kernel) -> Weights {
        self.kernel = kernel;
        self
    }
}

/// Where panels go, and what they are made from.
struct Out {
    bytes: *mut u8,
    scales: *mut f32,
    sums: *mut i32,
    base: *const u8,
}

// SAFETY: every thread writes panels of its own, and all only read the source.
unsafe impl Sync for Out {}

impl PartialEq for Weights {
    fn eq(&self, other: &Weights) -> bool {
        (self.side, self.k, self.channels) == (other.side, other.k, other.channels)
            && self.kernel.name() == other.kernel.name()
            && *self.bytes == *other.bytes
            && self.scales == other.scales
            && self.sums == other.sums
    }
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Weights { k, channels, side, kernel, .. } = self;
        write!(f, "Weights({channels} channels of {k} on the {side:?} for {})", kernel.name())
    }
}
