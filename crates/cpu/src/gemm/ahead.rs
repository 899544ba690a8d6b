//! What soon will be read, and is fetched while tiles are computed.

use super::kernel::Source;

/// Bytes of a cache line.
const CACHE_LINE: usize = 64;

/// Cache lines to fetch during a tile, a few at a time.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    /// The first line.
    first: *const u8,
    /// Lines at a time, and the bytes from one to the next.
    lines: usize,
    apart: usize,
    /// Bytes from the lines of one time to those of the next.
    stride: usize,
    /// Lines are fetched with every step of k whose number has none of these bits.
    mask: usize,
}

/// One of the equal parts of a job that is spread over some tiles of `steps` steps each.
#[derive(Clone, Copy)]
pub(super) struct Share {
    pub part: usize,
    pub parts: usize,
    pub steps: usize,
}

impl Ahead {
    /// Nothing.
    pub fn nothing() -> Ahead {
        Ahead { first: std::ptr::null(), lines: 0, apart: 0, stride: 0, mask: usize::MAX }
    }

    /// A share of neighboring bytes.
    pub fn bytes(at: *const u8, bytes: usize, share: Share) -> Ahead {
        let lines = bytes.div_ceil(CACHE_LINE).div_ceil(share.parts.max(1)).next_multiple_of(2);
        let first = at.wrapping_add(share.part * lines * CACHE_LINE);
        let mask = every(share.steps, lines / 2);
        Ahead { first, lines: 2, apart: CACHE_LINE, stride: 2 * CACHE_LINE, mask }
    }

    /// A share of what panels will be packed from: some steps of all lanes if lanes are neighbors,
    /// otherwise whole lanes.
    pub fn source(source: &Source, share: Share) -> Ahead {
        let size = source.format.bytes();
        let [lane, step] = [source.lane_stride * size, source.depth_stride * size];
        if source.lane_stride == 1 {
            let times = source.depth.div_ceil(share.parts.max(1));
            return Ahead {
                first: source.base.wrapping_add(share.part * times * step),
                lines: (source.lanes * size).div_ceil(CACHE_LINE),
                apart: CACHE_LINE,
                stride: step,
                mask: every(share.steps, times),
            };
        }
        let lanes = source.lanes.div_ceil(share.parts.max(1));
        let start = share.part * lanes;
        if source.depth_stride != 1 || start >= source.lanes {
            return Ahead::nothing();
        }
        Ahead {
            first: source.base.wrapping_add(start * lane),
            lines: lanes.min(source.lanes - start),
            apart: lane,
            stride: CACHE_LINE,
            mask: every(share.steps, (source.depth * size).div_ceil(CACHE_LINE)),
        }
    }

    /// What a panel is packed from in a tile, some steps before the tile reads it.
    pub fn own(source: &Source) -> Ahead {
        /// Steps in which memory answers.
        const STEPS: usize = 64;
        let size = source.format.bytes();
        let stride = source.depth_stride * size;
        Ahead {
            first: source.base.wrapping_add(STEPS * stride),
            lines: (source.lanes * size).div_ceil(CACHE_LINE),
            apart: CACHE_LINE,
            stride,
            mask: 0,
        }
    }

    /// Fetches what is due with step `step`.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn fetch(&mut self, step: usize) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        if step & self.mask != 0 {
            return;
        }
        let mut line = self.first;
        for _ in 0..self.lines {
            // SAFETY: fetching changes nothing and cannot fault.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) };
            line = line.wrapping_add(self.apart);
        }
        self.first = self.first.wrapping_add(self.stride);
    }
}

/// The jobs of a tile, while it is computed.
#[cfg(target_arch = "x86_64")]
pub(super) struct Fetching {
    jobs: [Ahead; 3],
    /// The bits that both masks have.
    mask: usize,
}

#[cfg(target_arch = "x86_64")]
impl Fetching {
    #[inline(always)]
    pub fn new(jobs: [Ahead; 3]) -> Fetching {
        Fetching { jobs, mask: jobs[0].mask & jobs[1].mask & jobs[2].mask }
    }

    /// Fetches what is due with step `step` of k, counted from 0.
    #[inline(always)]
    pub fn step(&mut self, step: usize) {
        if step & self.mask == 0 {
            self.jobs.iter_mut().for_each(|job| job.fetch(step));
        }
    }
}

/// The mask that takes at least `times` of `steps` steps, evenly, or all.
fn every(steps: usize, times: usize) -> usize {
    let apart = (steps / times.max(1)).max(1);
    // The largest power of two that is not above.
    (1 << apart.ilog2()) - 1
}
